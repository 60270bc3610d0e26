"""The sealed state: restarts, moved and swapped pieces, and that nothing of it can be read from outside."""

from __future__ import annotations

import logging
import shutil
import sqlite3
from collections.abc import Callable
from pathlib import Path

import pytest
from structlog.testing import capture_logs
from tests.cas.documents import APP, iexec_document, small_document, to_yaml
from tests.cas.house import CAS, House, Running
from tests.platform.world import World

from adyton.base.db import open_engine
from adyton.base.errors import UnavailableError
from adyton.cas.client.operator import verify_audit
from adyton.cas.client.tls import CasRefusedError
from adyton.cas.errors import AuditBrokenError, SealedStateError, StoreCorruptError
from adyton.cas.store.audit import read_entries
from adyton.cas.store.head import RolledBackError
from adyton.cas.store.repo import SessionRepo, StoredSession
from adyton.cas.store.state import open_state
from adyton.platform.protocol import PlatformError

APP_ENCLAVE = bytes.fromhex(APP)


def with_secret(name: str = "kept") -> bytes:
    service = {"name": "app", "image_name": "image", "mrenclaves": [APP], "environment": {"A": "$$SCONE::s$$"}}
    return to_yaml(
        small_document(
            name=name,
            services=[service],
            images=[{"name": "image", "volumes": [{"name": "data", "path": "/data"}]}],
            volumes=[{"name": "data"}],
            secrets=[{"name": "s", "kind": "ascii"}],
        )
    )


def fetch(cas: Running, name: str = "kept") -> tuple[str, bytes]:
    part = cas.enclave(cas.world.platform(APP_ENCLAVE)).fetch(name, "app")
    return part.environment["A"], part.volumes["data"].key.reveal()


def test_a_restart_keeps_sessions_secrets_keys_and_authority(house: House) -> None:
    with house.open() as cas:
        owner = cas.owner()
        info = owner.create(with_secret())
        before = fetch(cas)
        root = (cas.folder / "owner" / "cas-ca.pem").read_bytes()
    with house.open() as cas:
        assert fetch(cas) == before
        owner = cas.owner()  # verifies the CAS again
        assert (cas.folder / "owner" / "cas-ca.pem").read_bytes() == root
        assert owner.show("kept").hash == info.hash


def test_a_nonce_does_not_outlive_the_process(house: House) -> None:
    with house.open() as cas:
        cas.owner().create(with_secret())
        nonce = cas.nonce()
    with house.open() as cas, pytest.raises(CasRefusedError) as caught:
        cas.post(cas.evidence(cas.world.platform(APP_ENCLAVE), nonce), b'{"session":"kept","service":"app"}')
    assert caught.value.code == "cas.release.nonce"


def test_another_cpu_does_not_open_it(house: House) -> None:
    house.build().close()
    shutil.copytree(house.folder / "cas", house.folder / "copy")
    with pytest.raises(SealedStateError) as caught:
        house.build("copy", house.world.other_cpu().platform(CAS))
    assert caught.value.code == "cas.sealed.other_platform"
    assert "another CPU" in caught.value.message
    house.build("copy").close()  # the same machine still does


@pytest.mark.parametrize("debug", [False, True], ids=["changed", "debug"])
def test_a_changed_cas_does_not_open_it(house: House, debug: bool) -> None:
    house.build().close()
    platform = house.world.platform(CAS, debug=True) if debug else house.world.platform(b"\xcb" * 32)
    with pytest.raises(SealedStateError) as caught:
        house.build(platform=platform)
    assert caught.value.code == "cas.sealed.other_enclave"
    assert ("sealing.debug" if debug else "sealing.other_enclave") in caught.value.message


def test_a_database_without_its_key_is_refused_and_left_alone(house: House) -> None:
    house.build().close()
    (house.folder / "cas" / "cas.key").unlink()
    before = (house.folder / "cas" / "cas.db").read_bytes()
    with pytest.raises(SealedStateError) as caught:
        house.build()
    assert caught.value.code == "cas.sealed.other_platform"
    assert (house.folder / "cas" / "cas.db").read_bytes() == before
    assert not (house.folder / "cas" / "cas.key").exists()


