"""From a task and its secrets to the session document that the attestation service stores (protocol, section 5).

Pure: no clock, no database, no network; randomness comes in as the session's name. One :class:`SessionMaker` per TEE
framework; services, environment names and presence rules are the official ones, all environment values are text, and
an absent storage provider is an empty text rather than YAML's null.

One addition of ours: ``expiry``, the task's final deadline, after which the session releases nothing.
"""

from __future__ import annotations

import hashlib
import secrets
import string
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, Final, Protocol

import yaml

from adyton.base.secret import Secret
from adyton.base.types import Address, to_hex
from adyton.sms.errors import SessionRefusedError, UnsupportedFrameworkError
from adyton.sms.settings import PipelineSettings, SmsSettings
from adyton.sms.task import (
    DROPBOX,
    EnclaveDescription,
    TaskDescription,
    TaskSecrets,
    check_enclave,
    enclave_description,
)
from adyton.sms.wire import Framework, SessionFailure

PRE_COMPUTE: Final = "pre-compute"
APP: Final = "app"
POST_COMPUTE: Final = "post-compute"
IN_FOLDER: Final = "/iexec_in"
OUT_FOLDER: Final = "/iexec_out"
TMP_FOLDER: Final = "/post-compute-tmp"

_SESSION_VERSION: Final = "0.3.10"
_NAME_CHARACTERS: Final = string.ascii_letters + string.digits
_ENCRYPTION_WISH: Final = '"iexec_result_encryption"'
_JAVA_ENVIRONMENT: Final = {  # what the official helper images need; see PipelineSettings.java_environment
    "LD_LIBRARY_PATH": "/opt/java/openjdk/lib/server:/opt/java/openjdk/lib:/opt/java/openjdk/../lib",
    "JAVA_TOOL_OPTIONS": "-Xmx256m",
}


@dataclass(frozen=True, slots=True)
class Plan:
    """Which enclaves will run: the pipeline of the app's framework version, and the app's own enclave."""

    pipeline: PipelineSettings
    enclave: EnclaveDescription


@dataclass(frozen=True, slots=True)
class SessionRequest:
    """All that a session is made of.

    Attributes:
        session_id: its name, from :func:`new_session_id`.
        task: the task.
        worker: the worker's account, checksummed.
        secrets: what the database holds for it.
    """

    session_id: str
    task: TaskDescription
    worker: Address
    secrets: TaskSecrets


class SessionMaker(Protocol):
    """Makes the sessions of one TEE framework."""

    def plan(self, task: TaskDescription) -> Plan:
        """Checks 8 and 9, before any secret is read.

        Raises:
            SessionRefusedError: the app's enclave description is missing or of no configured version.
        """

    def document(self, plan: Plan, request: SessionRequest) -> dict[str, Any]:
        """Checks 13 to 16, and the session document as plain values.

        Raises:
            SessionRefusedError: a secret that the task needs is missing, or the enclave description is incomplete.
        """


class SconeSessionMaker:
    """Sessions of the SCONE framework, for a CAS.

    Args:
        pipelines: configured framework versions.
        tolerate: weaknesses that the CAS shall tolerate.
        ignore_advisories: advisories that it shall ignore.
        mode: how it shall attest.
    """

    def __init__(
        self,
        pipelines: Sequence[PipelineSettings],
        *,
        tolerate: Sequence[str],
        ignore_advisories: Sequence[str],
        mode: str,
    ) -> None:
        self._pipelines = {pipeline.version: pipeline for pipeline in pipelines}
        self._attestation = {
            "tolerate": list(tolerate),
            "ignore_advisories": list(ignore_advisories),
            "mode": mode,
            "url": None,
        }

    def plan(self, task: TaskDescription) -> Plan:
        """Checks 8 and 9.

        Raises:
            SessionRefusedError: see :meth:`SessionMaker.plan`.
        """
        description = enclave_description(task.app)
        pipeline = self._pipelines.get(description.version)
        if pipeline is None:
            raise SessionRefusedError(
                SessionFailure.APP_COMPUTE_INVALID_ENCLAVE_CONFIG,
                f"framework version {description.version!r} is not one of {', '.join(self._pipelines)}",
            )
        return Plan(pipeline, description)

    def document(self, plan: Plan, request: SessionRequest) -> dict[str, Any]:
        """Checks 13 to 16 and the document of section 5.3.

        Raises:
            SessionRefusedError: see :meth:`SessionMaker.document`.
        """
        _check_wishes(request.task)
        services = []
        if request.task.needs_pre_compute:
            stage = plan.pipeline.pre_compute
            environment = pre_compute_environment(request) | _helper_environment(plan.pipeline)
            services.append(_service(PRE_COMPUTE, stage.fingerprint, stage.entrypoint, environment))
        mrenclave = check_enclave(plan.enclave, Framework.SCONE)
        command = _app_command(plan.enclave.entrypoint, request.task.params.args)
        services.append(_service(APP, mrenclave, command, app_environment(request)))
        stage = plan.pipeline.post_compute
        environment = post_compute_environment(request) | _helper_environment(plan.pipeline)
        services.append(_service(POST_COMPUTE, stage.fingerprint, stage.entrypoint, environment))
        return {
            "name": request.session_id,
            "version": _SESSION_VERSION,
            "expiry": datetime.fromtimestamp(request.task.task.final_deadline, UTC).isoformat().replace("+00:00", "Z"),
            "access_policy": {"read": ["CREATOR"], "update": ["NONE"]},
            "services": services,
            "images": [
                _image(PRE_COMPUTE, IN_FOLDER),
                _image(APP, IN_FOLDER, OUT_FOLDER),
                _image(POST_COMPUTE, OUT_FOLDER, TMP_FOLDER),
            ],
            "volumes": [{"name": folder[1:]} for folder in (IN_FOLDER, OUT_FOLDER, TMP_FOLDER)],
            "security": {"attestation": dict(self._attestation)},
        }


