"""Backups of the database as the admin operations see them (protocol, section 1.7).

A backup is two files: ``<name>`` and ``<name>.key``. What is in them, and who can open them, is the
:class:`BackupArchive`'s matter; here are the folders, the names and the five operations. All of them happen below one
folder, the storage location, and only one at a time.

Stricter than the official service: names and folders are compared part by part after links are resolved (not as a
prefix of text), copies appear whole or not at all, and the service is offline during a restore only.
"""

from __future__ import annotations

import os
import shutil
import tempfile
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final, Protocol

from adyton.sms.errors import BackupBusyError, BackupError, BackupNameError, BackupNotFoundError

WORK_FOLDER: Final = "work"
BACKUP_NAME: Final = "backup.sql"
KEY_SUFFIX: Final = ".key"
_LOCK_WAIT_S: Final = 0.1
_MAX_NAME: Final = 200  # bytes; with the suffix it stays below what file systems take


class BackupArchive(Protocol):
    """Writes the database into the two files of a backup, and reads it back."""

    def write(self, data: Path, key: Path) -> None:
        """Write a backup; the files are new.

        Raises:
            AdytonError: it could not be made.
        """

    def read(self, data: Path, key: Path) -> None:
        """Put the database into the backup's state, or leave it as it was.

        Raises:
            AdytonError: the backup is damaged, of another measurement or platform, or the database failed.
        """


class Backups(Protocol):
    """The five admin operations.

    ``storage`` is the hex of a folder's ASCII path, the folder at or below the storage location; names are plain file
    names. Every method raises :class:`BackupBusyError` while another one runs, and :class:`BackupError` for whatever
    is not listed: no hex, a folder or name outside, a destination that exists, a failing disk or database.
    """

    def create(self) -> None:
        """Make a backup at ``work/backup.sql`` below the storage location; replaces the one that is there."""

    def replicate(self, storage: str, name: str) -> None:
        """Copy the backup of :meth:`create` to ``storage`` under ``name``; replaces what is there.

        Raises:
            BackupNotFoundError: no such folder, or no backup was made.
        """

    def restore(self, storage: str, name: str) -> None:
        """Put the database into a backup's state. The service is offline meanwhile.

        Raises:
            BackupNotFoundError: no such folder, or one of the two files is missing.
        """

    def delete(self, storage: str, name: str) -> None:
        """Delete both files.

        Raises:
            BackupNotFoundError: no such folder, or neither file is there.
            BackupError: one was missing; the other is gone, too.
        """

    def copy(self, source: str, source_name: str, target: str, target_name: str) -> None:
        """Copy both files; never over others.

        Raises:
            BackupNotFoundError: a folder or one of the two files is missing.
        """


