"""Exchanging an enclave's key: who may, what is left of the old one, and what a kill at any step leaves."""

from __future__ import annotations

import json
import os
import sqlite3
from collections.abc import Iterator
from typing import Any

import pytest
from tests.cas.documents import APP, POST, PRE, small_document, to_yaml
from tests.cas.house import CAS, House, Running

from adyton.attestation.formats.report_data import CAS_CONFIG, CAS_KEYS
from adyton.base.secret import Secret
from adyton.cas.client.answers import EnclaveKeys
from adyton.cas.client.enclaves import AttestationRefusedError
from adyton.cas.client.tls import CasRefusedError
from adyton.cas.face.identity import CasIdentityError
from adyton.cas.releasing.enclavekeys import step
from adyton.cas.releasing.keyring import EnclaveKeys as SecretKeys
from adyton.cas.releasing.keyring import KeyExchangeRefusedError, KeyRing
from adyton.cas.store.audit import AuditEvent, read_entries
from adyton.cas.store.repo import SessionRepo
from adyton.cas.store.state import CasState, open_state
from adyton.cas.wire import KeyRequest

FIRST, SECOND = bytes.fromhex(APP), bytes.fromhex(PRE)
KILLED = 9


def document(**changes: Any) -> bytes:  # noqa: ANN401  # members of a session
    """Two builds of a service with an enclave-key; another service has a part without it."""
    services = [
        {"name": "sms", "image_name": "image", "mrenclaves": [APP, PRE]},
        {"name": "bare", "mrenclaves": [POST]},
    ]
    image = {"name": "image", "injection_files": [{"path": "/key", "content": "$$SCONE::database-key:hex$$"}]}
    keys = [{"name": "database-key", "kind": "enclave-key"}, {"name": "word", "kind": "ascii"}]
    return to_yaml(
        small_document(**{"name": "sms", "services": services, "images": [image], "secrets": keys, **changes})
    )


@pytest.fixture
def running(house: House) -> Iterator[Running]:
    with house.open() as cas:
        cas.owner().create(document())
        yield cas


def ask(cas: Running, step_name: str, generation: int = 0, *, enclave: bytes = FIRST, **place: str) -> EnclaveKeys:
    where = {"session": "sms", "service": "sms", "secret": "database-key", **place}
    return cas.enclave(cas.world.platform(enclave)).exchange_key(
        where["session"], where["service"], where["secret"], step_name, generation
    )


def configured(cas: Running, enclave: bytes = FIRST) -> bytes:
    part = cas.enclave(cas.world.platform(enclave)).fetch("sms", "sms")
    return bytes.fromhex(part.files[0].content.reveal().decode())


def state(house: House) -> CasState:
    return open_state(house.world.platform(CAS), house.folder / "cas", clock=house.world.clock)


def stored_texts(house: House) -> str:
    """The decrypted rows of all sessions of a stopped CAS."""
    opened = state(house)
    db = sqlite3.connect(house.folder / "cas" / "cas.db")
    rows = db.execute("select id, version, body, creator from sessions").fetchall()
    texts = [opened.ledger.keys.sessions.open(i, v, body, creator.encode(), b"") for i, v, body, creator in rows]
    db.close()
    opened.close()
    return b"".join(texts).decode()


def test_an_exchange(running: Running) -> None:
    before = configured(running)
    shown = ask(running, "show")
    assert (shown.generation, shown.key.reveal(), shown.pending) == (1, before, None)
    begun = ask(running, "begin")
    assert (begun.generation, begun.key.reveal(), begun.pending_generation) == (1, before, 2)
    assert begun.pending is not None
    assert configured(running) == before  # until it is committed
    assert ask(running, "show").pending == begun.pending
    done = ask(running, "commit", 2)
    assert (done.generation, done.key, done.pending) == (2, begun.pending, None)
    assert configured(running) == begun.pending.reveal()
    assert ask(running, "commit", 2).key == begun.pending  # an answer may be lost on the way
    entries = {entry.seq: entry for entry in read_entries(_engine(running))}
    values = entries[done.entry].values
    assert entries[done.entry].hash == done.entry_hash
    assert (values["event"], values["outcome"], values["mrenclave"]) == ("key.commit", "done", APP)
    assert values["detail"] == "generation: 2"
    assert before.hex() not in json.dumps([entry.values for entry in entries.values()])


def _engine(cas: Running) -> Any:  # noqa: ANN401  # SQLAlchemy's
    from adyton.base.db import open_engine  # noqa: PLC0415

    return open_engine(cas.database / "cas.db")


