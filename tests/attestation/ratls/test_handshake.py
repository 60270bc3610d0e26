"""Mutually attested TLS over real sockets: every refusal, from both ends, and what the refused end learns of it."""

from __future__ import annotations

import base64
import contextlib
import socket
import ssl
from dataclasses import replace
from datetime import timedelta
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from OpenSSL import SSL, crypto
from tests.attestation.ends import CLIENT, SERVER, Ends, new_key
from tests.attestation.ratls.test_certificate import certificate, spki, tagged
from tests.attestation.ratls.test_forms import key_claims
from tests.platform.world import World, mrsigner_of, signer

from adyton.attestation.formats.report_data import CAS_CONFIG, CAS_SERVER, legacy_report_data, report_data
from adyton.attestation.ratls.certificate import extract, make_certificate
from adyton.attestation.ratls.handshake import (
    HandshakeError,
    Identity,
    nonce_of,
    server_name,
)
from adyton.base.secret import Secret
from adyton.platform.simulated.pki import SimulatedVendor

LEGACY = x509.ObjectIdentifier("1.2.840.113741.1337.6")


@pytest.fixture
def ends(world: World) -> Ends:
    return Ends(world, world)


# accepted


def test_both_ends_attest_each_other_in_one_handshake(ends: Ends) -> None:
    assert ends.connect() == b"welcome"
    assert (ends.outcome, ends.audit, ends.seen) == ("served", [], [])
    assert ends.server_nodelay


def test_a_signers_policy_accepts_either_end(ends: Ends) -> None:
    by_signer = {"mrenclaves": frozenset(), "mrsigners": frozenset({mrsigner_of()}), "isvprodid": 0}
    ends.client_policy = replace(ends.client_policy, **by_signer)
    ends.server_policy = replace(ends.server_policy, **by_signer)
    assert ends.connect() == b"welcome"


def test_a_self_signed_certificate_is_judged_once_though_openssl_asks_twice(ends: Ends) -> None:
    """A single-use nonce that was spent by the first call must not be found spent by the second."""
    calls: list[int] = []
    context = SSL.Context(SSL.TLS_SERVER_METHOD)

    def count(_connection: SSL.Connection, _peer: crypto.X509, error: int, _depth: int, _ok: int) -> bool:
        calls.append(error)
        return True

    context.set_verify(SSL.VERIFY_PEER, count)
    server = Identity(ends.certify(bytes(32)), ends.server_key)
    _handshake_in_memory(context, server, Identity(ends.evidence(ends.nonce()), ends.key))
    assert len(calls) > 1  # the trap is real in the OpenSSL of this test

    assert ends.connect() == b"welcome"
    assert ends.judged == 1


def _handshake_in_memory(context: SSL.Context, server: Identity, client: Identity) -> None:
    other = SSL.Context(SSL.TLS_CLIENT_METHOD)
    other.set_verify(SSL.VERIFY_NONE, lambda *_arguments: True)
    ends = []
    for made, identity in ((context, server), (other, client)):
        made.use_certificate(x509.load_der_x509_certificate(identity.certificate))
        made.use_privatekey(identity.key)
        ends.append(SSL.Connection(made, None))
    accepting, connecting = ends
    accepting.set_accept_state()
    connecting.set_connect_state()
    for _ in range(4):
        for one, two in ((connecting, accepting), (accepting, connecting)):
            with contextlib.suppress(SSL.WantReadError):
                one.do_handshake()
            with contextlib.suppress(SSL.WantReadError):
                two.bio_write(one.bio_read(1 << 16))


# refused by the server


def test_wrong_measurement_of_the_client(ends: Ends) -> None:
    ends.client_mrenclave = b"\x66" * 32
    assert ends.refused() == "attestation.measurement"


def test_debug_client(ends: Ends) -> None:
    ends.client = {"debug": True}
    assert ends.refused() == "attestation.debug"


