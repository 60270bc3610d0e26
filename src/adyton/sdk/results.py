"""Results of finished tasks: fetching the archive, opening an encrypted one, the key pair for that."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Final

from adyton.base.errors import NotFoundError
from adyton.base.files import write_atomic, write_private
from adyton.base.secret import Secret
from adyton.base.types import Address
from adyton.chain.models import TaskStatus
from adyton.sdk import deals
from adyton.sdk.errors import ClientError
from adyton.sdk.services import IPFS_GATEWAY, calling
from adyton.sdk.session import Session

KEY_BITS: Final = 4096
PUBLIC_GATEWAY: Final = "https://gateway.ipfs.io"
BENEFICIARY_FOLDER: Final = Path(".secrets/beneficiary")


@dataclass(frozen=True, slots=True)
class KeyPairFiles:
    """Where an account's result encryption key pair is."""

    folder: Path
    private_name: str
    public_name: str

    @property
    def private_path(self) -> Path:
        """The private half: PKCS#8 PEM."""
        return self.folder / self.private_name

    @property
    def public_path(self) -> Path:
        """The public half: SPKI PEM."""
        return self.folder / self.public_name


def key_files(folder: Path, address: Address) -> KeyPairFiles:
    """The names of an account's key pair."""
    return KeyPairFiles(folder, f"{address}_key", f"{address}_key.pub")


def generate_key_pair(files: KeyPairFiles) -> None:
    """Make an RSA-4096 key pair and write both files; the private one is readable by its owner only."""
    from cryptography.hazmat.primitives import serialization as s  # noqa: PLC0415  # 100 ms for no other command
    from cryptography.hazmat.primitives.asymmetric import rsa  # noqa: PLC0415  # the same

    key = rsa.generate_private_key(public_exponent=65537, key_size=KEY_BITS)
    private = key.private_bytes(s.Encoding.PEM, s.PrivateFormat.PKCS8, s.NoEncryption())
    public = key.public_key().public_bytes(s.Encoding.PEM, s.PublicFormat.SubjectPublicKeyInfo)
    write_private(files.private_path, private)
    write_atomic(files.public_path, public)


def decrypt_archive(encrypted: bytes, key_path: Path) -> bytes:
    """Open an encrypted result with the beneficiary's private key; returns the inner archive.

    Raises:
        ClientError: no key file, the wrong key, or not an encrypted result.
    """
    from adyton.compute import encryption  # noqa: PLC0415  # loads the cryptography library

    try:
        key = Secret(key_path.read_bytes())
    except OSError as error:
        raise ClientError(
            f"Failed to load beneficiary key from {key_path}: {error.strerror}",
            code="sdk.result.key_file",
            hint="iexec result generate-encryption-keypair makes one; --beneficiary-key-file names another",
        ) from error
    return encryption.decrypt_result(encrypted, key)


def fetch(session: Session, task: deals.TaskView) -> bytes:
    """The result archive of a completed task, from the IPFS gateway.

    Raises:
        ClientError: nothing was uploaded, or not to IPFS, or the gateway has it not.
        ApiCallError: the gateway does not answer.
    """
    from adyton.results.client import IpfsClient  # noqa: PLC0415  # only where something is downloaded

    location = _ipfs_location(task)
    gateway = session.chain.urls.get("ipfsGateway", PUBLIC_GATEWAY)
    client = IpfsClient(gateway, gateway)
    try:
        with calling(IPFS_GATEWAY, gateway):
            return client.get(location, accept="application/zip")
    except NotFoundError as error:
        raise ClientError(f"API error: {error.message}", code="sdk.result.missing") from error
    finally:
        client.close()


def download_path(cwd: Path, task: deals.TaskView, name: str | None) -> Path:
    """Where ``--download`` writes: the given name or the task's id, with ``.zip``."""
    chosen = name or task.task_id
    return cwd / (chosen if chosen.endswith(".zip") else f"{chosen}.zip")


def _ipfs_location(task: deals.TaskView) -> str:
    if task.task is None or task.status is not TaskStatus.COMPLETED:
        raise ClientError(f"Task {task.task_id} is not completed, there is no result", code="sdk.result.incomplete")
    found = deals.result_location(task.task.results)
    storage, location = found.get("storage"), found.get("location")
    if storage == "none" or not storage:
        raise ClientError("No result uploaded for this task", code="sdk.result.none")
    if storage != "ipfs":
        raise ClientError(f"Task result stored on {storage}, download not supported", code="sdk.result.storage")
    if not isinstance(location, str) or not location.startswith("/ipfs/"):
        raise ClientError("Missing location key in task results", code="sdk.result.location")
    return location
