"""Enclaves at the attested port, over real TLS: who gets what, and every way to be refused."""

from __future__ import annotations

import json
import threading
from datetime import timedelta
from typing import Any

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.serialization import Encoding, load_pem_private_key
from tests.cas.documents import APP, POST, PRE, iexec_document, small_document, to_yaml
from tests.cas.house import CAS, Evidence, Running
from tests.cas.serving import serving
from tests.platform.world import World, signer

from adyton.attestation.errors import AttestationError
from adyton.attestation.formats.report_data import CAS_SERVER
from adyton.base.errors import UnavailableError
from adyton.base.secret import Secret
from adyton.cas.client.enclaves import AttestationRefusedError
from adyton.cas.client.operator import OperatorFiles, make_identity
from adyton.cas.client.peers import tier_of
from adyton.cas.client.proof import attest_cas
from adyton.cas.client.tls import CasRefusedError, tcp
from adyton.cas.face.identity import CasIdentityError
from adyton.platform.simulated.pki import SimulatedVendor
from adyton.web.peercert import server_context, tls_protocol

PRE_ENCLAVE, APP_ENCLAVE, POST_ENCLAVE = (bytes.fromhex(text) for text in (PRE, APP, POST))


@pytest.fixture(scope="module")
def task(cas: Running) -> str:
    """The name of a session as the SMS makes it for a task."""
    document = iexec_document()
    cas.owner().create(to_yaml(document))
    return str(document["name"])


@pytest.fixture(scope="module")
def tolerant(cas: Running) -> str:
    """The name of a session that accepts debug enclaves."""
    document = small_document(name="tolerant", security={"attestation": {"tolerate": ["debug-mode"]}})
    cas.owner().create(to_yaml(document))
    return "tolerant"


def request(session: str, service: str) -> bytes:
    return json.dumps({"session": session, "service": service}).encode()


def test_each_service_gets_exactly_its_part(cas: Running, task: str) -> None:
    parts = {
        service: cas.enclave(cas.world.platform(mrenclave)).fetch(task, service)
        for service, mrenclave in (("pre-compute", PRE_ENCLAVE), ("app", APP_ENCLAVE), ("post-compute", POST_ENCLAVE))
    }
    for service in iexec_document()["services"]:
        part = parts[service["name"]]
        expected = {name: value for name, value in service["environment"].items() if value is not None}
        assert (part.command, part.pwd, part.environment) == (service["command"], "/", expected)
    paths = {name: {volume.path for volume in part.volumes.values()} for name, part in parts.items()}
    assert paths == {
        "pre-compute": {"/iexec_in"},
        "app": {"/iexec_in", "/iexec_out"},
        "post-compute": {"/iexec_out", "/post-compute-tmp"},
    }
    # volumes are shared between services under one key, and only under that one
    assert parts["pre-compute"].volumes["iexec_in"].key == parts["app"].volumes["iexec_in"].key
    assert parts["app"].volumes["iexec_out"].key == parts["post-compute"].volumes["iexec_out"].key
    assert parts["app"].volumes["iexec_in"].key != parts["app"].volumes["iexec_out"].key


def test_other_services_secrets_are_not_in_the_answer(cas: Running, task: str) -> None:
    evidence = cas.evidence(cas.world.platform(APP_ENCLAVE), cas.nonce())
    answer = json.dumps(cas.post(evidence, request(task, "app")))
    assert "developer-canary" in answer
    assert "dataset-key-canary" not in answer
    assert "7c" * 32 not in answer


def test_the_identity_certificate_is_over_the_attested_key(cas: Running, task: str) -> None:
    part = cas.enclave(cas.world.platform(APP_ENCLAVE)).fetch(task, "app")
    certificate = x509.load_pem_x509_certificate(part.certificate.encode())
    root = x509.load_pem_x509_certificate(part.ca.encode())
    certificate.verify_directly_issued_by(root)
    key = load_pem_private_key(part.private_key.reveal(), None)
    assert certificate.public_key() == key.public_key()
    names = certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    assert names.get_values_for_type(x509.UniformResourceIdentifier) == [f"adyton:{task}/app"]
    assert names.get_values_for_type(x509.DNSName) == []
    assert tier_of(certificate) == cas.world.anchor.tier
    assert (certificate.not_valid_after_utc - cas.world.now).total_seconds() == 4 * 3600


def test_each_fetch_has_a_new_key(cas: Running, task: str) -> None:
    client = cas.enclave(cas.world.platform(APP_ENCLAVE))
    assert client.fetch(task, "app").private_key != client.fetch(task, "app").private_key


def test_a_debug_enclave_is_released_to_where_it_is_tolerated(cas: Running, tolerant: str) -> None:
    assert cas.enclave(cas.world.platform(APP_ENCLAVE, debug=True)).fetch(tolerant, "app").pwd == "/"


def refused(cas: Running, platform: Any, session: str, service: str) -> AttestationRefusedError:  # noqa: ANN401
    with pytest.raises(AttestationRefusedError) as caught:
        cas.enclave(platform).fetch(session, service)
    return caught.value


