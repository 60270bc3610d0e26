"""Exchanging the database key on both databases: killed at any step, with others at work, and when somebody fails."""

from __future__ import annotations

import gc
import os
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from sqlalchemy import text
from tests.sms.keykeeper import KeyKeeper
from tests.sms.support import NOW, TASK_ID, wallet

from adyton.base.secret import Secret
from adyton.cas.releasing.keyring import KeyRing
from adyton.sms.audit import AuditLog
from adyton.sms.errors import DatabaseKeyError, DatabaseRowError, NotAllowedError
from adyton.sms.store import database as module
from adyton.sms.store.database import Database, Rotation
from adyton.sms.store.keyexchange import HeldKey, KeyExchangeError, KeyStateError
from adyton.sms.store.repo import Repo
from adyton.sms.store.rotation import reseal
from adyton.sms.store.tables import SecretKey

FIRST = Secret(bytes(range(32)))
OWNER = "0x" + "ab" * 20
ROWS = 12
KILLED = 9


def secret(number: int) -> SecretKey:
    return SecretKey.web2(OWNER, f"n{number}")


def signature(words: str) -> bytes:
    return wallet(1).sign_personal(words.encode())


def store(repo: Repo, number: int, value: str) -> None:
    repo.create(secret(number), Secret(value), signature(f"{number}{value}"), NOW)


def readable(database: Database) -> None:
    """Every secret and the challenge open, and what was signed once cannot be used again."""
    repo = Repo(database)
    for number in range(ROWS):
        found = repo.get(secret(number))
        assert found is not None
        assert found.reveal() == f"v{number}"
    assert repo.challenge(TASK_ID) is not None
    with pytest.raises(NotAllowedError) as caught:
        repo.replace(secret(1), Secret("replayed"), signature("1v1"), NOW)
    assert caught.value.code == "sms.write.replayed"
    AuditLog(database).verify()


def rotate(database: Database) -> Rotation:
    return database.rotate(AuditLog(database).line("keys.rotated"))


@pytest.fixture
def keeper(tmp_path: Path) -> KeyKeeper:
    return KeyKeeper(tmp_path / "ring.json", FIRST)


@pytest.fixture
def filled(database_url: str, keeper: KeyKeeper) -> str:
    """The URL of a database with secrets and a challenge that nobody has open."""
    opened = Database.open(database_url, FIRST, keeper)
    repo = Repo(opened)
    for number in range(ROWS):
        store(repo, number, f"v{number}")
    repo.get_or_create_challenge(TASK_ID, 123)
    opened.close()
    return database_url


@pytest.fixture
def database(filled: str, keeper: KeyKeeper) -> Iterator[Database]:
    opened = Database.open(filled, FIRST, keeper)
    yield opened
    opened.close()


def test_the_database_is_under_another_key_and_the_old_one_is_gone(
    database: Database, keeper: KeyKeeper, filled: str
) -> None:
    assert database.generation == 1
    done = rotate(database)
    assert (done.rows, done.generation, done.entry) == (ROWS + 1, 2, 1)
    assert keeper.ring == KeyRing(2, keeper.ring.key, 2)
    assert keeper.ring.key != FIRST
    readable(database)
    with pytest.raises(DatabaseKeyError):
        Database.open(filled, FIRST)
    again = Database.open(filled, keeper.ring.key)
    readable(again)
    again.close()
    assert [rotate(database).generation for _ in range(3)] == [3, 4, 5]
    readable(database)


def test_no_object_of_the_process_holds_the_old_key(database: Database) -> None:
    old = os.urandom(32)  # known nowhere else
    database._reseal(lambda _held: HeldKey(Secret(bytes(bytearray(old))), 1), "{}")
    assert _held_somewhere(old)
    database._reseal(lambda _held: HeldKey(Secret(os.urandom(32)), 2), "{}")
    assert not _held_somewhere(old)


def _held_somewhere(key: bytes) -> bool:
    """Whether an equal bytes object other than ``key`` itself hangs on anything that the collector knows."""
    gc.collect()
    return any(
        isinstance(value, bytes) and value is not key and value == key
        for holder in gc.get_objects()
        for value in gc.get_referents(holder)
    ) or any(
        isinstance(held, Secret) and held.reveal() is not key and held.reveal() == key
        for holder in gc.get_objects()
        for held in gc.get_referents(holder)
    )


# -- interrupted --------------------------------------------------------------------------------------------------


