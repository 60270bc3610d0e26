"""SIGSTRUCT against the manual's table, byte by byte: offsets are written out here, not taken from the code."""

from __future__ import annotations

import hashlib
import struct
from dataclasses import replace
from datetime import date

import pytest
from cryptography.hazmat.primitives.asymmetric import padding, rsa
from cryptography.hazmat.primitives.hashes import SHA256
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.enclave.handmade import signer

from adyton.enclave import sigstruct
from adyton.enclave.errors import SignerKeyError, SigStructError
from adyton.enclave.sigstruct import SIGSTRUCT_BYTES, SigStruct, mrsigner, sign

_DAY = date(2026, 11, 22)
_MRENCLAVE = bytes(range(32))
_RESERVED = (*range(44, 128), 910, 911, *range(992, 1008), *range(1028, 1040))


@pytest.fixture(scope="module")
def key() -> rsa.RSAPrivateKey:
    return signer()


def _by_hand(key: rsa.RSAPrivateKey, **parts: bytes) -> bytes:
    """A SIGSTRUCT packed at the offsets of the manual and signed with plain arithmetic; ``at_N`` overwrites bytes."""
    n = key.public_key().public_numbers().n
    data = bytearray(1808)
    table: dict[int, bytes] = {
        0: bytes.fromhex("06000000E10000000000010000000000"),
        20: bytes.fromhex("22112620"),
        24: bytes.fromhex("01010000600000006000000001000000"),
        128: n.to_bytes(384, "little"),
        512: struct.pack("<I", 3),
        904: b"\xff" * 4,
        928: struct.pack("<QQ", 4, 3),
        944: struct.pack("<QQ", 0xFFFFFFFFFFFFFFFF, 0xFFFFFFFFFFF9FF1B),
        960: _MRENCLAVE,
        1024: struct.pack("<HH", 0x1234, 7),
    }
    for offset, content in (table | {int(name[3:]): content for name, content in parts.items()}).items():
        data[offset : offset + len(content)] = content
    message = bytes(data[:128] + data[900:1028])
    s = int.from_bytes(key.sign(message, padding.PKCS1v15(), SHA256()), "big")
    q1 = s * s // n
    q2 = (s**3 - q1 * s * n) // n
    data[516:900], data[1040:1424], data[1424:1808] = (value.to_bytes(384, "little") for value in (s, q1, q2))
    return bytes(data)


def _signed(key: rsa.RSAPrivateKey, *, debug: bool = False) -> SigStruct:
    return sign(_MRENCLAVE, key, debug=debug, isvprodid=0x1234, isvsvn=7, signed_on=_DAY)


def test_fields_are_where_the_manual_puts_them(key: rsa.RSAPrivateKey) -> None:
    data = _signed(key).to_bytes()
    assert len(data) == SIGSTRUCT_BYTES == 1808
    assert data[20:24].hex() == "22112620"
    assert data[512:516] == b"\3\0\0\0"
    assert data[928:936] == b"\4" + bytes(7)
    assert data[960:992] == _MRENCLAVE
    assert data[1024:1028].hex() == "34120700"
    assert int.from_bytes(data[128:512], "little") == key.public_key().public_numbers().n
    assert _signed(key, debug=True).to_bytes()[928] == 6


def test_equals_the_structure_packed_by_hand(key: rsa.RSAPrivateKey) -> None:
    assert _signed(key).to_bytes() == _by_hand(key)
    assert _signed(key).mrsigner == hashlib.sha256(_by_hand(key)[128:512]).digest()


def test_the_signature_covers_two_ranges_of_together_256_bytes(key: rsa.RSAPrivateKey) -> None:
    data = _signed(key).to_bytes()
    public = key.public_key()
    block = pow(int.from_bytes(data[516:900], "little"), 3, public.public_numbers().n).to_bytes(384, "big")
    assert block[-32:] == hashlib.sha256(data[0:128] + data[900:1028]).digest()
    assert block[:2] == b"\0\1"


def test_quotients_let_two_multiplications_verify(key: rsa.RSAPrivateKey) -> None:
    structure = _signed(key)
    n, s, q1, q2 = (
        int.from_bytes(part, "little") for part in (structure.modulus, structure.signature, structure.q1, structure.q2)
    )
    assert (s * s - q1 * n) * s - q2 * n == pow(s, 3, n)


