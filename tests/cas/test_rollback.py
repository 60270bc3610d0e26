"""An older state put back: what shows it, and what only a counter or a head kept elsewhere shows."""

from __future__ import annotations

import shutil
import sqlite3
from collections.abc import Callable
from pathlib import Path

import pytest
from tests.cas.documents import small_document, to_yaml
from tests.cas.house import CAS, House

from adyton.base.auditchain import AuditEntry
from adyton.base.errors import AdytonError, InputError, UnavailableError
from adyton.cas.client.operator import verify_audit
from adyton.cas.errors import SealedStateError, StoreCorruptError
from adyton.cas.settings import CasSettings
from adyton.cas.store.head import Anchor, RolledBackError
from adyton.cas.store.state import CasState, open_state

OPEN = {"access_policy": {"read": ["CREATOR"], "update": ["CREATOR"]}}


class FileCounter:
    """A counter for tests: what a platform with one would keep where the host cannot write."""

    def __init__(self) -> None:
        self.value = 0

    def read(self) -> int:
        return self.value

    def increment(self) -> int:
        self.value += 1
        return self.value


def write(house: House, *documents: dict[str, object]) -> list[str]:
    """Run a CAS that acknowledges these; gives their hashes."""
    with house.open() as cas:
        return [cas.owner().create(to_yaml(document)).hash for document in documents]


def copy_state(house: House, name: str, only: str = "*") -> Path:
    target = house.folder / name
    target.mkdir(exist_ok=True)
    for path in (house.folder / "cas").glob(only):
        if path.is_file():
            shutil.copy(path, target / path.name)
    return target


def restore(house: House, source: Path, only: str = "*") -> None:
    for path in (house.folder / "cas").glob(only):
        if path.is_file():
            path.unlink()
    for path in source.glob(only):
        shutil.copy(path, house.folder / "cas" / path.name)


def refused(house: House) -> AdytonError:
    with pytest.raises(AdytonError) as caught:
        house.build()
    return caught.value


def last_entry(house: House) -> AuditEntry:
    found = verify_audit(house.folder / "cas")
    assert found is not None
    return found


def state(house: House, **options: object) -> CasState:
    return open_state(house.world.platform(CAS), house.folder / "cas", clock=house.world.clock, **options)  # type: ignore[arg-type]  # named in the tests


def test_an_older_database_file_is_named(house: House) -> None:
    write(house, small_document(name="one"))
    older = copy_state(house, "older", "cas.db*")
    before = last_entry(house)
    write(house, small_document(name="two"))
    after = last_entry(house)
    restore(house, older, "cas.db*")
    error = refused(house)
    assert (type(error), error.code) == (RolledBackError, "cas.state.rolled_back")
    assert f"ends with entry {before.seq}, entry {after.seq} was acknowledged" in error.message


def test_a_database_that_lost_its_last_commits_is_named(house: House) -> None:
    """The write-ahead log deleted while the CAS was down after a kill: an older database without any copying."""
    with house.open() as cas:
        cas.owner().create(to_yaml(small_document(name="one")))
        killed = copy_state(house, "killed")
    (killed / "cas.db-wal").unlink()
    restore(house, killed)
    assert refused(house).code == "cas.state.rolled_back"


def test_a_database_that_went_on_from_an_older_copy_is_named(house: House) -> None:
    write(house, small_document(name="one"))
    fork = copy_state(house, "fork")
    write(house, small_document(name="two"))
    head = copy_state(house, "head", "cas.head")
    restore(house, fork)
    write(house, small_document(name="three"), small_document(name="four"), small_document(name="five"))
    restore(house, head, "cas.head")
    error = refused(house)
    assert error.code == "cas.state.rolled_back"
    assert "went on differently" in error.message


def test_an_older_head_file_takes_nothing_away(house: House) -> None:
    write(house, small_document(name="one"))
    older = copy_state(house, "older", "cas.head")
    (hash_two,) = write(house, small_document(name="two"))
    restore(house, older, "cas.head")
    with house.open() as cas:
        assert cas.owner().show("two").hash == hash_two


