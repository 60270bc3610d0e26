"""A file of any size under authenticated encryption, written and read a chunk at a time.

File: ``chunk || chunk || …``, each the AES-256-GCM ciphertext and tag of 64 KiB, the last one of what is left (possibly
nothing). The nonce is the chunk's number and whether it is the last (STREAM, Hoang et al. 2015), so changed, reordered,
repeated, dropped or cut chunks do not open. A key serves for one file only.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from typing import BinaryIO, Final, Protocol

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from adyton.base.errors import AdytonError
from adyton.base.secret import Secret

CHUNK_BYTES: Final = 64 << 10
_TAG_BYTES: Final = 16
_LABEL: Final = b"adyton/sms/backup/1"


class SealedFileError(AdytonError):
    """The file does not open: it was changed, cut, or sealed with another key."""

    code = "sms.backup.damaged"


class Sink(Protocol):
    """Takes bytes."""

    def write(self, data: bytes) -> None:
        """Take ``data``, any number of bytes."""


class SealingWriter:
    """Encrypts what is written to it; the file is complete after :meth:`finish`.

    Attributes:
        size: bytes written to the file.
        digest: SHA-256 of the file, once finished.
    """

    def __init__(self, stream: BinaryIO, key: Secret[bytes]) -> None:
        self._stream = stream
        self._cipher = AESGCM(key.reveal())
        self._buffer = bytearray()
        self._number = 0
        self._hash = hashlib.sha256()
        self.size = 0
        self.digest = ""

    def write(self, data: bytes) -> None:
        """Take ``data``, any number of bytes."""
        self._buffer += data
        while len(self._buffer) > CHUNK_BYTES:  # never the last one: whether more follows is not known yet
            self._seal(bytes(self._buffer[:CHUNK_BYTES]), last=False)
            del self._buffer[:CHUNK_BYTES]

    def finish(self) -> None:
        """Write the last chunk."""
        self._seal(bytes(self._buffer), last=True)
        self.digest = self._hash.hexdigest()

    def _seal(self, plain: bytes, *, last: bool) -> None:
        sealed = self._cipher.encrypt(_nonce(self._number, last=last), plain, _LABEL)
        self._number += 1
        self._hash.update(sealed)
        self._stream.write(sealed)
        self.size += len(sealed)


def open_sealed(stream: BinaryIO, key: Secret[bytes]) -> Iterator[bytes]:
    """The plaintext, a chunk at a time; what was yielded is genuine, the end is the end that was written.

    Raises:
        SealedFileError: a chunk does not open at its place.
    """
    cipher, number = AESGCM(key.reveal()), 0
    sealed = stream.read(CHUNK_BYTES + _TAG_BYTES)
    while True:
        following = stream.read(CHUNK_BYTES + _TAG_BYTES)
        try:
            yield cipher.decrypt(_nonce(number, last=not following), sealed, _LABEL)
        except InvalidTag:
            raise SealedFileError(f"chunk {number} of the backup does not open") from None
        if not following:
            return
        sealed, number = following, number + 1


def _nonce(number: int, *, last: bool) -> bytes:
    return number.to_bytes(11) + bytes([last])
