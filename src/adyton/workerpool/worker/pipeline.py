"""One task on this worker, from the authorization to the end: each action is a step with its three statuses.

A step reports that it begins, does its work, reports how it ended, and the answer is the next action. A report that
the scheduler has already (an answer that was lost, or a run repeated after a crash) is followed by what the machine
says comes next.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

from adyton.base.errors import AdytonError, UnavailableError
from adyton.base.log import get_logger
from adyton.workerpool.actions import AbortCause, Action
from adyton.workerpool.causes import Cause
from adyton.workerpool.description import TaskDescription
from adyton.workerpool.replicate import ReplicateStatus, next_action
from adyton.workerpool.scheduler.client import ALREADY_REPORTED, WorkerSession
from adyton.workerpool.wire import NotificationExtra, StatusDetails, StatusUpdate, WorkerpoolAuthorization
from adyton.workerpool.worker.context import WorkerContext
from adyton.workerpool.worker.contribution import Contribution, has_result
from adyton.workerpool.worker.enclaves import EnclaveTask
from adyton.workerpool.worker.errors import StepError
from adyton.workerpool.worker.folders import TaskFolders
from adyton.workerpool.worker.standard import StandardTask

_log = get_logger("worker.task")

_RETRY_S: Final = 0.3
_MAX_RETRY_S: Final = 5.0
_S = ReplicateStatus
# With these causes the failure itself is the result, so that workers can agree on it.
_CONTRIBUTABLE: Final = frozenset(
    {
        Cause.APP_IMAGE_DOWNLOAD_FAILED,
        Cause.DATASET_FILE_DOWNLOAD_FAILED,
        Cause.DATASET_FILE_BAD_CHECKSUM,
        Cause.INPUT_FILES_DOWNLOAD_FAILED,
    }
)


@dataclass(frozen=True, slots=True)
class Step:
    """An action's statuses and work."""

    ongoing: ReplicateStatus
    done: ReplicateStatus
    failed: ReplicateStatus
    work: Callable[[NotificationExtra], StatusDetails]


