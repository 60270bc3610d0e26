"""Services that the CAS attested, talking plain mTLS on stock TLS; and who does not get through."""

from __future__ import annotations

import socket
import ssl
import threading
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat, PublicFormat
from cryptography.x509.oid import NameOID
from tests.cas.documents import APP, POST, iexec_document, to_yaml
from tests.cas.house import Running

from adyton.cas.client.peers import (
    TIER_OID,
    PeerError,
    ServiceIdentity,
    check_peer,
    mutual_context,
    service_identity,
    tier_of,
)
from adyton.cas.face.authority import Authority

NOW = datetime.now(UTC).replace(microsecond=0)
TIER = "sim:" + "ab" * 32
APP_ID, POST_ID = ServiceIdentity("s", "app", TIER), ServiceIdentity("s", "post-compute", TIER)


def pem(key: ec.EllipticCurvePrivateKey) -> bytes:
    return key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())


@dataclass
class Issuer:
    """A CAS's authority that writes identity files as an agent would have them."""

    folder: Path
    authority: Authority

    def files(self, identity: ServiceIdentity, now: datetime = NOW) -> tuple[Path, Path]:
        key = ec.generate_private_key(ec.SECP256R1())
        spki = key.public_key().public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
        file, root = self.folder / f"{identity.service}.pem", self.folder / "ca.pem"
        file.write_bytes(pem(key) + self.authority.issue_identity(spki, identity, now))
        root.write_text(self.authority.root_pem)
        return file, root


@pytest.fixture
def issuer(tmp_path: Path) -> Issuer:
    return Issuer(tmp_path, Authority.create(NOW - timedelta(days=1)))


def talk(client: ssl.SSLContext, server: ssl.SSLContext) -> tuple[bytes | None, bytes | None]:
    """What each end gets to see of the other (DER); an error of the handshake where there is none."""
    ours, theirs = socket.socketpair()
    seen: list[bytes | None] = []
    failures: list[Exception] = []

    def serve() -> None:
        with theirs:
            try:
                with server.wrap_socket(theirs, server_side=True) as tls:
                    seen.append(tls.getpeercert(binary_form=True))
                    tls.sendall(b"hello")
            except OSError as error:
                failures.append(error)

    thread = threading.Thread(target=serve)
    thread.start()
    try:
        with ours, client.wrap_socket(ours, server_hostname="peer") as tls:
            peer = tls.getpeercert(binary_form=True)
            assert tls.version() == "TLSv1.3"
            assert tls.recv(5) == b"hello"
    finally:
        thread.join(10)
    assert not failures
    return peer, seen[0]


def test_two_services_of_one_session(issuer: Issuer) -> None:
    app, root = issuer.files(APP_ID)
    post, _root = issuer.files(POST_ID)
    at_client, at_server = talk(mutual_context(app, root, server=False), mutual_context(post, root, server=True))
    assert check_peer(at_client, session="s", services={"post-compute"}, tiers={TIER}) == POST_ID
    assert check_peer(at_server, session="s", services={"app", "pre-compute"}, tiers={TIER}) == APP_ID


def test_the_certificates_of_a_real_attestation(cas: Running, tmp_path: Path) -> None:
    document = iexec_document()
    cas.owner().create(to_yaml(document))
    contexts = []
    for service, measurement in (("app", APP), ("post-compute", POST)):
        part = cas.enclave(cas.world.platform(bytes.fromhex(measurement))).fetch(document["name"], service)
        file, root = tmp_path / f"{service}.pem", tmp_path / "ca.pem"
        file.write_bytes(part.private_key.reveal() + part.certificate.encode())
        root.write_text(part.ca)
        contexts.append(mutual_context(file, root, server=service == "post-compute"))
    at_client, at_server = talk(*contexts)
    for der, service in ((at_client, "post-compute"), (at_server, "app")):
        who = check_peer(der, session=document["name"], services={service}, tiers={cas.world.anchor.tier})
        assert who.service == service


@pytest.mark.parametrize(
    ("other", "code"),
    [
        (ServiceIdentity("t", "app", TIER), "cas.peer.session"),
        (ServiceIdentity("s", "pre-compute", TIER), "cas.peer.service"),
        (ServiceIdentity("s", "app", "sim:" + "cd" * 32), "cas.peer.tier"),
        (ServiceIdentity("s", "app", "intel"), "cas.peer.tier"),
    ],
    ids=["other session", "other service", "other tier", "tier that is not asked for"],
)
def test_a_service_that_is_not_meant(issuer: Issuer, other: ServiceIdentity, code: str) -> None:
    """OpenSSL lets all of them through: they are attested services, only not this one."""
    file, root = issuer.files(other)
    server, _root = issuer.files(POST_ID)
    _at_client, at_server = talk(mutual_context(file, root, server=False), mutual_context(server, root, server=True))
    with pytest.raises(PeerError) as caught:
        check_peer(at_server, session="s", services={"app"}, tiers={TIER})
    assert caught.value.code == code