def test_taken_back(running: Running) -> None:
    before = configured(running)
    assert ask(running, "begin").pending_generation == 2
    gone = ask(running, "abort", 2)
    assert (gone.generation, gone.key.reveal(), gone.pending) == (1, before, None)
    assert ask(running, "abort", 2).pending is None
    with pytest.raises(AttestationRefusedError) as caught:
        ask(running, "commit", 2)
    assert (caught.value.status, caught.value.code) == (409, "cas.enclave_key.state")
    again = ask(running, "begin")
    assert again.pending_generation == 3
    with pytest.raises(AttestationRefusedError) as caught:  # never replaced while data may be under it
        ask(running, "begin")
    assert (caught.value.status, caught.value.code) == (409, "cas.enclave_key.pending")
    assert ask(running, "commit", 3).generation == 3
    with pytest.raises(AttestationRefusedError):
        ask(running, "abort", 3)


def test_the_sessions_other_enclaves_keep_their_keys(running: Running) -> None:
    other, own = configured(running, SECOND), configured(running)
    ask(running, "begin")
    ask(running, "commit", 2)
    assert configured(running, SECOND) == other
    assert configured(running) != own
    mine = ask(running, "show").key
    ask(running, "begin", enclave=SECOND)
    ask(running, "commit", 2, enclave=SECOND)
    assert ask(running, "show").key == mine
    assert configured(running, SECOND) not in (other, mine.reveal())


@pytest.mark.parametrize(
    ("place", "code"),
    [
        ({"secret": "word"}, "cas.enclave_key.unknown"),
        ({"secret": "none"}, "cas.enclave_key.unknown"),
        ({"service": "bare", "enclave": bytes.fromhex(POST)}, "cas.enclave_key.unknown"),
        ({"service": "bare"}, "cas.release.refused"),
        ({"enclave": b"\x66" * 32}, "cas.release.refused"),
        ({"session": "other"}, "cas.release.refused"),
    ],
    ids=["not an enclave-key", "no such secret", "not in its part", "another's service", "another build", "no session"],
)
def test_who_may_not(running: Running, place: dict[str, Any], code: str) -> None:
    enclave = place.pop("enclave", FIRST)
    for name in ("show", "begin"):
        with pytest.raises(AttestationRefusedError) as caught:
            ask(running, name, enclave=enclave, **place)
        assert caught.value.code == code
    assert ask(running, "show").pending is None


def test_evidence_for_a_configuration_does_not_exchange_keys(running: Running) -> None:
    body = b'{"session":"sms","service":"sms","secret":"database-key","step":"begin","generation":0}'
    for purpose, accepted in ((CAS_CONFIG, False), (CAS_KEYS, True)):
        evidence = running.evidence(running.world.platform(FIRST), running.nonce(), purpose)
        with running.connect(evidence.certificate, evidence.key) as connection:
            if accepted:
                assert connection.json("POST", "/v1/enclave-key", body)["pending"]["generation"] == 2
            else:
                with pytest.raises(CasRefusedError) as caught:
                    connection.json("POST", "/v1/enclave-key", body)
                assert caught.value.status == 403
    with running.connect() as connection, pytest.raises(CasRefusedError) as caught:
        connection.json("POST", "/v1/enclave-key", body)
    assert caught.value.status == 401


@pytest.mark.parametrize(
    "changes", [{"step": "steal"}, {"generation": -1}, {"generation": "1"}, {"secret": ""}, {"more": 1}]
)
def test_malformed_requests(running: Running, changes: dict[str, Any]) -> None:
    request = {"session": "sms", "service": "sms", "secret": "database-key", "step": "show", "generation": 0}
    evidence = running.evidence(running.world.platform(FIRST), running.nonce(), CAS_KEYS)
    with running.connect(evidence.certificate, evidence.key) as connection, pytest.raises(CasRefusedError) as caught:
        connection.json("POST", "/v1/enclave-key", json.dumps({**request, **changes}).encode())
    assert (caught.value.status, caught.value.code) == (400, "cas.request.invalid")


def test_an_enclave_that_accepts_any_cas_takes_no_keys_from_it(running: Running) -> None:
    client = running.enclave(running.world.platform(FIRST), verified=False)
    with pytest.raises(CasIdentityError):
        client.exchange_key("sms", "sms", "database-key", "show")


def test_nothing_that_gives_the_old_key_is_left(house: House) -> None:
    """Neither the key nor the seed is in the decrypted rows, and the file has no older copy of the row."""
    with house.open() as cas:
        cas.owner().create(document())
        before, other = configured(cas), configured(cas, SECOND)
    seed = json.loads(stored_texts(house))["material"]["secrets"]["database-key"]["value"]
    old_row = _body(house)
    with house.open() as cas:
        ask(cas, "begin")
        begun_row = _body(house)
        ask(cas, "commit", 2)
        database = (house.folder / "cas" / "cas.db").read_bytes()
        log = (house.folder / "cas" / "cas.db-wal").read_bytes()
        for row in (old_row, begun_row):
            assert row[-32:] not in database + log
    text = stored_texts(house)
    assert seed not in text
    assert before.hex() not in text
    assert other.hex() in text  # the other build's, which was derived from that seed
    with house.open() as cas:
        last = configured(cas).hex()
        ask(cas, "begin")
        ask(cas, "commit", 3)
    text = stored_texts(house)
    assert last not in text
    assert other.hex() in text


