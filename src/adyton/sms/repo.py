"""The database: secrets and enclave challenges, every value encrypted and bound to its place.

Each value is sealed by :class:`adyton.sms.rowcipher.RowCipher` for its database, table, primary key and row version: a
row that was altered, moved to another key, table or database, or mixed from two versions does not open. What the host
of the disk can still do is put back an old copy of whole rows; nothing on one machine can tell.

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

from sqlalchemy import ColumnElement, Connection, delete, func, select, update

from adyton.base.db import insert_if_absent
from adyton.base.secret import Secret
from adyton.base.types import Address, Bytes32
from adyton.chain.wallet import Wallet
from adyton.sms.database import Database
from adyton.sms.errors import DatabaseRowError, NotAllowedError, SecretExistsError, SecretNotFoundError
from adyton.sms.storage import Challenge, StoreError
from adyton.sms.tables import Kind, SecretKey, challenge_place, challenges_table, secrets_table, writes_table

__all__ = ["CHALLENGE", "Challenge", "Repo", "StoreError"]

T = TypeVar("T")
CHALLENGE: Final = "challenge"
_UPDATE_ATTEMPTS: Final = 8  # lost races of one update before it is reported as unavailable


class Repo:
    """:class:`adyton.sms.storage.Storage` in a database.

    Args:
        database: open, with its key.
    """

    def __init__(self, database: Database) -> None:
        self._database = database
        self._secrets = database.cipher(secrets_table.name)
        self._challenges = database.cipher(challenges_table.name)
        self._write_key = database.derive("sms/signed-write")
        self._added: Counter[str] = Counter()
        self._added_lock = threading.Lock()

    # -- secrets ------------------------------------------------------------------------------------------------

    def exists(self, key: SecretKey) -> bool:
        """See :meth:`adyton.sms.storage.Storage.exists`."""
        with self._database.read() as db:
            return db.execute(select(secrets_table.c.version).where(*_is(key))).first() is not None

    def get(self, key: SecretKey) -> Secret[str] | None:
        """See :meth:`adyton.sms.storage.Storage.get`."""
        found = self._patiently(lambda: self._open(key))
        return None if found is None else found[1]

    def create(
        self, key: SecretKey, value: Secret[str], signature: bytes, now: datetime, line: str | None = None
    ) -> None:
        """See :meth:`adyton.sms.storage.Storage.create`."""
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
        """See :meth:`adyton.sms.storage.Storage.replace`."""
        for _attempt in range(_UPDATE_ATTEMPTS):
            found = self._patiently(lambda: self._open(key))
            if found is None:
                raise SecretNotFoundError(f"no {key.kind} secret of {key.owner} at this name")
            version, current = found
            if current == value:
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
        """See :meth:`adyton.sms.storage.Storage.added`."""
        with self._added_lock:
            return dict(self._added)

    def counts(self) -> dict[str, int]:
        """See :meth:`adyton.sms.storage.Storage.counts`."""
        with self._database.read() as db:
            rows = db.execute(select(secrets_table.c.kind, func.count()).group_by(secrets_table.c.kind)).all()
            challenges = db.execute(select(func.count()).select_from(challenges_table)).scalar_one()
        return {kind.value: 0 for kind in Kind} | {str(kind): int(n) for kind, n in rows} | {CHALLENGE: int(challenges)}

    # -- challenges ---------------------------------------------------------------------------------------------

    def challenge(self, task_id: Bytes32) -> Challenge | None:
        """See :meth:`adyton.sms.storage.Storage.challenge`."""

        def find() -> Challenge | None:
            with self._database.read() as db:
                return self._challenge(db, task_id)

        return self._patiently(find)

    def get_or_create_challenge(self, task_id: Bytes32, final_deadline: int) -> tuple[Challenge, bool]:
        """See :meth:`adyton.sms.storage.Storage.get_or_create_challenge`."""
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

    def count_session(self, task_id: Bytes32, limit: int) -> bool:
        """See :meth:`adyton.sms.storage.Storage.count_session`."""
        table = challenges_table
        one_more = (
            update(table)
            .where(table.c.task_id == task_id, table.c.sessions < limit)
            .values(sessions=table.c.sessions + 1)
        )
        return self._database.write(lambda db: db.execute(one_more).rowcount) == 1

    def purge_challenges(self, before: int) -> int:
        """See :meth:`adyton.sms.storage.Storage.purge_challenges`."""
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
            row = db.execute(select(secrets_table.c.version, secrets_table.c.value).where(*_is(key))).one_or_none()
        if row is None:
            return None
        plain = self._secrets.open(row.value, f"the {key.kind} secret of {key.owner}", *key.place(row.version))
        return row.version, Secret(plain.decode())

    def _challenge(self, db: Connection, task_id: Bytes32) -> Challenge | None:
        row: Any = db.execute(select(challenges_table).where(challenges_table.c.task_id == task_id)).one_or_none()
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
        # Keyed, for a signature in clear would confirm guesses of the value that was signed to a reader of the disk.
        mark = hmac.new(self._write_key.reveal(), signature, hashlib.sha256).hexdigest()
        if not insert_if_absent(db, writes_table, {"mark": mark, "at": int(now.timestamp())}):
            raise NotAllowedError(
                "this signed write has been used before",
                code="sms.write.replayed",
                hint="sign it again with a fresh nonce",
            )


class _RaceLostError(Exception):
    """Somebody else changed the row since it was read."""


def _is(key: SecretKey) -> tuple[ColumnElement[bool], ...]:
    table = secrets_table.c
    return (table.kind == key.kind.value, table.owner == key.owner, table.name == key.name)
