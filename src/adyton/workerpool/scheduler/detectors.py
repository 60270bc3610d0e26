"""Looking after what nobody reports: silent workers, transactions without a word, deadlines (pool reference 2.7).

Every detector is safe to run at any time and as often as wanted. Deadlines of tasks themselves are the engine's, which
is asked to look at every open task.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from datetime import timedelta
from typing import Final

from adyton.base.errors import AdytonError, UnavailableError
from adyton.base.log import get_logger
from adyton.chain.models import Task
from adyton.workerpool import task as tasks
from adyton.workerpool.causes import Cause
from adyton.workerpool.replicate import TRANSITIONS, ReplicateStatus
from adyton.workerpool.scheduler.claims import Claims
from adyton.workerpool.scheduler.leases import Leases
from adyton.workerpool.scheduler.means import Means
from adyton.workerpool.scheduler.repo import WorkerRecord
from adyton.workerpool.scheduler.state import Replicate, TaskState
from adyton.workerpool.task import ordinal

_log = get_logger("scheduler.detectors")

START_PATIENCE: Final = timedelta(seconds=5)
UPLOAD_PATIENCE: Final = timedelta(minutes=2)
_S = ReplicateStatus
_ON_CHAIN: Final = tasks.CONTRIBUTION_PHASE | tasks.REVEAL_PHASE


class Detectors:
    """One round of all detectors at a time.

    Args:
        means: the scheduler's parts.
        claims: failed tasks whose money is locked.
        leases: let one replica at a time look.
        silence: how long a worker may be silent.
        monotonic: seconds that only grow.
    """

    def __init__(
        self,
        means: Means,
        claims: Claims,
        leases: Leases,
        silence: timedelta,
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        self._means = means
        self._claims = claims
        self._leases = leases
        self._silence = silence
        self._monotonic = monotonic
        self._started = monotonic()

    def is_alive(self, worker: WorkerRecord) -> bool:
        """Whether a worker spoke recently; kept in the database, so a restart does not forget who was lost.

        A time that lies ahead was written by a clock that was wrong then, or is wrong now, and says nothing.
        """
        age = self._means.clock() - worker.last_alive
        return -self._silence <= age <= self._silence

    def run(self) -> None:
        """One round.

        Raises:
            UnavailableError: the chain does not answer; the next round does the rest.
        """
        with self._leases.hold("detectors") as mine:
            if mine:
                self._round()

    def lost_workers(self) -> None:
        """Replicates of silent workers are lost; another worker may be asked at once."""
        if self._monotonic() - self._started < self._silence.total_seconds():
            return  # nobody could speak while there was no scheduler
        for worker in self._means.repo.workers():
            if self.is_alive(worker):
                continue
            for replicate in self._means.state.open_replicates(worker.wallet):
                if _S.WORKER_LOST in TRANSITIONS[replicate.status]:
                    _log.warning("worker lost", worker=worker.wallet, task=replicate.task_id)
                    self._give_up(replicate)

    def _round(self) -> None:
        self.lost_workers()
        self._means.repo.purge_logs(self._means.clock())
        found = self._means.state.tasks_in(tasks.OPEN)
        chain_tasks = self._means.onchain.tasks([task.id for task in found if task.status in _ON_CHAIN])
        for task in found:
            try:
                self._inspect(task, chain_tasks.get(task.id))
            except UnavailableError:
                raise
            except AdytonError as error:  # one task that cannot be inspected must not hide the others
                _log.error("task not inspected", task=task.id, code=error.code, detail=error.message)
            self._means.queue.request(task.id, priority=ordinal(task.status))
        self._claims.settle()  # last: what the node does not take must not keep the round from the open tasks

    def _inspect(self, task: TaskState, chain_task: Task | None) -> None:
        if chain_task is None:
            return
        replicates = self._means.reconciler.catch_up(task, chain_task)
        if task.status in tasks.CONTRIBUTION_PHASE:
            self._never_started(replicates)
        else:
            self._reveal_timeouts(chain_task, replicates)
            self._upload_timeouts(replicates)

    def _give_up(self, replicate: Replicate) -> None:
        self._means.state.move(replicate, _S.WORKER_LOST)
        self._means.queue.request(replicate.task_id)
        self._means.work.ring()

    def _never_started(self, replicates: list[Replicate]) -> None:
        # A worker starts within milliseconds; an assignment that nobody starts went to a connection that was dead.
        for replicate in replicates:
            age = self._means.clock() - replicate.entry.updated_at
            if replicate.status is _S.CREATED and age > START_PATIENCE:
                _log.warning("assignment lost", worker=replicate.wallet, task=replicate.task_id)
                self._give_up(replicate)

    def _reveal_timeouts(self, chain_task: Task, replicates: list[Replicate]) -> None:
        if self._means.chain_clock().timestamp() <= chain_task.reveal_deadline:
            return
        for replicate in replicates:
            if replicate.relevant in {_S.CONTRIBUTED, _S.REVEALING} and _S.FAILED in TRANSITIONS[replicate.status]:
                self._means.state.move(replicate, _S.FAILED, cause=Cause.REVEAL_TIMEOUT)

    def _upload_timeouts(self, replicates: list[Replicate]) -> None:
        for replicate in replicates:
            since = self._means.clock() - replicate.entry.updated_at
            if since <= UPLOAD_PATIENCE:
                continue
            if replicate.status is _S.RESULT_UPLOADING:
                self._means.state.move(replicate, _S.RESULT_UPLOAD_FAILED)
            elif replicate.status is _S.RESULT_UPLOAD_REQUESTED:
                # The machine has no way from a request that was never taken up to a failed upload but this one.
                lost = self._means.state.move(replicate, _S.WORKER_LOST)
                if lost is not None:
                    self._means.state.move(lost, _S.RESULT_UPLOAD_FAILED)