class TaskRun:
    """One task.

    Args:
        context: the worker's means.
        session: the scheduler.
        task: what to run.
        authorization: the pool owner's permission, verified.
        sms_url: secret management service of an enclave task.
    """

    def __init__(
        self,
        context: WorkerContext,
        session: WorkerSession,
        task: TaskDescription,
        authorization: WorkerpoolAuthorization,
        sms_url: str | None,
    ) -> None:
        self.task = task
        self._context = context
        self._session = session
        self._folders = TaskFolders.of(context.settings.data_folder, task.task_id)
        self._contribution = Contribution(context, task, self._folders, authorization)
        self._work: EnclaveTask | StandardTask = (
            EnclaveTask(context, task, self._folders, authorization, sms_url)
            if task.deal.is_tee
            else StandardTask(context, task, self._folders)
        )
        self._lock = threading.Lock()
        self._aborting: Cause | None = None
        self.ended = False
        self._folders.create()
        context.board.open(authorization, self._folders, is_tee=task.deal.is_tee)
        self._steps: dict[Action, Step] = {
            Action.PLEASE_START: Step(_S.STARTING, _S.STARTED, _S.START_FAILED, self._start),
            Action.PLEASE_DOWNLOAD_APP: Step(
                _S.APP_DOWNLOADING, _S.APP_DOWNLOADED, _S.APP_DOWNLOAD_FAILED, self._download_app
            ),
            Action.PLEASE_DOWNLOAD_DATA: Step(
                _S.DATA_DOWNLOADING, _S.DATA_DOWNLOADED, _S.DATA_DOWNLOAD_FAILED, self._download_data
            ),
            Action.PLEASE_COMPUTE: Step(_S.COMPUTING, _S.COMPUTED, _S.COMPUTE_FAILED, self._compute),
            Action.PLEASE_CONTRIBUTE: Step(
                _S.CONTRIBUTING, _S.CONTRIBUTED, _S.CONTRIBUTE_FAILED, lambda _: self._contribution.contribute()
            ),
            Action.PLEASE_REVEAL: Step(
                _S.REVEALING, _S.REVEALED, _S.REVEAL_FAILED, lambda extra: self._contribution.reveal(extra.block_number)
            ),
            Action.PLEASE_UPLOAD: Step(_S.RESULT_UPLOADING, _S.RESULT_UPLOADED, _S.RESULT_UPLOAD_FAILED, self._upload),
            Action.PLEASE_CONTRIBUTE_AND_FINALIZE: Step(
                _S.CONTRIBUTE_AND_FINALIZE_ONGOING,
                _S.CONTRIBUTE_AND_FINALIZE_DONE,
                _S.CONTRIBUTE_AND_FINALIZE_FAILED,
                lambda _: self._contribution.contribute_and_finalize(),
            ),
            Action.PLEASE_COMPLETE: Step(_S.COMPLETING, _S.COMPLETED, _S.COMPLETE_FAILED, self._complete),
        }

    def drive(self, action: Action | None, extra: NotificationExtra | None = None) -> None:
        """Do ``action`` and everything that the scheduler asks for after it; one thread at a time."""
        given = extra or NotificationExtra()
        with self._lock:
            while action is not None and not self.ended:
                if action is Action.PLEASE_ABORT or self._aborting is not None:
                    self._abort(given.task_abort_cause)
                    return
                step = self._steps.get(action)
                action = None if step is None else self._run(step, given)
        if self.ended:
            self._context.board.close(self.task.task_id)

    def abort(self, cause: AbortCause | None) -> None:
        """Stop what runs; :meth:`drive` of another thread then ends, or this one reports."""
        self._aborting = _abort_cause(cause)
        self._work.cancel()
        self.drive(Action.PLEASE_ABORT, NotificationExtra(task_abort_cause=cause))

    def interrupt(self) -> None:
        """End what runs without a word: the worker stops, and will be asked again when it is back."""
        self.ended = True
        self._work.cancel()

    def resume(self, action: Action, extra: NotificationExtra) -> None:
        """Go on after a restart: with the result if it is still here, else from the beginning."""
        if action in {Action.PLEASE_CONTRIBUTE, Action.PLEASE_CONTRIBUTE_AND_FINALIZE}:
            if has_result(self._folders, is_tee=self.task.deal.is_tee):
                finalizes = self.task.deal.finalizes
                action = Action.PLEASE_CONTRIBUTE_AND_FINALIZE if finalizes else Action.PLEASE_CONTRIBUTE
            else:
                self._folders.reset_results()
                action = Action.PLEASE_START
        self.drive(action, extra)

    # -- steps --------------------------------------------------------------------------------------------------

    def _run(self, step: Step, extra: NotificationExtra) -> Action | None:
        begun = self._report(step.ongoing, StatusDetails())
        if begun is Action.PLEASE_ABORT:
            return begun
        try:
            details = step.work(extra)
        except StepError as error:
            _log.warning(
                "step failed",
                task=self.task.task_id,
                status=step.failed.value,
                code=error.cause.value,
                detail=error.message,
            )
            if self.ended:
                return None
            if self._aborting is not None:
                return Action.PLEASE_ABORT
            return self._report(step.failed, error.report(), error.cause)
        except AdytonError as error:
            _log.error("step broke", task=self.task.task_id, code=error.code, detail=error.message)
            details = StatusDetails(cause=Cause.UNKNOWN, error_message=f"{error.code}: {error.message}"[:2000])
            return self._report(step.failed, details, Cause.UNKNOWN)
        return self._report(step.done, details)

    def _start(self, _extra: NotificationExtra) -> StatusDetails:
        self._contribution.check()
        self._work.prepare()
        return StatusDetails()

    def _download_app(self, _extra: NotificationExtra) -> StatusDetails:
        return self._download(_S.APP_DOWNLOAD_FAILED, self._work.download_app)

    def _download_data(self, _extra: NotificationExtra) -> StatusDetails:
        return self._download(_S.DATA_DOWNLOAD_FAILED, self._work.download_data)

    def _download(self, failed: ReplicateStatus, work: Callable[[], None]) -> StatusDetails:
        self._contribution.check()
        try:
            work()
        except StepError as error:
            if error.cause in _CONTRIBUTABLE:
                self._work.write_error_result(failed.value, error.cause)
            raise
        return StatusDetails()

    def _compute(self, _extra: NotificationExtra) -> StatusDetails:
        self._contribution.check()
        started = time.monotonic()
        details = self._work.compute()
        self._context.durations.add("completeCompute", time.monotonic() - started)
        return details

    def _upload(self, _extra: NotificationExtra) -> StatusDetails:
        return StatusDetails(
            result_link=self._contribution.upload(), chain_callback_data=self._contribution.callback_data()
        )

    def _complete(self, _extra: NotificationExtra) -> StatusDetails:
        self._folders.remove()
        return StatusDetails()

    def _abort(self, cause: AbortCause | None) -> None:
        self._work.cancel()
        reported = self._aborting or _abort_cause(cause)
        self._report(_S.ABORTED, StatusDetails(cause=reported), reported)
        self._folders.remove()
        self._finish()

    def _finish(self) -> None:
        self.ended = True
        self._context.board.close(self.task.task_id)

    # -- reports ------------------------------------------------------------------------------------------------

    def _report(self, status: ReplicateStatus, details: StatusDetails, cause: Cause | None = None) -> Action | None:
        """Report until the scheduler answers or the task is over."""
        update = StatusUpdate(status=status, details=details)
        pause = _RETRY_S
        while self._context.clock() < self.task.deal.final_deadline and not self.ended:
            try:
                code, action = self._session.update_status(self.task.task_id, update)
            except UnavailableError as error:
                _log.warning("scheduler not reached", code=error.code, detail=error.message)
                time.sleep(pause)
                pause = min(pause * 2, _MAX_RETRY_S)
                continue
            _log.info(
                "reported", task=self.task.task_id, status=status.value, answer=None if action is None else action.value
            )
            if status in {_S.COMPLETED, _S.FAILED}:
                self._finish()
                return None
            if code == ALREADY_REPORTED:
                return next_action(status, cause, finalizes=self.task.deal.finalizes)
            return action
        self._finish()
        return None


def _abort_cause(cause: AbortCause | None) -> Cause:
    names = {
        AbortCause.CONTRIBUTION_TIMEOUT: Cause.CONTRIBUTION_TIMEOUT,
        AbortCause.CONSENSUS_REACHED: Cause.CONSENSUS_REACHED,
    }
    return Cause.UNKNOWN if cause is None else names.get(cause, Cause.UNKNOWN)