def test_round_trip_and_determinism(key: rsa.RSAPrivateKey) -> None:
    structure = _signed(key)
    structure.verify()
    assert SigStruct.parse(structure.to_bytes()) == structure
    assert _signed(key).to_bytes() == structure.to_bytes()
    assert structure.mrsigner == mrsigner(key)


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("header", bytes(16)), ("header2", bytes(16)), ("vendor", 1), ("exponent", 65537), ("date", bytes(4)),
        ("modulus", bytes(384)), ("signature", bytes(384)), ("signature", b"\xff" * 384), ("q1", bytes(384)),
        ("q2", bytes(384)), ("enclavehash", bytes(32)), ("flags", 6), ("flagsmask", 0), ("isvsvn", 8), ("isvprodid", 0),
        ("reserved1", b"\1" + bytes(83)), ("reserved4", b"\1" + bytes(11)), ("miscselect", 1),
    ],
)  # fmt: skip
def test_every_changed_field_is_refused(key: rsa.RSAPrivateKey, name: str, value: object) -> None:
    with pytest.raises(SigStructError):
        replace(_signed(key), **{name: value}).verify()  # type: ignore[arg-type]


@pytest.mark.parametrize("size", [0, 1807, 1809])
def test_other_lengths_are_refused(size: int) -> None:
    with pytest.raises(SigStructError):
        SigStruct.parse(bytes(size))


def test_a_measurement_has_32_bytes(key: rsa.RSAPrivateKey) -> None:
    with pytest.raises(SigStructError):
        sign(bytes(31), key, debug=False, isvprodid=0, isvsvn=0, signed_on=_DAY)


@pytest.mark.parametrize("offset", _RESERVED)
def test_a_reserved_byte_is_refused_though_it_is_signed(key: rsa.RSAPrivateKey, offset: int) -> None:
    with pytest.raises(SigStructError, match="reserved"):
        SigStruct.parse(_by_hand(key, **{f"at_{offset}": b"\1"})).verify()


@pytest.mark.parametrize(
    ("offset", "content"),
    [
        pytest.param(0, b"\x07", id="header"),
        pytest.param(24, b"\x02", id="second header"),
        pytest.param(16, b"\x87\x80", id="vendor"),
        pytest.param(512, b"\x01\x00\x01\x00", id="exponent 65537"),
    ],
)
def test_a_wrong_constant_is_refused_though_it_is_signed(key: rsa.RSAPrivateKey, offset: int, content: bytes) -> None:
    with pytest.raises(SigStructError, match="not as specified"):
        SigStruct.parse(_by_hand(key, **{f"at_{offset}": content})).verify()


@pytest.mark.parametrize(
    ("offset", "content"),
    [
        pytest.param(16, b"\x86\x80", id="Intel as vendor"),
        pytest.param(40, b"\x01", id="software defined"),
        pytest.param(908, b"\x01\x01", id="CET"),
        pytest.param(912, b"\x01", id="family"),
        pytest.param(1008, b"\x01", id="extended product"),
        pytest.param(20, b"\xff\xff\xff\xff", id="a date that is none: the CPU does not look"),
    ],
)
def test_what_the_signer_may_choose_is_accepted(key: rsa.RSAPrivateKey, offset: int, content: bytes) -> None:
    SigStruct.parse(_by_hand(key, **{f"at_{offset}": content})).verify()


def test_every_single_bit_counts(key: rsa.RSAPrivateKey) -> None:
    data = _signed(key).to_bytes()
    accepted = []
    for bit in range(len(data) * 8):
        changed = bytearray(data)
        changed[bit >> 3] ^= 1 << (bit & 7)
        try:
            SigStruct.parse(bytes(changed)).verify()
        except SigStructError:
            continue
        accepted.append(bit)
    assert accepted == []


def test_every_truncation_is_refused(key: rsa.RSAPrivateKey) -> None:
    data = _signed(key).to_bytes()
    for size in range(len(data)):
        with pytest.raises(SigStructError, match=f"not {size}$"):
            SigStruct.parse(data[:size])


def test_a_signature_of_another_key_is_refused(key: rsa.RSAPrivateKey) -> None:
    foreign = replace(_signed(key), modulus=_signed(signer(1)).modulus)
    with pytest.raises(SigStructError):
        foreign.verify()


def test_right_quotients_do_not_help_a_wrong_signature(key: rsa.RSAPrivateKey) -> None:
    other = sign(bytes(32), key, debug=False, isvprodid=0x1234, isvsvn=7, signed_on=_DAY)
    mixed = replace(_signed(key), signature=other.signature, q1=other.q1, q2=other.q2)
    with pytest.raises(SigStructError) as caught:
        mixed.verify()
    assert caught.value.code == "enclave.sigstruct.signature"


