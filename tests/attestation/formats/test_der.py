from __future__ import annotations

from collections.abc import Callable

import pytest
from cryptography.hazmat.primitives.serialization import Encoding
from hypothesis import given
from hypothesis import strategies as st
from tests.platform.world import World

from adyton.attestation.chain import parse_chain
from adyton.attestation.formats import der

CONSTRUCTED = 0x20  # the bit of a tag (X.690 8.1.2.5)
tags = st.sampled_from([der.BOOLEAN, der.INTEGER, der.OCTET_STRING, der.OID, der.ENUMERATED, der.SEQUENCE])


@given(st.lists(st.tuples(tags, st.binary(max_size=300)), max_size=6))
def test_elements_are_read_back(parts: list[der.Element]) -> None:
    data = b"".join(der.element(*part) for part in parts)
    assert der.elements(data) == parts
    assert der.single(der.sequence(*(der.element(*part) for part in parts))) == (der.SEQUENCE, data)


@pytest.mark.parametrize("size", [0, 1, 0x7F, 0x80, 0xFF, 0x100, 0xFFFF])
def test_lengths_are_minimal_on_both_sides_of_every_step(size: int) -> None:
    data = der.octets(bytes(size))
    assert len(data) - size == (2 if size < 0x80 else 3 if size < 0x100 else 4)
    assert der.single(data) == (der.OCTET_STRING, bytes(size))


@pytest.mark.parametrize(
    "data",
    [
        b"\x04",
        b"\x04\x01",
        b"\x04\x80",
        b"\x04\x80\x00\x00",
        b"\x04\x81",
        b"\x04\x81\x7f" + bytes(0x7F),
        b"\x04\x81\x00",
        b"\x04\x82\x00\xff" + bytes(0xFF),
        b"\x04\x82\x01",
        b"\x04\x83\x00\xff\xff" + bytes(0xFFFF),
        b"\x04\x84\x01\x00\x00\x00" + bytes(0x1000000),
        b"\x04\xff" + bytes(0x7F),
    ],
    ids=[
        "no length",
        "no content",
        "indefinite length",
        "indefinite length with its end",
        "cut long length",
        "long form of a short length",
        "long form of zero",
        "two bytes for one",
        "cut length of two bytes",
        "three bytes for two",
        "length of four bytes",
        "reserved length",
    ],
)
def test_lengths_that_der_forbids_are_refused(data: bytes) -> None:
    with pytest.raises(der.DerError):
        der.elements(data)


def test_an_element_cut_at_any_byte_is_refused() -> None:
    data = der.sequence(der.octets(bytes(200)), der.integer(1 << 64), der.oid("1.2.840.113741.1.13.1"))
    for size in range(1, len(data)):
        with pytest.raises(der.DerError):
            der.single(data[:size])
    with pytest.raises(der.DerError):
        der.single(b"")
    with pytest.raises(der.DerError, match="after the end"):
        der.single(data + b"\x00")


@given(st.integers(0, 1 << 200))
def test_integers_are_read_back(value: int) -> None:
    assert der.read_integer(der.expect(der.single(der.integer(value)), der.INTEGER)) == value
    assert der.read_integer(der.expect(der.single(der.integer(value, der.ENUMERATED)), der.ENUMERATED)) == value


@pytest.mark.parametrize("value", [True, False])
def test_booleans_are_read_back(value: bool) -> None:
    assert der.read_boolean(der.expect(der.single(der.boolean(value)), der.BOOLEAN)) is value


@given(st.lists(st.integers(0, 2**40), max_size=8), st.integers(0, 2), st.integers(0, 39))
def test_object_identifiers_are_read_back(arcs: list[int], first: int, second: int) -> None:
    text = ".".join(map(str, [first, second, *arcs]))
    assert der.read_oid(der.expect(der.single(der.oid(text)), der.OID)) == text


@pytest.mark.parametrize(
    ("text", "content"),
    [
        ("1.2.840.113741.1.13.1", "2a864886f84d010d01"),
        ("2.5.29.15", "551d0f"),
        ("2.999.3", "883703"),
        ("0.9.2342", "099226"),
    ],
)
def test_object_identifiers_have_the_bytes_of_the_standard(text: str, content: str) -> None:
    assert der.oid(text)[2:].hex() == content
    assert der.read_oid(bytes.fromhex(content)) == text


@pytest.mark.parametrize(
    ("read", "content"),
    [
        (der.read_integer, b""),
        (der.read_integer, b"\x80"),
        (der.read_integer, b"\xff\xff"),
        (der.read_integer, b"\x00\x01"),
        (der.read_integer, b"\x00\x00"),
        (der.read_integer, b"\x01" + bytes(der.MAX_INTEGER_BYTES)),
        (der.read_boolean, b""),
        (der.read_boolean, b"\x01"),
        (der.read_boolean, b"\xff\xff"),
        (der.read_oid, b""),
        (der.read_oid, b"\x2a\x80"),
        (der.read_oid, b"\x2a\x80\x01"),
        (der.read_oid, b"\x80\x2a"),
        (der.read_oid, b"\xff" * der.MAX_OID_BYTES + b"\x01"),
    ],
)
def test_contents_that_der_forbids_are_refused(read: Callable[[bytes], object], content: bytes) -> None:
    with pytest.raises(der.DerError):
        read(content)


@pytest.mark.parametrize("wrong", [der.INTEGER, der.OCTET_STRING, der.SEQUENCE])
def test_an_element_of_another_type_is_refused(wrong: int) -> None:
    with pytest.raises(der.DerError, match="where 0x01 is expected"):
        der.expect((wrong, b"\xff"), der.BOOLEAN)


@given(st.binary(max_size=60))
def test_what_is_read_is_written_back_and_nothing_else_is_raised(data: bytes) -> None:
    try:
        found = der.elements(data)
    except der.DerError:
        return
    assert b"".join(der.element(*part) for part in found) == data


def rewritten(data: bytes) -> bytes:
    """The elements of ``data`` written anew, to the leaves."""
    parts = []
    for tag, content in der.elements(data):
        inner = rewritten(content) if tag & CONSTRUCTED else content
        parts.append(der.element(tag, inner))
    return b"".join(parts)


def test_whole_certificates_of_another_encoder_are_read_and_written_back(world: World) -> None:
    for certificate in parse_chain(world.qe.pck_chain(world.now), 3, "the PCK chain"):
        data = certificate.public_bytes(Encoding.DER)
        assert rewritten(data) == data
