"""Refusals at the attested port, over real TLS: what the peer learns, what is recorded, and what the connection is."""

from __future__ import annotations

import asyncio
import hashlib
import json
import socket
import ssl
import threading
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec
from tests.attestation.ratls.test_certificate import certificate, spki
from tests.cas.documents import APP, POST, PRE, iexec_document, small_document, to_yaml
from tests.cas.house import CAS, Evidence, Running
from tests.platform.world import World, signer

from adyton.attestation.dcap.verify import Verifier
from adyton.attestation.errors import AttestationError
from adyton.attestation.formats.report_data import CAS_ATTESTATION, CAS_CONFIG, CAS_SERVER, legacy_report_data
from adyton.attestation.ratls.certificate import make_certificate, read_certificate
from adyton.attestation.ratls.forms import LEGACY_QUOTES
from adyton.base.db import open_engine
from adyton.base.secret import Secret
from adyton.cas.client.operator import OperatorFiles, make_identity
from adyton.cas.client.tls import CasRefusedError, tls_context
from adyton.cas.face.identity import SERVER_NAME, IdentityProof, identity_nonce, verify_identity
from adyton.cas.store.audit import read_entries
from adyton.platform.simulated.pki import SimulatedVendor
from adyton.web.peercert import server_context, tls_protocol

PRE_ENCLAVE, APP_ENCLAVE = bytes.fromhex(PRE), bytes.fromhex(APP)


@pytest.fixture(scope="module")
def task(cas: Running) -> str:
    """The name of a session as the SMS makes it for a task."""
    document = iexec_document()
    cas.owner().create(to_yaml(document))
    return str(document["name"])


def request(session: str, service: str) -> bytes:
    return json.dumps({"session": session, "service": service}).encode()


def test_a_legacy_certificate_is_refused_for_what_it_is(cas: Running, task: str) -> None:
    """The bare quote of another implementation, of the right enclave: it may be of any time and any protocol."""
    key = ec.generate_private_key(ec.SECP256R1())
    quote = cas.world.platform(APP_ENCLAVE).quote(legacy_report_data(spki(key)))
    der = certificate(quote, key=key, oid=LEGACY_QUOTES[0], now=cas.world.now)
    with pytest.raises(CasRefusedError) as caught:
        cas.post(Evidence(key, der), request(task, "app"))
    assert caught.value.code == "attestation.certificate.legacy"
    assert _last_record(cas)["mrenclave"] == APP


def test_a_security_version_below_the_minimum(cas: Running) -> None:
    """Sessions pin measurements, so the rule is the verifier's; here over the evidence as the CAS got it."""
    evidence = cas.evidence(cas.world.platform(APP_ENCLAVE, isvsvn=1), cas.nonce())
    quote = read_certificate(evidence.certificate).quote
    assert cas.world.verifier().verify(quote, cas.world.policy(APP_ENCLAVE, min_isvsvn=1)).tier
    with pytest.raises(AttestationError) as caught:
        cas.world.verifier().verify(quote, cas.world.policy(APP_ENCLAVE, min_isvsvn=2))
    assert caught.value.code == "attestation.svn"


# what is said of a refusal, and to whom


def _last_record(cas: Running) -> dict[str, Any]:
    engine = open_engine(cas.database / "cas.db")
    try:
        return list(read_entries(engine))[-1].values
    finally:
        engine.dispose()


def _answer(cas: Running, evidence: Evidence | None, body: bytes) -> tuple[int, bytes]:
    """Status and whole body of an answer, as bytes on the wire."""
    opened = cas.connect() if evidence is None else cas.connect(evidence.certificate, evidence.key)
    with opened as connection:
        return connection._exchange("POST", "/v1/config", body, "application/json")


