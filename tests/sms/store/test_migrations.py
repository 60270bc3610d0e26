"""The schema's versions on both databases: old data stay readable, newer ones are refused, a crash leaves one whole."""

from __future__ import annotations

import hashlib
import hmac
import subprocess
import sys
import time
from pathlib import Path
from types import ModuleType

import pytest
from sqlalchemy import Engine, func, insert, inspect, select, table, text
from tests.sms.support import LINE, NOW, TASK_ID, wallet

from adyton.base.aead import bind, derive_key, encrypt
from adyton.base.canonical import canonical_json
from adyton.base.db import open_engine
from adyton.base.secret import Secret
from adyton.chain.wallet import Wallet
from adyton.sms.audit import AuditError, AuditLog
from adyton.sms.errors import DatabaseKeyError, DatabaseRowError, NotAllowedError
from adyton.sms.store.database import Database
from adyton.sms.store.migrations import REVISIONS, SchemaError, migrate
from adyton.sms.store.migrations.v0001_first import tables as first_tables
from adyton.sms.store.repo import Repo
from adyton.sms.store.tables import SecretKey, metadata

KEY = Secret(bytes([7]) * 32)
OWNER = "0x" + "ab" * 20
WEB2 = SecretKey.web2(OWNER, "Token")
ROWS = 30


def signed(text_: str) -> bytes:
    return wallet(1).sign_personal(text_.encode())


def first_schema(engine: Engine, rows: int = ROWS) -> Wallet:
    """A database as the service of before schema versions made it; gives the wallet of its one challenge."""
    first_tables.create_all(engine)
    challenge = wallet(77)
    secret, tee, write, marker, audit = (
        first_tables.tables[name] for name in ("secret", "tee_challenge", "signed_write", "marker", "audit")
    )
    secret_key, challenge_key = derive_key(KEY, "sms/secret"), derive_key(KEY, "sms/challenge")
    with engine.begin() as db:
        marker_blob = encrypt(derive_key(KEY, "sms/marker"), b"adyton sms database 1", b"marker")
        db.execute(insert(marker).values(id=1, value=marker_blob))
        for number in range(rows):
            key = WEB2 if number == 0 else SecretKey.requester(OWNER, f"n{number}")
            place = (b"secret", key.kind.encode(), key.owner.encode(), key.name.encode(), b"3")
            blob = encrypt(secret_key, f"value {number}".encode(), *place)
            row = {"kind": key.kind.value, "owner": key.owner, "name": key.name, "version": 3, "value": blob}
            db.execute(insert(secret).values(row))
        there = (b"tee_challenge", TASK_ID.encode(), challenge.address.encode(), b"123")
        db.execute(
            insert(tee).values(
                task_id=TASK_ID,
                address=challenge.address,
                final_deadline=123,
                sessions=4,
                private_key=encrypt(challenge_key, challenge.private_key().reveal(), *there),
            )
        )
        mark = hmac.new(derive_key(KEY, "sms/signed-write").reveal(), signed("old"), hashlib.sha256).hexdigest()
        db.execute(insert(write).values(mark=mark, at=5))
        mac = "00" * 32
        for seq in (1, 2, 3):
            entry = canonical_json({"at": NOW.isoformat(), "event": f"e{seq}", "fields": {}}).decode()
            message = bind(b"adyton/sms/audit/1", str(seq).encode(), mac.encode(), entry.encode())
            mac = hmac.new(derive_key(KEY, "sms/audit").reveal(), message, hashlib.sha256).hexdigest()
            db.execute(insert(audit).values(seq=seq, entry=entry, mac=mac))
    return challenge


