"""The tables, and the keys that rows are found by. Values are encrypted; keys, counts and deadlines are in clear.

The schema is made by :mod:`adyton.sms.store.migrations` only; a test compares what they make with what is declared
here.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

from sqlalchemy import BigInteger, Column, Integer, LargeBinary, MetaData, String, Table

from adyton.base.auditchain import AuditChain
from adyton.base.errors import AdytonError
from adyton.sms.access.recipes import APP_SECRET_INDEX

metadata = MetaData()


class AuditError(AdytonError):
    """The audit log is not the one that was written."""

    code = "sms.audit.broken"


secrets_table = Table(
    "secret",
    metadata,
    Column("kind", String(16), primary_key=True),
    Column("owner", String(64), primary_key=True),
    Column("name", String(255), primary_key=True),
    Column("version", Integer, nullable=False),
    Column("value", LargeBinary, nullable=False),
)
challenges_table = Table(
    "tee_challenge",
    metadata,
    Column("task_id", String(66), primary_key=True),
    Column("address", String(42), nullable=False),
    Column("final_deadline", BigInteger, nullable=False),
    Column("sessions", Integer, nullable=False),
    Column("private_key", LargeBinary, nullable=False),
)
writes_table = Table(
    "signed_write",
    metadata,
    Column("mark", String(64), primary_key=True),
    Column("at", BigInteger, nullable=False),
)
marker_table = Table(
    "marker",
    metadata,
    Column("id", Integer, primary_key=True),
    Column("value", LargeBinary, nullable=False),
)
audit_chain = AuditChain(metadata, b"adyton/sms/audit/2", AuditError)


class Kind(StrEnum):
    """The kinds of stored secrets."""

    WEB2 = "web2"
    WEB3 = "web3"
    APP = "app"
    REQUESTER = "requester"


@dataclass(frozen=True, slots=True)
class SecretKey:
    """Primary key of a secret: owner (or asset) in lower case, and a name where the kind has one."""

    kind: Kind
    owner: str
    name: str = ""

    @classmethod
    def web2(cls, owner: str, name: str) -> SecretKey:
        """A web2 secret; its name is case-insensitive."""
        return cls(Kind.WEB2, owner.lower(), name.lower())

    @classmethod
    def web3(cls, address: str) -> SecretKey:
        """The secret of a dataset or other asset."""
        return cls(Kind.WEB3, address.lower())

    @classmethod
    def app(cls, address: str) -> SecretKey:
        """The developer secret of an app."""
        return cls(Kind.APP, address.lower(), APP_SECRET_INDEX)

    @classmethod
    def requester(cls, requester: str, key: str) -> SecretKey:
        """A named requester secret; its name is case-sensitive."""
        return cls(Kind.REQUESTER, requester.lower(), key)

    def place(self, version: int) -> tuple[bytes, ...]:
        """What the value is bound to, beside its table and database."""
        return (self.kind.encode(), self.owner.encode(), self.name.encode(), str(version).encode())


def challenge_place(task_id: str, address: str, final_deadline: int) -> tuple[bytes, ...]:
    """What a challenge's private key is bound to, beside its table and database."""
    return (task_id.encode(), address.encode(), str(final_deadline).encode())
