"""Certificates of the CAS: what each kind can and cannot pass for, judged by an independent verifier."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from cryptography.x509.verification import PolicyBuilder, Store, VerificationError

from adyton.cas.client.peers import PeerError, ServiceIdentity, service_identity, tier_of
from adyton.cas.face.authority import Authority
from adyton.cas.face.identity import SERVER_NAME

NOW = datetime(2026, 11, 22, 12, tzinfo=UTC)
AUTHORITY = Authority.create(NOW)
KEY = ec.generate_private_key(ec.SECP256R1())
SPKI = KEY.public_key().public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
TIER = "sim:" + "ab" * 32


def identity(session: str = "s", service: str = "app") -> x509.Certificate:
    who = ServiceIdentity(session, service, TIER)
    return x509.load_pem_x509_certificate(AUTHORITY.issue_identity(SPKI, who, NOW))


def server() -> x509.Certificate:
    return x509.load_pem_x509_certificate(
        AUTHORITY.issue_server(KEY.public_key(), ["cas.example", "10.0.0.1", "::1"], NOW)
    )


def policy(now: datetime = NOW, authority: Authority = AUTHORITY) -> PolicyBuilder:
    return PolicyBuilder().store(Store([authority.root])).time(now.replace(tzinfo=None))


def test_the_server_certificate_is_a_servers() -> None:
    names = server().extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    assert names.get_values_for_type(x509.DNSName) == [SERVER_NAME, "cas.example"]
    assert [str(address) for address in names.get_values_for_type(x509.IPAddress)] == ["10.0.0.1", "::1"]
    policy().build_server_verifier(x509.DNSName(SERVER_NAME)).verify(server(), [])


def test_an_identity_is_a_clients_and_not_the_cas() -> None:
    verified = policy().build_client_verifier().verify(identity(), [])
    assert verified.subjects is not None
    assert [name.value for name in verified.subjects] == ["adyton:s/app"]
    assert tier_of(identity()) == TIER
    with pytest.raises(VerificationError):
        policy().build_server_verifier(x509.DNSName(SERVER_NAME)).verify(identity(), [])


def test_leaves_live_hours() -> None:
    for leaf, hours in ((identity(), 4), (server(), 24)):
        assert leaf.not_valid_after_utc == NOW + timedelta(hours=hours)
        assert leaf.not_valid_before_utc == NOW - timedelta(minutes=5)
    with pytest.raises(VerificationError):
        policy(NOW + timedelta(hours=25)).build_client_verifier().verify(identity(), [])


def test_an_identity_does_not_outlive_its_session() -> None:
    who, until = ServiceIdentity("s", "app", TIER), NOW + timedelta(minutes=7)
    short = x509.load_pem_x509_certificate(AUTHORITY.issue_identity(SPKI, who, NOW, until=until))
    assert short.not_valid_after_utc == until
    later = x509.load_pem_x509_certificate(AUTHORITY.issue_identity(SPKI, who, NOW, until=NOW + timedelta(days=9)))
    assert later.not_valid_after_utc == NOW + timedelta(hours=4)


def test_an_identity_is_read_back() -> None:
    assert service_identity(identity().public_bytes(Encoding.DER)) == ServiceIdentity("s", "app", TIER)
    with pytest.raises(PeerError):
        service_identity(server().public_bytes(Encoding.DER))


def test_a_leaf_cannot_issue() -> None:
    assert identity().extensions.get_extension_for_class(x509.BasicConstraints).value.ca is False
    assert identity().extensions.get_extension_for_class(x509.KeyUsage).value.key_cert_sign is False
    assert AUTHORITY.root.extensions.get_extension_for_class(x509.BasicConstraints).value.path_length == 0


def test_another_authority_does_not_verify() -> None:
    with pytest.raises(VerificationError):
        policy(authority=Authority.create(NOW)).build_client_verifier().verify(identity(), [])


def test_the_server_certificate_names_no_service() -> None:
    with pytest.raises(x509.ExtensionNotFound):
        tier_of(server())


def test_an_authority_survives_its_plain_form() -> None:
    again = Authority.from_plain(AUTHORITY.to_plain())
    assert again.root == AUTHORITY.root
    assert again.key.private_numbers() == AUTHORITY.key.private_numbers()


def test_only_elliptic_curve_keys_get_identities() -> None:
    key = rsa.generate_private_key(65537, 2048).public_key()
    spki = key.public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
    with pytest.raises(TypeError):
        AUTHORITY.issue_identity(spki, ServiceIdentity("s", "app", TIER), NOW)
