"""Running a task without an enclave: inputs, the confined application, and the worker's own post-compute.

Inputs are plain files that the worker may see; whatever must stay secret needs an enclave task.
"""

from __future__ import annotations

import hashlib
import json
import shlex
import time
from pathlib import Path
from typing import Final

from adyton.base.errors import AdytonError
from adyton.base.files import write_atomic
from adyton.base.types import ZERO_ADDRESS, ZERO_BYTES32
from adyton.compute.client import (
    MAX_INPUT_BYTES,
    ArchiveError,
    ComputedFile,
    ComputedFileError,
    DigestError,
    DownloadError,
    FileNameTooLongError,
    check_names,
    download,
    input_file_name,
    pack,
    result_digest,
)
from adyton.content.image import ImageConfig
from adyton.content.oci import read_layout
from adyton.runner.profile import ExitStatus, Limits, Mount, RunningProcess, Sandbox
from adyton.workerpool.causes import Cause
from adyton.workerpool.description import TaskDescription
from adyton.workerpool.wire import ComputeLogs, StatusDetails
from adyton.workerpool.worker.context import WorkerContext
from adyton.workerpool.worker.errors import StepError
from adyton.workerpool.worker.folders import TaskFolders
from adyton.workerpool.worker.output import TailPipe

IN: Final = "/iexec_in"
OUT: Final = "/iexec_out"
_TMP_BYTES: Final = 256 << 20
_MAX_RESULT_FILE_BYTES: Final = 1 << 30  # what the result formats can carry
_DEFAULT_PATH: Final = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"


class StandardTask:
    """One task without an enclave.

    Args:
        context: the worker's means.
        task: what to run.
        folders: where its files lie.
    """

    def __init__(self, context: WorkerContext, task: TaskDescription, folders: TaskFolders) -> None:
        self._context = context
        self._task = task
        self._folders = folders
        self._process: RunningProcess | None = None
        self._layout: Path | None = None
        self._cancelled = False

    def cancel(self) -> None:
        """End the application if it runs."""
        self._cancelled = True
        if self._process is not None:
            self._process.kill()

    def prepare(self) -> None:
        """Checks before anything is downloaded.

        Raises:
            StepError: the deal asks for what only an enclave gives, or the worker has no runner.
        """
        if self._task.deal.params.result_encryption:
            raise StepError(Cause.TASK_DESCRIPTION_INVALID, "results are only encrypted by enclave tasks")
        if self._context.runner is None:
            raise StepError(Cause.UNKNOWN, "this worker has no runner for applications")

    def download_app(self) -> None:
        """Pull and check the application's image.

        Raises:
            StepError: not available, or not the image that the chain names.
        """
        deal = self._task.deal
        try:
            self._layout = self._context.images.app(deal.image, deal.app.checksum)
        except AdytonError as error:
            raise StepError(Cause.APP_IMAGE_DOWNLOAD_FAILED, error.message) from error

    def download_data(self) -> None:
        """Fetch the dataset and the input files.

        Raises:
            StepError: one of them cannot be had or is not what the chain names.
        """
        deal, gateway = self._task.deal, self._context.settings.ipfs_gateway
        if deal.dataset is not None:
            target = self._folders.input / deal.deal.dataset.pointer
            try:
                download(deal.dataset_location, target, gateway=gateway, max_bytes=MAX_INPUT_BYTES)
            except DownloadError as error:
                raise StepError(Cause.DATASET_FILE_DOWNLOAD_FAILED, error.message) from error
            expected = deal.dataset.checksum
            if expected != ZERO_BYTES32 and _sha256(target) != expected:
                raise StepError(Cause.DATASET_FILE_BAD_CHECKSUM, f"the dataset is not the one with checksum {expected}")
        for url in deal.params.input_files:
            try:
                download(url, self._folders.input / input_file_name(url), gateway=gateway)
            except DownloadError as error:
                raise StepError(Cause.INPUT_FILES_DOWNLOAD_FAILED, error.message) from error

    def compute(self) -> StatusDetails:
        """Run the application and pack its results.

        Raises:
            StepError: no image, the application failed or took too long, or its results break the rules.
        """
        if self._layout is None:
            self.download_app()
        started = time.monotonic()
        status, logs = self._run()
        self._context.durations.add("appCompute", time.monotonic() - started)
        details = StatusDetails(exit_code=status.code, compute_logs=logs)
        if status.timed_out:
            raise StepError(Cause.APP_COMPUTE_TIMEOUT, "the application took longer than the category allows", details)
        if status.code != 0:
            raise StepError(Cause.APP_COMPUTE_FAILED, f"the application ended with status {status.code}", details)
        for name, text in (("stdout.txt", logs.stdout), ("stderr.txt", logs.stderr)):
            if text:
                (self._folders.results / name).write_text(text, encoding="utf-8")
        self.finish(details)
        return details

    def finish(self, details: StatusDetails | None = None) -> None:
        """Digest, archive and complete what lies in ``/iexec_out``.

        Raises:
            StepError: the results break the rules.
        """
        results, task_id = self._folders.results, self._task.task_id
        try:
            computed = ComputedFile.read(results)
            digest = result_digest(computed, results, callback=self._task.deal.is_callback)
            check_names(results)
            pack(results, self._folders.archive)
        except ComputedFileError as error:
            raise StepError(Cause.POST_COMPUTE_COMPUTED_FILE_NOT_FOUND, error.message, details) from error
        except DigestError as error:
            raise StepError(Cause.POST_COMPUTE_RESULT_DIGEST_COMPUTATION_FAILED, error.message, details) from error
        except FileNameTooLongError as error:
            raise StepError(Cause.POST_COMPUTE_TOO_LONG_RESULT_FILE_NAME, error.message, details) from error
        except ArchiveError as error:
            raise StepError(Cause.POST_COMPUTE_OUT_FOLDER_ZIP_FAILED, error.message, details) from error
        document = computed.completed(task_id, digest).to_json()
        write_atomic(self._folders.computed, json.dumps(document).encode())

    def write_error_result(self, status: str, cause: Cause) -> None:
        """Make the failure itself the result, the same on every worker that meets it (pool reference 4.4, E).

        Raises:
            StepError: not even that works.
        """
        self._folders.reset_results()
        text = f"[IEXEC] Errors occurred while computing the task [error:{status}, causes:[{cause.value}]]"
        (self._folders.results / "error.txt").write_text(text, encoding="utf-8")
        document = {"deterministic-output-path": f"{OUT}/error.txt"}
        (self._folders.results / "computed.json").write_text(json.dumps(document), encoding="utf-8")
        self.finish()

    def _run(self) -> tuple[ExitStatus, ComputeLogs]:
        runner, layout = self._context.runner, self._layout
        if runner is None or layout is None:
            raise StepError(Cause.APP_NOT_FOUND_LOCALLY, "the application's image is not here")
        try:
            root = self._context.images.rootfs(layout)
            sandbox = self._sandbox(root, read_layout(layout).config)
            with TailPipe() as stdout, TailPipe() as stderr:
                self._process = runner.start(sandbox, stdout.write_fd, stderr.write_fd)
                if self._cancelled:
                    self._process.kill()
                status = self._process.wait()
        except AdytonError as error:
            if isinstance(error, StepError):
                raise
            raise StepError(Cause.APP_COMPUTE_FAILED, error.message) from error
        finally:
            self._process = None
        return status, ComputeLogs(stdout=stdout.text(), stderr=stderr.text())

    def _sandbox(self, root: Path, config: ImageConfig) -> Sandbox:
        settings = self._context.settings
        limits = Limits(
            memory_bytes=settings.memory_gb << 30,
            file_bytes=_MAX_RESULT_FILE_BYTES,
            timeout_s=self._task.deal.period.total_seconds(),
        )
        return Sandbox(
            rootfs=root,
            argv=command_line(config, self._task.deal.params.args),
            env={"PATH": _DEFAULT_PATH, **_image_environment(config), **application_environment(self._task)},
            cwd=config.workdir or "/",
            mounts=(Mount(self._folders.input, IN, False), Mount(self._folders.results, OUT, False)),
            tmpfs={"/tmp": _TMP_BYTES},  # noqa: S108  # the application's own, in memory
            network=settings.app_network,
            limits=limits,
            hostname="iexec",
        )


