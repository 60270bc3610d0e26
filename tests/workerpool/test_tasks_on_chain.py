"""Tasks that do not go the straight way, on the real contracts: time-outs, reopening, claims, lost workers, lies."""

from __future__ import annotations

import json
import threading
from datetime import timedelta

import pytest
from tests.workerpool.arena import Arena, Player, finish, players

from adyton.base.types import Bytes32, to_hex
from adyton.chain import tags
from adyton.chain.hashing import task_id
from adyton.chain.models import TaskStatus
from adyton.chain.rpc import Receipt, RpcError
from adyton.chain.wallet import Wallet
from adyton.workerpool.actions import AbortCause, Action
from adyton.workerpool.causes import Cause
from adyton.workerpool.replicate import ReplicateStatus as R
from adyton.workerpool.worker.links import ipfs_link

PRICE = 1000


def replicate(arena: Arena, task: Bytes32, player: Player) -> dict[str, object]:
    return next(each for each in arena.view(task)["replicates"] if each["walletAddress"] == player.address)


def statuses(arena: Arena, task: Bytes32) -> list[str]:
    return [each["status"] for each in arena.view(task)["dateStatusList"]]


# -- deadlines ------------------------------------------------------------------------------------------------------


def test_a_task_that_nobody_contributes_to_fails_and_is_claimed(running_arena: Arena) -> None:
    arena = running_arena
    before = arena.hub.view_account(arena.requester.address)
    task = arena.buy(price=PRICE)
    player = arena.player()
    player.take(task)
    player.compute(task)
    arena.travel(7.1)
    assert player.told(task, Action.PLEASE_ABORT).task_abort_cause is AbortCause.CONTRIBUTION_TIMEOUT
    arena.await_status(task, "FAILED")
    assert statuses(arena, task)[-2:] == ["CONTRIBUTION_TIMEOUT", "FAILED"]
    assert arena.chain_task(task).status is TaskStatus.ACTIVE, "the contracts refuse a claim before the final deadline"
    arena.travel(3)
    arena.await_chain(task, TaskStatus.FAILED)
    assert arena.hub.view_account(arena.requester.address) == before, "the requester has everything back"
    assert arena.hub.view_account(arena.owner.address).locked == 0


def test_a_claim_survives_a_restart(arena: Arena) -> None:
    with arena.running():
        task = arena.buy(price=PRICE)
        arena.travel(7.1)
        arena.await_status(task, "FAILED")
    arena.travel(3)
    with arena.running():
        arena.await_chain(task, TaskStatus.FAILED)


def test_a_task_that_was_never_initialized_is_claimed_too(arena: Arena) -> None:
    with arena.running():
        # No SMS is configured, so the enclave task ends before its initialization.
        task = task_id(arena.deal(tag=tags.encode(["tee", "scone"]), price=PRICE), 0)
        arena.await_status(task, "FAILED")
        assert statuses(arena, task) == ["RECEIVED", "INITIALIZE_FAILED", "FAILED"]
        assert arena.hub.view_task(task) is None
        arena.travel(10.1)
        arena.await_status(task, "FAILED")
        assert arena.scheduler is not None
        for _ in range(100):
            if arena.hub.view_task(task) is not None:
                break
            arena.scheduler.detectors.run()
        assert arena.chain_task(task).status is TaskStatus.FAILED


def test_a_claim_that_the_node_does_not_take_holds_nothing_up(
    running_arena: Arena, monkeypatch: pytest.MonkeyPatch
) -> None:
    arena, asked = running_arena, threading.Event()
    assert arena.scheduler is not None

    def refuse(_task: Bytes32) -> Receipt:
        asked.set()
        raise RpcError("insufficient funds for gas")

    with monkeypatch.context() as patch:
        patch.setattr(arena.scheduler.onchain, "claim", refuse)
        failed = arena.buy()
        arena.travel(10.1)
        arena.await_status(failed, "FAILED")
        task, player = arena.buy(), arena.player()
        player.take(task)
        player.compute(task)
        assert asked.wait(5)
        player.send_contribution(task)  # and says nothing: it is found by a look at the chain
        arena.await_status(task, "CONSENSUS_REACHED")
    arena.await_chain(failed, TaskStatus.FAILED)


def test_the_final_deadline_ends_what_is_left(running_arena: Arena) -> None:
    arena = running_arena
    task = arena.buy(trust=3)
    one, two = players(arena, 2)
    for player in (one, two):
        player.work(task)
    one.told(task, Action.PLEASE_REVEAL)
    one.reveal(task)
    arena.await_status(task, "RESULT_UPLOADING")
    arena.travel(10.1)
    arena.await_status(task, "FAILED")
    assert statuses(arena, task)[-2:] == ["RESULT_UPLOAD_TIMEOUT", "FAILED"]
    arena.await_chain(task, TaskStatus.FAILED)