def test_wrong_quotients_have_a_code_of_their_own(key: rsa.RSAPrivateKey) -> None:
    with pytest.raises(SigStructError) as caught:
        replace(_signed(key), q1=_signed(key).q2).verify()
    assert caught.value.code == "enclave.sigstruct.quotients"


def test_masks_pin_every_flag_and_leave_the_host_only_vector_extensions() -> None:
    assert sigstruct.FLAGS_MASK == 2**64 - 1
    assert sigstruct.MISC_MASK == 2**32 - 1
    assert sigstruct.XFRM_MASK == 0xFFFFFFFFFFF9FF1B
    free = {bit for bit in range(64) if not sigstruct.XFRM_MASK >> bit & 1}
    assert free == {2, 5, 6, 7, 17, 18}  # AVX, three of AVX-512, two of AMX
    assert sigstruct.XFRM_LEGACY == 3


def test_debug_and_production_need_signatures_of_their_own(key: rsa.RSAPrivateKey) -> None:
    production, debug = _signed(key), _signed(key, debug=True)
    assert (production.flags, debug.flags) == (0x4, 0x6)
    assert production.flags & production.flagsmask != debug.flags & production.flagsmask
    assert production.enclavehash == debug.enclavehash  # ATTRIBUTES are signed, not measured


@pytest.mark.parametrize(
    ("day", "expected"),
    [
        (date(2026, 11, 22), "22112620"), (date(2000, 1, 9), "09010020"), (date(1, 2, 3), "03020100"),
        (date(9999, 12, 31), "31129999"),
    ],
)  # fmt: skip
def test_dates_are_decimal_digits_backwards(key: rsa.RSAPrivateKey, day: date, expected: str) -> None:
    structure = sign(_MRENCLAVE, key, debug=False, isvprodid=0, isvsvn=0, signed_on=day)
    assert structure.to_bytes()[20:24].hex() == expected
    assert structure.signed_on == day


@pytest.mark.parametrize("text", ["00000000", "22132620", "2211262a", "ffffffff", "30022620"])
def test_bytes_that_are_no_date(key: rsa.RSAPrivateKey, text: str) -> None:
    assert replace(_signed(key), date=bytes.fromhex(text)).signed_on is None


@pytest.mark.parametrize("numbers", [(65536, 0), (0, 65536), (-1, 0), (0, -1)])
def test_numbers_beyond_16_bits_are_refused(key: rsa.RSAPrivateKey, numbers: tuple[int, int]) -> None:
    with pytest.raises(SigStructError, match=r"is not within 0\.\.65535"):
        sign(_MRENCLAVE, key, debug=False, isvprodid=numbers[0], isvsvn=numbers[1], signed_on=_DAY)


@pytest.mark.parametrize(("bits", "exponent"), [(2048, 3), (3072, 65537)])
def test_only_keys_that_the_cpu_takes_sign(bits: int, exponent: int) -> None:
    other = rsa.generate_private_key(public_exponent=exponent, key_size=bits)
    with pytest.raises(SignerKeyError):
        _signed(other)


@given(data=st.binary(min_size=SIGSTRUCT_BYTES, max_size=SIGSTRUCT_BYTES))
@settings(max_examples=50)
def test_any_bytes_of_the_length_round_trip_and_do_not_verify(data: bytes) -> None:
    structure = SigStruct.parse(data)
    assert structure.to_bytes() == data
    with pytest.raises(SigStructError):
        structure.verify()


@given(
    mrenclave=st.binary(min_size=32, max_size=32),
    debug=st.booleans(),
    isvprodid=st.integers(0, 65535),
    isvsvn=st.integers(0, 65535),
    day=st.dates(),
)
@settings(max_examples=25, deadline=None)
def test_what_is_signed_verifies_and_says_what_was_asked(
    mrenclave: bytes, debug: bool, isvprodid: int, isvsvn: int, day: date
) -> None:
    structure = sign(mrenclave, signer(), debug=debug, isvprodid=isvprodid, isvsvn=isvsvn, signed_on=day)
    structure.verify()
    again = SigStruct.parse(structure.to_bytes())
    assert (again.enclavehash, again.debug, again.isvprodid, again.isvsvn, again.signed_on) == (
        mrenclave, debug, isvprodid, isvsvn, day,
    )  # fmt: skip
    assert again.mrsigner == mrsigner(signer())
