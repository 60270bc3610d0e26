"""Whole lives of tasks on the real contracts, through this room's surface only."""

from __future__ import annotations

import hashlib

import pytest
from tests.chain.lifecycle import APP_PRICE, DATASET_PRICE, POOL_PRICE, Market
from tests.conftest import Chain
from tests.ports import free_port

from adyton.base.types import ZERO_ADDRESS, Bytes32, to_hex, word_bytes
from adyton.chain import hashing, tags
from adyton.chain.anvil import AnvilProcess, increase_time
from adyton.chain.artifacts import Artifacts
from adyton.chain.calldata import OrderOperation
from adyton.chain.contracts import TaskStatus
from adyton.chain.deploy import deploy
from adyton.chain.events import (
    ClosedAppOrder,
    SchedulerNotice,
    TaskClaimed,
    TaskConsensus,
    TaskContribute,
    TaskFinalize,
    TaskInitialize,
    TaskReveal,
    find,
)
from adyton.chain.models import ContributionStatus
from adyton.chain.orders import OrderKind
from adyton.chain.rpc import RevertError
from adyton.chain.wallet import Wallet

RESULTS = b'{"storage":"ipfs","location":"/ipfs/QmW2WQi7j6c7UgJTarActp7tDNikE4B2qXtFCfLPdsgaTQ"}'
DIGEST = Bytes32("0x" + hashlib.sha256(b"result").hexdigest())


@pytest.fixture(scope="module")
def market(chain: Chain) -> Market:
    return Market.open(chain)


def test_standard_task_from_match_to_finalize(market: Market) -> None:
    hub, worker, pool = market.hub, market.worker, market.pool_owner
    before = hub.view_account(market.requester.address)
    orders = market.orders(with_dataset=True)
    receipt = market.requester.sender.send(hub.address, hub.match_orders(*orders))
    (notice,) = find(receipt.logs, SchedulerNotice, hub.address)
    assert notice.workerpool == market.pool
    deal = hub.view_deal(notice.deal_id)
    assert deal is not None
    domain = hub.domain()
    assert notice.deal_id == hashing.deal_id(orders[3].hash(domain), deal.bot_first)
    assert (deal.app.pointer, deal.app.owner) == (market.app, market.developer.address)
    assert (deal.dataset.pointer, deal.workerpool.pointer) == (market.dataset, market.pool)
    assert (deal.params, deal.trust, deal.category) == ('{"iexec_args":"é"}', 1, 0)
    assert deal.price == APP_PRICE + DATASET_PRICE + POOL_PRICE
    assert hub.view_consumed(orders[3].hash(domain)) == 1
    assert hub.view_account(market.requester.address).locked == before.locked + deal.price

    task = hashing.task_id(notice.deal_id, deal.bot_first)
    assert hub.view_task(task) is None
    receipt = pool.sender.send(hub.address, hub.initialize(notice.deal_id, deal.bot_first))
    assert [each.task_id for each in find(receipt.logs, TaskInitialize, hub.address)] == [task]
    active = hub.view_task(task)
    assert active is not None
    assert active.status is TaskStatus.ACTIVE
    assert active.contribution_deadline == deal.start_time + 7 * 300
    assert active.final_deadline == deal.start_time + hub.final_deadline_ratio() * 300

    result, seal = hashing.result_hash(task, DIGEST), hashing.result_seal(worker.address, task, DIGEST)
    authorization = market.authorize(task, ZERO_ADDRESS)
    contribution = hub.contribute(task, result, seal, ZERO_ADDRESS, b"", authorization)
    receipt = worker.sender.send(hub.address, contribution)
    assert [each.worker for each in find(receipt.logs, TaskContribute, hub.address)] == [worker.address]
    assert [each.consensus for each in find(receipt.logs, TaskConsensus, hub.address)] == [result]
    found = hub.view_contribution(task, worker.address)
    assert (found.status, found.result_hash, found.result_seal) == (ContributionStatus.CONTRIBUTED, result, seal)

    receipt = worker.sender.send(hub.address, hub.reveal(task, DIGEST))
    assert [each.digest for each in find(receipt.logs, TaskReveal, hub.address)] == [DIGEST]
    receipt = pool.sender.send(hub.address, hub.finalize(task, RESULTS))
    assert [each.results for each in find(receipt.logs, TaskFinalize, hub.address)] == [RESULTS]
    done = hub.view_task(task)
    assert done is not None
    assert (done.status, done.results, done.result_digest) == (TaskStatus.COMPLETED, RESULTS, DIGEST)
    assert done.contributors == (worker.address,)
    assert hub.view_account(market.requester.address).stake == before.stake - deal.price