@pytest.mark.parametrize(
    ("enclave", "service", "codes"),  # of the record, and what the peer is told
    [
        ({"mrenclave": b"\x44" * 32}, "app", ("cas.release.measurement", "cas.release.refused")),
        ({"mrenclave": PRE_ENCLAVE}, "app", ("cas.release.measurement", "cas.release.refused")),
        ({"mrenclave": APP_ENCLAVE, "debug": True}, "app", ("attestation.debug", "cas.release.refused")),
        ({"mrenclave": APP_ENCLAVE}, "none", ("cas.session.service_unknown", "cas.session.service_unknown")),
    ],
    ids=["other enclave", "other service", "debug", "unknown service"],
)
def test_the_peer_learns_a_code_and_the_audit_log_the_reason(
    cas: Running, task: str, enclave: dict[str, Any], service: str, codes: tuple[str, str]
) -> None:
    reason, code = codes
    evidence = cas.evidence(cas.world.platform(**enclave), cas.nonce())
    _status, body = _answer(cas, evidence, request(task, service))
    answer = json.loads(body)
    assert set(answer) <= {"type", "title", "status", "detail", "code", "hint"}
    assert (answer["code"], answer["title"]) == (code, code)
    assert "the audit log of the CAS has the reason" in answer["detail"] + answer.get("hint", "")
    secret_of_policy = [
        PRE,
        APP,
        POST,
        enclave["mrenclave"].hex(),
        cas.world.anchor.tier,
        task,
        "service 'app'",
        "MRENCLAVE ",
    ]
    assert not [text for text in secret_of_policy if text.encode() in body]

    record = _last_record(cas)
    assert (record["event"], record["outcome"], record["code"]) == ("release", "refused", reason)
    assert record["mrenclave"] == enclave["mrenclave"].hex()
    assert record["client"] == hashlib.sha256(spki(evidence.key)).hexdigest()
    assert record["detail"]
    if code != "cas.session.service_unknown":
        assert record["tier"] == cas.world.anchor.tier


# who is no enclave of a session cannot find out whether there is one


@pytest.fixture
def kinds_of_sessions(cas: Running, task: str, monkeypatch: pytest.MonkeyPatch) -> dict[str, tuple[str, str]]:
    """Session and service to ask for, and the reason on record, by what is the matter with them."""
    tolerant = small_document(name="lenient", security={"attestation": {"tolerate": ["debug-mode"]}})
    ended = small_document(name="ended", expiry=(cas.world.now + timedelta(minutes=5)).isoformat())
    narrow = small_document(name="narrow", services=[{"name": "app", "mrenclaves": [PRE], "max_activations": 1}])
    for document in (tolerant, ended, narrow):
        cas.owner().create(to_yaml(document))
    monkeypatch.setattr(cas.world, "now", cas.world.now + timedelta(minutes=6))
    return {
        "no session": ("no-such-session", "app"),
        "a session": (task, "app"),
        "one that tolerates more": ("lenient", "app"),
        "one that has ended": ("ended", "app"),
        "another limit": ("narrow", "app"),
        "no service": (task, "no-such-service"),
    }


STRANGERS: dict[str, dict[str, Any]] = {
    "genuine": {"mrenclave": b"\x44" * 32},
    "debug": {"mrenclave": b"\x44" * 32, "debug": True},
    "foreign": {"mrenclave": b"\x44" * 32, "foreign": True},
}


@pytest.mark.parametrize("stranger", STRANGERS.values(), ids=STRANGERS)
def test_a_stranger_gets_one_answer_whatever_it_asks_for(
    cas: Running, kinds_of_sessions: dict[str, tuple[str, str]], stranger: dict[str, Any]
) -> None:
    vendor = SimulatedVendor(Secret(b"another vendor of the same kind!"), signer("other vendor"))
    world = World(vendor, now=cas.world.now) if stranger.get("foreign") else cas.world
    platform = world.platform(stranger["mrenclave"], debug=stranger.get("debug", False))
    answers, reasons = set(), {}
    for kind, (session, service) in kinds_of_sessions.items():
        answers.add(_answer(cas, cas.evidence(platform, cas.nonce()), request(session, service)))
        reasons[kind] = _last_record(cas)["code"]
    assert len(answers) == 1
    assert reasons["no session"] == "cas.session.unknown"
    assert reasons["one that has ended"] == "cas.session.expired"
    assert reasons["no service"] == "cas.session.service_unknown"


def test_the_right_program_on_a_machine_that_is_not_tolerated_is_a_stranger(cas: Running, task: str) -> None:
    """A debug enclave has the measurement and anybody's eyes: it learns what it is itself, not what there is."""
    platform = cas.world.platform(APP_ENCLAVE, debug=True)
    answers = [
        _answer(cas, cas.evidence(platform, cas.nonce()), request(session, "app")) for session in (task, "no-session")
    ]
    assert answers[0] == answers[1]
    assert b"attestation.debug" in answers[0][1]


