"""Secrets: what is generated, what is accepted, and how templates are filled in."""

from __future__ import annotations

import base64
from datetime import UTC, datetime
from typing import Any

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa
from cryptography.hazmat.primitives.serialization import (
    BestAvailableEncryption,
    Encoding,
    NoEncryption,
    PrivateFormat,
    load_pem_private_key,
)
from tests.cas.documents import APP, small_document

from adyton.base.secret import Secret
from adyton.cas.language.session import SessionError, from_document
from adyton.cas.language.templates import check_templates, fill, fill_text
from adyton.cas.releasing.material import Material, SecretValue, make_material

NOW = datetime(2026, 11, 22, 12, tzinfo=UTC)
MRENCLAVE = b"\x11" * 32


def material_of(*secrets: dict[str, Any]) -> Material:
    return make_material(from_document(small_document(secrets=list(secrets))), NOW, None, Material())


def pem(key: Any) -> str:  # noqa: ANN401  # any private key
    return bytes(key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())).decode()


def test_generated_secrets_have_their_size_and_differ() -> None:
    made = material_of(
        {"name": "a", "kind": "ascii"},
        {"name": "b", "kind": "ascii", "size": 64},
        {"name": "c", "kind": "binary"},
        {"name": "d", "kind": "binary", "size": 16},
    ).secrets
    assert [len(made[name].value) for name in "abcd"] == [32, 64, 32, 16]
    assert made["a"].value.reveal().isalnum()
    assert made["a"].value != material_of({"name": "a", "kind": "ascii"}).secrets["a"].value


def test_given_values() -> None:
    key = pem(ec.generate_private_key(ec.SECP256R1()))
    made = material_of(
        {"name": "a", "kind": "ascii", "value": "x y"},
        {"name": "b", "kind": "binary", "value": "00FF"},
        {"name": "k", "kind": "private-key", "value": key},
    ).secrets
    assert made["a"].value.reveal() == b"x y"
    assert made["b"].value.reveal() == b"\x00\xff"
    assert made["k"].value.reveal().decode() == key


ENCRYPTED = (
    ec.generate_private_key(ec.SECP256R1())
    .private_bytes(Encoding.PEM, PrivateFormat.PKCS8, BestAvailableEncryption(b"x"))
    .decode()
)


@pytest.mark.parametrize(
    "secret",
    [
        {"kind": "ascii", "value": "ü"},
        {"kind": "ascii", "value": "\0"},
        {"kind": "binary", "value": "xyz"},
        {"kind": "binary", "value": "000"},
        {"kind": "binary", "value": "0000", "size": 3},
        {"kind": "private-key", "value": "none"},
        {"kind": "private-key", "value": ENCRYPTED},
    ],
    ids=["not ascii", "NUL", "not hex", "odd hex", "other size", "no key", "encrypted key"],
)
def test_values_that_do_not_fit_their_kind(secret: dict[str, Any]) -> None:
    with pytest.raises(SessionError) as caught:
        material_of({"name": "first", "kind": "ascii"}, {"name": "s", **secret})
    assert caught.value.path == "secrets[1].value"
    assert secret["value"] not in str(caught.value) or len(secret["value"]) < 5


@pytest.mark.parametrize(
    "key",
    [
        ec.generate_private_key(ec.SECP256R1()),
        rsa.generate_private_key(65537, 2048),
        ed25519.Ed25519PrivateKey.generate(),
    ],
    ids=["p256", "rsa", "ed25519"],
)
def test_certificates_over_a_given_key(key: Any) -> None:  # noqa: ANN401
    made = material_of(
        {"name": "c", "kind": "x509", "private_key": "k", "common_name": "the service", "dns": ["a.example", "b"]},
        {"name": "k", "kind": "private-key", "value": pem(key)},
    ).secrets
    certificate = x509.load_pem_x509_certificate(made["c"].certificate)
    assert certificate.public_key() == key.public_key()
    certificate.verify_directly_issued_by(certificate)
    assert certificate.subject.rfc4514_string() == "CN=the service"
    names = certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    assert names.get_values_for_type(x509.DNSName) == ["a.example", "b"]


def test_a_certificate_makes_its_own_key() -> None:
    made = material_of({"name": "c", "kind": "x509"}).secrets["c"]
    certificate = x509.load_pem_x509_certificate(made.certificate)
    assert certificate.public_key() == load_pem_private_key(made.value.reveal(), None).public_key()


def test_an_update_remakes_a_certificate_whose_key_was_remade() -> None:
    first = from_document(
        small_document(
            secrets=[{"name": "k", "kind": "private-key"}, {"name": "c", "kind": "x509", "private_key": "k"}]
        )
    )
    kept = make_material(first, NOW, None, Material())
    assert make_material(first, NOW, first, kept).secrets["c"] is kept.secrets["c"]
    value = pem(ec.generate_private_key(ec.SECP256R1()))
    second = from_document(
        small_document(
            secrets=[
                {"name": "k", "kind": "private-key", "value": value},
                {"name": "c", "kind": "x509", "private_key": "k"},
            ]
        )
    )
    after = make_material(second, NOW, first, kept).secrets["c"]
    key = load_pem_private_key(value.encode(), None)
    assert x509.load_pem_x509_certificate(after.certificate).public_key() == key.public_key()