def test_security_version_of_the_client_too_low(ends: Ends) -> None:
    ends.client_policy = replace(ends.client_policy, min_isvsvn=2)
    ends.client = {"isvsvn": 1}
    assert ends.refused() == "attestation.svn"


def test_client_on_the_platform_of_another_root(ends: Ends) -> None:
    vendor = SimulatedVendor(Secret(b"another vendor of the same kind!"), signer("other vendor"))
    ends.client_world = World(vendor, now=ends.world.now)
    assert ends.refused() == "attestation.chain.anchor"


def test_replayed_certificate_and_quote(ends: Ends) -> None:
    """Even by the one that holds its key, even if it was accepted before."""
    identity = Identity(ends.evidence(ends.nonce()), ends.key)
    assert ends.connect(identity) == b"welcome"
    assert ends.refused(identity) == "cas.release.nonce"


def test_evidence_that_was_refused_is_not_judged_again(ends: Ends) -> None:
    ends.client_mrenclave = b"\x66" * 32
    identity = Identity(ends.evidence(ends.nonce()), ends.key)
    assert ends.refused(identity) == "attestation.measurement"
    ends.audit.clear()
    assert ends.refused(identity) == "cas.release.nonce"


@pytest.mark.parametrize("nonce", [bytes(32), b"\xff" * 32, bytes(16)])
def test_never_issued_nonce(ends: Ends, nonce: bytes) -> None:
    assert ends.refused(Identity(ends.evidence(nonce), ends.key)) == "cas.release.nonce"


def test_old_nonce(ends: Ends) -> None:
    nonce = ends.book.issue(ends.world.now - timedelta(minutes=3))
    assert ends.refused(Identity(ends.evidence(nonce), ends.key)) == "cas.release.nonce"


def test_no_nonce(ends: Ends) -> None:
    """The claims of an implementation that never sets one."""
    claims = key_claims(ends.key)
    quote = ends.world.platform(CLIENT).quote(report_data(claims))
    identity = Identity(certificate(tagged(quote, claims), key=ends.key, now=ends.world.now), ends.key)
    assert ends.refused(identity) == "attestation.claims"


def test_legacy_extension_only(ends: Ends) -> None:
    quote = ends.world.platform(CLIENT).quote(legacy_report_data(spki(ends.key)))
    identity = Identity(certificate(quote, key=ends.key, oid=LEGACY, now=ends.world.now), ends.key)
    assert ends.refused(identity) == "attestation.certificate.legacy"


def test_quote_bound_to_another_key(ends: Ends) -> None:
    thief = new_key()
    stolen = extract(ends.evidence(ends.nonce()))
    identity = Identity(certificate(tagged(*stolen), key=thief, now=ends.world.now), thief)
    assert ends.refused(identity) == "attestation.key"


def test_evidence_for_another_purpose(ends: Ends) -> None:
    identity = Identity(ends.evidence(ends.nonce(), purpose=CAS_SERVER), ends.key)
    assert ends.refused(identity) == "attestation.purpose"


def test_expired_collateral(ends: Ends) -> None:
    stale, later = ends.world.collateral(), ends.world.now + timedelta(days=40)
    ends.world, ends.client_world = World(ends.world.vendor, now=later), World(ends.world.vendor, now=later)
    ends.client_world.collateral = lambda: stale  # type: ignore[method-assign]  # what a server never refreshed
    assert ends.refused() == "attestation.validity"


def test_certificate_without_its_private_key(ends: Ends, tmp_path: Path) -> None:
    """A copied certificate is of no use: whoever shows it cannot sign the handshake."""
    stolen = ends.evidence(ends.nonce())
    chain = tmp_path / "stolen.pem"
    chain.write_bytes(
        x509.load_der_x509_certificate(stolen).public_bytes(Encoding.PEM) + _key_with_public_half_of(stolen)
    )
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    context.load_cert_chain(chain)
    with (
        ends.listening() as port,
        socket.create_connection(("127.0.0.1", port), 10) as raw,
        context.wrap_socket(raw, server_hostname=server_name(bytes(32))) as tls,
        pytest.raises(ssl.SSLError),
    ):
        tls.recv(100)
    assert ends.outcome == "attestation.handshake.broken"


