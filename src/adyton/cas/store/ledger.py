"""The one writer of the CAS's state: every change and the audit entry about it, both or neither, then durable.

What one write does, in this order: (1) one database transaction with the change, the audit entry, the encrypted head of
the log and the digest of all session rows; its commit is on disk; (2) the head file is advanced; (3) the caller is
told. Whoever was told therefore finds its write after a kill at any moment, and a database from before it is refused
at the next start. Writers that wait while another one is at the disk are written together, in one transaction.

What a start checks: the log's end against its encrypted head; every session row, by number and content, against the
digest; the log against the head file and against an anchor. Rows that somebody exchanges for older ones while the CAS
runs are found then, or by the next rotation of keys.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from typing import Final

from sqlalchemy import Connection, Engine, func, insert, select, update
from sqlalchemy.exc import IntegrityError, SQLAlchemyError

from adyton.base.auditchain import AuditEntry
from adyton.base.db import lock_for_writing
from adyton.base.errors import AdytonError, UnavailableError
from adyton.base.log import get_logger
from adyton.cas.errors import StoreCorruptError
from adyton.cas.store.head import Anchor, HeadFile, RolledBackError, matches
from adyton.cas.store.keys import DIGEST_BYTES, Keys
from adyton.cas.store.tables import AUDIT_CHAIN, SESSIONS, STATE, driver_text, reading

ROWS: Final = "sessions"
_MODULUS: Final = 1 << (8 * DIGEST_BYTES)
_TAG: Final = 16
_UPDATE_DIGEST: Final = update(STATE).where(STATE.c.id == ROWS)  # made once, for that costs more than running it
_INSERT_STATE: Final = insert(STATE)
_log = get_logger("cas.ledger")


@dataclass(slots=True)
class Transaction:
    """A database transaction in progress.

    Attributes:
        db: its connection.
        keys: the keys that hold in it.
        digest: of all session rows; who changes one says so by :meth:`added` and :meth:`removed`.
    """

    db: Connection
    keys: Keys
    digest: int

    def added(self, row_id: str, version: int, body: bytes) -> None:
        """A session row was written."""
        self.digest = (self.digest + self.keys.row_digest(row_id, version, body)) % _MODULUS

    def removed(self, row_id: str, version: int, body: bytes) -> None:
        """A session row was deleted or overwritten."""
        self.digest = (self.digest - self.keys.row_digest(row_id, version, body)) % _MODULUS


Change = Callable[[Transaction], bool]
"""Changes rows, and says whether it did; False, or an integrity error, leaves nothing behind, no audit entry either."""
Rewrite = Callable[[Transaction, Keys], int]
"""Encrypts every row anew under other keys; gives the new digest of all session rows."""


@dataclass(slots=True)
class _Job:
    record: str
    change: Change | None
    done: bool = False
    entry: AuditEntry | None = None
    error: AdytonError | None = None

    def result(self) -> AuditEntry | None:
        if self.error is not None:
            raise self.error
        return self.entry


@dataclass(slots=True)
class _Waiting:
    lock: threading.Lock = field(default_factory=threading.Lock)
    jobs: list[_Job] = field(default_factory=list)

    def add(self, job: _Job) -> None:
        with self.lock:
            self.jobs.append(job)

    def take(self) -> list[_Job]:
        with self.lock:
            jobs, self.jobs = self.jobs, []
        return jobs


class Ledger:
    """The state of one CAS, open for writing.

    Args:
        engine: an open database, see :func:`adyton.cas.store.tables.open_database`.
        keys: derived from its master key.
        head: the head file beside it.
        anchor: an audit entry that must be there, kept by somebody else; None when nobody did.

    Raises:
        AuditBrokenError: the end of the log is not the one that was written.
        StoreCorruptError: the session rows are not the ones last written.
        RolledBackError: the database is older than the head file or the anchor says.
    """

    def __init__(self, engine: Engine, keys: Keys, head: HeadFile, anchor: Anchor | None = None) -> None:
        self.engine = engine
        self._keys = keys
        self._head = head
        self._writer = threading.Lock()
        self._swap = threading.Lock()  # held while keys and rows change together
        self._waiting = _Waiting()
        with reading(), engine.connect() as db:
            self._last = AUDIT_CHAIN.last(db, keys.audit)
            for expected in (head.anchor, anchor):
                _require_entry(db, expected, self._last)
            self._digest = self._check_rows(db)
        if self._last is not None and self._last.seq > head.anchor.seq:  # written, and killed before it was told
            head.advance(self._last.seq, self._last.hash)

    @property
    def keys(self) -> Keys:
        """The current keys; a reader that found nothing readable asks :meth:`is_current` and looks again."""
        return self._keys

    def is_current(self, keys: Keys) -> bool:
        """Whether ``keys`` are still the current ones; waits for an exchange that is going on."""
        with self._swap:
            return self._keys is keys

    @property
    def last(self) -> AuditEntry | None:
        """The last entry of the log."""
        return self._last

    def write(self, record: str, change: Change | None = None) -> AuditEntry | None:
        """Make a change and record it; durable when this returns. None when ``change`` did not apply.

        Args:
            record: the audit entry, canonical JSON.
            change: what else to write; None only records.

        Raises:
            UnavailableError: ``cas.store.unwritable`` or ``cas.audit.unwritable``: not written, or not certainly so.
            AdytonError: what ``change`` raised; nothing is written.
        """
        job = _Job(record, change)
        self._waiting.add(job)
        with self._writer:
            if not job.done:
                self._write_all(self._waiting.take())
        return job.result()

    def rotate(self, keys: Keys, rewrite: Rewrite, record: str) -> AuditEntry:
        """Exchange the keys: every row is written anew in one transaction; readers go on meanwhile, writers wait.

        Raises:
            StoreCorruptError: a row is not the one that was written; nothing is changed.
            UnavailableError: the database cannot be written.
        """
        with self._writer:
            try:
                with self.engine.connect() as db:
                    lock_for_writing(db)
                    with reading():
                        digest = rewrite(Transaction(db, self._keys, self._check_rows(db, self._digest)), keys)
                    entry = AUDIT_CHAIN.append(db, keys.audit, self._last, record)
                    _store_digest(db, keys, digest, entry)
                    with self._swap:
                        db.commit()
                        self._keys, self._last, self._digest = keys, entry, digest
            except SQLAlchemyError as error:
                raise _unwritable("cas.store.unwritable", error) from error
            self._head.rekey(keys.head, entry.seq, entry.hash)
        return entry

    def rewrite_head(self) -> None:
        """Write the head file anew under the current keys, after an interrupted exchange.

        Raises:
            OSError: it cannot be written.
        """
        with self._writer:
            anchor = self._head.anchor
            self._head.rekey(self._keys.head, anchor.seq, anchor.hash)

    def checkpoint(self) -> None:
        """Move what was written into the database file, and empty its log, which still has what was overwritten.

        Somebody else who keeps reading the file can hinder that; it is done at the next occasion then.

        Raises:
            UnavailableError: the disk does not take it.
        """
        with self._writer, reading(), self.engine.connect() as db:
            busy = db.exec_driver_sql("PRAGMA wal_checkpoint(TRUNCATE)").scalars().one()
        if busy:
            _log.warning("the database's log is not emptied: another program reads it, and old rows stay in it")

    def close(self) -> None:
        """Close database and head file."""
        self.engine.dispose()
        self._head.close()

    def _write_all(self, jobs: Sequence[_Job]) -> None:
        try:
            last, digest = self._commit(jobs)
        except BaseException as error:
            _fail(jobs, error)
            if not isinstance(error, SQLAlchemyError):
                raise
            return
        moved = last is not None and last is not self._last
        self._last, self._digest = last, digest
        if last is not None and moved:
            try:
                self._head.advance(last.seq, last.hash)
            except (OSError, AdytonError) as error:
                _log.error("the head file cannot be written", detail=str(error))
                _fail(jobs, error)
        for job in jobs:
            job.done = True

    def _commit(self, jobs: Iterable[_Job]) -> tuple[AuditEntry | None, int]:
        last, digest = self._last, self._digest
        with self.engine.connect() as db:
            lock_for_writing(db)
            for job in jobs:
                transaction = Transaction(db, self._keys, digest)
                if not _apply(job, transaction):
                    continue
                last = job.entry = AUDIT_CHAIN.append(db, self._keys.audit, last, job.record)
                digest = transaction.digest
            if last is not None and last is not self._last:
                _store_digest(db, self._keys, digest, last)
            db.commit()
        return last, digest

    def _check_rows(self, db: Connection, known: int | None = None) -> int:
        """The digest of all session rows, after comparing it with the kept one and with ``known``."""
        row = db.execute(select(STATE).where(STATE.c.id == ROWS)).one_or_none()
        found = sum_of_rows(db, self._keys)
        kept = 0
        if row is not None and self._last is not None:
            plain = self._keys.state.open(ROWS, row.version, row.body, self._last.hash.encode())
            kept = int.from_bytes(plain, "big")
        elif self._last is not None:
            raise StoreCorruptError("the digest of the session rows is missing")
        if found != kept or known not in (None, found):
            raise StoreCorruptError(
                "the sessions are not the ones that were last written: rows were removed, added or exchanged",
                code="cas.state.rows",
                hint="put the newest copy of the folder back; nothing of this one is trusted",
            )
        return found


def sum_of_rows(db: Connection, keys: Keys) -> int:
    """The digest of all session rows as they are."""
    columns = (
        SESSIONS.c.id,
        SESSIONS.c.version,
        func.substr(SESSIONS.c.body, 1, _TAG).label("start"),
        func.substr(SESSIONS.c.body, -_TAG).label("end"),
    )
    total = 0
    for row in db.execute(select(*columns)).yield_per(1000):
        total += keys.row_digest(row.id, row.version, row.start + row.end)
    return total % _MODULUS


def _apply(job: _Job, transaction: Transaction) -> bool:
    """Make the job's change in a savepoint; False: nothing of it is left."""
    if job.change is None:
        return True
    nested = transaction.db.begin_nested()
    try:
        applied = job.change(transaction)
    except IntegrityError:
        applied = False
    except AdytonError as error:
        applied, job.error = False, error
    if applied:
        nested.commit()
    else:
        nested.rollback()
    return applied