def test_a_key_without_its_database_is_refused(house: House) -> None:
    house.build().close()
    for path in (house.folder / "cas").glob("cas.db*"):
        path.unlink()
    with pytest.raises(SealedStateError) as caught:
        house.build()
    assert caught.value.code == "cas.sealed.database_missing"


def test_a_damaged_key_is_refused(house: House) -> None:
    house.build().close()
    key = house.folder / "cas" / "cas.key"
    data = bytearray(key.read_bytes())
    data[-1] ^= 1
    key.write_bytes(data)
    with pytest.raises(SealedStateError) as caught:
        house.build()
    assert caught.value.code == "cas.sealed.corrupt"


@pytest.mark.parametrize("head", [False, True], ids=["key", "key and head"])
def test_another_databases_key_is_refused(house: House, head: bool) -> None:
    house.build("one").close()
    house.build("two").close()
    for name in ("cas.key", "cas.head") if head else ("cas.key",):
        shutil.copy(house.folder / "one" / name, house.folder / "two" / name)
    with pytest.raises(StoreCorruptError if head else SealedStateError) as caught:
        house.build("two")
    assert caught.value.code == ("cas.store.corrupt" if head else "cas.state.head_corrupt")


@pytest.mark.parametrize("step", ["the database", "the authority", "the head", "the renaming"])
def test_an_interrupted_creation_is_taken_up(house: House, step: str, monkeypatch: pytest.MonkeyPatch) -> None:
    places = {
        "the database": "adyton.cas.store.state.open_database",
        "the authority": "adyton.cas.store.state.create_authority",
        "the head": "adyton.cas.store.state.HeadFile.create",
        "the renaming": "pathlib.Path.rename",
    }
    with monkeypatch.context() as patch:
        patch.setattr(places[step], _stop)
        with pytest.raises(KeyboardInterrupt):
            house.build()
    folder = house.folder / "cas"
    assert not (folder / "cas.key").exists()
    house.build().close()
    assert (folder / "cas.key").exists()
    assert not (folder / "cas.key.new").exists()


def _stop(*_arguments: object) -> None:
    raise KeyboardInterrupt


def test_a_creation_cannot_be_taken_up_over_a_used_database(house: House) -> None:
    """Else the head file, which shows that a database is too old, could be had anew by renaming the key."""
    house.build().close()
    folder = house.folder / "cas"
    (folder / "cas.key").rename(folder / "cas.key.new")
    (folder / "cas.head").unlink()
    with pytest.raises(RolledBackError):
        house.build()


def test_a_file_that_is_no_database(house: House) -> None:
    house.build().close()
    for path in (house.folder / "cas").glob("cas.db*"):
        path.unlink()
    (house.folder / "cas" / "cas.db").write_bytes(b"not a database " * 1000)
    with pytest.raises(UnavailableError) as caught:
        house.build()
    assert caught.value.code == "cas.store.unreadable"


def test_a_platform_that_is_gone_is_not_taken_for_another(house: House) -> None:
    class Gone:
        def __getattr__(self, name: str) -> object:
            raise PlatformError(f"the platform is gone: {name}", code="platform.gone")

    house.build().close()
    with pytest.raises(PlatformError) as caught:
        house.build(platform=Gone())  # type: ignore[arg-type]
    assert caught.value.code == "platform.gone"


def _swap(db: sqlite3.Connection) -> None:
    (first, body_a), (second, body_b) = db.execute("select id, body from sessions order by id").fetchall()
    db.execute("update sessions set body = ? where id = ?", (body_b, first))
    db.execute("update sessions set body = ? where id = ?", (body_a, second))


def _flip(db: sqlite3.Connection) -> None:
    for row_id, body in db.execute("select id, body from sessions").fetchall():
        changed = body[:40] + bytes([body[40] ^ 1]) + body[41:]
        db.execute("update sessions set body = ? where id = ?", (changed, row_id))


