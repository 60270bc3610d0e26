"""The result archive: every regular file under ``/iexec_out``, by its relative path (SMS reference 7.2).

Symbolic links are skipped, folders have no entries. Entries are sorted and carry a fixed time, so that the same files
give the same archive.
"""

from __future__ import annotations

import os
import shutil
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import Final

from adyton.base.errors import AdytonError

ARCHIVE_NAME: Final = "iexec_out.zip"
MAX_NAME_BYTES: Final = 31  # of a file's own name, not of its path
_ZIP_EPOCH: Final = (1980, 1, 1, 0, 0, 0)


class FileNameTooLongError(AdytonError):
    """A result file's name is longer than the protocol allows."""

    code = "compute.archive.name_too_long"
    hint = f"give result files names of at most {MAX_NAME_BYTES} bytes"


class ArchiveError(AdytonError):
    """The results cannot be read or the archive cannot be written."""

    code = "compute.archive"


def result_files(folder: Path) -> Iterator[Path]:
    """Every regular file under ``folder``, links not followed, in path order.

    Raises:
        ArchiveError: a folder cannot be read.
    """

    def refuse(error: OSError) -> None:
        raise ArchiveError(f"results cannot be read: {error.strerror}") from error

    for parent, folders, files in os.walk(folder, onerror=refuse, followlinks=False):
        folders.sort()
        for name in sorted(files):
            path = Path(parent, name)
            if path.is_file() and not path.is_symlink():
                yield path


def check_names(folder: Path) -> None:
    """Refuse results with a file name over 31 bytes.

    Raises:
        FileNameTooLongError: names the file.
        ArchiveError: a folder cannot be read.
    """
    for path in result_files(folder):
        if len(os.fsencode(path.name)) > MAX_NAME_BYTES:
            raise FileNameTooLongError(f"the name of result file {path.name!r} is longer than {MAX_NAME_BYTES} bytes")


def pack(folder: Path, archive: Path) -> None:
    """Write the archive of ``folder`` to ``archive``, which must lie outside it.

    Raises:
        ArchiveError: reading or writing failed.
    """
    try:
        with zipfile.ZipFile(archive, "w", zipfile.ZIP_DEFLATED) as bundle:
            for path in sorted(result_files(folder), key=lambda found: found.relative_to(folder).as_posix()):
                entry = zipfile.ZipInfo(path.relative_to(folder).as_posix(), _ZIP_EPOCH)
                entry.compress_type = zipfile.ZIP_DEFLATED
                entry.external_attr = 0o644 << 16
                entry.file_size = path.stat().st_size
                with path.open("rb") as source, bundle.open(entry, "w") as target:
                    shutil.copyfileobj(source, target, 1 << 20)
    except (OSError, zipfile.BadZipFile, UnicodeEncodeError) as error:
        raise ArchiveError(f"the archive of the results cannot be written: {type(error).__name__}") from error
