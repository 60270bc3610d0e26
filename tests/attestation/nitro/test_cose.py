from __future__ import annotations

from typing import Any

import cbor2
import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.attestation.nitro_vendor import ES384_HEADER, Enclave

from adyton.attestation.errors import FormatError
from adyton.attestation.nitro.cose import (
    MAX_DEPTH,
    MAX_MEMBERS,
    MAX_MESSAGE_BYTES,
    MAX_PAYLOAD_BYTES,
    Item,
    decode,
    parse_sign1,
)

DOCUMENT = Enclave().document()
SIGNATURE = b"\x07" * 96

scalars = st.none() | st.integers(-(2**64), 2**64 - 1) | st.binary(max_size=40) | st.text(max_size=20)
keys = st.integers(-(2**64), 2**64 - 1) | st.text(max_size=10)
items = st.recursive(
    scalars, lambda inner: st.lists(inner, max_size=4) | st.dictionaries(keys, inner, max_size=4), max_leaves=8
)


def depth(item: Any) -> int:  # noqa: ANN401  # any item
    members = list(item.values()) if isinstance(item, dict) else item if isinstance(item, list) else None
    return 0 if members is None else 1 + max(map(depth, members), default=0)


@given(items.filter(lambda item: depth(item) <= MAX_DEPTH))
def test_what_another_encoder_writes_is_read_and_nothing_but_all_of_it(item: Any) -> None:  # noqa: ANN401
    data = cbor2.dumps(item)
    assert decode(data) == item
    for size in range(len(data)):
        with pytest.raises(FormatError):
            decode(data[:size])
    with pytest.raises(FormatError, match="follow the end") as caught:
        decode(data + b"\xf6", base=10)
    assert caught.value.offset == 10 + len(data)


def outcome(data: bytes) -> tuple[Item, FormatError | None]:
    try:
        return decode(data), None
    except FormatError as error:
        return None, error


@given(st.binary(max_size=60))
def test_whatever_is_read_another_decoder_reads_alike(data: bytes) -> None:
    item, error = outcome(data)
    if error is None:
        assert cbor2.loads(data) == item
    else:
        assert error.code == "attestation.nitro.format"
        assert 0 <= error.offset <= len(data)


FORBIDDEN = {
    "nothing": b"",
    "integer not in its shortest form": bytes.fromhex("1817"),
    "two bytes for one": bytes.fromhex("1900ff"),
    "four bytes for two": bytes.fromhex("1a0000ffff"),
    "eight bytes for four": bytes.fromhex("1b00000000ffffffff"),
    "length not in its shortest form": bytes.fromhex("580101"),
    "reserved length": bytes.fromhex("1c"),
    "byte string of indefinite length": bytes.fromhex("5f4101ff"),
    "text of indefinite length": bytes.fromhex("7f6161ff"),
    "array of indefinite length": bytes.fromhex("9f01ff"),
    "integer of indefinite length": bytes.fromhex("1f"),
    "break alone": bytes.fromhex("ff"),
    "break for a value": bytes.fromhex("bf01ff"),
    "map that does not end": bytes.fromhex("bf0101"),
    "key twice": bytes.fromhex("a201010102"),
    "key twice, indefinite length": bytes.fromhex("bf01010102ff"),
    "key that is bytes": bytes.fromhex("a1410101"),
    "key that is null": bytes.fromhex("a1f601"),
    "key that is an array": bytes.fromhex("a18001"),
    "text that is not UTF-8": bytes.fromhex("61ff"),
    "boolean": bytes.fromhex("f5"),
    "undefined": bytes.fromhex("f7"),
    "half float": bytes.fromhex("f93c00"),
    "tag": bytes.fromhex("c001"),
    "tag around a tag": bytes.fromhex("d2d201"),
    "byte string longer than the bytes": bytes.fromhex("5affffffff00"),
    "byte string of 2**64 - 1 bytes": bytes.fromhex("5bffffffffffffffff"),
    "array of 2**64 - 1 members": bytes.fromhex("9bffffffffffffffff"),
    "map of 2**32 members": bytes.fromhex("bb0000000100000000"),
    "too many members": cbor2.dumps([0] * (MAX_MEMBERS + 1)),
    "too many members, indefinite length": b"\xbf"
    + b"".join(cbor2.dumps(n) * 2 for n in range(MAX_MEMBERS + 1))
    + b"\xff",
    "too deep": b"\x81" * (MAX_DEPTH + 1) + b"\0",
    "too deep, maps": b"\xa1\x01" * (MAX_DEPTH + 1) + b"\0",
    "deep enough to overflow a stack": b"\x81" * 100_000,
    "indefinite lengths all the way down": b"\xbf\x01" * 100_000,
}


@pytest.mark.parametrize("data", FORBIDDEN.values(), ids=FORBIDDEN)
def test_forms_that_are_not_allowed_are_refused(data: bytes) -> None:
    with pytest.raises(FormatError) as caught:
        decode(data)
    assert caught.value.code == "attestation.nitro.format"