def check_everything(url: str, challenge: Wallet, rows: int = ROWS) -> None:
    database = Database.open(url, KEY)
    repo = Repo(database)
    for number in range(rows):
        found = repo.get(WEB2 if number == 0 else SecretKey.requester(OWNER, f"n{number}"))
        assert found is not None
        assert found.reveal() == f"value {number}"
    stored = repo.challenge(TASK_ID)
    assert stored is not None
    assert stored.private_key == challenge.private_key()
    assert [repo.count_session(TASK_ID, 5, LINE) is not None for _ in range(2)] == [True, False]
    with pytest.raises(NotAllowedError):
        repo.replace(WEB2, Secret("x"), signed("old"), NOW)
    assert repo.replace(WEB2, Secret("x"), signed("new"), NOW)
    log = AuditLog(database)
    log.released("e4")
    assert [entry.event for entry in log.verify()] == ["e1", "e2", "e3", "session.released", "e4"]
    database.close()


def state(engine: Engine) -> dict[str, object]:
    """Every table's rows, in an order that does not depend on where they lie."""
    with engine.connect() as db:
        names = inspect(db).get_table_names()
        return {
            name: sorted(repr(tuple(row)) for row in db.execute(select(text("*")).select_from(table(name))))
            for name in names
        }


def test_a_database_of_before_versions_opens_with_all_it_held(database_url: str) -> None:
    engine = open_engine(database_url)
    challenge = first_schema(engine)
    engine.dispose()
    check_everything(database_url, challenge)


