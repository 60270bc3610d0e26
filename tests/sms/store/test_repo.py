"""The repository on real SQLite and PostgreSQL: conflicts, replays, tampering, wrong keys, concurrency."""

from __future__ import annotations

import hashlib
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from subprocess import PIPE
from typing import Any

import pytest
from sqlalchemy import Engine, Row, delete, event, select, text, update
from tests.sms.postgres import PostgresServer
from tests.sms.support import LINE, NOW, TASK_ID, wallet
from tests.waiting import until

from adyton.base.secret import Secret
from adyton.base.types import Bytes32
from adyton.chain.wallet import Wallet
from adyton.sms.audit import AuditError, AuditLog
from adyton.sms.errors import (
    DatabaseKeyError,
    DatabaseRowError,
    NotAllowedError,
    SecretExistsError,
    SecretNotFoundError,
)
from adyton.sms.store.database import Database
from adyton.sms.store.repo import Repo
from adyton.sms.store.storage import Storage, StoreError
from adyton.sms.store.tables import (
    Kind,
    SecretKey,
    audit_chain,
    challenges_table,
    marker_table,
    metadata,
    secrets_table,
)

KEY = Secret(bytes([7]) * 32)
OTHER_KEY = Secret(bytes([8]) * 32)
OWNER = "0xAbCdEf0000000000000000000000000000000001"
WEB2 = SecretKey.web2(OWNER, "Token")
DEADLINE = int(NOW.timestamp()) + 3600


def signed(text_: str) -> bytes:
    """The signature of some write."""
    return wallet(1).sign_personal(text_.encode())


@pytest.fixture
def database(database_url: str) -> Iterator[Database]:
    opened = Database.open(database_url, KEY)
    yield opened
    opened.close()


@pytest.fixture
def engine(database: Database) -> Engine:
    return database.engine


@pytest.fixture
def repo(database: Database) -> Storage:
    return Repo(database)


def store(repo: Storage, key: SecretKey, value: str) -> None:
    repo.create(key, Secret(value), signed(f"{key}{value}"), NOW)


def value_of(repo: Storage, key: SecretKey) -> str | None:
    found = repo.get(key)
    return None if found is None else found.reveal()


def test_a_stored_secret_is_found(repo: Storage) -> None:
    assert not repo.exists(WEB2)
    assert repo.get(WEB2) is None
    store(repo, WEB2, "välue\n")
    assert repo.exists(WEB2)
    assert value_of(repo, WEB2) == "välue\n"


@pytest.mark.parametrize(
    ("left", "right", "same"),
    [
        pytest.param(SecretKey.web2(OWNER, "Name"), SecretKey.web2(OWNER.lower(), "nAME"), True, id="web2 any case"),
        pytest.param(SecretKey.web3(OWNER), SecretKey.web3(OWNER.upper()), True, id="web3 any case"),
        pytest.param(SecretKey.app(OWNER), SecretKey.app(OWNER.lower()), True, id="app any case"),
        pytest.param(SecretKey.requester(OWNER, "k"), SecretKey.requester(OWNER.lower(), "k"), True, id="requester"),
        pytest.param(SecretKey.requester(OWNER, "k"), SecretKey.requester(OWNER, "K"), False, id="requester key case"),
        pytest.param(SecretKey.requester(OWNER, "1"), SecretKey.app(OWNER), False, id="kinds are apart"),
        pytest.param(SecretKey.requester(OWNER, "a"), SecretKey.web2(OWNER, "a"), False, id="web2 and requester"),
    ],
)
def test_storage_keys(left: SecretKey, right: SecretKey, same: bool) -> None:
    assert (left == right) is same


def test_a_second_secret_at_the_same_place_is_refused(repo: Storage) -> None:
    store(repo, WEB2, "first")
    with pytest.raises(SecretExistsError):
        store(repo, SecretKey.web2(OWNER.lower(), "token"), "second")
    assert value_of(repo, WEB2) == "first"


def test_one_signed_write_serves_once(repo: Storage) -> None:
    repo.create(WEB2, Secret("v"), signed("write"), NOW)
    other = SecretKey.requester(OWNER, "token")
    with pytest.raises(NotAllowedError) as caught:
        repo.create(other, Secret("v"), signed("write"), NOW)
    assert caught.value.code == "sms.write.replayed"
    assert not repo.exists(other)


