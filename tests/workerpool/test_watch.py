"""Deals are found exactly once: restarts, reorganisations, lost connections, nodes that lag, deals nobody can read."""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from tests.workerpool.arena import Arena
from tests.workerpool.fickle import fickle

from adyton.base.db import open_engine
from adyton.base.errors import AdytonError, UnavailableError
from adyton.base.types import ZERO_ADDRESS, Bytes32
from adyton.chain.contracts import Hub
from adyton.chain.hashing import task_id
from adyton.chain.rpc import Rpc
from adyton.workerpool.access import ChainAccess
from adyton.workerpool.scheduler.chainclock import ChainClock
from adyton.workerpool.scheduler.dealbook import MAX_TRIES, Checkpoint, DealBook, DealStatus
from adyton.workerpool.scheduler.leases import ProcessLeases
from adyton.workerpool.scheduler.onchain import OnChain
from adyton.workerpool.scheduler.owner import PoolOwner
from adyton.workerpool.scheduler.repo import SchedulerRepo
from adyton.workerpool.scheduler.state import PoolState
from adyton.workerpool.scheduler.watch import DealWatcher
from adyton.workerpool.scheduler.workqueue import WorkQueue
from adyton.workerpool.task import TaskStatus

NOW = datetime(2026, 11, 22, tzinfo=UTC)


def block_hash(number: int, branch: str = "a") -> Bytes32:
    return Bytes32("0x" + f"{ord(branch):02x}" + f"{number:062x}")


def deal(number: int) -> Bytes32:
    return Bytes32(f"0x{number:064x}")


# -- the book, on both engines --------------------------------------------------------------------------------------


@pytest.fixture
def book(database_url: str) -> Iterator[DealBook]:
    engine = open_engine(database_url)
    yield DealBook(engine)
    engine.dispose()


def test_recording_moves_the_position_once(book: DealBook) -> None:
    assert book.position() is None
    first = Checkpoint(5, block_hash(5))
    assert book.record(None, [(deal(1), 3), (deal(2), 5)], first, NOW)
    assert not book.record(None, [(deal(3), 4)], Checkpoint(6, block_hash(6)), NOW), "another replica was first"
    assert book.record(5, [(deal(2), 5)], Checkpoint(6, block_hash(6)), NOW)
    assert [each.deal_id for each in book.pending(NOW)] == [deal(1), deal(2)]
    assert [each.number for each in book.checkpoints()] == [6, 5]
    assert book.counts() == (2, 0, 5)


