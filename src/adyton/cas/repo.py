"""The CAS's database: SQLite rows that only this CAS can read, each bound to its place.

A row's body is AES-256-GCM under a key derived from the master key for its table; the associated data are table,
primary key, version and the columns that stay readable. So a row cannot be altered, moved to another key, table or
database, nor given another version. Putting back a whole older file is not detected by the rows alone: the audit
log's head (:mod:`adyton.cas.audit`) shows it to whoever kept a later one.

Session names are not stored: the primary key is a keyed digest. A write is on disk (WAL, ``synchronous=FULL``) before
it is acknowledged.
"""

from __future__ import annotations

import contextlib
import hashlib
import hmac
import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any, Final

from sqlalchemy import (
    Column,
    Engine,
    Integer,
    LargeBinary,
    MetaData,
    String,
    Table,
    delete,
    func,
    insert,
    select,
    update,
)
from sqlalchemy.exc import IntegrityError, SQLAlchemyError

from adyton.base import aead
from adyton.base.canonical import canonical_json
from adyton.base.db import open_engine
from adyton.base.errors import UnavailableError
from adyton.base.secret import Secret
from adyton.cas.authority import Authority
from adyton.cas.errors import StoreCorruptError
from adyton.cas.material import Material
from adyton.cas.session import Session, from_document, session_hash

METADATA: Final = MetaData()
_SESSIONS: Final = Table(
    "sessions",
    METADATA,
    Column("id", String(64), primary_key=True),
    Column("version", Integer, nullable=False),
    Column("creator", String(64), nullable=False, index=True),
    Column("expires_at", Integer, nullable=True, index=True),  # seconds since 1970 UTC
    Column("body", LargeBinary, nullable=False),
)
_AUTHORITY: Final = Table(
    "authority",
    METADATA,
    Column("id", String(16), primary_key=True),
    Column("version", Integer, nullable=False),
    Column("body", LargeBinary, nullable=False),
)
_ROOT: Final = "root"


@dataclass(frozen=True, slots=True)
class StoredSession:
    """A session as it is kept.

    Attributes:
        session: the validated document.
        creator: key hash of who created it.
        salt: goes into the hash; new with every version.
        version: 1 when created, one more with every update.
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


class RowCipher:
    """Encrypts the rows of one table under the table's own key."""

    def __init__(self, master: Secret[bytes], table: str) -> None:
        self._table = table
        self._key = aead.derive_key(master, "cas/row-key", table.encode())

    def seal(self, row_id: str, version: int, body: bytes, *clear: bytes) -> bytes:
        """Encrypt ``body`` for exactly this row; ``clear`` are the columns that stay readable."""
        return aead.encrypt(self._key, body, *self._context(row_id, version, clear))

    def open(self, row_id: str, version: int, blob: bytes, *clear: bytes) -> bytes:
        """The body of this row.

        Raises:
            StoreCorruptError: not what was stored here.
        """
        try:
            return aead.decrypt(self._key, blob, *self._context(row_id, version, clear))
        except aead.DecryptionError as error:
            raise StoreCorruptError(
                f"the row {row_id[:16]} of table {self._table} does not decrypt in its place"
            ) from error

    def _context(self, row_id: str, version: int, clear: Sequence[bytes]) -> tuple[bytes, ...]:
        return (self._table.encode(), row_id.encode(), version.to_bytes(8, "big"), *clear)


