"""Encrypted wallets: the Ethereum keystore, version 3 (Web3 Secret Storage).

Written as official clients do: scrypt with n = 131072, AES-128-CTR, the member ``Crypto`` with a capital. Read in
either spelling, with scrypt or PBKDF2.
"""

from __future__ import annotations

import hmac
import os
import sys
import unicodedata
import uuid
from collections.abc import Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Final

from cryptography.hazmat.primitives.ciphers import Cipher, algorithms, modes
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.pbkdf2 import PBKDF2HMAC
from cryptography.hazmat.primitives.kdf.scrypt import Scrypt

from adyton.base.errors import AdytonError, InputError
from adyton.base.secret import Secret
from adyton.base.types import Address, keccak
from adyton.chain.wallet import KEY_BYTES, Wallet

SCRYPT_N: Final = 131_072
SCRYPT_R: Final = 8
SCRYPT_P: Final = 1
MAX_SCRYPT_BYTES: Final = 1 << 30  # 128 * n * r; a file must not be able to take all memory
MAX_SCRYPT_P: Final = 16
MAX_PBKDF2_ROUNDS: Final = 10_000_000
_SALT_BYTES: Final = 32
_IV_BYTES: Final = 16
_DERIVED_BYTES: Final = 32  # 16 for the cipher, 16 for the check value


class KeystoreError(InputError):
    """A document that is no keystore of version 3, or uses a method outside it."""

    code = "chain.keystore"


class PasswordError(AdytonError):
    """The password is not the one that the wallet was encrypted with."""

    code = "chain.keystore.password"


def encrypt(wallet: Wallet, password: Secret[str]) -> dict[str, Any]:
    """The keystore document of a wallet; takes about half a second and 128 MiB, by design."""
    salt, iv = os.urandom(_SALT_BYTES), os.urandom(_IV_BYTES)
    derived = _scrypt(password, salt, SCRYPT_N, SCRYPT_R, SCRYPT_P)
    ciphertext = _aes(derived, iv, wallet.private_key().reveal())
    return {
        "address": wallet.address[2:].lower(),
        "id": str(uuid.uuid4()),
        "version": 3,
        "Crypto": {
            "cipher": "aes-128-ctr",
            "cipherparams": {"iv": iv.hex()},
            "ciphertext": ciphertext.hex(),
            "kdf": "scrypt",
            "kdfparams": {"salt": salt.hex(), "n": SCRYPT_N, "dklen": _DERIVED_BYTES, "p": SCRYPT_P, "r": SCRYPT_R},
            "mac": _mac(derived, ciphertext).hex(),
        },
    }


def decrypt(document: Any, password: Secret[str]) -> Wallet:  # noqa: ANN401  # outside JSON
    """The wallet in a keystore document.

    Raises:
        KeystoreError: not a keystore that can be read, or of another account than it says.
        PasswordError: wrong password (or an altered document; the format cannot tell).
    """
    try:
        crypto = _crypto(document)
        if crypto["cipher"] != "aes-128-ctr":
            raise KeystoreError(f"the cipher {crypto['cipher']!r} is not aes-128-ctr")
        iv, ciphertext = bytes.fromhex(crypto["cipherparams"]["iv"]), bytes.fromhex(crypto["ciphertext"])
        mac = bytes.fromhex(crypto["mac"])
        if len(iv) != _IV_BYTES or len(ciphertext) != KEY_BYTES:
            raise KeystoreError("the keystore's fields have wrong lengths")
        derived = _derive(password, crypto["kdf"], crypto["kdfparams"])
    except (KeyError, TypeError, ValueError) as error:
        raise KeystoreError("the document is not a keystore of version 3") from error
    if not hmac.compare_digest(_mac(derived, ciphertext), mac):
        raise PasswordError("incorrect password")
    wallet = Wallet(Secret(_aes(derived, iv, ciphertext)))
    named = document.get("address")
    if named is not None and str(named).lower().removeprefix("0x") != wallet.address[2:].lower():
        raise KeystoreError(f"the keystore says it is of {named}, but its key is of {wallet.address}")
    return wallet


def default_dir(home: Path | None = None, platform: str = sys.platform) -> Path:
    """Where official clients keep keystores."""
    base = Path.home() if home is None else home
    if platform == "darwin":
        return base / "Library" / "Ethereum" / "keystore"
    if platform == "win32":
        return base / "AppData" / "Roaming" / "Ethereum" / "keystore"
    return base / ".ethereum" / "keystore"


def file_name(address: Address, now: datetime) -> str:
    """The name under which official clients save a keystore made ``now``."""
    utc = now.astimezone(UTC)
    return f"UTC--{utc:%Y-%m-%dT%H-%M-%S}.{utc.microsecond // 1000:03d}000000Z--{address[2:]}"


def _crypto(document: Any) -> Mapping[str, Any]:  # noqa: ANN401
    if not isinstance(document, Mapping) or document.get("version") != 3:
        raise KeystoreError("the document is not a keystore of version 3")
    crypto = document.get("Crypto", document.get("crypto"))
    if not isinstance(crypto, Mapping):
        raise KeystoreError("the keystore has no crypto member")
    return crypto


def _derive(password: Secret[str], kdf: str, parameters: Mapping[str, Any]) -> bytes:
    salt = bytes.fromhex(parameters["salt"])
    if parameters["dklen"] != _DERIVED_BYTES:
        raise KeystoreError("the keystore's derived key has not 32 bytes")
    if kdf == "scrypt":
        n, r, p = (parameters[name] for name in "nrp")
        valid = all(isinstance(each, int) and each > 0 for each in (n, r, p)) and n > 1 and n & (n - 1) == 0
        if not valid or 128 * n * r > MAX_SCRYPT_BYTES or p > MAX_SCRYPT_P:
            raise KeystoreError(f"scrypt with n={n}, r={r}, p={p} is outside what is accepted")
        return _scrypt(password, salt, n, r, p)
    if kdf == "pbkdf2" and parameters["prf"] == "hmac-sha256":
        rounds = parameters["c"]
        if not isinstance(rounds, int) or not 0 < rounds <= MAX_PBKDF2_ROUNDS:
            raise KeystoreError(f"PBKDF2 with {rounds} rounds is outside what is accepted")
        return PBKDF2HMAC(SHA256(), _DERIVED_BYTES, salt, rounds).derive(_password_bytes(password))
    raise KeystoreError(f"the key derivation {kdf!r} is not supported")


def _scrypt(password: Secret[str], salt: bytes, n: int, r: int, p: int) -> bytes:
    return Scrypt(salt=salt, length=_DERIVED_BYTES, n=n, r=r, p=p).derive(_password_bytes(password))


def _password_bytes(password: Secret[str]) -> bytes:
    # Official clients normalise, so that one password has one form whatever keyboard typed it.
    return unicodedata.normalize("NFKC", password.reveal()).encode()


def _aes(derived: bytes, iv: bytes, data: bytes) -> bytes:
    stream = Cipher(algorithms.AES(derived[:16]), modes.CTR(iv)).encryptor()
    return stream.update(data) + stream.finalize()


def _mac(derived: bytes, ciphertext: bytes) -> bytes:
    return keccak(derived[16:32] + ciphertext)
