"""Signer keys: reading them from PEM files, making them, and naming what is wrong with a file that holds none.

SGX takes RSA with 3072 bits and exponent 3 and nothing else (Intel SDM vol. 3D, 38.13). A file holds one private key:
PKCS#1 ("RSA PRIVATE KEY") or PKCS#8 ("PRIVATE KEY"), plain, encrypted PKCS#8, or with the older encryption of OpenSSL
("Proc-Type: 4,ENCRYPTED"; RFC 1421).
"""

from __future__ import annotations

import hashlib
import os
import re
import stat
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric import dsa, ec, ed448, ed25519, rsa, x448, x25519
from cryptography.hazmat.primitives.serialization import (
    BestAvailableEncryption,
    Encoding,
    KeySerializationEncryption,
    NoEncryption,
    PrivateFormat,
    load_pem_private_key,
)

from adyton.base.secret import Secret
from adyton.enclave.errors import SignerKeyError

KEY_BITS: Final = 3072
KEY_BYTES: Final = KEY_BITS // 8
EXPONENT: Final = 3
MAX_FILE_BYTES: Final = 1 << 16  # a PEM of RSA-3072 has 2.5 kB; whatever is beyond is something else

_BEGIN = re.compile(rb"^-----BEGIN ([A-Z0-9 ]+)-----\s*$", re.MULTILINE)
_KEY_LABELS: Final = frozenset({b"PRIVATE KEY", b"ENCRYPTED PRIVATE KEY", b"RSA PRIVATE KEY"})
_OTHER_LABELS: Final = {
    b"EC PRIVATE KEY": "an elliptic curve key, not RSA",
    b"EC PARAMETERS": "an elliptic curve key, not RSA",
    b"DSA PRIVATE KEY": "a DSA key, not RSA",
    b"OPENSSH PRIVATE KEY": "a private key in OpenSSH's own format",
    b"PUBLIC KEY": "a public key only; signing needs the private one",
    b"RSA PUBLIC KEY": "a public key only; signing needs the private one",
    b"CERTIFICATE": "a certificate; signing needs a private key",
    b"TRUSTED CERTIFICATE": "a certificate; signing needs a private key",
    b"CERTIFICATE REQUEST": "a certificate request; signing needs a private key",
    b"SSH2 PUBLIC KEY": "an SSH public key; signing needs a private key",
}
_OTHER_KEYS: Final = (
    (dsa.DSAPrivateKey, "a DSA key, not RSA"),
    (ed25519.Ed25519PrivateKey, "an Ed25519 key, not RSA"),
    (ed448.Ed448PrivateKey, "an Ed448 key, not RSA"),
    (x25519.X25519PrivateKey, "an X25519 key, not RSA"),
    (x448.X448PrivateKey, "an X448 key, not RSA"),
)


@dataclass(frozen=True, slots=True)
class SignerFile:
    """A file that has the form of a signer key; :meth:`open` gives the key in it.

    Attributes:
        path: where it was read.
        encrypted: whether a passphrase is needed.
        exposed: whether others than its owner can read the file.
    """

    path: Path
    encrypted: bool
    exposed: bool
    _pem: Secret[bytes] = field(repr=False)

    @classmethod
    def read(cls, path: Path) -> SignerFile:
        """Read a file and see that it can hold one private key.

        Raises:
            SignerKeyError: it cannot be read, or is visibly something else; says what.
        """
        try:
            with path.open("rb") as stream:
                status = os.fstat(stream.fileno())
                pem = stream.read(MAX_FILE_BYTES + 1)
        except OSError as error:
            raise SignerKeyError(f"cannot read the signer key {path}: {error.strerror}") from error
        labels = _BEGIN.findall(pem)
        problem = _problem_with(pem, labels)
        if problem:
            raise SignerKeyError(f"{path} is no signer key: it is {problem}")
        encrypted = labels[0] == b"ENCRYPTED PRIVATE KEY" or b"Proc-Type: 4,ENCRYPTED" in pem
        exposed = stat.S_ISREG(status.st_mode) and bool(status.st_mode & 0o077)
        return cls(path, encrypted, exposed, Secret(pem))

    def open(self, passphrase: Secret[str] | None = None) -> rsa.RSAPrivateKey:
        """The key.

        Args:
            passphrase: needed if the file is encrypted, and refused if it is not: who gives one believes it is.

        Raises:
            SignerKeyError: no or a wrong passphrase, a damaged file, or another kind of key.
        """
        if self.encrypted and not passphrase:
            raise SignerKeyError(
                f"the signer key {self.path} is encrypted and no passphrase was given",
                code="enclave.signer.passphrase",
                hint="type it on a terminal, or name a private file that holds it with --passphrase-file FILE",
            )
        if passphrase is not None and not self.encrypted:
            raise SignerKeyError(
                f"a passphrase was given, but the signer key {self.path} is not encrypted",
                code="enclave.signer.passphrase",
                hint="leave the passphrase out, or encrypt the key: openssl pkcs8 -topk8 -in KEY -out ENCRYPTED",
            )
        try:
            key = load_pem_private_key(self._pem.reveal(), passphrase.reveal().encode() if passphrase else None)
        except (ValueError, TypeError, UnsupportedAlgorithm) as error:
            raise self._unopened(error) from error
        if not isinstance(key, rsa.RSAPrivateKey):
            raise SignerKeyError(f"{self.path} is no signer key: it is {_kind_of(key)}")
        require_signer(key)
        return key

    def _unopened(self, error: Exception) -> SignerKeyError:
        if isinstance(error, UnsupportedAlgorithm):
            return SignerKeyError(f"the signer key {self.path} is of a kind, or encrypted in a way, that is unknown")
        if self.encrypted:
            return SignerKeyError(
                f"the signer key {self.path} does not open with this passphrase, or is damaged",
                code="enclave.signer.passphrase",
                hint="passphrases are exact: capital letters and spaces count",
            )
        return SignerKeyError(f"the signer key {self.path} is damaged: its PEM holds no private key")


