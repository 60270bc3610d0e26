"""Certificates of a session: authorities, what they issue, what owners give, and everything that does not fit."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import dsa, ec, rsa, x25519
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
    load_der_private_key,
    load_pem_private_key,
)
from cryptography.x509.verification import PolicyBuilder, Store
from tests.cas.documents import APP, small_document

from adyton.cas.language.session import SessionError, from_document
from adyton.cas.language.templates import check_templates, fill
from adyton.cas.releasing.material import Material, make_material

NOW = datetime(2026, 11, 22, 12, tzinfo=UTC)
MRENCLAVE = b"\x11" * 32
CA: dict[str, Any] = {"name": "ca", "kind": "x509-ca", "common_name": "our authority"}
LEAF: dict[str, Any] = {"name": "tls", "kind": "x509", "issuer": "ca", "dns": ["a.example"]}


def material_of(*secrets: dict[str, Any], now: datetime = NOW) -> Material:
    return make_material(from_document(small_document(secrets=list(secrets))), now, None, Material())


def pem(key: Any) -> str:  # noqa: ANN401  # any private key
    return bytes(key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())).decode()


def filled(template: str, material: Material) -> bytes:
    return fill(template, material, MRENCLAVE)


@pytest.mark.parametrize("order", [(CA, LEAF), (LEAF, CA)], ids=["authority first", "authority last"])
def test_a_stock_verifier_accepts_what_the_authority_issued(order: tuple[dict[str, Any], ...]) -> None:
    made = material_of(*order)
    leaf, above = x509.load_pem_x509_certificates(filled("$$SCONE::tls:chain$$", made))
    assert above == x509.load_pem_x509_certificate(filled("$$SCONE::ca$$", made))
    builder = PolicyBuilder().store(Store([above])).time(NOW)
    chain = builder.build_server_verifier(x509.DNSName("a.example")).verify(leaf, [])
    assert [certificate.subject for certificate in chain] == [leaf.subject, above.subject]
    assert above.subject.rfc4514_string() == "CN=our authority"
    key = load_pem_private_key(filled("$$SCONE::tls:privatekey$$", made), None)
    assert key.public_key() == leaf.public_key()


def test_forms() -> None:
    made = material_of(CA, LEAF, {"name": "k", "kind": "private-key"})
    certificate = x509.load_pem_x509_certificate(filled("$$SCONE::tls:crt$$", made))
    assert filled("$$SCONE::tls:der$$", made) == certificate.public_bytes(Encoding.DER)
    assert filled("$$SCONE::tls:pem$$", made) == filled("$$SCONE::tls:crt$$$$SCONE::tls:privatekey$$", made)
    key = load_der_private_key(filled("$$SCONE::k:der$$", made), None)
    assert load_pem_private_key(filled("$$SCONE::k$$", made), None).public_key() == key.public_key()
    assert bytes.fromhex(filled("$$SCONE::k:hex$$", made).decode()) == filled("$$SCONE::k:der$$", made)


@pytest.mark.parametrize("template", ["$$SCONE::tls:der$$", "$$SCONE::k:der$$", "$$SCONE::ca:der$$"])
def test_binary_forms_are_for_files(template: str) -> None:
    service = {"name": "app", "mrenclaves": [APP], "environment": {"A": template}}
    secrets = [CA, LEAF, {"name": "k", "kind": "private-key"}]
    with pytest.raises(SessionError, match="cannot stand in text") as caught:
        check_templates(from_document(small_document(services=[service], secrets=secrets)))
    assert caught.value.path == "services[0].environment.A"


def test_an_authority_over_a_given_key_signs_with_it() -> None:
    key = rsa.generate_private_key(65537, 2048)
    made = material_of(CA | {"private_key": "k"}, {"name": "k", "kind": "private-key", "value": pem(key)}, LEAF)
    leaf, above = x509.load_pem_x509_certificates(filled("$$SCONE::tls:chain$$", made))
    assert above.public_key() == key.public_key()
    leaf.verify_directly_issued_by(above)


def given_authority() -> tuple[str, str]:
    """Key and certificate of an authority that the owner has, PEM."""
    made = material_of(CA)
    return filled("$$SCONE::ca:privatekey$$", made).decode(), filled("$$SCONE::ca:crt$$", made).decode()


def test_a_given_authority_issues() -> None:
    key, certificate = given_authority()
    made = material_of(
        {"name": "k", "kind": "private-key", "value": key},
        {"name": "ca", "kind": "x509-ca", "private_key": "k", "value": certificate},
        LEAF,
    )
    leaf = x509.load_pem_x509_certificate(filled("$$SCONE::tls$$", made))
    leaf.verify_directly_issued_by(x509.load_pem_x509_certificate(certificate.encode()))


def test_a_certificate_does_not_outlive_its_issuer() -> None:
    key, certificate = given_authority()
    authority = [
        {"name": "k", "kind": "private-key", "value": key},
        {"name": "ca", "kind": "x509-ca", "private_key": "k", "value": certificate},
    ]
    late = NOW + timedelta(days=600)
    leaf = x509.load_pem_x509_certificate(filled("$$SCONE::tls$$", material_of(*authority, LEAF, now=late)))
    assert leaf.not_valid_after_utc == NOW + timedelta(days=730)
    with pytest.raises(SessionError, match="expired") as caught:
        material_of(*authority, LEAF, now=NOW + timedelta(days=800))
    assert caught.value.path == "secrets[2]"


def test_a_given_chain_comes_back_as_it_is() -> None:
    made = material_of(CA, LEAF)
    chain = filled("$$SCONE::tls:chain$$", made).decode()
    secrets = [
        {"name": "k", "kind": "private-key", "value": filled("$$SCONE::tls:privatekey$$", made).decode()},
        {"name": "own", "kind": "x509", "private_key": "k", "value": chain},
        {"name": "public", "kind": "x509", "value": chain},
    ]
    again = material_of(*secrets)
    assert filled("$$SCONE::own:chain$$", again).decode() == chain
    assert filled("$$SCONE::own:pem$$", again).startswith(filled("$$SCONE::public:crt$$", again))
    service = {"name": "app", "mrenclaves": [APP], "command": "$$SCONE::public:pem$$"}
    with pytest.raises(SessionError, match="no format 'pem'"):
        check_templates(from_document(small_document(services=[service], secrets=secrets)))


LEAF_PEM = filled("$$SCONE::tls:crt$$", material_of(CA, LEAF)).decode()
CA_PEM = filled("$$SCONE::ca$$", material_of(CA)).decode()
KEY = {"name": "k", "kind": "private-key"}
DSA = pem(dsa.generate_private_key(2048))
X25519 = pem(x25519.X25519PrivateKey.generate())
BRAINPOOL = pem(ec.generate_private_key(ec.BrainpoolP256R1()))


@pytest.mark.parametrize(
    ("secret", "path"),
    [
        ({"kind": "x509", "value": "none"}, "secrets[1].value"),
        ({"kind": "x509", "value": ""}, "secrets[1].value"),
        ({"kind": "x509", "value": LEAF_PEM.replace("M", "N", 3)}, "secrets[1].value"),
        ({"kind": "x509", "value": LEAF_PEM, "private_key": "k"}, "secrets[1].value"),
        ({"kind": "x509", "value": LEAF_PEM + CA_PEM}, "secrets[1].value"),
        ({"kind": "x509", "value": CA_PEM * 9}, "secrets[1].value"),
        ({"kind": "x509-ca", "value": LEAF_PEM}, "secrets[1].value"),
        ({"kind": "x509-ca", "value": CA_PEM * 2}, "secrets[1].value"),
        ({"kind": "x509-ca", "value": CA_PEM, "private_key": "k"}, "secrets[1].value"),
        ({"kind": "private-key", "value": DSA}, "secrets[1].value"),
        ({"kind": "private-key", "value": X25519}, "secrets[1].value"),
        ({"kind": "private-key", "value": LEAF_PEM}, "secrets[1].value"),
    ],
    ids=[
        "no certificate",
        "empty",
        "damaged",
        "over another key",
        "issuer that did not issue it",
        "chain too long",
        "leaf as an authority",
        "two authorities",
        "authority over another key",
        "DSA key",
        "X25519 key",
        "certificate as a key",
    ],
)
def test_given_values_that_do_not_fit(secret: dict[str, Any], path: str) -> None:
    with pytest.raises(SessionError) as caught:
        material_of(KEY, {"name": "s", **secret})
    assert caught.value.path == path
    assert "BEGIN" not in str(caught.value)


def test_a_curve_of_another_country_is_a_key_too() -> None:
    made = material_of({"name": "k", "kind": "private-key", "value": BRAINPOOL}, CA | {"private_key": "k"}, LEAF)
    assert b"BEGIN CERTIFICATE" in filled("$$SCONE::tls:chain$$", made)


def test_an_update_remakes_what_hangs_on_a_changed_authority() -> None:
    first = from_document(small_document(secrets=[CA, LEAF, {"name": "other", "kind": "x509"}]))
    kept = make_material(first, NOW, None, Material())
    second = from_document(
        small_document(secrets=[CA | {"common_name": "renamed"}, LEAF, {"name": "other", "kind": "x509"}])
    )
    after = make_material(second, NOW, first, kept)
    assert after.secrets["other"] is kept.secrets["other"]
    assert after.secrets["tls"] != kept.secrets["tls"]
    leaf, above = x509.load_pem_x509_certificates(filled("$$SCONE::tls:chain$$", after))
    leaf.verify_directly_issued_by(above)
    assert Material.from_plain(after.to_plain()) == after


def test_rows_of_the_first_edition_are_read() -> None:
    plain = material_of(LEAF | {"issuer": None}).to_plain()
    del plain["activations"], plain["secrets"]["tls"]["issuers"]
    assert Material.from_plain(plain).activations == {}
