"""The database: secrets and enclave challenges, every value encrypted and bound to its place.

Each value is sealed by :class:`adyton.sms.store.rowcipher.RowCipher` for its database, table, primary key and row
version: a row that was altered, moved to another key, table or database, or mixed from two versions does not open. What
the host of the disk can still do is put back an old copy of whole rows; nothing on one machine can tell.

One ``INSERT … ON CONFLICT`` detects a conflict; a database that fails is :class:`StoreError`, never a conflict.
"""

from __future__ import annotations

import contextlib
import hashlib
import hmac
import threading
from collections import Counter
from collections.abc import Callable
from datetime import datetime
from typing import Any, Final, TypeVar

from sqlalchemy import ColumnElement, Connection, bindparam, delete, func, select, update

from adyton.base.db import insert_if_absent
from adyton.base.secret import Secret
from adyton.base.types import Address, Bytes32
from adyton.chain.wallet import Wallet
from adyton.sms.errors import DatabaseRowError, NotAllowedError, SecretExistsError, SecretNotFoundError
from adyton.sms.store.database import Database
from adyton.sms.store.storage import Challenge, StoreError
from adyton.sms.store.tables import Kind, SecretKey, challenge_place, challenges_table, secrets_table, writes_table

__all__ = ["CHALLENGE", "Challenge", "Repo", "StoreError"]

T = TypeVar("T")
CHALLENGE: Final = "challenge"
_UPDATE_ATTEMPTS: Final = 8  # lost races of one update before it is reported as unavailable


# Made once: putting a statement together costs more than running it.
_HERE: Final = (
    secrets_table.c.kind == bindparam("of_kind"),
    secrets_table.c.owner == bindparam("of_owner"),
    secrets_table.c.name == bindparam("of_name"),
)
_EXISTS: Final = select(secrets_table.c.version).where(*_HERE)
_GET: Final = select(secrets_table.c.version, secrets_table.c.value).where(*_HERE)
_CHALLENGE: Final = select(challenges_table).where(challenges_table.c.task_id == bindparam("task"))
_ONE_MORE: Final = (
    update(challenges_table)
    .where(challenges_table.c.task_id == bindparam("task"), challenges_table.c.sessions < bindparam("limit"))
    .values(sessions=challenges_table.c.sessions + 1)
)


