"""Protected volumes: a folder in enclave memory that the host keeps as one encrypted file.

File: ``magic(8) || id(32) || chunk || chunk || …``. Each chunk is the AES-256-GCM ciphertext and tag of one MiB of a
tar archive, the last one of what is left (possibly nothing). The key is derived from the volume's key, the session, the
volume's name and the random id, so it is used for one file only; the nonce is the chunk's number and whether it is the
last (STREAM, Hoang et al. 2015), the header is associated data. Changed, reordered, dropped, repeated or cut chunks,
and chunks or files of another volume or session, do not decrypt. An older file of the same volume and session does:
within a session only the order of its services gives freshness.

The archive holds files and folders only. Links are left out when it is written and refused when it is read: what one
service leaves must not make another one's program reach outside the volume.
"""

from __future__ import annotations

import io
import os
import shutil
import stat
import tarfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import IO, TYPE_CHECKING, BinaryIO, Final, cast

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from adyton.base.aead import derive_key
from adyton.base.secret import Secret
from adyton.runtime.errors import VolumeError

if TYPE_CHECKING:
    from typing_extensions import Buffer

VOLUME_FILE: Final = "volume.bin"
CHUNK_BYTES: Final = 1 << 20
_MAGIC: Final = b"ADYVOL01"
_ID_BYTES: Final = 32
_TAG_BYTES: Final = 16
_HEADER_BYTES: Final = len(_MAGIC) + _ID_BYTES


@dataclass(frozen=True, slots=True)
class ProtectedVolume:
    """One volume of a service.

    Attributes:
        name: as the session calls it.
        session: session the key belongs to.
        key: the volume's key.
        folder: where the plaintext is, in enclave memory.
        host_folder: where the host keeps the encrypted file; None keeps nothing.
    """

    name: str
    session: str
    key: Secret[bytes]
    folder: Path
    host_folder: Path | None

    def open(self) -> None:
        """Fill the folder from the host's file; no file is an empty volume.

        Raises:
            VolumeError: the file is not what this session wrote.
        """
        if self.host_folder is None:
            return
        try:
            stream = (self.host_folder / VOLUME_FILE).open("rb")
        except FileNotFoundError:
            return
        with stream:
            reader = _Reader(stream, self._cipher)
            try:
                with tarfile.open(fileobj=cast("IO[bytes]", io.BufferedReader(reader)), mode="r|") as archive:
                    for member in archive:
                        self._restore(archive, member)
                reader.drain()
            except tarfile.TarError as error:
                raise VolumeError(f"the volume {self.name} holds no folder that can be restored: {error}") from error

    def snapshot(self) -> frozenset[tuple[str, int, int, int, int]]:
        """What the folder looks like now; changes whenever anything in it does (ctime cannot be set by programs)."""
        found = set()
        for parent, folders, files in os.walk(self.folder):
            for name in (*folders, *files):
                path = Path(parent, name)
                status = path.lstat()
                key = (status.st_ino, status.st_mode, status.st_size, status.st_ctime_ns)
                found.add((str(path), *key))
        return frozenset(found)

    def seal(self) -> None:
        """Replace the host's file by the folder's content; on any failure the old file stays."""
        if self.host_folder is None:
            return
        target = self.host_folder / VOLUME_FILE
        partial = self.host_folder / f".{VOLUME_FILE}.{os.urandom(8).hex()}"
        try:
            with partial.open("xb") as stream:
                os.fchmod(stream.fileno(), 0o644)  # the host hands it to the next service; it is ciphertext
                writer = _Writer(stream, self._cipher)
                with tarfile.open(fileobj=cast("IO[bytes]", writer), mode="w|", format=tarfile.PAX_FORMAT) as archive:
                    for path in _below(self.folder):
                        _add(archive, path, str(path.relative_to(self.folder)))
                writer.finish()
                stream.flush()
                os.fsync(stream.fileno())
            partial.replace(target)
        finally:
            partial.unlink(missing_ok=True)

    def _restore(self, archive: tarfile.TarFile, member: tarfile.TarInfo) -> None:
        # tarfile's own extraction filters came with Python 3.11.4; two kinds of entries need no more than this
        parts = member.name.split("/")
        if not (member.isreg() or member.isdir()) or any(part in ("", ".", "..") for part in parts):
            raise VolumeError(f"the volume {self.name} holds an entry that no service of ours writes")
        target = self.folder.joinpath(*parts)
        if member.isdir():
            target.mkdir(exist_ok=True)
            return
        content = archive.extractfile(member)
        if content is None:
            raise VolumeError(f"the volume {self.name} holds a file without content")
        target.parent.mkdir(parents=True, exist_ok=True)
        with target.open("xb") as stream:
            shutil.copyfileobj(content, stream)
        target.chmod(member.mode & 0o777)

    def _cipher(self, file_id: bytes) -> AESGCM:
        key = derive_key(self.key, "enclave-volume", self.session.encode(), self.name.encode(), file_id)
        return AESGCM(key.reveal())