def test_pages_are_followed(database_url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("adyton.sms.store.migrations.v0002_bound_rows._PAGE", 4)
    engine = open_engine(database_url)
    challenge = first_schema(engine)
    engine.dispose()
    check_everything(database_url, challenge)


def test_a_new_database_has_the_declared_schema(database_url: str) -> None:
    database = Database.open(database_url, KEY)
    with database.engine.connect() as db:
        found = inspect(db)
        assert set(found.get_table_names()) == {*metadata.tables, "alembic_version"}
        for name, declared in metadata.tables.items():
            columns = {c["name"]: (str(c["type"]), c["nullable"]) for c in found.get_columns(name)}
            wanted = {c.name: (c.type.compile(db.dialect), bool(c.nullable)) for c in declared.columns}
            assert columns == wanted
            primary = found.get_pk_constraint(name)["constrained_columns"]
            assert primary == [c.name for c in declared.primary_key.columns]
    database.close()


def test_migrating_again_changes_nothing(database_url: str) -> None:
    engine = open_engine(database_url)
    first_schema(engine)
    migrate(engine, KEY)
    before = state(engine)
    migrate(engine, KEY)
    assert state(engine) == before
    engine.dispose()


def test_a_newer_schema_is_refused_and_left_alone(database_url: str) -> None:
    Database.open(database_url, KEY).close()
    engine = open_engine(database_url)
    with engine.begin() as db:
        db.execute(text("UPDATE alembic_version SET version_num = '9999'"))
    before = state(engine)
    with pytest.raises(SchemaError) as caught:
        Database(engine, KEY)
    assert caught.value.code == "sms.schema.unknown"
    assert "9999" in caught.value.message
    assert REVISIONS[-1].revision in caught.value.message
    assert caught.value.hint
    assert state(engine) == before
    engine.dispose()


@pytest.mark.parametrize(
    ("statement", "kind"),
    [
        pytest.param("UPDATE secret SET version = 4 WHERE kind = 'web2'", DatabaseRowError, id="secret altered"),
        pytest.param("UPDATE tee_challenge SET final_deadline = 9", DatabaseRowError, id="challenge altered"),
        pytest.param("UPDATE audit SET entry = '{}' WHERE seq = 2", AuditError, id="audit altered"),
        pytest.param("DELETE FROM audit WHERE seq = 2", AuditError, id="audit cut"),
        pytest.param("DELETE FROM marker", DatabaseKeyError, id="marker gone"),
        pytest.param("SELECT 1", DatabaseKeyError, id="another key"),
    ],
)
def test_what_the_key_did_not_write_is_not_carried_over(
    database_url: str, statement: str, kind: type[Exception]
) -> None:
    engine = open_engine(database_url)
    first_schema(engine)
    with engine.begin() as db:
        db.execute(text(statement))
    before = state(engine)
    with pytest.raises(kind):
        Database(engine, Secret(bytes([8]) * 32) if statement == "SELECT 1" else KEY)
    assert state(engine) == before
    engine.dispose()


def test_revisions_are_one_chain() -> None:
    previous: str | None = None
    for module in REVISIONS:
        assert isinstance(module, ModuleType)
        assert module.down_revision == previous
        previous = module.revision


HALTED = """
import sys
from adyton.base.db import open_engine
from adyton.base.secret import Secret
from adyton.sms.store.migrations import migrate, v0002_bound_rows as step
upgrade = step.upgrade
def halted(op, key):
    upgrade(op, key)
    print("migrated", flush=True)
    sys.stdin.readline()
step.upgrade = halted
migrate(open_engine(sys.argv[1]), Secret(bytes([7]) * 32))
"""
FREE = HALTED.replace("step.upgrade = halted", 'print("ready", flush=True)')


def start(program: str, url: str, line: str) -> subprocess.Popen[str]:
    process = subprocess.Popen(
        [sys.executable, "-c", program, url], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    assert process.stdout is not None
    assert process.stdout.readline() == line
    return process


def test_a_process_killed_before_the_commit_leaves_the_old_schema(database_url: str) -> None:
    engine = open_engine(database_url)
    challenge = first_schema(engine)
    before = state(engine)
    process = start(HALTED, database_url, "migrated\n")
    process.kill()
    process.communicate()
    assert state(engine) == before
    engine.dispose()
    check_everything(database_url, challenge)


def test_processes_killed_at_any_time_leave_a_whole_schema(database_url: str) -> None:
    engine = open_engine(database_url)
    challenge = first_schema(engine, rows=400)
    for moment_s in (0, 0.05, 0.15, 0.4):  # a migration takes about half a second
        process = start(FREE, database_url, "ready\n")
        time.sleep(moment_s)
        process.kill()
        process.communicate()
        with engine.connect() as db:
            names = inspect(db).get_table_names()
            assert ("audit_head" in names) == ("alembic_version" in names)
            assert db.execute(select(func.count()).select_from(table("secret"))).scalar_one() == 400
    engine.dispose()
    check_everything(database_url, challenge, rows=400)


def test_of_two_processes_one_migrates(database_url: str) -> None:
    engine = open_engine(database_url)
    challenge = first_schema(engine, rows=400)
    engine.dispose()
    processes = [start(FREE, database_url, "ready\n") for _ in range(2)]
    for process in processes:
        process.communicate(timeout=60)
        assert process.returncode == 0
    check_everything(database_url, challenge, rows=400)


def test_a_password_comes_from_a_file_and_not_from_the_url(
    request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    server = request.getfixturevalue("postgres_server")
    name = server.new_database()
    password = (server.folder / "password").read_text()
    file = tmp_path / "pgpass"
    file.write_text(f"127.0.0.1:*:*:*:{password}\n")
    file.chmod(0o600)
    Database.open(server.tcp_url(name, f"?passfile={file}"), KEY).close()
    monkeypatch.setenv("PGPASSFILE", str(file))
    Database.open(server.tcp_url(name), KEY).close()
    server.give_back(name)


def test_a_database_that_is_up_to_date_needs_no_alembic(database_url: str) -> None:
    """It is slow to import and large in memory."""
    Database.open(database_url, KEY).close()
    program = (
        "import sys\nfrom adyton.base.secret import Secret\nfrom adyton.sms.store.database import Database\n"
        "Database.open(sys.argv[1], Secret(bytes([7]) * 32))\nprint('alembic' in sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", program, database_url], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "False"


def test_migrations_need_no_source_files(database_url: str) -> None:
    """In an enclave's image there is byte code only; optimised, it has no docstrings either."""
    engine = open_engine(database_url)
    challenge = first_schema(engine)
    engine.dispose()
    process = subprocess.Popen(
        [sys.executable, "-OO", "-c", FREE, database_url], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    process.communicate(timeout=60)
    assert process.returncode == 0
    check_everything(database_url, challenge)
