"""Backups on real files and both databases: what restores, what is refused, and that nothing is ever half done."""

from __future__ import annotations

import json
import os
import resource
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import insert, select, update
from tests.sms.keykeeper import KeyKeeper
from tests.sms.support import LINE, NOW, TASK_ID, SettableClock, wallet

from adyton.base.errors import AdytonError
from adyton.base.secret import Secret
from adyton.sms.audit import AuditLog
from adyton.sms.backup.archive import SealedArchive
from adyton.sms.backup.backups import FileBackups, Maintenance
from adyton.sms.errors import (
    BackupBusyError,
    BackupError,
    BackupNameError,
    BackupNotFoundError,
    DatabaseRowError,
    NotAllowedError,
)
from adyton.sms.store.database import Database
from adyton.sms.store.repo import Repo
from adyton.sms.store.tables import SecretKey, challenges_table, secrets_table

KEY = Secret(bytes([7]) * 32)
OWNER = "0x" + "ab" * 20
CANARY = "canary-in-a-backup-5d1f"
FIRST, SECOND = SecretKey.web2(OWNER, "first"), SecretKey.requester(OWNER, "second")


def signed(text: str) -> bytes:
    return wallet(1).sign_personal(text.encode())


class World:
    """A database with its repository, audit log and archive."""

    def __init__(
        self, url: str, key: Secret[bytes] = KEY, measurement: str = "aa" * 32, keeper: KeyKeeper | None = None
    ) -> None:
        self.database = Database.open(url, key, keeper)
        self.repo = Repo(self.database)
        self.audit = AuditLog(self.database, clock=SettableClock())
        self.archive = SealedArchive(self.database, self.audit, measurement, clock=SettableClock())

    def store(self, key: SecretKey, value: str) -> None:
        self.repo.create(key, Secret(value), signed(f"{key}{value}"), NOW)

    def value(self, key: SecretKey) -> str | None:
        found = self.repo.get(key)
        return None if found is None else found.reveal()


@pytest.fixture
def world(database_url: str) -> Iterator[World]:
    opened = World(database_url)
    opened.store(FIRST, CANARY)
    opened.repo.get_or_create_challenge(TASK_ID, 123)
    opened.repo.count_session(TASK_ID, 5, LINE)
    yield opened
    opened.database.close()


@pytest.fixture
def files(world: World, tmp_path: Path) -> tuple[Path, Path]:
    """A backup of the world's first state; the world has moved on since."""
    data, key = tmp_path / "b.sql", tmp_path / "b.sql.key"
    world.archive.write(data, key)
    world.repo.replace(FIRST, Secret("changed"), signed("change"), NOW)
    world.store(SECOND, "added")
    world.repo.count_session(TASK_ID, 5, LINE)
    return data, key


def test_a_restore_brings_back_exactly_the_state(world: World, files: tuple[Path, Path]) -> None:
    before = world.repo.challenge(TASK_ID)
    assert before is not None
    world.archive.read(*files)
    assert world.value(FIRST) == CANARY
    assert world.value(SECOND) is None
    found = world.repo.challenge(TASK_ID)
    assert found is not None
    assert found.private_key == before.private_key
    assert [world.repo.count_session(TASK_ID, 2, LINE) is not None for _ in range(2)] == [True, False]
    with pytest.raises(NotAllowedError):  # the write that the backup knows is still used up
        world.repo.replace(FIRST, Secret("x"), signed(f"{FIRST}{CANARY}"), NOW)
    world.store(SECOND, "added")  # the owner of what was lost can push it again, with the same signature
    created, restored = [entry for entry in world.audit.verify() if entry.event.startswith("backup.")][-2:]
    assert (created.event, restored.event) == ("backup.created", "backup.restored")
    assert restored.fields["sha256"] == created.fields["sha256"]
    assert restored.fields["rows"] == "3"


def test_a_backup_restores_on_a_new_host(world: World, files: tuple[Path, Path], tmp_path: Path) -> None:
    """Another database file, or another kind of database, and the same database key."""
    new = World(str(tmp_path / "new.sqlite3"))
    assert new.database.id != world.database.id
    new.archive.read(*files)
    assert new.value(FIRST) == CANARY
    assert new.repo.counts()["challenge"] == 1
    new.database.close()