def test_killed_at_any_step_every_secret_is_readable_and_one_key_is_left(filled: str, keeper: KeyKeeper) -> None:
    """A process of its own ends before its n-th step, for every step; what starts then finishes or takes back."""
    outcomes = set()
    for step in range(40):
        before = keeper.ring
        finished = _rotate_and_die(filled, keeper, step)
        opened = Database.open(filled, before.key, keeper)
        readable(opened)
        after = keeper.ring
        opened.close()
        assert after.pending is None
        outcomes.add((finished, after.generation > before.generation))
        if finished:
            break
    assert outcomes == {(False, False), (False, True), (True, True)}


def _rotate_and_die(url: str, keeper: KeyKeeper, step: int) -> bool:
    child = os.fork()
    if child == 0:
        status = 1
        try:
            opened = Database.open(url, keeper.ring.key, keeper)
            _end_before(keeper, opened, step)
            rotate(opened)
            status = 0
        finally:
            os._exit(status)
    _pid, status = os.waitpid(child, 0)
    code = os.waitstatus_to_exitcode(status)
    assert code in (0, KILLED)
    return code == 0


def _end_before(keeper: KeyKeeper, database: Database, step: int) -> None:
    left = step

    def count(_what: str) -> None:
        nonlocal left
        if left == 0:
            os._exit(KILLED)
        left -= 1

    keeper.steps = count
    for owner, name in ((module, "reseal"), (database, "_mark"), (database, "_append"), (database, "_settle")):
        original = getattr(owner, name)

        def counted(*arguments: object, original: object = original) -> object:
            count("before")
            result = original(*arguments)  # type: ignore[operator]  # each is a function
            count("after")
            return result

        setattr(owner, name, counted)
    database._commits._append = database._append  # it was handed out when the database was opened


def test_one_left_before_the_rows_is_taken_back_and_one_left_after_them_is_finished(
    filled: str, keeper: KeyKeeper
) -> None:
    keeper.begin()
    opened = Database.open(filled, FIRST, keeper)
    assert (keeper.ring.generation, keeper.ring.pending) == (1, None)
    readable(opened)
    keeper.steps = lambda step: setattr(keeper, "answers", step != "before commit")
    with pytest.raises(KeyExchangeError):
        rotate(opened)
    assert keeper.ring.pending is not None
    readable(opened)
    opened.close()
    keeper.steps = lambda _step: None
    keeper.answers = True
    opened = Database.open(filled, FIRST, keeper)
    assert (keeper.ring.generation, opened.generation) == (3, 3)
    readable(opened)
    opened.close()


def test_asking_again_goes_on_from_there(database: Database, keeper: KeyKeeper) -> None:
    keeper.answers = False
    with pytest.raises(KeyExchangeError):
        rotate(database)
    readable(database)
    keeper.answers = True
    keeper.steps = lambda step: setattr(keeper, "answers", step != "before commit")
    with pytest.raises(KeyExchangeError):
        rotate(database)
    keeper.steps = lambda _step: None
    keeper.answers = True
    assert rotate(database).generation == 3  # the second was finished first
    assert keeper.ring.pending is None
    readable(database)


def test_a_row_that_does_not_open_takes_the_exchange_back(database: Database, keeper: KeyKeeper) -> None:
    with database.engine.begin() as db:
        db.execute(text("UPDATE secret SET version = 9 WHERE name = 'n7'"))
    with pytest.raises(DatabaseRowError):
        rotate(database)
    assert (keeper.ring.generation, keeper.ring.pending, keeper.ring.key) == (1, None, FIRST)
    with database.engine.begin() as db:
        db.execute(text("UPDATE secret SET version = 1 WHERE name = 'n7'"))
    readable(database)
    assert rotate(database).generation == 3
    readable(database)


def test_a_start_needs_an_answer(filled: str, keeper: KeyKeeper) -> None:
    """Which key the database is under is not guessed."""
    keeper.answers = False
    with pytest.raises(KeyExchangeError):
        Database.open(filled, FIRST, keeper)


# -- several processes --------------------------------------------------------------------------------------------


