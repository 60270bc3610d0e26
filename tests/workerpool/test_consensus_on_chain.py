"""Proof of Contribution with several workers on the real contracts: who agrees is paid, who lies pays."""

from __future__ import annotations

import pytest
from tests.workerpool.arena import Arena, finish, players

from adyton.base.types import Address, Bytes32
from adyton.chain.events import AccurateContribution, FaultyContribution, find
from adyton.chain.models import ContributionStatus
from adyton.workerpool.actions import AbortCause, Action

PRICE = 1000  # nRLC
STAKE = 300  # 30 % of it
POLICY = 1  # percent that the pool keeps


def judged(arena: Arena, task: Bytes32) -> dict[Address, bool]:
    """Every worker that the contracts judged: whether it was right."""
    logs = arena.chain.rpc.logs(arena.hub.address, [], arena.changes["start_block"], "latest")
    right = {e.worker: True for e in find(logs, AccurateContribution, arena.hub.address) if e.task_id == task}
    return right | {e.worker: False for e in find(logs, FaultyContribution, arena.hub.address) if e.task_id == task}


@pytest.mark.parametrize(
    ("trust", "honest", "liars"),
    [
        pytest.param(1, 1, 0, id="trust 1: one is enough"),
        pytest.param(3, 2, 0, id="trust 3: two agree"),
        pytest.param(3, 3, 1, id="trust 3: three against a liar"),
        pytest.param(10, 4, 0, id="trust 10: four agree"),
        pytest.param(10, 5, 1, id="trust 10: five against a liar"),
    ],
)
def test_consensus(running_arena: Arena, trust: int, honest: int, liars: int) -> None:
    arena = running_arena
    winners, losers = players(arena, honest), players(arena, liars, "a lie")
    idle = arena.player()
    before = {each.address: arena.hub.view_account(each.address) for each in (*winners, *losers)}
    pool_before = arena.hub.view_account(arena.owner.address)
    task = arena.buy(trust=trust, price=PRICE)
    for player in (*losers, *winners):
        player.work(task)
    arena.await_status(task, "CONSENSUS_REACHED")
    assert idle.take(wait_s=0.2) is None, "nobody else is needed"
    for loser in losers:
        assert loser.told(task, Action.PLEASE_ABORT).task_abort_cause is AbortCause.CONSENSUS_REACHED
    done = finish(arena, task, winners)

    assert (done.winner_counter, done.reveal_counter) == (honest, honest)
    assert set(done.contributors) == {each.address for each in (*winners, *losers)}
    pot = PRICE + STAKE * liars
    reward = pot * (100 - POLICY) // 100 // honest
    for winner in winners:
        account = arena.hub.view_account(winner.address)
        assert (account.stake - before[winner.address].stake, account.locked) == (reward, 0)
        assert arena.hub.view_contribution(task, winner.address).status is ContributionStatus.PROVED
    for loser in losers:
        account = arena.hub.view_account(loser.address)
        assert (before[loser.address].stake - account.stake, account.locked) == (STAKE, 0)
    pool_after = arena.hub.view_account(arena.owner.address)
    assert pool_after.locked == 0
    assert pool_after.stake - pool_before.stake >= pot - reward * honest  # and what the kitty adds
    verdicts = {w.address: True for w in winners} | {loser.address: False for loser in losers}
    assert judged(arena, task) == (verdicts if len(verdicts) > 1 else {}), "one worker alone earns no reputation"
    for winner in winners:
        winner.told(task, Action.PLEASE_COMPLETE)


def test_places_are_given_to_several_workers_at_once(running_arena: Arena) -> None:
    """Reference 8.3: for trust 5 three are asked at once; a dissenter makes a fourth and a fifth necessary."""
    arena = running_arena
    task = arena.buy(trust=5, price=PRICE)
    one, two, three, four, five, six = workers = [*players(arena, 2), arena.player("b"), *players(arena, 3)]
    for player in (one, two, three):
        player.take(task)
        player.compute(task)
    assert four.take(wait_s=0.2) is None
    for player in (one, two, three):
        player.contribute(task)
    four.take(task)
    four.compute(task)
    five.take(task)
    five.compute(task)
    assert six.take(wait_s=0.2) is None
    four.contribute(task)
    assert arena.view(task)["currentStatus"] == "RUNNING"
    five.contribute(task)
    done = finish(arena, task, [each for each in workers[:5] if each.answer == "truth"])
    assert (done.winner_counter, len(done.contributors)) == (4, 5)
    assert arena.hub.view_score(three.address) == 0
    assert all(arena.hub.view_score(each.address) == 1 for each in (one, two, four, five))


def test_a_worker_that_does_not_reveal_is_not_paid(running_arena: Arena) -> None:
    arena = running_arena
    task = arena.buy(trust=3, price=PRICE)
    silent, honest = players(arena, 2)
    for player in (silent, honest):
        player.work(task)
    honest.told(task, Action.PLEASE_REVEAL)
    honest.reveal(task)
    honest.told(task, Action.PLEASE_UPLOAD)
    honest.upload(task)
    arena.await_status(task, "RESULT_UPLOADED")
    assert arena.view(task)["currentStatus"] == "RESULT_UPLOADED", "the other may still reveal"
    arena.travel(2.1)
    view = arena.await_status(task, "COMPLETED")
    failed = next(each for each in view["replicates"] if each["walletAddress"] == silent.address)
    assert failed["statusUpdateList"][-1]["cause"] == "REVEAL_TIMEOUT"
    assert judged(arena, task) == {honest.address: True, silent.address: False}
