"""Judging what workers report: against the history, the machine and the chain (pool reference 2.4)."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from enum import StrEnum
from typing import Any, Final

from adyton.base.errors import InputError
from adyton.base.log import get_logger
from adyton.base.types import Address, Bytes32, from_hex, keccak, to_hex
from adyton.chain.models import ContributionStatus
from adyton.chain.models import TaskStatus as ChainStatus
from adyton.results.client import ResultProxyClient
from adyton.workerpool.actions import Action
from adyton.workerpool.causes import Cause
from adyton.workerpool.description import STORAGE_IPFS
from adyton.workerpool.replicate import (
    COMPUTING_STATUSES,
    FAILED_BEFORE_COMPUTED,
    TRANSITIONS,
    UNPROVABLE,
    WAKING,
    ReplicateStatus,
    next_action,
)
from adyton.workerpool.scheduler.bell import Bell
from adyton.workerpool.scheduler.onchain import OnChain
from adyton.workerpool.scheduler.repo import SchedulerRepo
from adyton.workerpool.scheduler.state import WORKER, PoolState, Replicate, TaskState
from adyton.workerpool.scheduler.workqueue import WorkQueue
from adyton.workerpool.task import ordinal
from adyton.workerpool.wire import MAX_LOG_CHARS, StatusDetails, StatusUpdate
from adyton.workerpool.worker.links import ipfs_link

_log = get_logger("scheduler.updates")

_LOOKS: Final = 6  # at a chain that may be a block behind the worker's node
_PAUSE_S: Final = 0.25
_S = ReplicateStatus


class Refusal(StrEnum):
    """Why a report is not taken; all but the second are answered with PLEASE_ABORT."""

    UNKNOWN_REPLICATE = "UNKNOWN_REPLICATE"
    ALREADY_REPORTED = "ALREADY_REPORTED"
    BAD_WORKFLOW_TRANSITION = "BAD_WORKFLOW_TRANSITION"
    GENERIC_CANT_UPDATE = "GENERIC_CANT_UPDATE"


@dataclass(frozen=True, slots=True)
class Answer:
    """HTTP status and next action."""

    status: int
    action: Action | None


_ALREADY: Final = Answer(208, Action.PLEASE_WAIT)
_REFUSED: Final = Answer(202, Action.PLEASE_ABORT)
_HAPPENED: Final = Answer(202, Action.PLEASE_WAIT)

Verified = dict[str, Any] | None  # what to keep with the replicate, or None: refused


class StatusUpdates:
    """Takes workers' reports.

    Args:
        state: journals.
        repo: logs.
        onchain: the chain.
        proxy_url: the pool's default result proxy.
        queue: is asked to look at the task.
        work: rung when a slot becomes free or a replicate fails.
    """

    def __init__(
        self, *, state: PoolState, repo: SchedulerRepo, onchain: OnChain, proxy_url: str, queue: WorkQueue, work: Bell
    ) -> None:
        self._state = state
        self._repo = repo
        self._onchain = onchain
        self._proxy_url = proxy_url
        self._queue = queue
        self._work = work
        self._checks: dict[ReplicateStatus, Callable[[TaskState, Replicate, StatusDetails], Verified]] = {
            _S.CONTRIBUTED: self._contributed,
            _S.REVEALED: self._revealed,
            _S.RESULT_UPLOADED: self._uploaded,
            _S.RESULT_UPLOAD_FAILED: self._upload_failed,
            _S.CONTRIBUTE_AND_FINALIZE_ONGOING: self._may_finalize,
            _S.CONTRIBUTE_AND_FINALIZE_DONE: self._finalized,
        }

    def report(self, task_id: Bytes32, wallet: Address, update: StatusUpdate) -> Answer:
        """Take one report of ``wallet`` and say what it shall do next.

        Raises:
            UnavailableError: the chain or the result proxy does not answer, so nothing can be judged.
        """
        task = self._state.task(task_id)
        replicate = self._state.replicate(task_id, wallet)
        if task is None or replicate is None:
            return self._refuse(Refusal.UNKNOWN_REPLICATE, task_id, wallet, update.status)
        if replicate.has(update.status):
            return _ALREADY
        if self._happened_after_all(replicate, update.status):
            # An earlier process of the worker sent the transaction. It must not give up what the chain has.
            self._queue.request(task.id, priority=ordinal(task.status))
            return _HAPPENED
        if update.status not in TRANSITIONS[replicate.status]:
            return self._refuse(Refusal.BAD_WORKFLOW_TRANSITION, task_id, wallet, update.status)
        details = update.details or StatusDetails()
        changes = self._verify(task, replicate, update.status, details)
        if changes is None:
            return self._refuse(Refusal.GENERIC_CANT_UPDATE, task_id, wallet, update.status)
        return self._enter(task, replicate, update.status, details, changes)

    def _happened_after_all(self, replicate: Replicate, status: ReplicateStatus) -> bool:
        """Whether the chain has what a worker says it could not send."""
        if status is _S.CONTRIBUTE_FAILED:
            return self._onchain.has_contributed(replicate.task_id, replicate.wallet)
        return status is _S.REVEAL_FAILED and self._onchain.has_revealed(replicate.task_id, replicate.wallet)

    def _enter(
        self,
        task: TaskState,
        replicate: Replicate,
        status: ReplicateStatus,
        details: StatusDetails,
        changes: dict[str, Any],
    ) -> Answer:
        if _has_logs(status, details):
            changes = {**changes, "hasLogs": True}
        moved = self._state.move(replicate, status, modifier=WORKER, cause=details.cause, changes=changes)
        if moved is None:  # another call of this worker was first; look again at what is there now
            again = self._state.replicate(task.id, replicate.wallet)
            if again is not None and again.has(status):
                return _ALREADY
            return self._refuse(Refusal.BAD_WORKFLOW_TRANSITION, task.id, replicate.wallet, status)
        self._keep_logs(task, replicate.wallet, status, details)
        self._wake(task, status, details.cause)
        return Answer(200, next_action(status, details.cause, finalizes=task.finalizes))

    # -- checks -------------------------------------------------------------------------------------------------

    def _verify(
        self, task: TaskState, replicate: Replicate, status: ReplicateStatus, details: StatusDetails
    ) -> Verified:
        if status in UNPROVABLE:
            return None
        check = self._checks.get(status)
        return _kept(details) if check is None else check(task, replicate, details)

    def _contributed(self, task: TaskState, replicate: Replicate, details: StatusDetails) -> Verified:
        for _ in _looks():
            found = self._onchain.contribution(task.id, replicate.wallet)
            if found.status in {ContributionStatus.CONTRIBUTED, ContributionStatus.PROVED}:
                weight = self._onchain.weight(replicate.wallet)
                return {**_kept(details), "contributionHash": found.result_hash, "workerWeight": weight}
        return None

    def _revealed(self, task: TaskState, replicate: Replicate, details: StatusDetails) -> Verified:
        for _ in _looks():
            if self._onchain.has_revealed(task.id, replicate.wallet):
                return _kept(details)
        return None

    def _uploaded(self, task: TaskState, _replicate: Replicate, details: StatusDetails) -> Verified:
        if task.data.get("callback"):
            # The hub takes nothing else than what the workers agreed on, so nothing else may end the upload.
            chain_task = self._onchain.task(task.id)
            agreed = chain_task is not None and _digest(details.chain_callback_data) == chain_task.result_digest
            return _kept(details) if agreed else None
        if not self._is_stored_here(task):
            return _kept(details) if details.result_link else None
        # Only the proxy's own name of the result may become the result of the task.
        stored = self._stored(task)
        return _kept(details) if stored is not None and details.result_link == ipfs_link(stored) else None

    def _upload_failed(self, task: TaskState, _replicate: Replicate, details: StatusDetails) -> Verified:
        stored = self._is_stored_here(task) and self._stored(task) is not None
        return None if stored else _kept(details)

    def _may_finalize(self, task: TaskState, _replicate: Replicate, details: StatusDetails) -> Verified:
        return _kept(details) if task.finalizes else None

    def _finalized(self, task: TaskState, replicate: Replicate, details: StatusDetails) -> Verified:
        for _ in _looks():
            chain_task = self._onchain.task(task.id)
            if chain_task is None or chain_task.status is not ChainStatus.COMPLETED:
                continue
            if self._onchain.has_revealed(task.id, replicate.wallet) and self.is_uploaded(task):
                link = chain_task.results.decode("utf-8", errors="replace")
                return {**_kept(details), "resultLink": link}
        return None

    def is_uploaded(self, task: TaskState) -> bool:
        """Whether the result is where the deal wants it; taken as true for callbacks and other storage than IPFS.

        Raises:
            UnavailableError: the proxy does not answer.
        """
        return not self._is_stored_here(task) or self._stored(task) is not None

    @staticmethod
    def _is_stored_here(task: TaskState) -> bool:
        return not task.data.get("callback") and task.data.get("storageProvider") in {None, "", STORAGE_IPFS}

    def _stored(self, task: TaskState) -> str | None:
        """The name under which the result proxy has the result."""
        proxy = ResultProxyClient(task.data.get("storageProxy") or self._proxy_url, timeout_s=10)
        try:
            return proxy.ipfs_hash(task.id)
        finally:
            proxy.close()

    # -- consequences -------------------------------------------------------------------------------------------

    def _keep_logs(self, task: TaskState, wallet: Address, status: ReplicateStatus, details: StatusDetails) -> None:
        logs = details.compute_logs
        if _has_logs(status, details) and logs is not None:
            stdout, stderr = logs.stdout[-MAX_LOG_CHARS:], logs.stderr[-MAX_LOG_CHARS:]
            self._repo.save_log(task.id, wallet, stdout, stderr, task.final_deadline)

    def _wake(self, task: TaskState, status: ReplicateStatus, cause: Cause | None) -> None:
        if status in WAKING or cause is Cause.TASK_NOT_ACTIVE:
            self._queue.request(task.id, priority=ordinal(task.status))
        if status in FAILED_BEFORE_COMPUTED or status not in COMPUTING_STATUSES:
            self._work.ring()

    @staticmethod
    def _refuse(refusal: Refusal, task_id: Bytes32, wallet: Address, status: ReplicateStatus) -> Answer:
        _log.warning("report refused", reason=refusal.value, task=task_id, worker=wallet, status=status.value)
        return _REFUSED


def _has_logs(status: ReplicateStatus, details: StatusDetails) -> bool:
    """Whether a report brings logs that are kept: those of an application that ran to its end."""
    ended = status is _S.COMPUTED or (status is _S.COMPUTE_FAILED and details.cause is Cause.APP_COMPUTE_FAILED)
    return ended and details.compute_logs is not None


def _kept(details: StatusDetails) -> dict[str, Any]:
    values: dict[str, Any] = {
        "resultLink": details.result_link,
        "chainCallbackData": details.chain_callback_data,
        "exitCode": details.exit_code,
        "errorMessage": details.error_message,
        "teeSessionGenerationError": details.tee_session_generation_error,
    }
    return {name: value for name, value in values.items() if value is not None}


def _digest(callback_data: str | None) -> Bytes32 | None:
    try:
        return Bytes32(to_hex(keccak(from_hex(callback_data or ""))))
    except InputError:
        return None


def _looks() -> Any:  # noqa: ANN401  # a generator that sleeps between its items
    for number in range(_LOOKS):
        if number:
            time.sleep(_PAUSE_S)
        yield number
