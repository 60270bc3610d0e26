"""Running an enclave task: session, then pre-compute, application and post-compute, each launched by the platform.

The worker sees ciphertext only: inputs are fetched and results are packed inside enclaves, and what passes between
them lies in protected volumes whose keys the CAS gives to attested enclaves alone.
"""

from __future__ import annotations

import re
import threading
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from adyton.base.errors import AdytonError
from adyton.base.jsontext import parse_json
from adyton.base.log import get_logger
from adyton.compute.wire import Stage, StageExit
from adyton.results.client import ResultProxyClient
from adyton.sms.client import Session, SmsClient
from adyton.sms.errors import NotAllowedError, SessionRefusedError
from adyton.sms.wire import IPFS_TOKEN, TeeProperties
from adyton.workerpool.causes import Cause
from adyton.workerpool.description import TaskDescription
from adyton.workerpool.wire import ComputeLogs, StatusDetails, WorkerpoolAuthorization
from adyton.workerpool.worker.context import WorkerContext
from adyton.workerpool.worker.errors import StepError
from adyton.workerpool.worker.folders import TaskFolders
from adyton.workerpool.worker.output import TailPipe

if TYPE_CHECKING:
    from adyton.platform.client import LaunchedEnclave
    from adyton.runner.profile import ExitStatus

_log = get_logger("worker.enclaves")

FRAMEWORK: Final = "SCONE"
EXIT_REFUSED: Final = 121  # the agent was refused; the last line on standard error says why
EXIT_UNREACHABLE: Final = 122  # the agent could not reach what it needs
_AGENT_LINE: Final = re.compile(r"^adyton-enclave: (?:refused|failed) ([\w.]+): (.*)$")
_VOLUMES: Final = {
    "pre-compute": ("iexec_in",),
    "app": ("iexec_in", "iexec_out"),
    "post-compute": ("iexec_out", "post-compute-tmp"),
}


@dataclass(frozen=True, slots=True)
class EnclaveConfig:
    """The on-chain description of an application's enclave (SMS reference 9.3), as far as the worker needs it."""

    framework: str
    version: str
    heap_bytes: int

    @classmethod
    def parse(cls, raw: bytes) -> EnclaveConfig:
        """Read the UTF-8 JSON of an app's ``mrenclave``.

        Raises:
            StepError: absent or malformed.
        """
        if not raw:
            raise StepError(Cause.PRE_COMPUTE_MISSING_ENCLAVE_CONFIGURATION, "the app has no enclave configuration")
        try:
            document: dict[str, Any] = parse_json(raw)
            framework = document.get("framework", document.get("provider"))
            config = cls(str(framework), str(document["version"]), int(document.get("heapSize", 0)))
            fingerprint = bytes.fromhex(document["fingerprint"].removeprefix("0x"))
        except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
            raise StepError(
                Cause.PRE_COMPUTE_INVALID_ENCLAVE_CONFIGURATION, "the app's enclave configuration is malformed"
            ) from error
        if len(fingerprint) != 32:
            raise StepError(Cause.PRE_COMPUTE_INVALID_ENCLAVE_CONFIGURATION, "the app's fingerprint is not 32 bytes")
        return config


def agent_refusal(stderr: str) -> tuple[str, str] | None:
    """Code and text of the agent's own last line, or None (pure)."""
    lines = stderr.strip().splitlines()
    match = _AGENT_LINE.match(lines[-1]) if lines else None
    return None if match is None else (match[1], match[2])


def stage_failure(stage: Stage, status: ExitStatus, reported: list[Cause]) -> Cause | None:
    """The official cause of a stage's end; None when it went well (SMS reference 6.3; pure)."""
    prefix = "PRE_COMPUTE_" if stage is Stage.PRE else "POST_COMPUTE_"
    if status.timed_out:
        return Cause(prefix + "TIMEOUT")
    if status.code == StageExit.OK:
        return None
    if status.code == StageExit.REPORTED_FAILURE and reported:
        return reported[0]
    names = {
        StageExit.UNREPORTED_FAILURE: "EXIT_REPORTING_FAILED",
        StageExit.TASK_ID_MISSING: "TASK_ID_MISSING",
    }
    return Cause(prefix + names.get(_stage_exit(status.code), "FAILED_UNKNOWN_ISSUE"))


def _stage_exit(code: int) -> StageExit:
    return StageExit(code) if code in set(StageExit) else StageExit.REPORTED_FAILURE