class Maintenance:
    """Whether the service is offline because its database is being replaced."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._depth = 0

    @property
    def offline(self) -> bool:
        """True while a restore runs."""
        return self._depth > 0

    @contextmanager
    def closed(self) -> Iterator[None]:
        """Offline until the block ends, however it ends."""
        with self._lock:
            self._depth += 1
        try:
            yield
        finally:
            with self._lock:
                self._depth -= 1


class FileBackups:
    """:class:`Backups` in folders below ``location``.

    Args:
        location: the storage location; everything happens below it.
        archive: makes and reads the files; None when this database cannot be backed up.
        maintenance: told of restores.
    """

    def __init__(self, location: Path, archive: BackupArchive | None, maintenance: Maintenance) -> None:
        self._location = location
        self._archive = archive
        self._maintenance = maintenance
        self._lock = threading.Lock()

    def create(self) -> None:
        """See :meth:`Backups.create`."""
        with self._alone("create"):
            folder = self._location / WORK_FOLDER
            folder.mkdir(mode=0o700, parents=True, exist_ok=True)
            with tempfile.TemporaryDirectory(prefix=".backup-", dir=folder) as temporary:
                data, key = _pair(Path(temporary), BACKUP_NAME)
                self._ready().write(data, key)
                _move(data, key, folder / BACKUP_NAME)

    def replicate(self, storage: str, name: str) -> None:
        """See :meth:`Backups.replicate`."""
        with self._alone("replicate"):
            self._copy(self._location / WORK_FOLDER, BACKUP_NAME, self._folder(storage), name, replace=True)

    def restore(self, storage: str, name: str) -> None:
        """See :meth:`Backups.restore`."""
        with self._alone("restore"):
            data, key = _existing(self._folder(storage), name)
            archive = self._ready()
            with self._maintenance.closed():
                archive.read(data, key)

    def delete(self, storage: str, name: str) -> None:
        """See :meth:`Backups.delete`."""
        with self._alone("delete"):
            files = _pair(self._folder(storage), name)
            missing = [file.name for file in files if not file.is_file()]
            if len(missing) == len(files):
                raise BackupNotFoundError(f"there is no backup {name} in this folder")
            for file in files:
                file.unlink(missing_ok=True)
            if missing:
                raise BackupError(f"{missing[0]} was missing; the other file of the backup is deleted")

    def copy(self, source: str, source_name: str, target: str, target_name: str) -> None:
        """See :meth:`Backups.copy`."""
        with self._alone("copy"):
            self._copy(self._folder(source), source_name, self._folder(target), target_name, replace=False)

    def _copy(self, source: Path, source_name: str, target: Path, target_name: str, *, replace: bool) -> None:
        found = _existing(source, source_name)
        wanted = _pair(target, target_name)
        if not replace and any(os.path.lexists(file) for file in wanted):
            raise BackupError(f"{target_name} exists in the destination and is never overwritten")
        with tempfile.TemporaryDirectory(prefix=".backup-", dir=target) as temporary:
            data, key = _pair(Path(temporary), target_name)
            for from_, to in zip(found, (data, key), strict=True):
                shutil.copyfile(from_, to)
                to.chmod(0o600)
            _move(data, key, wanted[0])

    def _ready(self) -> BackupArchive:
        if self._archive is None:
            raise BackupError("this service's database offers no backups", code="sms.backup.unavailable")
        return self._archive

    def _folder(self, storage: str) -> Path:
        try:
            text = bytes.fromhex(storage).decode("ascii")
        except ValueError:
            raise BackupNameError("the storage id is not the hex of an ASCII path") from None
        if "\0" in text or not text.startswith("/"):
            raise BackupNameError("the storage id is not the hex of an absolute path")
        folder, location = Path(text).resolve(), self._location.resolve()
        if folder != location and location not in folder.parents:  # before asking whether it exists
            raise BackupNameError("the storage id names a folder outside the storage location")
        try:
            found = folder.is_dir()
        except OSError as error:  # longer than a name can be
            raise BackupNameError("the storage id is no path") from error
        if not found:
            raise BackupNotFoundError("the storage id names no folder")
        return folder

    @contextmanager
    def _alone(self, operation: str) -> Iterator[None]:
        if not self._lock.acquire(timeout=_LOCK_WAIT_S):
            raise BackupBusyError(f"{operation}: another operation on backups is running")
        try:
            yield
        except OSError as error:
            raise BackupError(f"{operation}: {error.strerror or type(error).__name__}") from error
        finally:
            self._lock.release()


def _pair(folder: Path, name: str) -> tuple[Path, Path]:
    """The two files of a backup.

    Raises:
        BackupNameError: no plain file name.
    """
    if (
        name in {"", ".", ".."}
        or len(name.encode()) > _MAX_NAME
        or any(c in "/\\\0" for c in name)
        or not name.isprintable()
    ):
        raise BackupNameError("the name of a backup is a plain file name")
    return folder / name, folder / (name + KEY_SUFFIX)


def _existing(folder: Path, name: str) -> tuple[Path, Path]:
    files = _pair(folder, name)
    for file in files:
        if file.is_symlink() or not file.is_file():
            raise BackupNotFoundError(f"{file.name} is not in this folder")
    return files


def _move(data: Path, key: Path, target: Path) -> None:
    """Put two whole files in place; the key goes last, for without it a backup does not count as one."""
    for file in (data, key):
        descriptor = os.open(file, os.O_RDONLY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)
    data.replace(target)
    key.replace(target.with_name(target.name + KEY_SUFFIX))
    folder = os.open(target.parent, os.O_RDONLY)
    try:
        os.fsync(folder)  # the names, too, before the operation is said to be done
    finally:
        os.close(folder)
