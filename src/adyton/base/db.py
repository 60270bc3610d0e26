"""The one way to open a database: SQLAlchemy Core on SQLite (WAL, foreign keys, busy timeout) or PostgreSQL by URL."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from sqlalchemy import Engine, create_engine, event


def open_engine(url_or_path: str | Path, *, durable: bool = True) -> Engine:
    """Open ``url_or_path``: a path (or ``:memory:``) is SQLite, ``postgresql://…`` is PostgreSQL.

    Args:
        url_or_path: where the data is.
        durable: SQLite only: fsync every commit (``synchronous=FULL``); False trades the last commits for speed.
    """
    text = str(url_or_path)
    if "://" in text:
        return create_engine(text, pool_pre_ping=True)
    if text != ":memory:":
        Path(text).parent.mkdir(parents=True, exist_ok=True)
    engine = create_engine("sqlite:///" + ("" if text == ":memory:" else text))

    @event.listens_for(engine, "connect")
    def _pragmas(connection: Any, _record: Any) -> None:  # noqa: ANN401  # the driver's own objects
        cursor = connection.cursor()
        for pragma in (
            "journal_mode=WAL",
            f"synchronous={'FULL' if durable else 'NORMAL'}",
            "foreign_keys=ON",
            "busy_timeout=5000",
        ):
            cursor.execute(f"PRAGMA {pragma}")
        cursor.close()

    return engine