def test_the_files_hold_no_secret_and_say_what_they_are(world: World, files: tuple[Path, Path]) -> None:
    data, key = files
    challenge = world.repo.challenge(TASK_ID)
    assert challenge is not None
    for file in files:
        content = file.read_bytes()
        assert file.stat().st_mode & 0o777 == 0o600
        for secret in (CANARY.encode(), challenge.private_key.reveal(), KEY.reveal(), KEY.reveal().hex().encode()):
            assert secret not in content
    header = json.loads(key.read_bytes())
    assert header["format"] == "adyton-sms-backup"
    assert header["version"] == 2
    assert header["measurement"] == "aa" * 32
    assert header["rows"] == {"secret": 1, "tee_challenge": 1, "signed_write": 1}
    assert header["size"] == data.stat().st_size
    assert header["created"] == NOW.isoformat()


def edited(**changes: Any) -> Callable[[Path, Path], None]:  # noqa: ANN401  # JSON
    def edit(_data: Path, key: Path) -> None:
        key.write_text(json.dumps(json.loads(key.read_bytes()) | changes))

    return edit


def flipped(at: int) -> Callable[[Path, Path], None]:
    def edit(data: Path, _key: Path) -> None:
        content = bytearray(data.read_bytes())
        content[at] ^= 1
        data.write_bytes(content)

    return edit


def cut(data: Path, _key: Path) -> None:
    data.write_bytes(data.read_bytes()[:-1])


def lengthened(data: Path, _key: Path) -> None:
    data.write_bytes(data.read_bytes() + b"\0")


def without_a_member(_data: Path, key: Path) -> None:
    header = json.loads(key.read_bytes())
    del header["sha256"]
    key.write_text(json.dumps(header))


DAMAGES: dict[str, tuple[Callable[[Path, Path], object], str]] = {
    "older format": (edited(version=0), "sms.backup.version"),
    "newer format": (edited(version=3), "sms.backup.version"),
    "measurement edited": (edited(measurement="bb" * 32), "sms.backup.edited"),
    "generation edited": (edited(generation=7), "sms.backup.edited"),
    "another measurement": (edited(measurement="bb" * 32, key_id="cc" * 16), "sms.backup.measurement"),
    "another key": (edited(key_id="cc" * 16), "sms.backup.key"),
    "time edited": (edited(created="2020-01-01T00:00:00+00:00"), "sms.backup.edited"),
    "rows edited": (edited(rows={"secret": 2}), "sms.backup.edited"),
    "hash edited": (edited(sha256="00" * 32), "sms.backup.edited"),
    "wrapped key edited": (edited(wrapped_key="00" * 60), "sms.backup.edited"),
    "wrapped key of odd length": (edited(wrapped_key="0"), "sms.backup.edited"),
    "enormous number": (edited(audit_seq=2**60), "sms.backup.edited"),
    "wrong type": (edited(size="5"), "sms.backup.format"),
    "unknown member": (edited(more=1), "sms.backup.format"),
    "member missing": (without_a_member, "sms.backup.format"),
    "no time": (edited(created="yesterday"), "sms.backup.format"),
    "an SQL dump": (lambda _data, key: key.write_bytes(os.urandom(16)), "sms.backup.format"),
    "deep JSON": (lambda _data, key: key.write_bytes(b"[" * 4000), "sms.backup.format"),
    "huge header": (lambda _data, key: key.write_bytes(key.read_bytes() + b" " * 5000), "sms.backup.format"),
    "empty header": (lambda _data, key: key.write_bytes(b""), "sms.backup.format"),
    "data cut": (cut, "sms.backup.truncated"),
    "data empty": (lambda data, _key: data.write_bytes(b""), "sms.backup.truncated"),
    "data longer": (lengthened, "sms.backup.damaged"),
    "first byte": (flipped(0), "sms.backup.damaged"),
    "last byte": (flipped(-1), "sms.backup.damaged"),
}


@pytest.mark.parametrize("database_url", ["sqlite"], indirect=True)  # refused before any database is touched
@pytest.mark.parametrize(("damage", "code"), DAMAGES.values(), ids=DAMAGES.keys())
def test_what_is_not_the_backup_changes_nothing(
    world: World, files: tuple[Path, Path], damage: Callable[[Path, Path], object], code: str
) -> None:
    damage(*files)
    with pytest.raises(AdytonError) as caught:
        world.archive.read(*files)
    assert caught.value.code == code
    assert isinstance(caught.value, BackupError)
    assert world.value(FIRST) == "changed"
    assert world.value(SECOND) == "added"
    assert "backup.restored" not in {entry.event for entry in world.audit.verify()}


