"""What a task is to a session: the chain's facts put together, and the secrets it may see.

The app's enclave description (protocol, section 9.3) is parsed here, too.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from typing import Final

from pydantic import AliasChoices, BaseModel, ConfigDict, Field

from adyton.base.errors import UnavailableError
from adyton.base.secret import Secret
from adyton.base.types import ZERO_ADDRESS, Address
from adyton.chain.params import DealParams
from adyton.chain.params import parse as parse_params
from adyton.sms.access.authorize import Authorized
from adyton.sms.errors import SessionRefusedError
from adyton.sms.onchain.view import AppFacts, ChainView, DatasetFacts, DealFacts, TaskFacts
from adyton.sms.opening.bulk import BulkDataset, Files, judge_slice, read_slice
from adyton.sms.store.tables import SecretKey
from adyton.sms.wire import (
    DROPBOX_TOKEN,
    IPFS_TOKEN,
    RESULT_ENCRYPTION_KEY,
    RESULT_PROXY_URL,
    Framework,
    SessionFailure,
)

DROPBOX: Final = "dropbox"
_FINGERPRINT = re.compile(r"(?:0x)?([0-9a-fA-F]{64})")
_MAX_MRENCLAVE_CHARS: Final = 16_384


@dataclass(frozen=True, slots=True)
class TaskDescription:
    """Everything about a task that is public: task, deal, its parsed parameters, app and dataset."""

    task: TaskFacts
    deal: DealFacts
    params: DealParams
    app: AppFacts
    dataset: DatasetFacts | None
    bulk: tuple[BulkDataset, ...] = ()

    @property
    def has_callback(self) -> bool:
        """Whether the result goes to a contract instead of a storage."""
        return self.deal.callback != ZERO_ADDRESS

    @property
    def needs_dataset(self) -> bool:
        """Whether pre-compute must fetch a dataset."""
        return self.dataset is not None and bool(self.dataset.uri.strip())

    @property
    def needs_pre_compute(self) -> bool:
        """Whether there is anything to fetch."""
        return self.needs_dataset or bool(self.params.input_files) or self.bulk_cid is not None

    @property
    def bulk_cid(self) -> str | None:
        """The list of slices of a bulk deal."""
        return (self.params.bulk_cid or "").strip() or None


@dataclass(frozen=True, slots=True)
class EnclaveDescription:
    """What the app's owner wrote on chain about the app's enclave."""

    framework: Framework
    version: str
    fingerprint: str
    entrypoint: str
    heap_size: int


@dataclass(frozen=True, slots=True)
class TaskSecrets:
    """What the database holds for one task; None or empty where there is nothing.

    ``requester`` is by index of ``iexec_secrets``. The web2 values are trimmed, the others as they were pushed.
    """

    tee_key: Secret[bytes]
    dataset_key: Secret[str] | None = None
    app: Secret[str] | None = None
    requester: dict[int, Secret[str]] = field(default_factory=dict)
    beneficiary_key: Secret[str] | None = None
    bulk_keys: dict[Address, Secret[str]] = field(default_factory=dict)
    storage_token: Secret[str] | None = None
    default_proxy: Secret[str] | None = None


def describe(view: ChainView, authorized: Authorized) -> TaskDescription:
    """Read what is missing for a task description (check 7).

    Raises:
        SessionRefusedError: ``GET_TASK_DESCRIPTION_FAILED``.
    """
    deal = authorized.deal
    try:
        app = view.app(deal.app)
        dataset = view.dataset(deal.dataset) if deal.has_dataset else None
    except UnavailableError as error:
        raise SessionRefusedError(SessionFailure.GET_TASK_DESCRIPTION_FAILED, error.message) from error
    if app is None or (deal.has_dataset and dataset is None):
        raise SessionRefusedError(
            SessionFailure.GET_TASK_DESCRIPTION_FAILED, f"the app or dataset of deal {deal.deal_id} cannot be read"
        )
    return TaskDescription(authorized.task, deal, parse_params(deal.params), app, dataset)


def with_bulk(view: ChainView, files: Files, task: TaskDescription) -> TaskDescription:
    """The same with the datasets of its slice, where it is a bulk task.

    Raises:
        BulkError: they cannot be had, or none may be used.
        UnavailableError: the chain cannot be read.
    """
    if task.bulk_cid is None:
        return task
    orders = read_slice(files, task.bulk_cid, task.task.index)
    return replace(task, bulk=judge_slice(view, orders, task.deal))


class _Mrenclave(BaseModel):
    """The on-chain JSON; an unknown member makes the whole description unreadable, as officially."""

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True)

    framework: Framework = Field(validation_alias=AliasChoices("framework", "provider"))
    version: str = ""
    entrypoint: str = ""
    heapSize: int = 0  # noqa: N815  # the wire's name
    fingerprint: str = ""


def enclave_description(app: AppFacts) -> EnclaveDescription:
    """Parse the app's enclave description (check 8).

    Raises:
        SessionRefusedError: ``APP_COMPUTE_NO_ENCLAVE_CONFIG``.
    """
    try:
        parsed = _Mrenclave.model_validate_json(app.mrenclave if len(app.mrenclave) <= _MAX_MRENCLAVE_CHARS else "")
    except ValueError as error:  # pydantic's error is one, too
        raise SessionRefusedError(
            SessionFailure.APP_COMPUTE_NO_ENCLAVE_CONFIG, "the app's mrenclave is no enclave description"
        ) from error
    return EnclaveDescription(
        parsed.framework, parsed.version, parsed.fingerprint, parsed.entrypoint.strip(), parsed.heapSize
    )


def check_enclave(description: EnclaveDescription, framework: Framework) -> str:
    """Check 14 for SGX: framework, fingerprint, entrypoint and heap; returns the MRENCLAVE, 64 lower-case digits.

    Raises:
        SessionRefusedError: ``APP_COMPUTE_INVALID_ENCLAVE_CONFIG``.
    """
    match = _FINGERPRINT.fullmatch(description.fingerprint)
    complete = bool(description.entrypoint) and description.heap_size > 0
    if match is None or description.framework is not framework or not (complete or framework is Framework.GRAMINE):
        raise SessionRefusedError(
            SessionFailure.APP_COMPUTE_INVALID_ENCLAVE_CONFIG,
            "the app's mrenclave lacks a 32-byte fingerprint, an entrypoint, a heap or the right framework",
        )
    return match[1].lower()


def read_secrets(
    read: Callable[[SecretKey], Secret[str] | None], task: TaskDescription, worker: Address, tee_key: Secret[bytes]
) -> TaskSecrets:
    """Read the secrets that this task may see, and no other.

    Args:
        read: the database.
        task: the task.
        worker: the worker's account; the result-proxy token is its own.
        tee_key: private key of the task's enclave challenge.
    """
    deal, params = task.deal, task.params
    requester = {
        index: value
        for index, name in requester_secret_names(params).items()
        if (value := read(SecretKey.requester(deal.requester, name))) is not None
    }
    encrypts = params.result_encryption
    stores = not task.has_callback
    defaults_proxy = (
        stores and not (params.result_storage_proxy or "").strip() and params.result_storage_provider != DROPBOX
    )
    return TaskSecrets(
        tee_key=tee_key,
        dataset_key=read(SecretKey.web3(deal.dataset)) if task.needs_dataset else None,
        app=read(SecretKey.app(deal.app)),
        requester=requester,
        bulk_keys={
            dataset.address: key
            for dataset in task.bulk
            if dataset.facts is not None and (key := read(SecretKey.web3(dataset.address))) is not None
        },
        beneficiary_key=_web2(read, deal.beneficiary, RESULT_ENCRYPTION_KEY) if encrypts else None,
        storage_token=_storage_token(read, task, worker) if stores else None,
        default_proxy=_web2(read, deal.workerpool_owner, RESULT_PROXY_URL) if defaults_proxy else None,
    )


def requester_secret_names(params: DealParams) -> dict[int, str]:
    """Secret names by index; entries whose index is no positive integer are skipped, as officially."""
    found: dict[int, str] = {}
    for index, name in params.secrets.items():
        if index.isascii() and index.isdigit() and len(index) <= 9 and int(index) > 0:
            found[int(index)] = name
    return found


def _storage_token(
    read: Callable[[SecretKey], Secret[str] | None], task: TaskDescription, worker: Address
) -> Secret[str] | None:
    requester = task.deal.requester
    if task.params.result_storage_provider == DROPBOX:
        return _web2(read, requester, DROPBOX_TOKEN)
    return _web2(read, worker, IPFS_TOKEN) or _web2(read, requester, IPFS_TOKEN)


def _web2(read: Callable[[SecretKey], Secret[str] | None], owner: Address, name: str) -> Secret[str] | None:
    value = read(SecretKey.web2(owner, name))
    trimmed = "" if value is None else value.reveal().strip()
    return Secret(trimmed) if trimmed else None
