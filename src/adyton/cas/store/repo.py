"""The CAS's sessions: rows that only this CAS can read, each bound to its place.

A row's body is AES-256-GCM under a key derived from the master key for its table; the associated data are table,
primary key, version and the columns that stay readable. So a row cannot be altered, moved to another key, table or
database, nor given another version. That none was removed or exchanged for an older one, and that the whole file is
not an older one, is :mod:`adyton.cas.store.ledger`'s to see, through which all writes go.

Session names are not stored: the primary key is a keyed digest.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from sqlalchemy import Row, bindparam, delete, func, insert, select, update

from adyton.base.canonical import canonical_json
from adyton.cas.errors import StoreCorruptError
from adyton.cas.language.session import Session, from_document, session_hash
from adyton.cas.releasing.material import Material
from adyton.cas.store.keys import Keys, RowCipher
from adyton.cas.store.ledger import Change, Ledger, Transaction
from adyton.cas.store.tables import SESSIONS, open_database, reading

__all__ = ["RowCipher", "SessionRepo", "StoredSession", "open_database", "rewrite_rows"]

_PAGE = 500

# Made once: putting a statement together costs more than running it.
_FIND = select(SESSIONS).where(SESSIONS.c.id == bindparam("row"))
_INSERT = insert(SESSIONS)
_COUNT = select(func.count()).select_from(SESSIONS)
_COUNT_OF = _COUNT.where(SESSIONS.c.creator == bindparam("of_creator"))
_EXPIRED = _COUNT.where(SESSIONS.c.expires_at <= bindparam("now"))


@dataclass(frozen=True, slots=True)
class StoredSession:
    """A session as it is kept.

    Attributes:
        session: the validated document.
        creator: key hash of who created it.
        salt: goes into the hash; new with every version.
        version: 1 when created, one more with every update, counted activation, approval and successor.
        material: its keys and secrets.
    """

    session: Session
    creator: str
    salt: bytes
    version: int
    material: Material

    @property
    def hash(self) -> str:
        """The session hash."""
        return session_hash(self.session, self.salt)


class SessionRepo:
    """Reads sessions, and says how they are written: see :meth:`adyton.cas.store.audit.AuditLog.change`."""

    def __init__(self, ledger: Ledger) -> None:
        self._ledger = ledger
        self._engine = ledger.engine

    def get(self, name: str) -> StoredSession | None:
        """The session of that name, expired or not.

        Raises:
            StoreCorruptError: its row was altered.
            UnavailableError: the database cannot be read now.
        """
        while True:
            keys = self._ledger.keys
            try:
                found = self._find(keys, name)
            except StoreCorruptError:
                if self._ledger.is_current(keys):
                    raise
                continue  # the keys were exchanged between the two looks
            if found is not None or self._ledger.is_current(keys):
                return found

    def storing(self, stored: StoredSession, *, scrub: bool = False) -> Change:
        """The change that inserts version 1, or puts a later version in the place of the one before it.

        It does not apply when the name is taken, or another writer was first. With ``scrub`` the version before is
        overwritten in the file's pages, too; :meth:`scrub` then empties the log, which has them as they were.
        """
        return lambda transaction: _scrubbing(transaction, stored) if scrub else _store(transaction, stored)

    def scrub(self) -> None:
        """Empty the database's log, which still has the pages that were overwritten."""
        self._ledger.checkpoint()

    def activation(self, name: str, service: str, mrenclave: bytes) -> str:
        """The mark of an activation under the keys of now, see :meth:`adyton.cas.store.keys.Keys.activation`."""
        return self._ledger.keys.activation(name, service, mrenclave)

    def unchanged(self, stored: StoredSession) -> Change:
        """The change that writes nothing, and applies only while ``stored`` is the newest version of its session."""
        return lambda transaction: _is_newest(transaction, stored)

    def purging(self, now: datetime) -> Change:
        """The change that deletes expired sessions; it does not apply when there are none."""
        return lambda transaction: _purge(transaction, int(now.timestamp())) > 0

    def expired(self, now: datetime) -> int:
        """How many stored sessions have expired."""
        with reading(), self._engine.connect() as db:
            return int(db.execute(_EXPIRED, {"now": int(now.timestamp())}).scalar_one())

    def count(self, creator: str | None = None) -> int:
        """How many sessions there are, of one creator or of all."""
        with reading(), self._engine.connect() as db:
            if creator is None:
                return int(db.execute(_COUNT).scalar_one())
            return int(db.execute(_COUNT_OF, {"of_creator": creator}).scalar_one())

    def page(self, creator: str, after: str, limit: int, now: datetime) -> tuple[list[StoredSession], str]:
        """Sessions of one creator that have not expired, in the order of their row ids.

        Args:
            creator: key hash.
            after: the cursor of the page before; empty for the first.
            limit: how many.
            now: the time.

        Returns:
            The sessions, and the cursor of the next page; it is empty after the last. Cursors change with the keys.

        Raises:
            StoreCorruptError: a row was altered.
            UnavailableError: the database cannot be read now.
        """
        columns = SESSIONS.c
        alive = columns.expires_at.is_(None) | (columns.expires_at > int(now.timestamp()))
        query = select(SESSIONS).where(columns.creator == creator, columns.id > after, alive)
        while True:
            keys = self._ledger.keys
            try:
                with reading(), self._engine.connect() as db:
                    rows = db.execute(query.order_by(columns.id).limit(limit)).all()
                    found = [_stored(keys, row) for row in rows]
            except StoreCorruptError:
                if self._ledger.is_current(keys):
                    raise
                continue  # the keys were exchanged between the two looks
            return found, rows[-1].id if len(rows) == limit else ""

    def _find(self, keys: Keys, name: str) -> StoredSession | None:
        row_id = keys.row_id(name)
        with reading(), self._engine.connect() as db:
            row = db.execute(_FIND, {"row": row_id}).one_or_none()
            return None if row is None else _stored(keys, row)


