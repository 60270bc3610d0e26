"""Reading one layer's archive from front to back: bounded, verified at its end, entry by entry.

Layers are hostile input: single reads of headers are bounded, what passes is counted, and whoever leaves the stream
has either verified every byte of blob and archive or gets an error.
"""

from __future__ import annotations

import gzip
import io
import os
import tarfile
import zlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, BinaryIO, Final, Literal, cast

from adyton.content.blob import CHUNK_BYTES, VerifyingReader
from adyton.content.errors import ContentError, EscapeError, LimitError
from adyton.content.image import Layer

if TYPE_CHECKING:
    from typing_extensions import Buffer

WHITEOUT: Final = ".wh."
_MAX_HEADER_BYTES: Final = 1 << 20  # longest single read tarfile may ask for: a pax header, never file content
_COPY_BYTES: Final = 1 << 18

Kind = Literal["file", "dir", "symlink", "hardlink", "whiteout"]


@dataclass(frozen=True, slots=True)
class UnpackLimits:
    """How much an image may unpack to.

    Attributes:
        entries: archive entries over all layers.
        total_bytes: uncompressed bytes over all layers.
        name_bytes: length of one path.
    """

    entries: int = 300_000
    total_bytes: int = 8 << 30
    name_bytes: int = 4000


DEFAULT_LIMITS = UnpackLimits()


class Budget:
    """What is left of the limits; shared by all layers of an image."""

    def __init__(self, limits: UnpackLimits) -> None:
        self.limits = limits
        self._entries = 0
        self._bytes = 0

    @property
    def used_bytes(self) -> int:
        """Uncompressed bytes that were counted so far."""
        return self._bytes

    def count_entry(self) -> None:
        """One more entry.

        Raises:
            LimitError: too many.
        """
        self._entries += 1
        if self._entries > self.limits.entries:
            raise LimitError(f"the image has more than {self.limits.entries} entries")

    def count_bytes(self, number: int) -> None:
        """``number`` more bytes.

        Raises:
            LimitError: too many.
        """
        self._bytes += number
        if self._bytes > self.limits.total_bytes:
            raise LimitError(f"the image unpacks to more than {self.limits.total_bytes} bytes")


@dataclass(frozen=True, slots=True)
class Entry:
    """One entry of a layer, wherever its content comes from.

    Attributes:
        name: as written in the archive: not judged yet.
        kind: what it is; a whiteout is known by its name.
        mode: permission bits as written.
        mtime: seconds since 1970.
        linkname: target of a link, as written.
        put: makes a ``file`` with its content, mode and time at a path where nothing is; raises FileExistsError.
    """

    name: str
    kind: Kind
    mode: int
    mtime: int
    linkname: str
    put: Callable[[str], None]


class _ForwardReader(io.RawIOBase):
    """Lets ``tarfile`` seek forwards over a stream, bounds its single reads and counts what passes."""

    def __init__(self, stream: BinaryIO, budget: Budget) -> None:
        super().__init__()
        self._stream = stream
        self._budget = budget
        self._position = 0

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def tell(self) -> int:
        return self._position

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        if whence != io.SEEK_SET or offset < self._position:
            raise ContentError("the layer's archive refers backwards", code="content.tar.malformed")
        while self._position < offset and self.read(min(offset - self._position, CHUNK_BYTES)):
            pass
        return self._position

    def read(self, size: int = -1, /) -> bytes:
        if not 0 <= size <= _MAX_HEADER_BYTES:
            raise LimitError("the layer has an oversized header", code="content.tar.header")
        data = self._stream.read(size)
        while len(data) < size and (more := self._stream.read(size - len(data))):
            data += more
        self._position += len(data)
        self._budget.count_bytes(len(data))
        return data

    def readinto(self, buffer: Buffer, /) -> int:
        view = memoryview(buffer).cast("B")
        data = self.read(len(view))
        view[: len(data)] = data
        return len(data)


@contextmanager
def open_tar_stream(layer: Layer, budget: Budget | None = None) -> Iterator[tarfile.TarFile]:
    """The layer's archive, to be read once from front to back; leaving the block verifies all the rest.

    Raises:
        DigestError: blob or uncompressed tar are not the named bytes.
        ContentError: neither tar nor gzip.
    """
    with layer.blob.open() as blob:
        source = cast("BinaryIO", gzip.GzipFile(fileobj=blob, mode="rb") if layer.is_gzip else blob)
        plain = VerifyingReader(source, layer.diff_id, None) if layer.is_gzip else blob
        forward = _ForwardReader(cast("BinaryIO", plain), budget or Budget(DEFAULT_LIMITS))
        try:
            with tarfile.open(fileobj=forward, mode="r:", errorlevel=2) as archive:
                yield archive
            while forward.read(CHUNK_BYTES):
                pass
            blob.drain()
        except (tarfile.TarError, EOFError, zlib.error, gzip.BadGzipFile, UnicodeDecodeError) as error:
            raise ContentError(
                f"layer {layer.blob.digest} is no valid archive: {error}", code="content.tar.malformed"
            ) from error
        if not layer.is_gzip and layer.diff_id != layer.blob.digest:
            raise ContentError(f"layer {layer.blob.digest} is listed as {layer.diff_id}", code="content.oci.diff_id")


def members(archive: tarfile.TarFile) -> Iterator[tarfile.TarInfo]:
    """The headers of the archive, in order."""
    while (info := archive.next()) is not None:
        yield info
        cast(
            "list[tarfile.TarInfo]", vars(archive)["members"]
        ).clear()  # tarfile would keep every header; memory must not grow with the archive


def stream_entries(layer: Layer, budget: Budget) -> Iterator[Entry]:
    """The entries of a layer as they are read; each file can be put only while it is the current entry.

    Raises:
        EscapeError: a device, pipe or sparse file.
        LimitError: too many bytes.
        DigestError, ContentError: as :func:`open_tar_stream`.
    """
    with open_tar_stream(layer, budget) as archive:
        for info in members(archive):
            yield Entry(
                info.name, _kind(info), info.mode, max(0, int(info.mtime)), info.linkname, _putter(archive, info)
            )


def _kind(info: tarfile.TarInfo) -> Kind:
    if info.name.rstrip("/").rpartition("/")[2].startswith(WHITEOUT):
        return "whiteout"
    if info.issparse():
        raise EscapeError(f"{info.name!r} is a sparse file", code="content.unpack.kind")
    for matches, kind in ((info.isreg, "file"), (info.isdir, "dir"), (info.issym, "symlink"), (info.islnk, "hardlink")):
        if matches():
            return cast("Kind", kind)
    raise EscapeError(f"{info.name!r} is a device or pipe", code="content.unpack.kind")


def _putter(archive: tarfile.TarFile, info: tarfile.TarInfo) -> Callable[[str], None]:
    def put(target: str) -> None:
        stream = cast("BinaryIO", archive.fileobj)
        descriptor = os.open(target, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600)
        with os.fdopen(descriptor, "wb", buffering=0) as file:
            stream.seek(info.offset_data)
            left = info.size
            while left:
                block = stream.read(min(left, _COPY_BYTES))
                if not block:
                    raise ContentError(f"{info.name!r} is cut short", code="content.tar.malformed")
                file.write(block)
                left -= len(block)
            os.fchmod(descriptor, info.mode & 0o777 | 0o600)
            os.utime(descriptor, (max(0, int(info.mtime)),) * 2)

    return put
