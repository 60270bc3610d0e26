"""The master key of the CAS's database: sealed to this enclave on this CPU, in a file beside the database.

Files in the database folder: ``cas.db``, ``cas.key`` and ``cas.head``. While they are first made the key lies in
``cas.key.new``; its renaming is the moment from which the CAS exists. An interrupted creation is taken up again,
nothing is deleted.

While the master key is exchanged, the new one lies sealed in ``cas.key.next`` before the database is written under it.
The database's commit is the moment of the exchange: a start after an interruption asks which of the two keys opens the
database, and deletes the other one.

After an update of the microcode the key is sealed again, at the CPU's new level. The file is replaced in one step, so
that an interruption leaves the old blob or the new one; both hold the same key, and both open.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Final

from adyton.base import aead
from adyton.base.files import write_private
from adyton.base.log import get_logger
from adyton.base.secret import Secret
from adyton.cas.errors import SealedStateError
from adyton.platform.sealing import SealingError, open_current, seal

if TYPE_CHECKING:
    from adyton.platform.protocol import Platform

_log = get_logger("cas.sealed")
_CONTEXT: Final = b"adyton/cas/master-key/1"
_DAMAGED: Final = frozenset(
    {"sealing.corrupt", "sealing.format", "sealing.header", "sealing.truncated", "sealing.context"}
)
_OTHER_BUILD: Final = frozenset({"sealing.other_enclave", "sealing.debug"})
_HINT: Final = (
    "start the same CAS build on the machine that made this folder, or give it an empty folder;"
    " by design nobody can move a CAS's database to another CPU or to a changed CAS"
)


@dataclass(frozen=True, slots=True)
class StateFiles:
    """Where the CAS keeps its state."""

    folder: Path

    @property
    def database(self) -> Path:
        """SQLite database of encrypted rows."""
        return self.folder / "cas.db"

    @property
    def key(self) -> Path:
        """Sealed master key."""
        return self.folder / "cas.key"

    @property
    def new_key(self) -> Path:
        """Sealed master key of a creation that has not ended."""
        return self.folder / "cas.key.new"

    @property
    def next_key(self) -> Path:
        """Sealed master key of an exchange that has not ended."""
        return self.folder / "cas.key.next"

    @property
    def head(self) -> Path:
        """What was last acknowledged, see :mod:`adyton.cas.store.head`."""
        return self.folder / "cas.head"


def open_master_key(platform: Platform, folder: Path, initialise: Callable[[Secret[bytes]], None]) -> Secret[bytes]:
    """The master key of the state in ``folder``; makes one only where there is neither key nor database.

    Args:
        platform: seals, policy MRENCLAVE.
        folder: database folder.
        initialise: creates the database under the new key; called again with the same key after an interruption.

    Raises:
        SealedStateError: there is state, and this enclave on this CPU cannot open it.
    """
    files = StateFiles(folder)
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    if files.key.exists():
        if not files.database.exists():
            raise SealedStateError(
                f"the sealed key {files.key} is there but its database {files.database.name} is not",
                code="cas.sealed.database_missing",
                hint="put the database back beside its key, or give the CAS an empty folder",
            )
        return _unseal(platform, files.key)
    if files.new_key.exists():
        master = _unseal(platform, files.new_key)
    elif files.database.exists():
        raise SealedStateError(
            f"the database {files.database} has no sealed key beside it: it was copied without {files.key.name}",
            hint=_HINT,
        )
    else:
        master = aead.new_key()
        write_private(files.new_key, _seal(platform, master))
    initialise(master)
    files.new_key.rename(files.key)
    _sync_folder(folder)
    return master


def begin_exchange(platform: Platform, folder: Path, master: Secret[bytes]) -> None:
    """Put the next master key down, sealed; the current one stays what it is."""
    write_private(StateFiles(folder).next_key, _seal(platform, master))


def end_exchange(folder: Path) -> None:
    """Put the next master key in the current one's place: the only copy of the old one is gone when this returns."""
    files = StateFiles(folder)
    files.next_key.replace(files.key)
    _sync_folder(folder)


def interrupted_exchange(platform: Platform, folder: Path) -> Secret[bytes] | None:
    """The next master key, where an exchange was begun and not ended.

    Raises:
        SealedStateError: it does not open here.
    """
    path = StateFiles(folder).next_key
    return _unseal(platform, path) if path.exists() else None


def drop_exchange(folder: Path) -> None:
    """Delete the next master key, which nothing was written under."""
    StateFiles(folder).next_key.unlink()
    _sync_folder(folder)


def _seal(platform: Platform, master: Secret[bytes]) -> bytes:
    return seal(platform, master.reveal(), context=_CONTEXT)


def _unseal(platform: Platform, path: Path) -> Secret[bytes]:
    try:
        master, fresh = open_current(platform, path.read_bytes(), _CONTEXT)
    except SealingError as error:
        raise _refusal(path, error) from error
    if fresh is not None:
        write_private(path, fresh)
        _log.info("master key sealed again at the CPU's new level", file=path.name)
    return Secret(master)


def _refusal(path: Path, error: SealingError) -> SealedStateError:
    if error.code in _DAMAGED:
        return SealedStateError(
            f"{path} is damaged: {error.message} ({error.code})",
            code="cas.sealed.corrupt",
            hint="restore the database folder from a backup made on this machine",
        )
    if error.code in _OTHER_BUILD:
        return SealedStateError(
            f"{path} does not open here: it was sealed by another build of the CAS ({error.code}): {error.message}",
            code="cas.sealed.other_enclave",
            hint=_HINT,
        )
    if error.code == "sealing.newer":
        return SealedStateError(
            f"{path} does not open here: it was sealed at a newer version ({error.code}): {error.message}",
            code="cas.sealed.newer",
            hint="bring the CPU's microcode back to the level it had, or a newer one; nothing is lost",
        )
    return SealedStateError(f"{path} does not open here: it was sealed on another CPU ({error.code})", hint=_HINT)


def _sync_folder(folder: Path) -> None:
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