def test_a_service_of_another_cas(issuer: Issuer, tmp_path: Path) -> None:
    (tmp_path / "other").mkdir()
    foreign = Issuer(tmp_path / "other", Authority.create(NOW))
    server, root = issuer.files(POST_ID)
    client, _foreign_root = foreign.files(APP_ID)
    with pytest.raises(OSError, match=r"alert|certificate|reset|EOF"):
        talk(mutual_context(client, root, server=False), mutual_context(server, root, server=True))


def test_a_replaced_authority_hands_over_with_both_roots(issuer: Issuer, tmp_path: Path) -> None:
    (tmp_path / "new").mkdir()
    newer = Issuer(tmp_path / "new", Authority.create(NOW))
    old, old_root = issuer.files(APP_ID)
    new, new_root = newer.files(POST_ID)
    both = tmp_path / "both.pem"
    both.write_bytes(old_root.read_bytes() + new_root.read_bytes())
    at_client, at_server = talk(mutual_context(old, both, server=False), mutual_context(new, both, server=True))
    assert check_peer(at_client, session="s", services={"post-compute"}, tiers={TIER}) == POST_ID
    assert check_peer(at_server, session="s", services={"app"}, tiers={TIER}) == APP_ID


def test_an_identity_that_ran_out(issuer: Issuer) -> None:
    late, root = issuer.files(APP_ID, NOW - timedelta(hours=5))
    server, _root = issuer.files(POST_ID)
    with pytest.raises(OSError, match=r"alert|expired|reset|EOF"):
        talk(mutual_context(late, root, server=False), mutual_context(server, root, server=True))


def test_no_certificate(issuer: Issuer) -> None:
    server, root = issuer.files(POST_ID)
    client = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    client.check_hostname = False
    client.load_verify_locations(root)
    with pytest.raises(OSError, match=r"alert|certificate|reset|EOF"):
        talk(client, mutual_context(server, root, server=True))
    with pytest.raises(PeerError):
        check_peer(None, session="s", services={"app"}, tiers={TIER})


def test_the_certificate_of_the_cas_itself_is_no_services(issuer: Issuer) -> None:
    key = ec.generate_private_key(ec.SECP256R1())
    file = issuer.folder / "cas.pem"
    file.write_bytes(pem(key) + issuer.authority.issue_server(key.public_key(), (), NOW))
    server, root = issuer.files(POST_ID)
    with pytest.raises(OSError, match=r"alert|purpose|reset|EOF"):  # it may serve, not ask
        talk(mutual_context(file, root, server=False), mutual_context(server, root, server=True))
    der = issuer.authority.issue_server(key.public_key(), (), NOW)
    with pytest.raises(PeerError) as caught:
        service_identity(x509.load_pem_x509_certificate(der).public_bytes(Encoding.DER))
    assert caught.value.code == "cas.peer.certificate"


def certificate(*names: x509.GeneralName, tier: bytes | None = b"\x0c\x05intel") -> bytes:
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "app")])
    builder = x509.CertificateBuilder().subject_name(name).issuer_name(name).public_key(key.public_key())
    builder = builder.serial_number(1).not_valid_before(NOW).not_valid_after(NOW + timedelta(hours=1))
    if names:
        builder = builder.add_extension(x509.SubjectAlternativeName(names), critical=False)
    if tier is not None:
        builder = builder.add_extension(x509.UnrecognizedExtension(TIER_OID, tier), critical=False)
    return builder.sign(key, SHA256()).public_bytes(Encoding.DER)


URI = x509.UniformResourceIdentifier


@pytest.mark.parametrize(
    "make",
    [
        lambda: b"",
        lambda: b"certificate",
        certificate,
        lambda: certificate(URI("adyton:s/app"), tier=None),
        lambda: certificate(URI("adyton:s/app"), tier=b""),
        lambda: certificate(URI("adyton:s/app"), tier=b"\x0c\x06intel"),
        lambda: certificate(URI("adyton:s/app"), tier=b"\x13\x05intel"),
        lambda: certificate(URI("https:s/app")),
        lambda: certificate(URI("adyton:app")),
        lambda: certificate(URI("adyton:s/x/app")),
        lambda: certificate(URI("adyton:s/app"), URI("adyton:t/app")),
        lambda: certificate(URI("adyton:s/app"), x509.DNSName("cas.adyton.internal")),
    ],
    ids=[
        "empty",
        "text",
        "no name",
        "no tier",
        "empty tier",
        "tier of another length",
        "tier of another type",
        "other scheme",
        "no session",
        "three parts",
        "two services",
        "a host too",
    ],
)
def test_other_certificates_name_no_service(make: Callable[[], bytes]) -> None:
    with pytest.raises(PeerError) as caught:
        service_identity(make())
    assert caught.value.code == "cas.peer.certificate"


def test_the_tier_is_text() -> None:
    der = certificate(URI("adyton:s/app"))
    assert tier_of(x509.load_der_x509_certificate(der)) == "intel"
    assert service_identity(der) == ServiceIdentity("s", "app", "intel")
