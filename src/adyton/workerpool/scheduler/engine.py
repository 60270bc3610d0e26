"""Moving tasks: one step at a time, each decided from the journal, the replicates and the chain (pool reference 2.3).

A step returns the task as it is after the move, or None when it has to wait for something. Side effects (transactions,
notifications) come before the move that records them and are harmless when repeated after a crash: a transaction that
was mined is found on the chain, a notification that waits is not doubled.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from adyton.base.errors import UnavailableError
from adyton.base.log import get_logger
from adyton.workerpool import task as tasks
from adyton.workerpool.scheduler.contributions import Contributions
from adyton.workerpool.scheduler.finalization import Finalization
from adyton.workerpool.scheduler.initialization import Initialization
from adyton.workerpool.scheduler.leases import Leases
from adyton.workerpool.scheduler.means import Means
from adyton.workerpool.scheduler.reveals import Reveals
from adyton.workerpool.scheduler.state import Step, TaskState
from adyton.workerpool.task import TaskStatus

_log = get_logger("scheduler.engine")

RETRY_S: Final = 1.0  # after a service that did not answer
BUSY_S: Final = 0.5  # while another replica moves the task
_S = TaskStatus


class TaskEngine:
    """Moves tasks from phase to phase.

    Args:
        means: the scheduler's parts.
        phases: the steps of the four phases.
        leases: keep replicas from moving one task at the same time.
    """

    def __init__(
        self,
        means: Means,
        phases: tuple[Initialization, Contributions, Reveals, Finalization],
        leases: Leases,
    ) -> None:
        self._means = means
        self._leases = leases
        self._ending = phases[3]
        self._steps: Mapping[TaskStatus, Step] = {
            status: step for phase in phases for status, step in phase.steps.items()
        }

    def update(self, task_id: str) -> None:
        """Move a task as far as it goes now; called by one thread at a time for each task."""
        with self._leases.hold(f"task/{task_id}") as mine:
            if not mine:
                self._means.queue.request(task_id, delay_s=BUSY_S)
                return
            task = self._means.state.task(task_id)
            try:
                while task is not None and task.status not in tasks.FINAL:
                    task = self._step(task)
            except UnavailableError as error:
                _log.warning("task waits", task=task_id, code=error.code, detail=error.message)
                self._means.queue.request(task_id, delay_s=RETRY_S)

    def _step(self, task: TaskState) -> TaskState | None:
        if task.status in tasks.FAILURES or self._means.chain_clock() <= task.final_deadline:
            return self._steps[task.status](task)
        # A scheduler that was away may find a task finalized in time whose deadline has passed since.
        if task.status not in tasks.FINALIZABLE or not self._ending.is_completed(task):
            end = _S.RESULT_UPLOAD_TIMEOUT if task.status is _S.RESULT_UPLOADING else _S.FINAL_DEADLINE_REACHED
            return self._means.state.advance(task, end)
        if task.status in tasks.REVEAL_PHASE:
            return self._means.state.advance(task, _S.FINALIZING)
        return self._steps[task.status](task)
