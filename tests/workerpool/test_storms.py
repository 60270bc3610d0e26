"""Tasks end well although the node is away, the chain is reorganised, or the host's clock is wrong."""

from __future__ import annotations

from datetime import timedelta

import httpx2
import pytest
from tests.waiting import until
from tests.workerpool.arena import Arena, finish, players
from tests.workerpool.fickle import fickle
from tests.workerpool.pool import NRLC

from adyton.base.clock import utc_now
from adyton.chain.anvil import set_balance
from adyton.chain.contracts import Hub
from adyton.chain.hashing import task_id
from adyton.chain.models import TaskStatus
from adyton.chain.wallet import Wallet
from adyton.workerpool.actions import Action


def test_the_node_may_be_away_at_any_step(arena: Arena, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("adyton.workerpool.scheduler.service.CHAIN_PATIENCE", timedelta(seconds=0.5))
    with fickle(arena.chain.url) as node, arena.running(rpc_url=node.url):
        task = arena.buy()
        player = arena.player()
        player.take(task)
        player.compute(task)
        node.patience = 0
        url = f"{arena.url}/replicates/available?wait=0"
        token = player.session._login().reveal()  # a bare request, to see the status
        headers = {"Authorization": f"Bearer {token}"}
        until(lambda: httpx2.get(url, headers=headers).status_code == 503)
        assert httpx2.get(f"{arena.url}/tasks/{task}").status_code == 200, "what is known can be read"
        node.patience = 10**9
        until(lambda: httpx2.get(url, headers=headers).status_code == 204)
        player.contribute(task)
        player.told(task, Action.PLEASE_REVEAL)
        node.patience = 5
        player.arena.chain.sender(player.wallet).send(arena.hub.address, arena.hub.reveal(task, player.digest(task)))
        until(lambda: node.patience < 0)
        node.patience = 10**9
        until(lambda: httpx2.get(url, headers=headers).status_code == 204)
        player.told(task, Action.PLEASE_UPLOAD)
        player.upload(task)
        arena.await_status(task, "COMPLETED")


def test_a_task_whose_transactions_went_down_with_their_blocks_is_done_again(
    arena: Arena, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("adyton.workerpool.scheduler.reconcile.SETTLED_AFTER", timedelta(seconds=0.2))
    monkeypatch.setattr("adyton.chain.tx.LOCAL_NONCE_S", 0)  # the sender's own count is of the branch that is gone
    rpc = arena.chain.rpc
    arena.changes["start_block"] = rpc.block_number()
    task = task_id(arena.deal(trust=3), 0)
    before = rpc.call("evm_snapshot")
    with arena.running():
        arena.await_status(task, "INITIALIZED")
        player, other = players(arena, 2)
        player.work(task)
        assert arena.chain_task(task).contributors == (player.address,)
        rpc.call("evm_revert", before)
        rpc.call("evm_increaseTime", 5)
        rpc.call("anvil_mine", 40)
        until(lambda: arena.hub.view_task(task) is not None, 20, "initialization on the other branch")
        fund(arena, player.wallet, other.wallet)
        player.told(task, Action.PLEASE_CONTRIBUTE)
        player.send_contribution(task)
        other.work(task)
        assert finish(arena, task, [player, other]).status is TaskStatus.COMPLETED


@pytest.mark.parametrize("hours", [-30, 30])
def test_a_wrong_clock_at_a_restart_fails_nothing_and_loses_nobody(arena: Arena, hours: int) -> None:
    with arena.running():
        task = arena.buy(trust=3)
        one, two = arena.player(), arena.player()
        one.work(task)
        two.take(task)
        two.compute(task)
    with arena.running(clock=lambda: utc_now() + timedelta(hours=hours)) as scheduler:
        until(lambda: scheduler.watcher.head)
        for _ in range(3):
            scheduler.detectors.run()
        assert {each["currentStatus"] for each in arena.view(task)["replicates"]} == {"CONTRIBUTED", "COMPUTED"}
        two.contribute(task)
        assert finish(arena, task, [one, two]).status is TaskStatus.COMPLETED


def fund(arena: Arena, *wallets: Wallet) -> None:
    """Give accounts what they had on the branch that is gone."""
    for wallet in wallets:
        set_balance(arena.chain.rpc, wallet.address, 10**21)
        arena.chain.sender(wallet).send(arena.hub.address, Hub.deposit(), 1_000_000 * NRLC)
