"""After consensus: reveals, reopening when nobody reveals, and the upload by one of those who did."""

from __future__ import annotations

import random
from collections.abc import Mapping
from typing import Final

from adyton.base.log import get_logger
from adyton.chain.models import Task
from adyton.chain.models import TaskStatus as ChainStatus
from adyton.chain.rpc import RevertError
from adyton.workerpool.actions import Action
from adyton.workerpool.causes import Cause
from adyton.workerpool.replicate import HOPELESS, TRANSITIONS, ReplicateStatus
from adyton.workerpool.scheduler.means import Means
from adyton.workerpool.scheduler.state import Replicate, Step, TaskState
from adyton.workerpool.task import TaskStatus

_log = get_logger("scheduler.reveals")

_S = TaskStatus
_UPLOADING: Final = (ReplicateStatus.RESULT_UPLOAD_REQUESTED, ReplicateStatus.RESULT_UPLOADING)
_DECIDED_ELSEWHERE: Final = frozenset({ChainStatus.COMPLETED, ChainStatus.FAILED})


class Reveals:
    """Steps of tasks that have consensus.

    Args:
        means: the scheduler's parts.
    """

    def __init__(self, means: Means) -> None:
        self._means = means

    @property
    def steps(self) -> Mapping[TaskStatus, Step]:
        """What is done in which status."""
        return {
            _S.CONSENSUS_REACHED: self._await_reveal,
            _S.REOPENING: self._reopen,
            _S.REOPENED: self._restart,
            _S.AT_LEAST_ONE_REVEALED: self._request_upload,
            _S.RESULT_UPLOADING: self._await_upload,
        }

    # -- reveals ------------------------------------------------------------------------------------------------

    def _await_reveal(self, task: TaskState) -> TaskState | None:
        chain_task = self._means.onchain.task(task.id)
        if chain_task is None:
            return self._means.state.advance(task, _S.REOPENING, reason="the chain was reorganised")
        if chain_task.status is ChainStatus.COMPLETED:
            return self._means.state.advance(task, _S.FINALIZING)
        if chain_task.status is ChainStatus.ACTIVE:
            return self._means.state.advance(task, _S.REOPENING, reason="the chain has no consensus any more")
        replicates = self._means.state.replicates_of(task.id)
        if chain_task.reveal_counter > sum(each.has(ReplicateStatus.REVEALED) for each in replicates):
            replicates = self._means.reconciler.catch_up(task, chain_task)
        if any(each.relevant is ReplicateStatus.REVEALED for each in replicates):
            return self._means.state.advance(task, _S.AT_LEAST_ONE_REVEALED)
        if self._can_reopen(task, chain_task):
            return self._means.state.advance(task, _S.REOPENING, reason="nobody revealed in time")
        return None

    def _can_reopen(self, task: TaskState, chain_task: Task) -> bool:
        # After the contribution deadline a reopened task could only fail, and later than it does now.
        now = self._means.chain_clock()
        late = chain_task.reveal_counter == 0 and chain_task.reveal_deadline < now.timestamp()
        return chain_task.status is ChainStatus.REVEALING and late and now < task.contribution_deadline

    def _reopen(self, task: TaskState) -> TaskState | None:
        chain_task = self._means.onchain.task(task.id)
        if chain_task is not None and chain_task.status is ChainStatus.REVEALING:
            try:
                self._means.onchain.reopen(task.id)
            except RevertError as error:
                return self._refused(task, error)
            chain_task = self._means.onchain.task(task.id)
            if chain_task is None or chain_task.status is not ChainStatus.ACTIVE:
                return None
        if chain_task is not None and chain_task.status in _DECIDED_ELSEWHERE:
            return self._means.state.advance(task, _S.REOPEN_FAILED, reason=f"{chain_task.status.name} on the chain")
        if chain_task is not None:
            ended = self._means.reconciler.reject(task, chain_task)
            for replicate in self._means.state.replicates_of(task.id):
                if replicate.wallet in ended and ReplicateStatus.FAILED in TRANSITIONS[replicate.status]:
                    self._means.state.move(replicate, ReplicateStatus.FAILED, cause=Cause.REVEAL_TIMEOUT)
            self._means.repo.withdraw(task.id)
            self._means.notices.send(task.id, ended, Action.PLEASE_ABORT)
        _log.warning("task reopened", task=task.id)
        changes = {"consensus": None, "consensusReachedBlockNumber": None, "revealDeadline": None}
        return self._means.state.advance(task, _S.REOPENED, changes)

    def _refused(self, task: TaskState, error: RevertError) -> TaskState | None:
        pause = self._means.tries.again(task.id, "reopen")
        _log.warning("reopening refused", task=task.id, detail=error.message, again=pause is not None)
        if pause is None:
            return self._means.state.advance(task, _S.REOPEN_FAILED, reason=error.message)
        self._means.queue.request(task.id, delay_s=pause)
        return None

    def _restart(self, task: TaskState) -> TaskState | None:
        moved = self._means.state.advance(task, _S.INITIALIZED)
        self._means.work.ring()
        return moved

    # -- upload -------------------------------------------------------------------------------------------------

    def _request_upload(self, task: TaskState) -> TaskState | None:
        chosen = self._ask_upload(task, self._means.state.replicates_of(task.id))
        if chosen is None:
            return None
        return self._means.state.advance(task, _S.RESULT_UPLOADING, {"uploadingWorkerWalletAddress": chosen.wallet})

    def _ask_upload(self, task: TaskState, replicates: list[Replicate]) -> Replicate | None:
        asked = [each for each in replicates if each.relevant in _UPLOADING and each.status not in HOPELESS]
        if asked:  # a crash after the request and before the move
            return asked[0]
        candidates = [
            each for each in replicates if each.relevant is ReplicateStatus.REVEALED and each.status not in HOPELESS
        ]
        if not candidates:
            return None
        chosen = random.choice(candidates)  # noqa: S311  # spreads load, decides nothing
        moved = self._means.state.move(chosen, ReplicateStatus.RESULT_UPLOAD_REQUESTED)
        if moved is not None:
            self._means.notices.send(task.id, [chosen.wallet], Action.PLEASE_UPLOAD)
        return moved

    def _await_upload(self, task: TaskState) -> TaskState | None:
        replicates = self._means.state.replicates_of(task.id)
        done = next((each for each in replicates if each.has(ReplicateStatus.RESULT_UPLOADED)), None)
        if done is not None:
            data = done.entry.data
            changes = {
                "resultLink": data.get("resultLink", ""),
                "chainCallbackData": data.get("chainCallbackData", ""),
                "uploadingWorkerWalletAddress": done.wallet,
            }
            return self._means.state.advance(task, _S.RESULT_UPLOADED, changes)
        if any(_is_uploading(each) for each in replicates):
            return None
        chosen = self._ask_upload(task, replicates)
        if chosen is not None:
            self._means.state.annotate(task, {"uploadingWorkerWalletAddress": chosen.wallet})
        elif _nobody_can(replicates):
            return self._means.state.advance(task, _S.RESULT_UPLOAD_TIMEOUT, reason="no worker could upload the result")
        return None


def _is_uploading(replicate: Replicate) -> bool:
    recovering = replicate.status is ReplicateStatus.RECOVERING and replicate.relevant in _UPLOADING
    return replicate.status in _UPLOADING or recovering


def _nobody_can(replicates: list[Replicate]) -> bool:
    """Whether everybody who revealed tried to upload and failed; one that is lost may come back and try."""
    revealed = [each for each in replicates if each.has(ReplicateStatus.REVEALED)]
    return bool(revealed) and all(
        each.has(ReplicateStatus.RESULT_UPLOAD_FAILED) and each.status is not ReplicateStatus.WORKER_LOST
        for each in revealed
    )
