"""What a worker that comes back has to do for each task it takes part in (pool reference 2.6).

Chain and result proxy are asked first: what they already have is entered into the replicate's history.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from adyton.base.types import Address
from adyton.chain.models import Task
from adyton.workerpool import task as tasks
from adyton.workerpool.actions import AbortCause, Action
from adyton.workerpool.replicate import BEFORE_CONTRIBUTING, FINAL, TRANSITIONS, ReplicateStatus
from adyton.workerpool.scheduler.onchain import OnChain
from adyton.workerpool.scheduler.reconcile import Reconciler
from adyton.workerpool.scheduler.state import PoolState, Replicate, TaskState
from adyton.workerpool.scheduler.supply import Supply
from adyton.workerpool.scheduler.updates import StatusUpdates
from adyton.workerpool.scheduler.workqueue import WorkQueue
from adyton.workerpool.task import TaskStatus
from adyton.workerpool.wire import NotificationExtra, TaskNotification

_S = ReplicateStatus
_WAITING: Final = frozenset({_S.CONTRIBUTED, _S.REVEALED, _S.RESULT_UPLOADED})


@dataclass(frozen=True, slots=True)
class Situation:
    """What decides: where task and replicate are, after chain and proxy have been asked."""

    task: TaskStatus
    relevant: ReplicateStatus
    contributed: bool
    revealed: bool
    uploaded: bool
    consensus: bool
    finalizes: bool = False


def decide(situation: Situation) -> tuple[Action, AbortCause | None] | None:
    """The action for a worker that was interrupted; None when nothing fits (pure)."""
    task, relevant = situation.task, situation.relevant
    if task is TaskStatus.CONTRIBUTION_TIMEOUT:
        return Action.PLEASE_ABORT, AbortCause.CONTRIBUTION_TIMEOUT
    if task in tasks.CONTRIBUTION_PHASE:
        return _contribution(situation)
    if task in tasks.REVEAL_PHASE:
        return _reveal(situation)
    finalized = relevant in {_S.CONTRIBUTE_AND_FINALIZE_DONE, _S.COMPLETING}
    if task in tasks.ENDING and (situation.revealed or finalized):
        return (Action.PLEASE_COMPLETE if task is TaskStatus.COMPLETED else Action.PLEASE_WAIT), None
    return None


def _contribution(situation: Situation) -> tuple[Action, None] | None:
    if situation.contributed:
        return (Action.PLEASE_REVEAL if situation.consensus else Action.PLEASE_WAIT), None
    if situation.relevant is _S.COMPUTED and situation.finalizes:
        return Action.PLEASE_CONTRIBUTE_AND_FINALIZE, None
    if situation.relevant in BEFORE_CONTRIBUTING or situation.relevant is _S.CONTRIBUTING:
        return Action.PLEASE_CONTRIBUTE, None
    if situation.relevant is _S.CONTRIBUTE_AND_FINALIZE_ONGOING:
        return Action.PLEASE_CONTRIBUTE_AND_FINALIZE, None
    return (Action.PLEASE_WAIT, None) if situation.relevant is _S.CONTRIBUTE_AND_FINALIZE_DONE else None


def _reveal(situation: Situation) -> tuple[Action, AbortCause | None] | None:
    if not situation.contributed:
        return Action.PLEASE_ABORT, AbortCause.CONSENSUS_REACHED
    if not situation.revealed:
        return Action.PLEASE_REVEAL, None
    if situation.relevant in {_S.RESULT_UPLOAD_REQUESTED, _S.RESULT_UPLOADING}:
        return (Action.PLEASE_WAIT if situation.uploaded else Action.PLEASE_UPLOAD), None
    return (Action.PLEASE_WAIT, None) if situation.relevant in _WAITING else None


class Recovery:
    """Answers ``GET /replicates/interrupted``.

    Args:
        state: journals.
        onchain: the chain.
        reconciler: enters what the chain has.
        updates: knows whether a result is uploaded.
        supply: signs fresh authorizations.
        queue: is asked to look at tasks whose history was completed.
    """

    def __init__(
        self,
        *,
        state: PoolState,
        onchain: OnChain,
        reconciler: Reconciler,
        updates: StatusUpdates,
        supply: Supply,
        queue: WorkQueue,
    ) -> None:
        self._state = state
        self._onchain = onchain
        self._reconciler = reconciler
        self._updates = updates
        self._supply = supply
        self._queue = queue

    def interrupted(self, wallet: Address) -> list[TaskNotification]:
        """Everything that ``wallet`` has to do.

        Raises:
            UnavailableError: the chain or the result proxy does not answer.
        """
        found = []
        for replicate in self._state.open_replicates(wallet):
            task = self._state.task(replicate.task_id)
            if task is None or replicate.status in FINAL or not task.data.get("enclaveChallenge"):
                continue
            notification = self._resume(task, replicate)
            if notification is not None:
                found.append(notification)
        return found

    def _resume(self, task: TaskState, replicate: Replicate) -> TaskNotification | None:
        chain_task = self._onchain.task(task.id)
        replicate = self._catch_up(task, chain_task, replicate)
        situation = Situation(
            task=task.status,
            relevant=replicate.relevant,
            contributed=replicate.contribution is not None and replicate.has(_S.CONTRIBUTED),
            revealed=replicate.has(_S.REVEALED),
            uploaded=replicate.has(_S.RESULT_UPLOADED),
            consensus=chain_task is not None and chain_task.consensus_value == replicate.contribution,
            finalizes=task.finalizes,
        )
        decision = decide(situation)
        if decision is None:
            return None
        action, abort_cause = decision
        # One that never started keeps its status: the machine has no way from RECOVERING to STARTING. One that was
        # lost is found again, also when it only has to wait.
        restarts = action not in {Action.PLEASE_ABORT, Action.PLEASE_WAIT}
        found = replicate.status is _S.WORKER_LOST and action is not Action.PLEASE_ABORT
        started = replicate.relevant is not _S.CREATED
        if started and (restarts or found) and _S.RECOVERING in TRANSITIONS[replicate.status]:
            self._state.move(replicate, _S.RECOVERING)
        self._queue.request(task.id)
        return TaskNotification(
            chain_task_id=task.id,
            workers_address=[replicate.wallet],
            task_notification_type=action,
            task_notification_extra=NotificationExtra(
                workerpool_authorization=self._supply.authorize(task, replicate.wallet),
                sms_url=task.data.get("smsUrl"),
                block_number=task.data.get("consensusReachedBlockNumber") or self._onchain.head(),
                task_abort_cause=abort_cause,
            ),
            task_abort_cause=abort_cause,
        )

    def _catch_up(self, task: TaskState, chain_task: Task | None, replicate: Replicate) -> Replicate:
        if chain_task is not None and replicate.wallet in chain_task.contributors:
            self._reconciler.catch_up(task, chain_task)
            replicate = self._state.replicate(task.id, replicate.wallet) or replicate
        if replicate.relevant is _S.RESULT_UPLOADING and self._updates.is_uploaded(task):
            replicate = self._reconciler.fill(replicate, _S.RESULT_UPLOADED)
        return replicate
