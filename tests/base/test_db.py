"""Which databases are opened, how durable they are, and that no password and no row is in an error."""

from __future__ import annotations

from pathlib import Path

import pytest
from sqlalchemy import Column, Integer, MetaData, String, Table, select, text
from sqlalchemy.exc import SQLAlchemyError

from adyton.base.db import insert_if_absent, lock_for_writing, open_engine
from adyton.base.errors import InputError

_table = Table("t", MetaData(), Column("k", Integer, primary_key=True), Column("v", String(9), nullable=False))


@pytest.mark.parametrize(
    ("url", "code"),
    [
        ("postgresql://user:hunter2@host/db", "database.url.password"),
        ("postgresql://host/db?user=u&password=hunter2", "database.url.password"),
        ("mysql://host/db", "database.url"),
        ("sqlite:///file", "database.url"),
        ("postgresql://host:port:hunter2/db", "database.url"),
        ("://hunter2", "database.url"),
    ],
)
def test_urls_that_are_refused(url: str, code: str) -> None:
    with pytest.raises(InputError) as caught:
        open_engine(url)
    assert caught.value.code == code
    assert "hunter2" not in f"{caught.value}{caught.value.hint}"
    assert caught.value.__suppress_context__ or caught.value.__context__ is None


@pytest.mark.parametrize(("durable", "level"), [(True, 2), (False, 1)])
def test_sqlite_waits_for_the_disk_where_told(tmp_path: Path, durable: bool, level: int) -> None:
    engine = open_engine(tmp_path / "deep" / "file.db", durable=durable)
    with engine.connect() as db:
        assert db.execute(text("PRAGMA synchronous")).scalar_one() == level
        assert db.execute(text("PRAGMA journal_mode")).scalar_one() == "wal"
    engine.dispose()


def test_errors_do_not_quote_rows(tmp_path: Path) -> None:
    engine = open_engine(tmp_path / "file.db")
    _table.metadata.create_all(engine)
    with engine.begin() as db, pytest.raises(SQLAlchemyError) as caught:
        db.execute(_table.insert().values(k=1, v=None))
    assert "(1, None)" not in str(caught.value)
    with engine.begin() as db, pytest.raises(SQLAlchemyError) as caught:
        db.execute(text("INSERT INTO nowhere VALUES (:v)"), {"v": "canary"})
    assert "canary" not in str(caught.value)
    engine.dispose()


def test_a_taken_key_is_told_and_keeps_its_row(tmp_path: Path) -> None:
    engine = open_engine(tmp_path / "file.db")
    _table.metadata.create_all(engine)
    with engine.begin() as db:
        assert insert_if_absent(db, _table, {"k": 1, "v": "a"})
        assert not insert_if_absent(db, _table, {"k": 1, "v": "b"})
        assert db.execute(select(_table.c.v)).scalars().all() == ["a"]
    engine.dispose()


def test_a_second_writer_waits_and_then_fails(tmp_path: Path) -> None:
    engine = open_engine(tmp_path / "file.db")
    _table.metadata.create_all(engine)
    with engine.begin() as first:
        lock_for_writing(first)
        with engine.begin() as second, pytest.raises(SQLAlchemyError, match="locked"):
            lock_for_writing(second, wait_ms=50)
        insert_if_absent(first, _table, {"k": 1, "v": "a"})
    with engine.begin() as second:
        lock_for_writing(second)
        assert not insert_if_absent(second, _table, {"k": 1, "v": "b"})
    engine.dispose()
