"""Sessions of the SCONE framework (protocol, section 5.3). Pure.

Two additions of ours: ``expiry``, the task's final deadline, after which the session releases nothing; and where the
settings say so, for a CAS of ours, ``max_activations``: how often each stage may start.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, datetime
from typing import Any, Final

import yaml

from adyton.base.secret import Secret
from adyton.sms.errors import SessionRefusedError
from adyton.sms.opening.environment import (
    IN_FOLDER,
    OUT_FOLDER,
    app_environment,
    post_compute_environment,
    pre_compute_environment,
)
from adyton.sms.opening.session_maker import APP, POST_COMPUTE, PRE_COMPUTE, Plan, SessionRequest, check_wishes
from adyton.sms.opening.task import TaskDescription, check_enclave, enclave_description
from adyton.sms.pipelines import PipelineSettings
from adyton.sms.wire import Framework, SessionFailure

TMP_FOLDER: Final = "/post-compute-tmp"
_SESSION_VERSION: Final = "0.3.10"
_LAST_SECOND: Final = 253_402_300_799  # 9999-12-31T23:59:59Z
_JAVA_ENVIRONMENT: Final = {  # what the official helper images need; see PipelineSettings.java_environment
    "LD_LIBRARY_PATH": "/opt/java/openjdk/lib/server:/opt/java/openjdk/lib:/opt/java/openjdk/../lib",
    "JAVA_TOOL_OPTIONS": "-Xmx256m",
}


class SconeSessionMaker:
    """Sessions of the SCONE framework, for a CAS.

    Args:
        pipelines: configured framework versions.
        tolerate: weaknesses that the CAS shall tolerate.
        ignore_advisories: advisories that it shall ignore.
        mode: how it shall attest.
        url: asked for each session, the attestation server that the CAS shall use; None in mode ``hardware``.
        max_activations: how often each stage may be started; None: the session does not say.
    """

    def __init__(
        self,
        pipelines: Sequence[PipelineSettings],
        *,
        tolerate: Sequence[str],
        ignore_advisories: Sequence[str],
        mode: str,
        url: Callable[[], str] | None = None,
        max_activations: int | None = None,
    ) -> None:
        self._pipelines = {pipeline.version: pipeline for pipeline in pipelines}
        self._attestation = {
            "tolerate": list(tolerate),
            "ignore_advisories": list(ignore_advisories),
            "mode": mode,
        }
        self._url = url
        self._limit = {} if max_activations is None else {"max_activations": max_activations}

    def plan(self, task: TaskDescription) -> Plan:
        """Checks 8 and 9.

        Raises:
            SessionRefusedError: see :meth:`SessionMaker.plan`.
            AttestationServerError: the CAS needs an attestation server, and none answers.
        """
        description = enclave_description(task.app)
        pipeline = self._pipelines.get(description.version)
        if pipeline is None:
            raise SessionRefusedError(
                SessionFailure.APP_COMPUTE_INVALID_ENCLAVE_CONFIG,
                f"framework version {description.version!r} is not one of {', '.join(self._pipelines)}",
            )
        return Plan(pipeline, description, None if self._url is None else self._url())

    def document(self, plan: Plan, request: SessionRequest) -> dict[str, Any]:
        """Checks 13 to 16 and the document of section 5.3.

        Raises:
            SessionRefusedError: see :meth:`SessionMaker.document`.
        """
        if plan.enclave is None:
            raise SessionRefusedError(SessionFailure.APP_COMPUTE_NO_ENCLAVE_CONFIG)
        check_wishes(request.task)
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
            "expiry": _time_text(request.task.task.final_deadline),
            "access_policy": {"read": ["CREATOR"], "update": ["NONE"]},
            "services": [service | self._limit for service in services],
            "images": [
                _image(PRE_COMPUTE, IN_FOLDER),
                _image(APP, IN_FOLDER, OUT_FOLDER),
                _image(POST_COMPUTE, OUT_FOLDER, TMP_FOLDER),
            ],
            "volumes": [{"name": folder[1:]} for folder in (IN_FOLDER, OUT_FOLDER, TMP_FOLDER)],
            "security": {"attestation": self._attestation | {"url": plan.attestation_url}},
        }

    def render(self, document: Mapping[str, Any]) -> Secret[str]:
        """The document as YAML."""
        return to_yaml(document)


def to_yaml(document: Mapping[str, Any]) -> Secret[str]:
    """The document as it is posted; secret, for it holds every secret of the task."""
    return Secret(yaml.dump(document, Dumper=_PlainDumper, sort_keys=False, width=1 << 30, allow_unicode=False))


class _PlainDumper(yaml.CSafeDumper):  # libyaml: a fifth of the time
    """Writes no anchors: the receiving side accepts none."""

    def ignore_aliases(self, data: object) -> bool:  # noqa: ARG002  # PyYAML's signature
        return True


def _time_text(seconds: int) -> str:
    """RFC 3339; a category may be so long that its deadline lies beyond the last year that can be written."""
    return datetime.fromtimestamp(min(seconds, _LAST_SECOND), UTC).isoformat().replace("+00:00", "Z")


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
