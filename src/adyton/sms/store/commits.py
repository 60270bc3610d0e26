"""Group commit: the writes of many threads in few transactions, each durable before its caller goes on.

A commit waits for the disk, so one commit per write makes the disk's latency the limit of the service. Here the
first thread that finds nobody writing commits its own write together with all that have queued up meanwhile. One that
is refused takes no other with it: the transaction is then taken back and made again, each write with a savepoint of
its own, which costs twice the statements and is rarely needed. The lines that the writes add to the audit log are
appended together at the end. There is one writer at a time, over all threads, processes and replicas
of a database (:func:`adyton.base.db.lock_for_writing`): writes cannot deadlock, and what they read stays true.
"""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable, Sequence
from typing import Any, Final, Generic, TypeVar, cast

from sqlalchemy import Connection, Engine
from sqlalchemy.exc import SQLAlchemyError

from adyton.base.db import lock_for_writing
from adyton.sms.store.storage import StoreError

T = TypeVar("T")
Appender = Callable[[Connection, Sequence[str]], Sequence[str]]
"""Appends records to the audit log, in a transaction that nobody else can overtake; gives the hash of each."""
_MAX_BATCH: Final = 128  # writes in one transaction: bounds how long other processes wait


class Written(Generic[T]):
    """One queued write and what came of it.

    Attributes:
        value: what the work returned.
        head: hash of the line of the audit log, empty when it wrote none.
    """

    __slots__ = ("done", "error", "head", "line", "value", "work")

    def __init__(self, work: Callable[[Connection], T], line: str | None) -> None:
        self.work = work
        self.line = line
        self.done = False
        self.error: BaseException | None = None
        self.value = cast("T", None)
        self.head = ""

    def attempt(self, db: Connection) -> None:
        """Do it in a savepoint; a failure that is its own is kept for its caller.

        Raises:
            SQLAlchemyError: the connection is lost, and with it the transaction.
        """
        try:
            with db.begin_nested():
                self.value = self.work(db)
        except SQLAlchemyError as error:
            self.error = store_error(error)
            if db.invalidated:
                raise
        except Exception as error:  # noqa: BLE001  # handed to the thread whose write it is
            self.error = error

    def fail(self, error: BaseException) -> None:
        """Note why it has had no effect, unless that is known."""
        if self.error is None:
            self.error = error


class GroupCommit:
    """The writing side of a database.

    Args:
        engine: the database.
        append: writes lines of the audit log.
        prepare: called in each transaction, before the writes.
    """

    def __init__(
        self, engine: Engine, append: Appender, prepare: Callable[[Connection], None] = lambda _db: None
    ) -> None:
        self._engine = engine
        self._prepare = prepare
        self._append = append
        self._queue: deque[Written[Any]] = deque()
        self._leading = threading.Lock()
        self._careful = False  # whether a write of the last batch was refused: then the next one begins with savepoints

    def run(self, work: Callable[[Connection], T], line: str | None = None) -> Written[T]:
        """Run ``work``, and add ``line`` to the audit log, in one transaction; it may run in another thread.

        It may also run twice, the second time after everything of the first was taken back.

        Raises:
            StoreError: the database failed; ``work`` has had no effect.
            Exception: what ``work`` raised; it has had no effect then, and there is no line.
        """
        write = Written(work, line)
        self._queue.append(write)
        with self._leading:
            while not write.done:
                self._commit([self._queue.popleft() for _ in range(min(_MAX_BATCH, len(self._queue)))])
        if write.error is not None:
            raise write.error
        return write

    def alone(self, work: Callable[[Connection], T], line: str) -> Written[T]:
        """Like :meth:`run`, with no other write in the same transaction; it runs in this thread.

        Raises:
            StoreError, Exception: as :meth:`run`.
        """
        write = Written(work, line)
        with self._leading:
            self._commit([write])
        if write.error is not None:
            raise write.error
        return write

    def _commit(self, batch: list[Written[Any]]) -> None:
        try:
            try:
                self._transact(batch, careful=self._careful and len(batch) > 1)
            except _SpoiledError:
                self._transact(batch, careful=True)
        except SQLAlchemyError as error:
            _fail(batch, store_error(error))
        except Exception as error:  # noqa: BLE001  # a broken audit log, say: handed to the threads that wait
            _fail(batch, error)
        except BaseException as error:  # whoever waits for these writes must not wait for ever
            _fail(batch, StoreError(f"the writing thread ended: {type(error).__name__}"))
            raise
        finally:
            for write in batch:
                write.done = True

    def _transact(self, batch: list[Written[Any]], *, careful: bool) -> None:
        with self._engine.begin() as db:
            lock_for_writing(db)
            self._prepare(db)
            if careful:
                for write in batch:
                    write.attempt(db)
                self._careful = any(write.error is not None for write in batch)
            else:
                _write_all(db, batch)
            lined = [write for write in batch if write.error is None and write.line is not None]
            heads = self._append(db, [write.line or "" for write in lined]) if lined else ()
            for write, head in zip(lined, heads, strict=True):
                write.head = head


class _SpoiledError(Exception):
    """A write was refused among others; the transaction cannot be used."""


def _write_all(db: Connection, batch: list[Written[Any]]) -> None:
    for write in batch:
        try:
            write.value = write.work(db)
        except Exception as error:
            if len(batch) == 1:  # its failure is the transaction's
                raise
            raise _SpoiledError from error


def store_error(error: SQLAlchemyError) -> StoreError:
    """What the use cases see of a database's error: its kind. The driver's text may quote rows."""
    return StoreError(f"the database failed: {type(error).__name__}")


def _fail(batch: list[Written[Any]], error: BaseException) -> None:
    for write in batch:
        write.fail(error)