def _key_with_public_half_of(certificate_der: bytes) -> bytes:
    """An RFC 5915 key that says it belongs to the certificate; its private half is another's."""
    public = x509.load_der_x509_certificate(certificate_der).public_key()
    point = public.public_bytes(Encoding.X962, PublicFormat.UncompressedPoint)
    scalar = new_key().private_numbers().private_value.to_bytes(32, "big")
    curve = bytes.fromhex("06082a8648ce3d030107")
    bits = b"\x03\x42\x00" + point
    body = b"\x02\x01\x01\x04\x20" + scalar + b"\xa0\x0a" + curve + b"\xa1\x44" + bits
    text = base64.encodebytes(b"\x30" + bytes([len(body)]) + body)
    return b"-----BEGIN EC PRIVATE KEY-----\n" + text + b"-----END EC PRIVATE KEY-----\n"


def test_no_client_certificate(ends: Ends) -> None:
    context = SSL.Context(SSL.TLS_CLIENT_METHOD)
    context.set_verify(SSL.VERIFY_NONE, lambda *_arguments: True)
    with ends.listening() as port:
        connection = SSL.Connection(context, socket.create_connection(("127.0.0.1", port), 10))
        connection.set_tlsext_host_name(server_name(bytes(32)).encode())
        connection.set_connect_state()
        with pytest.raises(SSL.Error):
            _exchange(connection)
        connection.close()
    assert ends.outcome == "attestation.handshake.broken"
    assert ends.judged == 0


def _exchange(connection: SSL.Connection) -> bytes:
    """Shake hands and read on a socket that pyOpenSSL sees as non-blocking."""
    while True:
        try:
            connection.do_handshake()
            return bytes(connection.recv(100))
        except SSL.WantReadError:
            continue


# refused by the client


def test_wrong_measurement_of_the_server(ends: Ends) -> None:
    ends.server_mrenclave = b"\x66" * 32
    assert ends.refuses() == "attestation.measurement"


def test_debug_server(ends: Ends) -> None:
    ends.server = {"debug": True}
    assert ends.refuses() == "attestation.debug"


def test_server_evidence_over_an_old_nonce(ends: Ends) -> None:
    ends.server_nonce = lambda _nonce: b"an older connection's" + bytes(11)
    assert ends.refuses() == "attestation.freshness"


def test_server_evidence_without_a_nonce(ends: Ends) -> None:
    claims = key_claims(ends.server_key)
    quote = ends.world.platform(SERVER).quote(report_data(claims))
    der = certificate(tagged(quote, claims), key=ends.server_key, now=ends.world.now)
    ends.show = lambda _nonce: der
    assert ends.refuses() == "attestation.claims"


def test_client_evidence_shown_by_a_server(ends: Ends) -> None:
    """What an enclave made to ask a CAS must not make it a CAS."""

    def certify(nonce: bytes) -> bytes:
        return make_certificate(ends.server_key, ends.world.platform(SERVER), CAS_CONFIG, nonce, now=ends.world.now)

    ends.show = certify
    assert ends.refuses() == "attestation.purpose"


def test_a_server_on_the_platform_of_another_root(ends: Ends) -> None:
    vendor = SimulatedVendor(Secret(b"another vendor of the same kind!"), signer("other vendor"))
    ends.server_policy = World(vendor, now=ends.world.now).policy(SERVER)
    assert ends.refuses() == "attestation.chain.anchor"


