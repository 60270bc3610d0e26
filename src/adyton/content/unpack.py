"""Unpacking an image's layers into a folder: hostile input, so every name, link and size is checked first.

Layer semantics: OCI image spec "Applying Changesets" (whiteouts ``.wh.<name>`` and ``.wh..wh..opq``). What is written
never leaves the destination: names with ``..`` or a leading ``/`` are refused, and links on the way to an entry are
followed inside the destination only. Owners and set-id bits are dropped: an enclave has one user. Layers are verified
as they are read; on any failure the destination is removed, so an unpacked folder is always a verified one.
"""

from __future__ import annotations

import gzip
import io
import os
import shutil
import tarfile
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING, BinaryIO, cast

from adyton.content.blob import CHUNK_BYTES, VerifyingReader
from adyton.content.errors import ContentError, EscapeError, LimitError
from adyton.content.image import Image, Layer

if TYPE_CHECKING:
    from typing_extensions import Buffer

_WHITEOUT = ".wh."
_OPAQUE = ".wh..wh..opq"
_MAX_LINK_HOPS = 40  # as Linux (ELOOP)
_MAX_HEADER_BYTES = 1 << 20  # longest single read tarfile may ask for: a pax header, never file content


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


def unpack(image: Image, destination: Path, limits: UnpackLimits = DEFAULT_LIMITS) -> None:
    """Write the file system of ``image`` into ``destination``, which must not exist or be empty.

    Raises:
        EscapeError: an entry would be written outside, or is a device or pipe.
        LimitError: too many entries or bytes, or a name that is too long.
        DigestError: a layer is not the named bytes.
        ContentError: a layer is no tar archive, or the destination is not empty.
    """
    destination.mkdir(parents=True, exist_ok=True)
    if any(destination.iterdir()):
        raise ContentError(f"{destination} is not empty", code="content.unpack.destination")
    budget = _Budget(limits)
    try:
        for layer in image.layers:
            _Changeset(destination, budget).apply(layer)
    except BaseException:
        shutil.rmtree(destination, ignore_errors=True)
        raise


def read_image_file(image: Image, path: str, limit: int = 1 << 20) -> bytes | None:
    """Content of one regular file of the image without unpacking it; None when it has no such file.

    Links are not followed. All layers down to the one that decides are read to their end and so verified.

    Raises:
        LimitError: the file is larger than ``limit`` bytes.
        DigestError: a layer is not the named bytes.
        ContentError: a layer is no tar archive.
    """
    wanted = str(PurePosixPath(path.lstrip("/")))
    for layer in reversed(image.layers):
        found, content = _find_in_layer(layer, wanted, limit)
        if found:
            return content
    return None


def _find_in_layer(layer: Layer, wanted: str, limit: int) -> tuple[bool, bytes | None]:
    pure = PurePosixPath(wanted)
    hiding = {str(parent / _OPAQUE) for parent in pure.parents}
    hiding |= {str(part.parent / (_WHITEOUT + part.name)) for part in (pure, *pure.parents) if part.name}
    hidden, content = False, None
    with open_tar_stream(layer, _Budget(DEFAULT_LIMITS)) as archive:
        for info in _entries(archive):
            name = str(PurePosixPath(info.name))
            if name == wanted:
                content = _content(archive, info, limit) if info.isreg() else None
                hidden = True
            elif name in hiding or (name in map(str, pure.parents) and not info.isdir()):
                hidden = True
    return hidden, content


def _content(archive: tarfile.TarFile, info: tarfile.TarInfo, limit: int) -> bytes:
    if info.size > limit:
        raise LimitError(f"{info.name} has {info.size} bytes; at most {limit} are read")
    stream = archive.extractfile(info)
    return b"" if stream is None else b"".join(iter(lambda: stream.read(CHUNK_BYTES), b""))


class _Budget:
    """What is left of the limits; shared by all layers of an image."""

    def __init__(self, limits: UnpackLimits) -> None:
        self.limits = limits
        self._entries = 0
        self._bytes = 0

    def count_entry(self) -> None:
        self._entries += 1
        if self._entries > self.limits.entries:
            raise LimitError(f"the image has more than {self.limits.entries} entries")

    def count_bytes(self, number: int) -> None:
        self._bytes += number
        if self._bytes > self.limits.total_bytes:
            raise LimitError(f"the image unpacks to more than {self.limits.total_bytes} bytes")


class _ForwardReader(io.RawIOBase):
    """Lets ``tarfile`` seek forwards over a stream, bounds its single reads and counts what passes."""

    def __init__(self, stream: BinaryIO, budget: _Budget) -> None:
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
        return super().read(size) or b""

    def readinto(self, buffer: Buffer, /) -> int:
        view = memoryview(buffer).cast("B")
        filled = 0
        while filled < len(view) and (data := self._stream.read(len(view) - filled)):
            view[filled : filled + len(data)] = data
            filled += len(data)
        self._position += filled
        self._budget.count_bytes(filled)
        return filled


@contextmanager
def open_tar_stream(layer: Layer, budget: _Budget | None = None) -> Iterator[tarfile.TarFile]:
    """The layer's archive, to be read once from front to back; leaving the block verifies all the rest.

    Raises:
        DigestError: blob or uncompressed tar are not the named bytes.
        ContentError: neither tar nor gzip.
    """
    with layer.blob.open() as blob:
        source = cast("BinaryIO", gzip.GzipFile(fileobj=blob, mode="rb") if layer.is_gzip else blob)
        plain = VerifyingReader(source, layer.diff_id, None) if layer.is_gzip else blob
        forward = _ForwardReader(cast("BinaryIO", plain), budget or _Budget(DEFAULT_LIMITS))
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