CHANGES: dict[str, Callable[[sqlite3.Connection], object]] = {
    "bodies swapped": _swap,
    "version raised": lambda db: db.execute("update sessions set version = version + 1"),
    "creator replaced": lambda db: db.execute("update sessions set creator = ?", ("0" * 64,)),
    "expiry added": lambda db: db.execute("update sessions set expires_at = 99999999999"),
    "one bit": _flip,
    "cut": lambda db: db.execute("update sessions set body = substr(body, 1, 20)"),
    "version as text": lambda db: db.execute("update sessions set version = 'x'"),
    "version below zero": lambda db: db.execute("update sessions set version = -1"),
    "body as text": lambda db: db.execute("update sessions set body = 'x'"),
    "emptied": lambda db: db.execute("update sessions set body = x''"),
}


@pytest.fixture(scope="module")
def prepared(services: tuple[World, str], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The state of a stopped CAS with two sessions and three audit entries."""
    world, url = services
    house = House(world, url, tmp_path_factory.mktemp("prepared"))
    with house.open() as cas:
        cas.owner().create(with_secret("one"))
        cas.owner().create(with_secret("two"))
    return cas.database


@pytest.fixture
def copied(house: House, prepared: Path) -> Path:
    """A copy of the prepared state where ``house`` finds it."""
    shutil.copytree(prepared, house.folder / "cas")
    return house.folder / "cas" / "cas.db"


def alter(database: Path, change: Callable[[sqlite3.Connection], object]) -> None:
    db = sqlite3.connect(database)
    change(db)
    db.commit()
    db.close()


def stored(house: House, name: str) -> StoredSession | None:
    """Read a session as the CAS does, without its ports."""
    state = open_state(house.world.platform(CAS), house.folder / "cas")
    try:
        return SessionRepo(state.ledger).get(name)
    finally:
        state.close()


def test_the_prepared_state_is_good(house: House, copied: Path) -> None:
    assert copied.exists()
    one, two = stored(house, "one"), stored(house, "two")
    assert one is not None
    assert two is not None
    assert one.material != two.material
    assert stored(house, "three") is None


@pytest.mark.parametrize("change", CHANGES.values(), ids=CHANGES)
def test_altered_rows_are_refused(house: House, copied: Path, change: Callable[[sqlite3.Connection], object]) -> None:
    alter(copied, change)
    for name in ("one", "two"):
        with pytest.raises(StoreCorruptError):
            stored(house, name)


def test_a_corrupt_row_is_answered_with_its_code(cas: Running) -> None:
    cas.owner().create(with_secret("corrupt"))
    alter(cas.database / "cas.db", _flip)
    with pytest.raises(UnavailableError) as caught:
        fetch(cas, "corrupt")
    assert caught.value.code == "cas.store.corrupt"


def test_an_older_version_of_a_row_with_the_newer_number_is_refused(cas: Running) -> None:
    database = cas.database / "cas.db"
    bodies: list[bytes] = []
    newest = "select body from sessions order by rowid desc limit 1"
    first = cas.owner().create(to_yaml(small_document(name="old")))
    alter(database, lambda db: bodies.append(db.execute(newest).fetchone()[0]))
    cas.owner().create(to_yaml(small_document(name="old", version="0.3.1", predecessor=first.hash)))
    alter(database, lambda db: db.execute("update sessions set body = ? where version = 2", bodies))
    with pytest.raises(UnavailableError) as caught:
        cas.owner().show("old")
    assert caught.value.code == "cas.store.corrupt"


def test_a_swapped_authority_is_refused(house: House) -> None:
    house.build("one").close()
    house.build("two").close()
    bodies = {}
    for name in ("one", "two"):
        db = sqlite3.connect(house.folder / name / "cas.db")
        bodies[name] = db.execute("select body from authority").fetchone()
        db.close()
    db = sqlite3.connect(house.folder / "one" / "cas.db")
    db.execute("update authority set body = ?", bodies["two"])
    db.commit()
    db.close()
    with pytest.raises(StoreCorruptError):
        house.build("one")


def test_no_secret_and_no_session_name_outside(house: House, caplog: pytest.LogCaptureFixture) -> None:
    """The canary: values of the document, generated secrets and keys are in no file and no log."""
    caplog.set_level(logging.DEBUG)
    document = iexec_document()
    document["secrets"] = [{"name": "s", "kind": "ascii", "value": "explicit-canary"}]
    document["services"][1]["environment"]["A"] = "$$SCONE::s$$"
    with capture_logs() as logs, house.open() as cas:
        cas.owner().create(to_yaml(document))
        cas.owner().create(with_secret())
        secret, volume_key = fetch(cas)
        part = cas.enclave(cas.world.platform(APP_ENCLAVE)).fetch(document["name"], "app")
        assert part.environment["A"] == "explicit-canary"
        with pytest.raises(CasRefusedError):
            cas.enclave(cas.world.platform(b"\x99" * 32)).fetch(document["name"], "app")
        files = {path: path.read_bytes() for path in cas.database.rglob("*") if path.is_file()}
    haystacks = {str(path): data for path, data in files.items()}
    haystacks["output"] = (repr(logs) + caplog.text).encode()
    assert {Path(name).name for name in haystacks} >= {"cas.db", "cas.key"}
    assert b'"released"' in haystacks[str(cas.database / "cas.db")] + haystacks[str(cas.database / "cas.db-wal")]
    assert b"refused" in haystacks["output"]
    needles = {
        "dataset key": b"dataset-key-canary",
        "developer secret": b"developer-canary",
        "explicit secret": b"explicit-canary",
        "challenge key": b"7c" * 32,
        "generated secret": secret.encode(),
        "generated secret, hex": secret.encode().hex().encode(),
        "volume key": volume_key,
        "volume key, hex": volume_key.hex().encode(),
        "session name": document["name"].encode(),
    }
    for where, data in haystacks.items():
        for what, needle in needles.items():
            assert needle not in data, f"{what} is in {where}"


def test_the_audit_log_tells_what_happened_and_holds(house: House) -> None:
    with house.open() as cas:
        info = cas.owner().create(with_secret())
        fetch(cas)
        with pytest.raises(CasRefusedError):
            cas.enclave(cas.world.platform(b"\x99" * 32)).fetch("kept", "app")
        with pytest.raises(CasRefusedError):
            cas.enclave(cas.world.platform(APP_ENCLAVE)).fetch("other", "app")
    last = verify_audit(cas.database)
    assert last is not None
    assert last.seq == 5
    engine = open_engine(cas.database / "cas.db")
    entries = [entry.values for entry in read_entries(engine)]
    engine.dispose()
    assert [(entry["event"], entry["outcome"], entry.get("code", "")) for entry in entries] == [
        ("start", "done", ""),
        ("session.create", "done", ""),
        ("release", "released", ""),
        ("release", "refused", "cas.release.measurement"),
        ("release", "refused", "cas.session.unknown"),
    ]
    released, refused = entries[2], entries[3]
    assert released["session_hash"] == info.hash
    assert released["mrenclave"] == APP
    assert released["tier"] == house.world.anchor.tier
    assert released["service"] == "app"
    assert refused["mrenclave"] == "99" * 32
    assert refused["tier"] == house.world.anchor.tier  # genuine, but another enclave
    assert len(refused["client"]) == 64
    assert all(entry["at"] == house.world.now.isoformat() for entry in entries)


AUDIT_CHANGES: dict[str, tuple[str, bool]] = {
    "record changed": ("update audit set record = replace(record, 'session', 'sessiom') where seq = 2", True),
    "record removed": ("delete from audit where seq = 2", True),
    "first removed": ("delete from audit where seq = 1", True),
    "hash changed": ("update audit set hash = '00' || substr(hash, 3) where seq = 2", True),
    "last removed": ("delete from audit where seq = 3", False),
    "all removed": ("delete from audit", False),
    "head removed": ("delete from audit_head", False),
}


@pytest.mark.parametrize(("statement", "visible_outside"), AUDIT_CHANGES.values(), ids=AUDIT_CHANGES)
def test_a_changed_audit_log_is_found(house: House, copied: Path, statement: str, visible_outside: bool) -> None:
    alter(copied, lambda db: db.execute(statement))
    if visible_outside:
        with pytest.raises(AuditBrokenError):
            verify_audit(copied.parent)
    else:
        verify_audit(copied.parent)
        with pytest.raises(AuditBrokenError):  # the CAS knows its last entry
            house.build()
