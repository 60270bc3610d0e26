"""The post-compute enclave: digest, sign, pack, encrypt and upload the result (SMS reference 7.1).

Run as ``python -m adyton.compute.post [--results DIR] [--scratch DIR]``; both options are part of the measured
session's command, with the official mounts as defaults. The plaintext archive exists only in the scratch folder, a
volume of the enclave's own, and is removed whatever happens.
"""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from adyton.base.errors import AdytonError, InputError
from adyton.base.log import configure, get_logger
from adyton.base.secret import Secret
from adyton.base.types import Bytes32, to_hex
from adyton.chain.hashing import contribution_message
from adyton.compute.archive import ARCHIVE_NAME, ArchiveError, FileNameTooLongError, check_names, pack
from adyton.compute.computed import ComputedFile, ComputedFileError
from adyton.compute.digest import DigestError, result_digest
from adyton.compute.encryption import PublicKeyError, ResultEncryptionError, encrypt_result, parse_public_key
from adyton.compute.report import IdentityError, StageIdentity, WorkerReports, worker_host
from adyton.compute.upload import upload_dropbox, upload_ipfs
from adyton.compute.wire import ExitCause, PostCause, Stage, StageExit

_log = get_logger("compute.post")

RESULTS: Final = Path("/iexec_out")
SCRATCH: Final = Path("/post-compute-tmp")


class StageError(AdytonError):
    """The stage failed; carries the cause that is reported.

    Attributes:
        cause: official cause.
    """

    code = "compute.post"

    def __init__(self, cause: PostCause, message: str) -> None:
        super().__init__(message)
        self.cause = cause


@dataclass(frozen=True, slots=True)
class Folders:
    """Where the enclave's volumes are mounted."""

    results: Path = RESULTS
    scratch: Path = SCRATCH


def run(environment: Mapping[str, str], folders: Folders) -> StageExit:
    """Do the stage's work and return its exit code; see :class:`StageExit`."""
    if not environment.get("IEXEC_TASK_ID"):
        _log.error("IEXEC_TASK_ID is missing")
        return StageExit.TASK_ID_MISSING
    try:
        identity = _identity(environment)
    except StageError as error:
        # Nothing can be signed, so nothing can be reported.
        _log.error("post-compute failed", cause=error.cause.value, detail=error.message)
        return StageExit.UNREPORTED_FAILURE
    with closing(WorkerReports(worker_host(environment), Stage.POST, identity)) as reports:
        try:
            finish(environment, folders, identity, reports)
        except StageError as error:
            _log.error("post-compute failed", cause=error.cause.value, detail=error.message)
            return _report(reports, error)
    return StageExit.OK


def finish(
    environment: Mapping[str, str], folders: Folders, identity: StageIdentity, reports: WorkerReports
) -> ComputedFile:
    """Steps 2 to 7 of the stage; returns the completed ``computed.json``.

    Raises:
        StageError: with the cause to report.
    """
    callback = _flag(environment, "RESULT_STORAGE_CALLBACK")
    try:
        computed = ComputedFile.read(folders.results)
    except ComputedFileError as error:
        raise StageError(PostCause.COMPUTED_FILE_NOT_FOUND, error.message) from error
    try:
        digest = result_digest(computed, folders.results, callback=callback)
    except DigestError as error:
        raise StageError(PostCause.RESULT_DIGEST_COMPUTATION_FAILED, error.message) from error
    message = contribution_message(identity.task_id, identity.worker, digest)
    signature = to_hex(identity.wallet.sign_personal(bytes.fromhex(message[2:])))
    completed = computed.completed(identity.task_id, digest, signature)
    if not callback:
        _store(environment, _archive(environment, folders), identity.task_id, digest, signature)
    try:
        reports.computed(completed)
    except AdytonError as error:
        raise StageError(PostCause.SEND_COMPUTED_FILE_FAILED, error.message) from error
    return completed


