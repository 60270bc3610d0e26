"""The repository interface: what the use cases store and find, whatever the database is.

:class:`adyton.sms.store.repo.Repo` implements it on SQLite and PostgreSQL; the same tests run on both.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import Protocol

from adyton.base.errors import UnavailableError
from adyton.base.secret import Secret
from adyton.base.types import Address, Bytes32
from adyton.sms.store.tables import SecretKey


class StoreError(UnavailableError):
    """The database failed; nothing is known about the secret (503 on the wire)."""

    code = "sms.storage.unavailable"
    hint = "see the service's log, the free space of its volume and the database server"


@dataclass(frozen=True, slots=True)
class Challenge:
    """The enclave challenge of a task: an account whose key only the task's enclaves get."""

    task_id: Bytes32
    address: Address
    private_key: Secret[bytes]


class Storage(Protocol):
    """All reads and writes of the use cases.

    A write is on disk when its method returns. Every method raises :class:`StoreError` when the database fails; such
    a failure never looks like "exists" or "absent".
    """

    def exists(self, key: SecretKey) -> bool:
        """Whether the secret is stored."""

    def get(self, key: SecretKey) -> Secret[str] | None:
        """The value, or None.

        Raises:
            DatabaseRowError: the row does not open.
        """

    def create(
        self, key: SecretKey, value: Secret[str], signature: bytes, now: datetime, line: str | None = None
    ) -> None:
        """Store a new secret and remember the signed write.

        ``line``, from :meth:`adyton.sms.audit.AuditLog.line`, is in the audit log with it or neither is there.

        Raises:
            SecretExistsError: the key is taken.
            NotAllowedError: this signature has been used for another write.
        """

    def replace(
        self, key: SecretKey, value: Secret[str], signature: bytes, now: datetime, line: str | None = None
    ) -> bool:
        """Change a secret; False when it has this value already: only the signature counts as used then.

        Raises:
            SecretNotFoundError: nothing to change.
            NotAllowedError: this signature has been used for an earlier write: somebody replays it.
            DatabaseRowError: the stored row does not open.
        """

    def challenge(self, task_id: Bytes32) -> Challenge | None:
        """The stored challenge of a task, or None.

        Raises:
            DatabaseRowError: the row does not open.
        """

    def get_or_create_challenge(self, task_id: Bytes32, final_deadline: int) -> tuple[Challenge, bool]:
        """The challenge of a task and whether this call made it; all callers of all processes get the same one.

        Args:
            task_id: the task.
            final_deadline: its final deadline, seconds since the epoch.

        Raises:
            DatabaseRowError: the stored row does not open.
        """

    def count_session(self, task_id: Bytes32, limit: int, line: str) -> str | None:
        """Count one more session of the task and record it; None, and no ``line``, when ``limit`` is reached.

        Returns:
            The hash of ``line``, from :meth:`adyton.sms.audit.AuditLog.line`, in the audit log.
        """

    def purge_challenges(self, before: int) -> int:
        """Delete the challenges whose task's final deadline lies before ``before`` (seconds since the epoch)."""

    def counts(self) -> dict[str, int]:
        """Stored rows by kind, and of challenges as ``challenge``."""

    def added(self) -> dict[str, int]:
        """Rows that this process has added since it started, by the names of :meth:`counts`."""
