"""Rotating the keys of the rows on both databases, while others read and write, and when it fails."""

from __future__ import annotations

import subprocess
import sys
import threading
import time
from collections.abc import Iterator

import pytest
from sqlalchemy import select, text, update
from tests.sms.support import NOW, TASK_ID, wallet

from adyton.base.secret import Secret
from adyton.sms.audit import AuditLog
from adyton.sms.errors import DatabaseRowError
from adyton.sms.store.database import Database
from adyton.sms.store.repo import Repo
from adyton.sms.store.tables import SecretKey, secrets_table

KEY = Secret(bytes([7]) * 32)
OWNER = "0x" + "ab" * 20
ROWS = 40


def secret(number: int) -> SecretKey:
    return SecretKey.web2(OWNER, f"n{number}")


def store(repo: Repo, number: int, value: str) -> None:
    signature = wallet(1).sign_personal(f"{number}{value}".encode())
    repo.create(secret(number), Secret(value), signature, NOW)


def replace(repo: Repo, number: int, value: str) -> None:
    signature = wallet(1).sign_personal(f"replace {number}{value}".encode())
    assert repo.replace(secret(number), Secret(value), signature, NOW)


def value(repo: Repo, number: int) -> str:
    found = repo.get(secret(number))
    assert found is not None
    return found.reveal()


@pytest.fixture
def database(database_url: str) -> Iterator[Database]:
    opened = Database.open(database_url, KEY)
    repo = Repo(opened)
    for number in range(ROWS):
        store(repo, number, f"v{number}")
    repo.get_or_create_challenge(TASK_ID, 123)
    AuditLog(opened).released("before")
    yield opened
    opened.close()


def rotate(database: Database) -> int:
    return database.rotate(AuditLog(database).line("keys.rotated")).rows


def blobs(database: Database) -> dict[str, bytes]:
    with database.engine.connect() as db:
        return {row.name: row.value for row in db.execute(select(secrets_table))}


def test_everything_is_sealed_anew_and_readable(database: Database, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("adyton.sms.store.rotation._PAGE", 7)
    repo, before, old_id = Repo(database), blobs(database), database.id
    challenge = repo.challenge(TASK_ID)
    assert challenge is not None
    assert rotate(database) == ROWS + 1
    assert database.id != old_id
    after = blobs(database)
    assert all(after[name] != before[name] for name in before)
    assert [value(repo, number) for number in range(ROWS)] == [f"v{number}" for number in range(ROWS)]
    found = repo.challenge(TASK_ID)
    assert found is not None
    assert found.private_key == challenge.private_key
    assert [entry.event for entry in AuditLog(database).verify()] == ["before", "keys.rotated"]


def test_rows_of_before_do_not_open_any_more(database: Database) -> None:
    before = blobs(database)["n1"]
    rotate(database)
    with database.engine.begin() as db:
        db.execute(update(secrets_table).where(secrets_table.c.name == "n1").values(value=before))
    with pytest.raises(DatabaseRowError):
        value(Repo(database), 1)


def test_it_survives_a_restart(database: Database, database_url: str) -> None:
    rotate(database)
    again = Database.open(database_url, KEY)
    assert again.id == database.id
    assert value(Repo(again), 3) == "v3"
    again.close()


def test_other_processes_follow(database: Database, database_url: str) -> None:
    """The second one is opened as another replica would: it learns of the rotation from the database alone."""
    other = Database.open(database_url, KEY)
    theirs, log = Repo(other), AuditLog(other)
    assert value(theirs, 1) == "v1"
    rotate(database)
    assert value(theirs, 1) == "v1"  # a reader
    rotate(database)
    replace(theirs, 1, "w1")  # reads, then writes
    rotate(database)
    store(theirs, ROWS, "new")  # writes without having read
    rotate(database)
    log.released("after")
    rotate(database)
    assert theirs.challenge(TASK_ID) is not None
    ours = Repo(database)
    assert value(ours, 1) == "w1"
    assert value(ours, ROWS) == "new"
    assert [entry.event for entry in log.verify()][-2:] == ["after", "keys.rotated"]
    other.close()


def test_it_goes_on_while_others_read_and_write(database: Database, database_url: str) -> None:
    other = Database.open(database_url, KEY)
    stop, failures, turns = threading.Event(), [], [0, 0]

    def use(index: int, repo: Repo) -> None:
        try:
            while not stop.is_set():
                turns[index] += 1
                assert value(repo, 20 + index) in {"v20", "v21", f"w{turns[index] - 1}"}
                replace(repo, 20 + index, f"w{turns[index]}")
        except BaseException as error:  # noqa: BLE001  # shown by the test's own thread
            failures.append(error)

    threads = [threading.Thread(target=use, args=pair) for pair in enumerate((Repo(database), Repo(other)))]
    for thread in threads:
        thread.start()
    for _ in range(500):
        rotate(database)
        time.sleep(0.02)  # SQLite lets whoever asks again first go first
        if min(turns) > 5 or failures:
            break
    stop.set()
    for thread in threads:
        thread.join()
    assert not failures
    assert min(turns) > 5
    assert value(Repo(database), 21) == f"w{turns[1]}"
    other.close()


def test_when_it_fails_nothing_has_changed(database: Database) -> None:
    repo, old_id = Repo(database), database.id
    with database.engine.begin() as db:
        db.execute(text("UPDATE secret SET version = 9 WHERE name = 'n7'"))
    before = blobs(database)
    with pytest.raises(DatabaseRowError):
        rotate(database)
    assert database.id == old_id
    assert blobs(database) == before
    assert value(repo, 1) == "v1"
    replace(repo, 1, "w1")
    assert value(repo, 1) == "w1"
    assert [entry.event for entry in AuditLog(database).verify()] == ["before"]


HALTED = """
import sys
from adyton.base.secret import Secret
from adyton.sms.store import database as module
reseal = module.reseal
def halted(*arguments):
    count = reseal(*arguments)
    print("sealed", flush=True)
    sys.stdin.readline()
    return count
module.reseal = halted
module.Database.open(sys.argv[1], Secret(bytes([7]) * 32)).rotate("{}")
"""


def test_a_process_killed_in_the_middle_leaves_the_old_keys(database: Database, database_url: str) -> None:
    before = blobs(database)
    process = subprocess.Popen(
        [sys.executable, "-c", HALTED, database_url], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    assert process.stdout is not None
    assert process.stdout.readline() == "sealed\n"
    assert value(Repo(database), 1) == "v1"  # readers do not wait
    process.kill()
    process.communicate()
    assert blobs(database) == before
    replace(Repo(database), 1, "w1")
    assert rotate(database) == ROWS + 1
    assert value(Repo(database), 1) == "w1"