def test_other_processes_follow(database: Database, filled: str, keeper: KeyKeeper) -> None:
    """A reader, a writer that has not read, and the audit log."""
    other = Database.open(filled, FIRST, keeper)
    theirs, log = Repo(other), AuditLog(other)
    rotate(database)
    readable(other)
    assert other.generation == 2
    rotate(database)
    store(theirs, ROWS, "new")
    rotate(database)
    log.released("after")
    assert rotate(other).generation == 5
    store(Repo(database), ROWS + 1, "newer")
    readable(database)
    found = theirs.get(secret(ROWS + 1))
    assert found is not None
    assert found.reveal() == "newer"
    other.close()


def test_one_that_cannot_follow_refuses_and_harms_nothing(database: Database, filled: str, keeper: KeyKeeper) -> None:
    cut_off, without = Database.open(filled, FIRST, keeper), Database.open(filled, FIRST)
    rotate(database)
    keeper.answers = False
    for other, error in ((cut_off, KeyExchangeError), (without, DatabaseKeyError)):
        with pytest.raises(error):
            Repo(other).get(secret(1))
        with pytest.raises(error):
            store(Repo(other), ROWS, "lost?")
        with pytest.raises(error):
            rotate(other)
    keeper.answers = True
    readable(cut_off)
    readable(database)
    assert Repo(database).get(secret(ROWS)) is None
    for other in (cut_off, without):
        other.close()


def test_two_at_once_do_it_one_after_the_other(database: Database, filled: str, keeper: KeyKeeper) -> None:
    other = Database.open(filled, FIRST, keeper)
    failures: list[BaseException] = []

    def many(opened: Database) -> None:
        try:
            for _ in range(4):
                rotate(opened)
        except BaseException as error:  # noqa: BLE001  # shown by the test's own thread
            failures.append(error)

    threads = [threading.Thread(target=many, args=(opened,)) for opened in (database, other)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert failures == []
    assert keeper.ring.pending is None
    assert keeper.ring.generation == keeper.ring.begun
    readable(database)
    readable(other)
    other.close()


def test_a_start_in_the_middle_of_anothers_exchange_waits_for_it(
    database: Database, filled: str, keeper: KeyKeeper, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Otherwise it would take back a key that the other is just putting the rows under."""
    in_the_middle = threading.Event()

    def slowly(*arguments: object) -> int:
        in_the_middle.set()
        time.sleep(0.5)
        return reseal(*arguments)  # type: ignore[arg-type]  # passed on as they came

    monkeypatch.setattr(module, "reseal", slowly)
    thread = threading.Thread(target=rotate, args=(database,))
    thread.start()
    assert in_the_middle.wait(10)
    other = Database.open(filled, FIRST, KeyKeeper(keeper._file, FIRST))
    thread.join()
    assert (keeper.ring.generation, keeper.ring.pending) == (2, None)
    readable(other)
    readable(database)
    other.close()


def test_two_databases_under_one_session_lose_nothing_while_their_services_run(
    database: Database, keeper: KeyKeeper, tmp_path: Path
) -> None:
    """It is not meant; the second one's exchange in the middle of the first's is found out, and the rows stay open."""
    other = Database.open(str(tmp_path / "other.sqlite3"), FIRST, KeyKeeper(keeper._file, FIRST))

    def meanwhile(step: str) -> None:
        if step == "before commit":
            keeper.steps = lambda _step: None
            rotate(other)

    keeper.steps = meanwhile
    assert rotate(database).generation == 3
    readable(database)
    assert database.generation == keeper.ring.generation
    other.close()


def test_two_databases_in_the_middle_of_exchanges_go_on_by_asking_again(database: Database, keeper: KeyKeeper) -> None:
    theirs = KeyKeeper(keeper._file, FIRST)

    def meanwhile(step: str) -> None:
        if step == "before commit":
            keeper.steps = lambda _step: None
            theirs.abort(2)
            theirs.begin()

    keeper.steps = meanwhile
    with pytest.raises(KeyStateError):
        rotate(database)
    readable(database)
    assert rotate(database).generation == 4
    readable(database)


def test_overtaken_by_another_process_of_the_same_database(database: Database, filled: str, keeper: KeyKeeper) -> None:
    other = Database.open(filled, FIRST, KeyKeeper(keeper._file, FIRST))

    def meanwhile(step: str) -> None:
        if step == "before commit":
            keeper.steps = lambda _step: None
            assert rotate(other).generation == 3

    keeper.steps = meanwhile
    assert rotate(database).generation == 3
    assert (keeper.ring.generation, keeper.ring.pending) == (3, None)
    readable(database)
    readable(other)
    other.close()
