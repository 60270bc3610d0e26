"""Every row of protocol section 1.5 and 3.1, over a real socket."""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import httpx2
import pytest
from sqlalchemy import create_engine, text
from tests.sms.support import (
    KEY_HEX,
    MRENCLAVE,
    POOL_OWNER,
    POST_FINGERPRINT,
    PRE_FINGERPRINT,
    REQUESTER,
    TASK_ID,
    WORKER,
    Service,
    SimulatedChain,
    authorization,
    bought_task,
    running,
)

from adyton.base.secret import Secret
from adyton.base.types import parse_bytes32
from adyton.chain.contracts import TaskStatus
from adyton.chain.wallet import Wallet
from adyton.sms.access import recipes
from adyton.sms.audit import AuditEntry, AuditLog
from adyton.sms.store.database import Database
from adyton.sms.wire import IPFS_TOKEN, SessionFailure, WorkerpoolAuthorization


@pytest.fixture
def service(tmp_path: Path) -> Iterator[Service]:
    with running(tmp_path) as started:
        yield started


def ask_challenge(service: Service, wallet: Wallet = POOL_OWNER, task_id: str = TASK_ID) -> httpx2.Response:
    signature = recipes.sign(recipes.authorization_challenge("", task_id, ""), wallet)
    return service.send("POST", f"/tee/challenges/{task_id}", signature)


def push_token(service: Service, owner: Wallet = WORKER, value: str = "worker.jwt.token") -> None:
    signature = recipes.sign(recipes.web2_challenge(owner.address, IPFS_TOKEN, value), owner)
    query = {"ownerAddress": owner.address, "secretName": IPFS_TOKEN}
    assert service.send("POST", "/secrets/web2", signature, value, **query).status_code == 204


def ask_session(service: Service, given: WorkerpoolAuthorization, wallet: Wallet = WORKER) -> httpx2.Response:
    challenge = recipes.authorization_challenge(given.worker_wallet, given.chain_task_id, given.enclave_challenge)
    return service.send(
        "POST", "/tee/sessions", recipes.sign(challenge, wallet), json.dumps(given.model_dump(by_alias=True))
    )


def audit_of(service: Service) -> list[AuditEntry]:
    engine = create_engine(f"sqlite:///{service.settings.database}")
    try:
        return AuditLog(Database(engine, Secret(bytes.fromhex(KEY_HEX)))).verify()
    finally:
        engine.dispose()


# -- framework and properties -------------------------------------------------------------------------------------


def test_framework(service: Service) -> None:
    answer = service.http.get("/tee/framework")
    assert (answer.status_code, answer.text) == (200, '"SCONE"')


PROPERTIES = {
    "teeFramework": "SCONE",
    "teeFrameworkVersion": "v1",
    "preComputeProperties": {
        "image": "adyton/pre:1",
        "fingerprint": PRE_FINGERPRINT,
        "entrypoint": "python3 -m pre",
        "heapSizeInBytes": 1073741824,
    },
    "postComputeProperties": {
        "image": "adyton/post:1",
        "fingerprint": POST_FINGERPRINT,
        "entrypoint": "python3 -m post",
        "heapSizeInBytes": 1073741824,
    },
    "lasImage": "",
}


@pytest.mark.parametrize("path", ["scone", "SCONE", "Scone/v1"])
def test_properties(service: Service, path: str) -> None:
    answer = service.http.get(f"/tee/properties/{path}")
    assert (answer.status_code, answer.json()) == (200, PROPERTIES)


@pytest.mark.parametrize(
    ("path", "status"),
    [
        ("gramine", 409),
        ("tdx/v1", 409),
        ("gramine/v9", 404),
        ("scone/v9", 404),
        ("scone/V1", 404),
        ("sev", 400),
        ("sev/v9", 400),
    ],
)
def test_no_properties(service: Service, path: str, status: int) -> None:
    assert service.http.get(f"/tee/properties/{path}").status_code == status


# -- challenges ---------------------------------------------------------------------------------------------------


def test_a_challenge_is_made_once(service: Service) -> None:
    first, second = ask_challenge(service), ask_challenge(service)
    assert first.status_code == 200
    assert re.fullmatch(r"0x[0-9a-f]{40}", first.text)
    assert first.headers["content-type"].startswith("text/plain")
    assert second.text == first.text
    assert [entry.event for entry in audit_of(service)] == ["challenge.created"]


