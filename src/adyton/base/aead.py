"""Authenticated encryption with bound context: AES-256-GCM and HKDF-SHA256, each use under its own label.

Every derived key names its purpose (domain separation), and every ciphertext is bound to a sequence of context
fields, each length-prefixed so that two different sequences never give the same associated data.
"""

from __future__ import annotations

import os
import struct

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDF

from adyton.base.errors import AdytonError
from adyton.base.secret import Secret

KEY_BYTES = 32
NONCE_BYTES = 12


class DecryptionError(AdytonError):
    """The ciphertext, its context or the key is not the one it was made with."""

    code = "aead.decrypt"


def new_key() -> Secret[bytes]:
    """A fresh random 256-bit key."""
    return Secret(os.urandom(KEY_BYTES))


def derive_key(master: Secret[bytes], label: str, *context: bytes) -> Secret[bytes]:
    """Derive the 256-bit key of one purpose (RFC 5869, HKDF-SHA256; ``label`` and ``context`` are the info)."""
    info = bind(b"adyton/" + label.encode(), *context)
    return Secret(HKDF(algorithm=SHA256(), length=KEY_BYTES, salt=None, info=info).derive(master.reveal()))


def bind(*fields: bytes) -> bytes:
    """Join context fields injectively: each preceded by its length as u32 big-endian."""
    return b"".join(struct.pack(">I", len(field)) + field for field in fields)


def encrypt(key: Secret[bytes], plaintext: bytes, *context: bytes) -> bytes:
    """Return ``nonce(12) || ciphertext || tag(16)`` bound to ``context``."""
    nonce = os.urandom(NONCE_BYTES)
    return nonce + AESGCM(key.reveal()).encrypt(nonce, plaintext, bind(*context))


def decrypt(key: Secret[bytes], blob: bytes, *context: bytes) -> bytes:
    """Open what :func:`encrypt` made under the same key and context.

    Raises:
        DecryptionError: wrong key, wrong context, or altered or truncated bytes.
    """
    try:
        return AESGCM(key.reveal()).decrypt(blob[:NONCE_BYTES], blob[NONCE_BYTES:], bind(*context))
    except (InvalidTag, ValueError) as error:
        raise DecryptionError("the data does not decrypt with this key and context") from error