def test_enclave_task_by_contribute_and_finalize(market: Market) -> None:
    hub, worker, challenge = market.hub, market.worker, Wallet.create()
    matched = market.match(tags.encode(["tee", "scone"]), volume=2)
    deal = hub.view_deal(matched.deal_id)
    assert deal is not None
    assert (tags.framework(deal.tag), list(deal.indexes)) == ("SCONE", [0, 1])
    pool = market.pool_owner.sender
    pool.send(hub.address, hub.initialize_array([matched.deal_id] * 2, list(deal.indexes)))
    tasks = [hashing.task_id(matched.deal_id, index) for index in deal.indexes]
    message = hashing.contribution_message(tasks[1], worker.address, DIGEST)
    proof = challenge.sign_personal(word_bytes(message))
    authorization = market.authorize(tasks[1], challenge.address)

    def call(enclave_sign: bytes, authorization_sign: bytes = authorization) -> bytes:
        return hub.contribute_and_finalize(
            tasks[1], DIGEST, RESULTS, b"", challenge.address, enclave_sign, authorization_sign
        )

    with pytest.raises(RevertError) as refused:
        worker.sender.send(hub.address, call(Wallet.create().sign_personal(word_bytes(message))))
    assert refused.value.reason == ""
    with pytest.raises(RevertError):
        worker.sender.send(hub.address, call(proof, market.authorize(tasks[0], challenge.address)))
    worker.sender.send(hub.address, call(proof))
    first, second = hub.view_tasks(tasks)
    assert first is not None
    assert second is not None
    assert (first.status, second.status) == (TaskStatus.ACTIVE, TaskStatus.COMPLETED)
    assert hub.view_contribution(tasks[1], worker.address).enclave_challenge == challenge.address


def test_match_that_the_contracts_refuse_has_their_reason(market: Market) -> None:
    app, dataset, pool, request = market.orders()
    other = market.orders(tags.encode(["tee", "scone"]))[3]
    with pytest.raises(RevertError, match="iExecV5-matchOrders-0x0") as refused:
        market.requester.sender.send(market.hub.address, market.hub.match_orders(app, dataset, pool, other))
    assert refused.value.reason.startswith("iExecV5-matchOrders-0x0")
    receipt = market.requester.sender.send(market.hub.address, market.hub.match_orders(app, dataset, pool, request))
    assert receipt.status == 1


def test_order_can_be_cancelled_and_is_consumed_then(market: Market) -> None:
    hub = market.hub
    app = market.orders()[0]
    digest = app.hash(hub.domain())
    call = hub.manage_order(OrderKind.APP, app, OrderOperation.CLOSE)
    with pytest.raises(RevertError):
        market.requester.sender.send(hub.address, call)
    receipt = market.developer.sender.send(hub.address, call)
    assert [each.order_hash for each in find(receipt.logs, ClosedAppOrder, hub.address)] == [digest]
    assert hub.view_consumed_many([digest, Bytes32("0x" + "00" * 32)]) == [app.volume, 0]


@pytest.mark.parametrize("kind", list(OrderKind))
def test_every_kind_of_order_can_be_presigned(market: Market, kind: OrderKind) -> None:
    hub = market.hub
    orders = dict(zip(OrderKind, market.orders(with_dataset=True), strict=True))
    signers = dict(zip(OrderKind, (market.developer, market.owner, market.pool_owner, market.requester), strict=True))
    digest, signer = orders[kind].hash(hub.domain()), signers[kind]
    assert hub.verify_signature(signer.address, digest, bytes.fromhex(orders[kind].sign[2:]))
    assert not hub.verify_signature(signer.address, digest, b"")
    assert not hub.verify_presignature_or_signature(signer.address, digest, b"")
    signer.sender.send(hub.address, hub.manage_order(kind, orders[kind], OrderOperation.SIGN))
    assert hub.verify_presignature_or_signature(signer.address, digest, b"")


def test_claim_after_the_final_deadline_refunds(chain: Chain, artifacts: Artifacts) -> None:
    # On a node of its own: the test moves the clock, which other tests share.
    with AnvilProcess(artifacts.node_modules, port=free_port()) as node:
        deployment = deploy(node.rpc, artifacts, admin=chain.admin)
        _claim(Market.open(Chain(node.rpc, node.url, deployment, chain.admin)))


def _claim(market: Market) -> None:
    hub = market.hub
    matched = market.match()
    call = hub.initialize_and_claim_array([matched.deal_id], [0])
    with pytest.raises(RevertError):
        market.requester.sender.send(hub.address, call)
    before = hub.view_account(market.requester.address)
    increase_time(hub.rpc, 3001)
    receipt = market.requester.sender.send(hub.address, call)
    task = hashing.task_id(matched.deal_id, 0)
    assert [each.task_id for each in find(receipt.logs, TaskClaimed, hub.address)] == [task]
    after = hub.view_account(market.requester.address)
    assert (after.stake - before.stake, after.locked) == (APP_PRICE + POOL_PRICE, 0)
    failed = hub.view_task(task)
    assert failed is not None
    assert failed.status is TaskStatus.FAILED
    assert to_hex(failed.results) == "0x"
