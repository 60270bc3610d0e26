"""The digest of a result, which workers contribute and the chain compares (SMS reference 8.2).

Callback deals: Keccak-256 of the decoded callback bytes, as the hub itself computes it. Otherwise the deterministic
output: SHA-256 of one file, or Keccak-256 over the SHA-256 of a folder's direct children in path order. Sub-folders
contribute nothing and symbolic links are skipped, as they are by the archive from which others recompute it.
"""

from __future__ import annotations

import hashlib
from pathlib import Path, PurePosixPath
from typing import Final

from adyton.base.errors import AdytonError, InputError
from adyton.base.types import Bytes32, from_hex, keccak, parse_bytes32, to_hex
from adyton.compute.computed import ComputedFile

RESULTS_MOUNT: Final = PurePosixPath("/iexec_out")


class DigestError(AdytonError):
    """The result has no digest: nothing deterministic was named, or what was named is not there."""

    code = "compute.digest"


def callback_digest(callback_data: str) -> Bytes32:
    """Keccak-256 of the bytes that ``callback_data`` (``0x`` hex) stands for.

    Raises:
        DigestError: empty or not hex.
    """
    try:
        data = from_hex(callback_data)
    except InputError as error:
        raise DigestError("callback-data is not 0x-prefixed hex") from error
    if not data:
        raise DigestError("callback-data is empty")
    return parse_bytes32(to_hex(keccak(data)))


def path_digest(path: Path) -> Bytes32:
    """Digest of a file or of a folder's direct children.

    Raises:
        DigestError: neither a regular file nor a folder with at least one regular file, or unreadable.
    """
    try:
        if path.is_symlink():
            raise DigestError(f"{path.name} is a symbolic link")
        if path.is_file():
            return parse_bytes32(to_hex(_sha256(path)))
        if not path.is_dir():
            raise DigestError(f"{path.name} does not exist")
        children = sorted(child for child in path.iterdir() if child.is_file() and not child.is_symlink())
        if not children:
            raise DigestError(f"the folder {path.name} has no file")
        return parse_bytes32(to_hex(keccak(b"".join(_sha256(child) for child in children))))
    except OSError as error:
        raise DigestError(f"{path.name} cannot be read: {error.strerror}") from error


def result_digest(computed: ComputedFile, results: Path, *, callback: bool) -> Bytes32:
    """Digest of a task's result.

    Args:
        computed: what the application wrote.
        results: the folder that the application saw as ``/iexec_out``.
        callback: whether the deal has a callback address.

    Raises:
        DigestError: nothing to digest, or a path outside ``/iexec_out``.
    """
    if callback:
        return callback_digest(computed.callback_data)
    if not computed.deterministic_output_path:
        raise DigestError("computed.json has no deterministic-output-path")
    return path_digest(locate(computed.deterministic_output_path, results))


def locate(container_path: str, results: Path) -> Path:
    """Where a path seen by the application lies in ``results``.

    Raises:
        DigestError: not under ``/iexec_out``, or it leaves it through ``..`` or a symbolic link.
    """
    pure = PurePosixPath(container_path)
    if ".." in pure.parts or not pure.is_relative_to(RESULTS_MOUNT):
        raise DigestError(f"deterministic-output-path {container_path!r} is not under {RESULTS_MOUNT}")
    found = results / pure.relative_to(RESULTS_MOUNT)
    if not found.resolve().is_relative_to(results.resolve()):
        raise DigestError(f"deterministic-output-path {container_path!r} leaves {RESULTS_MOUNT}")
    return found


def _sha256(path: Path) -> bytes:
    with path.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").digest()
