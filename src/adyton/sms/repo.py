"""The database: secrets and enclave challenges, every value encrypted and bound to its place.

Each table has its own key derived from the database key, and each value is AES-256-GCM with table, primary key and
row version as associated data: a row that was altered, moved to another key or mixed from two versions does not open.
What the host of the disk can still do is put back an old copy of whole rows; nothing on one machine can tell.

A single INSERT detects a conflict; a database that fails is :class:`StoreError`, never a conflict.
"""

from __future__ import annotations

import hashlib
import hmac
import threading
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime
from typing import Final

from sqlalchemy import ColumnElement, Connection, Engine, delete, func, insert, select, update
from sqlalchemy.exc import IntegrityError, SQLAlchemyError

from adyton.base.aead import DecryptionError, decrypt, derive_key, encrypt
from adyton.base.errors import UnavailableError
from adyton.base.secret import Secret
from adyton.base.types import Address, Bytes32
from adyton.chain.wallet import Wallet
from adyton.sms.errors import (
    DatabaseKeyError,
    DatabaseRowError,
    NotAllowedError,
    SecretExistsError,
    SecretNotFoundError,
)
from adyton.sms.tables import Kind, SecretKey, challenges_table, marker_table, metadata, secrets_table, writes_table

_MARKER_TEXT: Final = b"adyton sms database 1"
CHALLENGE: Final = "challenge"
_UPDATE_ATTEMPTS: Final = 8  # lost races of one update before it is reported as unavailable


class StoreError(UnavailableError):
    """The database failed; nothing is known about the secret."""

    code = "sms.database.unavailable"
    hint = "see the service's log, the free space of its volume and the database server"


@dataclass(frozen=True, slots=True)
class Challenge:
    """The enclave challenge of a task: an account whose key only the task's enclaves get."""

    task_id: Bytes32
    address: Address
    private_key: Secret[bytes]


