"""What the worker shares with the stages: tasks without an enclave follow the same digest, archive and input rules."""

from __future__ import annotations

from adyton.compute.archive import ARCHIVE_NAME, ArchiveError, FileNameTooLongError, check_names, pack
from adyton.compute.computed import FILE_NAME as COMPUTED_FILE_NAME
from adyton.compute.computed import ComputedFile, ComputedFileError
from adyton.compute.digest import DigestError, result_digest
from adyton.compute.download import MAX_INPUT_BYTES, DownloadError, download, input_file_name

__all__ = [
    "ARCHIVE_NAME",
    "COMPUTED_FILE_NAME",
    "MAX_INPUT_BYTES",
    "ArchiveError",
    "ComputedFile",
    "ComputedFileError",
    "DigestError",
    "DownloadError",
    "FileNameTooLongError",
    "check_names",
    "download",
    "input_file_name",
    "pack",
    "result_digest",
]