class SessionRepo:
    """Sessions and the authority, behind the master key.

    Args:
        engine: an open database, see :func:`open_database`.
        master: its master key.
    """

    def __init__(self, engine: Engine, master: Secret[bytes]) -> None:
        self._engine = engine
        self._name_key = aead.derive_key(master, "cas/session-name")
        self._sessions = RowCipher(master, _SESSIONS.name)
        self._authority = RowCipher(master, _AUTHORITY.name)

    def get(self, name: str) -> StoredSession | None:
        """The session of that name, expired or not.

        Raises:
            StoreCorruptError: its row was altered.
            UnavailableError: the database cannot be read now.
        """
        row_id = self._id(name)
        with _reading(), self._engine.connect() as db:
            row = db.execute(select(_SESSIONS).where(_SESSIONS.c.id == row_id)).one_or_none()
            if row is None:
                return None
            clear = _clear(row.creator, row.expires_at)
            plain = json.loads(self._sessions.open(row_id, row.version, row.body, *clear))
        return StoredSession(
            from_document(plain["document"]),
            row.creator,
            bytes.fromhex(plain["salt"]),
            row.version,
            Material.from_plain(plain["material"]),
        )

    def add(self, stored: StoredSession) -> bool:
        """Insert a new session; False when the name is taken.

        Raises:
            UnavailableError: the database cannot be written now.
        """
        try:
            with self._engine.begin() as db:
                db.execute(insert(_SESSIONS).values(self._row(stored)))
        except IntegrityError:
            return False
        except SQLAlchemyError as error:
            raise _unwritable(error) from error
        return True

    def replace(self, stored: StoredSession) -> bool:
        """Write a session's next version; False when another writer was first.

        Raises:
            UnavailableError: the database cannot be written now.
        """
        values = self._row(stored)
        statement = update(_SESSIONS).where(
            _SESSIONS.c.id == values.pop("id"), _SESSIONS.c.version == stored.version - 1
        )
        try:
            with self._engine.begin() as db:
                return db.execute(statement.values(values)).rowcount == 1
        except SQLAlchemyError as error:
            raise _unwritable(error) from error

    def purge(self, now: datetime) -> int:
        """Delete expired sessions; returns how many."""
        with self._engine.begin() as db:
            return db.execute(delete(_SESSIONS).where(_SESSIONS.c.expires_at <= int(now.timestamp()))).rowcount

    def count(self, creator: str | None = None) -> int:
        """How many sessions there are, of one creator or of all."""
        query = select(func.count()).select_from(_SESSIONS)
        if creator is not None:
            query = query.where(_SESSIONS.c.creator == creator)
        with self._engine.connect() as db:
            return int(db.execute(query).scalar_one())

    def authority(self, now: datetime) -> Authority:
        """The authority, made at the first call.

        Raises:
            StoreCorruptError: its row was altered, or the master key is another database's.
        """
        with _reading(), self._engine.begin() as db:
            row = db.execute(select(_AUTHORITY).where(_AUTHORITY.c.id == _ROOT)).one_or_none()
            if row is not None:
                return Authority.from_plain(json.loads(self._authority.open(_ROOT, row.version, row.body)))
            made = Authority.create(now)
            body = self._authority.seal(_ROOT, 1, canonical_json(made.to_plain()))
            db.execute(insert(_AUTHORITY).values(id=_ROOT, version=1, body=body))
            return made

    def _row(self, stored: StoredSession) -> dict[str, Any]:
        row_id = self._id(stored.session.name)
        expiry = stored.session.expires_at
        expires_at = None if expiry is None else int(expiry.timestamp())
        plain = {
            "document": stored.session.to_document(),
            "salt": stored.salt.hex(),
            "material": stored.material.to_plain(),
        }
        clear = _clear(stored.creator, expires_at)
        body = self._sessions.seal(row_id, stored.version, canonical_json(plain), *clear)
        return {
            "id": row_id,
            "version": stored.version,
            "creator": stored.creator,
            "expires_at": expires_at,
            "body": body,
        }

    def _id(self, name: str) -> str:
        return hmac.new(self._name_key.reveal(), name.encode(), hashlib.sha256).hexdigest()


def open_database(path: Path) -> Engine:
    """Open (or create) the database file with its tables; every commit is on disk before it returns.

    Raises:
        UnavailableError: the file cannot be opened, or is no database.
    """
    engine = open_engine(path, durable=True)
    with _reading():
        METADATA.create_all(engine)
    return engine


@contextlib.contextmanager
def _reading() -> Iterator[None]:
    """Type what goes wrong with stored data: an unreadable file, or a column that holds another type than it must.

    Raises:
        UnavailableError: the database does not answer.
        StoreCorruptError: a row has columns that this program never wrote.
    """
    try:
        yield
    except SQLAlchemyError as error:
        reason = str(getattr(error, "orig", "")) or type(error).__name__
        raise UnavailableError(f"the CAS's database cannot be read: {reason}", code="cas.store.unreadable") from error
    except (TypeError, AttributeError, OverflowError) as error:
        raise StoreCorruptError("a row holds values of other types than were stored") from error


def _clear(creator: str, expires_at: int | None) -> tuple[bytes, bytes]:
    return creator.encode(), b"" if expires_at is None else str(expires_at).encode()


def _unwritable(error: SQLAlchemyError) -> UnavailableError:
    # the driver's text only: SQLAlchemy's own message would show the statement's parameters
    reason = str(getattr(error, "orig", "")) or type(error).__name__
    return UnavailableError(f"the CAS's database cannot be written: {reason}", code="cas.store.unwritable")