def test_a_replaced_value_cannot_be_put_back_by_replay(repo: Storage) -> None:
    repo.create(WEB2, Secret("old"), signed("old"), NOW)
    assert repo.replace(WEB2, Secret("new"), signed("new"), NOW)
    with pytest.raises(NotAllowedError):
        repo.replace(WEB2, Secret("old"), signed("old"), NOW)
    assert value_of(repo, WEB2) == "new"


def test_a_write_that_changed_nothing_cannot_put_its_value_back_later(repo: Storage) -> None:
    repo.create(WEB2, Secret("old"), signed("first"), NOW)
    for _ in "again":  # a client that missed the answer may repeat it
        assert repo.replace(WEB2, Secret("old"), signed("unchanged"), NOW) is False
    assert repo.replace(WEB2, Secret("new"), signed("new"), NOW)
    with pytest.raises(NotAllowedError):
        repo.replace(WEB2, Secret("old"), signed("unchanged"), NOW)
    assert value_of(repo, WEB2) == "new"


def test_replacing_by_the_same_value_leaves_the_row(repo: Storage, engine: Engine) -> None:
    store(repo, WEB2, "same")
    before = _row(engine)
    assert repo.replace(WEB2, Secret("same"), signed("again"), NOW) is False
    assert _row(engine) == before


def test_replacing_what_is_not_there(repo: Storage) -> None:
    with pytest.raises(SecretNotFoundError):
        repo.replace(WEB2, Secret("v"), signed("v"), NOW)


def _row(engine: Engine) -> Row[Any]:
    with engine.connect() as db:
        return db.execute(select(secrets_table)).one()


def test_secrets_survive_a_restart(repo: Storage, database_url: str) -> None:
    store(repo, WEB2, "kept")
    challenge, _ = repo.get_or_create_challenge(TASK_ID, DEADLINE)
    second = Database.open(database_url, KEY)
    again = Repo(second)
    assert value_of(again, WEB2) == "kept"
    found = again.challenge(TASK_ID)
    assert found is not None
    assert found.private_key == challenge.private_key
    with pytest.raises(NotAllowedError):
        again.create(SecretKey.web3(OWNER), Secret("kept"), signed(f"{WEB2}kept"), NOW)
    second.close()


def test_another_database_key_is_refused(repo: Storage, engine: Engine) -> None:
    store(repo, WEB2, "v")
    with pytest.raises(DatabaseKeyError) as caught:
        Database(engine, OTHER_KEY)
    assert caught.value.code == "sms.database.key"
    assert caught.value.hint
    assert value_of(Repo(Database(engine, KEY)), WEB2) == "v"


def test_rows_without_a_marker_are_refused(repo: Storage, engine: Engine) -> None:
    store(repo, WEB2, "v")
    with engine.begin() as db:
        db.execute(delete(marker_table))
    for key in (OTHER_KEY, KEY):
        with pytest.raises(DatabaseKeyError):
            Database(engine, key)


TAMPERINGS: dict[str, str] = {
    "value of another row": "UPDATE secret SET value = (SELECT value FROM secret WHERE name = 'other')",
    "moved to another owner": "UPDATE secret SET owner = '0x00' WHERE name = 'token'",
    "version changed": "UPDATE secret SET version = version + 1",
    "kind changed": "UPDATE secret SET kind = 'requester' WHERE name = 'token'",
    "cut": "UPDATE secret SET value = substr(value, 1, length(value) - 1)",
    "emptied": "UPDATE secret SET value = substr(value, 1, 0)",
    "of the first format": "UPDATE secret SET value = substr(value, 2)",
    "of another table": "UPDATE secret SET value = (SELECT private_key FROM tee_challenge)",
}


@pytest.mark.parametrize("statement", TAMPERINGS.values(), ids=TAMPERINGS.keys())
def test_an_altered_row_does_not_open(repo: Storage, engine: Engine, statement: str) -> None:
    store(repo, WEB2, "mine")
    store(repo, SecretKey.web2(OWNER, "other"), "theirs")
    repo.get_or_create_challenge(TASK_ID, DEADLINE)
    with engine.begin() as db:
        db.execute(text(statement))
        row = db.execute(select(secrets_table).where(secrets_table.c.name == "token")).one()
    with pytest.raises(DatabaseRowError) as caught:
        repo.get(SecretKey(Kind(row.kind), row.owner, row.name))
    assert caught.value.code == "sms.database.row"


def test_an_altered_row_is_not_replaced_silently(repo: Storage, engine: Engine) -> None:
    store(repo, WEB2, "mine")
    with engine.begin() as db:
        db.execute(update(secrets_table).values(version=9))
    with pytest.raises(DatabaseRowError):
        repo.replace(WEB2, Secret("new"), signed("new"), NOW)