def _entries(archive: tarfile.TarFile) -> Iterator[tarfile.TarInfo]:
    while (info := archive.next()) is not None:
        yield info
        cast(
            "list[tarfile.TarInfo]", vars(archive)["members"]
        ).clear()  # tarfile would keep every header; memory must not grow with the archive


class _Changeset:
    """Applies one layer."""

    def __init__(self, root: Path, budget: _Budget) -> None:
        self._root = root
        self._budget = budget
        self._written: set[str] = set()

    def apply(self, layer: Layer) -> None:
        with open_tar_stream(layer, self._budget) as archive:
            for info in _entries(archive):
                self._budget.count_entry()
                self._apply_entry(archive, info)

    def _apply_entry(self, archive: tarfile.TarFile, info: tarfile.TarInfo) -> None:
        pure = self._plain_name(info.name, "entry")
        if not pure.parts:
            return
        parent = self._resolve(pure.parent, create=True)
        if pure.name == _OPAQUE:
            self._clear(parent)
        elif pure.name.startswith(_WHITEOUT):
            hidden = pure.name.removeprefix(_WHITEOUT)
            if hidden in {"", ".", ".."}:
                raise EscapeError(f"whiteout {info.name!r} names no entry")
            _remove(parent / hidden)
        else:
            self._write(archive, info, parent / pure.name)

    def _plain_name(self, name: str, what: str) -> PurePosixPath:
        pure = PurePosixPath(name)
        if pure.is_absolute() or ".." in pure.parts or "\0" in name:
            raise EscapeError(f"{what} {name!r} leads out of the image")
        encoded = os.fsencode(name)
        if len(encoded) > self._budget.limits.name_bytes or any(len(os.fsencode(part)) > 255 for part in pure.parts):
            raise LimitError(f"{what} name {name[:80]!r}… is too long", code="content.limit.name")
        return pure

    def _resolve(self, path: PurePosixPath, *, create: bool) -> Path:
        """The real folder of ``path`` below the root, links followed inside the root only."""
        todo = list(reversed(path.parts))
        current: list[str] = []
        hops = 0
        while todo:
            part = todo.pop()
            if part == "..":
                if not current:
                    raise EscapeError(f"a link on the way to {str(path)!r} leads out of the image")
                current.pop()
                continue
            here = self._root.joinpath(*current, part)
            if here.is_symlink():
                hops += 1
                if hops > _MAX_LINK_HOPS:
                    raise EscapeError(f"too many links on the way to {str(path)!r}")
                target = PurePosixPath(here.readlink())
                if target.is_absolute():
                    current = []
                todo.extend(reversed([p for p in target.parts if p != "/"]))
                continue
            if not here.is_dir():
                if not create or here.exists():
                    raise EscapeError(
                        f"{part!r} on the way to {str(path)!r} is no folder", code="content.unpack.parent"
                    )
                here.mkdir(mode=0o755)
            current.append(part)
        return self._root.joinpath(*current)

    def _clear(self, folder: Path) -> None:
        """Opaque whiteout: hide what lower layers put into the folder, not what this one has."""
        for child in folder.iterdir():
            if str(child) not in self._written:
                _remove(child)

    def _write(self, archive: tarfile.TarFile, info: tarfile.TarInfo, target: Path) -> None:
        if not (info.isreg() or info.isdir() or info.issym() or info.islnk()) or info.issparse():
            raise EscapeError(f"{info.name!r} is a device, pipe or sparse file", code="content.unpack.kind")
        if info.isdir():
            self._make_folder(target, info.mode)
        else:
            source = self._link_source(info) if info.islnk() else None
            if source == target:
                raise EscapeError(f"{info.name!r} is a hard link to itself", code="content.unpack.link")
            _remove(target)
            if info.issym():
                self._plain_link(info.linkname)
                target.symlink_to(info.linkname)
            elif source is not None:
                os.link(source, target, follow_symlinks=False)
            else:
                self._write_file(archive, info, target)
        self._written.add(str(target))
        self._written.update(str(parent) for parent in target.parents if parent.is_relative_to(self._root))

    @staticmethod
    def _make_folder(target: Path, mode: int) -> None:
        if target.is_symlink() or not target.is_dir():
            _remove(target)
            target.mkdir()
        target.chmod(mode & 0o777 | 0o700)

    def _link_source(self, info: tarfile.TarInfo) -> Path:
        pure = self._plain_name(info.linkname, "hard link to")
        source = self._resolve(pure.parent, create=False) / pure.name
        if not pure.name or not (source.is_symlink() or source.is_file()):
            raise EscapeError(f"{info.name!r} links to {info.linkname!r}, which is no file", code="content.unpack.link")
        return source

    def _plain_link(self, text: str) -> None:
        if not text or "\0" in text or len(os.fsencode(text)) > self._budget.limits.name_bytes:
            raise LimitError("a link's target is empty or too long", code="content.limit.name")

    @staticmethod
    def _write_file(archive: tarfile.TarFile, info: tarfile.TarInfo, target: Path) -> None:
        source = archive.extractfile(info)
        if source is None:
            raise ContentError(f"{info.name!r} has no content", code="content.tar.malformed")
        with target.open("xb") as stream:
            shutil.copyfileobj(source, stream, 1 << 18)
            if stream.tell() != info.size:
                raise ContentError(f"{info.name!r} is cut short", code="content.tar.malformed")
            os.fchmod(stream.fileno(), info.mode & 0o777 | 0o600)
        os.utime(target, (max(0, int(info.mtime)),) * 2)


def _remove(path: Path) -> None:
    if path.is_symlink() or not path.is_dir():
        path.unlink(missing_ok=True)
    else:
        shutil.rmtree(path)
