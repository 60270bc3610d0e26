"""Dataset and result ciphertexts: round trips, wrong keys, malformed input, legacy reader (client reference 5, 9.4)."""

from __future__ import annotations

import base64
import io
import os
import zipfile

import pytest
from cryptography.hazmat.primitives import padding as block_padding
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec, padding, rsa
from cryptography.hazmat.primitives.ciphers import Cipher, algorithms, modes

from adyton.base.secret import Secret
from adyton.compute.encryption import (
    DatasetDecryptionError,
    DatasetKeyError,
    PublicKeyError,
    ResultArchiveError,
    ResultDecryptionError,
    ResultEncryptionError,
    ResultKeyError,
    dataset_checksum,
    decrypt_dataset,
    decrypt_result,
    encrypt_dataset,
    encrypt_result,
    new_dataset_key,
    parse_public_key,
)

KEYS = [rsa.generate_private_key(65537, 2048) for _ in range(2)]


def private_pem(key: rsa.RSAPrivateKey | ec.EllipticCurvePrivateKey) -> Secret[bytes]:
    encoding, form = serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8
    return Secret(key.private_bytes(encoding, form, serialization.NoEncryption()))


def public_pem(key: rsa.RSAPrivateKey | ec.EllipticCurvePrivateKey) -> bytes:
    return key.public_key().public_bytes(serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo)


def archive(text: str = "hello") -> bytes:
    stream = io.BytesIO()
    with zipfile.ZipFile(stream, "w") as bundle:
        bundle.writestr("result.txt", text)
    return stream.getvalue()


def bundle(key: bytes, payload: bytes) -> bytes:
    stream = io.BytesIO()
    with zipfile.ZipFile(stream, "w") as writer:
        writer.writestr("aes-key.rsa", key)
        writer.writestr("iexec_out.zip.aes", payload)
    return stream.getvalue()


@pytest.mark.parametrize("size", [0, 1, 15, 16, 17, 100_000])
def test_dataset_round_trip(size: int) -> None:
    key, data = new_dataset_key(), os.urandom(size)
    encrypted = encrypt_dataset(data, key)
    assert len(encrypted) == 16 + (size // 16 + 1) * 16
    assert decrypt_dataset(encrypted, key) == data
    assert encrypt_dataset(data, key) != encrypted


def test_dataset_checksum_is_over_the_ciphertext() -> None:
    assert dataset_checksum(b"") == "0xe3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"


@pytest.mark.parametrize("data", [b"", b"x" * 15, b"x" * 16, b"x" * 17, b"x" * 47])
def test_dataset_truncated(data: bytes) -> None:
    with pytest.raises(DatasetDecryptionError):
        decrypt_dataset(data, new_dataset_key())


@pytest.mark.parametrize(
    "key", ["", "abc", "ü", base64.b64encode(bytes(16)).decode(), base64.b64encode(bytes(33)).decode()]
)
def test_dataset_key_must_be_32_bytes(key: str) -> None:
    with pytest.raises(DatasetKeyError):
        decrypt_dataset(bytes(32), Secret(key))


def test_result_round_trip() -> None:
    inner = archive()
    encrypted = encrypt_result(inner, public_pem(KEYS[0]))
    with zipfile.ZipFile(io.BytesIO(encrypted)) as reader:
        assert sorted(reader.namelist()) == ["aes-key.rsa", "iexec_out.zip.aes"]
        assert len(reader.read("aes-key.rsa")) == 256
        assert inner not in encrypted
    assert decrypt_result(encrypted, private_pem(KEYS[0])) == inner


def test_wrong_private_key_is_told_although_openssl_answers_with_random_bytes() -> None:
    for _ in range(20):  # implicit rejection gives another length each time
        with pytest.raises((ResultKeyError, ResultDecryptionError)) as caught:
            decrypt_result(encrypt_result(archive(), public_pem(KEYS[0])), private_pem(KEYS[1]))
        assert str(caught.value).startswith("Failed to decrypt results")


def test_wrong_kinds_of_keys() -> None:
    curve = ec.generate_private_key(ec.SECP256R1())
    encrypted = encrypt_result(archive(), public_pem(KEYS[0]))
    for pem in (private_pem(curve), Secret(b"not a key"), Secret(b"")):
        with pytest.raises(ResultKeyError, match="Invalid beneficiary key"):
            decrypt_result(encrypted, pem)
    weak = rsa.generate_private_key(65537, 1024)  # noqa: S505  # what must be refused
    for public in (public_pem(curve), public_pem(weak), b"", b"not a key"):
        with pytest.raises(ResultEncryptionError):
            encrypt_result(archive(), public)
    with pytest.raises(ResultEncryptionError):
        encrypt_result(b"", public_pem(KEYS[0]))


def test_malformed_bundles() -> None:
    pem = private_pem(KEYS[0])
    stream = io.BytesIO()
    with zipfile.ZipFile(stream, "w") as writer:
        writer.writestr("aes-key.rsa", b"x")
    cases = {
        b"": "Failed to load",
        b"PK\x03\x04": "Failed to load",
        stream.getvalue(): "Missing iexec_out.zip.aes",
        bundle(b"k" * 1001, b""): "aes-key.rsa is too large",
    }
    for data, text in cases.items():
        with pytest.raises(ResultArchiveError, match=text):
            decrypt_result(data, pem)


def test_payload_that_is_no_archive() -> None:
    key = KEYS[0].public_key().encrypt(bytes(32), padding.PKCS1v15())
    for payload in (b"", b"x" * 16, b"x" * 33, bytes(64)):
        with pytest.raises(ResultDecryptionError):
            decrypt_result(bundle(key, payload), private_pem(KEYS[0]))


def test_legacy_result_can_be_read() -> None:
    aes, inner = os.urandom(16), archive("old")
    padder = block_padding.PKCS7(128).padder()
    encryptor = Cipher(algorithms.AES(aes), modes.ECB()).encryptor()  # noqa: S305  # what old deployments wrote
    payload = base64.b64encode(encryptor.update(padder.update(inner) + padder.finalize()) + encryptor.finalize())
    key = base64.b64encode(KEYS[0].public_key().encrypt(base64.b64encode(aes), padding.PKCS1v15()))
    assert decrypt_result(bundle(key, payload), private_pem(KEYS[0])) == inner


def test_public_key_secret_is_base64_of_pem() -> None:
    pem = public_pem(KEYS[0])
    assert parse_public_key(base64.b64encode(pem).decode()) == pem
    for text in ("%%%", pem.decode(), base64.b64encode(b"\xff\xfe").decode()):
        with pytest.raises(PublicKeyError):
            parse_public_key(text)
