"""The schema before there were versions: databases of that time have these tables and no version."""

from __future__ import annotations

from typing import TYPE_CHECKING

from sqlalchemy import BigInteger, Column, Integer, LargeBinary, MetaData, String, Table, Text

from adyton.base.secret import Secret

if TYPE_CHECKING:
    from alembic.operations import Operations

revision = "0001"
down_revision: str | None = None

tables = MetaData()
Table(
    "secret",
    tables,
    Column("kind", String(16), primary_key=True),
    Column("owner", String(64), primary_key=True),
    Column("name", String(255), primary_key=True),
    Column("version", Integer, nullable=False),
    Column("value", LargeBinary, nullable=False),
)
Table(
    "tee_challenge",
    tables,
    Column("task_id", String(66), primary_key=True),
    Column("address", String(42), nullable=False),
    Column("final_deadline", BigInteger, nullable=False),
    Column("sessions", Integer, nullable=False),
    Column("private_key", LargeBinary, nullable=False),
)
Table(
    "signed_write",
    tables,
    Column("mark", String(64), primary_key=True),
    Column("at", BigInteger, nullable=False),
)
Table(
    "marker",
    tables,
    Column("id", Integer, primary_key=True),
    Column("value", LargeBinary, nullable=False),
)
Table(
    "audit",
    tables,
    Column("seq", Integer, primary_key=True, autoincrement=False),
    Column("entry", Text, nullable=False),
    Column("mac", String(64), nullable=False),
)


def upgrade(op: Operations, key: Secret[bytes]) -> None:  # noqa: ARG001  # nothing is encrypted yet
    """Make what is not there."""
    tables.create_all(op.get_bind())
