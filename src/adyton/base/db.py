"""The one way to open a database: SQLAlchemy Core on SQLite (WAL, foreign keys, busy timeout) or PostgreSQL by URL.

Both are durable by default: a commit that returned is on disk (SQLite ``synchronous=FULL``, PostgreSQL
``synchronous_commit=on`` whatever the server's default). Statements' parameters never appear in errors. A URL holds no
password, because settings are shown and logged: PostgreSQL's client library reads it from the file that ``PGPASSFILE``
or the URL's ``passfile=`` names (PostgreSQL manual, "The Password File").
"""

from __future__ import annotations

import functools
from pathlib import Path
from typing import Any, Final

from sqlalchemy import URL, Connection, Engine, Executable, bindparam, create_engine, event, func, make_url, select
from sqlalchemy.dialects import postgresql, sqlite
from sqlalchemy.exc import ArgumentError
from sqlalchemy.schema import Table

from adyton.base.errors import InputError

_CONNECT_S: Final = 5
_CONNECTIONS: Final = 20  # of one process to PostgreSQL, opened when needed; its default is 100 for all
_LOCK_WAIT_MS: Final = 5000
_WRITER_LOCK: Final = 0x6164_7974_6F6E_0001  # one advisory lock for all writers of a database that take it
_URL_HINT: Final = "name a file for SQLite, or postgresql://user@host/database"


def open_engine(url_or_path: str | Path, *, durable: bool = True) -> Engine:
    """Open ``url_or_path``: a path (or ``:memory:``) is SQLite, ``postgresql://…`` is PostgreSQL.

    Args:
        url_or_path: where the data is.
        durable: every commit is on disk before it returns; False trades the last commits for speed.

    Raises:
        InputError: a URL of something else, or one with a password in it.
    """
    text = str(url_or_path)
    if "://" in text:
        return _open_postgresql(_server_url(text), durable=durable)
    if text != ":memory:":
        Path(text).parent.mkdir(parents=True, exist_ok=True)
    engine = create_engine("sqlite:///" + ("" if text == ":memory:" else text), hide_parameters=True)

    @event.listens_for(engine, "connect")
    def _pragmas(connection: Any, _record: Any) -> None:  # noqa: ANN401  # the driver's own objects
        cursor = connection.cursor()
        for pragma in (
            "journal_mode=WAL",
            f"synchronous={'FULL' if durable else 'NORMAL'}",
            "foreign_keys=ON",
            f"busy_timeout={_LOCK_WAIT_MS}",
        ):
            cursor.execute(f"PRAGMA {pragma}")
        cursor.close()

    return engine


def lock_for_writing(db: Connection, wait_ms: int = _LOCK_WAIT_MS) -> None:
    """Make this transaction, of which this is the first statement, the only one of those that call this.

    What is read afterwards stays true until the end, and two such transactions cannot deadlock.

    Args:
        db: a connection in a transaction.
        wait_ms: how long to wait for others, milliseconds; then the statement fails.
    """
    if db.dialect.name == "sqlite":
        db.exec_driver_sql(f"PRAGMA busy_timeout={wait_ms}")
        db.exec_driver_sql("BEGIN IMMEDIATE")  # the driver would begin at the first write only, and could be refused
        return
    db.exec_driver_sql(f"SET LOCAL lock_timeout = {wait_ms}")
    db.execute(select(func.pg_advisory_xact_lock(bindparam("key", _WRITER_LOCK))))


def insert_if_absent(db: Connection, table: Table, values: dict[str, Any]) -> bool:
    """Insert a row unless its primary key is taken; False when it is. One statement, and no error to recover from."""
    return db.execute(_insert_if_absent(db.dialect.name, table), values).rowcount == 1


@functools.cache
def _insert_if_absent(dialect: str, table: Table) -> Executable:
    make = sqlite.insert if dialect == "sqlite" else postgresql.insert
    return make(table).on_conflict_do_nothing().execution_options(preserve_rowcount=True)


def _server_url(text: str) -> URL:
    try:
        url = make_url(text)
    except (ArgumentError, ValueError):
        raise InputError("the database URL is malformed", code="database.url", hint=_URL_HINT) from None
    if url.get_backend_name() != "postgresql":
        raise InputError(f"no database of the kind {url.drivername} is known", code="database.url", hint=_URL_HINT)
    if url.password is not None or "password" in url.query:
        raise InputError(
            "the database URL holds a password",
            code="database.url.password",
            hint="put it into a file of mode 0600 and name that by ?passfile=… in the URL or by PGPASSFILE",
        )
    return url.set(drivername="postgresql+psycopg")


def _open_postgresql(url: URL, *, durable: bool) -> Engine:
    options = f"-c synchronous_commit={'on' if durable else 'off'} -c lock_timeout={_LOCK_WAIT_MS}"
    return create_engine(
        url,
        pool_pre_ping=True,
        pool_size=_CONNECTIONS,
        max_overflow=0,  # what overflows is opened and closed for each use, at ten times the cost of the use
        hide_parameters=True,
        connect_args={"connect_timeout": _CONNECT_S, "options": options},
    )
