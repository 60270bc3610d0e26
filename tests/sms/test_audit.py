from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from sqlalchemy import Engine, text
from tests.sms.support import SettableClock

from adyton.base.db import open_engine
from adyton.base.secret import Secret
from adyton.sms.audit import AuditError, AuditLog

KEY = Secret(bytes([7]) * 32)


@pytest.fixture
def engine(tmp_path: Path) -> Engine:
    return open_engine(tmp_path / "audit.sqlite3")


def test_entries_come_back_in_order(engine: Engine) -> None:
    log = AuditLog(engine, KEY, clock=SettableClock())
    log.released("session.released", task="0x01", session="ab")
    log.refused("session.refused", task="0x02", code="TASK_NOT_ACTIVE")
    entries = AuditLog(engine, KEY).verify()
    assert [(entry.seq, entry.event) for entry in entries] == [(1, "session.released"), (2, "session.refused")]
    assert entries[1].fields == {"task": "0x02", "code": "TASK_NOT_ACTIVE"}
    assert entries[0].at == "2026-11-22T12:00:00+00:00"


@pytest.mark.parametrize(
    "statement",
    [
        pytest.param("UPDATE audit SET entry = replace(entry, '0x02', '0x09') WHERE seq = 2", id="changed"),
        pytest.param("DELETE FROM audit WHERE seq = 2", id="taken out"),
        pytest.param("DELETE FROM audit WHERE seq = 1", id="beginning cut off"),
        pytest.param("INSERT INTO audit SELECT 4, entry, mac FROM audit WHERE seq = 3", id="repeated"),
        pytest.param("UPDATE audit SET seq = -seq; ", id="renumbered"),
    ],
)
def test_a_changed_record_is_seen(engine: Engine, statement: str) -> None:
    log = AuditLog(engine, KEY)
    for number in range(1, 4):
        log.released("challenge.created", task=f"0x0{number}")
    with engine.begin() as db:
        db.execute(text(statement))
    with pytest.raises(AuditError, match="broken at entry"):
        log.verify()


def test_another_key_cannot_have_written_it(engine: Engine) -> None:
    AuditLog(engine, Secret(bytes([9]) * 32)).released("forged")
    with pytest.raises(AuditError):
        AuditLog(engine, KEY).verify()


def test_two_writers_make_one_chain(engine: Engine) -> None:
    logs = [AuditLog(engine, KEY), AuditLog(engine, KEY)]
    with ThreadPoolExecutor(4) as threads:
        list(threads.map(lambda n: logs[n % 2].released("event", number=str(n)), range(12)))
    entries = logs[0].verify()
    assert sorted(int(entry.fields["number"]) for entry in entries) == list(range(12))


def test_a_flood_of_refusals_is_counted_not_written(engine: Engine) -> None:
    clock = SettableClock()
    log = AuditLog(engine, KEY, clock=clock, refusals_per_s=1)
    for _ in range(50):
        log.refused("secret.refused", code="sms.not_allowed")
    assert len(log.verify()) == 4
    log.released("session.released", task="0x01")
    assert log.verify()[-1].fields == {"task": "0x01", "suppressed_refusals": "46"}