def rewrite_rows(transaction: Transaction, keys: Keys) -> int:
    """Encrypt every session's row anew under ``keys``, its content unchanged; gives the new digest of these rows.

    Raises:
        StoreCorruptError: a row is not the one that was written.
    """
    db, old = transaction.db, transaction.keys
    fresh = Transaction(db, keys, 0)
    ids = db.execute(select(SESSIONS.c.id)).scalars().all()  # all at first: they change on the way
    statement = update(SESSIONS).where(SESSIONS.c.id == bindparam("before"))
    for start in range(0, len(ids), _PAGE):
        rows = db.execute(select(SESSIONS).where(SESSIONS.c.id.in_(ids[start : start + _PAGE]))).all()
        values = [_rewritten(row, old, keys) for row in rows]
        db.execute(statement, values)
        for row, value in zip(rows, values, strict=True):
            fresh.added(value["id"], row.version, value["body"])
    return fresh.digest


def _rewritten(row: Any, old: Keys, keys: Keys) -> dict[str, Any]:  # noqa: ANN401  # a row of the database
    clear = _clear(row.creator, row.expires_at)
    plain = old.sessions.open(row.id, row.version, row.body, *clear)
    row_id = keys.row_id(json.loads(plain)["document"]["name"])
    return {"before": row.id, "id": row_id, "body": keys.sessions.seal(row_id, row.version, plain, *clear)}


def _store(transaction: Transaction, stored: StoredSession) -> bool:
    values = _row(transaction.keys, stored)
    row_id, version, body = values["id"], values["version"], values["body"]
    if version == 1:
        transaction.db.execute(_INSERT, values)
    else:
        place = (SESSIONS.c.id == row_id, SESSIONS.c.version == version - 1)
        before = transaction.db.execute(select(SESSIONS.c.body).where(*place)).scalar_one_or_none()
        if before is None:
            return False
        transaction.db.execute(update(SESSIONS).where(*place).values(values))
        transaction.removed(row_id, version - 1, before)
    transaction.added(row_id, version, body)
    return True


def _scrubbing(transaction: Transaction, stored: StoredSession) -> bool:
    transaction.db.exec_driver_sql("PRAGMA secure_delete=ON")
    try:
        return _store(transaction, stored)
    finally:
        transaction.db.exec_driver_sql("PRAGMA secure_delete=OFF")


def _is_newest(transaction: Transaction, stored: StoredSession) -> bool:
    row_id = transaction.keys.row_id(stored.session.name)
    found = transaction.db.execute(select(SESSIONS.c.version).where(SESSIONS.c.id == row_id)).scalar_one_or_none()
    return found == stored.version


def _purge(transaction: Transaction, now: int) -> int:
    expired = SESSIONS.c.expires_at <= now
    rows = transaction.db.execute(select(SESSIONS.c.id, SESSIONS.c.version, SESSIONS.c.body).where(expired)).all()
    for row in rows:
        transaction.removed(row.id, row.version, row.body)
    transaction.db.execute(delete(SESSIONS).where(expired))
    return len(rows)


def _stored(keys: Keys, row: Row[Any]) -> StoredSession:
    clear = _clear(row.creator, row.expires_at)
    plain = json.loads(keys.sessions.open(row.id, row.version, row.body, *clear))
    return StoredSession(
        from_document(plain["document"]),
        row.creator,
        bytes.fromhex(plain["salt"]),
        row.version,
        Material.from_plain(plain["material"]),
    )


def _row(keys: Keys, stored: StoredSession) -> dict[str, Any]:
    row_id = keys.row_id(stored.session.name)
    expiry = stored.session.expires_at
    expires_at = None if expiry is None else int(expiry.timestamp())
    plain = {
        "document": stored.session.to_document(),
        "salt": stored.salt.hex(),
        "material": stored.material.to_plain(),
    }
    clear = _clear(stored.creator, expires_at)
    body = keys.sessions.seal(row_id, stored.version, canonical_json(plain), *clear)
    return {
        "id": row_id,
        "version": stored.version,
        "creator": stored.creator,
        "expires_at": expires_at,
        "body": body,
    }


def _clear(creator: str, expires_at: int | None) -> tuple[bytes, bytes]:
    return creator.encode(), b"" if expires_at is None else str(expires_at).encode()