@pytest.mark.parametrize(
    ("change", "code"),
    [
        (lambda path: path.unlink(), "cas.state.head_missing"),
        (lambda path: path.write_bytes(bytes(1024)), "cas.state.head_corrupt"),
        (lambda path: path.write_bytes(b""), "cas.state.head_corrupt"),
        (lambda path: path.write_bytes(path.read_bytes()[512:] + path.read_bytes()[:512]), "cas.state.head_corrupt"),
    ],
    ids=["missing", "zeroed", "empty", "swapped"],
)
def test_without_a_head_it_does_not_start(house: House, change: Callable[[Path], object], code: str) -> None:
    house.build().close()
    change(house.folder / "cas" / "cas.head")
    error = refused(house)
    assert (type(error), error.code) == (SealedStateError, code)


@pytest.mark.parametrize("sector", [0, 1])
def test_one_torn_sector_is_survived(house: House, sector: int) -> None:
    """Power was lost while the head was written: the other sector is one step older, and the database is ahead."""
    write(house, small_document(name="one"))
    head = house.folder / "cas" / "cas.head"
    data = bytearray(head.read_bytes())
    data[512 * sector + 20 : 512 * sector + 60] = bytes(40)
    head.write_bytes(data)
    with house.open() as cas:
        assert cas.owner().show("one").name == "one"


def test_rows_put_back_under_a_newer_log_are_found(house: House) -> None:
    """Every row decrypts in its place, and the log is whole: what shows it is the digest of all rows."""
    (first,) = write(house, small_document(name="one", **OPEN))
    db = sqlite3.connect(house.folder / "cas" / "cas.db")
    row = db.execute("select * from sessions").fetchone()
    write(house, small_document(name="one", version="0.3.1", predecessor=first, **OPEN))
    db.execute("delete from sessions")
    db.execute("insert into sessions values (?, ?, ?, ?, ?)", row)
    db.commit()
    error = refused(house)
    assert (type(error), error.code) == (StoreCorruptError, "cas.state.rows")
    db.execute("delete from sessions")
    db.commit()
    db.close()
    assert refused(house).code == "cas.state.rows"


def test_all_files_put_back_together_need_a_counter_or_an_anchor(house: House) -> None:
    """Stated in the documents: no file can show that all files are old. What is outside does."""
    counter = FileCounter()
    state(house, counter=counter).close()
    opened = state(house, counter=counter)
    older = copy_state(house, "older")
    opened.ledger.write("{}")
    newest = opened.ledger.last
    opened.close()
    assert newest is not None
    restore(house, older)
    with pytest.raises(RolledBackError, match="counter value"):
        state(house, counter=counter)
    with pytest.raises(RolledBackError, match="was acknowledged"):
        state(house, anchor=Anchor(newest.seq, newest.hash))
    state(house).close()  # and so it does open without either


def test_a_kill_between_file_and_counter_is_survived(house: House) -> None:
    counter = FileCounter()
    opened = state(house, counter=counter)
    opened.ledger.write("{}")
    opened.close()
    counter.value -= 1  # the file was written, the counter not yet raised
    state(house, counter=counter).close()
    assert counter.value == 1


def test_two_processes_on_one_folder(house: House) -> None:
    cas = house.build()
    error = refused(house)
    cas.close()
    assert (type(error), error.code) == (UnavailableError, "cas.state.in_use")
    house.build().close()


@pytest.mark.parametrize("text", ["1", "0:" + "00" * 32, "1:00", "x:" + "00" * 32, "1:" + "0G" * 32, "-1:" + "00" * 32])
def test_an_anchor_is_checked(house: House, text: str) -> None:
    with pytest.raises(InputError, match="no head of an audit log"):
        Anchor.parse(text)
    with pytest.raises(InputError, match="audit_anchor"):
        CasSettings.load(
            env={
                "ADYTON_CAS_DATABASE": "x",
                "ADYTON_CAS_PCCS_URL": house.pccs_url,
                "ADYTON_CAS_ANCHORS": "intel",
                "ADYTON_CAS_AUDIT_ANCHOR": text,
            }
        )


def test_a_full_disk_at_the_head_acknowledges_nothing(house: House, monkeypatch: pytest.MonkeyPatch) -> None:
    opened = state(house)

    def full(*_arguments: object) -> None:
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr("adyton.cas.store.head.os.pwrite", full)
        with pytest.raises(UnavailableError) as caught:
            opened.ledger.write("{}")
    assert caught.value.code == "cas.audit.unwritable"
    entry = opened.ledger.write("{}")
    opened.close()
    assert entry is not None
    assert entry.seq == 2  # the first is in the log, and was never acknowledged
    state(house, anchor=Anchor(entry.seq, entry.hash)).close()