class Repo:
    """:class:`adyton.sms.store.storage.Storage` in a database.

    Args:
        database: open, with its key.
    """

    def __init__(self, database: Database) -> None:
        self._database = database
        self._secrets = database.cipher(secrets_table.name)
        self._challenges = database.cipher(challenges_table.name)
        self._added: Counter[str] = Counter()
        self._added_lock = threading.Lock()

    # -- secrets ------------------------------------------------------------------------------------------------

    def exists(self, key: SecretKey) -> bool:
        """See :meth:`adyton.sms.store.storage.Storage.exists`."""
        with self._database.read() as db:
            return db.execute(_EXISTS, _names(key)).first() is not None

    def get(self, key: SecretKey) -> Secret[str] | None:
        """See :meth:`adyton.sms.store.storage.Storage.get`."""
        found = self._patiently(lambda: self._open(key))
        return None if found is None else found[1]

    def create(
        self, key: SecretKey, value: Secret[str], signature: bytes, now: datetime, line: str | None = None
    ) -> None:
        """See :meth:`adyton.sms.store.storage.Storage.create`."""
        row: dict[str, Any] = {"kind": key.kind.value, "owner": key.owner, "name": key.name, "version": 1}

        def work(db: Connection) -> None:
            row["value"] = self._secrets.seal(value.reveal().encode(), *key.place(1))
            if not insert_if_absent(db, secrets_table, row):
                raise SecretExistsError(f"a {key.kind} secret of {key.owner} exists at this name")
            self._use(db, signature, now)

        self._database.write(work, line)
        self._count(key.kind.value)

    def replace(
        self, key: SecretKey, value: Secret[str], signature: bytes, now: datetime, line: str | None = None
    ) -> bool:
        """See :meth:`adyton.sms.store.storage.Storage.replace`."""
        for _attempt in range(_UPDATE_ATTEMPTS):
            found = self._patiently(lambda: self._open(key))
            if found is None:
                raise SecretNotFoundError(f"no {key.kind} secret of {key.owner} at this name")
            version, current = found
            if current == value:
                self._database.write(lambda db: self._mark(db, signature, now))
                return False

            def work(db: Connection, version: int = version) -> None:
                blob = self._secrets.seal(value.reveal().encode(), *key.place(version + 1))
                self._swap(db, key, version, blob)
                self._use(db, signature, now)

            with contextlib.suppress(_RaceLostError):
                self._database.write(work, line)
                return True
        raise StoreError(f"a {key.kind} secret of {key.owner} is being changed by many writers at once")

    def added(self) -> dict[str, int]:
        """See :meth:`adyton.sms.store.storage.Storage.added`."""
        with self._added_lock:
            return dict(self._added)

    def counts(self) -> dict[str, int]:
        """See :meth:`adyton.sms.store.storage.Storage.counts`."""
        with self._database.read() as db:
            rows = db.execute(select(secrets_table.c.kind, func.count()).group_by(secrets_table.c.kind)).all()
            challenges = db.execute(select(func.count()).select_from(challenges_table)).scalar_one()
        return {kind.value: 0 for kind in Kind} | {str(kind): int(n) for kind, n in rows} | {CHALLENGE: int(challenges)}

    # -- challenges ---------------------------------------------------------------------------------------------

    def challenge(self, task_id: Bytes32) -> Challenge | None:
        """See :meth:`adyton.sms.store.storage.Storage.challenge`."""

        def find() -> Challenge | None:
            with self._database.read() as db:
                return self._challenge(db, task_id)

        return self._patiently(find)

    def get_or_create_challenge(self, task_id: Bytes32, final_deadline: int) -> tuple[Challenge, bool]:
        """See :meth:`adyton.sms.store.storage.Storage.get_or_create_challenge`."""
        found = self.challenge(task_id)
        if found is not None:
            return found, False
        wallet = Wallet.create()
        place = challenge_place(task_id, wallet.address, final_deadline)
        row: dict[str, Any] = {"task_id": task_id, "address": wallet.address, "final_deadline": final_deadline}

        def work(db: Connection) -> tuple[Challenge | None, bool]:
            row.update(sessions=0, private_key=self._challenges.seal(wallet.private_key().reveal(), *place))
            created = insert_if_absent(db, challenges_table, row)
            return self._challenge(db, task_id), created

        stored, created = self._database.write(work)
        if stored is None:
            raise StoreError(f"the challenge of task {task_id} vanished while it was made")
        if created:
            self._count(CHALLENGE)
        return stored, created

    def count_session(self, task_id: Bytes32, limit: int, line: str) -> str | None:
        """See :meth:`adyton.sms.store.storage.Storage.count_session`."""

        def work(db: Connection) -> None:
            if db.execute(_ONE_MORE, {"task": task_id, "limit": limit}).rowcount != 1:
                raise _LimitError

        try:
            return self._database.write_recorded(work, line)
        except _LimitError:
            return None

    def purge_challenges(self, before: int) -> int:
        """See :meth:`adyton.sms.store.storage.Storage.purge_challenges`."""
        ended = delete(challenges_table).where(challenges_table.c.final_deadline < before)
        return self._database.write(lambda db: db.execute(ended).rowcount)

    # -- inside -------------------------------------------------------------------------------------------------

    def _count(self, name: str) -> None:
        with self._added_lock:
            self._added[name] += 1

    def _patiently(self, read: Callable[[], T]) -> T:
        """A row that does not open may have been read just before the keys were rotated: look once more."""
        try:
            return read()
        except DatabaseRowError:
            self._database.refresh()
            return read()

    def _open(self, key: SecretKey) -> tuple[int, Secret[str]] | None:
        with self._database.read() as db:
            row = db.execute(_GET, _names(key)).one_or_none()
        if row is None:
            return None
        plain = self._secrets.open(row.value, f"the {key.kind} secret of {key.owner}", *key.place(row.version))
        return row.version, Secret(plain.decode())

    def _challenge(self, db: Connection, task_id: Bytes32) -> Challenge | None:
        row: Any = db.execute(_CHALLENGE, {"task": task_id}).one_or_none()
        if row is None:
            return None
        place = challenge_place(task_id, row.address, row.final_deadline)
        raw = self._challenges.open(row.private_key, f"the challenge of task {task_id}", *place)
        return Challenge(task_id, Address(row.address), Secret(raw))

    def _swap(self, db: Connection, key: SecretKey, version: int, blob: bytes) -> None:
        here = (*_is(key), secrets_table.c.version == version)
        if db.execute(update(secrets_table).where(*here).values(version=version + 1, value=blob)).rowcount != 1:
            raise _RaceLostError

    def _use(self, db: Connection, signature: bytes, now: datetime) -> None:
        if not self._mark(db, signature, now):
            raise NotAllowedError(
                "this signed write has been used before",
                code="sms.write.replayed",
                hint="sign it again with a fresh nonce",
            )

    def _mark(self, db: Connection, signature: bytes, now: datetime) -> bool:
        """Remember a signed write as used; False when it was."""
        # Keyed, for a signature in clear would confirm guesses of the value that was signed to a reader of the disk.
        mark = hmac.new(self._database.write_key.reveal(), signature, hashlib.sha256).hexdigest()
        return insert_if_absent(db, writes_table, {"mark": mark, "at": int(now.timestamp())})


class _RaceLostError(Exception):
    """Somebody else changed the row since it was read."""


class _LimitError(Exception):
    """A task has had all its sessions."""


def _names(key: SecretKey) -> dict[str, str]:
    """The parameters of the statements about one secret."""
    return {"of_kind": key.kind.value, "of_owner": key.owner, "of_name": key.name}


def _is(key: SecretKey) -> tuple[ColumnElement[bool], ...]:
    table = secrets_table.c
    return (table.kind == key.kind.value, table.owner == key.owner, table.name == key.name)