def test_a_task_finalized_in_time_is_completed_however_late_it_is_seen(arena: Arena) -> None:
    with arena.running():
        task = arena.buy()
        player = arena.player()
        player.work(task)
        player.told(task, Action.PLEASE_REVEAL)
    sender = arena.chain.sender(player.wallet)
    sender.send(arena.hub.address, arena.hub.reveal(task, player.digest(task)))
    link = ipfs_link("QmdfTbBqBPQ7VNxZEYEj14VmRuZBkqFbiwReogJgS1zR1n")
    arena.chain.sender(arena.owner).send(arena.hub.address, arena.hub.finalize(task, link.encode()))
    arena.travel(11)
    with arena.running():
        arena.await_status(task, "COMPLETED")


# -- reopening ------------------------------------------------------------------------------------------------------


def test_a_task_that_nobody_reveals_is_reopened_for_others(running_arena: Arena) -> None:
    arena = running_arena
    task = arena.buy(price=PRICE)
    silent, honest = players(arena, 2)
    silent.work(task)
    silent.told(task, Action.PLEASE_REVEAL)
    assert honest.take(wait_s=0) is None
    arena.travel(2.1)
    honest.take(task)  # as soon as the task is open again
    silent.told(task, Action.PLEASE_ABORT)
    honest.compute(task)
    honest.contribute(task)
    done = finish(arena, task, [honest])
    assert done.contributors == (silent.address, honest.address)
    view = arena.view(task)
    assert statuses(arena, task)[4:8] == ["CONSENSUS_REACHED", "REOPENING", "REOPENED", "INITIALIZED"]
    assert replicate(arena, task, silent)["currentStatus"] == "FAILED"
    assert view["consensus"] == done.consensus_value
    assert arena.hub.view_account(silent.address).locked == 0, "its stake is gone"


def test_the_losers_of_a_reopened_task_still_count(running_arena: Arena) -> None:
    """Their weight stays in the total on the chain, so more workers are needed than at first."""
    arena = running_arena
    task = arena.buy(trust=3)
    liar, silent, later = arena.player("a lie"), players(arena, 3), players(arena, 4)
    for player in (liar, *silent):
        player.work(task)
    arena.await_status(task, "CONSENSUS_REACHED")
    liar.told(task, Action.PLEASE_ABORT)
    liar.leave(task)
    arena.travel(2.1)
    later[0].take(task)
    later[0].compute(task)
    assert later[1].take(wait_s=0.2) is None, "the first may agree with the liar, which would be enough"
    later[0].contribute(task)
    for player in later[1:3]:  # without the liar one more would do
        player.take(task)
        player.compute(task)
    assert later[3].take(wait_s=0.2) is None
    for player in later[1:3]:
        player.contribute(task)
    done = finish(arena, task, later[:3])
    assert (done.winner_counter, len(done.contributors)) == (3, 7)


def test_too_late_to_reopen(running_arena: Arena) -> None:
    arena = running_arena
    task = arena.buy()
    player = arena.player()
    player.take(task)
    player.compute(task)
    arena.travel(6)
    player.contribute(task)
    player.told(task, Action.PLEASE_REVEAL)
    arena.travel(2.1)
    assert arena.scheduler is not None
    arena.scheduler.detectors.run()
    assert arena.view(task)["currentStatus"] == "CONSENSUS_REACHED", "nobody could contribute any more"
    arena.travel(2)
    arena.await_chain(task, TaskStatus.FAILED)
    assert statuses(arena, task)[-2:] == ["FINAL_DEADLINE_REACHED", "FAILED"]


# -- workers that fail or vanish ------------------------------------------------------------------------------------


@pytest.mark.parametrize("how", ["aborted", "failed", "never started"])
def test_a_failed_replicate_is_replaced_at_once(
    running_arena: Arena, monkeypatch: pytest.MonkeyPatch, how: str
) -> None:
    monkeypatch.setattr("adyton.workerpool.scheduler.detectors.START_PATIENCE", timedelta(seconds=1))
    arena = running_arena
    task = arena.buy()
    bad, good = players(arena, 2)
    bad.take(task)
    assert good.take(wait_s=0) is None
    if how == "aborted":
        bad.leave(task)
    elif how == "failed":
        bad.report(task, R.STARTING)
        bad.expect(task, R.START_FAILED, Action.PLEASE_ABORT, cause=Cause.STAKE_TOO_LOW)
    good.take(task, wait_s=15)
    good.compute(task)
    good.contribute(task)
    assert finish(arena, task, [good]).contributors == (good.address,)
    assert bad.take(wait_s=0) is None, "who failed once is not asked again"