def load_signer(pem_path: Path, passphrase: Secret[str] | None = None) -> rsa.RSAPrivateKey:
    """Read a signer key.

    Raises:
        SignerKeyError: unreadable file, no or a wrong passphrase, or not one RSA-3072 key with exponent 3.
    """
    return SignerFile.read(pem_path).open(passphrase)


def require_signer(key: rsa.RSAPrivateKey) -> None:
    """Refuse what no CPU takes.

    Raises:
        SignerKeyError: not 3072 bits, or another exponent than 3.
    """
    exponent = key.public_key().public_numbers().e
    if key.key_size != KEY_BITS or exponent != EXPONENT:
        raise SignerKeyError(
            f"an enclave signer key is RSA-{KEY_BITS} with exponent {EXPONENT};"
            f" this one is RSA-{key.key_size} with exponent {exponent}"
        )


def new_signer() -> rsa.RSAPrivateKey:
    """A fresh signer key; the CPU accepts no exponent but 3."""
    return rsa.generate_private_key(public_exponent=EXPONENT, key_size=KEY_BITS)


def new_signer_pem(passphrase: Secret[str] | None = None) -> bytes:
    """A fresh signer key as PKCS#8 PEM, encrypted if there is a passphrase."""
    protection: KeySerializationEncryption = NoEncryption()
    if passphrase:
        protection = BestAvailableEncryption(passphrase.reveal().encode())
    return new_signer().private_bytes(Encoding.PEM, PrivateFormat.PKCS8, protection)


def mrsigner(key: rsa.RSAPrivateKey | rsa.RSAPublicKey) -> bytes:
    """SHA-256 of the modulus, 384 bytes little-endian: the identity of whoever holds ``key``."""
    public = key.public_key() if isinstance(key, rsa.RSAPrivateKey) else key
    return hashlib.sha256(public.public_numbers().n.to_bytes(KEY_BYTES, "little")).digest()


def _problem_with(data: bytes, labels: list[bytes]) -> str:
    """What a file is, if it is not one private key in PEM; empty if it may be."""
    if not data:
        return "empty"
    if len(data) > MAX_FILE_BYTES:
        return f"larger than {MAX_FILE_BYTES} bytes"
    if not labels:
        return _not_pem(data)
    keys = [label for label in labels if label in _KEY_LABELS]
    if len(labels) > 1 and keys:
        names = ", ".join(label.decode() for label in labels)
        return f"a file with {len(labels)} PEM blocks ({names}); it must hold one private key and nothing else"
    if not keys:
        return _OTHER_LABELS.get(labels[0], f"PEM of type {labels[0].decode()}")
    return ""


def _not_pem(data: bytes) -> str:
    if data.startswith((b"\x30\x80", b"\x30\x81", b"\x30\x82")):
        return "DER, not PEM; convert it: openssl rsa -inform DER -in KEY -out KEY.pem"
    if data.startswith((b"ssh-", b"ecdsa-", b"sk-")):
        return "an SSH public key; signing needs a private key"
    return "not PEM: it has no line -----BEGIN PRIVATE KEY-----"


def _kind_of(key: object) -> str:
    if isinstance(key, ec.EllipticCurvePrivateKey):
        return f"an elliptic curve key ({key.curve.name}), not RSA"
    return next((text for kind, text in _OTHER_KEYS if isinstance(key, kind)), "a key of another kind, not RSA")