class Repo:
    """All reads and writes of the service.

    Args:
        engine: SQLite or PostgreSQL, from :func:`adyton.base.db.open_engine`.
        database_key: master key; every table's key is derived from it.

    Raises:
        DatabaseKeyError: the database was made with another key, or has rows and no marker.
        StoreError: the database does not work.
    """

    def __init__(self, engine: Engine, database_key: Secret[bytes]) -> None:
        self._engine = engine
        self._secret_key = derive_key(database_key, "sms/secret")
        self._challenge_key = derive_key(database_key, "sms/challenge")
        self._write_key = derive_key(database_key, "sms/signed-write")
        self._added: Counter[str] = Counter()
        self._added_lock = threading.Lock()
        with _store_errors():
            metadata.create_all(engine)
        self._check_marker(derive_key(database_key, "sms/marker"))

    # -- secrets ------------------------------------------------------------------------------------------------

    def exists(self, key: SecretKey) -> bool:
        """Whether the secret is stored.

        Raises:
            StoreError: the database failed.
        """
        with self._read() as db:
            return db.execute(select(secrets_table.c.version).where(*_is(key))).first() is not None

    def get(self, key: SecretKey) -> Secret[str] | None:
        """The value, or None.

        Raises:
            DatabaseRowError: the row does not open.
            StoreError: the database failed.
        """
        found = self._open(key)
        return None if found is None else found[1]

    def create(self, key: SecretKey, value: Secret[str], signature: bytes, now: datetime) -> None:
        """Store a new secret and remember the signed write.

        Raises:
            SecretExistsError: the key is taken.
            NotAllowedError: this signature has been used for another write.
            StoreError: the database failed.
        """
        blob = encrypt(self._secret_key, value.reveal().encode(), *key.context(1))
        row = insert(secrets_table).values(kind=key.kind, owner=key.owner, name=key.name, version=1, value=blob)
        with self._write() as db:
            try:
                db.execute(row)
            except IntegrityError as error:
                raise SecretExistsError(f"a {key.kind} secret of {key.owner} exists at this name") from error
            self._use(db, signature, now)
        self._count(key.kind.value)

    def replace(self, key: SecretKey, value: Secret[str], signature: bytes, now: datetime) -> bool:
        """Change a secret; False when it has this value already (nothing is written then).

        Raises:
            SecretNotFoundError: nothing to change.
            NotAllowedError: this signature has been used for an earlier write: somebody replays it.
            DatabaseRowError: the stored row does not open.
            StoreError: the database failed.
        """
        for _attempt in range(_UPDATE_ATTEMPTS):
            found = self._open(key)
            if found is None:
                raise SecretNotFoundError(f"no {key.kind} secret of {key.owner} at this name")
            version, current = found
            if current == value:
                return False
            if self._swap(key, version, value, signature, now):
                return True
        raise StoreError(f"a {key.kind} secret of {key.owner} is being changed by many writers at once")

    def added(self) -> dict[str, int]:
        """Rows that this process has added since it started, by the names of :meth:`counts`."""
        with self._added_lock:
            return dict(self._added)

    def counts(self) -> dict[str, int]:
        """Stored rows by kind, and of challenges as ``challenge``.

        Raises:
            StoreError: the database failed.
        """
        with self._read() as db:
            rows = db.execute(select(secrets_table.c.kind, func.count()).group_by(secrets_table.c.kind)).all()
            challenges = db.execute(select(func.count()).select_from(challenges_table)).scalar_one()
        return {kind.value: 0 for kind in Kind} | {str(kind): int(n) for kind, n in rows} | {CHALLENGE: int(challenges)}

    # -- challenges ---------------------------------------------------------------------------------------------

    def challenge(self, task_id: Bytes32) -> Challenge | None:
        """The stored challenge of a task, or None.

        Raises:
            DatabaseRowError: the row does not open.
            StoreError: the database failed.
        """
        with self._read() as db:
            row = db.execute(select(challenges_table).where(challenges_table.c.task_id == task_id)).one_or_none()
        if row is None:
            return None
        try:
            raw = decrypt(
                self._challenge_key, row.private_key, *_challenge_context(task_id, row.address, row.final_deadline)
            )
        except DecryptionError as error:
            raise DatabaseRowError(f"the challenge of task {task_id} does not open") from error
        return Challenge(task_id, Address(row.address), Secret(raw))

    def get_or_create_challenge(self, task_id: Bytes32, final_deadline: int) -> tuple[Challenge, bool]:
        """The challenge of a task and whether this call made it; concurrent callers get the same one.

        Args:
            task_id: the task.
            final_deadline: its final deadline, seconds since the epoch.

        Raises:
            DatabaseRowError: the stored row does not open.
            StoreError: the database failed.
        """
        found = self.challenge(task_id)
        if found is not None:
            return found, False
        wallet = Wallet.create()
        context = _challenge_context(task_id, wallet.address, final_deadline)
        row = insert(challenges_table).values(
            task_id=task_id,
            address=wallet.address,
            final_deadline=final_deadline,
            sessions=0,
            private_key=encrypt(self._challenge_key, wallet.private_key().reveal(), *context),
        )
        try:
            with self._write() as db:
                db.execute(row)
        except IntegrityError:
            found = self.challenge(task_id)
            if found is None:
                raise StoreError(f"the challenge of task {task_id} vanished while it was read") from None
            return found, False
        self._count(CHALLENGE)
        return Challenge(task_id, wallet.address, wallet.private_key()), True

    def count_session(self, task_id: Bytes32, limit: int) -> bool:
        """Count one more session of the task; False when ``limit`` is reached.

        Raises:
            StoreError: the database failed.
        """
        table = challenges_table
        with self._write() as db:
            counted = db.execute(
                update(table)
                .where(table.c.task_id == task_id, table.c.sessions < limit)
                .values(sessions=table.c.sessions + 1)
            )
        return counted.rowcount == 1

    def purge_challenges(self, before: int) -> int:
        """Delete the challenges whose task's final deadline lies before ``before`` (seconds since the epoch).

        Raises:
            StoreError: the database failed.
        """
        with self._write() as db:
            return db.execute(delete(challenges_table).where(challenges_table.c.final_deadline < before)).rowcount

    # -- inside -------------------------------------------------------------------------------------------------

    def _count(self, name: str) -> None:
        with self._added_lock:
            self._added[name] += 1

    @contextmanager
    def _read(self) -> Iterator[Connection]:
        with _store_errors(), self._engine.connect() as db:
            yield db

    @contextmanager
    def _write(self) -> Iterator[Connection]:
        with _store_errors(), self._engine.begin() as db:
            yield db

    def _open(self, key: SecretKey) -> tuple[int, Secret[str]] | None:
        with self._read() as db:
            row = db.execute(select(secrets_table.c.version, secrets_table.c.value).where(*_is(key))).one_or_none()
        if row is None:
            return None
        try:
            return row.version, Secret(decrypt(self._secret_key, row.value, *key.context(row.version)).decode())
        except DecryptionError as error:
            raise DatabaseRowError(f"the {key.kind} secret of {key.owner} does not open at its place") from error

    def _swap(self, key: SecretKey, version: int, value: Secret[str], signature: bytes, now: datetime) -> bool:
        blob = encrypt(self._secret_key, value.reveal().encode(), *key.context(version + 1))
        with self._write() as db:
            moved = db.execute(
                update(secrets_table)
                .where(*_is(key), secrets_table.c.version == version)
                .values(version=version + 1, value=blob)
            )
            if moved.rowcount == 1:
                self._use(db, signature, now)
        return moved.rowcount == 1

    def _use(self, db: Connection, signature: bytes, now: datetime) -> None:
        # Keyed, for a signature in clear would confirm guesses of the value that was signed to a reader of the disk.
        mark = hmac.new(self._write_key.reveal(), signature, hashlib.sha256).hexdigest()
        try:
            db.execute(insert(writes_table).values(mark=mark, at=int(now.timestamp())))
        except IntegrityError as error:
            raise NotAllowedError(
                "this signed write has been used before",
                code="sms.write.replayed",
                hint="sign it again with a fresh nonce",
            ) from error

    def _check_marker(self, key: Secret[bytes]) -> None:
        blob = self._marker()
        if blob is None:
            if self._has_rows():
                raise DatabaseKeyError("the database holds rows but not the marker of the key they were made with")
            try:
                with self._write() as db:
                    db.execute(insert(marker_table).values(id=1, value=encrypt(key, _MARKER_TEXT, b"marker")))
            except IntegrityError:  # another process opened the new database at the same moment
                pass
            blob = self._marker() or b""
        try:
            known = decrypt(key, blob, b"marker") == _MARKER_TEXT
        except DecryptionError:
            known = False
        if not known:
            raise DatabaseKeyError(
                "the database was made with another database key than the one given to this process",
                hint="start the service with the CAS session that made this database, or with an empty database",
            )

    def _marker(self) -> bytes | None:
        with self._read() as db:
            return db.execute(select(marker_table.c.value).where(marker_table.c.id == 1)).scalar_one_or_none()

    def _has_rows(self) -> bool:
        with self._read() as db:
            return any(
                db.execute(select(func.count()).select_from(table)).scalar_one()
                for table in (secrets_table, challenges_table, writes_table)
            )


@contextmanager
def _store_errors() -> Iterator[None]:
    try:
        yield
    except IntegrityError:
        raise
    except SQLAlchemyError as error:
        # Not chained to the user: the driver's text may quote parameters.
        raise StoreError(f"the database failed: {type(error).__name__}") from None


def _is(key: SecretKey) -> tuple[ColumnElement[bool], ...]:
    table = secrets_table.c
    return (table.kind == key.kind.value, table.owner == key.owner, table.name == key.name)


def _challenge_context(task_id: str, address: str, final_deadline: int) -> tuple[bytes, ...]:
    return (b"tee_challenge", task_id.encode(), address.encode(), str(final_deadline).encode())
