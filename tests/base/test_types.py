import pytest
from hypothesis import given
from hypothesis import strategies as st

from adyton.base.canonical import canonical_json
from adyton.base.errors import InputError
from adyton.base.types import from_hex, keccak, parse_address, parse_bytes32, to_hex

# EIP-55's own examples.
CHECKSUMMED = [
    "0x5aAeb6053F3E94C9b9A09f33669435E7Ef1BeAed",
    "0xfB6916095ca1df60bB79Ce92cE3Ea74c37c5d359",
    "0xdbF03B407c01E7cD3CBea99509d93f8DDDC8C6FB",
    "0xD1220A0cf47c7B9Be7A2E6BA89F429762e7b9aDb",
]


@pytest.mark.parametrize("address", CHECKSUMMED)
def test_addresses_are_checksummed_whatever_their_case(address: str) -> None:
    for text in (address, address.lower(), "0X" + address[2:].upper()):
        assert parse_address(text) == address


@pytest.mark.parametrize(
    "text", ["", "0x", "0x12", CHECKSUMMED[0][2:], CHECKSUMMED[0] + "0", "0x" + "g" * 40, " " * 42]
)
def test_other_texts_are_no_addresses(text: str) -> None:
    with pytest.raises(InputError) as caught:
        parse_address(text)
    assert caught.value.code == "input.address"


def test_words_are_lower_cased_and_exact() -> None:
    assert parse_bytes32("0x" + "AB" * 32) == "0x" + "ab" * 32
    for text in ("0x" + "ab" * 31, "ab" * 32, "0x" + "ab" * 33):
        with pytest.raises(InputError):
            parse_bytes32(text)


@given(st.binary(max_size=64))
def test_hex_round_trip(data: bytes) -> None:
    assert from_hex(to_hex(data)) == data


@pytest.mark.parametrize("text", ["", "00", "0x0", "0xzz", "0x00 "])
def test_malformed_hex_is_refused(text: str) -> None:
    with pytest.raises(InputError):
        from_hex(text)


def test_keccak_is_ethereums() -> None:
    assert keccak(b"").hex() == "c5d2460186f7233c927e7db2dcc703c0e500b653ca82273b7bfad8045d85a470"


def test_canonical_json_has_one_form() -> None:
    assert canonical_json({"b": [1, True, None], "a": "é"}) == '{"a":"é","b":[1,true,null]}'.encode()


@pytest.mark.parametrize("value", [1.5, {"a": float("nan")}, {1: 2}, 2**60, b"bytes", {"a": {1, 2}}])
def test_canonical_json_refuses_what_has_no_one_form(value: object) -> None:
    with pytest.raises(InputError):
        canonical_json(value)
