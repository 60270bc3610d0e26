"""Sessions of the TDX framework, for a session storage (protocol, section 5.5). Pure.

A trust domain runs the worker itself, which reads the whole session and starts each program as an ordinary container:
the storage attests the domain, and nothing measures the programs. Environments are those of SCONE.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any, Final

from adyton.base.secret import Secret
from adyton.sms.opening.environment import app_environment, post_compute_environment, pre_compute_environment
from adyton.sms.opening.session_maker import APP, POST_COMPUTE, PRE_COMPUTE, Plan, SessionRequest, check_wishes
from adyton.sms.opening.task import TaskDescription
from adyton.sms.pipelines import PipelineSettings, StageSettings

_SESSION_VERSION: Final = "0.1.0"


class TdxSessionMaker:
    """Sessions of the TDX framework.

    Args:
        pipeline: the one framework version; the app's description on chain may be empty and is not read.
    """

    def __init__(self, pipeline: PipelineSettings) -> None:
        self._pipeline = pipeline

    def plan(self, task: TaskDescription) -> Plan:  # noqa: ARG002  # the one pipeline is every task's
        """The single pipeline; checks 8 and 9 are for SGX."""
        return Plan(self._pipeline)

    def document(self, plan: Plan, request: SessionRequest) -> dict[str, Any]:
        """Checks 13, 15 and 16, and the document.

        Raises:
            SessionRefusedError: see :meth:`~adyton.sms.opening.session_maker.SessionMaker.document`.
        """
        task = request.task
        check_wishes(task)
        services = []
        if task.needs_pre_compute:
            services.append(_stage(PRE_COMPUTE, plan.pipeline.pre_compute, pre_compute_environment(request)))
        services.append(_service(APP, task.app.multiaddr, task.app.checksum, app_environment(request)))
        services.append(_stage(POST_COMPUTE, plan.pipeline.post_compute, post_compute_environment(request)))
        return {"name": request.session_id, "version": _SESSION_VERSION, "services": services}

    def render(self, document: Mapping[str, Any]) -> Secret[str]:
        """The document as JSON."""
        return Secret(json.dumps(document, separators=(",", ":")))


def _stage(name: str, stage: StageSettings, environment: dict[str, str]) -> dict[str, Any]:
    return _service(name, stage.image, stage.fingerprint, environment)


def _service(name: str, image: str, fingerprint: str, environment: dict[str, str]) -> dict[str, Any]:
    return {"name": name, "image_name": image, "fingerprint": fingerprint, "environment": environment}