def test_replicas_that_record_at_the_same_time_do_it_once(book: DealBook) -> None:
    start, won = threading.Barrier(4), []

    def record() -> None:
        start.wait()
        if book.record(None, [(deal(1), 1)], Checkpoint(1, block_hash(1)), NOW):
            won.append(1)

    threads = [threading.Thread(target=record) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(won) == 1
    assert book.counts() == (1, 0, 1)


def test_only_the_newest_checkpoints_are_kept(book: DealBook, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("adyton.workerpool.scheduler.dealbook.KEPT_CHECKPOINTS", 4)
    since = None
    for number in range(0, 70, 10):
        book.record(since, [], Checkpoint(number, block_hash(number)), NOW)
        since = number
    assert [each.number for each in book.checkpoints()] == [60, 50, 40, 30]


def test_a_deal_that_went_down_with_its_block_waits_for_its_return(book: DealBook) -> None:
    book.record(None, [(deal(1), 1)], Checkpoint(1, block_hash(1)), NOW)
    book.record(1, [(deal(2), 3)], Checkpoint(3, block_hash(3)), NOW)
    for number in (1, 2):
        book.settle(deal(number), DealStatus.ACCEPTED)
    assert book.rewind(Checkpoint(1, block_hash(1))) == [deal(2)]
    assert (book.position(), book.status(deal(2))) == (1, (DealStatus.ORPHANED, ""))
    book.settle(deal(2), DealStatus.ACCEPTED)  # by somebody who has not heard of it
    assert book.status(deal(2)) == (DealStatus.ORPHANED, "")
    book.record(1, [(deal(2), 4)], Checkpoint(4, block_hash(4, "b")), NOW)
    assert [(each.deal_id, each.block) for each in book.pending(NOW)] == [(deal(2), 4)]
    assert book.status(deal(1)) == (DealStatus.ACCEPTED, "")


def test_an_unreadable_deal_is_parked_in_the_end_and_tried_again_at_the_next_start(book: DealBook) -> None:
    book.record(None, [(deal(1), 1)], Checkpoint(1, block_hash(1)), NOW)
    pauses, now = [], NOW
    for _ in range(MAX_TRIES - 1):
        assert book.postpone(deal(1), "no such app", now) is DealStatus.PENDING
        while not book.pending(now):
            now += timedelta(seconds=0.5)
        pauses.append(now)
    assert book.postpone(deal(1), "the node is away", now, counts=False) is DealStatus.PENDING
    assert book.postpone(deal(1), "no such app", now) is DealStatus.PARKED
    assert timedelta(minutes=15) < pauses[-1] - NOW < timedelta(minutes=60)
    assert (book.pending(now + timedelta(days=1)), book.status(deal(1))) == ([], (DealStatus.PARKED, "no such app"))
    assert book.unpark(now) == 1
    assert [each.deal_id for each in book.pending(now)] == [deal(1)]


# -- the watcher on a real chain ------------------------------------------------------------------------------------


class Watch:
    """A watcher over the arena's pool, with a database of its own."""

    def __init__(self, arena: Arena, folder: Path, *, url: str | None = None) -> None:
        self.rpc = Rpc(url or arena.chain.url, timeout_s=2)
        self.arena = arena
        self.engine = open_engine(folder / "watch.sqlite3", durable=False)
        self.book = DealBook(self.engine)
        self.state = PoolState(self.engine, SchedulerRepo(self.engine), lambda: datetime.now(UTC))
        hub = Hub(self.rpc, arena.hub.address)
        sender = arena.chain.sender(arena.owner)
        access = ChainAccess(self.rpc, hub, sender, arena.owner, arena.chain.deployment.chain_id)
        self.leases = ProcessLeases(folder)
        self.ahead = timedelta()  # of the watcher's clock: what waits for a better time need not make the test wait
        self.watcher = DealWatcher(
            hub=hub,
            pool=arena.address,
            owner=arena.owner.address,
            start_block=arena.changes.setdefault("start_block", arena.chain.rpc.block_number()),
            book=self.book,
            state=self.state,
            queue=WorkQueue(),
            onchain=OnChain(access, PoolOwner(access, arena.owner.address, None)),
            leases=self.leases,
            clock=lambda: datetime.now(UTC) + self.ahead,
            chain_clock=ChainClock(),
        )

    def close(self) -> None:
        self.leases.close()
        self.engine.dispose()
        self.rpc.close()

    def catch_up(self) -> None:
        self.watcher.look()
        while self.watcher.is_behind:
            self.watcher.look()

    def tasks(self) -> list[str]:
        return sorted(task.id for task in self.state.tasks_in(tuple(TaskStatus)))

    def status_of(self, deal_id: Bytes32) -> DealStatus:
        found = self.book.status(deal_id)
        assert found is not None
        return found[0]


@contextmanager
def watching(arena: Arena, folder: Path, **options: str) -> Iterator[Watch]:
    opened = Watch(arena, folder, **options)
    try:
        yield opened
    finally:
        opened.close()


def test_every_task_of_a_deal_is_made_once_and_large_ones_in_portions(
    arena: Arena, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("adyton.workerpool.scheduler.watch.MAX_TASKS", 4)
    with watching(arena, tmp_path) as watch:
        first, second = arena.deal(volume=10), arena.deal(volume=3)
        watch.watcher.look()
        assert len(watch.tasks()) == 4
        assert watch.watcher.is_behind
        watch.catch_up()
        assert watch.tasks() == sorted(
            [task_id(first, index) for index in range(10)] + [task_id(second, index) for index in range(3)]
        )


def test_a_reorganisation_is_followed(arena: Arena, tmp_path: Path) -> None:
    rpc = arena.chain.rpc
    with watching(arena, tmp_path) as watch:
        kept = arena.deal()
        watch.catch_up()
        before = rpc.call("evm_snapshot")
        lost = arena.deal()
        rpc.call("evm_mine")
        watch.catch_up()
        assert watch.status_of(lost) is DealStatus.ACCEPTED
        rpc.call("evm_revert", before)
        watch.catch_up()  # the node has fewer blocks now, which may be a node that lags
        assert watch.status_of(lost) is DealStatus.ORPHANED or watch.book.position() is not None
        rpc.call("evm_increaseTime", 7)
        other = arena.deal()
        rpc.call("anvil_mine", 3)
        watch.catch_up()
        assert watch.status_of(kept) is DealStatus.ACCEPTED
        assert watch.status_of(other) is DealStatus.ACCEPTED
        if lost != other:
            assert watch.status_of(lost) is DealStatus.ORPHANED
        tip = watch.book.checkpoints()[0]
        assert rpc.block(tip.number).hash == tip.hash


def test_a_deal_that_comes_back_in_another_block_has_its_new_dates(arena: Arena, tmp_path: Path) -> None:
    rpc = arena.chain.rpc
    with watching(arena, tmp_path) as watch:
        watch.catch_up()
        before = rpc.call("evm_snapshot")
        found = arena.deal(volume=2)
        transaction = rpc.call("eth_getBlockByNumber", "latest", True)["transactions"][0]["hash"]
        raw = rpc.call("eth_getRawTransactionByHash", transaction)
        watch.catch_up()
        task = watch.state.task(task_id(found, 0))
        assert task is not None
        rpc.call("evm_revert", before)
        rpc.call("anvil_mine", 2)
        watch.catch_up()
        assert watch.status_of(found) is DealStatus.ORPHANED
        rpc.call("evm_increaseTime", 100)
        rpc.wait_receipt(rpc.call("eth_sendRawTransaction", raw))
        watch.catch_up()
        assert watch.status_of(found) is DealStatus.ACCEPTED
        again = watch.state.task(task.id)
        assert again is not None
        assert again.final_deadline - task.final_deadline >= timedelta(seconds=99)
        assert len(watch.tasks()) == 2


def test_a_node_that_lags_is_no_reorganisation(arena: Arena, tmp_path: Path) -> None:
    rpc = arena.chain.rpc
    with watching(arena, tmp_path) as watch:
        watch.catch_up()
        snapshot = rpc.call("evm_snapshot")
        state = rpc.call("anvil_dumpState")
        found = arena.deal()
        watch.catch_up()
        position = watch.book.position()
        rpc.call("evm_revert", snapshot)  # as if another node behind the same address were two blocks behind
        watch.catch_up()
        assert watch.book.position() == position
        assert watch.status_of(found) is DealStatus.ACCEPTED
        assert state


def test_a_deal_that_cannot_be_read_is_kept(arena: Arena, tmp_path: Path) -> None:
    with fickle(arena.chain.url) as node, watching(arena, tmp_path, url=node.url) as watch:
        watch.catch_up()
        found = arena.deal()
        node.patience = 3  # head, blocks and notices; then the deal itself is asked for
        with pytest.raises(UnavailableError):
            watch.catch_up()
        assert watch.status_of(found) is DealStatus.PENDING
        assert watch.tasks() == []
        node.patience = 10**9
        watch.ahead += timedelta(minutes=10)
        watch.catch_up()
        assert watch.tasks() == [task_id(found, 0)]


def test_a_node_whose_notices_are_no_deals_is_not_believed(
    arena: Arena, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with watching(arena, tmp_path) as watch:
        watch.catch_up()
        honest, position = watch.rpc.batch, watch.book.position()
        found = arena.deal()

        def lie(calls: Iterable[tuple[str, Sequence[Any]]]) -> list[Any]:
            answers = honest(calls)
            for log in (each for answer in answers if isinstance(answer, list) for each in answer):
                log["data"] = "0x"
            return answers

        with monkeypatch.context() as patch:
            patch.setattr(watch.rpc, "batch", lie)
            with pytest.raises(UnavailableError, match="malformed"):
                watch.catch_up()
        assert watch.book.position() == position
        watch.catch_up()
        assert watch.status_of(found) is DealStatus.ACCEPTED


def test_what_the_pool_does_not_run_is_rejected_with_a_reason(arena: Arena, tmp_path: Path) -> None:
    with watching(arena, tmp_path) as watch:
        late = arena.deal()
        arena.travel(7.1)
        unknown = arena.deal(tag=Bytes32("0x" + "00" * 30 + "0200"))
        transferred = arena.deal()
        watch.watcher._owner = ZERO_ADDRESS  # as after the pool changed hands
        watch.catch_up()
        reasons = {each: watch.book.status(each) for each in (late, unknown, transferred)}
        assert {found[0] for found in reasons.values() if found} == {DealStatus.REJECTED}
        assert [found[1].split(" ")[0:2] for found in reasons.values() if found] == [
            ["the", "contribution"],
            ["the", "tag"],
            ["the", "pool"],
        ]
        assert watch.tasks() == []


STEPS = st.lists(
    st.sampled_from(["deal", "deal", "look", "cut", "restart", "mine", "save", "revert"]), min_size=6, max_size=16
)


@settings(max_examples=5, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(steps=STEPS, cuts=st.lists(st.integers(0, 9), min_size=16, max_size=16))
def test_no_deal_is_missed_or_doubled_whatever_is_cut(  # one branch for each kind of step
    arena: Arena, tmp_path_factory: pytest.TempPathFactory, steps: list[str], cuts: list[int]
) -> None:
    """Deals, looks, connections cut after any request, restarts and reorganisations in any order."""
    arena = replace(arena, changes={})
    arena.changes["start_block"] = arena.chain.rpc.block_number() + 1
    folder, rpc = tmp_path_factory.mktemp("cuts"), arena.chain.rpc
    deals: dict[Bytes32, int] = {}
    saved: tuple[str, dict[Bytes32, int]] | None = None
    with fickle(arena.chain.url) as node:
        watch = Watch(arena, folder, url=node.url)
        for step, cut in zip(steps, cuts, strict=False):
            if step == "deal":
                volume = 1 + cut % 3
                deals[arena.deal(volume=volume)] = volume
            elif step in {"look", "cut"}:
                node.patience = cut if step == "cut" else 10**9
                with contextlib.suppress(AdytonError):
                    watch.watcher.look()
                node.patience = 10**9
            elif step == "restart":
                watch.close()
                watch = Watch(arena, folder, url=node.url)
            elif step == "mine":
                rpc.call("anvil_mine", 1 + cut)
            elif step == "save":
                saved = (rpc.call("evm_snapshot"), dict(deals))
            elif step == "revert" and saved is not None:
                rpc.call("evm_revert", saved[0])
                deals, saved = saved[1], None
                rpc.call("evm_increaseTime", 1 + cut)  # or the branches could be the same
        rpc.call("anvil_mine", 30)  # beyond whatever was there before the last reorganisation
        while True:
            watch.ahead += timedelta(minutes=10)
            watch.catch_up()
            known = [watch.book.status(each) for each in deals]
            if all(found is not None and found[0] is not DealStatus.PENDING for found in known):
                break
        assert [found[0] for found in known if found] == [DealStatus.ACCEPTED] * len(deals)
        expected = {task_id(each, index) for each, volume in deals.items() for index in range(volume)}
        made = watch.tasks()
        assert expected <= set(made)
        assert len(made) == len(set(made))
        orphans = set(made) - expected  # of branches that are gone: they wait, and no worker ever sees them
        assert all(watch.state.task(each).status is TaskStatus.RECEIVED for each in orphans)  # type: ignore[union-attr]
        watch.close()


def test_the_chains_clock_goes_on_between_looks_and_never_back_on_one_head() -> None:
    now = [100.0]
    clock = ChainClock(lambda: now[0])
    with pytest.raises(UnavailableError):
        clock()
    clock.observe(block_hash(1), 5_000)
    now[0] += 30
    assert clock().timestamp() == 5_030
    clock.observe(block_hash(1), 5_000)  # a node without a pending block on a quiet chain
    assert clock().timestamp() == 5_030
    clock.observe(block_hash(2), 5_010)  # a new block is the truth
    assert clock().timestamp() == 5_010
    clock.observe(block_hash(2), 9_000)
    assert clock().timestamp() == 9_000
