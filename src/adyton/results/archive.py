"""The digest of a standard task's result, recomputed from its archive without unpacking it (SMS reference 8.2).

What the worker contributed to the chain must be what it uploads; the rule is the one by which workers make digests:
SHA-256 of one file, Keccak-256 over the SHA-256 of a folder's direct children, Keccak-256 of callback bytes.
"""

from __future__ import annotations

import hashlib
import io
import zipfile
import zlib
from pathlib import PurePosixPath
from typing import Final

from adyton.base.errors import InputError
from adyton.base.jsontext import parse_json
from adyton.base.types import Bytes32, from_hex, keccak, parse_bytes32, to_hex

_RESULTS_MOUNT: Final = PurePosixPath("/iexec_out")
_COMPUTED: Final = "computed.json"
_MAX_COMPUTED_BYTES: Final = 1 << 20
_MAX_ENTRIES: Final = 100_000
_MAX_TOTAL_BYTES: Final = 4 << 30  # uncompressed; more is a bomb, an upload is far smaller
_CHUNK: Final = 1 << 20


class ArchiveError(InputError):
    """The upload is not an archive of results with a digest."""

    code = "results.archive"


def archive_digest(archive: bytes, *, callback: bool) -> Bytes32:
    """The result digest of the archive of a standard task.

    Args:
        archive: zip of the files under ``/iexec_out``, ``computed.json`` among them.
        callback: whether the deal has a callback address.

    Raises:
        ArchiveError: not such an archive, or nothing deterministic in it.
    """
    try:
        with zipfile.ZipFile(io.BytesIO(archive)) as files:
            entries = files.infolist()
            if len(entries) > _MAX_ENTRIES or sum(entry.file_size for entry in entries) > _MAX_TOTAL_BYTES:
                raise ArchiveError("the archive has too many files or bytes")
            return _digest(files, callback=callback)
    except (zipfile.BadZipFile, zlib.error, NotImplementedError, RuntimeError, EOFError, OSError) as error:
        raise ArchiveError("the upload is no readable zip archive") from error


def _digest(files: zipfile.ZipFile, *, callback: bool) -> Bytes32:
    computed = _computed(files)
    key = "callback-data" if callback else "deterministic-output-path"
    value = computed.get(key)
    if not isinstance(value, str) or not value:
        raise ArchiveError(f"computed.json has no {key}")
    if callback:
        return parse_bytes32(to_hex(keccak(from_hex(value))))
    path = PurePosixPath(value)
    if ".." in path.parts or not path.is_relative_to(_RESULTS_MOUNT):
        raise ArchiveError(f"deterministic-output-path {value!r} is not under {_RESULTS_MOUNT}")
    wanted = path.relative_to(_RESULTS_MOUNT)
    names = {PurePosixPath(entry.filename): entry for entry in files.infolist() if not entry.is_dir()}
    if wanted in names:
        return parse_bytes32(to_hex(_sha256(files, names[wanted])))
    children = sorted(name for name in names if name.parent == wanted)
    if not children:
        raise ArchiveError(f"the archive has no {wanted}")
    return parse_bytes32(to_hex(keccak(b"".join(_sha256(files, names[name]) for name in children))))


def _computed(files: zipfile.ZipFile) -> dict[str, object]:
    try:
        info = files.getinfo(_COMPUTED)
        if info.file_size > _MAX_COMPUTED_BYTES:
            raise ArchiveError("computed.json is too large")
        document = parse_json(files.read(info))
    except KeyError as error:
        raise ArchiveError("the archive has no computed.json") from error
    except (ValueError, RecursionError) as error:
        raise ArchiveError("computed.json is not JSON") from error
    if not isinstance(document, dict):
        raise ArchiveError("computed.json is not an object")
    return document


def _sha256(files: zipfile.ZipFile, entry: zipfile.ZipInfo) -> bytes:
    digest = hashlib.sha256()
    with files.open(entry) as stream:
        while chunk := stream.read(_CHUNK):
            digest.update(chunk)
    return digest.digest()
