"""Strangers' bytes at a running CAS and at the language: typed refusals only, never an answer of 5xx."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from tests.cas.documents import APP, iexec_document, to_yaml
from tests.cas.house import Running

from adyton.base.errors import InputError
from adyton.cas.client import operator
from adyton.cas.client.tls import CasRefusedError
from adyton.cas.language.session import Session
from adyton.cas.language.templates import check_size, fill
from adyton.cas.releasing.material import Material, make_material

ANYTHING = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=12),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner, max_size=3),
    max_leaves=8,
)
NAMES = st.sampled_from(["a", "b", "c", "d", "e", "f"])
KINDS = st.sampled_from(["ascii", "binary", "enclave-key", "private-key", "x509", "x509-ca", "other"])
FORMS = st.sampled_from(["", ":hex", ":raw", ":pem", ":crt", ":chain", ":der", ":privatekey", ":base64", ":x", ":"])
SECRETS = st.lists(
    st.fixed_dictionaries(
        {"name": NAMES, "kind": KINDS},
        optional={
            "value": st.sampled_from(["", "00ff", "text", "-----BEGIN CERTIFICATE-----", "ü"]),
            "size": st.integers(-1, 70),
            "private_key": NAMES,
            "issuer": NAMES,
            "dns": st.lists(st.text(max_size=8), max_size=2),
            "common_name": st.text(max_size=8),
        },
    ),
    max_size=5,
)
TEMPLATES = st.lists(st.one_of(st.text(max_size=5), st.builds("$$SCONE::{}{}$$".format, NAMES, FORMS)), max_size=3).map(
    "".join
)


def documents(secrets: list[dict[str, Any]], template: str, place: str) -> dict[str, Any]:
    service: dict[str, Any] = {"name": "app", "image_name": "i", "mrenclaves": [APP]}
    image: dict[str, Any] = {"name": "i"}
    if place == "file":
        image["injection_files"] = [{"path": "/f", "content": template}]
    else:
        service[place] = template if place == "command" else {"A": template}
    return {"name": "fuzz", "version": "0.3", "services": [service], "images": [image], "secrets": secrets}


@settings(max_examples=150, deadline=None)
@given(SECRETS, TEMPLATES, st.sampled_from(["command", "environment", "file"]))
def test_what_is_accepted_can_be_filled_in(secrets: list[dict[str, Any]], template: str, place: str) -> None:
    """A document that the checks let through makes material and fills its templates: nothing fails at the release."""
    from tests.cas.language.test_certificates import NOW  # noqa: PLC0415

    try:
        session: Session = operator.check_session(json.dumps(documents(secrets, template, place)).encode())
        material = make_material(session, NOW, None, Material())
        check_size(session, material)
    except InputError:
        return
    value = fill(template, material, bytes(32))
    if place != "file":
        value.decode()
    again = make_material(session, NOW, session, Material.from_plain(material.to_plain()))
    assert fill(template, again, bytes(32)) == value


@settings(max_examples=200, deadline=None)
@given(st.binary(max_size=200) | ANYTHING.map(lambda value: json.dumps(value).encode()))
def test_any_bytes_are_refused_by_type(data: bytes) -> None:
    with pytest.raises(InputError):
        operator.check_session(data)


SEED = to_yaml(iexec_document())


@st.composite
def damaged(draw: st.DrawFn) -> bytes:
    """The SMS's document with a few bytes changed, cut or doubled."""
    data = bytearray(SEED)
    for _ in range(draw(st.integers(1, 4))):
        start = draw(st.integers(0, len(data) - 1))
        end = min(len(data), start + draw(st.integers(0, 12)))
        data[start:end] = draw(st.binary(max_size=6) | st.sampled_from([b": ", b"- ", b"\n", b"&a ", b"*a", b"!!x "]))
    return bytes(data)


def post(cas: Running, body: bytes) -> int:
    """The status that the running CAS answers."""
    try:
        with cas.owner()._open() as connection:
            connection.json("POST", "/session", body, "application/octet-stream")
    except CasRefusedError as error:  # a 5xx would be another type, and fail the test
        return error.status
    return 201


@settings(max_examples=40, suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow])
@given(body=damaged() | st.binary(max_size=64) | ANYTHING.map(lambda value: json.dumps(value).encode()))
def test_a_running_cas_never_fails(cas: Running, body: bytes) -> None:
    assert post(cas, body) in {201, 400, 403, 404, 409}


@pytest.mark.parametrize(
    "body",
    [
        b'{"name": "\\ud800"}',
        b'name: "\\ud800"',
        b"expiry: 0001-01-01T00:00:00+23:59",
        to_yaml(iexec_document() | {"expiry": "0001-01-01T00:00:00+23:59"}),
        to_yaml(iexec_document() | {"expiry": "9999-12-31T23:59:59-23:59"}),
        b"[" * 5000,
        b"{" * 5000,
        b"\x00",
        b"\xef\xbb\xbf" + SEED[:20],
        b"? a\n: b",
        b"%YAML 9.9\n---\na: b",
        b"a: |\n" + b" x\n" * 40000,
    ],
    ids=[
        "surrogate in JSON",
        "surrogate in a name",
        "expiry alone",
        "expiry before the year 1",
        "expiry after the year 9999",
        "brackets",
        "braces",
        "NUL",
        "byte order mark",
        "complex key",
        "other YAML",
        "long text",
    ],
)
def test_known_troublemakers(cas: Running, body: bytes) -> None:
    assert post(cas, body) == 400


@pytest.mark.parametrize("path", ["/session?after=x", "/session?after=" + "0" * 63, "/session?after=%00"])
def test_cursors_that_make_no_sense(cas: Running, path: str) -> None:
    with cas.owner()._open() as connection, pytest.raises(CasRefusedError) as caught:
        connection.json("GET", path)
    assert (caught.value.status, caught.value.code) == (400, "cas.request.cursor")


@pytest.mark.parametrize("name", ["%00", "%ff", "..%2f..%2fetc", "x" * 5000, "a%20b", "ä".encode().hex()])
def test_names_that_make_no_sense(cas: Running, name: str) -> None:
    with cas.owner()._open() as connection, pytest.raises(CasRefusedError) as caught:
        connection.json("GET", f"/session/{name}")
    assert caught.value.status == 404


def test_a_template_cannot_make_the_answer_large(cas: Running) -> None:
    """12 characters name 60 kB: 1 MB of document would otherwise be gigabytes of answer."""
    big = {"name": "s", "kind": "ascii", "value": "x" * 60_000}
    service = {"name": "app", "mrenclaves": [APP], "environment": {f"V{n}": "$$SCONE::s$$" for n in range(60)}}
    document = {"name": "large", "version": "0.3", "services": [service], "secrets": [big]}
    with pytest.raises(CasRefusedError, match=r"services\[0\]: its part has") as caught:
        cas.owner().create(to_yaml(document))
    assert caught.value.code == "cas.session.invalid"
    service["environment"] = {f"V{n}": "$$SCONE::s$$" for n in range(30)}
    assert cas.owner().create(to_yaml(document)).name == "large"