def test_a_lost_worker_is_replaced_and_may_come_back(arena: Arena) -> None:
    with arena.running(worker_silence_s=1):
        task = arena.buy(trust=2)
        lost, other = players(arena, 2)
        lost.take(task)
        lost.report(task, R.STARTING)
        arena.await_status(task, "INITIALIZED")
        other.take(task, wait_s=15)
        assert replicate(arena, task, lost)["currentStatus"] == "WORKER_LOST"
        (back,) = lost.session.interrupted(1)
        assert back.task_notification_type is Action.PLEASE_CONTRIBUTE
        assert back.task_notification_extra is not None
        assert back.task_notification_extra.workerpool_authorization is not None
        assert replicate(arena, task, lost)["currentStatus"] == "RECOVERING"
        lost.expect(task, R.STARTED, Action.PLEASE_DOWNLOAD_APP)


def test_a_lost_worker_that_revealed_is_asked_to_upload_when_it_is_back(arena: Arena) -> None:
    with arena.running(worker_silence_s=1):
        task = arena.buy(trust=3)
        one, two = players(arena, 2)
        for player in (one, two):
            player.work(task)
        for player in (one, two):
            player.told(task, Action.PLEASE_REVEAL)
            player.reveal(task)
        chosen = arena.await_status(task, "RESULT_UPLOADING")["uploadingWorkerWalletAddress"]
        first, second = (one, two) if chosen == one.address else (two, one)
        deadline = 30
        while replicate(arena, task, second)["currentStatus"] != "WORKER_LOST" and deadline:
            first.session.ping()
            deadline -= 1
            first.session.notifications(0, 0.2)
        assert [each.task_notification_type for each in second.session.interrupted(1)] == [Action.PLEASE_WAIT]
        first.expect(task, R.RESULT_UPLOADING, Action.PLEASE_CONTINUE)
        first.expect(task, R.RESULT_UPLOAD_FAILED, Action.PLEASE_ABORT, cause=Cause.RESULT_LINK_MISSING)
        second.told(task, Action.PLEASE_UPLOAD)
        second.upload(task)
        arena.await_status(task, "COMPLETED")


def test_an_upload_that_nobody_can_make_fails_before_the_deadline(running_arena: Arena) -> None:
    arena = running_arena
    task = arena.buy()
    player = arena.player()
    player.work(task)
    player.told(task, Action.PLEASE_REVEAL)
    player.reveal(task)
    player.told(task, Action.PLEASE_UPLOAD)
    player.report(task, R.RESULT_UPLOADING)
    player.report(task, R.RESULT_UPLOAD_FAILED, cause=Cause.RESULT_LINK_MISSING)
    arena.await_status(task, "FAILED")
    assert statuses(arena, task)[-2:] == ["RESULT_UPLOAD_TIMEOUT", "FAILED"]


# -- what nobody reports --------------------------------------------------------------------------------------------


def test_transactions_without_a_report_are_found(running_arena: Arena) -> None:
    arena = running_arena
    task = arena.buy(trust=3)
    quiet, other = players(arena, 2)
    quiet.take(task)
    quiet.compute(task)
    quiet.send_contribution(task)
    other.work(task)
    arena.await_status(task, "CONSENSUS_REACHED")
    assert quiet.report(task, R.CONTRIBUTED) == (208, Action.PLEASE_WAIT)
    arena.chain.sender(quiet.wallet).send(arena.hub.address, arena.hub.reveal(task, quiet.digest(task)))
    arena.await_status(task, "RESULT_UPLOADING")
    other.reveal(task)
    for player in (quiet, other):
        if arena.view(task)["uploadingWorkerWalletAddress"] == player.address:
            player.upload(task)
    arena.await_status(task, "COMPLETED")


def test_a_scheduler_that_lost_its_memory_finds_the_contributions(arena: Arena) -> None:
    with arena.running():
        task = arena.buy(trust=3)
        one, two = players(arena, 2)
        one.work(task)
        two.take(task)
    with arena.running(data_folder=arena.folder / "new"):
        arena.await_status(task, "INITIALIZED")
        assert one.session.ping() is None
        two.send_contribution(task)
        arena.await_status(task, "CONSENSUS_REACHED")
        assert {each["walletAddress"] for each in arena.view(task)["replicates"]} == {one.address, two.address}
        for player in (one, two):
            arena.chain.sender(player.wallet).send(arena.hub.address, arena.hub.reveal(task, player.digest(task)))
        arena.await_status(task, "RESULT_UPLOADING")


# -- reports that are not true --------------------------------------------------------------------------------------