def test_wrong_measurement(cas: Running, task: str) -> None:
    error = refused(cas, cas.world.platform(b"\x44" * 32), task, "app")
    assert (error.code, error.status) == ("cas.release.refused", 403)
    assert "mrenclaves" in error.hint


def test_another_service_of_the_same_session(cas: Running, task: str) -> None:
    assert refused(cas, cas.world.platform(PRE_ENCLAVE), task, "app").code == "cas.release.refused"


def test_debug_enclave_without_tolerate(cas: Running, task: str) -> None:
    error = refused(cas, cas.world.platform(APP_ENCLAVE, debug=True), task, "app")
    assert (error.code, error.status) == ("cas.release.refused", 403)
    assert "attestation.debug" in error.message


def test_foreign_root(cas: Running, task: str) -> None:
    vendor = SimulatedVendor(Secret(b"another vendor of the same kind!"), signer("other vendor"))
    foreign = World(vendor, now=cas.world.now)
    assert foreign.anchor != cas.world.anchor
    assert refused(cas, foreign.platform(APP_ENCLAVE), task, "app").code == "attestation.chain.anchor"


def test_another_machine_of_the_same_vendor_is_accepted(cas: Running, task: str) -> None:
    assert cas.enclave(cas.world.other_cpu().platform(APP_ENCLAVE)).fetch(task, "app").command


def test_unknown_session_and_service(cas: Running, task: str) -> None:
    platform = cas.world.platform(APP_ENCLAVE)
    assert refused(cas, platform, "no-such-session", "app").code == "cas.release.refused"  # as of any stranger
    assert refused(cas, platform, task, "no-such-service").code == "cas.session.service_unknown"


def test_expired_session(cas: Running, monkeypatch: pytest.MonkeyPatch) -> None:
    expiry = cas.world.now + timedelta(minutes=10)
    cas.owner().create(to_yaml(small_document(name="short", expiry=expiry.isoformat())))
    platform = cas.world.platform(APP_ENCLAVE)
    assert cas.enclave(platform).fetch("short", "app").pwd == "/"
    monkeypatch.setattr(cas.world, "now", expiry)
    assert refused(cas, platform, "short", "app").code == "cas.session.expired"


def test_replayed_evidence(cas: Running, task: str) -> None:
    evidence = cas.evidence(cas.world.platform(APP_ENCLAVE), cas.nonce())
    cas.post(evidence, request(task, "app"))
    with pytest.raises(CasRefusedError) as caught:
        cas.post(evidence, request(task, "app"))
    assert (caught.value.code, caught.value.status) == ("cas.release.nonce", 403)


def test_evidence_is_judged_once_whatever_comes_of_it(cas: Running, task: str) -> None:
    """Refused evidence cannot be tried again, not even by the right enclave, nor for another service."""
    evidence = cas.evidence(cas.world.platform(APP_ENCLAVE), cas.nonce())
    for service, expected in (("pre-compute", "cas.release.refused"), ("app", "cas.release.nonce")):
        with pytest.raises(CasRefusedError) as caught:
            cas.post(evidence, request(task, service))
        assert caught.value.code == expected


def test_one_nonce_in_two_pieces_of_evidence(cas: Running, task: str) -> None:
    nonce = cas.nonce()
    cas.post(cas.evidence(cas.world.platform(APP_ENCLAVE), nonce), request(task, "app"))
    with pytest.raises(CasRefusedError) as caught:
        cas.post(cas.evidence(cas.world.platform(APP_ENCLAVE), nonce), request(task, "app"))
    assert caught.value.code == "cas.release.nonce"


@pytest.mark.parametrize("nonce", [bytes(32), b"\xff" * 32, bytes(16), bytes(64)])
def test_never_issued_nonce(cas: Running, task: str, nonce: bytes) -> None:
    with pytest.raises(CasRefusedError) as caught:
        cas.post(cas.evidence(cas.world.platform(APP_ENCLAVE), nonce), request(task, "app"))
    assert caught.value.code == "cas.release.nonce"


def test_nonces_differ(cas: Running) -> None:
    nonces = {cas.nonce() for _ in range(8)}
    assert len(nonces) == 8
    assert {len(nonce) for nonce in nonces} == {32}


def test_evidence_bound_to_another_key(cas: Running, task: str) -> None:
    """A quote of the right enclave, moved into a certificate over the thief's key."""
    genuine = cas.evidence(cas.world.platform(APP_ENCLAVE), cas.nonce())
    evidence_extension = next(
        extension
        for extension in x509.load_der_x509_certificate(genuine.certificate).extensions
        if extension.oid.dotted_string == "2.23.133.5.4.9"
    )
    stolen = cas.evidence(cas.world.platform(APP_ENCLAVE), cas.nonce())
    moved = _with_extension(stolen, evidence_extension.value)
    with pytest.raises(CasRefusedError) as caught:
        cas.post(moved, request(task, "app"))
    assert caught.value.code == "attestation.key"


