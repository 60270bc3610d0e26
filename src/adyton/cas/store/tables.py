"""The tables of the CAS's database, and the file itself."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from pathlib import Path
from typing import Final

from sqlalchemy import Column, Engine, Integer, LargeBinary, MetaData, String, Table
from sqlalchemy.exc import SQLAlchemyError

from adyton.base.auditchain import AuditChain
from adyton.base.db import open_engine
from adyton.base.errors import UnavailableError
from adyton.cas.errors import AuditBrokenError, StoreCorruptError

METADATA: Final = MetaData()
SESSIONS: Final = Table(
    "sessions",
    METADATA,
    Column("id", String(64), primary_key=True),
    Column("version", Integer, nullable=False),
    Column("creator", String(64), nullable=False, index=True),
    Column("expires_at", Integer, nullable=True, index=True),  # seconds since 1970 UTC
    Column("body", LargeBinary, nullable=False),
)
AUTHORITY: Final = Table(
    "authority",
    METADATA,
    Column("id", String(16), primary_key=True),
    Column("version", Integer, nullable=False),
    Column("body", LargeBinary, nullable=False),
)
STATE: Final = Table(
    "state",
    METADATA,
    Column("id", String(16), primary_key=True),
    Column("version", Integer, nullable=False),  # number of the audit entry that it holds after
    Column("body", LargeBinary, nullable=False),
)
AUDIT_CHAIN: Final = AuditChain(METADATA, b"adyton/cas/audit/1", AuditBrokenError)


def open_database(path: Path) -> Engine:
    """Open (or create) the database file with its tables; every commit is on disk before it returns.

    Raises:
        UnavailableError: the file cannot be opened, or is no database.
    """
    engine = open_engine(path, durable=True)
    with reading():
        METADATA.create_all(engine)
    return engine


@contextlib.contextmanager
def reading() -> Iterator[None]:
    """Type what goes wrong with stored data: an unreadable file, or a column that holds another type than it must.

    Raises:
        UnavailableError: the database does not answer.
        StoreCorruptError: a row has columns that this program never wrote.
    """
    try:
        yield
    except SQLAlchemyError as error:
        raise UnavailableError(
            f"the CAS's database cannot be read: {driver_text(error)}", code="cas.store.unreadable"
        ) from error
    except (TypeError, AttributeError, OverflowError) as error:
        raise StoreCorruptError("a row holds values of other types than were stored") from error


def driver_text(error: SQLAlchemyError) -> str:
    """What the driver says; SQLAlchemy's own message would show the statement's parameters."""
    return str(getattr(error, "orig", "")) or type(error).__name__
