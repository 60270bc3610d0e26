"""What a CAS refuses leaves no trace but an entry in the audit log, or not even that where all could fill the disk.

An entry is due where somebody with a key wanted to change something, and where evidence was judged. Who shows no
certificate, what is no request, what no route takes and what is read in vain is counted by status in the metrics and
nowhere else; so are refusals beyond the log's rate (tests/cas/test_refusals.py).
"""

from __future__ import annotations

import base64
import json
import sqlite3
from collections.abc import Callable, Iterator
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import pytest
from tests.cas.documents import APP, small_document, to_yaml
from tests.cas.house import Evidence, House, Running
from tests.cas.process import CasProcess, cas_process
from tests.platform.world import World

from adyton.cas.client.tls import TlsConnection

CANARY: Final = "canary-9d41c7"
STRANGER: Final = b"\x44" * 32
AUDIT_TABLES: Final = {"audit", "audit_head", "state"}  # the state counts the entries
LIMITS: Final = {"ADYTON_CAS_REFUSALS_PER_S": "100000", "ADYTON_CAS_AUDITED_REFUSALS_PER_S": "100000"}


@dataclass(frozen=True, slots=True)
class Case:
    """A request that must be refused: its answer, and the code of the entry about it; empty where none is due."""

    send: Callable[[Running], tuple[int, bytes]]
    status: int
    code: str = ""


def exchange(connection: TlsConnection, method: str, path: str, body: bytes | None) -> tuple[int, bytes]:
    with connection:
        return connection._exchange(method, path, body, "application/octet-stream")


def rest(method: str, path: str, body: bytes | None = None, *, who: str = "owner") -> Callable[[Running], Any]:
    return lambda cas: exchange(cas.owner(who)._open(), method, path, body)


def nobody(method: str, path: str, body: bytes | None = None) -> Callable[[Running], Any]:
    """At the REST port without a client certificate."""

    def send(cas: Running) -> tuple[int, bytes]:
        return exchange(Running(cas.world, cas.database, cas.folder, 0, cas.rest_port).connect(), method, path, body)

    return send


def asked(session: str, service: str = "app", **more: object) -> bytes:
    return json.dumps({"session": session, "service": service, **more}).encode()


def enclave(body: bytes, mrenclave: bytes = STRANGER, path: str = "/v1/config", **how: Any) -> Callable[[Running], Any]:  # noqa: ANN401
    """At the attested port, with fresh evidence unless ``nonce`` says otherwise."""

    def send(cas: Running) -> tuple[int, bytes]:
        nonce = how["nonce"] if "nonce" in how else cas.nonce()
        shown = cas.evidence(cas.world.platform(mrenclave, debug=how.get("debug", False)), nonce)
        return exchange(cas.connect(shown.certificate, shown.key), "POST", path, body)

    return send


def replayed(cas: Running) -> tuple[int, bytes]:
    shown: Evidence = cas.evidence(cas.world.platform(bytes.fromhex(APP)), cas.nonce())
    assert exchange(cas.connect(shown.certificate, shown.key), "POST", "/v1/config", asked("kept"))[0] == 200
    return exchange(cas.connect(shown.certificate, shown.key), "POST", "/v1/config", asked("kept"))


def document(**changes: Any) -> bytes:  # noqa: ANN401
    secret = {"name": "s", "kind": "ascii", "value": CANARY}
    return to_yaml(small_document(**{"name": "new", "secrets": [secret], **changes}))