def _identity(environment: Mapping[str, str]) -> StageIdentity:
    try:
        return StageIdentity.from_environment(environment)
    except IdentityError as error:
        names = {
            ("worker", True): PostCause.WORKER_ADDRESS_MISSING,
            ("key", True): PostCause.TEE_CHALLENGE_PRIVATE_KEY_MISSING,
        }
        raise StageError(
            names.get((error.part, error.missing), PostCause.INVALID_TEE_SIGNATURE), error.message
        ) from None
    except InputError as error:
        raise StageError(PostCause.FAILED_UNKNOWN_ISSUE, error.message) from error


def _report(reports: WorkerReports, error: StageError) -> StageExit:
    try:
        reports.exit_causes([ExitCause(cause=error.cause.value, message=error.message)])
    except AdytonError as failure:
        _log.error("the cause could not be reported", code=failure.code, detail=failure.message)
        return StageExit.UNREPORTED_FAILURE
    return StageExit.REPORTED_FAILURE


def _flag(environment: Mapping[str, str], name: str) -> bool:
    # Upstream reads an unparsable RESULT_ENCRYPTION as "no": a typing error would publish a secret result.
    value = environment.get(name, "").lower()
    if value not in {"true", "false"}:
        raise StageError(PostCause.FAILED_UNKNOWN_ISSUE, f"{name} is neither true nor false")
    return value == "true"


def _archive(environment: Mapping[str, str], folders: Folders) -> bytes:
    encrypt = _flag(environment, "RESULT_ENCRYPTION")
    plain = folders.scratch / ARCHIVE_NAME
    try:
        check_names(folders.results)
        pack(folders.results, plain)
        archive = plain.read_bytes()
    except FileNameTooLongError as error:
        raise StageError(PostCause.TOO_LONG_RESULT_FILE_NAME, error.message) from error
    except (ArchiveError, OSError) as error:
        raise StageError(PostCause.OUT_FOLDER_ZIP_FAILED, "the results cannot be archived") from error
    finally:
        plain.unlink(missing_ok=True)
    return _encrypted(environment, archive) if encrypt else archive


def _encrypted(environment: Mapping[str, str], archive: bytes) -> bytes:
    key = environment.get("RESULT_ENCRYPTION_PUBLIC_KEY", "")
    if not key:
        raise StageError(PostCause.ENCRYPTION_PUBLIC_KEY_MISSING, "the beneficiary has no encryption key")
    try:
        return encrypt_result(archive, parse_public_key(key))
    except PublicKeyError as error:
        raise StageError(PostCause.MALFORMED_ENCRYPTION_PUBLIC_KEY, error.message) from error
    except ResultEncryptionError as error:
        raise StageError(PostCause.ENCRYPTION_FAILED, error.message) from error


def _store(environment: Mapping[str, str], archive: bytes, task_id: Bytes32, digest: Bytes32, signature: str) -> None:
    token = environment.get("RESULT_STORAGE_TOKEN", "")
    if not token:
        raise StageError(PostCause.STORAGE_TOKEN_MISSING, "there is no storage token")
    if environment.get("RESULT_STORAGE_PROVIDER", "") == "dropbox":
        try:
            upload_dropbox(Secret(token), task_id, archive)
        except AdytonError as error:
            raise StageError(PostCause.DROPBOX_UPLOAD_FAILED, error.message) from error
        return
    proxy = environment.get("RESULT_STORAGE_PROXY", "")
    if not proxy:
        raise StageError(PostCause.FAILED_UNKNOWN_ISSUE, "RESULT_STORAGE_PROXY is missing")
    try:
        upload_ipfs(proxy, Secret(token), task_id, digest=digest, signature=signature, archive=archive)
    except AdytonError as error:
        raise StageError(PostCause.IPFS_UPLOAD_FAILED, error.message) from error


def main(argv: Sequence[str] | None = None) -> int:
    """Entry point of the enclave's command."""
    parser = argparse.ArgumentParser(prog="adyton.compute.post", description=__doc__)
    parser.add_argument("--results", type=Path, default=RESULTS, help="mount of the results volume")
    parser.add_argument("--scratch", type=Path, default=SCRATCH, help="mount of the enclave's own scratch volume")
    options = parser.parse_args(argv)
    configure(json_lines=True)
    return int(run(os.environ, Folders(options.results, options.scratch)))


if __name__ == "__main__":
    sys.exit(main())