def test_concurrent_schedulers_get_one_challenge(service: Service) -> None:
    with ThreadPoolExecutor(6) as threads:
        found = [answer.text for answer in threads.map(lambda _: ask_challenge(service), range(8))]
    assert len(set(found)) == 1


REFUSALS: dict[str, Callable[[SimulatedChain], object]] = {
    "unknown task": lambda c: c.tasks.clear(),
    "not active": lambda c: c.change_task(status=TaskStatus.COMPLETED),
    "unknown deal": lambda c: c.deals.clear(),
    "no framework": lambda c: c.change_deal(tag=parse_bytes32("0x" + "00" * 32)),
    "another pool": lambda c: c.change_deal(workerpool_owner=REQUESTER.address),
    "node down": lambda c: setattr(c, "down", True),
}


@pytest.mark.parametrize("change", REFUSALS.values(), ids=REFUSALS.keys())
def test_a_refused_challenge_is_a_bare_401(service: Service, change: Callable[[SimulatedChain], object]) -> None:
    change(service.chain)
    answer = ask_challenge(service)
    assert (answer.status_code, answer.content) == (401, b"")
    assert audit_of(service)[-1].event == "challenge.refused"


@pytest.mark.parametrize("task_id", ["0x12", "task", "0x" + "00" * 32, TASK_ID + "00"])
def test_malformed_tasks_have_no_challenge(service: Service, task_id: str) -> None:
    signature = recipes.sign(recipes.authorization_challenge("", TASK_ID, ""), POOL_OWNER)
    assert service.send("POST", f"/tee/challenges/{task_id}", signature).status_code == 401


def test_a_challenge_without_signature_is_400(service: Service) -> None:
    assert service.send("POST", f"/tee/challenges/{TASK_ID}").status_code == 400


def test_ended_challenges_are_purged(service: Service) -> None:
    first = ask_challenge(service).text
    service.clock.advance(service.settings.challenge_retention_s + 2 * 3600)
    ask_challenge(service)  # refused for its deadline, and cleans up
    service.clock.advance(-service.settings.challenge_retention_s - 2 * 3600)
    assert ask_challenge(service).text != first


# -- sessions -----------------------------------------------------------------------------------------------------


def test_a_session(service: Service) -> None:
    challenge = ask_challenge(service).text
    push_token(service)
    answer = ask_session(service, authorization(challenge))
    assert answer.status_code == 200
    assert set(answer.json()) == {"data"}
    data = answer.json()["data"]
    assert data["secretProvisioningUrl"] == "127.0.0.1:18765"
    assert re.fullmatch(rf"[0-9A-Za-z]{{10}}0000{TASK_ID}", data["sessionId"])
    (document,) = service.store.documents
    assert document["name"] == data["sessionId"]
    environment = document["services"][-1]["environment"]
    assert environment["SIGN_WORKER_ADDRESS"] == WORKER.address
    enclave = Wallet.from_hex(environment["SIGN_TEE_CHALLENGE_PRIVATE_KEY"])
    assert enclave.address.lower() == challenge
    assert len(environment["SIGN_TEE_CHALLENGE_PRIVATE_KEY"]) == 66


def test_a_release_is_recorded_by_hash(service: Service) -> None:
    challenge = ask_challenge(service).text
    push_token(service, value="canary-jwt-5512")
    session_id = ask_session(service, authorization(challenge)).json()["data"]["sessionId"]
    entry = audit_of(service)[-1]
    assert entry.event == "session.released"
    assert entry.fields["task"] == TASK_ID
    assert entry.fields["session"] == hashlib.sha256(session_id.encode()).hexdigest()
    assert "canary-jwt-5512" not in repr(audit_of(service))
    assert session_id not in repr(audit_of(service))


def test_worker_addresses_are_checksummed_in_the_session(service: Service) -> None:
    challenge = ask_challenge(service).text
    push_token(service)
    given = authorization(challenge).model_copy(update={"worker_wallet": WORKER.address.lower()})
    assert ask_session(service, given).status_code == 200
    assert service.store.documents[0]["services"][-1]["environment"]["SIGN_WORKER_ADDRESS"] == WORKER.address


Setup = Callable[[Service], WorkerpoolAuthorization]


