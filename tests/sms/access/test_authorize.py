"""Checks 0 to 6 of protocol section 3.1 in their order, against a simulated chain."""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime, timedelta

import pytest
from tests.sms.support import (
    APP,
    APP_OWNER,
    DEAL_ID,
    NOW,
    POOL_OWNER,
    REQUESTER,
    TASK_ID,
    WORKER,
    SimulatedChain,
    authorization,
    bought_task,
)

from adyton.base.errors import AdytonError, UnavailableError
from adyton.base.types import ZERO_BYTES32, parse_bytes32
from adyton.chain.contracts import AssetKind, TaskStatus
from adyton.sms.access import recipes
from adyton.sms.access.authorize import (
    Authorized,
    Authorizer,
    NotAuthorizedError,
    Rules,
    check_asset_owner,
    check_worker,
)
from adyton.sms.access.signatures import Credential, Signatures
from adyton.sms.errors import NotAllowedError, SessionRefusedError
from adyton.sms.wire import AuthorizationError, Framework, SessionFailure, SignatureValue, WorkerpoolAuthorization

RULES = Rules(Framework.SCONE, max_head_age_s=300)
CHALLENGE = "0x" + "ee" * 20


def signatures(chain: SimulatedChain) -> Signatures:
    return Signatures(chain, 10, clock=lambda: NOW)


def authorize_session(chain: SimulatedChain, given: WorkerpoolAuthorization, rules: Rules, now: datetime) -> Authorized:
    return Authorizer(chain, signatures(chain), rules).session(given, "", now)


def authorize_challenge(chain: SimulatedChain, task: str, signature: str, rules: Rules, now: datetime) -> Authorized:
    return Authorizer(chain, signatures(chain), rules).challenge(task, Credential(signature), now)


def tag(low: int) -> str:
    return "0x" + "00" * 31 + f"{low:02x}"


def resigned(given: WorkerpoolAuthorization, **changes: object) -> WorkerpoolAuthorization:
    return given.model_copy(update=changes)


def test_a_good_authorization_passes() -> None:
    chain = bought_task()
    authorized = authorize_session(chain, authorization(CHALLENGE), RULES, NOW)
    assert authorized.task == chain.tasks[TASK_ID]
    assert authorized.deal == chain.deals[DEAL_ID]


Change = Callable[[SimulatedChain], object]
CHAIN_CASES: dict[str, tuple[Change, AuthorizationError]] = {
    "unknown task": (lambda c: c.tasks.clear(), AuthorizationError.GET_CHAIN_TASK_FAILED),
    "task without deal": (lambda c: c.change_task(deal_id=ZERO_BYTES32), AuthorizationError.GET_CHAIN_TASK_FAILED),
    "node down": (lambda c: setattr(c, "down", True), AuthorizationError.GET_CHAIN_TASK_FAILED),
    "head too old": (
        lambda c: setattr(c, "head_timestamp", c.head_timestamp - 301),
        AuthorizationError.GET_CHAIN_TASK_FAILED,
    ),
    **{
        f"task {status.name}": (
            lambda c, status=status: c.change_task(status=status),  # type: ignore[misc]
            AuthorizationError.TASK_NOT_ACTIVE,
        )
        for status in (TaskStatus.UNSET, TaskStatus.REVEALING, TaskStatus.COMPLETED, TaskStatus.FAILED)
    },
    "deadline passed by our clock": (
        lambda c: c.change_task(final_deadline=int(NOW.timestamp())),
        AuthorizationError.TASK_NOT_ACTIVE,
    ),
    "deadline passed on chain": (
        lambda c: setattr(c, "head_timestamp", c.head_timestamp + 3600),
        AuthorizationError.TASK_NOT_ACTIVE,
    ),
    "unknown deal": (lambda c: c.deals.clear(), AuthorizationError.GET_CHAIN_DEAL_FAILED),
    "deal not started": (lambda c: c.change_deal(start_time=0), AuthorizationError.GET_CHAIN_DEAL_FAILED),
    **{
        f"tag {low:04b}": (
            lambda c, low=low: c.change_deal(tag=parse_bytes32(tag(low))),  # type: ignore[misc]
            AuthorizationError.NO_MATCH_ONCHAIN_TYPE,
        )
        for low in (0b0000, 0b0001, 0b0010, 0b0101, 0b1001, 0b0111, 0b1111)
    },
    "another workerpool": (
        lambda c: c.change_deal(workerpool_owner=REQUESTER.address),
        AuthorizationError.INVALID_SIGNATURE,
    ),
}


