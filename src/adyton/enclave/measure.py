"""What the CPU measures: MRENCLAVE of a manifest, and the files of a root file system against it.

MRENCLAVE is SHA-256 over 64-byte records as Intel SDM vol. 3D chapter 38 (ECREATE, EADD, EEXTEND) defines them.
Layout, from the top of the enclave downwards, in the order it is added: manifest (read-only pages), runtime (one
executable page that commits to the agent's files), then per thread SSA, TCS and stack; the heap is added from 0x10000
upwards without EEXTEND, as its pages start as zero.
"""

from __future__ import annotations

import hashlib
import os
import stat
import sys
from array import array
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from adyton.base.canonical import canonical_json
from adyton.enclave.errors import TrustedFileError
from adyton.enclave.manifest import (
    MAX_TRUSTED_FILES,
    PAGE,
    RUNTIME_PREFIX,
    UNMEASURED_PATHS,
    Manifest,
    TrustedEntry,
    TrustedFile,
    TrustedLink,
)

SSA_FRAME_PAGES: Final = 4
SSA_FRAMES: Final = 2
HEAP_START: Final = 0x10000
# Pages hashed at a time: records that stay in the processor's cache between being built and being hashed.
_ADDED_BATCH: Final = 1 << 12  # 256 KiB of EADD records
_EXTENDED_BATCH: Final = 1 << 7  # 648 KiB of EADD and EEXTEND records with their content
_READ: Final = 1 << 20

# SECINFO.FLAGS: R 1, W 2, X 4, page type in bits 15:8 (1 TCS, 2 REG); SDM vol. 3D, 38.11
_REG_R: Final = 0x201
_REG_RW: Final = 0x203
_REG_RX: Final = 0x205
_TCS: Final = 0x100

_EADD: Final = int.from_bytes(b"EADD\0\0\0\0", "little")
_EEXTEND: Final = int.from_bytes(b"EEXTEND\0", "little")
_EADD_WORDS: Final = 8
_CHUNKS: Final = 16
_CHUNK_WORDS: Final = 32
_EEXTEND_WORDS: Final = 8 + _CHUNK_WORDS


@dataclass(frozen=True, slots=True)
class Area:
    """Consecutive pages of the enclave with equal flags.

    Attributes:
        name: what they are for; not measured.
        offset: of the first page from the enclave's base, bytes.
        pages: of 4096 bytes.
        flags: SECINFO.FLAGS of each.
        content: None for pages that are added without being extended.
    """

    name: str
    offset: int
    pages: int
    flags: int
    content: bytes | None


def measure(manifest: Manifest) -> bytes:
    """MRENCLAVE (32 bytes) of the enclave that ``manifest`` describes; depends on nothing else."""
    areas, size = layout(manifest)
    digest = hashlib.sha256(
        b"ECREATE\0" + SSA_FRAME_PAGES.to_bytes(4, "little") + size.to_bytes(8, "little") + bytes(44)
    )
    for area in areas:
        for record in _records(area):
            digest.update(record)
    return digest.digest()


