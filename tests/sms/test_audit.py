from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from sqlalchemy import select, text, update
from tests.sms.support import SettableClock

from adyton.base.auditchain import GENESIS
from adyton.base.secret import Secret
from adyton.sms.audit import AuditError, AuditLog
from adyton.sms.store.database import Database
from adyton.sms.store.tables import audit_chain

KEY = Secret(bytes([7]) * 32)


@pytest.fixture
def database(database_url: str) -> Iterator[Database]:
    opened = Database.open(database_url, KEY)
    yield opened
    opened.close()


def test_entries_come_back_in_order(database: Database) -> None:
    log = AuditLog(database, clock=SettableClock())
    log.released("session.released", task="0x01", session="ab")
    log.refused("session.refused", task="0x02", code="TASK_NOT_ACTIVE")
    entries = AuditLog(database).verify()
    assert [(entry.seq, entry.event) for entry in entries] == [(1, "session.released"), (2, "session.refused")]
    assert entries[1].fields == {"task": "0x02", "code": "TASK_NOT_ACTIVE"}
    assert entries[0].at == "2026-11-22T12:00:00+00:00"


CHANGES: dict[str, str] = {
    "changed": "UPDATE audit SET record = replace(record, '0x02', '0x09') WHERE seq = 2",
    "the last changed": "UPDATE audit SET record = replace(record, '0x03', '0x09') WHERE seq = 3",
    "taken out": "DELETE FROM audit WHERE seq = 2",
    "beginning cut off": "DELETE FROM audit WHERE seq = 1",
    "end cut off": "DELETE FROM audit WHERE seq = 3",
    "all gone": "DELETE FROM audit",
    "repeated": "INSERT INTO audit SELECT 4, record, hash FROM audit WHERE seq = 3",
    "renumbered": "UPDATE audit SET seq = -seq",
    "head gone": "DELETE FROM audit_head",
    "head of another number": "UPDATE audit_head SET version = 2",
}


@pytest.mark.parametrize("statement", CHANGES.values(), ids=CHANGES.keys())
def test_a_changed_record_is_seen(database: Database, statement: str) -> None:
    log = AuditLog(database)
    for number in range(1, 4):
        log.released("challenge.created", task=f"0x0{number}")
    with database.engine.begin() as db:
        db.execute(text(statement))
    with pytest.raises(AuditError) as caught:
        log.verify()
    assert caught.value.code == "sms.audit.broken"


@pytest.mark.parametrize("statement", ["DELETE FROM audit WHERE seq = 2", "DELETE FROM audit_head"])
def test_nothing_is_released_onto_a_record_that_was_cut(database: Database, statement: str) -> None:
    log = AuditLog(database)
    for _ in range(2):
        log.released("event")
    with database.engine.begin() as db:
        db.execute(text(statement))
    with pytest.raises(AuditError):
        log.released("event")


def test_anyone_checks_the_chain_but_only_the_service_makes_it(database: Database) -> None:
    """Who can write the tables can make a new chain, but not the encrypted head."""
    log = AuditLog(database)
    log.released("session.refused")
    forged = '{"at":"2026-11-22T12:00:00+00:00","event":"forged","fields":{}}'
    with database.engine.begin() as db:
        db.execute(update(audit_chain.entries).values(record=forged, hash=audit_chain.link(GENESIS, forged)))
        assert audit_chain.verify(audit_chain.read(db)) is not None
    with pytest.raises(AuditError):
        log.verify()


def test_a_head_of_another_database_is_refused(database: Database, tmp_path: Path) -> None:
    other = Database.open(str(tmp_path / "other.sqlite3"), KEY)
    for each in (database, other):
        AuditLog(each, clock=SettableClock()).released("event")
    with other.engine.connect() as db:
        head = db.execute(select(audit_chain.head.c.body)).scalar_one()
    with database.engine.begin() as db:
        db.execute(update(audit_chain.head).values(body=head))
    with pytest.raises(AuditError):
        AuditLog(database).verify()
    other.close()


def test_two_writers_make_one_chain(database: Database, database_url: str) -> None:
    second = Database.open(database_url, KEY)
    logs = [AuditLog(database), AuditLog(second)]
    with ThreadPoolExecutor(4) as threads:
        list(threads.map(lambda n: logs[n % 2].released("event", number=str(n)), range(40)))
    entries = logs[0].verify()
    assert sorted(int(entry.fields["number"]) for entry in entries) == list(range(40))
    second.close()


def test_long_records_are_read_in_pages(database: Database, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("adyton.base.auditchain._PAGE", 3)
    log = AuditLog(database)
    for _ in range(6):
        log.released("event")
    assert len(log.verify()) == 6


def test_a_flood_of_refusals_is_counted_not_written(database: Database) -> None:
    clock = SettableClock()
    log = AuditLog(database, clock=clock, refusals_per_s=1)
    for _ in range(50):
        log.refused("secret.refused", code="sms.not_allowed")
    assert len(log.verify()) == 4
    log.released("session.released", task="0x01")
    assert log.verify()[-1].fields == {"task": "0x01", "suppressed_refusals": "46"}
