"""The audit log by itself: chain, vector, concurrent writers, and a database that cannot be written."""

from __future__ import annotations

import json
import sqlite3
import threading
from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

import pytest
from sqlalchemy import Engine

from adyton.base.aead import new_key
from adyton.base.errors import UnavailableError
from adyton.base.secret import Secret
from adyton.cas.errors import AuditBrokenError
from adyton.cas.store.audit import GENESIS, AuditEntry, AuditEvent, AuditLog, read_entries, verify_chain
from adyton.cas.store.head import HeadFile
from adyton.cas.store.keys import Keys
from adyton.cas.store.ledger import Ledger
from adyton.cas.store.tables import AUDIT_CHAIN, open_database

NOW = datetime(2026, 11, 22, 12, tzinfo=UTC)
EVENT = AuditEvent("release", "released", session="00", service="app")
_chain = AUDIT_CHAIN.link


@pytest.fixture
def engine(tmp_path: Path) -> Iterator[Engine]:
    opened = open_database(tmp_path / "a.db")
    yield opened
    opened.dispose()


@pytest.fixture
def head(tmp_path: Path) -> Iterator[Head]:
    made = Head(tmp_path / "a.head", new_key())
    yield made
    made.close()


class Head:
    """Opens the log of one database again and again, as restarts do."""

    def __init__(self, path: Path, master: Secret[bytes]) -> None:
        self._path = path
        self.keys = Keys.of(master)
        HeadFile.create(path, self.keys.head)
        self._open: HeadFile | None = None

    def ledger(self, engine: Engine) -> Ledger:
        self.close()
        self._open = HeadFile(self._path, [self.keys.head])
        return Ledger(engine, self.keys, self._open)

    def close(self) -> None:
        if self._open is not None:
            self._open.close()
        self._open = None


def log(engine: Engine, head: Head) -> AuditLog:
    return AuditLog(head.ledger(engine), lambda: NOW)


def test_entries_are_chained_and_readable(engine: Engine, head: Head) -> None:
    audit = log(engine, head)
    assert audit.verify() is None
    entries = [audit.append(EVENT), audit.append(replace(EVENT, outcome="refused", code="a.b"))]
    assert list(read_entries(engine)) == entries
    assert audit.verify() == entries[1]
    assert entries[1].values == {
        "at": NOW.isoformat(),
        "event": "release",
        "outcome": "refused",
        "code": "a.b",
        "session": "00",
        "service": "app",
    }


def test_the_chain_vector() -> None:
    """Fixed: another recipe would break every log there is."""
    assert _chain(GENESIS, '{"a":1}') == "bee0718f6d73bf76c6c19bca5b72bceaccbfabfb661cdecd352a985ad3fc5fc1"


def test_a_log_goes_on_after_a_restart(engine: Engine, head: Head) -> None:
    log(engine, head).append(EVENT)
    again = log(engine, head)
    assert again.append(EVENT).seq == 2
    assert again.verify() is not None


def test_many_pages_are_verified(engine: Engine, head: Head, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("adyton.base.auditchain._PAGE", 3)
    audit = log(engine, head)
    for _ in range(8):
        audit.append(EVENT)
    last = verify_chain(read_entries(engine))
    assert last is not None
    assert last.seq == 8


def test_writers_in_parallel(engine: Engine, head: Head) -> None:
    audit = log(engine, head)
    threads = [threading.Thread(target=lambda: [audit.append(EVENT) for _ in range(10)]) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    last = audit.verify()
    assert last is not None
    assert last.seq == 40


def test_an_entry_cannot_be_inserted_moved_or_invented() -> None:
    first = AuditEntry(1, "{}", _chain(GENESIS, "{}"))
    second = AuditEntry(2, "{}", _chain(first.hash, "{}"))
    assert verify_chain([first, second]) == second
    forged = json.dumps({"outcome": "released"})
    for entries in (
        [second],
        [second, first],
        [first, first],
        [first, replace(second, seq=3)],
        [first, replace(second, record=forged)],
        [replace(first, hash=GENESIS), second],
        [AuditEntry(1, "{}", _chain("11" * 32, "{}"))],
    ):
        with pytest.raises(AuditBrokenError):
            verify_chain(entries)


def test_a_rewritten_log_with_a_right_chain_is_found_by_the_cas(engine: Engine, head: Head, tmp_path: Path) -> None:
    """Who can write the file can make a new chain, but not the encrypted head."""
    log(engine, head).append(EVENT)
    record = json.dumps({"outcome": "refused"})
    db = sqlite3.connect(tmp_path / "a.db")
    db.execute("update audit set record = ?, hash = ?", (record, _chain(GENESIS, record)))
    db.commit()
    db.close()
    assert verify_chain(read_entries(engine)) is not None
    with pytest.raises(AuditBrokenError):
        log(engine, head)


def test_what_cannot_be_recorded_is_an_error(engine: Engine, head: Head, tmp_path: Path) -> None:
    audit = log(engine, head)
    audit.append(EVENT)
    db = sqlite3.connect(tmp_path / "a.db")
    db.execute("create trigger full before insert on audit begin select raise(abort, 'disk full'); end")
    db.commit()
    with pytest.raises(UnavailableError) as caught:
        audit.append(EVENT)
    assert caught.value.code == "cas.audit.unwritable"
    db.execute("drop trigger full")
    db.commit()
    db.close()
    assert audit.append(EVENT).seq == 2
    assert audit.verify() is not None