def _prepared(service: Service, *, token: bool = True) -> WorkerpoolAuthorization:
    if token:
        push_token(service)
    return authorization(ask_challenge(service).text)


def _with_chain(change: Callable[[SimulatedChain], object]) -> Setup:
    def setup(service: Service) -> WorkerpoolAuthorization:
        given = _prepared(service)
        change(service.chain)
        return given

    return setup


def _changed(**changes: object) -> Setup:
    return lambda service: _prepared(service).model_copy(update=changes)


def _no_key(service: Service) -> WorkerpoolAuthorization:
    given = _prepared(service)
    engine = create_engine(f"sqlite:///{service.settings.database}")
    with engine.begin() as db:
        db.execute(text("UPDATE tee_challenge SET private_key = x''"))
    engine.dispose()
    return given


def _broken_database(service: Service) -> WorkerpoolAuthorization:
    given = _prepared(service)
    engine = create_engine(f"sqlite:///{service.settings.database}")
    with engine.begin() as db:
        db.execute(text("DROP TABLE secret"))
    engine.dispose()
    return given


def _refusing_store(service: Service) -> WorkerpoolAuthorization:
    service.store.refuses = True
    return _prepared(service)


def _params(params: str) -> Setup:
    return _with_chain(lambda c: c.change_deal(params=params))


def _mrenclave(text_: str) -> Setup:
    return _with_chain(lambda c: c.change_app(mrenclave=text_))


F = SessionFailure
SESSION_CASES: dict[str, tuple[Setup, SessionFailure]] = {
    "0 header by another": (
        lambda s: _prepared(s).model_copy(update={"worker_wallet": REQUESTER.address}),
        F.INVALID_AUTHORIZATION,
    ),
    "1 no task id": (_changed(chain_task_id=""), F.EXECUTION_NOT_AUTHORIZED_EMPTY_PARAMS_UNAUTHORIZED),
    "2 unknown task": (_with_chain(lambda c: c.tasks.clear()), F.EXECUTION_NOT_AUTHORIZED_GET_CHAIN_TASK_FAILED),
    "2 node down": (
        _with_chain(lambda c: setattr(c, "down", True)),
        F.EXECUTION_NOT_AUTHORIZED_GET_CHAIN_TASK_FAILED,
    ),
    "3 not active": (
        _with_chain(lambda c: c.change_task(status=TaskStatus.REVEALING)),
        F.EXECUTION_NOT_AUTHORIZED_TASK_NOT_ACTIVE,
    ),
    "4 unknown deal": (_with_chain(lambda c: c.deals.clear()), F.EXECUTION_NOT_AUTHORIZED_GET_CHAIN_DEAL_FAILED),
    "5 another framework": (
        _with_chain(lambda c: c.change_deal(tag=parse_bytes32("0x" + "00" * 31 + "05"))),
        F.EXECUTION_NOT_AUTHORIZED_NO_MATCH_ONCHAIN_TYPE,
    ),
    "6 signed by another": (
        lambda s: authorization(_prepared(s).enclave_challenge, pool=REQUESTER),
        F.EXECUTION_NOT_AUTHORIZED_INVALID_SIGNATURE,
    ),
    "7 app unreadable": (_with_chain(lambda c: c.apps.clear()), F.GET_TASK_DESCRIPTION_FAILED),
    "8 no enclave description": (_mrenclave(""), F.APP_COMPUTE_NO_ENCLAVE_CONFIG),
    "9 unknown version": (_mrenclave(MRENCLAVE.replace("v1", "v2")), F.APP_COMPUTE_INVALID_ENCLAVE_CONFIG),
    "12 no challenge in the request": (
        lambda s: (_prepared(s), authorization(""))[1],
        F.GET_SIGNATURE_TOKENS_FAILED_EMPTY_PUBLIC_ENCLAVE_CHALLENGE,
    ),
    "12 no challenge stored": (
        lambda _s: authorization("0x" + "ee" * 20),
        F.GET_SIGNATURE_TOKENS_FAILED_EMPTY_TEE_CHALLENGE,
    ),
    "12 key of the challenge does not open": (_no_key, F.GET_SIGNATURE_TOKENS_FAILED_EMPTY_TEE_CREDENTIALS),
    "12 another challenge than the stored": (
        lambda s: (_prepared(s), authorization("0x" + "ee" * 20))[1],
        F.EXECUTION_NOT_AUTHORIZED_INVALID_SIGNATURE,
    ),
    "14 incomplete enclave description": (
        _mrenclave(MRENCLAVE.replace("1073741824", "0")),
        F.APP_COMPUTE_INVALID_ENCLAVE_CONFIG,
    ),
    "15 no beneficiary key": (
        _params('{"iexec_result_encryption":true}'),
        F.POST_COMPUTE_GET_ENCRYPTION_TOKENS_FAILED_EMPTY_BENEFICIARY_KEY,
    ),
    "16 no storage token": (lambda s: _prepared(s, token=False), F.POST_COMPUTE_GET_STORAGE_TOKENS_FAILED),
    "17 store refuses": (_refusing_store, F.SECURE_SESSION_STORAGE_CALL_FAILED),
    "18 database broken": (_broken_database, F.SECURE_SESSION_GENERATION_FAILED),
    "18 bulk": (_params('{"bulk_cid":"QmBulk"}'), F.SECURE_SESSION_GENERATION_FAILED),
}


