"""The head file: what the CAS last acknowledged, kept outside the database so that an older database shows.

``cas.head`` holds the number and hash of the last audit entry that was acknowledged, encrypted under the master key.
It is written after the database's commit and before the answer, so at every moment the database is at the head or
ahead of it, never behind: one that is behind was put back. Format: two sectors of 512 bytes, written in turn, each
``nonce(12) || AES-256-GCM of {generation u64, entry u64, hash 32, counter u64, big-endian} || tag(16)`` bound to its
place, rest zero. A write that is torn leaves the other sector, which is one step older: the step that was not
acknowledged.

Who puts back *all* files together, as they were at one moment, gives the CAS a consistent state, and no file can tell.
For that bring a :class:`~adyton.platform.sealing.RollbackCounter`: then each write raises it, and only the newest head
opens. Without one, a head that was published elsewhere and is named at the start (``ADYTON_CAS_AUDIT_ANCHOR``) shows
whatever is older than it.
"""

from __future__ import annotations

import fcntl
import hmac
import os
import re
import struct
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final, Self

from adyton.base import aead
from adyton.base.auditchain import GENESIS
from adyton.base.errors import AdytonError, InputError, UnavailableError
from adyton.base.files import write_private
from adyton.base.secret import Secret
from adyton.cas.errors import SealedStateError
from adyton.platform.sealing import RollbackCounter

_DOMAIN: Final = b"adyton/cas/head-file/1"
_SECTOR: Final = 512
_SECTORS: Final = 2
_FIELDS: Final = struct.Struct(">QQ32sQ")
_BLOB: Final = aead.NONCE_BYTES + _FIELDS.size + 16
_ANCHOR: Final = re.compile(r"([0-9]{1,15}):([0-9a-f]{64})")


class RolledBackError(AdytonError):
    """The stored state is older than what this CAS has acknowledged."""

    code = "cas.state.rolled_back"
    hint = (
        "put the newest copy of the folder back, all files of one moment together; sessions that were acknowledged"
        " since the older copy are not in it, and the CAS does not go on as if they had never been"
    )


@dataclass(frozen=True, slots=True)
class Anchor:
    """An audit entry that the log must contain: its number, from 1, and its hash."""

    seq: int
    hash: str

    @classmethod
    def parse(cls, text: str) -> Self:
        """Read ``NUMBER:HASH``, as ``adyton audit publish`` and ``adyton audit verify`` print it.

        Raises:
            InputError: another form.
        """
        if (match := _ANCHOR.fullmatch(text)) is None or int(match[1]) == 0:
            raise InputError(
                f"{text[:100]!r} is no head of an audit log",
                code="cas.state.anchor",
                hint="write NUMBER:HASH as 'adyton audit verify' prints it",
            )
        return cls(int(match[1]), match[2])

    def __str__(self) -> str:
        return f"{self.seq}:{self.hash}"


@dataclass(frozen=True, slots=True)
class _Head:
    generation: int
    seq: int
    hash: str
    counter: int