def test_material_survives_its_plain_form() -> None:
    made = make_material(
        from_document(
            small_document(
                volumes=[{"name": "v"}], secrets=[{"name": "c", "kind": "x509"}, {"name": "b", "kind": "binary"}]
            )
        ),
        NOW,
        None,
        Material(),
    )
    assert Material.from_plain(made.to_plain()) == made
    assert "Secret(***)" in repr(made)


FILLED = Material(
    secrets={
        "text": SecretValue("ascii", Secret(b"a$$SCONE::bytes:hex$$b")),
        "bytes": SecretValue("binary", Secret(b"\x00\xff")),
        "key": SecretValue("private-key", Secret(b"KEY\n")),
        "cert": SecretValue("x509", Secret(b"KEY\n"), b"CERT\n"),
    }
)


@pytest.mark.parametrize(
    ("template", "result"),
    [
        ("plain $HOME $$ $$SCONE", b"plain $HOME $$ $$SCONE"),
        ("$$SCONE::text$$", b"a$$SCONE::bytes:hex$$b"),
        ("$$SCONE::text:text$$", b"a$$SCONE::bytes:hex$$b"),
        ("<$$SCONE::text:hex$$>", b"<" + b"a$$SCONE::bytes:hex$$b".hex().encode() + b">"),
        ("$$SCONE::bytes$$", b"\x00\xff"),
        ("$$SCONE::bytes:raw$$", b"\x00\xff"),
        ("$$SCONE::bytes:hex$$$$SCONE::bytes:base64$$", b"00ff" + base64.b64encode(b"\x00\xff")),
        ("$$SCONE::key$$", b"KEY\n"),
        ("$$SCONE::key:pem$$", b"KEY\n"),
        ("$$SCONE::key:privatekey$$", b"KEY\n"),
        ("$$SCONE::cert$$", b"CERT\n"),
        ("$$SCONE::cert:crt$$", b"CERT\n"),
        ("$$SCONE::cert:privatekey$$", b"KEY\n"),
        ("$$SCONE::cert:pem$$", b"CERT\nKEY\n"),
        ("ü$$SCONE::bytes:hex$$ü", "ü00ffü".encode()),
    ],
)
def test_templates(template: str, result: bytes) -> None:
    assert fill(template, FILLED, MRENCLAVE) == result
    if b"\xff" not in result:
        assert fill_text(template, FILLED, MRENCLAVE) == result.decode()


def document_with(template: str, place: str) -> dict[str, Any]:
    service: dict[str, Any] = {"name": "app", "image_name": "i", "mrenclaves": [APP]}
    image: dict[str, Any] = {"name": "i"}
    if place == "command":
        service["command"] = template
    elif place == "environment":
        service["environment"] = {"A": template}
    else:
        image["injection_files"] = [{"path": "/run/f", "content": template}]
    secrets = [
        {"name": "text", "kind": "ascii"},
        {"name": "bytes", "kind": "binary"},
        {"name": "key", "kind": "private-key"},
        {"name": "cert", "kind": "x509"},
    ]
    return small_document(services=[service], images=[image], secrets=secrets)


PLACES = {
    "command": "services[0].command",
    "environment": "services[0].environment.A",
    "file": "images[0].injection_files[0].content",
}


@pytest.mark.parametrize("place", PLACES)
@pytest.mark.parametrize(
    ("template", "only_in_text"),
    [
        ("$$SCONE::none$$", False),
        ("$$SCONE::text:pem$$", False),
        ("$$SCONE::key:crt$$", False),
        ("$$SCONE::cert:hex$$", False),
        ("$$SCONE::text", False),
        ("$$SCONE::$$", False),
        ("$$SCONE::text:HEX$$", False),
        ("$$SCONE::te xt$$", False),
        ("$$SCONE::text$$ $$SCONE::", False),
        ("$$SCONE::bytes$$", True),
        ("$$SCONE::bytes:raw$$", True),
    ],
)
def test_templates_are_checked_where_they_stand(place: str, template: str, only_in_text: bool) -> None:
    session = from_document(document_with(template, place))
    if only_in_text and place == "file":
        check_templates(session)
        return
    with pytest.raises(SessionError) as caught:
        check_templates(session)
    assert caught.value.path == PLACES[place]


def test_an_enclave_key_survives_an_update_and_cannot_be_given() -> None:
    definition = {"name": "key", "kind": "enclave-key"}
    session = from_document(small_document(secrets=[definition]))
    first = make_material(session, NOW, None, Material())
    kept = make_material(session, NOW, session, first)
    assert fill("$$SCONE::key$$", kept, MRENCLAVE) == fill("$$SCONE::key$$", first, MRENCLAVE)
    assert fill("$$SCONE::key$$", first, MRENCLAVE) != first.secrets["key"].value.reveal()
    with pytest.raises(SessionError):
        from_document(small_document(secrets=[definition | {"value": "00" * 32}]))