@pytest.mark.parametrize(("change", "reason"), CHAIN_CASES.values(), ids=CHAIN_CASES.keys())
def test_what_the_chain_does_not_allow(change: Change, reason: AuthorizationError) -> None:
    chain = bought_task()
    change(chain)
    with pytest.raises(NotAuthorizedError) as session:
        authorize_session(chain, authorization(CHALLENGE), RULES, NOW)
    assert session.value.reason is reason
    signature = recipes.sign(recipes.authorization_challenge("", TASK_ID, ""), POOL_OWNER)
    with pytest.raises(NotAuthorizedError) as challenge:
        authorize_challenge(chain, TASK_ID, signature, RULES, NOW)
    assert challenge.value.reason is reason


def test_the_gpu_bit_does_not_change_the_framework() -> None:
    chain = bought_task()
    chain.change_deal(tag=parse_bytes32("0x" + "00" * 30 + "0103"))
    assert authorize_session(chain, authorization(CHALLENGE), RULES, NOW)


GOOD = authorization(CHALLENGE)


@pytest.mark.parametrize(
    ("given", "reason"),
    [
        pytest.param(resigned(GOOD, chain_task_id=""), AuthorizationError.EMPTY_PARAMS_UNAUTHORIZED, id="no task id"),
        pytest.param(
            resigned(GOOD, chain_task_id="0x12"), AuthorizationError.GET_CHAIN_TASK_FAILED, id="short task id"
        ),
        pytest.param(
            resigned(GOOD, chain_task_id=ZERO_BYTES32), AuthorizationError.GET_CHAIN_TASK_FAILED, id="zero task id"
        ),
        pytest.param(
            resigned(GOOD, worker_wallet=REQUESTER.address), AuthorizationError.INVALID_SIGNATURE, id="other worker"
        ),
        pytest.param(
            resigned(GOOD, enclave_challenge="0x" + "ef" * 20),
            AuthorizationError.INVALID_SIGNATURE,
            id="other challenge",
        ),
        pytest.param(
            resigned(GOOD, signature=SignatureValue(value="0x")),
            AuthorizationError.INVALID_SIGNATURE,
            id="no signature",
        ),
        pytest.param(
            authorization(CHALLENGE, pool=WORKER), AuthorizationError.INVALID_SIGNATURE, id="signed by the worker"
        ),
    ],
)
def test_wrong_authorizations(given: WorkerpoolAuthorization, reason: AuthorizationError) -> None:
    with pytest.raises(NotAuthorizedError) as caught:
        authorize_session(bought_task(), given, RULES, NOW)
    assert caught.value.reason is reason


def test_the_order_of_checks() -> None:
    """Everything is wrong at once; repairing one thing shows the next reason."""
    chain = bought_task()
    now = NOW + timedelta(seconds=1)
    chain.tasks.clear()
    given = authorization(CHALLENGE, pool=REQUESTER)
    repairs: list[tuple[AuthorizationError, Change]] = [
        (AuthorizationError.GET_CHAIN_TASK_FAILED, lambda c: c.tasks.update(bought_task().tasks)),
        (AuthorizationError.TASK_NOT_ACTIVE, lambda c: c.change_task(status=TaskStatus.ACTIVE)),
        (AuthorizationError.GET_CHAIN_DEAL_FAILED, lambda c: c.change_deal(start_time=1)),
        (AuthorizationError.NO_MATCH_ONCHAIN_TYPE, lambda c: c.change_deal(tag=parse_bytes32(tag(3)))),
        (AuthorizationError.INVALID_SIGNATURE, lambda c: c.change_deal(workerpool_owner=REQUESTER.address)),
    ]
    chain.change_deal(start_time=0, tag=parse_bytes32(tag(0)))
    for reason, repair in repairs:
        with pytest.raises(NotAuthorizedError) as caught:
            authorize_session(chain, given, RULES, now)
        assert caught.value.reason is reason
        repair(chain)
        if reason is AuthorizationError.GET_CHAIN_TASK_FAILED:
            chain.change_task(status=TaskStatus.FAILED)
    assert authorize_session(chain, given, RULES, now)


