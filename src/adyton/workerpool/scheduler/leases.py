"""Who works on what, when several replicas of a scheduler share one database.

A replica holds a name (a task, the deals, the detectors) for a limited time and prolongs it while it works; when it
dies, the others go on after that time. Times are the database's, so the replicas' clocks do not matter. A lease only
keeps two replicas from doing the same work at once: that nothing is done twice even by one that slept through the end
of its lease is up to the journal's compare-and-set and to the chain.
"""

from __future__ import annotations

import fcntl
import os
import threading
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path
from typing import Final, Protocol

from sqlalchemy import (
    Column,
    Connection,
    Engine,
    Float,
    MetaData,
    String,
    Table,
    TextClause,
    delete,
    select,
    text,
    update,
)

from adyton.base.db import insert_if_absent, lock_for_writing
from adyton.base.errors import AdytonError
from adyton.base.log import get_logger

_log = get_logger("scheduler.leases")

LEASE_S: Final = 30.0
_RENEWALS: Final = 3  # within one lease, so that two may fail

_META: Final = MetaData()
_LEASE: Final = Table(
    "scheduler_lease",
    _META,
    Column("name", String(128), primary_key=True),
    Column("owner", String(64), nullable=False),
    Column("until", Float, nullable=False),
)
_NOW: Final = {
    "sqlite": text("SELECT (julianday('now') - 2440587.5) * 86400.0"),
    "postgresql": text("SELECT extract(epoch FROM clock_timestamp())::float8"),
}


class SecondSchedulerError(AdytonError):
    """Another scheduler works with the same embedded database."""

    code = "scheduler.second"
    hint = "stop the other one, or give both one PostgreSQL database: its replicas share their work"


class Leases(Protocol):
    """Rights to work on something."""

    def hold(self, name: str) -> AbstractContextManager[bool]:
        """Hold ``name`` within a ``with`` block, whose value is False when somebody else holds it."""

    def close(self) -> None:
        """Give everything up."""


class ProcessLeases:
    """For the embedded database: one process has it all, which a lock on a file beside it proves.

    Args:
        folder: where the database is.

    Raises:
        SecondSchedulerError: another process has it.
    """

    def __init__(self, folder: Path) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self._lock = threading.Lock()
        self._held: set[str] = set()
        self._file = os.open(folder / "scheduler.lock", os.O_CREAT | os.O_RDWR | os.O_CLOEXEC, 0o600)
        try:
            fcntl.flock(self._file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            os.close(self._file)
            raise SecondSchedulerError(f"another scheduler works in {folder}") from error

    @contextmanager
    def hold(self, name: str) -> Iterator[bool]:
        """Hold ``name``; False when another thread has it."""
        with self._lock:
            mine = name not in self._held
            if mine:
                self._held.add(name)
        try:
            yield mine
        finally:
            if mine:
                with self._lock:
                    self._held.discard(name)

    def close(self) -> None:
        """Let another process in."""
        os.close(self._file)


class TableLeases:
    """For a database that replicas share: one row for each name that is held.

    Args:
        engine: the database.
        owner: this replica; unique.
        lease_s: how long a lease lasts without being prolonged, seconds.
    """

    def __init__(self, engine: Engine, owner: str, lease_s: float = LEASE_S) -> None:
        self._engine = engine
        self._owner = owner
        self._lease_s = lease_s
        self._lock = threading.Lock()
        self._held: set[str] = set()
        self._stop = threading.Event()
        _META.create_all(engine)
        self._thread = threading.Thread(target=self._renew, name="scheduler-leases", daemon=True)
        self._thread.start()

    @contextmanager
    def hold(self, name: str) -> Iterator[bool]:
        """Hold ``name``; False when another replica, or another thread of this one, has it."""
        if not self._take(name):
            yield False
            return
        try:
            yield True
        finally:
            with self._lock:
                self._held.discard(name)
            with self._engine.begin() as db:
                db.execute(delete(_LEASE).where(_LEASE.c.name == name, _LEASE.c.owner == self._owner))

    def close(self) -> None:
        """Prolong nothing any more; what is still held ends by itself."""
        self._stop.set()
        self._thread.join()

    def _take(self, name: str) -> bool:
        with self._lock:
            if name in self._held:
                return False
            self._held.add(name)  # before it is taken, so that the renewal never misses it
        taken = False
        try:
            with self._engine.begin() as db:
                taken = self._take_row(db, name)
        finally:
            if not taken:
                with self._lock:
                    self._held.discard(name)
        return taken

    def _take_row(self, db: Connection, name: str) -> bool:
        if db.dialect.name == "sqlite":
            lock_for_writing(db)  # it has no row locks
        now = self._now(db)
        mine = {"owner": self._owner, "until": now + self._lease_s}
        if insert_if_absent(db, _LEASE, {"name": name, **mine}):
            return True
        # A row that another replica is taking or prolonging at this moment is skipped, not waited for.
        row = db.execute(select(_LEASE).where(_LEASE.c.name == name).with_for_update(skip_locked=True)).one_or_none()
        if row is None or row.until > now:
            return False
        _log.warning("lease taken over", name=name, from_=row.owner)
        db.execute(update(_LEASE).where(_LEASE.c.name == name).values(**mine))
        return True

    def _renew(self) -> None:
        while not self._stop.wait(self._lease_s / _RENEWALS):
            with self._lock:
                held = list(self._held)
            if not held:
                continue
            try:
                with self._engine.begin() as db:
                    until = self._now(db) + self._lease_s
                    ours = _LEASE.c.owner == self._owner
                    db.execute(update(_LEASE).where(ours, _LEASE.c.name.in_(held)).values(until=until))
            except Exception as error:  # noqa: BLE001  # a border: the database may be away for a moment
                _log.warning("leases not prolonged", error=type(error).__name__)

    @staticmethod
    def _now(db: Connection) -> float:
        query: TextClause = _NOW[db.dialect.name]
        return float(db.execute(query).scalar_one())
