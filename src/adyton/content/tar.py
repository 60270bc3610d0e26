"""Tar archives whose bytes depend only on names, contents, links and executability.

Sorted entries, modification time 0, owner 0:0 without names, modes 0755 or 0644: the same tree gives the same layer
digest on every machine (https://reproducible-builds.org/docs/archives/).
"""

from __future__ import annotations

import io
import os
import stat
import tarfile
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import BinaryIO, Literal

from adyton.content.errors import ContentError

_TYPES = {"file": tarfile.REGTYPE, "dir": tarfile.DIRTYPE, "symlink": tarfile.SYMTYPE, "hardlink": tarfile.LNKTYPE}


@dataclass(frozen=True, slots=True)
class TarEntry:
    """One entry to be written.

    Attributes:
        path: name inside the archive, relative, ``/`` separated.
        kind: what it is.
        content: bytes or file of a ``file``.
        executable: whether a ``file`` gets mode 0755 in place of 0644.
        target: text of a ``symlink``, or archive path of the earlier entry that a ``hardlink`` repeats.
    """

    path: str
    kind: Literal["file", "dir", "symlink", "hardlink"] = "file"
    content: bytes | Path = b""
    executable: bool = False
    target: str = ""


def deterministic_tar(source: Path | Iterable[TarEntry]) -> bytes:
    """The archive of a folder or of the given entries, in memory; for large trees use :func:`write_tar`.

    Raises:
        ContentError: as :func:`write_tar`.
    """
    stream = io.BytesIO()
    write_tar(source, stream)
    return stream.getvalue()


def write_tar(source: Path | Iterable[TarEntry], stream: BinaryIO) -> None:
    """Write the archive of a folder or of the given entries to ``stream`` (pax format, no compression).

    Raises:
        ContentError: a bad or repeated name, a hard link before its target, or a file that is not one of the kinds.
    """
    entries = folder_entries(source) if isinstance(source, Path) else source
    written: set[str] = set()
    with tarfile.open(fileobj=stream, mode="w", format=tarfile.PAX_FORMAT) as archive:
        for entry in sorted(entries, key=lambda item: item.path.encode()):
            _check(entry, written)
            _add(archive, entry)
            written.add(entry.path)


def folder_entries(folder: Path) -> Iterator[TarEntry]:
    """Every file, folder and link below ``folder``, hard links kept as links to the first name.

    Raises:
        ContentError: a device, socket or pipe, or an unreadable folder.
    """
    first_name: dict[tuple[int, int], str] = {}
    for path in sorted(_walk(folder), key=lambda item: item.relative_to(folder).as_posix().encode()):
        name = path.relative_to(folder).as_posix()
        status = path.lstat()
        if stat.S_ISLNK(status.st_mode):
            yield TarEntry(name, "symlink", target=os.readlink(path))  # noqa: PTH115  # Path.readlink would tidy the text
        elif stat.S_ISDIR(status.st_mode):
            yield TarEntry(name, "dir")
        elif not stat.S_ISREG(status.st_mode):
            raise ContentError(f"{name} is neither file, folder nor link", code="content.tar.kind")
        elif status.st_nlink > 1 and (status.st_dev, status.st_ino) in first_name:
            yield TarEntry(name, "hardlink", target=first_name[status.st_dev, status.st_ino])
        else:
            first_name[status.st_dev, status.st_ino] = name
            yield TarEntry(name, "file", path, executable=bool(status.st_mode & 0o111))


def _walk(folder: Path) -> Iterator[Path]:
    def refuse(error: OSError) -> None:
        raise ContentError(f"cannot read {error.filename}: {error.strerror}", code="content.file") from error

    for parent, folders, files in os.walk(folder, onerror=refuse):
        for name in (*folders, *files):
            yield Path(parent, name)


def _check(entry: TarEntry, written: set[str]) -> None:
    pure = PurePosixPath(entry.path)
    if pure.is_absolute() or ".." in pure.parts or str(pure) != entry.path or entry.path in {"", "."}:
        raise ContentError(f"{entry.path!r} is not a plain relative path", code="content.tar.name")
    if entry.path in written:
        raise ContentError(f"{entry.path!r} appears twice", code="content.tar.repeated")
    if entry.kind == "hardlink" and entry.target not in written:
        raise ContentError(
            f"{entry.path!r} links to {entry.target!r}, which is no earlier entry", code="content.tar.link"
        )


def _add(archive: tarfile.TarFile, entry: TarEntry) -> None:
    info = tarfile.TarInfo(entry.path)
    info.type = _TYPES[entry.kind]
    info.linkname = entry.target
    info.mode = 0o777 if entry.kind == "symlink" else 0o755 if entry.kind == "dir" or entry.executable else 0o644
    if entry.kind != "file":
        archive.addfile(info)
    elif isinstance(entry.content, bytes):
        info.size = len(entry.content)
        archive.addfile(info, io.BytesIO(entry.content))
    else:
        try:
            with entry.content.open("rb") as stream:
                info.size = os.fstat(stream.fileno()).st_size
                archive.addfile(info, stream)
        except OSError as error:
            raise ContentError(f"cannot read {entry.content}: {error}", code="content.file") from error
