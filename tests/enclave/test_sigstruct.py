from __future__ import annotations

import subprocess
from dataclasses import replace
from datetime import date
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.hazmat.primitives.serialization import (
    BestAvailableEncryption,
    Encoding,
    NoEncryption,
    PrivateFormat,
)

from adyton.base.secret import Secret
from adyton.enclave.errors import SignerKeyError, SigStructError
from adyton.enclave.sigstruct import SIGSTRUCT_BYTES, SigStruct, load_signer, mrsigner, new_signer_pem, sign

_DAY = date(2026, 11, 22)
_MRENCLAVE = bytes(range(32))


@pytest.fixture(scope="module")
def pem() -> bytes:
    return new_signer_pem()


@pytest.fixture(scope="module")
def key(pem: bytes, tmp_path_factory: pytest.TempPathFactory) -> rsa.RSAPrivateKey:
    file = tmp_path_factory.mktemp("key") / "key.pem"
    file.write_bytes(pem)
    return load_signer(file)


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


def test_encrypted_keys_open_with_their_password_only(key: rsa.RSAPrivateKey, tmp_path: Path) -> None:
    file = tmp_path / "key.pem"
    file.write_bytes(key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, BestAvailableEncryption(b"right")))
    assert mrsigner(load_signer(file, Secret("right"))) == mrsigner(key)
    for password in (None, Secret("wrong")):
        with pytest.raises(SignerKeyError):
            load_signer(file, password)


def test_openssl_makes_a_usable_key(tmp_path: Path) -> None:
    file = tmp_path / "key.pem"
    subprocess.run(["openssl", "genrsa", "-3", "-out", str(file), "3072"], check=True, capture_output=True)
    _signed(load_signer(file)).verify()


def _pem(key: rsa.RSAPrivateKey | ec.EllipticCurvePrivateKey) -> bytes:
    return key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())


@pytest.mark.parametrize(
    "content",
    [
        pytest.param(b"", id="empty"),
        pytest.param(b"-----BEGIN PRIVATE KEY-----\nAAAA\n-----END PRIVATE KEY-----\n", id="no key"),
        pytest.param(_pem(rsa.generate_private_key(public_exponent=65537, key_size=2048)), id="RSA-2048"),
        pytest.param(_pem(rsa.generate_private_key(public_exponent=65537, key_size=3072)), id="exponent 65537"),
        pytest.param(_pem(ec.generate_private_key(ec.SECP256R1())), id="elliptic curve"),
    ],
)
def test_unusable_keys_name_the_openssl_line(content: bytes, tmp_path: Path) -> None:
    file = tmp_path / "key.pem"
    file.write_bytes(content)
    with pytest.raises(SignerKeyError) as caught:
        load_signer(file)
    assert "openssl genrsa -3 -out key.pem 3072" in caught.value.hint


def test_a_missing_key_is_named(tmp_path: Path) -> None:
    with pytest.raises(SignerKeyError, match="nokey"):
        load_signer(tmp_path / "nokey.pem")