def layout(manifest: Manifest) -> tuple[list[Area], int]:
    """The enclave's areas in the order they are added, and its size (a power of two)."""
    text = manifest.to_json() + b"\0"
    stack_pages = manifest.stack_bytes // PAGE
    heap_pages = manifest.heap_bytes // PAGE
    manifest_pages = -(-len(text) // PAGE)
    ssa_pages = SSA_FRAME_PAGES * SSA_FRAMES
    pages = manifest_pages + 1 + manifest.threads * (ssa_pages + 1 + stack_pages) + heap_pages
    size = 1 << (HEAP_START + pages * PAGE - 1).bit_length()
    areas: list[Area] = []
    top = size

    def place(name: str, count: int, flags: int, content: bytes) -> int:
        nonlocal top
        top -= count * PAGE
        areas.append(Area(name, top, count, flags, content))
        return top

    place("manifest", manifest_pages, _REG_R, text.ljust(manifest_pages * PAGE, b"\0"))
    entry = place("runtime", 1, _REG_RX, runtime_digest(manifest).ljust(PAGE, b"\0"))
    for thread in range(1, manifest.threads + 1):
        ssa = place(f"ssa {thread}", ssa_pages, _REG_RW, bytes(ssa_pages * PAGE))
        place(f"tcs {thread}", 1, _TCS, _tcs(ssa, entry))
        place(f"stack {thread}", stack_pages, _REG_RW, bytes(stack_pages * PAGE))
    areas.append(Area("heap", HEAP_START, heap_pages, _REG_RW, None))
    return areas, size


def runtime_digest(manifest: Manifest) -> bytes:
    """What stands on the executable page: a hash over the agent's start command and its files."""
    runtime = {
        path: entry.link if isinstance(entry, TrustedLink) else entry.sha256
        for path, entry in manifest.trusted_files.items()
        if path.startswith(RUNTIME_PREFIX)
    }
    text = canonical_json({"argv": list(manifest.runtime), "files": runtime})
    return hashlib.sha256(b"adyton/enclave/runtime\0" + text).digest()


def _tcs(ssa_offset: int, entry_offset: int) -> bytes:
    """A thread control structure as added: state and flags zero (SDM vol. 3D, table 38-8)."""
    fields = (
        (0, 8), (0, 8), (ssa_offset, 8), (0, 4), (SSA_FRAMES, 4), (entry_offset, 8), (0, 8), (0, 8), (0, 8),
        (0xFFF, 4), (0xFFF, 4),
    )  # fmt: skip  # STATE FLAGS OSSA CSSA NSSA OENTRY AEP OFSBASGX OGSBASGX FSLIMIT GSLIMIT
    return b"".join(value.to_bytes(width, "little") for value, width in fields).ljust(PAGE, b"\0")


def _records(area: Area) -> Iterator[array[int]]:
    """The measured records of an area, in batches; built column by column, as a heap has 10^5 pages and more."""
    words = _EADD_WORDS + (0 if area.content is None else _CHUNKS * _EEXTEND_WORDS)
    batch = _ADDED_BATCH if area.content is None else _EXTENDED_BATCH
    for first in range(0, area.pages, batch):
        count = min(batch, area.pages - first)
        start = area.offset + first * PAGE
        table = array("Q", bytes(8 * words * count))
        table[0::words] = array("Q", [_EADD]) * count
        table[1::words] = array("Q", range(start, start + count * PAGE, PAGE))
        table[2::words] = array("Q", [area.flags]) * count
        if area.content is not None:
            _extend(table, words, start, area.content[first * PAGE : (first + count) * PAGE])
        if sys.byteorder == "big":
            table.byteswap()
        yield table


def _extend(table: array[int], words: int, start: int, pages: bytes) -> None:
    """Fill in the EEXTEND records of consecutive pages; pages of zeros need their offsets only."""
    count = len(pages) // PAGE
    content = array("Q", b"" if pages == bytes(len(pages)) else pages)
    if sys.byteorder == "big":
        content.byteswap()
    for chunk in range(_CHUNKS):
        base = _EADD_WORDS + chunk * _EEXTEND_WORDS
        offset = start + chunk * 256
        table[base::words] = array("Q", [_EEXTEND]) * count
        table[base + 1 :: words] = array("Q", range(offset, offset + count * PAGE, PAGE))
        for word in range(_CHUNK_WORDS if content else 0):
            table[base + 8 + word :: words] = content[chunk * _CHUNK_WORDS + word :: PAGE // 8]


def scan(rootfs: Path) -> dict[str, TrustedEntry]:
    """Every file and link under ``rootfs`` but manifest and SIGSTRUCT, as a manifest lists them.

    Each inode is read once, however many names it has.

    Raises:
        TrustedFileError: a device, socket or pipe, a name that is not UTF-8, too many files, or an unreadable one.
    """
    found: dict[str, TrustedEntry] = {}
    inodes: dict[tuple[int, int], str] = {}
    try:
        for path, entry in _walk(rootfs):
            if len(found) >= MAX_TRUSTED_FILES:
                raise TrustedFileError(f"more than {MAX_TRUSTED_FILES} files", code="enclave.trusted_file.count")
            found[path] = _describe(path, entry, inodes)
    except OSError as error:
        raise TrustedFileError(f"cannot read {os.fsdecode(error.filename)}: {error.strerror}") from error
    return found


def _walk(rootfs: Path) -> Iterator[tuple[str, os.DirEntry[bytes]]]:
    """Names are bytes until they are UTF-8 text: what they are does not depend on the locale of whoever measures."""
    pending = [(os.fsencode(rootfs), b"")]
    while pending:
        folder, inside = pending.pop()
        with os.scandir(folder) as entries:
            for entry in entries:
                path = inside + b"/" + entry.name
                if entry.is_dir(follow_symlinks=False):
                    pending.append((entry.path, path))
                elif (text := _text(path, path)) not in UNMEASURED_PATHS:
                    yield text, entry


def _describe(path: str, entry: os.DirEntry[bytes], inodes: dict[tuple[int, int], str]) -> TrustedEntry:
    if entry.is_symlink():
        return TrustedLink(_text(os.readlink(entry.path), path.encode()))  # noqa: PTH115  # Path would normalise it
    status = entry.stat(follow_symlinks=False)
    if not stat.S_ISREG(status.st_mode):
        raise TrustedFileError(f"{path} is neither a file, a folder nor a link", code="enclave.trusted_file.kind")
    key = (status.st_dev, status.st_ino)
    digest = inodes.get(key)
    if digest is None:
        digest = inodes[key] = hash_file(entry.path)
    return TrustedFile(digest, bool(status.st_mode & stat.S_IXUSR))


def _text(name: bytes, path: bytes) -> str:
    try:
        return name.decode()
    except UnicodeDecodeError as error:
        what = "the file name" if name == path else f"the link target of {path!r},"
        raise TrustedFileError(f"{what} {name!r} is not UTF-8", code="enclave.trusted_file.name") from error


def hash_file(path: str | bytes | Path) -> str:
    """Lowercase hex SHA-256 of a regular file; a link is not followed."""
    descriptor = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC)
    try:
        digest = hashlib.sha256()
        while block := os.read(descriptor, _READ):
            digest.update(block)
        return digest.hexdigest()
    finally:
        os.close(descriptor)


def check(rootfs: Path, manifest: Manifest) -> None:
    """Prove that ``rootfs`` holds exactly the trusted files of ``manifest``.

    Raises:
        TrustedFileError: names the first file, in order of paths, that is missing, added or changed.
    """
    compare(scan(rootfs), manifest.trusted_files)


def compare(found: Mapping[str, TrustedEntry], expected: Mapping[str, TrustedEntry]) -> None:
    """As :func:`check`, on the outcome of a :func:`scan`.

    Raises:
        TrustedFileError: names the first difference.
    """
    if found == expected:
        return
    for path in sorted(found.keys() | expected.keys()):
        if path not in found:
            raise TrustedFileError(f"the trusted file {path} is missing", code="enclave.trusted_file.missing")
        if path not in expected:
            raise TrustedFileError(f"{path} is not in the manifest", code="enclave.trusted_file.unlisted")
        if found[path] != expected[path]:
            raise TrustedFileError(
                f"the trusted file {path} is {describe(found[path])}, the manifest says {describe(expected[path])}",
                code="enclave.trusted_file.changed",
            )


def describe(entry: TrustedEntry) -> str:
    """What a manifest says of a file or link, for people."""
    if isinstance(entry, TrustedLink):
        return f"a link to {entry.link}"
    return f"sha256 {entry.sha256}{', executable' if entry.executable else ''}"
