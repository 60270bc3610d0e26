"""Checks 0 to 6 of protocol section 3.1, against the real contracts; the later ones: test_session_checks_on_chain."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path

import pytest
from tests.chain.lifecycle import Market
from tests.conftest import Chain
from tests.ports import free_port
from tests.sms.support import MRENCLAVE, Service, authorization, running

from adyton.base.types import ZERO_BYTES32, Bytes32, word_bytes
from adyton.chain import hashing, tags
from adyton.chain.anvil import AnvilProcess, increase_time
from adyton.chain.artifacts import Artifacts
from adyton.chain.deploy import deploy
from adyton.chain.events import AssetTransfer, find
from adyton.chain.hashing import task_id
from adyton.chain.wallet import Wallet
from adyton.sms.access import recipes
from adyton.sms.wire import IPFS_TOKEN, SessionFailure, WorkerpoolAuthorization

F = SessionFailure
RESULTS = b"the result"
DIGEST = hashing.hash_text("digest")
SCONE = ("tee", "scone")


@pytest.fixture(scope="module")
def market(chain: Chain) -> Market:
    return _market(chain)


def _market(chain: Chain) -> Market:
    opened = Market.open(chain)
    apps, developer = opened.registries.app, opened.developer
    call = apps.create_app(developer.address, "enclave", "DOCKER", b"registry/app:1", ZERO_BYTES32, MRENCLAVE.encode())
    (created,) = find(developer.sender.send(apps.address, call).logs, AssetTransfer, apps.address)
    return replace(opened, app=created.asset)


@dataclass(frozen=True)
class Stage:
    """A service on a chain, and the market place there."""

    market: Market
    service: Service

    def bought(self, names: tuple[str, ...] = SCONE, *, initialized: bool = True) -> Bytes32:
        deal = self.market.match(tags.encode(names)).deal_id
        if initialized:
            self.market.pool_owner.sender.send(self.market.hub.address, self.market.hub.initialize(deal, 0))
        else:
            self.market.chain.rpc.call("evm_mine")
        return task_id(deal, 0)

    def challenge(self, task: Bytes32, signer: Wallet | None = None) -> tuple[int, str]:
        signature = recipes.sign(recipes.authorization_challenge("", task, ""), signer or self.market.pool_owner.wallet)
        answer = self.service.send("POST", f"/tee/challenges/{task}", signature)
        return answer.status_code, answer.text

    def session(self, given: WorkerpoolAuthorization, signer: Wallet | None = None) -> tuple[int, dict[str, object]]:
        worker = signer or self.market.worker.wallet
        challenge = recipes.authorization_challenge(given.worker_wallet, given.chain_task_id, given.enclave_challenge)
        answer = self.service.http.post(
            "/tee/sessions",
            headers={"Authorization": recipes.sign(challenge, worker)},
            json=given.model_dump(by_alias=True),
        )
        return answer.status_code, answer.json()

    def authorize(self, task: Bytes32, challenge: str = "0x" + "ee" * 20) -> WorkerpoolAuthorization:
        wallets = {"worker": self.market.worker.wallet, "pool": self.market.pool_owner.wallet}
        return authorization(challenge, **wallets, task_id=task)


def _stage(chain: Chain, market: Market, folder: Path) -> Iterator[Stage]:
    chain.rpc.call("evm_mine")  # instant blocks: without a transaction the head grows old
    deployment = chain.deployment
    with running(
        folder,
        real_chain=True,
        node_url=chain.url,
        witness_node_urls=(chain.url,),
        hub=deployment.hub,
        chain_id=deployment.chain_id,
        block_time_s=0.3,
    ) as service:
        yield Stage(market, service)


@pytest.fixture
def stage(chain: Chain, market: Market, tmp_path: Path) -> Iterator[Stage]:
    yield from _stage(chain, market, tmp_path)


Case = Callable[[Stage], WorkerpoolAuthorization]


def _completed(stage: Stage) -> WorkerpoolAuthorization:
    task, market, enclave = stage.bought(), stage.market, Wallet.create()
    proof = enclave.sign_personal(word_bytes(hashing.contribution_message(task, market.worker.address, DIGEST)))
    call = market.hub.contribute_and_finalize(
        task, DIGEST, RESULTS, b"", enclave.address, proof, market.authorize(task, enclave.address)
    )
    market.worker.sender.send(market.hub.address, call)
    return stage.authorize(task)


def _revealing(stage: Stage) -> WorkerpoolAuthorization:
    task = stage.bought()
    contribute(stage.market, task)
    return stage.authorize(task)


def contribute(market: Market, task: Bytes32) -> None:
    """Let the worker contribute: the task is to be revealed then."""
    enclave = Wallet.create()
    proof = enclave.sign_personal(word_bytes(hashing.contribution_message(task, market.worker.address, DIGEST)))
    call = market.hub.contribute(
        task,
        hashing.result_hash(task, DIGEST),
        hashing.result_seal(market.worker.address, task, DIGEST),
        enclave.address,
        proof,
        market.authorize(task, enclave.address),
    )
    market.worker.sender.send(market.hub.address, call)


def _by_another_pool(stage: Stage) -> WorkerpoolAuthorization:
    market = stage.market
    return authorization(
        "0x" + "ee" * 20, worker=market.worker.wallet, pool=market.requester.wallet, task_id=stage.bought()
    )


CASES: dict[str, tuple[Case, SessionFailure]] = {
    "0 another worker asks": (
        lambda s: s.authorize(s.bought()).model_copy(update={"worker_wallet": s.market.requester.address}),
        F.INVALID_AUTHORIZATION,
    ),
    "1 no task": (
        lambda s: s.authorize(s.bought()).model_copy(update={"chain_task_id": ""}),
        F.EXECUTION_NOT_AUTHORIZED_EMPTY_PARAMS_UNAUTHORIZED,
    ),
    "2 no such task": (
        lambda s: s.authorize(Bytes32("0x" + "77" * 32)),
        F.EXECUTION_NOT_AUTHORIZED_GET_CHAIN_TASK_FAILED,
    ),
    "2 a deal whose task is not initialized": (
        lambda s: s.authorize(s.bought(initialized=False)),
        F.EXECUTION_NOT_AUTHORIZED_GET_CHAIN_TASK_FAILED,
    ),
    "3 revealing": (_revealing, F.EXECUTION_NOT_AUTHORIZED_TASK_NOT_ACTIVE),
    "3 completed": (_completed, F.EXECUTION_NOT_AUTHORIZED_TASK_NOT_ACTIVE),
    **{
        f"5 tag {'+'.join(names) or 'none'}": (
            lambda s, names=names: s.authorize(s.bought(names)),  # type: ignore[misc]  # bound now, not later
            F.EXECUTION_NOT_AUTHORIZED_NO_MATCH_ONCHAIN_TYPE,
        )
        for names in ((), ("tee",), ("tee", "gramine"), ("tee", "tdx"))
    },
    "6 by another pool": (_by_another_pool, F.EXECUTION_NOT_AUTHORIZED_INVALID_SIGNATURE),
    "12 no challenge was made": (
        lambda s: s.authorize(s.bought()),
        F.GET_SIGNATURE_TOKENS_FAILED_EMPTY_TEE_CHALLENGE,
    ),
}


@pytest.mark.parametrize(("case", "failure"), CASES.values(), ids=CASES.keys())
def test_who_gets_no_session(stage: Stage, case: Case, failure: SessionFailure) -> None:
    status, answer = stage.session(case(stage))
    assert answer == {"error": failure.value}
    assert status == failure.status


@pytest.mark.parametrize(
    "name", [name for name in CASES if name[0] in "235"], ids=[name for name in CASES if name[0] in "235"]
)
def test_who_gets_no_challenge_gets_a_bare_401(stage: Stage, name: str) -> None:
    task = Bytes32(CASES[name][0](stage).chain_task_id)
    assert stage.challenge(task) == (401, "")


def test_another_wallet_gets_no_challenge(stage: Stage) -> None:
    task = stage.bought()
    for wallet in (stage.market.requester.wallet, stage.market.worker.wallet, Wallet.create()):
        assert stage.challenge(task, wallet) == (401, "")


def test_the_right_ones_get_theirs(stage: Stage) -> None:
    task, worker = stage.bought(("tee", "scone", "gpu")), stage.market.worker.wallet
    status, challenge = stage.challenge(task)
    assert status == 200
    signature = recipes.sign(recipes.web2_challenge(worker.address, IPFS_TOKEN, "jwt"), worker)
    query = {"ownerAddress": worker.address, "secretName": IPFS_TOKEN}
    assert stage.service.send("POST", "/secrets/web2", signature, "jwt", **query).status_code == 204
    status, answer = stage.session(stage.authorize(task, challenge))
    assert status == 200
    assert set(answer) == {"data"}
    # over the right task, but for another enclave key than the one that this service made
    status, answer = stage.session(stage.authorize(task))
    assert (status, answer) == (401, {"error": F.EXECUTION_NOT_AUTHORIZED_INVALID_SIGNATURE})


def test_the_deadline_and_a_failed_task(chain: Chain, artifacts: Artifacts, tmp_path: Path) -> None:
    # On a node of its own: the test moves the clock, which other tests share.
    with AnvilProcess(artifacts.node_modules, port=free_port()) as node:
        own = Chain(node.rpc, node.url, deploy(node.rpc, artifacts, admin=chain.admin), chain.admin)
        for stage in _stage(own, _market(own), tmp_path):
            task = stage.bought()
            assert stage.challenge(task)[0] == 200
            increase_time(node.rpc, 3001)
            node.rpc.call("evm_mine")
            late = (401, {"error": F.EXECUTION_NOT_AUTHORIZED_TASK_NOT_ACTIVE})
            assert stage.session(stage.authorize(task)) == late  # still ACTIVE on chain
            hub = stage.market.hub
            stage.market.requester.sender.send(hub.address, hub.claim(task))
            assert stage.session(stage.authorize(task)) == late  # now FAILED
            assert stage.challenge(task) == (401, "")


def test_a_head_that_is_too_old(stage: Stage) -> None:
    task = stage.bought()
    stage.service.clock.advance(time.time() - stage.service.clock.now.timestamp() + 400)
    status, answer = stage.session(stage.authorize(task))
    assert (status, answer) == (401, {"error": F.EXECUTION_NOT_AUTHORIZED_GET_CHAIN_TASK_FAILED})


def test_a_witness_that_is_not_there(chain: Chain, market: Market, tmp_path: Path) -> None:
    deployment = chain.deployment
    with running(
        tmp_path,
        real_chain=True,
        node_url=chain.url,
        witness_node_urls=("http://127.0.0.1:1",),
        hub=deployment.hub,
        chain_id=deployment.chain_id,
    ) as service:
        stage = Stage(market, service)
        assert stage.challenge(stage.bought()) == (401, "")