CASES: Final[dict[str, Case]] = {
    "no YAML": Case(rest("POST", "/session", b"name: [" + CANARY.encode()), 400, "cas.session.yaml"),
    "no session": Case(rest("POST", "/session", to_yaml({"name": CANARY})), 400, "cas.session.invalid"),
    "an unknown key": Case(rest("POST", "/session", document(unexpected=CANARY)), 400, "cas.session.invalid"),
    "an end that is past": Case(
        rest("POST", "/session", document(expiry="2020-01-01T00:00:00Z")), 400, "cas.session.invalid"
    ),
    "a name that is taken": Case(rest("POST", "/session", document(name="kept")), 409, "cas.session.exists"),
    "an update of nothing": Case(rest("POST", "/session", document(predecessor="00" * 32)), 404, "cas.session.unknown"),
    "an update of another version": Case(
        rest("POST", "/session", document(name="kept", predecessor="00" * 32)), 409, "cas.session.predecessor"
    ),
    "an update by another": Case(
        rest("POST", "/session", document(name="kept", predecessor="00" * 32), who="other"),
        403,
        "cas.session.forbidden",
    ),
    "too large": Case(rest("POST", "/session", CANARY.encode() * 100_000), 413),
    "no certificate": Case(nobody("POST", "/session", document()), 401),
    "read: no certificate": Case(nobody("GET", "/session/kept"), 401),
    "read: no such session": Case(rest("GET", f"/session/{CANARY}"), 404),
    "read: another's session": Case(rest("GET", "/session/kept", who="other"), 404),
    "read: no cursor": Case(rest("GET", f"/session?after={CANARY}"), 400),
    "no nonce": Case(rest("GET", "/attestation"), 400),
    "no route": Case(rest("POST", f"/{CANARY}", CANARY.encode()), 404),
    "no method": Case(rest("DELETE", "/session/kept"), 405),
    "no administrator": Case(rest("POST", "/admin/rotate-keys"), 403, "cas.admin.forbidden"),
    "attested: a stranger": Case(enclave(asked("kept")), 403, "cas.release.measurement"),
    "attested: no session": Case(enclave(asked(CANARY)), 403, "cas.session.unknown"),
    "attested: no service": Case(enclave(asked("kept", "x"), bytes.fromhex(APP)), 404, "cas.session.service_unknown"),
    "attested: debug": Case(enclave(asked("kept"), bytes.fromhex(APP), debug=True), 403, "attestation.debug"),
    "attested: a nonce of nobody": Case(enclave(asked("kept"), nonce=bytes(32)), 403, "cas.release.nonce"),
    "attested: evidence for another purpose": Case(
        enclave(asked("kept", secret="s", step="begin"), bytes.fromhex(APP), "/v1/enclave-key"),
        403,
        "attestation.purpose",
    ),
    "attested: no request": Case(enclave(CANARY.encode()), 400),
    "attested: a member too many": Case(enclave(asked("kept", x=CANARY)), 400),
    "attested: too large": Case(enclave(CANARY.encode() * 1000), 413),
    "attested: no certificate": Case(
        lambda cas: exchange(cas.connect(), "POST", "/v1/config", asked("kept")), 401
    ),
    "attested: no such step": Case(enclave(asked("kept", step=CANARY), path="/v1/enclave-key"), 400),
}  # fmt: skip


@pytest.fixture(scope="module")
def program(services: tuple[World, str], tmp_path_factory: pytest.TempPathFactory) -> Iterator[CasProcess]:
    world, url = services
    with cas_process(House(world, url, tmp_path_factory.mktemp("refused")), **LIMITS) as running:
        running.cas.owner().create(to_yaml(small_document(name="kept")))
        running.cas.owner("other")
        yield running
        assert running.process.poll() is None
        assert "Traceback" not in running.log


@dataclass(frozen=True, slots=True)
class Traces:
    """What a CAS has on disk: its tables but for the audit log's, its files, and the records of that log."""

    tables: dict[str, list[tuple[Any, ...]]]
    files: set[str]
    records: list[str]


def traces(cas: Running) -> Traces:
    with closing(sqlite3.connect(f"file:{cas.database}/cas.db?mode=ro", uri=True)) as db:
        names = [row[0] for row in db.execute("select name from sqlite_master where type = 'table'")]
        tables = {
            name: db.execute(f"select * from {name} order by 1").fetchall()  # noqa: S608  # its own tables' names
            for name in names
            if name not in AUDIT_TABLES
        }
        records = [row[0] for row in db.execute("select record from audit order by seq")]
    files = {str(path.relative_to(cas.database)) for path in cas.database.rglob("*") if path.is_file()}
    return Traces(tables, {name for name in files if not name.startswith("cas.db-")}, records)


@pytest.mark.parametrize("case", CASES.values(), ids=CASES)
def test_a_refusal_leaves_an_entry_or_nothing(program: CasProcess, case: Case) -> None:
    before = traces(program.cas)
    status, body = case.send(program.cas)
    assert status == case.status
    assert CANARY.encode() not in body
    after = traces(program.cas)
    assert after.tables == before.tables
    assert after.files == before.files
    added = after.records[len(before.records) :]
    assert after.records[: len(before.records)] == before.records
    assert [json.loads(record)["code"] for record in added] == ([case.code] if case.code else [])
    for record in added:
        assert json.loads(record)["outcome"] == "refused"
        assert CANARY not in record


def test_evidence_that_is_shown_again_leaves_an_entry_for_each_time(program: CasProcess) -> None:
    before = traces(program.cas)
    assert replayed(program.cas)[0] == 403
    added = [json.loads(record) for record in traces(program.cas).records[len(before.records) :]]
    assert [record["outcome"] for record in added] == ["released", "refused"]
    assert added[-1]["code"] == "cas.release.nonce"


def test_no_byte_of_what_was_refused_is_anywhere(program: CasProcess) -> None:
    for case in CASES.values():
        case.send(program.cas)
    ours = [path for path in Path(program.cas.database).rglob("*") if path.is_file()]
    metrics = exchange(program.cas.connect(), "GET", "/actuator/prometheus", None)[1]
    found = b"".join(path.read_bytes() for path in ours) + program.log.encode() + metrics
    canary = CANARY.encode()
    for form in (canary, canary.hex().encode(), base64.b64encode(canary)[:-4]):
        assert form not in found