def test_a_failing_database_is_not_a_conflict(repo: Storage, engine: Engine) -> None:
    with engine.begin() as db:
        db.execute(text("DROP TABLE secret"))
    actions: list[Callable[[], object]] = [
        lambda: repo.exists(WEB2),
        lambda: store(repo, WEB2, "very-secret-value"),
        lambda: repo.replace(WEB2, Secret("very-secret-value"), signed("v"), NOW),
        repo.counts,
    ]
    for action in actions:
        with pytest.raises(StoreError) as caught:
            action()
        assert caught.value.code == "sms.storage.unavailable"
        assert "very-secret-value" not in repr(caught.value)
        assert caught.value.__cause__ is None


def test_one_challenge_per_task(repo: Storage) -> None:
    first, created = repo.get_or_create_challenge(TASK_ID, DEADLINE)
    second, again = repo.get_or_create_challenge(TASK_ID, DEADLINE)
    assert (created, again) == (True, False)
    assert first.address == second.address
    assert Wallet(second.private_key).address == first.address
    assert len(second.private_key) == 32


def test_concurrent_callers_get_one_challenge(repo: Storage) -> None:
    with ThreadPoolExecutor(8) as threads:
        found = list(threads.map(lambda _: repo.get_or_create_challenge(TASK_ID, DEADLINE), range(16)))
    assert len({challenge.address for challenge, _ in found}) == 1
    assert sum(created for _, created in found) == 1


def test_concurrent_creates_have_one_winner(repo: Storage) -> None:
    def create(number: int) -> bool:
        try:
            store(repo, WEB2, f"value {number}")
        except SecretExistsError:
            return False
        return True

    with ThreadPoolExecutor(8) as threads:
        won = list(threads.map(create, range(12)))
    assert sum(won) == 1
    assert value_of(repo, WEB2) == f"value {won.index(True)}"


def test_concurrent_replaces_all_land(repo: Storage, engine: Engine) -> None:
    store(repo, WEB2, "start")
    with ThreadPoolExecutor(4) as threads:
        changed = list(
            threads.map(lambda n: repo.replace(WEB2, Secret(f"v{n}"), signed(f"replace {n}"), NOW), range(6))
        )
    assert all(changed)
    assert _row(engine).version == 7
    assert value_of(repo, WEB2) in {f"v{n}" for n in range(6)}


@pytest.mark.parametrize(
    "changes",
    [
        pytest.param({"address": "0x" + "00" * 20}, id="address"),
        pytest.param({"final_deadline": 0}, id="deadline"),
        pytest.param({"private_key": bytes(60)}, id="key"),
    ],
)
def test_an_altered_challenge_does_not_open(repo: Storage, engine: Engine, changes: dict[str, object]) -> None:
    repo.get_or_create_challenge(TASK_ID, DEADLINE)
    with engine.begin() as db:
        db.execute(update(challenges_table).values(changes))
    with pytest.raises(DatabaseRowError):
        repo.challenge(TASK_ID)


def test_sessions_of_a_task_are_counted(repo: Storage) -> None:
    assert not repo.count_session(TASK_ID, 2, LINE)
    repo.get_or_create_challenge(TASK_ID, DEADLINE)
    assert [repo.count_session(TASK_ID, 2, LINE) is not None for _ in range(3)] == [True, True, False]


def test_purge_takes_ended_tasks_with_their_keys(repo: Storage, engine: Engine) -> None:
    later = Bytes32("0x" + "77" * 32)
    repo.get_or_create_challenge(TASK_ID, DEADLINE)
    repo.get_or_create_challenge(later, DEADLINE + 10)
    assert repo.purge_challenges(DEADLINE + 1) == 1
    assert repo.challenge(TASK_ID) is None
    assert repo.challenge(later) is not None
    with engine.connect() as db:
        assert len(db.execute(select(challenges_table.c.private_key)).all()) == 1


def test_counts(repo: Storage) -> None:
    store(repo, WEB2, "v")
    store(repo, SecretKey.app(OWNER), "v")
    repo.get_or_create_challenge(TASK_ID, DEADLINE)
    assert repo.counts() == {"web2": 1, "web3": 0, "app": 1, "requester": 0, "challenge": 1}
    assert repo.added() == {"web2": 1, "app": 1, "challenge": 1}


