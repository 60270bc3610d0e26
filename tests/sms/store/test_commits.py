"""Group commit: each write stands for itself, and what fails in the middle is told to whom it concerns."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any

import pytest
from sqlalchemy import Column, Connection, Engine, Integer, MetaData, Table, insert, select

from adyton.base.db import open_engine
from adyton.sms.store.commits import GroupCommit
from adyton.sms.store.storage import StoreError

_table = Table("number", MetaData(), Column("n", Integer, primary_key=True))


class RefusedError(Exception):
    pass


@pytest.fixture
def engine(database_url: str) -> Iterator[Engine]:
    opened = open_engine(database_url)
    _table.metadata.create_all(opened)
    yield opened
    opened.dispose()


class Lines:
    """Takes the lines, and can be told to refuse them."""

    def __init__(self) -> None:
        self.batches: list[list[str]] = []
        self.refuses = False

    def append(self, _db: Connection, lines: Sequence[str]) -> list[str]:
        if self.refuses:
            raise RefusedError
        self.batches.append(list(lines))
        return [f"hash of {line}" for line in lines]


def numbers(engine: Engine) -> set[int]:
    with engine.connect() as db:
        return set(db.execute(select(_table.c.n)).scalars())


def put(number: int, *, refuse: bool = False) -> Callable[[Connection], int]:
    def work(db: Connection) -> int:
        db.execute(insert(_table).values(n=number))
        if refuse:
            raise RefusedError
        return number

    return work


def together(commits: GroupCommit, works: dict[str, Any]) -> dict[str, Future[Any]]:
    """All of these in one transaction: they queue up behind a write that is held until all wait."""
    entered, leave = threading.Event(), threading.Event()

    def hold(_db: Connection) -> None:
        entered.set()
        leave.wait(10)

    with ThreadPoolExecutor(len(works) + 1) as threads:
        threads.submit(commits.run, hold)
        entered.wait(10)
        futures: dict[str, Any] = {line: threads.submit(commits.run, work, line) for line, work in works.items()}
        while len(commits._queue) < len(works):
            pass
        leave.set()
    return futures


def test_one_refused_write_takes_no_other_with_it(engine: Engine) -> None:
    lines = Lines()
    commits = GroupCommit(engine, lines.append)
    done = together(commits, {"a": put(1), "b": put(2, refuse=True), "c": put(1), "d": put(4)})
    assert isinstance(done["b"].exception(), RefusedError)
    assert [type(done[line].exception()) for line in "ac"].count(StoreError) == 1  # the same key twice
    assert numbers(engine) == {1, 4}
    (batch,) = lines.batches
    assert len(batch) == 2
    assert "d" in batch
    assert done["d"].result().head == "hash of d"


def test_without_its_lines_nothing_happens(engine: Engine) -> None:
    lines = Lines()
    lines.refuses = True
    commits = GroupCommit(engine, lines.append)
    done = together(commits, {"a": put(1), "b": put(2)})
    assert all(isinstance(future.exception(), RefusedError) for future in done.values())
    with pytest.raises(RefusedError):
        commits.run(put(3), "c")
    assert numbers(engine) == set()
    lines.refuses = False
    assert commits.run(put(3), "c").value == 3
    assert numbers(engine) == {3}


@pytest.mark.parametrize("fatal", [KeyboardInterrupt, SystemExit])
def test_nobody_waits_for_a_thread_that_was_ended(engine: Engine, fatal: type[BaseException]) -> None:
    commits = GroupCommit(engine, Lines().append)

    def end(_db: Connection) -> None:
        raise fatal

    with pytest.raises(fatal):
        commits.run(end)
    assert commits.run(put(5)).value == 5
    assert numbers(engine) == {5}


def test_many_writes_are_few_transactions_in_order(engine: Engine) -> None:
    lines = Lines()
    commits = GroupCommit(engine, lines.append)
    done = together(commits, {f"{n}": put(n) for n in range(20)})
    assert [future.result().value for future in done.values()] == list(range(20))
    assert [len(batch) for batch in lines.batches] == [20]
    assert numbers(engine) == set(range(20))


def test_a_refusal_costs_the_batch_a_second_attempt_and_nothing_else(engine: Engine) -> None:
    lines, tried = Lines(), list[int]()
    commits = GroupCommit(engine, lines.append)

    def noted(number: int, *, refuse: bool = False) -> Callable[[Connection], int]:
        work = put(number, refuse=refuse)

        def tell(db: Connection) -> int:
            tried.append(number)
            return work(db)

        return tell

    done = together(commits, {"a": noted(1), "b": noted(2, refuse=True), "c": noted(3)})
    assert [type(future.exception()) for future in done.values()] == [type(None), RefusedError, type(None)]
    assert tried == [1, 2, 1, 2, 3]  # all without savepoints until the refusal, then each with its own
    tried.clear()
    done = together(commits, {"d": noted(4), "e": noted(5, refuse=True)})
    assert isinstance(done["e"].exception(), RefusedError)
    assert tried == [4, 5]  # refusals come in swarms: with savepoints at once
    assert numbers(engine) == {1, 3, 4}
