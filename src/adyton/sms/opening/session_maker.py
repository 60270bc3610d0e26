"""What a session is made of, and what makes it: one :class:`SessionMaker` per TEE framework (protocol, section 5).

Makers are pure: no clock, no database, no network but for the choice of an attestation server; randomness comes in as
the session's name.
"""

from __future__ import annotations

import secrets
import string
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final, Protocol

from adyton.base.secret import Secret
from adyton.base.types import Address
from adyton.sms.errors import SessionRefusedError
from adyton.sms.opening.task import EnclaveDescription, TaskDescription, TaskSecrets
from adyton.sms.pipelines import PipelineSettings
from adyton.sms.wire import SessionFailure

PRE_COMPUTE: Final = "pre-compute"
APP: Final = "app"
POST_COMPUTE: Final = "post-compute"

_NAME_CHARACTERS: Final = string.ascii_letters + string.digits
_ENCRYPTION_WISH: Final = '"iexec_result_encryption"'


@dataclass(frozen=True, slots=True)
class Plan:
    """Which enclaves will run, and who attests them.

    Attributes:
        pipeline: the pipeline of the app's framework version.
        enclave: the app's own enclave; None where the framework measures none (TDX).
        attestation_url: server that the CAS shall ask; None when it attests by itself.
    """

    pipeline: PipelineSettings
    enclave: EnclaveDescription | None = None
    attestation_url: str | None = None


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

    def render(self, document: Mapping[str, Any]) -> Secret[str]:
        """The document as it is posted; secret, for it holds every secret of the task."""


def new_session_id(task_id: str) -> str:
    """A fresh session name: 10 random letters and digits, ``0000``, and the task id."""
    return "".join(secrets.choice(_NAME_CHARACTERS) for _ in range(10)) + "0000" + task_id


def check_wishes(task: TaskDescription) -> None:
    """Refuse a deal whose wish for encryption would be read as a command line, and the result go out in clear.

    Raises:
        SessionRefusedError: it has one.
    """
    if not task.params.understood and _ENCRYPTION_WISH in task.deal.params:
        raise SessionRefusedError(
            SessionFailure.SECURE_SESSION_GENERATION_FAILED,
            "the deal's params ask for encryption in a form that is read as a command line",
        )