def command_line(config: ImageConfig, args: str) -> tuple[str, ...]:
    """The image's entrypoint with the deal's arguments, split like a shell; the image's own ones without any (pure).

    Raises:
        StepError: unbalanced quotes, or nothing to run.
    """
    try:
        given = tuple(shlex.split(args))
    except ValueError as error:
        raise StepError(Cause.TASK_DESCRIPTION_INVALID, f"iexec_args cannot be split: {error}") from error
    argv = (*config.entrypoint, *(given or config.cmd))
    if not argv:
        raise StepError(Cause.TASK_DESCRIPTION_INVALID, "the image has no entrypoint and the deal no arguments")
    return argv


def application_environment(task: TaskDescription) -> dict[str, str]:
    """The variables that a standard application sees (pool reference 4.6; pure)."""
    deal = task.deal
    dataset = deal.deal.dataset.pointer if deal.dataset is not None else ZERO_ADDRESS
    files = deal.params.input_files
    variables = {
        "IEXEC_TASK_ID": task.task_id,
        "IEXEC_DEAL_ID": deal.deal_id,
        "IEXEC_TASK_INDEX": str(task.index),
        "IEXEC_IN": IN,
        "IEXEC_OUT": OUT,
        "IEXEC_BOT_SIZE": str(deal.deal.bot_size),
        "IEXEC_BOT_FIRST_INDEX": str(deal.deal.bot_first),
        "IEXEC_BOT_TASK_INDEX": str(task.index),
        "IEXEC_DATASET_ADDRESS": dataset,
        "IEXEC_DATASET_FILENAME": dataset,
        "IEXEC_INPUT_FILES_NUMBER": str(len(files)),
    }
    if files:
        variables["IEXEC_INPUT_FILES_FOLDER"] = IN
        variables |= {f"IEXEC_INPUT_FILE_NAME_{n}": input_file_name(url) for n, url in enumerate(files, 1)}
    return variables


def _image_environment(config: ImageConfig) -> dict[str, str]:
    return dict(text.split("=", 1) for text in config.env if "=" in text and not text.startswith("="))


def _sha256(path: Path) -> str:
    with path.open("rb") as stream:
        return "0x" + hashlib.file_digest(stream, "sha256").hexdigest()
