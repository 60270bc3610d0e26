"""While workers compute and contribute: from the first that started to consensus, or to the end of the time."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from datetime import UTC, datetime

from adyton.chain.models import Task
from adyton.chain.models import TaskStatus as ChainStatus
from adyton.workerpool.actions import AbortCause, Action
from adyton.workerpool.replicate import STARTED_STATUSES, ReplicateStatus
from adyton.workerpool.scheduler.capability import can_run
from adyton.workerpool.scheduler.means import Means
from adyton.workerpool.scheduler.onchain import TASK_CONSENSUS
from adyton.workerpool.scheduler.repo import WorkerRecord
from adyton.workerpool.scheduler.state import Replicate, Step, TaskState
from adyton.workerpool.task import TaskStatus

_S = TaskStatus


class Contributions:
    """Steps of tasks that workers work on.

    Args:
        means: the scheduler's parts.
        is_alive: whether a worker spoke recently.
        revive: initializes a task again that is gone from the chain.
    """

    def __init__(
        self, means: Means, is_alive: Callable[[WorkerRecord], bool], revive: Callable[[TaskState], Task | None]
    ) -> None:
        self._means = means
        self._is_alive = is_alive
        self._revive = revive

    @property
    def steps(self) -> Mapping[TaskStatus, Step]:
        """What is done in which status."""
        return {_S.INITIALIZED: self._start, _S.RUNNING: self._run}

    def _start(self, task: TaskState) -> TaskState | None:
        chain_task = self._means.onchain.task(task.id) or self._revive(task)
        if chain_task is None:
            return None
        replicates = self._means.state.replicates_of(task.id)
        begun = any(each.relevant in STARTED_STATUSES and not each.is_rejected for each in replicates)
        if begun or chain_task.status is not ChainStatus.ACTIVE:
            return self._means.state.advance(task, _S.RUNNING)
        return self._time_out(task, chain_task)

    def _run(self, task: TaskState) -> TaskState | None:
        chain_task = self._means.onchain.task(task.id) or self._revive(task)
        if chain_task is None:
            return None
        by_status = {
            ChainStatus.ACTIVE: self._await_contributions,
            ChainStatus.REVEALING: self._reach_consensus,
            ChainStatus.COMPLETED: self._finalized,
            ChainStatus.FAILED: self._claimed,
        }
        return by_status[chain_task.status](task, chain_task)

    def _claimed(self, task: TaskState, _chain_task: Task) -> TaskState | None:
        return self._means.state.advance(task, _S.RUNNING_FAILED, reason="claimed on the chain")

    def _await_contributions(self, task: TaskState, chain_task: Task) -> TaskState | None:
        replicates = self._means.state.replicates_of(task.id)
        if sum(each.has(ReplicateStatus.CONTRIBUTE_AND_FINALIZE_DONE) for each in replicates) > 1:
            return self._means.state.advance(task, _S.RUNNING_FAILED, reason="several workers finalized")
        if task.framework is not None and self._all_failed(task, replicates):
            return self._means.state.advance(task, _S.RUNNING_FAILED, reason="every worker failed")
        return self._time_out(task, chain_task)

    def _finalized(self, task: TaskState, chain_task: Task) -> TaskState | None:
        replicates = self._means.reconciler.catch_up(task, chain_task)
        done = [each for each in replicates if each.has(ReplicateStatus.CONTRIBUTE_AND_FINALIZE_DONE)]
        if len(done) > 1:
            return self._means.state.advance(task, _S.RUNNING_FAILED, reason="several workers finalized")
        changes = {
            "resultLink": chain_task.results.decode("utf-8", errors="replace"),
            "chainCallbackData": done[0].entry.data.get("chainCallbackData", "") if done else "",
            "consensus": chain_task.consensus_value,
        }
        return self._means.state.advance(task, _S.FINALIZED, changes)

    def _reach_consensus(self, task: TaskState, chain_task: Task) -> TaskState | None:
        replicates = self._means.reconciler.catch_up(task, chain_task)
        winners = [each for each in replicates if each.contribution == chain_task.consensus_value]
        if len(winners) < chain_task.winner_counter:
            return None  # the chain moved on between the two looks
        log = self._means.onchain.event_block(TASK_CONSENSUS, task.id, task.data["initializationBlockNumber"])
        block = log.block_number if log is not None else self._means.onchain.head()
        losers = [each.wallet for each in replicates if each not in winners]
        self._means.notices.send(task.id, [each.wallet for each in winners], Action.PLEASE_REVEAL, block_number=block)
        self._means.notices.send(task.id, losers, Action.PLEASE_ABORT, abort_cause=AbortCause.CONSENSUS_REACHED)
        changes = {
            "consensus": chain_task.consensus_value,
            "consensusReachedBlockNumber": block,
            "revealDeadline": datetime.fromtimestamp(chain_task.reveal_deadline, UTC).isoformat(),
        }
        return self._means.state.advance(task, _S.CONSENSUS_REACHED, changes)

    def _all_failed(self, task: TaskState, replicates: list[Replicate]) -> bool:
        able = {
            each.wallet for each in self._means.repo.workers() if self._is_alive(each) and can_run(each, task.demand)
        }
        failed = {each.wallet for each in replicates if each.gave_up and not each.has(ReplicateStatus.COMPUTED)}
        return bool(able) and able <= failed

    def _time_out(self, task: TaskState, chain_task: Task) -> TaskState | None:
        if self._means.chain_clock() <= task.contribution_deadline or chain_task.status is not ChainStatus.ACTIVE:
            return None
        wallets = self._means.repo.replicate_wallets(task.id)
        self._means.notices.send(task.id, wallets, Action.PLEASE_ABORT, abort_cause=AbortCause.CONTRIBUTION_TIMEOUT)
        return self._means.state.advance(task, _S.CONTRIBUTION_TIMEOUT)