def test_reports_are_judged_by_the_chain_and_the_proxy(running_arena: Arena) -> None:
    arena = running_arena
    task = arena.buy()
    player, stranger = players(arena, 2)
    refused = (202, Action.PLEASE_ABORT)
    assert stranger.report(task, R.STARTING) == refused
    player.take(task)
    assert player.report(task, R.COMPUTING) == refused, "steps may not be skipped"
    player.compute(task)
    assert player.report(task, R.COMPUTED) == (208, Action.PLEASE_WAIT)
    assert player.report(task, R.CONTRIBUTE_AND_FINALIZE_ONGOING) == refused, "not for a standard task"
    player.report(task, R.CONTRIBUTING)
    assert player.report(task, R.CONTRIBUTED) == refused, "nothing is on the chain"
    assert player.report(task, R.CONTRIBUTE_FAILED, cause=Cause.CHAIN_RECEIPT_NOT_VALID) == refused
    player.send_contribution(task)
    waits = (202, Action.PLEASE_WAIT)
    assert player.report(task, R.CONTRIBUTE_FAILED, cause=Cause.CONTRIBUTION_ALREADY_SET) == waits, "the chain has it"
    player.report(task, R.CONTRIBUTED)
    player.told(task, Action.PLEASE_REVEAL)
    player.report(task, R.REVEALING)
    assert player.report(task, R.REVEALED) == refused
    assert player.report(task, R.REVEAL_FAILED, cause=Cause.CANNOT_REVEAL) == refused
    arena.chain.sender(player.wallet).send(arena.hub.address, arena.hub.reveal(task, player.digest(task)))
    assert player.report(task, R.REVEAL_FAILED, cause=Cause.CANNOT_REVEAL) == waits
    player.report(task, R.REVEALED)
    player.told(task, Action.PLEASE_UPLOAD)
    player.report(task, R.RESULT_UPLOADING)
    good = player.store(task)
    assert player.report(task, R.RESULT_UPLOADED) == refused, "no link"
    other = ipfs_link("QmdfTbBqBPQ7VNxZEYEj14VmRuZBkqFbiwReogJgS1zR1n")
    assert player.report(task, R.RESULT_UPLOADED, result_link=other) == refused, "a link to something else"
    elsewhere = good.replace("/ipfs/", "https://elsewhere.example/ipfs/")
    assert player.report(task, R.RESULT_UPLOADED, result_link=elsewhere) == refused, "the right name at another place"
    assert player.report(task, R.RESULT_UPLOAD_FAILED) == refused, "the proxy has it"
    player.expect(task, R.RESULT_UPLOADED, Action.PLEASE_WAIT, result_link=good)
    arena.await_status(task, "COMPLETED")
    assert arena.chain_task(task).results.decode() == good


def test_a_callback_takes_only_what_was_agreed_on(running_arena: Arena) -> None:
    arena = running_arena
    arena.changes["callback"] = Wallet.create().address
    task = arena.buy(callback=arena.changes["callback"])
    player = arena.player("0x1234")
    player.work(task)

    def upload(uploader: Player) -> None:
        uploader.report(task, R.RESULT_UPLOADING)
        for wrong in ("", "0x", "0x" + b"other".hex(), "zz"):
            code, _ = uploader.report(task, R.RESULT_UPLOADED, chain_callback_data=wrong, result_link="x")
            assert code == 202, wrong
        uploader.upload(task)

    done = finish(arena, task, [player], upload)
    assert done.results_callback == b"0x1234"
    assert json.loads(done.results) == {"storage": "ethereum", "location": arena.changes["callback"]}
    assert arena.view(task)["chainCallbackData"] == to_hex(b"0x1234")


def test_a_bag_of_tasks_is_shared_between_workers(running_arena: Arena) -> None:
    arena = running_arena
    deal = arena.deal(volume=7)
    tasks = [task_id(deal, index) for index in range(7)]
    for task in tasks:
        arena.await_status(task, "INITIALIZED")
    crew = [arena.player(cpu_nb=3), arena.player(cpu_nb=2, gpu_enabled=True), arena.player(cpu_nb=4)]
    taken: dict[Bytes32, Player] = {}
    for player in crew:
        while (given := player.take(wait_s=0)) is not None:
            assert given not in taken
            taken[given] = player
    assert set(taken) <= set(tasks)
    assert [sum(each is player for each in taken.values()) for player in crew] == [3, 1, 3]
    assert set(crew[0].session.computing()) == {task for task, player in taken.items() if player is crew[0]}
    first = next(iter(taken))
    taken[first].compute(first)
    taken[first].contribute(first)
    finish(arena, first, [taken[first]])
