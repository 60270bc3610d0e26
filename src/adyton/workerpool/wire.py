"""What scheduler and workers say to each other, under the official JSON names (pool reference 2.8 and 3.2).

Transport is ours: REST with long-polls in place of a message broker, and an explicit sequence number on notifications
so that one is delivered until it is acknowledged.
"""

from __future__ import annotations

import re
from typing import Annotated, Final

from pydantic import BaseModel, ConfigDict, Field
from pydantic.alias_generators import to_camel

from adyton.base.types import Address, keccak
from adyton.sms.wire import SignatureValue, WorkerpoolAuthorization
from adyton.workerpool.actions import AbortCause, Action
from adyton.workerpool.causes import Cause
from adyton.workerpool.replicate import ReplicateStatus

__all__ = [
    "Assignment",
    "ChainReceipt",
    "ComputeLogs",
    "NotificationExtra",
    "PublicConfiguration",
    "Registration",
    "SignatureValue",
    "StatusDetails",
    "StatusUpdate",
    "TaskNotification",
    "WorkerpoolAuthorization",
    "login_challenge",
    "login_message",
]

MAX_LOG_CHARS: Final = 100_000  # of each stream; the end is what is kept
LONG_POLL_S: Final = 20.0
_LOGIN_PREFIX: Final = "adyton/workerpool-login/1"
_NONCE: Final = re.compile(r"[A-Za-z0-9+/]{43}=")  # base64 of 32 bytes


class _Wire(BaseModel):
    model_config = ConfigDict(
        frozen=True,
        extra="forbid",
        strict=True,
        alias_generator=to_camel,
        validate_by_name=True,
        validate_by_alias=True,
        serialize_by_alias=True,
    )


class Registration(_Wire):
    """A worker introduces itself; the wallet is the token's, whatever the body says.

    ``memory_size`` in GiB, 0 when it is not said. ``categories`` is ours: those it takes, empty means all.
    """

    name: Annotated[str, Field(max_length=100)]
    wallet_address: Annotated[str, Field(max_length=42)] = ""
    os: Annotated[str, Field(max_length=100)] = ""
    cpu: Annotated[str, Field(max_length=100)] = ""
    cpu_nb: Annotated[int, Field(ge=1, le=4096)]
    memory_size: Annotated[int, Field(ge=0)] = 0
    gpu_enabled: bool = False
    tee_enabled: bool = False
    tdx_enabled: bool = False
    categories: Annotated[list[Annotated[int, Field(ge=0)]], Field(max_length=100)] = Field(default_factory=list)


class PublicConfiguration(_Wire):
    """Answer to ``GET /workers/config``; ``ask_for_replicate_period`` in milliseconds."""

    worker_pool_address: str
    scheduler_public_address: str
    config_server_url: str
    result_repository_url: Annotated[str, Field(alias="resultRepositoryURL")]
    ask_for_replicate_period: int
    required_worker_version: str


class Assignment(_Wire):
    """A task given out: the authorization, and where its secrets are (TEE tasks only)."""

    workerpool_authorization: WorkerpoolAuthorization
    sms_url: str | None = None


class ChainReceipt(_Wire):
    """Where a transaction was mined."""

    block_number: Annotated[int, Field(ge=0)] = 0
    tx_hash: Annotated[str, Field(max_length=66)] = ""


class ComputeLogs(_Wire):
    """The ends of an application's output streams."""

    wallet_address: Annotated[str, Field(max_length=42)] = ""
    stdout: Annotated[str, Field(max_length=2 * MAX_LOG_CHARS)] = ""
    stderr: Annotated[str, Field(max_length=2 * MAX_LOG_CHARS)] = ""


class StatusDetails(_Wire):
    """What goes with a status."""

    chain_receipt: ChainReceipt | None = None
    result_link: Annotated[str | None, Field(max_length=1000)] = None
    chain_callback_data: Annotated[str | None, Field(max_length=1 << 20)] = None
    error_message: Annotated[str | None, Field(max_length=2000)] = None
    cause: Annotated[Cause | None, Field(strict=False)] = None
    compute_logs: ComputeLogs | None = None
    exit_code: int | None = None
    tee_session_generation_error: Annotated[str | None, Field(max_length=200)] = None


class StatusUpdate(_Wire):
    """``ReplicateStatusUpdate``: what a worker reports; modifier and date are the server's to set."""

    status: Annotated[ReplicateStatus, Field(strict=False)]
    modifier: Annotated[str | None, Field(max_length=20)] = None
    date: Annotated[str | int | None, Field()] = None
    details: StatusDetails | None = None


class NotificationExtra(_Wire):
    """What a notification carries beside its type."""

    workerpool_authorization: WorkerpoolAuthorization | None = None
    sms_url: str | None = None
    block_number: int | None = None
    task_abort_cause: Annotated[AbortCause | None, Field(strict=False)] = None


class TaskNotification(_Wire):
    """One message of the scheduler to workers; an empty ``workers_address`` means every worker of the task."""

    chain_task_id: str
    workers_address: list[str] = Field(default_factory=list)
    task_notification_type: Annotated[Action, Field(strict=False)]
    task_notification_extra: NotificationExtra | None = None
    task_abort_cause: Annotated[AbortCause | None, Field(strict=False)] = None
    sequence: int = 0


def login_challenge(pool: Address, worker: Address, nonce: str) -> str:
    """The text whose hash a worker signs to log in; it names protocol, pool and wallet, so it can mean nothing else."""
    return f"{_LOGIN_PREFIX}/{pool.lower()}/{worker.lower()}/{nonce}"


def is_login_challenge(text: str, pool: Address, worker: Address) -> bool:
    """Whether ``text`` is a challenge that ``worker`` may sign for ``pool``."""
    prefix = login_challenge(pool, worker, "")
    return text.startswith(prefix) and _NONCE.fullmatch(text.removeprefix(prefix)) is not None


def login_message(challenge: str) -> bytes:
    """The 32 bytes that are signed (EIP-191): Keccak-256 of the UTF-8 challenge."""
    return keccak(challenge.encode())