def test_its_own_enclaves_are_told_what_is_the_matter(
    cas: Running, kinds_of_sessions: dict[str, tuple[str, str]]
) -> None:
    expected = {
        "one that has ended": "cas.session.expired",
        "no service": "cas.session.service_unknown",
        "another limit": "cas.release.refused",
    }
    for kind, code in expected.items():
        evidence = cas.evidence(cas.world.platform(APP_ENCLAVE), cas.nonce())
        assert json.loads(_answer(cas, evidence, request(*kinds_of_sessions[kind]))[1])["code"] == code
    own = cas.enclave(cas.world.platform(PRE_ENCLAVE))
    assert own.fetch("narrow", "app").pwd == "/"
    with pytest.raises(CasRefusedError) as caught:
        own.fetch("narrow", "app")
    assert caught.value.code == "cas.release.activations"


def test_the_metrics_tell_a_stranger_nothing_either(cas: Running, task: str) -> None:
    def counted() -> dict[bytes, bytes]:
        with cas.connect() as connection:
            lines = connection._exchange("GET", "/actuator/prometheus", None, "")[1].splitlines()
        return dict(line.rsplit(b" ", 1) for line in lines if line.startswith(b"cas_releases_total"))

    changed = []
    for session in (task, "no-such-session"):
        before = counted()
        evidence = cas.evidence(cas.world.platform(b"\x44" * 32), cas.nonce())
        _answer(cas, evidence, request(session, "app"))
        changed.append({name for name, value in counted().items() if before.get(name) != value})
    assert changed[0] == changed[1] == {b'cas_releases_total{code="cas.release.refused"}'}