def test_every_reason_has_its_session_failure() -> None:
    for reason in AuthorizationError:
        failure = SessionFailure.not_authorized(reason)
        assert failure == f"EXECUTION_NOT_AUTHORIZED_{reason}"
        assert failure.status == 401
    assert SessionFailure.INVALID_AUTHORIZATION.status == 401
    assert SessionFailure.GET_TASK_DESCRIPTION_FAILED.status == 500


@pytest.mark.parametrize("signature", ["", "0x", "0x" + "11" * 65])
def test_a_malformed_challenge_request_costs_no_call(signature: str) -> None:
    chain = bought_task()
    with pytest.raises(NotAuthorizedError) as caught:
        authorize_challenge(chain, TASK_ID, signature, RULES, NOW)
    assert caught.value.reason is AuthorizationError.INVALID_SIGNATURE or chain.calls > 0
    if signature in {"", "0x"}:
        assert chain.calls == 0


def _header(given: WorkerpoolAuthorization) -> str:
    challenge = recipes.authorization_challenge(given.worker_wallet, given.chain_task_id, given.enclave_challenge)
    return recipes.sign(challenge, WORKER)


def test_the_worker_signs_for_itself() -> None:
    check_worker(GOOD, _header(GOOD))


@pytest.mark.parametrize(
    ("given", "signature"),
    [
        pytest.param(GOOD, GOOD.signature.value, id="the pool's signature as the worker's"),
        pytest.param(resigned(GOOD, worker_wallet=REQUESTER.address), _header(GOOD), id="another worker"),
        pytest.param(resigned(GOOD, worker_wallet=""), _header(GOOD), id="no worker"),
        pytest.param(resigned(GOOD, chain_task_id="task one"), _header(GOOD), id="task id is no hex"),
        pytest.param(GOOD, "0x", id="no signature"),
    ],
)
def test_wrong_worker_signatures(given: WorkerpoolAuthorization, signature: str) -> None:
    with pytest.raises(SessionRefusedError) as caught:
        check_worker(given, signature)
    assert caught.value.failure is SessionFailure.INVALID_AUTHORIZATION


ASSET_CHALLENGE = recipes.app_challenge(APP, "v")
APPS = frozenset({AssetKind.APP})


def test_the_owner_of_an_asset() -> None:
    chain, credential = bought_task(), Credential(recipes.sign(ASSET_CHALLENGE, APP_OWNER))
    check_asset_owner(chain, signatures(chain), ASSET_CHALLENGE, credential, APP.lower(), kinds=APPS)


@pytest.mark.parametrize(
    ("change", "kinds", "error"),
    [
        pytest.param(lambda c: c.owners.clear(), APPS, NotAllowedError, id="no owner"),
        pytest.param(lambda c: c.kinds.clear(), APPS, NotAllowedError, id="not registered"),
        pytest.param(lambda _c: None, frozenset({AssetKind.DATASET}), NotAllowedError, id="of another registry"),
        pytest.param(lambda c: setattr(c, "down", True), APPS, UnavailableError, id="node down"),
    ],
)
def test_who_is_not_the_owner(change: Change, kinds: frozenset[AssetKind], error: type[AdytonError]) -> None:
    chain = bought_task()
    change(chain)
    with pytest.raises(error):
        check_asset_owner(
            chain,
            signatures(chain),
            ASSET_CHALLENGE,
            Credential(recipes.sign(ASSET_CHALLENGE, APP_OWNER)),
            APP,
            kinds=kinds,
        )