def test_equal_values_have_unequal_rows(repo: Storage, engine: Engine) -> None:
    store(repo, WEB2, "equal")
    store(repo, SecretKey.web2(OWNER, "other"), "equal")
    with engine.connect() as db:
        one, two = db.execute(select(secrets_table.c.value)).scalars().all()
    assert one[20:] != two[20:]
    assert (
        len({bytes(one[n : n + 16]) for n in range(0, len(one), 16)} & {two[n : n + 16] for n in range(len(two))}) == 0
    )


@pytest.mark.parametrize(
    ("one", "two", "same"),
    [(1, 128, True), (129, 256, True), (128, 129, False), (2049, 4096, True), (1024, 1025, False)],
)
def test_rows_tell_sizes_only_roughly(repo: Storage, engine: Engine, one: int, two: int, same: bool) -> None:
    store(repo, SecretKey.requester(OWNER, "one"), "x" * one)
    store(repo, SecretKey.requester(OWNER, "two"), "x" * two)
    with engine.connect() as db:
        sizes = {len(value) for value in db.execute(select(secrets_table.c.value)).scalars()}
    assert (len(sizes) == 1) is same
    assert value_of(repo, SecretKey.requester(OWNER, "two")) == "x" * two


def test_a_row_of_another_database_does_not_open(repo: Storage, engine: Engine, tmp_path: Path) -> None:
    """Both were made with one key, as when an operator copies rows between two hosts of one service."""
    other = Database.open(str(tmp_path / "other.sqlite3"), KEY)
    store(repo, WEB2, "mine")
    store(Repo(other), WEB2, "theirs")
    with other.engine.connect() as db:
        value = db.execute(select(secrets_table.c.value)).scalar_one()
    with engine.begin() as db:
        db.execute(update(secrets_table).values(value=value))
    with pytest.raises(DatabaseRowError):
        repo.get(WEB2)
    other.close()


def test_a_line_of_the_audit_log_is_there_with_its_change_or_not_at_all(database: Database, repo: Storage) -> None:
    log = AuditLog(database)
    repo.create(WEB2, Secret("v"), signed("1"), NOW, log.line("secret.stored", name="token"))
    with pytest.raises(SecretExistsError):
        repo.create(WEB2, Secret("w"), signed("2"), NOW, log.line("secret.stored", name="token"))
    assert repo.replace(WEB2, Secret("v"), signed("3"), NOW, log.line("secret.replaced")) is False
    assert repo.replace(WEB2, Secret("w"), signed("4"), NOW, log.line("secret.replaced"))

    with database.engine.begin() as db:
        head = db.execute(select(audit_chain.head.c.body)).scalar_one()
        db.execute(update(audit_chain.head).values(body=b""))
    with pytest.raises(AuditError):
        repo.replace(WEB2, Secret("x"), signed("5"), NOW, log.line("secret.replaced"))
    with pytest.raises(AuditError):
        repo.create(SecretKey.web3(OWNER), Secret("x"), signed("6"), NOW, log.line("secret.stored"))
    with database.engine.begin() as db:
        db.execute(update(audit_chain.head).values(body=head))
    assert value_of(repo, WEB2) == "w"
    assert not repo.exists(SecretKey.web3(OWNER))
    assert [entry.event for entry in log.verify()] == ["secret.stored", "secret.replaced"]
    repo.create(SecretKey.web3(OWNER), Secret("x"), signed("6"), NOW)  # the refused write left no mark


def test_a_closed_database_has_no_key(database: Database) -> None:
    database.close()
    with pytest.raises(StoreError, match="closed"):
        database.derive("sms/audit")
    with pytest.raises(StoreError, match="closed"):
        Repo(database)


def test_neither_values_nor_checkable_hashes_are_in_the_tables(repo: Storage, engine: Engine) -> None:
    canary, signature = "canary-8f1c2e", signed("canary write")
    repo.create(WEB2, Secret(canary), signature, NOW)
    found, _ = repo.get_or_create_challenge(TASK_ID, DEADLINE)
    with engine.connect() as db:
        content = [
            bytes(str(cell), "utf-8") if not isinstance(cell, bytes) else cell
            for table in metadata.sorted_tables
            for row in db.execute(select(table))
            for cell in row
        ]
    for secret in (
        canary.encode(),
        signature,
        hashlib.sha256(signature).hexdigest().encode(),
        found.private_key.reveal(),
        found.private_key.reveal().hex().encode(),
    ):
        assert not any(secret in cell for cell in content)


PROCESS = """
import sys
from adyton.base.secret import Secret
from adyton.sms.audit import AuditError, AuditLog
from adyton.sms.store.database import Database
from adyton.sms.store.repo import Repo
repo = Repo(Database.open(sys.argv[1], Secret(bytes([7]) * 32)))
print("ready", flush=True)
sys.stdin.readline()
for number in range(20):
    found, created = repo.get_or_create_challenge(f"0x{number:064x}", 1)
    print(int(created), found.address, flush=True)
"""