def session_maker(settings: SmsSettings) -> SessionMaker:
    """The session maker of the service's framework.

    Raises:
        UnsupportedFrameworkError: there is none for it.
    """
    if settings.framework is not Framework.SCONE:
        raise UnsupportedFrameworkError(
            f"sessions of framework {settings.framework} are not offered", hint="set the framework to SCONE"
        )
    return SconeSessionMaker(
        settings.pipelines,
        tolerate=settings.tolerated_insecure_options,
        ignore_advisories=settings.ignored_sgx_advisories,
        mode=settings.attestation_mode,
    )


def new_session_id(task_id: str) -> str:
    """A fresh session name: 10 random letters and digits, ``0000``, and the task id."""
    return "".join(secrets.choice(_NAME_CHARACTERS) for _ in range(10)) + "0000" + task_id


def to_yaml(document: Mapping[str, Any]) -> Secret[str]:
    """The document as it is posted; secret, for it holds every secret of the task."""
    return Secret(yaml.dump(document, Dumper=_PlainDumper, sort_keys=False, width=1 << 30, allow_unicode=False))


class _PlainDumper(yaml.SafeDumper):
    """Writes no anchors: the receiving side accepts none."""

    def ignore_aliases(self, data: object) -> bool:  # noqa: ARG002  # PyYAML's signature
        return True


# -- environments (section 5.1) -----------------------------------------------------------------------------------


def pre_compute_environment(request: SessionRequest) -> dict[str, str]:
    """What the pre-compute enclave gets.

    Raises:
        SessionRefusedError: ``PRE_COMPUTE_GET_DATASET_SECRET_FAILED``.
    """
    task = request.task
    environment = {
        "IEXEC_PRE_COMPUTE_OUT": IN_FOLDER,
        "IS_DATASET_REQUIRED": _flag(task.needs_dataset),
        **_task_variables(task),
        **_input_file_variables(task, "IEXEC_INPUT_FILE_URL_", lambda url: url),
    }
    if task.needs_dataset and task.dataset is not None:
        key = request.secrets.dataset_key
        if key is None:
            raise SessionRefusedError(
                SessionFailure.PRE_COMPUTE_GET_DATASET_SECRET_FAILED, f"dataset {task.deal.dataset} has no key here"
            )
        environment |= {
            "IEXEC_DATASET_KEY": key.reveal(),
            "IEXEC_DATASET_URL": task.dataset.uri,
            "IEXEC_DATASET_CHECKSUM": task.dataset.checksum,
            "IEXEC_DATASET_FILENAME": task.deal.dataset.lower(),
        }
    return environment | _signing_variables(request)


def app_environment(request: SessionRequest) -> dict[str, str]:
    """What the app's enclave gets; the secrets of others only in so far as they exist."""
    task, deal = request.task, request.task.deal
    environment = {
        **_task_variables(task),
        "IEXEC_IN": IN_FOLDER,
        "IEXEC_OUT": OUT_FOLDER,
        "IEXEC_BOT_SIZE": str(deal.bot_size),
        "IEXEC_BOT_FIRST_INDEX": str(deal.bot_first),
        "IEXEC_BOT_TASK_INDEX": str(task.task.index),
        "IEXEC_DATASET_ADDRESS": deal.dataset.lower(),
        "IEXEC_DATASET_FILENAME": deal.dataset.lower(),
        **_input_file_variables(task, "IEXEC_INPUT_FILE_NAME_", input_file_name),
    }
    if request.secrets.app is not None:
        environment["IEXEC_APP_DEVELOPER_SECRET"] = request.secrets.app.reveal()
        environment["IEXEC_APP_DEVELOPER_SECRET_1"] = request.secrets.app.reveal()
    for index, value in sorted(request.secrets.requester.items()):
        environment[f"IEXEC_REQUESTER_SECRET_{index}"] = value.reveal()
    return environment