def test_another_release_and_another_cas_cannot_open_it(files: tuple[Path, Path], tmp_path: Path) -> None:
    """A CAS derives another database key for another measurement, and another CAS another one for the same."""
    other_cas = World(str(tmp_path / "cas.sqlite3"), Secret(bytes([8]) * 32))
    other_release = World(str(tmp_path / "release.sqlite3"), Secret(bytes([9]) * 32), measurement="bb" * 32)
    for other, code in ((other_cas, "sms.backup.key"), (other_release, "sms.backup.measurement")):
        with pytest.raises(BackupError) as caught:
            other.archive.read(*files)
        assert caught.value.code == code
        assert other.repo.counts()["web2"] == 0
        if code == "sms.backup.measurement":
            assert "aa" * 32 in caught.value.message
            assert "bb" * 32 in caught.value.message
    edited(measurement="bb" * 32, key_id=json.loads(_written(other_release, tmp_path))["key_id"])(*files)
    with pytest.raises(BackupError) as caught:  # whoever edits the header to look right meets the cryptography
        other_release.archive.read(*files)
    assert caught.value.code == "sms.backup.edited"
    for other in (other_cas, other_release):
        other.database.close()


def test_a_successor_with_the_same_key_opens_it(world: World, files: tuple[Path, Path], tmp_path: Path) -> None:
    """What the CAS gives the key of the release before, by an approved upgrade, carries on with its backups."""
    successor = World(str(tmp_path / "successor.sqlite3"), measurement="bb" * 32)
    successor.archive.read(*files)
    assert successor.value(FIRST) == CANARY
    assert successor.value(SECOND) is None
    assert world.value(SECOND) == "added"
    successor.database.close()


def test_after_an_exchange_of_the_key_only_newer_backups_open(tmp_path: Path, database_url: str) -> None:
    keeper = KeyKeeper(tmp_path / "ring.json", KEY)
    world = World(database_url, keeper=keeper)
    world.store(FIRST, CANARY)
    old, new = (tmp_path / "old", tmp_path / "old.key"), (tmp_path / "new", tmp_path / "new.key")
    world.archive.write(*old)
    world.database.rotate(world.audit.line("keys.rotated"))
    with pytest.raises(BackupError) as caught:
        world.archive.read(*old)
    assert caught.value.code == "sms.backup.exchanged"
    world.store(SECOND, "kept")
    world.archive.write(*new)
    world.database.close()
    other = World(str(tmp_path / "other.sqlite3"), keeper=keeper)
    other.archive.read(*new)
    assert (other.value(FIRST), other.value(SECOND)) == (CANARY, "kept")
    with pytest.raises(NotAllowedError):  # what was signed before the exchange stays used up, on another host, too
        other.repo.replace(FIRST, Secret("x"), signed(f"{FIRST}{CANARY}"), NOW)
    other.database.close()
    again = World(str(tmp_path / "other.sqlite3"), keeper=keeper)
    with pytest.raises(NotAllowedError):
        again.repo.replace(FIRST, Secret("x"), signed(f"{FIRST}{CANARY}"), NOW)
    again.database.close()


def test_other_processes_learn_of_the_marks_that_a_restore_brings(tmp_path: Path, database_url: str) -> None:
    keeper = KeyKeeper(tmp_path / "ring.json", KEY)
    first = World(database_url, keeper=keeper)
    first.store(FIRST, CANARY)
    first.database.rotate("{}")
    files = tmp_path / "b", tmp_path / "b.key"
    first.archive.write(*files)
    target = str(tmp_path / "target.sqlite3")
    restoring, watching = World(target, keeper=keeper), World(target, keeper=keeper)
    restoring.archive.read(*files)
    with pytest.raises(NotAllowedError):
        watching.repo.replace(FIRST, Secret("x"), signed(f"{FIRST}{CANARY}"), NOW)
    for world in (first, restoring, watching):
        world.database.close()


def _written(world: World, folder: Path) -> bytes:
    world.archive.write(folder / "o", folder / "o.key")
    return (folder / "o.key").read_bytes()


def test_data_of_another_backup_are_refused(world: World, files: tuple[Path, Path], tmp_path: Path) -> None:
    world.archive.write(tmp_path / "o", tmp_path / "o.key")
    (tmp_path / "o").replace(files[0])
    with pytest.raises(BackupError):
        world.archive.read(*files)
    assert world.value(SECOND) == "added"


