"""Exchanging the master key: what it protects stays, the old one is gone, and a kill leaves one of the two."""

from __future__ import annotations

import hashlib
import json
import os
import sqlite3
import ssl
import threading
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import Engine
from tests.cas.documents import APP, small_document, to_yaml
from tests.cas.house import CAS, House, Running

from adyton.base.db import open_engine
from adyton.base.errors import UnavailableError
from adyton.base.secret import Secret
from adyton.cas.client.operator import open_client, verify_audit
from adyton.cas.client.tls import CasRefusedError
from adyton.cas.errors import StoreCorruptError
from adyton.cas.face.authority import Authority
from adyton.cas.operation import rotate_keys
from adyton.cas.settings import CasSettings
from adyton.cas.store.audit import read_entries
from adyton.cas.store.authorities import opens
from adyton.cas.store.head import HeadFile
from adyton.cas.store.keys import Keys
from adyton.cas.store.repo import SessionRepo
from adyton.cas.store.sealed import open_master_key
from adyton.cas.store.state import CasState, KeyExchangeError, open_state

KILLED = 9


def document(name: str = "kept") -> bytes:
    """A session as the SMS has it: an enclave-key in a file; and a secret and a volume."""
    service = {"name": "app", "image_name": "image", "mrenclaves": [APP], "environment": {"A": "$$SCONE::s$$"}}
    image = {
        "name": "image",
        "volumes": [{"name": "data", "path": "/data"}],
        "injection_files": [{"path": "/key", "content": "$$SCONE::k:hex$$"}],
    }
    return to_yaml(
        small_document(
            name=name,
            services=[service],
            images=[image],
            volumes=[{"name": "data"}],
            secrets=[{"name": "s", "kind": "ascii"}, {"name": "k", "kind": "enclave-key"}],
        )
    )


def fetch(cas: Running) -> tuple[str, bytes, bytes]:
    """Secret, volume key and enclave-key as the enclave gets them."""
    part = cas.enclave(cas.world.platform(bytes.fromhex(APP))).fetch("kept", "app")
    return part.environment["A"], part.volumes["data"].key.reveal(), part.files[0].content.reveal()


def fingerprint(pem: bytes) -> str:
    return hashlib.sha256(ssl.PEM_cert_to_DER_cert(pem.decode())).hexdigest()


def records(house: House) -> list[dict[str, str]]:
    engine = database(house)
    try:
        return [entry.values for entry in read_entries(engine)]
    finally:
        engine.dispose()


class AdminHouse(House):
    """A house whose CASes take orders from the owner ``operator``."""

    def settings(self, database: str = "cas", **changes: Any) -> CasSettings:  # noqa: ANN401  # any settings
        key = Running(self.world, self.folder, self.folder, 0, 0).key_hash("operator")
        return super().settings(database, admins=(key,), **changes)


@pytest.fixture
def administered(house: House) -> AdminHouse:
    return AdminHouse(house.world, house.pccs_url, house.folder)


def state(house: House) -> CasState:
    return open_state(house.world.platform(CAS), house.folder / "cas", clock=house.world.clock)


def master_of(house: House) -> Secret[bytes]:
    return open_master_key(house.world.platform(CAS), house.folder / "cas", lambda _master: pytest.fail("made anew"))


def authority_of(house: House) -> Authority:
    opened = state(house)
    try:
        return opened.authority()
    finally:
        opened.close()


def database(house: House) -> Engine:
    return open_engine(house.folder / "cas" / "cas.db")


def test_online_and_enclaves_get_what_they_got_before(administered: AdminHouse) -> None:
    with administered.open() as cas:
        owner = cas.owner()
        info = owner.create(document())
        before = fetch(cas)
        cas.owner("operator")
        entry = rotate_keys(cas.url, cas.folder / "operator")
        assert fetch(cas) == before
        assert owner.show("kept").hash == info.hash
        assert owner.create(document("later")).name == "later"
        root = (cas.folder / "owner" / "cas-ca.pem").read_bytes()
        assert fingerprint(root) != entry.authority  # nothing was attested again, and the old root goes on
    last = verify_audit(administered.folder / "cas")
    assert last is not None
    assert last.seq > entry.seq
    with administered.open() as cas:
        assert fetch(cas) == before
        assert open_client(cas.url, cas.folder / "owner").show("kept").hash == info.hash  # nor does a restart end it
        assert fingerprint((cas.folder / "owner" / "cas-ca.pem").read_bytes()) == fingerprint(root)
        cas.owner()
        assert fingerprint((cas.folder / "owner" / "cas-ca.pem").read_bytes()) == entry.authority
        assert open_client(cas.url, cas.folder / "owner").show("kept").hash == info.hash
    record = records(administered)[entry.seq - 1]
    assert (record["authority_before"], record["authority"]) == (fingerprint(root), entry.authority)
    starts = [found["authority"] for found in records(administered) if found["event"] == "start"]
    assert starts == [fingerprint(root), entry.authority]


def test_the_old_key_is_gone(house: House) -> None:
    with house.open() as cas:
        cas.owner().create(document())
    folder = house.folder / "cas"
    old_blob, old = (folder / "cas.key").read_bytes(), master_of(house)
    opened = state(house)
    authority = opened.authority()
    opened.rotate_keys("00" * 32)
    following = opened.authority()
    opened.close()
    assert following.key.private_numbers() != authority.key.private_numbers()
    assert [handover.former for handover in following.handovers] == [authority.root]
    assert authority.to_plain()["key"] not in json.dumps(following.to_plain())
    stored = state(house)
    assert stored.authority().to_plain() == following.to_plain()
    stored.close()
    engine = database(house)
    assert not opens(engine, Keys.of(old))
    assert opens(engine, Keys.of(master_of(house)))
    with engine.connect() as db:
        for row in db.exec_driver_sql("select id, version, body, creator, expires_at from sessions").all():
            with pytest.raises(StoreCorruptError):
                Keys.of(old).sessions.open(row.id, row.version, row.body, row.creator.encode(), b"")
    engine.dispose()
    assert {path.name for path in folder.iterdir()} >= {"cas.db", "cas.key", "cas.head"}
    assert not (folder / "cas.key.next").exists()
    assert all(old_blob[-60:] not in path.read_bytes() for path in folder.rglob("*") if path.is_file())