def post_compute_environment(request: SessionRequest) -> dict[str, str]:
    """What the post-compute enclave gets: exactly nine variables.

    Raises:
        SessionRefusedError: ``POST_COMPUTE_GET_ENCRYPTION_TOKENS_FAILED_EMPTY_BENEFICIARY_KEY`` or
            ``POST_COMPUTE_GET_STORAGE_TOKENS_FAILED``.
    """
    return {
        **_encryption_variables(request),
        **_storage_variables(request),
        "IEXEC_TASK_ID": request.task.task.task_id,
        **_signing_variables(request),
    }


def input_file_name(url: str) -> str:
    """The name under which an input file lies in ``/iexec_in``: ``0x`` and the SHA-256 of its URL."""
    return to_hex(hashlib.sha256(url.encode()).digest())


def _task_variables(task: TaskDescription) -> dict[str, str]:
    return {
        "IEXEC_DEAL_ID": task.deal.deal_id,
        "IEXEC_TASK_INDEX": str(task.task.index),
        "IEXEC_TASK_ID": task.task.task_id,
    }


def _input_file_variables(task: TaskDescription, prefix: str, value: Any) -> dict[str, str]:  # noqa: ANN401
    urls = task.params.input_files
    variables = {"IEXEC_INPUT_FILES_NUMBER": str(len(urls))}
    if urls:
        variables["IEXEC_INPUT_FILES_FOLDER"] = IN_FOLDER
    return variables | {f"{prefix}{number}": value(url) for number, url in enumerate(urls, start=1)}


def _signing_variables(request: SessionRequest) -> dict[str, str]:
    return {
        "SIGN_WORKER_ADDRESS": request.worker,
        "SIGN_TEE_CHALLENGE_PRIVATE_KEY": to_hex(request.secrets.tee_key.reveal()),
    }


def _encryption_variables(request: SessionRequest) -> dict[str, str]:
    wanted = request.task.params.result_encryption
    key = request.secrets.beneficiary_key if wanted else None
    if wanted and key is None:
        raise SessionRefusedError(
            SessionFailure.POST_COMPUTE_GET_ENCRYPTION_TOKENS_FAILED_EMPTY_BENEFICIARY_KEY,
            f"beneficiary {request.task.deal.beneficiary} has no result encryption key here",
        )
    return {
        "RESULT_ENCRYPTION": _flag(wanted),
        "RESULT_ENCRYPTION_PUBLIC_KEY": "" if key is None else key.reveal(),
    }


def _storage_variables(request: SessionRequest) -> dict[str, str]:
    task, params = request.task, request.task.params
    if task.has_callback:
        provider = proxy = token = ""
    else:
        stored = request.secrets.storage_token
        if stored is None:
            raise SessionRefusedError(
                SessionFailure.POST_COMPUTE_GET_STORAGE_TOKENS_FAILED,
                f"neither worker {request.worker} nor requester {task.deal.requester} has a storage token here",
            )
        provider, token = params.result_storage_provider or "", stored.reveal()
        proxy = (params.result_storage_proxy or "").strip()
        if not proxy and provider != DROPBOX and request.secrets.default_proxy is not None:
            proxy = request.secrets.default_proxy.reveal()
    return {
        "RESULT_STORAGE_CALLBACK": _flag(task.has_callback),
        "RESULT_STORAGE_PROVIDER": provider,
        "RESULT_STORAGE_PROXY": proxy,
        "RESULT_STORAGE_TOKEN": token,
    }


# -- pieces of the document ---------------------------------------------------------------------------------------


def _check_wishes(task: TaskDescription) -> None:
    # Without these checks the app would run on no dataset, or its result be uploaded in clear, against the deal.
    if (task.params.bulk_cid or "").strip():
        raise SessionRefusedError(
            SessionFailure.SECURE_SESSION_GENERATION_FAILED, "bulk processing is not offered by this service"
        )
    if not task.params.understood and _ENCRYPTION_WISH in task.deal.params:
        raise SessionRefusedError(
            SessionFailure.SECURE_SESSION_GENERATION_FAILED,
            "the deal's params ask for encryption in a form that is read as a command line",
        )


def _service(name: str, mrenclave: str, command: str, environment: dict[str, str]) -> dict[str, Any]:
    return {
        "name": name,
        "image_name": f"{name}-image",
        "mrenclaves": [mrenclave],
        "pwd": "/",
        "command": command,
        "environment": environment,
    }


def _image(name: str, *folders: str) -> dict[str, Any]:
    return {"name": f"{name}-image", "volumes": [{"name": folder[1:], "path": folder} for folder in folders]}


def _app_command(entrypoint: str, arguments: str | None) -> str:
    return f"{entrypoint} {arguments}" if arguments and arguments.strip() else entrypoint


def _helper_environment(pipeline: PipelineSettings) -> dict[str, str]:
    return dict(_JAVA_ENVIRONMENT) if pipeline.java_environment else {}


def _flag(value: bool) -> str:
    return "true" if value else "false"
