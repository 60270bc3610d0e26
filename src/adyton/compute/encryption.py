"""The two ciphertext formats of the protocol: datasets and results (SMS reference 6.2, 7.3; SDK reader rules).

Dataset: ``IV(16) || AES-256-CBC-PKCS7(plaintext)``; its checksum is the SHA-256 of exactly those bytes. Result: a zip
of ``iexec_out.zip.aes`` (same layout, fresh key) and ``aes-key.rsa`` (that key under RSA PKCS#1 v1.5). Neither has a
MAC: integrity of a dataset comes from its on-chain checksum, of a result from its on-chain digest. The formats are the
protocol's; what is ours to choose uses :mod:`adyton.base.aead`.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import io
import os
import zipfile
from typing import Final

from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives import padding, serialization
from cryptography.hazmat.primitives.asymmetric import padding as rsa_padding
from cryptography.hazmat.primitives.asymmetric import rsa
from cryptography.hazmat.primitives.ciphers import Cipher, algorithms, modes

from adyton.base.errors import AdytonError
from adyton.base.secret import Secret
from adyton.base.types import Bytes32, parse_bytes32, to_hex

KEY_BYTES: Final = 32
IV_BYTES: Final = 16
KEY_ENTRY: Final = "aes-key.rsa"
PAYLOAD_ENTRY: Final = "iexec_out.zip.aes"
MAX_KEY_ENTRY_BYTES: Final = 1000  # the official reader's limits
MAX_PAYLOAD_BYTES: Final = 1 << 30
_LEGACY_KEY_BYTES: Final = 16
_MIN_RSA_BITS: Final = 2048
_BLOCK_BITS: Final = 128
_ZIP_MAGICS: Final = (b"PK\x03\x04", b"PK\x05\x06")


class DatasetKeyError(AdytonError):
    """A dataset key is not base64 text of 32 bytes."""

    code = "compute.dataset.key"
    hint = "push the key file that 'iexec dataset encrypt' wrote"


class DatasetDecryptionError(AdytonError):
    """The dataset's bytes do not decrypt under the key."""

    code = "compute.dataset.decrypt"


class PublicKeyError(AdytonError):
    """The beneficiary's encryption key is malformed."""

    code = "compute.result.public_key"
    hint = "push the key with 'iexec result push-encryption-key'"


class ResultEncryptionError(AdytonError):
    """The result cannot be encrypted for this beneficiary."""

    code = "compute.result.encrypt"


class ResultArchiveError(AdytonError):
    """The encrypted result's archive is not the format: not a zip, or an entry is missing or too large."""

    code = "compute.result.archive"


class ResultKeyError(AdytonError):
    """The private key does not open the result's key: it is another beneficiary's."""

    code = "compute.result.key"
    hint = "use the private key whose public half was pushed when the task was bought"


class ResultDecryptionError(AdytonError):
    """The result's payload does not decrypt under its key."""

    code = "compute.result.decrypt"


def new_dataset_key() -> Secret[str]:
    """A fresh dataset key: base64 text of 32 random bytes, without a newline."""
    return Secret(base64.b64encode(os.urandom(KEY_BYTES)).decode())


def parse_dataset_key(text: Secret[str]) -> Secret[bytes]:
    """Decode a dataset key.

    Raises:
        DatasetKeyError: not base64, or not 32 bytes.
    """
    try:
        key = base64.b64decode(text.reveal(), validate=True)
    except (binascii.Error, ValueError) as error:
        raise DatasetKeyError("the dataset key is not base64 text") from error
    if len(key) != KEY_BYTES:
        raise DatasetKeyError(f"the dataset key has {len(key)} bytes, not {KEY_BYTES}")
    return Secret(key)


def encrypt_dataset(plaintext: bytes, key: Secret[str]) -> bytes:
    """Encrypt a dataset under a fresh IV.

    Raises:
        DatasetKeyError: malformed key.
    """
    return _cbc_encrypt(parse_dataset_key(key), plaintext)


def decrypt_dataset(data: bytes, key: Secret[str]) -> bytes:
    """Decrypt what :func:`encrypt_dataset` made.

    Raises:
        DatasetKeyError: malformed key.
        DatasetDecryptionError: wrong key, or altered or truncated bytes.
    """
    try:
        return _cbc_decrypt(parse_dataset_key(key), data)
    except ValueError as error:
        raise DatasetDecryptionError("the dataset does not decrypt with this key") from error


def dataset_checksum(data: bytes) -> Bytes32:
    """SHA-256 of the encrypted bytes, as it stands on the chain."""
    return parse_bytes32(to_hex(hashlib.sha256(data).digest()))


def parse_public_key(value: str) -> bytes:
    """Decode the web2 secret of a beneficiary (base64 of PEM text) to PEM bytes.

    Raises:
        PublicKeyError: not base64 of UTF-8 text.
    """
    try:
        pem = base64.b64decode(value, validate=True)
        pem.decode()
    except (binascii.Error, ValueError) as error:
        raise PublicKeyError("the encryption key is not base64 of PEM text") from error
    return pem


