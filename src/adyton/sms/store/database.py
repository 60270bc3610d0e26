"""An open database: its schema, the proof that our key made it, its ciphers, and the ways to read and write.

The marker row holds, under the database key, the random id of the database; every row's key is derived from both. With
somebody who keeps the database key (:mod:`adyton.sms.store.keyexchange`), that one is exchanged, too, and what an
interrupted exchange left is finished or taken back when the database is opened.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from typing import Final, TypeVar

from sqlalchemy import Connection, Engine, delete, insert, inspect, select
from sqlalchemy.exc import SQLAlchemyError

from adyton.base.aead import derive_key
from adyton.base.auditchain import AuditEntry
from adyton.base.db import open_engine
from adyton.base.errors import AdytonError
from adyton.base.log import get_logger
from adyton.base.secret import Secret
from adyton.sms.errors import DatabaseKeyError
from adyton.sms.store.commits import GroupCommit, store_error
from adyton.sms.store.keyexchange import HeldKey, KeyExchange, KeyStateError, held_keys, known_key, next_key, settle
from adyton.sms.store.marker import (
    ID_BYTES,
    OTHER_KEY,
    open_marker,
    open_write_key,
    opens_marker,
    other_key,
    seal_marker,
    seal_write_key,
)
from adyton.sms.store.migrations import migrate
from adyton.sms.store.rotation import reseal
from adyton.sms.store.rowcipher import HeadSeal, RowCipher
from adyton.sms.store.storage import StoreError
from adyton.sms.store.tables import audit_chain, challenges_table, marker_table, secrets_table

T = TypeVar("T")
_MARKER_ROW: Final = 1
_WRITE_KEY_ROW: Final = 2
_log: Final = get_logger("sms.database")


@dataclass(frozen=True, slots=True)
class Rotation:
    """What a rotation of the keys did.

    Attributes:
        rows: how many were sealed anew.
        generation: of the database key that was put in the place of the one before; 0: nobody exchanges it.
        entry: number of the entry about that in the audit log of who keeps the key.
        entry_hash: its hash, hex.
    """

    rows: int
    generation: int = 0
    entry: int = 0
    entry_hash: str = ""


class Database:
    """The database of one service, opened with its key.

    Args:
        engine: SQLite or PostgreSQL, from :func:`adyton.base.db.open_engine`.
        key: the database key; kept in this object until it is exchanged, or until :meth:`close`.
        exchange: who keeps the database key and has it exchanged; None: nobody.

    Raises:
        DatabaseKeyError: the database was made with another key, or its marker is gone.
        SchemaError: it was made by a newer version of this service.
        StoreError: it does not work.
        KeyExchangeError, KeyStateError: the state of the last exchange cannot be had, or not be settled.
    """

    def __init__(self, engine: Engine, key: Secret[bytes], exchange: KeyExchange | None = None) -> None:
        self.engine = engine
        self._reading = engine
        if engine.dialect.name == "postgresql":  # where a transaction around one statement costs two more round trips
            self._reading = engine.execution_options(isolation_level="AUTOCOMMIT")
        self._exchange = exchange
        self._held: HeldKey | None = HeldKey(key)
        self._commits = GroupCommit(engine, self._append, self._follow)
        self._ciphers: dict[str, RowCipher] = {}
        self._marker, self.id, self._write_key = b"", b"", key
        kept = None if exchange is None else exchange.keys()
        try:
            if kept is not None:
                self._held = self._fitting(stored_marker(engine), held_keys(kept))
            migrate(engine, self._master())
        except SQLAlchemyError as error:
            raise store_error(error) from None
        self.refresh()
        self._seal = HeadSeal(self.cipher(audit_chain.head.name))
        if kept is not None and kept.pending is not None:
            self._settle_exchange()

    @classmethod
    def open(cls, url_or_path: str, key: Secret[bytes], exchange: KeyExchange | None = None) -> Database:
        """Open the database at a path or URL.

        Raises:
            InputError: no such kind of database.
            DatabaseKeyError, SchemaError, StoreError, KeyExchangeError, KeyStateError: as of the class.
        """
        engine = open_engine(url_or_path)
        try:
            return cls(engine, key, exchange)
        except BaseException:
            engine.dispose()
            raise

    @property
    def generation(self) -> int:
        """Which one in the row of its exchanges the database key is; 0 where nobody exchanges it."""
        return 0 if self._held is None else self._held.generation

    @property
    def write_key(self) -> Secret[bytes]:
        """The key of the marks of used signatures; it stays when the database key is exchanged."""
        return self._write_key

    def derive(self, label: str) -> Secret[bytes]:
        """The key of one purpose, the same in every database of this database key.

        Raises:
            StoreError: the database is closed.
        """
        return derive_key(self._master(), label)

    def cipher(self, table: str) -> RowCipher:
        """The cipher of a table's rows in this database; it follows when the keys are rotated.

        Raises:
            StoreError: the database is closed.
        """
        master = self._master()
        return self._ciphers.setdefault(table, RowCipher(master, self.id, table))

    @contextmanager
    def read(self) -> Iterator[Connection]:
        """A connection to read with; each statement sees the newest state, see :meth:`snapshot`.

        Raises:
            StoreError: the database failed.
        """
        with _connection(self._reading) as db:
            yield db

    @contextmanager
    def snapshot(self) -> Iterator[Connection]:
        """A connection that sees one state of the whole database however long it reads, and blocks no writer.

        Raises:
            StoreError: the database failed.
        """
        with _connection(self.engine) as db:
            if db.dialect.name == "sqlite":
                db.exec_driver_sql("BEGIN")  # the first read fixes the state of the write-ahead log that is seen
            else:
                db.exec_driver_sql("SET TRANSACTION ISOLATION LEVEL REPEATABLE READ READ ONLY")
            yield db.execution_options(yield_per=500)

    def write(self, work: Callable[[Connection], T], line: str | None = None) -> T:
        """Run ``work`` as the only writer; on disk when this returns.

        Args:
            work: what to do in the transaction.
            line: record of it for the audit log, which then has it if and only if ``work`` had its effect.

        Raises:
            AuditError: the stored audit log is not the one that was written; ``work`` has had no effect.
            StoreError: the database failed; likewise.
            Exception: what ``work`` raised; likewise, and there is no line.
        """
        return self._commits.run(work, line).value

    def refresh(self) -> None:
        """Follow another process that has rotated the keys.

        Raises:
            DatabaseKeyError: the marker is gone, or made with another key.
            StoreError: the database failed.
        """
        with self.read() as db:
            self._follow(db)

    def rotate(self, line: str) -> Rotation:
        """Have the database key exchanged where somebody keeps it, give the database a new id, and seal every row anew.

        The keys of before are then underivable, and where the database key was exchanged, that is gone itself: from
        this process and from who kept it. Readers go on meanwhile, writers wait; processes that share the database
        follow by themselves. Nothing has changed when this fails, unless it says otherwise.

        Args:
            line: record for the audit log.

        Raises:
            DatabaseRowError: a row does not open.
            KeyExchangeError: the exchange could not be begun; or, after the rows were sealed anew, not be ended: the
                key of before is then not gone yet, and asking again, or a start, ends it.
            KeyStateError: another database shares the CAS session and is in the middle of an exchange; ask again, or
                the rows are lost with this process.
            AuditError, StoreError: as :meth:`write`.
        """
        exchange = self._exchange
        if exchange is None:
            return Rotation(self._reseal(lambda held: held, line))
        try:
            rows = self._reseal(lambda held: next_key(exchange, held), line)
        except BaseException:
            self._settle_quietly()
            raise
        try:
            done = exchange.commit(self.generation)
        except KeyStateError as overtaken:  # somebody else exchanged it meanwhile
            choose = partial(known_key, exchange, overtaken)
            self._reseal(choose, line)
            done = exchange.keys()
        return Rotation(rows, done.generation, done.entry, done.entry_hash)

    def restored(self, db: Connection, write_key: Secret[bytes]) -> None:
        """Take over the key of the marks that a backup brings; the last step in its transaction.

        Afterwards :meth:`refresh`; other processes see by the marker, which is another one, that they have to.
        """
        self._mark(db, self._master(), self.id, write_key)

    def record(self, line: str) -> str:
        """Add a line to the audit log; on disk when this returns its hash.

        Raises:
            AuditError, StoreError: as :meth:`write`.
        """
        return self.write_recorded(lambda _db: None, line)

    def write_recorded(self, work: Callable[[Connection], object], line: str) -> str:
        """Like :meth:`write`; returns the hash of ``line`` in the audit log.

        Raises:
            AuditError, StoreError, Exception: as :meth:`write`.
        """
        return self._commits.run(work, line).head

    def audit_head(self, db: Connection) -> AuditEntry | None:
        """The last entry of the audit log, compared with the kept head; None of an empty log.

        Raises:
            AuditError: the end was cut off or replaced.
        """
        return audit_chain.last(db, self._seal)

    def close(self) -> None:
        """Forget the key and let the connections go."""
        self._held = None
        self.engine.dispose()

    def _append(self, db: Connection, lines: Sequence[str]) -> list[str]:
        return [entry.hash for entry in audit_chain.append_all(db, self._seal, self.audit_head(db), lines)]

    def _reseal(self, choose: Callable[[HeldKey], HeldKey], line: str) -> int:
        """Seal every row under another id, and the database key that ``choose`` gives; returns their number."""
        fresh = os.urandom(ID_BYTES)
        secrets, challenges = self.cipher(secrets_table.name), self.cipher(challenges_table.name)
        held, marker = HeldKey(self._master(), self.generation), b""

        def work(db: Connection) -> int:
            nonlocal held, marker
            held = choose(HeldKey(self._master(), self.generation))  # as the only writer: nobody else is exchanging now
            for cipher in self._ciphers.values():
                cipher.rekey(held.key, fresh, keep=True)
            count = reseal(db, secrets, challenges)
            marker = self._mark(db, held.key, fresh, self._write_key)
            return count

        try:
            count = self._commits.alone(work, line).value
        except BaseException:
            self._settle(self._marker, self.id, HeldKey(self._master(), self.generation))
            raise
        self._settle(marker, fresh, held)
        return count

    def _mark(self, db: Connection, key: Secret[bytes], database_id: bytes, write_key: Secret[bytes]) -> bytes:
        rows = {_MARKER_ROW: seal_marker(key, database_id), _WRITE_KEY_ROW: seal_write_key(key, write_key)}
        db.execute(delete(marker_table))
        db.execute(insert(marker_table), [{"id": number, "value": blob} for number, blob in rows.items()])
        return rows[_MARKER_ROW]

    def _settle_exchange(self) -> None:
        """Finish or take back an exchange that was left, as the only writer: what the marker says stays true then."""
        exchange = self._exchange
        if exchange is None:
            return

        def say(what: str, generation: int) -> None:
            _log.warning("an interrupted exchange of the database key was settled", outcome=what, generation=generation)

        self._commits.run(lambda _db: settle(exchange, HeldKey(self._master(), self.generation), say))

    def _settle_quietly(self) -> None:
        """After a failure that is being reported already: what cannot be settled now is at the next occasion."""
        try:
            self._settle_exchange()
        except AdytonError as error:
            _log.warning("the exchange of the database key is not settled", code=error.code, detail=error.message)

    def _master(self) -> Secret[bytes]:
        if self._held is None:
            raise StoreError("the database is closed")
        return self._held.key

    def _follow(self, db: Connection) -> None:
        rows: dict[int, bytes] = {row.id: row.value for row in db.execute(select(marker_table))}
        blob = rows.get(_MARKER_ROW)
        if blob is None:
            raise DatabaseKeyError("the database does not hold the marker of the key it was made with", hint=OTHER_KEY)
        if blob == self._marker:
            return
        held = HeldKey(self._master(), self.generation)
        if self._exchange is None or opens_marker(held.key, blob):
            found = held
        else:  # another process had the key exchanged
            found = self._fitting(blob, held_keys(self._exchange.keys()))
        database_id = open_marker(found.key, blob)
        self._write_key = open_write_key(found.key, rows.get(_WRITE_KEY_ROW))
        self._settle(blob, database_id, found)

    @staticmethod
    def _fitting(marker: bytes | None, keys: Iterable[HeldKey]) -> HeldKey:
        """The key that the database is under; of a new database, the one that holds.

        Raises:
            DatabaseKeyError: it is under none of them.
        """
        found = next((held for held in keys if marker is None or opens_marker(held.key, marker)), None)
        if found is None:
            raise other_key()
        return found

    def _settle(self, marker: bytes, database_id: bytes, held: HeldKey) -> None:
        for cipher in self._ciphers.values():
            cipher.rekey(held.key, database_id)
        self._marker, self.id, self._held = marker, database_id, held


def stored_marker(engine: Engine) -> bytes | None:
    """The marker of a database, or None of a new one.

    Raises:
        sqlalchemy.exc.SQLAlchemyError: the database failed.
    """
    with engine.connect() as db:
        if not inspect(db).has_table(marker_table.name):
            return None
        found: bytes | None = db.execute(
            select(marker_table.c.value).where(marker_table.c.id == _MARKER_ROW)
        ).scalar_one_or_none()
        return found


@contextmanager
def _connection(engine: Engine) -> Iterator[Connection]:
    try:
        with engine.connect() as db:
            yield db
    except SQLAlchemyError as error:
        raise store_error(error) from None