def test_a_row_that_was_altered_makes_no_backup(world: World, tmp_path: Path) -> None:
    with world.database.engine.begin() as db:
        db.execute(update(secrets_table).values(version=9))
    with pytest.raises(DatabaseRowError):
        world.archive.write(tmp_path / "o", tmp_path / "o.key")
    assert not (tmp_path / "o.key").exists()


KILLED = """
import os, sys
from pathlib import Path
from adyton.base.secret import Secret
from adyton.sms.backup import rowstream
from adyton.sms.backup.archive import SealedArchive
from adyton.sms.audit import AuditLog
from adyton.sms.store.database import Database
database = Database.open(sys.argv[1], Secret(bytes([7]) * 32))
load = rowstream.RowStream.load
def halted(self, db, chunks):
    load(self, db, chunks)
    print("loaded", flush=True)
    sys.stdin.readline()
rowstream.RowStream.load = halted
SealedArchive(database, AuditLog(database), "aa" * 32).read(Path(sys.argv[2]), Path(sys.argv[3]))
"""


def test_a_crash_in_the_middle_leaves_the_old_state(world: World, files: tuple[Path, Path], database_url: str) -> None:
    command = [sys.executable, "-c", KILLED, database_url, *map(str, files)]
    process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    assert process.stdout.readline() == "loaded\n"
    process.kill()
    process.communicate()
    assert world.value(FIRST) == "changed"
    assert world.value(SECOND) == "added"
    world.archive.read(*files)
    assert world.value(FIRST) == CANARY


def test_a_backup_is_one_state_while_others_write(world: World, tmp_path: Path) -> None:
    """The writer moves a token from one secret to another; a backup that saw half a move would show two or none."""
    world.store(SECOND, "no")
    stop = threading.Event()

    def write() -> None:
        for turn in range(1000):
            if stop.is_set():
                return
            values = ("no", "token") if turn % 2 else ("token", "no")
            blobs = [
                (key, world.database.cipher("secret").seal(value.encode(), *key.place(1)))
                for key, value in zip((FIRST, SECOND), values, strict=True)
            ]
            world.database.write(
                lambda db, blobs=blobs: [  # type: ignore[misc]  # the default binds the loop's value
                    db.execute(
                        update(secrets_table).where(secrets_table.c.name == key.name).values(value=blob, version=1)
                    )
                    for key, blob in blobs
                ]
            )

    thread = threading.Thread(target=write)
    thread.start()
    try:
        for number in range(5):
            world.archive.write(tmp_path / f"{number}", tmp_path / f"{number}.key")
    finally:
        stop.set()
        thread.join()
    for number in range(5):
        world.archive.read(tmp_path / f"{number}", tmp_path / f"{number}.key")
        assert {world.value(FIRST), world.value(SECOND)} in ({"no", "token"}, {CANARY, "no"})


LARGE = """
import resource, sys
from pathlib import Path
from adyton.base.secret import Secret
from adyton.sms.backup.archive import SealedArchive
from adyton.sms.audit import AuditLog
from adyton.sms.store.database import Database
from adyton.sms.store.repo import Repo
database = Database.open(sys.argv[1], Secret(bytes([7]) * 32))
archive = SealedArchive(database, AuditLog(database), "aa" * 32)
before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
archive.write(Path(sys.argv[2], "l"), Path(sys.argv[2], "l.key"))
archive.read(Path(sys.argv[2], "l"), Path(sys.argv[2], "l.key"))
print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before, Repo(database).counts()["requester"])
"""


def test_large_databases_are_streamed(world: World, database_url: str, tmp_path: Path) -> None:
    """20 MB of rows pass through a few megabytes of memory."""
    cipher, value = world.database.cipher("secret"), b"x" * 4000
    rows = [
        {
            "kind": key.kind.value,
            "owner": key.owner,
            "name": key.name,
            "version": 1,
            "value": cipher.seal(value, *key.place(1)),
        }
        for key in (SecretKey.requester(OWNER, f"n{number}") for number in range(5000))
    ]
    world.database.write(lambda db: db.execute(insert(secrets_table), rows))
    command = [sys.executable, "-c", LARGE, database_url, str(tmp_path)]
    kilobytes, count = subprocess.run(command, check=True, capture_output=True, text=True).stdout.split()
    assert count == "5000"
    assert int(kilobytes) < 12_000
    assert resource.getpagesize()  # the numbers above are kilobytes on Linux, whatever the page's size


# -- the five operations on files ---------------------------------------------------------------------------------