def test_the_work_for_no_session_is_the_work_for_one(cas: Running, task: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Judged as often, so that the time tells nothing; the work is counted, since times on busy machines are noise."""
    judged: list[str] = []
    verify = Verifier.verify_certificate

    def counting(self: Verifier, der: bytes, **asked: Any) -> Any:  # noqa: ANN401  # passed on
        judged.append(session)
        return verify(self, der, **asked)

    monkeypatch.setattr(Verifier, "verify_certificate", counting)
    for session in (task, "no-such-session"):
        _answer(cas, cas.evidence(cas.world.platform(b"\x44" * 32), cas.nonce()), request(session, "app"))
    assert judged == [task] * 2 + ["no-such-session"] * 2


def test_refused_evidence_that_is_not_genuine_has_no_tier(cas: Running, task: str) -> None:
    vendor = SimulatedVendor(Secret(b"another vendor of the same kind!"), signer("other vendor"))
    foreign = World(vendor, now=cas.world.now)
    cas_evidence = cas.evidence(foreign.platform(APP_ENCLAVE), cas.nonce())
    _status, body = _answer(cas, cas_evidence, request(task, "app"))
    assert json.loads(body)["code"] == "attestation.chain.anchor"
    record = _last_record(cas)
    assert record["mrenclave"] == APP
    assert "tier" not in record
    assert foreign.anchor.tier.removeprefix("sim:") in record["detail"]
    assert foreign.anchor.tier.removeprefix("sim:").encode() not in body


def test_what_the_peer_got_wrong_itself_it_is_told(cas: Running) -> None:
    evidence = cas.evidence(cas.world.platform(APP_ENCLAVE), cas.nonce())
    _status, body = _answer(cas, evidence, b'{"session":"a"}')
    assert json.loads(body)["detail"] == "service: Field required"


# the connection


def test_a_session_cannot_be_resumed(cas: Running) -> None:
    """A resumed connection shows no certificate: the CAS would judge what it did not see."""
    context = tls_context()
    session = None
    for _ in range(3):
        with (
            socket.create_connection(("127.0.0.1", cas.attested_port), 10) as raw,
            context.wrap_socket(raw, server_hostname=SERVER_NAME, session=session) as tls,
        ):
            tls.sendall(b"GET /v1/nonce HTTP/1.1\r\nHost: cas\r\nConnection: close\r\n\r\n")
            assert b"200 OK" in tls.recv(4096)
            assert not tls.session_reused
            session = tls.session


def test_a_stock_server_would_resume(cas: Running, tmp_path: Path) -> None:
    """The control of the test before: the same client, against a server that nobody hardened."""
    make_identity(tmp_path)
    files = OperatorFiles(tmp_path)
    server = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    server.load_cert_chain(files.certificate, files.key)
    context, session, reused = tls_context(), None, []
    for _ in range(2):
        ours, theirs = socket.socketpair()
        thread = threading.Thread(target=_greet, args=(server, theirs))
        thread.start()
        with ours, context.wrap_socket(ours, server_hostname=SERVER_NAME, session=session) as tls:
            assert tls.recv(5) == b"hello"
            reused.append(tls.session_reused)
            session = tls.session
        thread.join(10)
    assert reused == [False, True]
    assert cas.attested_port


def _greet(server: ssl.SSLContext, raw: socket.socket) -> None:
    with raw, server.wrap_socket(raw, server_side=True) as tls:
        tls.sendall(b"hello")
        tls.recv(1)


def test_only_tls_1_3(cas: Running) -> None:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    context.maximum_version = ssl.TLSVersion.TLSv1_2
    with socket.create_connection(("127.0.0.1", cas.attested_port), 10) as raw, pytest.raises(ssl.SSLError):
        context.wrap_socket(raw, server_hostname=SERVER_NAME)


def test_neither_end_waits_for_a_delayed_acknowledgement(cas: Running) -> None:
    """TCP_NODELAY at the client, by its socket; at the server, by the option that its protocol sets on connecting."""
    with cas.connect() as connection:
        assert connection._socket.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY)

    with socket.create_server(("127.0.0.1", 0)) as listener:
        client = socket.create_connection(listener.getsockname(), 10)
        accepted, _address = listener.accept()
    options: list[int] = []

    async def run() -> None:
        loop = asyncio.get_running_loop()
        key = ec.generate_private_key(ec.SECP256R1())
        der = certificate(None, key=key, now=cas.world.now)
        context = server_context(x509.load_der_x509_certificate(der), key)
        protocol = tls_protocol(lambda: context, _Silent)
        transport, _protocol = await loop.connect_accepted_socket(protocol, accepted)
        options.append(accepted.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY))
        transport.abort()

    with client, accepted:
        accepted.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 0)
        asyncio.run(run())
    assert options == [1]


class _Silent(asyncio.Protocol):
    """An application protocol that says nothing."""


# the CAS proves itself


def test_evidence_that_was_made_to_ask_a_cas_does_not_make_one(cas: Running) -> None:
    """A peer with the measurement of the CAS, whose evidence is for the other direction."""
    key = ec.generate_private_key(ec.SECP256R1())

    def proof(nonce: bytes, purpose: str) -> IdentityProof:
        claim = identity_nonce(nonce, b"root")
        der = make_certificate(key, cas.world.platform(CAS), purpose, claim, now=cas.world.now)
        return IdentityProof(der, b"root")

    arguments: dict[str, Any] = {
        "nonce": bytes(32),
        "collateral": cas.world.collateral(),
        "policy": cas.world.policy(CAS),
        "now": cas.world.now,
    }
    good = proof(bytes(32), CAS_ATTESTATION)
    assert verify_identity(good, peer_certificate=good.certificate, **arguments).mrenclave == CAS
    for purpose in (CAS_CONFIG, CAS_SERVER):
        bad = proof(bytes(32), purpose)
        with pytest.raises(AttestationError) as caught:
            verify_identity(bad, peer_certificate=bad.certificate, **arguments)
        assert caught.value.code == "attestation.purpose"
    old = proof(bytes(31) + b"\1", CAS_ATTESTATION)
    with pytest.raises(AttestationError) as caught:
        verify_identity(old, peer_certificate=old.certificate, **arguments)
    assert caught.value.code == "attestation.freshness"


def test_a_debug_cas_is_refused_by_its_clients(cas: Running) -> None:
    key = ec.generate_private_key(ec.SECP256R1())
    der = make_certificate(
        key, cas.world.platform(CAS, debug=True), CAS_ATTESTATION, identity_nonce(bytes(32), b"root"), now=cas.world.now
    )
    with pytest.raises(AttestationError) as caught:
        verify_identity(
            IdentityProof(der, b"root"),
            peer_certificate=der,
            nonce=bytes(32),
            collateral=cas.world.collateral(),
            policy=cas.world.policy(CAS),
            now=cas.world.now,
        )
    assert caught.value.code == "attestation.debug"