def _below(folder: Path) -> Iterator[Path]:
    """Everything below a folder, parents first, in one order; links are not followed, an unreadable folder raises."""
    for path in sorted(folder.iterdir()):
        yield path
        if path.is_dir() and not path.is_symlink():
            yield from _below(path)


def _add(archive: tarfile.TarFile, path: Path, name: str) -> None:
    status = path.lstat()
    info = tarfile.TarInfo(name)
    info.mode = stat.S_IMODE(status.st_mode) & 0o777
    info.mtime = int(status.st_mtime)
    if stat.S_ISDIR(status.st_mode):
        info.type = tarfile.DIRTYPE
        archive.addfile(info)
    elif stat.S_ISREG(status.st_mode):
        info.size = status.st_size
        with path.open("rb") as stream:
            archive.addfile(info, stream)


def _nonce(number: int, *, last: bool) -> bytes:
    return number.to_bytes(11, "big") + bytes([last])


class _Writer:
    """Encrypts a stream; holds one chunk back, since the last one is marked."""

    def __init__(self, stream: BinaryIO, cipher: Callable[[bytes], AESGCM]) -> None:
        file_id = os.urandom(_ID_BYTES)
        self._stream = stream
        self._header = _MAGIC + file_id
        self._cipher = cipher(file_id)
        self._buffer = bytearray()
        self._number = 0
        stream.write(self._header)

    def write(self, data: bytes) -> int:
        self._buffer += data
        while len(self._buffer) > CHUNK_BYTES:
            self._emit(CHUNK_BYTES, last=False)
        return len(data)

    def finish(self) -> None:
        self._emit(len(self._buffer), last=True)

    def _emit(self, size: int, *, last: bool) -> None:
        chunk = bytes(self._buffer[:size])
        del self._buffer[:size]
        self._stream.write(self._cipher.encrypt(_nonce(self._number, last=last), chunk, self._header))
        self._number += 1


class _Reader(io.RawIOBase):
    """Decrypts a stream; gives out only authenticated chunks."""

    def __init__(self, stream: BinaryIO, cipher: Callable[[bytes], AESGCM]) -> None:
        super().__init__()
        self._stream = stream
        self._header = stream.read(_HEADER_BYTES)
        if len(self._header) != _HEADER_BYTES or not self._header.startswith(_MAGIC):
            raise VolumeError("the volume's file does not start like one", code="runtime.volume.format")
        self._cipher = cipher(self._header[len(_MAGIC) :])
        self._number = 0
        self._plain = b""
        self._ahead = stream.read(CHUNK_BYTES + _TAG_BYTES)
        self._ended = False

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Buffer, /) -> int:
        view = memoryview(buffer).cast("B")
        while not self._plain and not self._ended:
            self._next()
        count = min(len(view), len(self._plain))
        view[:count] = self._plain[:count]
        self._plain = self._plain[count:]
        return count

    def drain(self) -> None:
        """Authenticate what the archive's reader did not ask for."""
        while not self._ended:
            self._next()

    def _next(self) -> None:
        chunk, self._ahead = self._ahead, self._stream.read(CHUNK_BYTES + _TAG_BYTES)
        last = not self._ahead
        try:
            self._plain = self._cipher.decrypt(_nonce(self._number, last=last), chunk, self._header)
        except (InvalidTag, ValueError) as error:
            raise VolumeError(f"chunk {self._number} of the volume's file is not authentic") from error
        self._number += 1
        self._ended = last