class EnclaveTask:
    """One enclave task.

    Args:
        context: the worker's means.
        task: what to run.
        folders: where its volumes lie.
        authorization: the pool owner's permission.
        sms_url: the secret management service of the task.
    """

    def __init__(
        self,
        context: WorkerContext,
        task: TaskDescription,
        folders: TaskFolders,
        authorization: WorkerpoolAuthorization,
        sms_url: str | None,
    ) -> None:
        self._context = context
        self._task = task
        self._folders = folders
        self._authorization = authorization
        self._sms_url = sms_url
        self._session: Session | None = None
        self._properties: TeeProperties | None = None
        self._app: Path | None = None
        self._running: LaunchedEnclave | None = None
        self._cancelled = False

    def cancel(self) -> None:
        """End the enclave that runs."""
        self._cancelled = True
        running = self._running
        if running is not None:
            running.kill()

    def prepare(self) -> None:
        """Everything before the application's image: configuration, stages, storage token, session.

        Raises:
            StepError: with the official cause.
        """
        deal, settings = self._task.deal, self._context.settings
        if self._context.platform is None or deal.framework != FRAMEWORK:
            raise StepError(Cause.TEE_NOT_SUPPORTED, f"this worker has no platform for {deal.framework}")
        if not self._sms_url:
            raise StepError(Cause.UNKNOWN_SMS, "the scheduler named no SMS")
        config = EnclaveConfig.parse(deal.app.mrenclave)
        if config.heap_bytes > settings.max_enclave_heap_gb << 30:
            raise StepError(
                Cause.PRE_COMPUTE_INVALID_ENCLAVE_HEAP_CONFIGURATION,
                f"the app wants {config.heap_bytes} bytes of heap, this worker gives {settings.max_enclave_heap_gb} GB",
            )
        threading.Thread(target=self._fetch_ahead, name="fetch-ahead", daemon=True).start()
        sms = SmsClient(self._sms_url)
        try:
            self._properties = self._fetch_properties(sms, config)
            if not deal.is_callback:
                self._push_token(sms)
            self._session = self._open_session(sms)
        finally:
            sms.close()

    def download_app(self) -> None:
        """Pull and check the application's image.

        Raises:
            StepError: not available, or not the image that the chain names.
        """
        deal = self._task.deal
        try:
            self._app = self._context.images.app(deal.image, deal.app.checksum)
        except AdytonError as error:
            raise StepError(Cause.APP_IMAGE_DOWNLOAD_FAILED, error.message) from error

    def download_data(self) -> None:
        """Nothing: the pre-compute enclave fetches what only it may read."""

    def compute(self) -> StatusDetails:
        """Run the three stages.

        Raises:
            StepError: with the cause of the first stage that failed.
        """
        if self._session is None or self._properties is None:
            self.prepare()
        if self._app is None:
            self.download_app()
        session, properties, app = self._session, self._properties, self._app
        if session is None or properties is None or app is None:
            raise StepError(Cause.TEE_PREPARATION_FAILED, "the task was not prepared")
        if self._task.deal.needs_pre_compute:
            pre = properties.pre_compute_properties
            self._run_stage(Stage.PRE, self._context.images.stage(pre.image, pre.fingerprint), session)
        details = self._run_app(app, session)
        post = properties.post_compute_properties
        try:
            self._run_stage(Stage.POST, self._context.images.stage(post.image, post.fingerprint), session)
        except StepError as error:
            raise StepError(error.cause, error.message, details) from error
        return details

    def write_error_result(self, status: str, cause: Cause) -> None:
        """An enclave task has no error result: the worker cannot write into protected volumes.

        Raises:
            StepError: always.
        """
        raise StepError(Cause.POST_COMPUTE_FAILED_UNKNOWN_ISSUE, f"{status}, {cause.value}")

    def _fetch_ahead(self) -> None:
        """Fetch and unpack the application while the session is made; whatever fails, its own step will say."""
        deal = self._task.deal
        try:
            layout = self._context.images.app(deal.image, deal.app.checksum)
            if self._context.platform is not None:
                self._context.platform.prepare(layout)
        except AdytonError as error:
            _log.info("application not fetched ahead", task=self._task.task_id, code=error.code)

    # -- preparation --------------------------------------------------------------------------------------------

    def _fetch_properties(self, sms: SmsClient, config: EnclaveConfig) -> TeeProperties:
        try:
            properties = sms.properties(FRAMEWORK, config.version)
            stages = [properties.post_compute_properties]
            if self._task.deal.needs_pre_compute:
                stages.append(properties.pre_compute_properties)
            for stage in stages:
                self._context.images.stage(stage.image, stage.fingerprint)
        except AdytonError as error:
            raise StepError(Cause.GET_TEE_SERVICES_CONFIGURATION_FAILED, error.message) from error
        return properties

    def _push_token(self, sms: SmsClient) -> None:
        wallet = self._context.access.wallet
        proxy = ResultProxyClient(self._task.deal.params.result_storage_proxy or self._context.proxy_url)
        try:
            token = proxy.token(self._authorization, wallet)
            sms.push_web2(IPFS_TOKEN, token, wallet, force_update=True)
        except NotAllowedError:
            # The service takes each signed value once; a proxy gives a worker the same token for every task.
            _log.info("storage token is there", task=self._task.task_id)
        except AdytonError as error:
            # Officially not fatal: a requester's own token may be there, and the session says so if none is.
            _log.warning("storage token", task=self._task.task_id, code=error.code, detail=error.message)
        finally:
            proxy.close()

    def _open_session(self, sms: SmsClient) -> Session:
        try:
            return sms.session(self._authorization, self._context.access.wallet)
        except SessionRefusedError as error:
            details = StatusDetails(tee_session_generation_error=error.failure.value)
            cause = Cause("TEE_SESSION_GENERATION_" + error.failure.value)
            raise StepError(cause, error.message, details) from error
        except AdytonError as error:
            raise StepError(Cause.TEE_SESSION_GENERATION_UNKNOWN_ISSUE, error.message) from error

    # -- stages -------------------------------------------------------------------------------------------------

    def _run_stage(self, stage: Stage, layout: Path, session: Session) -> None:
        service = "pre-compute" if stage is Stage.PRE else "post-compute"
        address = self._context.settings.stage_address
        environment = {"WORKER_HOST": address}
        if stage is Stage.PRE:
            environment["ADYTON_IPFS_GATEWAY"] = self._context.settings.ipfs_gateway
        status, logs = self._launch(service, layout, session, environment)
        cause = stage_failure(stage, status, self._context.board.causes(self._task.task_id, stage))
        if cause is not None:
            _log.warning("stage failed", stage=service, task=self._task.task_id, cause=cause.value)
            raise StepError(cause, f"{service} ended with status {status.code}: {logs.stderr[-500:]}")

    def _run_app(self, layout: Path, session: Session) -> StatusDetails:
        status, logs = self._launch("app", layout, session, {})
        details = StatusDetails(exit_code=status.code, compute_logs=logs)
        if status.timed_out:
            raise StepError(Cause.APP_COMPUTE_TIMEOUT, "the application took longer than the category allows", details)
        if status.code != 0:
            raise StepError(Cause.APP_COMPUTE_FAILED, f"the application ended with status {status.code}", details)
        return details

    def _launch(
        self, service: str, layout: Path, session: Session, environment: Mapping[str, str]
    ) -> tuple[ExitStatus, ComputeLogs]:
        started = time.monotonic()
        with TailPipe() as stdout, TailPipe() as stderr:
            status = self._wait(self._request(service, layout, session, environment), stdout, stderr)
        logs = ComputeLogs(stdout=stdout.text(), stderr=stderr.text())
        self._context.durations.add(_DURATION_NAMES[service], time.monotonic() - started)
        if self._cancelled:
            raise StepError(Cause.ABORTED_BY_WORKER, "the task was aborted")
        refusal = agent_refusal(logs.stderr) if status.code in {EXIT_REFUSED, EXIT_UNREACHABLE} else None
        if refusal is not None:
            code, text = refusal
            raise StepError(Cause.TEE_PREPARATION_FAILED, f"{service}: {code}: {text}")
        return status, logs

    def _request(self, service: str, layout: Path, session: Session, environment: Mapping[str, str]) -> Any:  # noqa: ANN401
        from adyton.platform.client import LaunchRequest  # noqa: PLC0415  # workers without a platform need none of it
        from adyton.runner.profile import Limits  # noqa: PLC0415

        volumes = {name: self._folders.volume(name) for name in _VOLUMES[service]}
        for folder in volumes.values():
            folder.mkdir(parents=True, exist_ok=True)
        return LaunchRequest(
            layout=layout,
            environment={
                "SCONE_CAS_ADDR": session.provisioning_url,
                "SCONE_CONFIG_ID": f"{session.session_id}/{service}",
                **environment,
            },
            volumes=volumes,
            cas_address=session.provisioning_url,
            limits=Limits(timeout_s=self._task.deal.period.total_seconds()),
        )

    def _wait(self, request: Any, stdout: TailPipe, stderr: TailPipe) -> ExitStatus:  # noqa: ANN401
        platform = self._context.platform
        if platform is None:
            raise StepError(Cause.TEE_NOT_SUPPORTED, "this worker has no platform")
        if self._cancelled:
            raise StepError(Cause.ABORTED_BY_WORKER, "the task was aborted")
        try:
            with platform.launch(request, stdout.write_fd, stderr.write_fd) as enclave:
                self._running = enclave
                return enclave.wait(self._task.deal.period.total_seconds())
        except AdytonError as error:
            raise StepError(Cause.TEE_PREPARATION_FAILED, f"{error.code}: {error.message}") from error
        finally:
            self._running = None


_DURATION_NAMES: Final = {"pre-compute": "preCompute", "app": "appCompute", "post-compute": "postCompute"}