def test_a_map_of_indefinite_length_is_read() -> None:
    assert decode(bytes.fromhex("bf616101616202ff")) == {"a": 1, "b": 2}
    assert decode(bytes.fromhex("bfff")) == {}


def test_the_most_that_is_allowed_is_read() -> None:
    members = {n: n for n in range(MAX_MEMBERS)}
    assert decode(cbor2.dumps(members)) == members
    assert decode(b"\x81" * MAX_DEPTH + b"\0") == [[[[0]]]]


def test_a_message_is_read_tagged_or_not() -> None:
    plain, tagged = parse_sign1(DOCUMENT), parse_sign1(b"\xd2" + DOCUMENT)
    assert (plain.protected, plain.payload, plain.signature) == (tagged.protected, tagged.payload, tagged.signature)
    assert plain.signed_bytes == tagged.signed_bytes
    for message, data in ((plain, DOCUMENT), (tagged, b"\xd2" + DOCUMENT)):
        assert data[message.payload_offset :].startswith(message.payload)


@pytest.mark.parametrize("size", [1, 23, 24, 255, 256, MAX_PAYLOAD_BYTES])
def test_what_is_signed_is_what_another_encoder_makes_of_it(size: int) -> None:
    payload = bytes(size)
    message = parse_sign1(cbor2.dumps([ES384_HEADER, {}, payload, SIGNATURE]))
    assert message.signed_bytes == cbor2.dumps(["Signature1", ES384_HEADER, b"", payload])


NO_MESSAGES = {
    "nothing": b"",
    "over the limit": bytes(MAX_MESSAGE_BYTES + 1),
    "tagged twice": b"\xd2\xd2" + DOCUMENT,
    "another tag": b"\xd1" + DOCUMENT,
    "tag not in its shortest form": b"\xd8\x12" + DOCUMENT,
    "array of indefinite length": b"\x9f" + DOCUMENT[1:] + b"\xff",
    "array of three": cbor2.dumps([ES384_HEADER, {}, b"payload"]),
    "array of five": cbor2.dumps([ES384_HEADER, {}, b"payload", SIGNATURE, None]),
    "a map": cbor2.dumps({1: 2}),
    "byte after the end": DOCUMENT + b"\0",
    "header that is no byte string": cbor2.dumps([{1: -35}, {}, b"payload", SIGNATURE]),
    "header of ES256": cbor2.dumps([cbor2.dumps({1: -7}), {}, b"payload", SIGNATURE]),
    "header of ES512": cbor2.dumps([cbor2.dumps({1: -36}), {}, b"payload", SIGNATURE]),
    "header that names no algorithm": cbor2.dumps([b"\xa0", {}, b"payload", SIGNATURE]),
    "empty header": cbor2.dumps([b"", {}, b"payload", SIGNATURE]),
    "header with more in it": cbor2.dumps([cbor2.dumps({1: -35, 4: b"key"}), {}, b"payload", SIGNATURE]),
    "header with the algorithm twice": cbor2.dumps([bytes.fromhex("a201380601382200")[:-1], {}, b"payload", SIGNATURE]),
    "header with bytes after it": cbor2.dumps([ES384_HEADER + b"\0", {}, b"payload", SIGNATURE]),
    "algorithm in the unprotected header": cbor2.dumps([b"\xa0", {1: -35}, b"payload", SIGNATURE]),
    "something unprotected": cbor2.dumps([ES384_HEADER, {4: b"key"}, b"payload", SIGNATURE]),
    "unprotected header that is null": cbor2.dumps([ES384_HEADER, None, b"payload", SIGNATURE]),
    "detached payload": cbor2.dumps([ES384_HEADER, {}, None, SIGNATURE]),
    "empty payload": cbor2.dumps([ES384_HEADER, {}, b"", SIGNATURE]),
    "payload over the limit": cbor2.dumps([ES384_HEADER, {}, bytes(MAX_PAYLOAD_BYTES + 1), SIGNATURE]),
    "signature of 64 bytes": cbor2.dumps([ES384_HEADER, {}, b"payload", SIGNATURE[:64]]),
    "signature of 97 bytes": cbor2.dumps([ES384_HEADER, {}, b"payload", SIGNATURE + b"\0"]),
    "signature in text": cbor2.dumps([ES384_HEADER, {}, b"payload", "s" * 96]),
}


@pytest.mark.parametrize("data", NO_MESSAGES.values(), ids=NO_MESSAGES)
def test_other_messages_are_refused(data: bytes) -> None:
    with pytest.raises(FormatError) as caught:
        parse_sign1(data)
    assert caught.value.code == "attestation.nitro.format"
    assert 0 <= caught.value.offset <= len(data)


def test_a_message_cut_anywhere_is_refused() -> None:
    for size in range(len(DOCUMENT)):
        with pytest.raises(FormatError):
            parse_sign1(DOCUMENT[:size])


@given(st.binary(max_size=300))
def test_hostile_bytes_raise_nothing_else(data: bytes) -> None:
    for form in (data, b"\x84\x44" + ES384_HEADER + data):
        with pytest.raises(FormatError):
            parse_sign1(form)
