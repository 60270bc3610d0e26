"""The database on real SQLite: conflicts, replays, tampering, wrong keys, concurrency."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import Engine, Row, delete, select, text, update
from tests.sms.support import NOW, TASK_ID, wallet

from adyton.base.db import open_engine
from adyton.base.secret import Secret
from adyton.base.types import Bytes32
from adyton.chain.wallet import Wallet
from adyton.sms.errors import (
    DatabaseKeyError,
    DatabaseRowError,
    NotAllowedError,
    SecretExistsError,
    SecretNotFoundError,
)
from adyton.sms.repo import Repo, StoreError
from adyton.sms.tables import Kind, SecretKey, challenges_table, marker_table, secrets_table, writes_table

KEY = Secret(bytes([7]) * 32)
OTHER_KEY = Secret(bytes([8]) * 32)
OWNER = "0xAbCdEf0000000000000000000000000000000001"
WEB2 = SecretKey.web2(OWNER, "Token")
DEADLINE = int(NOW.timestamp()) + 3600


def signed(text_: str) -> bytes:
    """The signature of some write."""
    return wallet(1).sign_personal(text_.encode())


@pytest.fixture
def engine(tmp_path: Path) -> Engine:
    return open_engine(tmp_path / "sms.sqlite3")


@pytest.fixture
def repo(engine: Engine) -> Repo:
    return Repo(engine, KEY)


def store(repo: Repo, key: SecretKey, value: str) -> None:
    repo.create(key, Secret(value), signed(f"{key}{value}"), NOW)


def value_of(repo: Repo, key: SecretKey) -> str | None:
    found = repo.get(key)
    return None if found is None else found.reveal()


def test_a_stored_secret_is_found(repo: Repo) -> None:
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


def test_a_second_secret_at_the_same_place_is_refused(repo: Repo) -> None:
    store(repo, WEB2, "first")
    with pytest.raises(SecretExistsError):
        store(repo, SecretKey.web2(OWNER.lower(), "token"), "second")
    assert value_of(repo, WEB2) == "first"


def test_one_signed_write_serves_once(repo: Repo) -> None:
    repo.create(WEB2, Secret("v"), signed("write"), NOW)
    other = SecretKey.requester(OWNER, "token")
    with pytest.raises(NotAllowedError) as caught:
        repo.create(other, Secret("v"), signed("write"), NOW)
    assert caught.value.code == "sms.write.replayed"
    assert not repo.exists(other)


def test_a_replaced_value_cannot_be_put_back_by_replay(repo: Repo) -> None:
    repo.create(WEB2, Secret("old"), signed("old"), NOW)
    assert repo.replace(WEB2, Secret("new"), signed("new"), NOW)
    with pytest.raises(NotAllowedError):
        repo.replace(WEB2, Secret("old"), signed("old"), NOW)
    assert value_of(repo, WEB2) == "new"


def test_replacing_by_the_same_value_writes_nothing(repo: Repo, engine: Engine) -> None:
    store(repo, WEB2, "same")
    before = _row(engine)
    assert repo.replace(WEB2, Secret("same"), signed("again"), NOW) is False
    assert _row(engine) == before


def test_replacing_what_is_not_there(repo: Repo) -> None:
    with pytest.raises(SecretNotFoundError):
        repo.replace(WEB2, Secret("v"), signed("v"), NOW)


def _row(engine: Engine) -> Row[Any]:
    with engine.connect() as db:
        return db.execute(select(secrets_table)).one()


def test_secrets_survive_a_restart(repo: Repo, tmp_path: Path) -> None:
    store(repo, WEB2, "kept")
    challenge, _ = repo.get_or_create_challenge(TASK_ID, DEADLINE)
    again = Repo(open_engine(tmp_path / "sms.sqlite3"), KEY)
    assert value_of(again, WEB2) == "kept"
    found = again.challenge(TASK_ID)
    assert found is not None
    assert found.private_key == challenge.private_key
    with pytest.raises(NotAllowedError):
        again.create(SecretKey.web3(OWNER), Secret("kept"), signed(f"{WEB2}kept"), NOW)


def test_another_database_key_is_refused(repo: Repo, engine: Engine) -> None:
    store(repo, WEB2, "v")
    with pytest.raises(DatabaseKeyError) as caught:
        Repo(engine, OTHER_KEY)
    assert caught.value.code == "sms.database.key"
    assert caught.value.hint
    assert value_of(Repo(engine, KEY), WEB2) == "v"


def test_rows_without_a_marker_are_refused(repo: Repo, engine: Engine) -> None:
    store(repo, WEB2, "v")
    with engine.begin() as db:
        db.execute(delete(marker_table))
    with pytest.raises(DatabaseKeyError):
        Repo(engine, OTHER_KEY)


TAMPERINGS: dict[str, str] = {
    "value of another row": "UPDATE secret SET value = (SELECT value FROM secret WHERE name = 'other')",
    "moved to another owner": "UPDATE secret SET owner = '0x00' WHERE name = 'token'",
    "version changed": "UPDATE secret SET version = version + 1",
    "kind changed": "UPDATE secret SET kind = 'requester' WHERE name = 'token'",
    "cut": "UPDATE secret SET value = substr(value, 1, length(value) - 1)",
    "emptied": "UPDATE secret SET value = x''",
    "text instead of bytes": "UPDATE secret SET value = zeroblob(40)",
}


@pytest.mark.parametrize("statement", TAMPERINGS.values(), ids=TAMPERINGS.keys())
def test_an_altered_row_does_not_open(repo: Repo, engine: Engine, statement: str) -> None:
    store(repo, WEB2, "mine")
    store(repo, SecretKey.web2(OWNER, "other"), "theirs")
    with engine.begin() as db:
        db.execute(text(statement))
        row = db.execute(select(secrets_table).where(secrets_table.c.name == "token")).one()
    with pytest.raises(DatabaseRowError) as caught:
        repo.get(SecretKey(Kind(row.kind), row.owner, row.name))
    assert caught.value.code == "sms.database.row"


def test_an_altered_row_is_not_replaced_silently(repo: Repo, engine: Engine) -> None:
    store(repo, WEB2, "mine")
    with engine.begin() as db:
        db.execute(update(secrets_table).values(version=9))
    with pytest.raises(DatabaseRowError):
        repo.replace(WEB2, Secret("new"), signed("new"), NOW)


def test_a_failing_database_is_not_a_conflict(repo: Repo, engine: Engine) -> None:
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
        assert caught.value.code == "sms.database.unavailable"
        assert "very-secret-value" not in repr(caught.value)
        assert caught.value.__cause__ is None


def test_one_challenge_per_task(repo: Repo) -> None:
    first, created = repo.get_or_create_challenge(TASK_ID, DEADLINE)
    second, again = repo.get_or_create_challenge(TASK_ID, DEADLINE)
    assert (created, again) == (True, False)
    assert first.address == second.address
    assert Wallet(second.private_key).address == first.address
    assert len(second.private_key) == 32


def test_concurrent_callers_get_one_challenge(repo: Repo) -> None:
    with ThreadPoolExecutor(8) as threads:
        found = list(threads.map(lambda _: repo.get_or_create_challenge(TASK_ID, DEADLINE), range(16)))
    assert len({challenge.address for challenge, _ in found}) == 1
    assert sum(created for _, created in found) == 1


def test_concurrent_creates_have_one_winner(repo: Repo) -> None:
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


def test_concurrent_replaces_all_land(repo: Repo, engine: Engine) -> None:
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
def test_an_altered_challenge_does_not_open(repo: Repo, engine: Engine, changes: dict[str, object]) -> None:
    repo.get_or_create_challenge(TASK_ID, DEADLINE)
    with engine.begin() as db:
        db.execute(update(challenges_table).values(changes))
    with pytest.raises(DatabaseRowError):
        repo.challenge(TASK_ID)


def test_sessions_of_a_task_are_counted(repo: Repo) -> None:
    assert not repo.count_session(TASK_ID, 2)
    repo.get_or_create_challenge(TASK_ID, DEADLINE)
    assert [repo.count_session(TASK_ID, 2) for _ in range(3)] == [True, True, False]


def test_purge_takes_ended_tasks_with_their_keys(repo: Repo, engine: Engine) -> None:
    later = Bytes32("0x" + "77" * 32)
    repo.get_or_create_challenge(TASK_ID, DEADLINE)
    repo.get_or_create_challenge(later, DEADLINE + 10)
    assert repo.purge_challenges(DEADLINE + 1) == 1
    assert repo.challenge(TASK_ID) is None
    assert repo.challenge(later) is not None
    with engine.connect() as db:
        assert len(db.execute(select(challenges_table.c.private_key)).all()) == 1


def test_counts(repo: Repo) -> None:
    store(repo, WEB2, "v")
    store(repo, SecretKey.app(OWNER), "v")
    repo.get_or_create_challenge(TASK_ID, DEADLINE)
    assert repo.counts() == {"web2": 1, "web3": 0, "app": 1, "requester": 0, "challenge": 1}
    assert repo.added() == {"web2": 1, "app": 1, "challenge": 1}


def test_equal_values_have_unequal_rows(repo: Repo, engine: Engine) -> None:
    store(repo, WEB2, "equal")
    store(repo, SecretKey.web2(OWNER, "other"), "equal")
    with engine.connect() as db:
        one, two = db.execute(select(secrets_table.c.value)).scalars().all()
    assert one != two


def test_neither_values_nor_checkable_hashes_are_in_the_file(repo: Repo, engine: Engine, tmp_path: Path) -> None:
    canary, signature = "canary-8f1c2e", signed("canary write")
    repo.create(WEB2, Secret(canary), signature, NOW)
    found, _ = repo.get_or_create_challenge(TASK_ID, DEADLINE)
    with engine.connect() as db:
        marks = db.execute(select(writes_table.c.mark)).scalars().all()
    assert hashlib.sha256(signature).hexdigest() not in marks
    engine.dispose()
    for file in tmp_path.iterdir():
        content = file.read_bytes()
        for secret in (
            canary.encode(),
            signature,
            found.private_key.reveal(),
            found.private_key.reveal().hex().encode(),
        ):
            assert secret not in content
