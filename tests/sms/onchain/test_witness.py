"""Several nodes: what they do not all say alike is not believed."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest
from tests.sms.opening.test_bulk import GOOD
from tests.sms.support import (
    APP,
    DATASET,
    DEAL_ID,
    NOW,
    POOL_OWNER,
    REQUESTER,
    TASK_ID,
    WORKER,
    SimulatedChain,
    authorization,
    bought_task,
    running,
)

from adyton.base.types import Address, Bytes32
from adyton.chain.contracts import AssetKind, TaskStatus
from adyton.sms.access import recipes
from adyton.sms.onchain.view import ChainView, OrderFacts
from adyton.sms.onchain.witness import AgreeingView, DisagreementError

OTHER = Address("0x9999999999999999999999999999999999999999")


def agreeing(*nodes: SimulatedChain, slept: list[float] | None = None) -> AgreeingView:
    pauses: list[float] = [] if slept is None else slept
    return AgreeingView(nodes, 3.0, sleep=pauses.append)


READS: dict[str, Callable[[ChainView], object]] = {
    "task": lambda view: view.task(TASK_ID),
    "deal": lambda view: view.deal(DEAL_ID),
    "app": lambda view: view.app(APP),
    "dataset": lambda view: view.dataset(DATASET),
    "owner": lambda view: view.owner(APP),
    "kind": lambda view: view.asset_kind(APP),
    "order": lambda view: view.order_facts(GOOD, bought_task().deals[DEAL_ID]),
    "contract": lambda view: view.accepts_signature(OTHER, bytes(32), bytes(65)),
    "head": lambda view: view.head(),
}
LIES: dict[str, Callable[[SimulatedChain], object]] = {
    "task": lambda c: c.change_task(status=TaskStatus.COMPLETED),
    "deal": lambda c: c.change_deal(workerpool_owner=REQUESTER.address),
    "app": lambda c: c.change_app(mrenclave="{}"),
    "dataset": lambda c: c.datasets.clear(),
    "owner": lambda c: c.owners.update({APP: OTHER}),
    "kind": lambda c: c.kinds.update({APP: AssetKind.DATASET}),
    "order": lambda c: c.orders.update({DATASET: OrderFacts(signed=True, consumed=7)}),
    "head": lambda c: c.hashes.update({1000: Bytes32("0x" + "66" * 32)}),
}


@pytest.mark.parametrize("read", READS.values(), ids=READS.keys())
def test_nodes_that_agree(read: Callable[[ChainView], object]) -> None:
    assert read(agreeing(bought_task(), bought_task())) == read(bought_task())


@pytest.mark.parametrize("lie", LIES.items(), ids=LIES.keys())
@pytest.mark.parametrize("liar", [0, 1])
def test_nodes_that_do_not(lie: tuple[str, Callable[[SimulatedChain], object]], liar: int) -> None:
    nodes = [bought_task(), bought_task()]
    lie[1](nodes[liar])
    slept: list[float] = []
    with pytest.raises(DisagreementError) as caught:
        READS[lie[0]](agreeing(*nodes, slept=slept))
    assert caught.value.code == "sms.chain.disagree"
    assert sum(slept) == 3.0  # a block's time to catch up, and no more


def test_a_node_may_catch_up() -> None:
    first, late = bought_task(), bought_task()
    found, slept = late.tasks.pop(TASK_ID), []

    def sleep(seconds: float) -> None:
        slept.append(seconds)
        if len(slept) == 2:
            late.tasks[TASK_ID] = found

    assert AgreeingView((first, late), 3.0, sleep=sleep).task(TASK_ID) == found
    assert slept == [1.0, 1.0]


def test_the_head_is_the_oldest_and_must_be_on_one_fork() -> None:
    first, late = bought_task(), bought_task()
    late.height, late.head_timestamp = 998, first.head_timestamp - 4
    assert agreeing(first, late).head() == late.head()
    late.hashes[998] = Bytes32("0x" + "66" * 32)
    with pytest.raises(DisagreementError):
        agreeing(first, late).head()


def test_a_witness_that_is_down_counts_as_no_answer() -> None:
    down = bought_task()
    down.down = True
    with pytest.raises(Exception, match="down"):
        agreeing(bought_task(), down).task(TASK_ID)


def test_no_session_and_no_secret_where_nodes_disagree(tmp_path: Path) -> None:
    honest, lying = bought_task(), bought_task()
    lying.change_task(final_deadline=int(NOW.timestamp()) + 999_999)
    lying.owners[DATASET] = REQUESTER.address
    with running(tmp_path, seen=agreeing(honest, lying)) as service:
        signature = recipes.sign(recipes.authorization_challenge("", TASK_ID, ""), POOL_OWNER)
        assert service.send("POST", f"/tee/challenges/{TASK_ID}", signature).status_code == 401
        given = authorization("0x" + "ee" * 20)
        challenge = recipes.authorization_challenge(given.worker_wallet, TASK_ID, given.enclave_challenge)
        body = json.dumps(given.model_dump(by_alias=True))
        answer = service.send("POST", "/tee/sessions", recipes.sign(challenge, WORKER), body)
        assert answer.json() == {"error": "EXECUTION_NOT_AUTHORIZED_GET_CHAIN_TASK_FAILED"}
        signature = recipes.sign(recipes.web3_challenge(DATASET, "v"), REQUESTER)
        refused = service.send("POST", "/secrets/web3", signature, "v", secretAddress=DATASET)
        assert (refused.status_code, refused.json()["code"]) == (503, "sms.chain.disagree")