def test_processes_get_one_challenge_per_task(database_url: str) -> None:
    """Both open the new database at once and make its schema, then race for the same tasks."""
    command = [sys.executable, "-c", PROCESS, database_url]
    processes = [subprocess.Popen(command, stdin=PIPE, stdout=PIPE, text=True) for _ in range(3)]
    for process in processes:
        assert process.stdout is not None
        assert process.stdout.readline() == "ready\n"
    for process in processes:
        assert process.stdin is not None
        process.stdin.write("go\n")
        process.stdin.flush()
    answers = [process.communicate(timeout=60)[0].splitlines() for process in processes]
    for of_one_task in zip(*answers, strict=True):
        assert sum(int(line.split()[0]) for line in of_one_task) == 1
        assert len({line.split()[1] for line in of_one_task}) == 1
    assert len(answers[0]) == 20


WRITER = """
import sys
from datetime import UTC, datetime
from concurrent.futures import ThreadPoolExecutor
from adyton.base.secret import Secret
from adyton.sms.audit import AuditLog
from adyton.sms.store.database import Database
from adyton.sms.store.repo import Repo
from adyton.sms.store.tables import SecretKey
database = Database.open(sys.argv[1], Secret(bytes([7]) * 32))
repo, log = Repo(database), AuditLog(database)
def write(number):
    key = SecretKey.requester("0x" + "ab" * 20, f"{sys.argv[2]}-{number}")
    line = log.line("secret.stored", name=key.name)
    repo.create(key, Secret(key.name), f"{key.name}".encode(), datetime.now(UTC), line)
    sys.stdout.write(f"{key.name}\\n")
    sys.stdout.flush()
with ThreadPoolExecutor(4) as threads:
    list(threads.map(write, range(100000)))
"""


def test_what_was_acknowledged_is_there_after_a_kill(database_url: str) -> None:
    acknowledged: list[str] = []
    for turn in range(3):
        command = [sys.executable, "-c", WRITER, database_url, str(turn)]
        with subprocess.Popen(command, stdout=PIPE, text=True) as process:
            assert process.stdout is not None
            acknowledged += [process.stdout.readline().strip() for _ in range(10)]
            process.kill()
            acknowledged += [line.strip() for line in process.stdout if line.endswith("\n")]
    database = Database.open(database_url, KEY)
    repo = Repo(database)
    for name in acknowledged:
        assert value_of(repo, SecretKey.requester("0x" + "ab" * 20, name)) == name

    def recorded() -> set[str]:
        return {entry.fields["name"] for entry in AuditLog(database).verify()}

    assert recorded() >= set(acknowledged)
    # A change and its line, or neither; a database server may still be at what the killed process sent last.
    until(lambda: len(recorded()) == repo.counts()["requester"])
    database.close()


def test_a_server_that_is_gone_is_a_store_error(postgres_server: PostgresServer) -> None:
    name = postgres_server.new_database()
    database = Database.open(postgres_server.url(name), KEY)
    repo = Repo(database)
    store(repo, WEB2, "v")
    postgres_server.disconnect(name, stay_out=True)
    for action in (lambda: repo.exists(WEB2), lambda: store(repo, SecretKey.web3(OWNER), "w")):
        with pytest.raises(StoreError):
            action()
    postgres_server.disconnect(name, stay_out=False)
    assert value_of(repo, WEB2) == "v"
    store(repo, SecretKey.web3(OWNER), "w")
    database.close()


def test_commits_wait_for_the_disk(engine: Engine) -> None:
    with engine.connect() as db:
        if db.dialect.name == "sqlite":
            assert db.execute(text("PRAGMA synchronous")).scalar_one() == 2
            assert db.execute(text("PRAGMA journal_mode")).scalar_one() == "wal"
        else:
            assert db.execute(text("SHOW synchronous_commit")).scalar_one() == "on"


def test_many_writers_share_commits(repo: Storage, engine: Engine) -> None:
    commits: list[object] = []

    def slow_disk(connection: object) -> None:
        commits.append(connection)
        time.sleep(0.005)

    event.listen(engine, "commit", slow_disk)
    with ThreadPoolExecutor(16) as threads:
        list(threads.map(lambda n: store(repo, SecretKey.requester(OWNER, str(n)), "v"), range(200)))
    assert repo.counts()["requester"] == 200
    assert len(commits) < 150