def test_a_server_certificate_over_another_key(ends: Ends) -> None:
    """Its own code goes wrong: OpenSSL has no key for what it is to show, and shows nothing."""
    other = new_key()
    ends.show = lambda nonce: make_certificate(
        other, ends.world.platform(SERVER), CAS_SERVER, nonce, now=ends.world.now
    )
    with pytest.raises(HandshakeError):
        ends.connect()
    assert (ends.judged, ends.outcome) == (0, "attestation.handshake.broken")


# no handshake at all


def test_a_client_without_a_nonce_gets_no_server_certificate(ends: Ends) -> None:
    context = SSL.Context(SSL.TLS_CLIENT_METHOD)
    context.set_verify(SSL.VERIFY_NONE, lambda *_arguments: True)
    for name in (b"", b"cas.adyton.internal", b"short.nonce.ra-tls.invalid"):
        with ends.listening() as port:
            connection = SSL.Connection(context, socket.create_connection(("127.0.0.1", port), 10))
            if name:
                connection.set_tlsext_host_name(name)
            connection.set_connect_state()
            with pytest.raises(SSL.Error):
                _exchange(connection)
            connection.close()
        assert ends.outcome == "attestation.handshake.nonce"


@pytest.mark.parametrize("garbage", [b"", b"GET / HTTP/1.1\r\n\r\n", b"\x16\x03\x01" + bytes(200)])
def test_what_is_no_tls_ends_in_one_error(ends: Ends, garbage: bytes) -> None:
    with ends.listening() as port, socket.create_connection(("127.0.0.1", port), 10) as sock:
        sock.sendall(garbage)
    assert ends.outcome == "attestation.handshake.broken"


def test_tls_1_2_is_refused(ends: Ends) -> None:
    context = SSL.Context(SSL.TLS_CLIENT_METHOD)
    context.set_max_proto_version(SSL.TLS1_2_VERSION)
    with ends.listening() as port:
        connection = SSL.Connection(context, socket.create_connection(("127.0.0.1", port), 10))
        connection.set_tlsext_host_name(server_name(bytes(32)).encode())
        connection.set_connect_state()
        with pytest.raises(SSL.Error):
            _exchange(connection)
        connection.close()
    assert ends.judged == 0


def test_a_session_of_an_earlier_connection_does_not_skip_the_verdict(ends: Ends) -> None:
    """The client keeps whatever ticket it gets and offers it again; the server judges its certificate all the same."""
    context = SSL.Context(SSL.TLS_CLIENT_METHOD)
    context.set_verify(SSL.VERIFY_NONE, lambda *_arguments: True)
    context.set_session_cache_mode(SSL.SESS_CACHE_CLIENT)
    session = None
    for number in (1, 2):
        with ends.listening() as port:
            connection = SSL.Connection(context, socket.create_connection(("127.0.0.1", port), 10))
            connection.use_certificate(x509.load_der_x509_certificate(ends.evidence(ends.nonce())))
            connection.use_privatekey(ends.key)
            connection.set_tlsext_host_name(server_name(bytes(32)).encode())
            if session is not None:
                connection.set_session(session)
            connection.set_connect_state()
            assert _exchange(connection) == b"welcome"
            session = connection.get_session()
            connection.close()
        assert (ends.judged, ends.outcome) == (number, "served")


@pytest.mark.parametrize("nonce", [bytes(16), bytes(32), bytes(range(100, 124)), b"\xff" * 31])
def test_nonces_travel_in_server_names(nonce: bytes) -> None:
    name = server_name(nonce)
    assert max(map(len, name.split("."))) <= 63
    assert nonce_of(name.encode()) == nonce_of(name.upper().encode()) == nonce


@pytest.mark.parametrize(
    "name",
    [
        None,
        b"",
        b"host",
        server_name(bytes(15)).encode(),
        server_name(bytes(33)).encode(),
        b"1" + b".nonce.ra-tls.invalid",
    ],
)
def test_other_names_carry_no_nonce(name: bytes | None) -> None:
    assert nonce_of(name) is None