def _with_extension(evidence: Evidence, value: x509.ExtensionType) -> Evidence:

    original = x509.load_der_x509_certificate(evidence.certificate)
    builder = (
        x509.CertificateBuilder()
        .subject_name(original.subject)
        .issuer_name(original.issuer)
        .public_key(evidence.key.public_key())
        .serial_number(original.serial_number)
        .not_valid_before(original.not_valid_before_utc)
        .not_valid_after(original.not_valid_after_utc)
        .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
        .add_extension(value, critical=False)
    )

    return Evidence(evidence.key, builder.sign(evidence.key, SHA256()).public_bytes(Encoding.DER))


def test_evidence_for_another_purpose(cas: Running, task: str) -> None:
    evidence = cas.evidence(cas.world.platform(APP_ENCLAVE), cas.nonce(), CAS_SERVER)
    with pytest.raises(CasRefusedError) as caught:
        cas.post(evidence, request(task, "app"))
    assert caught.value.code == "attestation.purpose"


def test_a_certificate_without_evidence(cas: Running, task: str) -> None:

    make_identity(cas.folder / "stranger")
    files = OperatorFiles(cas.folder / "stranger")
    certificate = x509.load_pem_x509_certificate(files.certificate.read_bytes())
    key = load_pem_private_key(files.key.read_bytes(), None)
    assert isinstance(key, ec.EllipticCurvePrivateKey)

    with pytest.raises(CasRefusedError) as caught:
        cas.post(Evidence(key, certificate.public_bytes(Encoding.DER)), request(task, "app"))
    assert caught.value.code == "attestation.certificate.format"


def test_no_certificate(cas: Running, task: str) -> None:
    with cas.connect() as connection, pytest.raises(CasRefusedError) as caught:
        connection.json("POST", "/v1/config", request(task, "app"))
    assert (caught.value.code, caught.value.status) == ("cas.client.certificate", 401)


@pytest.mark.parametrize(
    "body",
    [b"", b"{}", b"[]", b'{"session":"a"}', b'{"session":1,"service":"app"}', b'{"session":"a","service":"b","x":1}'],
)
def test_malformed_requests(cas: Running, body: bytes) -> None:
    evidence = cas.evidence(cas.world.platform(APP_ENCLAVE), cas.nonce())
    with pytest.raises(CasRefusedError) as caught:
        cas.post(evidence, body)
    assert (caught.value.code, caught.value.status) == ("cas.request.invalid", 400)


def test_the_attested_port_has_no_sessions(cas: Running, task: str) -> None:
    with cas.connect() as connection, pytest.raises(CasRefusedError) as caught:
        connection.json("GET", f"/session/{task}")
    assert caught.value.status == 404


# the CAS proves itself


def test_a_client_with_a_policy_refuses_another_cas_before_it_says_anything(cas: Running, task: str) -> None:
    client = cas.enclave(cas.world.platform(APP_ENCLAVE))
    client._policy = cas.world.policy(b"\xcb" * 32)
    with pytest.raises(AttestationError) as caught:
        client.fetch(task, "app")
    assert caught.value.code == "attestation.measurement"


def test_both_ports_prove_the_same_cas(cas: Running) -> None:
    policy = cas.world.policy(CAS)
    rest, attested = (
        attest_cas(tcp("127.0.0.1", port), policy, clock=cas.world.clock) for port in (cas.rest_port, cas.attested_port)
    )
    assert rest.authority_pem == attested.authority_pem
    assert rest.server_spki == attested.server_spki
    assert rest.evidence.mrenclave == CAS


def test_a_relay_with_its_own_key_is_not_the_cas(cas: Running, task: str) -> None:
    """A man in the middle passes everything on, but cannot have the key that the evidence is over."""
    own = cas.evidence(cas.world.platform(b"\x66" * 32), bytes(32), CAS_SERVER)
    context = server_context(x509.load_der_x509_certificate(own.certificate), own.key)
    asked: list[str] = []
    lock = threading.Lock()

    async def relay(scope: dict[str, Any], receive: Any, send: Any) -> None:  # noqa: ANN401, ARG001
        if scope["type"] != "http":
            return
        path = scope["path"] + ("?" + scope["query_string"].decode() if scope["query_string"] else "")
        with lock:
            asked.append(scope["path"])
        with cas.connect() as connection:
            data = connection.text(path).encode()
        await send({"type": "http.response.start", "status": 200, "headers": []})
        await send({"type": "http.response.body", "body": data})

    client = cas.enclave(cas.world.platform(APP_ENCLAVE))
    with serving(relay, tls_protocol(lambda: context)) as port:
        client._connect = tcp("127.0.0.1", port)
        with pytest.raises(CasIdentityError) as caught:
            client.fetch(task, "app")
    assert caught.value.code == "cas.identity.key"
    assert asked == ["/attestation", "/v1/collateral"]


def test_unreachable_is_not_refused(cas: Running) -> None:
    client = cas.enclave(cas.world.platform(APP_ENCLAVE))
    client._connect = tcp("127.0.0.1", 1)
    with pytest.raises(UnavailableError) as caught:
        client.fetch("any", "app")
    assert caught.value.code == "cas.unreachable"
