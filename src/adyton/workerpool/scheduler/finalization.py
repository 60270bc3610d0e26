"""The last steps of a task: finalization on the chain, completion, and the end of a task that failed."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from adyton.base.log import get_logger
from adyton.chain.models import TaskStatus as ChainStatus
from adyton.chain.rpc import RevertError
from adyton.workerpool.actions import AbortCause, Action
from adyton.workerpool.replicate import ReplicateStatus
from adyton.workerpool.scheduler.means import Means
from adyton.workerpool.scheduler.state import Step, TaskState
from adyton.workerpool.task import FAILURES, TaskStatus

_log = get_logger("scheduler.finalization")

_S = TaskStatus
_ABORT_CAUSES: Final = {_S.CONTRIBUTION_TIMEOUT: AbortCause.CONTRIBUTION_TIMEOUT}


class Finalization:
    """Steps of tasks that end.

    Args:
        means: the scheduler's parts.
    """

    def __init__(self, means: Means) -> None:
        self._means = means

    @property
    def steps(self) -> Mapping[TaskStatus, Step]:
        """What is done in which status."""
        ends = dict.fromkeys(FAILURES, self._fail)
        return ends | {
            _S.RESULT_UPLOADED: self._prepare,
            _S.FINALIZING: self._finalize,
            _S.FINALIZED: self._complete,
        }

    def _prepare(self, task: TaskState) -> TaskState | None:
        chain_task = self._means.onchain.task(task.id)
        if chain_task is None:
            return None
        if chain_task.status is ChainStatus.COMPLETED:
            return self._means.state.advance(task, _S.FINALIZING)
        late = chain_task.reveal_deadline <= self._means.chain_clock().timestamp()
        enough = chain_task.reveal_counter == chain_task.winner_counter or (chain_task.reveal_counter > 0 and late)
        if chain_task.status is not ChainStatus.REVEALING or not enough:
            return None
        revealed = sum(each.has(ReplicateStatus.REVEALED) for each in self._means.state.replicates_of(task.id))
        # A worker's own report of its reveal may still be on its way, but nobody waits longer than the chain does.
        if revealed != chain_task.reveal_counter and not late:
            self._means.reconciler.catch_up(task, chain_task)
            revealed = sum(each.has(ReplicateStatus.REVEALED) for each in self._means.state.replicates_of(task.id))
        return self._means.state.advance(task, _S.FINALIZING) if late or revealed == chain_task.reveal_counter else None

    def _finalize(self, task: TaskState) -> TaskState | None:
        receipt: dict[str, Any] | None = None
        if not self.is_completed(task):
            try:
                mined = self._means.onchain.finalize(
                    task.id, task.data.get("resultLink", ""), task.data.get("chainCallbackData", "")
                )
            except RevertError as error:
                if not self.is_completed(task):
                    return self._refused(task, error.message)
            else:
                if not self.is_completed(task):  # a contract that owns the pool kept the refusal to itself
                    return self._refused(task, "the call was mined and did nothing")
                receipt = {"blockNumber": mined.block_number, "txHash": mined.transaction_hash}
        return self._means.state.advance(task, _S.FINALIZED, chainReceipt=receipt)

    def is_completed(self, task: TaskState) -> bool:
        """Whether the chain has the task's result.

        Raises:
            UnavailableError: the chain does not answer.
        """
        chain_task = self._means.onchain.task(task.id)
        return chain_task is not None and chain_task.status is ChainStatus.COMPLETED

    def _refused(self, task: TaskState, reason: str) -> TaskState | None:
        pause = self._means.tries.again(task.id, "finalize")
        _log.warning("finalization refused", task=task.id, detail=reason, again=pause is not None)
        if pause is None:
            return self._means.state.advance(task, _S.FINALIZE_FAILED, reason=reason)
        self._means.queue.request(task.id, delay_s=pause)
        return None

    def _complete(self, task: TaskState) -> TaskState | None:
        self._end(task, Action.PLEASE_COMPLETE, None)
        moved = self._means.state.advance(task, _S.COMPLETED)
        _log.info("task completed", task=task.id)
        return moved

    def _fail(self, task: TaskState) -> TaskState | None:
        self._means.repo.add_claim(task.id, task.data["chainDealId"], task.data["taskIndex"], task.final_deadline)
        self._end(task, Action.PLEASE_ABORT, _ABORT_CAUSES.get(task.status, AbortCause.UNKNOWN))
        moved = self._means.state.advance(task, _S.FAILED)
        _log.warning("task failed", task=task.id, after=task.status.value)
        return moved

    def _end(self, task: TaskState, action: Action, cause: AbortCause | None) -> None:
        wallets = self._means.repo.replicate_wallets(task.id)
        self._means.repo.withdraw(task.id)  # whatever was asked before counts no more
        self._means.notices.send(task.id, wallets, action, abort_cause=cause)
        self._means.repo.close_task(task.id)
        self._means.tries.forget(task.id)
        self._means.work.ring()