@pytest.mark.parametrize(("setup", "failure"), SESSION_CASES.values(), ids=SESSION_CASES.keys())
def test_no_session(service: Service, setup: Setup, failure: SessionFailure) -> None:
    answer = ask_session(service, setup(service))
    assert answer.json() == {"error": failure.value}
    assert answer.status_code == (401 if failure.startswith(("EXECUTION_NOT", "INVALID_AUTH")) else 500)
    assert service.store.documents == []
    assert audit_of(service)[-1].event == "session.refused"


def test_13_a_dataset_without_key(tmp_path: Path) -> None:
    with running(tmp_path, bought_task(dataset=True)) as service:
        answer = ask_session(service, _prepared(service))
        assert answer.json() == {"error": "PRE_COMPUTE_GET_DATASET_SECRET_FAILED"}


def test_sessions_of_a_task_are_bounded(tmp_path: Path) -> None:
    with running(tmp_path, max_sessions_per_task=2) as service:
        given = _prepared(service)
        assert [ask_session(service, given).status_code for _ in range(3)] == [200, 200, 500]
        names = [document["name"] for document in service.store.documents]
        assert len(set(names)) == 2


def test_a_bad_worker_signature_costs_no_call(service: Service) -> None:
    given = authorization("0x" + "ee" * 20)
    assert ask_session(service, given, wallet=REQUESTER).json() == {"error": "INVALID_AUTHORIZATION"}
    assert service.chain.calls == 0


GOOD = authorization("0x" + "ee" * 20).model_dump(by_alias=True)


@pytest.mark.parametrize(
    "body",
    [
        pytest.param("", id="empty"),
        pytest.param("not json", id="not json"),
        pytest.param("[]", id="array"),
        pytest.param(json.dumps(GOOD | {"workerWallet": None}), id="null worker"),
        pytest.param(json.dumps({k: v for k, v in GOOD.items() if k != "signature"}), id="no signature"),
        pytest.param(json.dumps(GOOD | {"signature": "0x00"}), id="signature is no object"),
        pytest.param(json.dumps(GOOD | {"chainTaskId": "0x" + "1" * 500}), id="endless task id"),
        pytest.param(" " * 70_000 + json.dumps(GOOD), id="too long"),
    ],
)
def test_malformed_session_requests_are_400(service: Service, body: str) -> None:
    assert service.send("POST", "/tee/sessions", GOOD["signature"]["value"], body).status_code == 400


def test_members_that_official_peers_may_add_are_ignored(service: Service) -> None:
    given = _prepared(service)
    challenge = recipes.authorization_challenge(given.worker_wallet, given.chain_task_id, given.enclave_challenge)
    body = json.dumps(given.model_dump(by_alias=True) | {"future": 1})
    assert service.send("POST", "/tee/sessions", recipes.sign(challenge, WORKER), body).status_code == 200


def test_informative_members_have_defaults(service: Service) -> None:
    given = _prepared(service)
    body = {k: v for k, v in given.model_dump(by_alias=True).items() if k not in {"dealId", "taskIndex"}}
    challenge = recipes.authorization_challenge(given.worker_wallet, given.chain_task_id, given.enclave_challenge)
    assert service.send("POST", "/tee/sessions", recipes.sign(challenge, WORKER), json.dumps(body)).status_code == 200