@pytest.fixture
def operations(tmp_path: Path) -> Iterator[tuple[World, FileBackups, Path]]:
    world = World(str(tmp_path / "sms.sqlite3"))
    world.store(FIRST, CANARY)
    location = tmp_path / "storage"
    (location / "site").mkdir(parents=True)
    yield world, FileBackups(location, world.archive, Maintenance()), location
    world.database.close()


def storage_id(folder: Path) -> str:
    return str(folder).encode().hex()


def test_the_way_of_a_backup(operations: tuple[World, FileBackups, Path]) -> None:
    world, backups, location = operations
    site = storage_id(location / "site")
    backups.create()
    backups.replicate(site, "monday")
    world.repo.replace(FIRST, Secret("changed"), signed("change"), NOW)
    backups.copy(site, "monday", storage_id(location), "kept")
    with pytest.raises(BackupError):
        backups.copy(site, "monday", storage_id(location), "kept")
    backups.delete(site, "monday")
    backups.restore(storage_id(location), "kept")
    assert world.value(FIRST) == CANARY
    assert sorted(path.name for path in location.rglob("*") if path.is_file()) == [
        "backup.sql",
        "backup.sql.key",
        "kept",
        "kept.key",
    ]


@pytest.mark.parametrize(
    ("folder", "name", "kind"),
    [
        pytest.param("../outside", "b", BackupNameError, id="parent"),
        pytest.param("-beside", "b", BackupNameError, id="same prefix"),
        pytest.param("link", "b", BackupNameError, id="link that leads outside"),
        pytest.param("nowhere", "b", BackupNotFoundError, id="no folder"),
        pytest.param("site", "none", BackupNotFoundError, id="no file"),
        pytest.param("site", "../work/backup.sql", BackupNameError, id="name with a slash"),
        pytest.param("site", "..", BackupNameError, id="name of a folder"),
        pytest.param("site", "a\0b", BackupNameError, id="name with NUL"),
        pytest.param("site", "stolen", BackupNotFoundError, id="file that is a link"),
    ],
)
def test_paths_that_lead_elsewhere(
    operations: tuple[World, FileBackups, Path], folder: str, name: str, kind: type[AdytonError]
) -> None:
    world, backups, location = operations
    backups.create()
    outside = location.parent / "outside"
    beside = location.parent / "storage-beside"
    for place in (outside, beside):
        place.mkdir()
        for suffix in ("", ".key"):
            (place / f"b{suffix}").write_bytes((location / "work" / f"backup.sql{suffix}").read_bytes())
            (location / "site" / f"stolen{suffix}").unlink(missing_ok=True)
            (location / "site" / f"stolen{suffix}").symlink_to(place / f"b{suffix}")
    (location / "link").symlink_to(outside)
    path = f"{location}{folder}" if folder.startswith("-") else str(location / folder)
    world.repo.replace(FIRST, Secret("changed"), signed("change"), NOW)
    attempts: list[Callable[[], None]] = [
        lambda: backups.restore(path.encode().hex(), name),
        lambda: backups.copy(path.encode().hex(), name, storage_id(location), "copied"),
    ]
    for operation in attempts:
        with pytest.raises(kind):
            operation()
    assert world.value(FIRST) == "changed"
    assert not (location / "copied").exists()
    assert sorted(path.name for path in outside.iterdir()) == ["b", "b.key"]


def test_one_operation_at_a_time(operations: tuple[World, FileBackups, Path]) -> None:
    world, backups, _location = operations
    inside, leave, busy = threading.Event(), threading.Event(), threading.Event()

    def hold(_db: object) -> None:
        inside.set()
        leave.wait(10)

    def create() -> None:  # it waits for the writer, to put its line into the audit log
        try:
            backups.create()
        except BackupBusyError:
            busy.set()

    threads = [threading.Thread(target=lambda: world.database.write(hold))]
    threads[0].start()
    inside.wait(10)
    for _ in range(2):
        threads.append(threading.Thread(target=create))
        threads[-1].start()
    assert busy.wait(5)
    leave.set()
    for thread in threads:
        thread.join()
    assert [entry.event for entry in world.audit.verify()] == ["backup.created"]


def test_challenges_are_in_the_dump_as_they_were(world: World, files: tuple[Path, Path]) -> None:
    world.archive.read(*files)
    with world.database.engine.connect() as db:
        row = db.execute(select(challenges_table)).one()
    assert (row.final_deadline, row.sessions) == (123, 1)