def test_what_a_kill_left_of_the_old_key_is_gone_once_the_cas_runs_again(house: House) -> None:
    """Killed between the commit on disk and the emptying of the database's log, which still has the row before."""
    with house.open() as cas:
        cas.owner().create(document())
        ask(cas, "begin")
    begun_row = _body(house)
    assert not _step_and_die(house, "commit", 2, 3)  # before the fourth of what it does
    assert begun_row[-32:] in _files(house)
    with house.open() as cas:
        assert begun_row[-32:] not in _files(house)
        assert ask(cas, "show").generation == 2


def _files(house: House) -> bytes:
    return b"".join(path.read_bytes() for path in (house.folder / "cas").glob("cas.db*"))


def _body(house: House) -> bytes:
    db = sqlite3.connect(house.folder / "cas" / "cas.db")
    ((body,),) = db.execute("select body from sessions").fetchall()
    db.close()
    return bytes(body)


def test_it_survives_exchanges_of_the_cas_keys_restarts_and_updates(house: House) -> None:
    with house.open() as cas:
        cas.owner().create(document())
        ask(cas, "begin")
        ask(cas, "commit", 2)
        pending = ask(cas, "begin").pending
        key = configured(cas)
    opened = state(house)
    opened.rotate_keys("00" * 32)
    opened.close()
    with house.open() as cas:
        shown = ask(cas, "show")
        assert (shown.key.reveal(), shown.pending, shown.pending_generation) == (key, pending, 3)
        owner = cas.owner()
        owner.create(document(predecessor=owner.show("sms").hash, version="0.3.11"))
        assert ask(cas, "show").pending == pending
        assert ask(cas, "commit", 3).key == pending


def test_killed_at_any_point_every_step_was_taken_or_not(house: House) -> None:
    with house.open() as cas:
        cas.owner().create(document())
        configured(cas)
    for number, name in enumerate(("begin", "abort", "begin", "commit", "begin", "commit")):
        generation = (0, 2, 0, 3, 0, 4)[number]
        before = _ring(house)
        outcomes = set()
        for point in range(20):
            finished = _step_and_die(house, name, generation, point)
            after = _ring(house)
            outcomes.add((finished, after != before))
            if finished or after != before:
                break
        assert outcomes <= {(False, False), (False, True), (True, True)}
        assert after != before
    assert (after.generation, after.pending) == (4, None)


def _ring(house: House) -> KeyRing:
    opened = state(house)
    stored = SessionRepo(opened.ledger).get("sms")
    opened.close()
    assert stored is not None
    item = stored.material.secrets["database-key"]
    return SecretKeys("database-key", item.value, item.rings).ring(FIRST)


def _step_and_die(house: House, name: str, generation: int, point: int) -> bool:
    child = os.fork()
    if child == 0:
        status = 1
        try:
            opened = state(house)
            repo = SessionRepo(opened.ledger)
            stored = repo.get("sms")
            assert stored is not None
            service = stored.session.services[0]
            place = {"session": "sms", "service": "sms", "secret": "database-key"}
            request = KeyRequest.model_validate({**place, "step": name, "generation": generation})
            _end_before(point)
            step(repo, opened.audit, stored, request, AuditEvent(name, ""), service=service, mrenclave=FIRST)
            status = 0
        finally:
            os._exit(status)
    _pid, status = os.waitpid(child, 0)
    code = os.waitstatus_to_exitcode(status)
    assert code in (0, KILLED)
    return code == 0


def _end_before(point: int) -> None:
    """End this process before the ``point``-th of what a step does: the change, the entry, the head, the log."""
    import adyton.cas.store.repo as rows  # noqa: PLC0415
    from adyton.cas.store import ledger  # noqa: PLC0415
    from adyton.cas.store.head import HeadFile  # noqa: PLC0415

    left = point
    for owner, name in (
        (rows, "_store"),
        (ledger, "_store_digest"),
        (HeadFile, "advance"),
        (ledger.Ledger, "checkpoint"),
    ):
        original = getattr(owner, name)

        def counted(*arguments: object, original: object = original) -> object:
            nonlocal left
            if left == 0:
                os._exit(KILLED)
            left -= 1
            return original(*arguments)  # type: ignore[operator]  # each is a function

        setattr(owner, name, counted)


# -- the ring by itself -------------------------------------------------------------------------------------------


def test_rings_keep_what_they_are_when_stored() -> None:
    ring = KeyRing(3, Secret(b"\x01" * 32), 5)
    for each in (ring, ring.begin()):
        assert KeyRing.from_plain(json.loads(json.dumps(each.to_plain()))) == each


def test_an_unknown_generation_is_refused() -> None:
    ring = KeyRing(1, Secret(b"\x01" * 32), 1).begin()
    for generation in (0, 3):
        with pytest.raises(KeyExchangeRefusedError):
            ring.commit(generation)
    assert ring.abort(7) == ring
    assert ring.commit(1) == ring  # that one holds
    with pytest.raises(KeyExchangeRefusedError):
        ring.abort(1)