def _store_digest(db: Connection, keys: Keys, digest: int, entry: AuditEntry) -> None:
    body = keys.state.seal(ROWS, entry.seq, digest.to_bytes(DIGEST_BYTES, "big"), entry.hash.encode())
    values = {"version": entry.seq, "body": body}
    if db.execute(_UPDATE_DIGEST, values).rowcount == 0:
        db.execute(_INSERT_STATE, {"id": ROWS, **values})


def _require_entry(db: Connection, expected: Anchor | None, last: AuditEntry | None) -> None:
    """Check that the log contains ``expected``.

    Raises:
        RolledBackError: it ends before it, or has another entry in its place.
    """
    if expected is None or expected.seq == 0:
        return
    end = 0 if last is None else last.seq
    if end < expected.seq:
        raise RolledBackError(
            f"the database was rolled back: its audit log ends with entry {end}, entry {expected.seq} was acknowledged"
        )
    entries = AUDIT_CHAIN.entries
    found = db.execute(select(entries.c.hash).where(entries.c.seq == expected.seq)).scalar_one_or_none()
    if not matches(found, expected):
        raise RolledBackError(
            f"the database was rolled back and went on differently: its entry {expected.seq} is not the one that was"
            " acknowledged"
        )


def _fail(jobs: Iterable[_Job], error: BaseException) -> None:
    for job in jobs:
        code = "cas.audit.unwritable" if job.change is None else "cas.store.unwritable"
        job.entry, job.done, job.error = None, True, _unwritable(code, error)


def _unwritable(code: str, error: BaseException) -> UnavailableError:
    reason = driver_text(error) if isinstance(error, SQLAlchemyError) else str(error)
    return UnavailableError(f"the CAS's state cannot be written: {reason}", code=code)
