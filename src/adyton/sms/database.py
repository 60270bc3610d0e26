"""An open database: its schema, the proof that our key made it, its ciphers, and the ways to read and write.

The marker row holds, under the database key, the random id of the database; every row's key is derived from both.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import TypeVar

from sqlalchemy import Connection, Engine, select, update
from sqlalchemy.exc import SQLAlchemyError

from adyton.base.aead import derive_key
from adyton.base.auditchain import AuditEntry
from adyton.base.db import open_engine
from adyton.base.secret import Secret
from adyton.sms.commits import GroupCommit, store_error
from adyton.sms.errors import DatabaseKeyError
from adyton.sms.marker import ID_BYTES, OTHER_KEY, open_marker, seal_marker
from adyton.sms.migrations import migrate
from adyton.sms.rotation import reseal
from adyton.sms.rowcipher import HeadSeal, RowCipher
from adyton.sms.storage import StoreError
from adyton.sms.tables import audit_chain, challenges_table, marker_table, secrets_table

T = TypeVar("T")
_MARKER = select(marker_table.c.value).where(marker_table.c.id == 1)


class Database:
    """The database of one service, opened with its key.

    Args:
        engine: SQLite or PostgreSQL, from :func:`adyton.base.db.open_engine`.
        key: the database key; kept in this object until :meth:`close`.

    Raises:
        DatabaseKeyError: the database was made with another key, or its marker is gone.
        SchemaError: it was made by a newer version of this service.
        StoreError: it does not work.
    """

    def __init__(self, engine: Engine, key: Secret[bytes]) -> None:
        self.engine = engine
        self._key: Secret[bytes] | None = key
        self._commits = GroupCommit(engine, self._append, self._follow)
        self._ciphers: dict[str, RowCipher] = {}
        self._marker, self.id = b"", b""
        try:
            migrate(engine, key)
        except SQLAlchemyError as error:
            raise store_error(error) from None
        self.refresh()
        self._seal = HeadSeal(self.cipher(audit_chain.head.name))

    @classmethod
    def open(cls, url_or_path: str, key: Secret[bytes]) -> Database:
        """Open the database at a path or URL.

        Raises:
            InputError: no such kind of database.
            DatabaseKeyError, SchemaError, StoreError: as of the class.
        """
        return cls(open_engine(url_or_path), key)

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
        """A connection to read with.

        Raises:
            StoreError: the database failed.
        """
        try:
            with self.engine.connect() as db:
                yield db
        except SQLAlchemyError as error:
            raise store_error(error) from None

    @contextmanager
    def snapshot(self) -> Iterator[Connection]:
        """A connection that sees one state of the whole database however long it reads, and blocks no writer.

        Raises:
            StoreError: the database failed.
        """
        with self.read() as db:
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

    def rotate(self, line: str) -> int:
        """Give the database a new id and seal every row for it; the keys of before are then underivable from it.

        Readers go on meanwhile, writers wait; processes that share the database follow by themselves. Nothing has
        changed when this fails.

        Args:
            line: record for the audit log.

        Returns:
            The number of rows that were sealed anew.

        Raises:
            DatabaseRowError: a row does not open.
            AuditError, StoreError: as :meth:`write`.
        """
        master, fresh = self._master(), os.urandom(ID_BYTES)
        marker = seal_marker(master, fresh)
        secrets, challenges = self.cipher(secrets_table.name), self.cipher(challenges_table.name)

        def work(db: Connection) -> int:
            for cipher in self._ciphers.values():
                cipher.rekey(master, fresh, keep=True)
            count = reseal(db, secrets, challenges)
            db.execute(update(marker_table).where(marker_table.c.id == 1).values(value=marker))
            return count

        try:
            count = self._commits.alone(work, line).value
        except BaseException:
            self._settle(self._marker, self.id)
            raise
        self._settle(marker, fresh)
        return count

    def record(self, line: str) -> str:
        """Add a line to the audit log; on disk when this returns its hash.

        Raises:
            AuditError, StoreError: as :meth:`write`.
        """
        return self._commits.run(lambda _db: None, line).head

    def audit_head(self, db: Connection) -> AuditEntry | None:
        """The last entry of the audit log, compared with the kept head; None of an empty log.

        Raises:
            AuditError: the end was cut off or replaced.
        """
        return audit_chain.last(db, self._seal)

    def close(self) -> None:
        """Forget the key and let the connections go."""
        self._key = None
        self.engine.dispose()

    def _append(self, db: Connection, lines: Sequence[str]) -> list[str]:
        return [entry.hash for entry in audit_chain.append_all(db, self._seal, self.audit_head(db), lines)]

    def _master(self) -> Secret[bytes]:
        if self._key is None:
            raise StoreError("the database is closed")
        return self._key

    def _follow(self, db: Connection) -> None:
        blob = db.execute(_MARKER).scalar_one_or_none()
        if blob is None:
            raise DatabaseKeyError("the database does not hold the marker of the key it was made with", hint=OTHER_KEY)
        if blob != self._marker:
            self._settle(blob, open_marker(self._master(), blob))

    def _settle(self, marker: bytes, database_id: bytes) -> None:
        for cipher in self._ciphers.values():
            cipher.rekey(self._master(), database_id)
        self._marker, self.id = marker, database_id
