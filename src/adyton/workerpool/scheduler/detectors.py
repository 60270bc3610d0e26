"""Looking after what nobody reports: silent workers, transactions without a word, deadlines (pool reference 2.7).

Every detector is safe to run at any time and as often as wanted.
"""

from __future__ import annotations

from datetime import timedelta
from typing import Final

from adyton.base.clock import Clock
from adyton.base.log import get_logger
from adyton.chain.models import TaskStatus as ChainStatus
from adyton.workerpool import task as tasks
from adyton.workerpool.causes import Cause
from adyton.workerpool.replicate import FINAL, TRANSITIONS, ReplicateStatus
from adyton.workerpool.scheduler.bell import Bell
from adyton.workerpool.scheduler.filling import fill
from adyton.workerpool.scheduler.onchain import OnChain
from adyton.workerpool.scheduler.repo import SchedulerRepo, WorkerRecord
from adyton.workerpool.scheduler.state import PoolState, Replicate, TaskState
from adyton.workerpool.scheduler.workqueue import WorkQueue
from adyton.workerpool.task import ordinal

_log = get_logger("scheduler.detectors")

START_PATIENCE: Final = timedelta(seconds=5)
UPLOAD_PATIENCE: Final = timedelta(minutes=2)
_S = ReplicateStatus


class Detectors:
    """One round of all detectors at a time.

    Args:
        state: journals.
        repo: workers and logs.
        onchain: the chain.
        queue: is asked to look at tasks.
        work: rung when a replicate is given up.
        clock: current time.
        silence: how long a worker may be silent.
    """

    def __init__(
        self,
        *,
        state: PoolState,
        repo: SchedulerRepo,
        onchain: OnChain,
        queue: WorkQueue,
        work: Bell,
        clock: Clock,
        silence: timedelta,
    ) -> None:
        self._state = state
        self._repo = repo
        self._onchain = onchain
        self._queue = queue
        self._work = work
        self._clock = clock
        self._silence = silence

    def is_alive(self, worker: WorkerRecord) -> bool:
        """Whether a worker spoke recently; kept in the database, so a restart does not forget who was lost."""
        return self._clock() - worker.last_alive <= self._silence

    def run(self) -> None:
        """One round.

        Raises:
            UnavailableError: the chain does not answer; the next round does the rest.
        """
        self.lost_workers()
        self._repo.purge_logs(self._clock())
        for task in self._state.tasks_in(tasks.OPEN):
            self._inspect(task)
            self._queue.request(task.id, priority=ordinal(task.status))

    def lost_workers(self) -> None:
        """Replicates of silent workers are lost; another worker may be asked at once."""
        for worker in self._repo.workers():
            if self.is_alive(worker):
                continue
            for replicate in self._state.open_replicates(worker.wallet):
                if _S.WORKER_LOST in TRANSITIONS[replicate.status]:
                    _log.warning("worker lost", worker=worker.wallet, task=replicate.task_id)
                    self._state.move(replicate, _S.WORKER_LOST)
                    self._work.ring()

    def _inspect(self, task: TaskState) -> None:
        replicates = self._state.replicates_of(task.id)
        if not replicates:
            return
        self._never_started(replicates)
        if task.status in tasks.CONTRIBUTION_PHASE:
            self._unreported_contributions(task, replicates)
        elif task.status in tasks.REVEAL_PHASE:
            self._unreported_reveals(task, replicates)
            self._reveal_timeouts(task, replicates)
            self._upload_timeouts(replicates)

    def _never_started(self, replicates: list[Replicate]) -> None:
        # A worker starts within milliseconds; an assignment that nobody starts went to a connection that was dead.
        for replicate in replicates:
            if replicate.status is _S.CREATED and self._clock() - replicate.entry.updated_at > START_PATIENCE:
                _log.warning("assignment lost", worker=replicate.wallet, task=replicate.task_id)
                self._state.move(replicate, _S.WORKER_LOST)
                self._work.ring()

    def _unreported_contributions(self, task: TaskState, replicates: list[Replicate]) -> None:
        waiting = {_S.CONTRIBUTING, _S.CONTRIBUTE_AND_FINALIZE_ONGOING}
        for replicate in replicates:
            if replicate.relevant not in waiting or replicate.status in FINAL:
                continue
            if task.finalizes:
                chain_task = self._onchain.task(task.id)
                done = chain_task is not None and chain_task.status is ChainStatus.COMPLETED
                if done and self._onchain.has_revealed(task.id, replicate.wallet):
                    fill(self._state, self._onchain, replicate, _S.CONTRIBUTE_AND_FINALIZE_DONE)
            elif self._onchain.has_contributed(task.id, replicate.wallet):
                fill(self._state, self._onchain, replicate, _S.CONTRIBUTED)

    def _unreported_reveals(self, task: TaskState, replicates: list[Replicate]) -> None:
        for replicate in replicates:
            pending = replicate.relevant in {_S.CONTRIBUTED, _S.REVEALING} and replicate.status not in FINAL
            if pending and self._onchain.has_revealed(task.id, replicate.wallet):
                fill(self._state, self._onchain, replicate, _S.REVEALED)

    def _reveal_timeouts(self, task: TaskState, replicates: list[Replicate]) -> None:
        deadline = task.data.get("revealDeadline")
        if deadline is None or self._clock().timestamp() <= deadline:
            return
        for replicate in replicates:
            if replicate.status in {_S.CONTRIBUTED, _S.REVEALING}:
                self._state.move(replicate, _S.FAILED, cause=Cause.REVEAL_TIMEOUT)

    def _upload_timeouts(self, replicates: list[Replicate]) -> None:
        for replicate in replicates:
            since = self._clock() - replicate.entry.updated_at
            if since <= UPLOAD_PATIENCE:
                continue
            if replicate.status is _S.RESULT_UPLOADING:
                self._state.move(replicate, _S.RESULT_UPLOAD_FAILED)
            elif replicate.status is _S.RESULT_UPLOAD_REQUESTED:
                # The machine has no way from a request that was never taken up to a failed upload but this one.
                lost = self._state.move(replicate, _S.WORKER_LOST)
                if lost is not None:
                    self._state.move(lost, _S.RESULT_UPLOAD_FAILED)
