"""The pre-compute enclave: fetch, check and decrypt the task's inputs into ``/iexec_in`` (SMS reference 6).

Run as ``python -m adyton.compute.pre``. Everything it needs is in its environment: what the CAS released, and two
host-set names that are not trusted, ``WORKER_HOST`` and ``ADYTON_IPFS_GATEWAY`` (what the gateway serves is compared
with the on-chain checksum). One failing input does not stop the others; all causes are reported together.
"""

from __future__ import annotations

import hmac
import os
import sys
import tempfile
from collections.abc import Mapping
from contextlib import closing
from pathlib import Path

from adyton.base.errors import AdytonError, InputError
from adyton.base.log import configure, get_logger
from adyton.compute.download import DownloadError, download, input_file_name
from adyton.compute.encryption import DatasetDecryptionError, DatasetKeyError, dataset_checksum, decrypt_dataset
from adyton.compute.plan import DatasetInput, cause, read_plan
from adyton.compute.report import IdentityError, StageIdentity, WorkerReports, worker_host
from adyton.compute.wire import ExitCause, PreCause, Stage, StageExit

_log = get_logger("compute.pre")


def run(environment: Mapping[str, str]) -> StageExit:
    """Do the stage's work and return its exit code; see :class:`StageExit`."""
    if not environment.get("IEXEC_TASK_ID"):
        _log.error("IEXEC_TASK_ID is missing")
        return StageExit.TASK_ID_MISSING
    causes = prepare(environment)
    if not causes:
        return StageExit.OK
    for found in causes:
        _log.error("pre-compute failed", cause=found.cause, detail=found.message)
    try:
        identity = StageIdentity.from_environment(environment)
        with closing(WorkerReports(worker_host(environment), Stage.PRE, identity)) as reports:
            reports.exit_causes(causes)
    except AdytonError as error:
        _log.error("the causes could not be reported", code=error.code, detail=error.message)
        return StageExit.UNREPORTED_FAILURE
    return StageExit.REPORTED_FAILURE


def prepare(environment: Mapping[str, str]) -> list[ExitCause]:
    """Fetch everything; the list of what went wrong, empty on success."""
    folder = environment.get("IEXEC_PRE_COMPUTE_OUT", "")
    if not folder:
        text = "IEXEC_PRE_COMPUTE_OUT related environment variable is missing"
        return [cause(PreCause.OUTPUT_PATH_MISSING, text)]
    out = Path(folder)
    if not out.is_dir():
        return [cause(PreCause.OUTPUT_FOLDER_NOT_FOUND, f"Output folder {folder} not found")]
    causes = _identity_causes(environment)
    plan, missing = read_plan(environment)
    causes += missing
    gateway = environment.get("ADYTON_IPFS_GATEWAY", "")
    for dataset in plan.datasets:
        causes += _fetch_dataset(dataset, out, gateway)
    for url in plan.input_urls:
        try:
            download(url, out / input_file_name(url), gateway=gateway)
        except DownloadError as error:
            _log.warning("input file", code=error.code, detail=error.message)
            causes.append(cause(PreCause.INPUT_FILE_DOWNLOAD_FAILED, f"Input file download failed for input {url}"))
    return causes


def _identity_causes(environment: Mapping[str, str]) -> list[ExitCause]:
    # A stage that could not sign its report must not look successful: the application would run with inputs of a
    # session that was made for nobody.
    try:
        StageIdentity.from_environment(environment)
    except IdentityError as error:
        names = {
            ("worker", True): PreCause.WORKER_ADDRESS_MISSING,
            ("key", True): PreCause.TEE_CHALLENGE_PRIVATE_KEY_MISSING,
        }
        return [cause(names.get((error.part, error.missing), PreCause.INVALID_TEE_SIGNATURE), error.message)]
    except InputError as error:
        return [cause(PreCause.FAILED_UNKNOWN_ISSUE, error.message)]
    return []


def _fetch_dataset(dataset: DatasetInput, out: Path, gateway: str) -> list[ExitCause]:
    name = dataset.filename
    if name in {".", ".."} or "/" in name or "\0" in name:
        return [cause(PreCause.SAVING_PLAIN_DATASET_FAILED, f"{name!r} is not a file name")]
    try:
        encrypted = _fetch_bytes(dataset.url, gateway)
    except DownloadError as error:
        _log.warning("dataset", code=error.code, detail=error.message)
        text = f"Failed to download encrypted dataset file for dataset {name}"
        return [cause(PreCause.DATASET_DOWNLOAD_FAILED, text)]
    if not hmac.compare_digest(dataset_checksum(encrypted).encode(), dataset.checksum.encode()):
        return [cause(PreCause.INVALID_DATASET_CHECKSUM, f"Invalid dataset checksum for dataset {name}")]
    try:
        plain = decrypt_dataset(encrypted, dataset.key)
    except (DatasetKeyError, DatasetDecryptionError) as error:
        _log.warning("dataset", code=error.code)
        return [cause(PreCause.DATASET_DECRYPTION_FAILED, f"Failed to decrypt dataset {name}")]
    try:
        (out / name).write_bytes(plain)
    except OSError as error:
        _log.warning("dataset", detail=error.strerror)
        return [cause(PreCause.SAVING_PLAIN_DATASET_FAILED, "Failed to write plain dataset file")]
    return []


def _fetch_bytes(url: str, gateway: str) -> bytes:
    # The encrypted bytes are public; they pass through the stage's own temporary folder.
    with tempfile.TemporaryDirectory() as scratch:
        target = Path(scratch, "dataset")
        download(url, target, gateway=gateway)
        return target.read_bytes()


def main() -> int:
    """Entry point of the enclave's command."""
    configure(json_lines=True)
    return int(run(os.environ))


if __name__ == "__main__":
    sys.exit(main())