class HeadFile:
    """The open file; locked, so that no second CAS runs on the same state.

    Args:
        path: where it is.
        keys: the key it is encrypted under; after an interrupted rotation the new one and the old one. The first
            encrypts what is written.
        counter: see the module.

    Raises:
        SealedStateError: ``cas.state.head_missing``, ``cas.state.head_corrupt``: no sector opens.
        RolledBackError: the counter says that it is not the newest.
        UnavailableError: ``cas.state.in_use``: another process has it open.
    """

    def __init__(self, path: Path, keys: Sequence[Secret[bytes]], counter: RollbackCounter | None = None) -> None:
        self._key = keys[0]
        self._counter = counter
        self._file = _open_locked(path)
        try:
            self._head = self._newest(path, keys)
            self._take_step(path)
        except BaseException:
            os.close(self._file)
            raise

    @staticmethod
    def create(path: Path, key: Secret[bytes], counter: RollbackCounter | None = None) -> None:
        """Make the file of a state that has acknowledged nothing."""
        value = 0 if counter is None else counter.read()
        sectors = (_sector(key, place, _Head(place, 0, GENESIS, value)) for place in range(_SECTORS))
        write_private(path, b"".join(sectors))

    @property
    def anchor(self) -> Anchor:
        """The last acknowledged entry; number 0 before the first."""
        return Anchor(self._head.seq, self._head.hash)

    def advance(self, seq: int, digest: str) -> None:
        """Write down that ``seq`` is acknowledged from now on; on disk when this returns.

        Raises:
            OSError: it cannot be written; nothing may be acknowledged.
            PlatformError: the counter cannot be reached; likewise.
        """
        value = 0 if self._counter is None else self._counter.read() + 1
        head = _Head(self._head.generation + 1, seq, digest, value)
        self._write(head)
        if self._counter is not None:
            self._counter.increment()
        self._head = head

    def rekey(self, key: Secret[bytes], seq: int, digest: str) -> None:
        """Write both sectors anew, under another key.

        Raises:
            OSError, PlatformError: as :meth:`advance`.
        """
        self._key = key
        for _ in range(_SECTORS):
            self.advance(seq, digest)

    def close(self) -> None:
        """Close the file and let go of the lock."""
        os.close(self._file)

    def _write(self, head: _Head) -> None:
        place = head.generation % _SECTORS
        os.pwrite(self._file, _sector(self._key, place, head), place * _SECTOR)
        os.fdatasync(self._file)

    def _newest(self, path: Path, keys: Sequence[Secret[bytes]]) -> _Head:
        data = os.pread(self._file, _SECTORS * _SECTOR, 0)
        found = [
            head
            for place in range(_SECTORS)
            for key in keys
            if (head := _read(key, place, data[place * _SECTOR : place * _SECTOR + _BLOB])) is not None
        ]
        if not found:
            raise SealedStateError(
                f"{path} is damaged, or belongs to another state: no part of it opens",
                code="cas.state.head_corrupt",
                hint="put it back together with the database and the key that it was copied with",
            )
        return max(found, key=lambda head: head.generation)

    def _take_step(self, path: Path) -> None:
        """Compare with the counter, and raise it where the writer was interrupted before it could."""
        if self._counter is None:
            return
        value, kept = self._counter.read(), self._head.counter
        if kept not in (value, value + 1):
            raise RolledBackError(
                f"{path} is not the newest: it was written at counter value {kept}, now it is {value}"
            )
        if kept == value + 1:
            self._counter.increment()


def _sector(key: Secret[bytes], place: int, head: _Head) -> bytes:
    plain = _FIELDS.pack(head.generation, head.seq, bytes.fromhex(head.hash), head.counter)
    return aead.encrypt(key, plain, _DOMAIN, bytes([place])).ljust(_SECTOR, b"\0")


def _read(key: Secret[bytes], place: int, blob: bytes) -> _Head | None:
    try:
        generation, seq, digest, counter = _FIELDS.unpack(aead.decrypt(key, blob, _DOMAIN, bytes([place])))
    except aead.DecryptionError:
        return None
    return _Head(generation, seq, digest.hex(), counter)


def _open_locked(path: Path) -> int:
    try:
        file = os.open(path, os.O_RDWR | os.O_CLOEXEC)
    except FileNotFoundError as error:
        raise SealedStateError(
            f"{path} is missing: without it nobody can tell whether the database is the newest",
            code="cas.state.head_missing",
            hint="put it back together with the database and the key that it was copied with",
        ) from error
    except OSError as error:
        raise UnavailableError(
            f"{path} cannot be opened: {error.strerror}", code="cas.state.head_unreadable"
        ) from error
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError as error:
        os.close(file)
        raise UnavailableError(
            f"{path} is in use: another CAS runs on this folder",
            code="cas.state.in_use",
            hint="stop it first; two would write two histories",
        ) from error
    return file


def matches(found: str | None, expected: Anchor) -> bool:
    """Whether ``found`` is the hash of the expected entry."""
    return found is not None and hmac.compare_digest(found, expected.hash)