@pytest.mark.parametrize("who", ["nobody", "another"])
def test_only_who_is_named_may(administered: AdminHouse, house: House, who: str) -> None:
    chosen = house if who == "nobody" else administered
    with chosen.open() as cas:
        cas.owner("somebody")
        before = (cas.database / "cas.key").read_bytes()
        with pytest.raises(CasRefusedError) as caught:
            rotate_keys(cas.url, cas.folder / "somebody")
        assert (caught.value.status, caught.value.code) == (403, "cas.admin.forbidden")
        assert (cas.database / "cas.key").read_bytes() == before
    db = sqlite3.connect(house.folder / "cas" / "cas.db")
    records = [record for (record,) in db.execute("select record from audit order by seq")]
    db.close()
    assert '"code":"cas.admin.forbidden"' in records[-1]
    assert '"event":"keys.rotate"' in records[-1]


def test_readers_and_writers_go_on(house: House) -> None:
    with house.open() as cas:
        cas.owner().create(document())
    opened = state(house)
    repo, stop, problems = SessionRepo(opened.ledger), threading.Event(), []

    def read() -> None:
        while not stop.is_set():
            try:
                if repo.get("kept") is None:
                    problems.append("not found")
            except Exception as error:  # noqa: BLE001  # whatever it is, it is the finding
                problems.append(repr(error))

    def write() -> None:
        while not stop.is_set():
            opened.ledger.write("{}")

    threads = [threading.Thread(target=target) for target in (read, read, write)]
    for thread in threads:
        thread.start()
    for _ in range(15):
        opened.rotate_keys("00" * 32)
    stop.set()
    for thread in threads:
        thread.join()
    opened.close()
    assert problems == []
    state(house).close()


def test_an_altered_row_is_not_carried_over(house: House) -> None:
    with house.open() as cas:
        cas.owner().create(document())
    opened = state(house)
    db = sqlite3.connect(house.folder / "cas" / "cas.db")
    db.execute("delete from sessions")
    db.commit()
    db.close()
    with pytest.raises(StoreCorruptError) as caught:
        opened.rotate_keys("00" * 32)
    assert caught.value.code == "cas.state.rows"
    with pytest.raises(KeyExchangeError):  # one that failed is settled by a start only
        opened.rotate_keys("00" * 32)
    opened.close()


def test_killed_at_any_step_the_old_key_or_the_new_one_holds(house: House) -> None:
    """A process of its own is ended before its n-th step of the exchange, for every step."""
    with house.open() as cas:
        cas.owner().create(document())
        before = fetch(cas)
    outcomes = set()
    for step in range(20):
        old = master_of(house)
        authority = authority_of(house)
        finished = _rotate_and_die(house, step)
        opened = state(house)
        found, following = SessionRepo(opened.ledger).get("kept"), opened.authority()
        opened.close()
        assert found is not None
        # key and authority go together, and whoever kept the old root gets across to a new one
        kept = master_of(house) == old
        assert (following.root == authority.root) is kept
        assert kept or following.handovers[0].former == authority.root
        assert not (house.folder / "cas" / "cas.key.next").exists()
        outcomes.add((finished, master_of(house) == old))
        if finished:
            break
    assert outcomes == {(False, True), (False, False), (True, False)}
    with house.open() as cas:
        assert fetch(cas) == before


def _rotate_and_die(house: House, step: int) -> bool:
    """Exchange the keys in another process that ends before step ``step``; True: it came through."""
    child = os.fork()
    if child == 0:
        status = 1
        try:
            opened = state(house)
            _end_before(step)
            opened.rotate_keys("00" * 32)
            status = 0
        finally:
            os._exit(status)
    _pid, status = os.waitpid(child, 0)
    code = os.waitstatus_to_exitcode(status)
    assert code in (0, KILLED)
    return code == 0


def _end_before(step: int) -> None:
    """End this process before the ``step``-th of what an exchange does: file writes, commit, renames."""
    import adyton.base.auditchain as chain  # noqa: PLC0415
    import adyton.cas.store.state as steps  # noqa: PLC0415

    places: tuple[tuple[object, str], ...] = (
        (steps, "begin_exchange"),
        (steps, "replace_authority"),
        (steps, "rewrite_rows"),
        (chain.AuditChain, "append"),
        (HeadFile, "rekey"),
        (HeadFile, "advance"),
        (Path, "replace"),
    )
    left = step
    for owner, name in places:
        original = getattr(owner, name)

        def counted(*arguments: object, original: object = original, **named: object) -> object:
            nonlocal left
            if left == 0:
                os._exit(KILLED)
            left -= 1
            return original(*arguments, **named)  # type: ignore[operator]  # each is a function

        setattr(owner, name, counted)


def test_a_platform_that_fails_changes_nothing(house: House) -> None:
    house.build().close()
    opened = state(house)
    before = master_of(house)

    class Gone:
        def __getattr__(self, name: str) -> object:
            raise UnavailableError(f"gone: {name}")

    opened.platform = Gone()  # type: ignore[assignment]  # a platform that does not answer
    with pytest.raises(UnavailableError):
        opened.rotate_keys("00" * 32)
    opened.close()
    state(house).close()
    assert master_of(house) == before