def encrypt_result(archive: bytes, public_key_pem: bytes) -> bytes:
    """Encrypt a result archive for the holder of an RSA key; returns the zip that is uploaded.

    Raises:
        ResultEncryptionError: nothing to encrypt, not an RSA SPKI key, or a key under 2048 bits.
    """
    if not archive:
        raise ResultEncryptionError("there is nothing to encrypt")
    try:
        public_key = serialization.load_pem_public_key(public_key_pem)
    except (ValueError, UnsupportedAlgorithm) as error:
        raise ResultEncryptionError("the beneficiary's key is not a PEM public key") from error
    if not isinstance(public_key, rsa.RSAPublicKey) or public_key.key_size < _MIN_RSA_BITS:
        raise ResultEncryptionError(f"the beneficiary's key is not an RSA key of at least {_MIN_RSA_BITS} bits")
    key = Secret(os.urandom(KEY_BYTES))
    bundle = io.BytesIO()
    with zipfile.ZipFile(bundle, "w", zipfile.ZIP_STORED) as writer:
        writer.writestr(PAYLOAD_ENTRY, _cbc_encrypt(key, archive))
        writer.writestr(KEY_ENTRY, public_key.encrypt(key.reveal(), rsa_padding.PKCS1v15()))
    return bundle.getvalue()


def decrypt_result(bundle: bytes, private_key_pem: Secret[bytes]) -> bytes:
    """Open an encrypted result; returns the inner result archive.

    Reads the current format and the legacy one (AES-128-ECB, everything base64). OpenSSL 3.2 and later answer a wrong
    RSA key with random bytes instead of an error (implicit rejection), so the key's length decides.

    Raises:
        ResultArchiveError: not such a zip.
        ResultKeyError: the private key is not an RSA key, or not the right one.
        ResultDecryptionError: the payload does not decrypt.
    """
    key_entry, payload = _read_bundle(bundle)
    try:
        private_key = serialization.load_pem_private_key(private_key_pem.reveal(), password=None)
    except (ValueError, TypeError, UnsupportedAlgorithm) as error:
        raise ResultKeyError("Invalid beneficiary key") from error
    if not isinstance(private_key, rsa.RSAPrivateKey):
        raise ResultKeyError("Invalid beneficiary key")
    key = _unwrap(private_key, key_entry)
    try:
        archive = (
            _cbc_decrypt(key, payload)
            if len(key) == KEY_BYTES
            else _ecb_decrypt(key, base64.b64decode(payload, validate=True))
        )
    except ValueError as error:  # includes binascii.Error
        raise ResultDecryptionError("Failed to decrypt results with decrypted results key") from error
    if not archive.startswith(_ZIP_MAGICS):
        raise ResultDecryptionError("Failed to decrypt results with decrypted results key")
    return archive


def _unwrap(private_key: rsa.RSAPrivateKey, entry: bytes) -> Secret[bytes]:
    modulus_bytes = (private_key.key_size + 7) // 8
    try:
        if len(entry) == modulus_bytes:
            key = private_key.decrypt(entry, rsa_padding.PKCS1v15())
            if len(key) == KEY_BYTES:
                return Secret(key)
        else:
            wrapped = base64.b64decode(entry, validate=True)
            key = base64.b64decode(private_key.decrypt(wrapped, rsa_padding.PKCS1v15()), validate=True)
            if len(key) == _LEGACY_KEY_BYTES:
                return Secret(key)
    except ValueError as error:
        raise ResultKeyError("Failed to decrypt results key with beneficiary key") from error
    raise ResultKeyError("Failed to decrypt results key with beneficiary key")


def _read_bundle(bundle: bytes) -> tuple[bytes, bytes]:
    try:
        with zipfile.ZipFile(io.BytesIO(bundle)) as reader:
            return (
                _entry(reader, KEY_ENTRY, MAX_KEY_ENTRY_BYTES),
                _entry(reader, PAYLOAD_ENTRY, MAX_PAYLOAD_BYTES),
            )
    except (zipfile.BadZipFile, NotImplementedError, EOFError, RuntimeError, OSError) as error:
        raise ResultArchiveError("Failed to load encrypted results zip file") from error


def _entry(reader: zipfile.ZipFile, name: str, limit: int) -> bytes:
    try:
        info = reader.getinfo(name)
    except KeyError as error:
        raise ResultArchiveError(f"Missing {name} file in zip input file") from error
    if info.file_size > limit:
        raise ResultArchiveError(f"{name} is too large")
    with reader.open(info) as stream:
        data = stream.read(limit + 1)  # the declared size may lie
    if len(data) > limit:
        raise ResultArchiveError(f"{name} is too large")
    return data


def _cbc_encrypt(key: Secret[bytes], plaintext: bytes) -> bytes:
    iv = os.urandom(IV_BYTES)
    padder = padding.PKCS7(_BLOCK_BITS).padder()
    encryptor = Cipher(algorithms.AES(key.reveal()), modes.CBC(iv)).encryptor()
    return b"".join((iv, encryptor.update(padder.update(plaintext) + padder.finalize()), encryptor.finalize()))


def _cbc_decrypt(key: Secret[bytes], data: bytes) -> bytes:
    if len(data) < IV_BYTES:
        raise ValueError("shorter than an initialisation vector")
    decryptor = Cipher(algorithms.AES(key.reveal()), modes.CBC(data[:IV_BYTES])).decryptor()
    unpadder = padding.PKCS7(_BLOCK_BITS).unpadder()
    return unpadder.update(decryptor.update(data[IV_BYTES:]) + decryptor.finalize()) + unpadder.finalize()


def _ecb_decrypt(key: Secret[bytes], data: bytes) -> bytes:
    # Only to read results of old deployments; nothing is ever written in this format.
    decryptor = Cipher(algorithms.AES(key.reveal()), modes.ECB()).decryptor()  # noqa: S305
    unpadder = padding.PKCS7(_BLOCK_BITS).unpadder()
    return unpadder.update(decryptor.update(data) + decryptor.finalize()) + unpadder.finalize()
