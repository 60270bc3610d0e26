"""Encrypting datasets in the folders of a project (sections 2.6 and 5.2)."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from adyton.base.files import write_atomic, write_private
from adyton.base.types import Bytes32
from adyton.sdk.errors import ClientError

KEY_FOLDER: Final = Path(".secrets/datasets")
ORIGINAL_FOLDER: Final = Path("datasets/original")
ENCRYPTED_FOLDER: Final = Path("datasets/encrypted")
LAST_KEY_NAME: Final = "dataset.key"
MAX_DATASET_BYTES: Final = 2 << 30  # encryption works in memory

Confirm = Callable[[Path], None]
"""Asks before a file is replaced; raises when the user says no."""


@dataclass(frozen=True, slots=True)
class DatasetFolders:
    """Where a project keeps its datasets' keys, plain files and encrypted files."""

    keys: Path
    original: Path
    encrypted: Path

    @classmethod
    def of(cls, cwd: Path, keys: str | None, original: str | None, encrypted: str | None) -> DatasetFolders:
        """The default folders under ``cwd``, except where another one is given."""
        return cls(
            cwd / (keys or KEY_FOLDER), cwd / (original or ORIGINAL_FOLDER), cwd / (encrypted or ENCRYPTED_FOLDER)
        )

    def create(self) -> None:
        """Make the folders that are missing; the one with keys is closed to others."""
        self.keys.mkdir(parents=True, exist_ok=True, mode=0o700)
        self.original.mkdir(parents=True, exist_ok=True)
        self.encrypted.mkdir(parents=True, exist_ok=True)


@dataclass(frozen=True, slots=True)
class EncryptedFile:
    """One dataset that was encrypted; ``checksum`` goes on the chain."""

    original: Path
    encrypted: Path
    key: Path
    checksum: Bytes32


def encrypt_all(folders: DatasetFolders, confirm_replace: Confirm) -> Iterator[EncryptedFile]:
    """Encrypt every file of the folder of originals, each under a new key.

    ``dataset.key`` always gets the last one, which is what ``push-secret`` takes by default.

    Raises:
        ClientError: a folder is missing, or there is nothing to encrypt.
    """
    from adyton.compute import encryption  # noqa: PLC0415  # loads the cryptography library

    for folder in (folders.original, folders.encrypted, folders.keys):
        if not folder.is_dir():
            message = f'Folder "{folder}" does not exist, did you forget to run "iexec dataset init --encrypted"?'
            raise ClientError(message, code="sdk.dataset.folder")
    originals = sorted(path for path in folders.original.iterdir() if path.is_file())
    if not originals:
        message = f'Input folder "{folders.original}" is empty, nothing to encrypt'
        raise ClientError(message, code="sdk.dataset.empty")
    for path in originals:
        if path.stat().st_size > MAX_DATASET_BYTES:
            raise ClientError(f"{path.name} is larger than {MAX_DATASET_BYTES} bytes", code="sdk.dataset.size")
        key = encryption.new_dataset_key()
        for key_path in (folders.keys / f"{path.name}.key", folders.keys / LAST_KEY_NAME):
            if key_path.exists():
                confirm_replace(key_path)
            write_private(key_path, key.reveal().encode())
        data = encryption.encrypt_dataset(path.read_bytes(), key)
        target = folders.encrypted / f"{path.name}.enc"
        write_atomic(target, data)
        yield EncryptedFile(path, target, folders.keys / f"{path.name}.key", encryption.dataset_checksum(data))
