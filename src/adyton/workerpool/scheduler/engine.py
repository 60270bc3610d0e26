"""Moving tasks: one step at a time, each decided from the journal, the replicates and the chain (pool reference 2.3).

A step returns the task as it is after the move, or None when it has to wait for something. Side effects (transactions,
notifications) come before the move that records them and are harmless when repeated after a crash: a transaction that
was mined is found on the chain, a notification that waits is not doubled.
"""

from __future__ import annotations

import random
from collections.abc import Callable
from typing import Any, Final

from adyton.base.clock import Clock
from adyton.base.errors import AdytonError, UnavailableError
from adyton.base.log import get_logger
from adyton.base.types import ZERO_ADDRESS
from adyton.chain.models import Task
from adyton.chain.models import TaskStatus as ChainStatus
from adyton.chain.rpc import RevertError
from adyton.sms.errors import ChallengeRefusedError
from adyton.workerpool import task as tasks
from adyton.workerpool.actions import AbortCause, Action
from adyton.workerpool.replicate import FAILED_BEFORE_COMPUTED, HOPELESS, STARTED_STATUSES, ReplicateStatus
from adyton.workerpool.scheduler.bell import Bell
from adyton.workerpool.scheduler.notices import Notices
from adyton.workerpool.scheduler.onchain import TASK_CONSENSUS, TASK_INITIALIZE, OnChain
from adyton.workerpool.scheduler.repo import SchedulerRepo
from adyton.workerpool.scheduler.sms_gate import SmsGate, SmsUnknownError
from adyton.workerpool.scheduler.state import PoolState, Replicate, TaskState
from adyton.workerpool.scheduler.supply import can_run
from adyton.workerpool.scheduler.workqueue import WorkQueue
from adyton.workerpool.task import TaskStatus

_log = get_logger("scheduler.engine")

RETRY_S: Final = 1.0  # after a service that did not answer
MAX_REFUSALS: Final = 5  # of an enclave challenge before the task is given up
_S = TaskStatus

Step = Callable[[TaskState], TaskState | None]


class TaskEngine:
    """Decides and makes the moves of tasks.

    Args:
        state: journals.
        repo: tables beside them.
        onchain: the chain.
        sms: secret management services.
        notices: boxes of workers.
        queue: where further looks are asked for.
        work: rung when there may be work for a worker.
        clock: current time.
        is_alive: whether a worker spoke recently.
    """

    def __init__(
        self,
        *,
        state: PoolState,
        repo: SchedulerRepo,
        onchain: OnChain,
        sms: SmsGate,
        notices: Notices,
        queue: WorkQueue,
        work: Bell,
        clock: Clock,
        is_alive: Callable[[Any], bool],
    ) -> None:
        self._state = state
        self._repo = repo
        self._onchain = onchain
        self._sms = sms
        self._notices = notices
        self._queue = queue
        self._work = work
        self._clock = clock
        self._is_alive = is_alive
        self._refusals: dict[str, int] = {}
        self._steps: dict[TaskStatus, Step] = {
            _S.RECEIVED: self._receive,
            _S.INITIALIZING: self._initialize,
            _S.INITIALIZED: self._start,
            _S.RUNNING: self._run,
            _S.CONSENSUS_REACHED: self._await_reveal,
            _S.REOPENED: lambda task: self._state.advance(task, _S.INITIALIZED),
            _S.AT_LEAST_ONE_REVEALED: self._request_upload,
            _S.RESULT_UPLOADING: self._await_upload,
            _S.RESULT_UPLOADED: self._prepare_finalization,
            _S.FINALIZING: self._finalize,
            _S.FINALIZED: self._complete,
        }

    def update(self, task_id: str) -> None:
        """Move a task as far as it goes now; called by one thread at a time for each task."""
        task = self._state.task(task_id)
        try:
            while task is not None and task.status not in tasks.FINAL:
                task = self._step(task)
        except UnavailableError as error:
            _log.warning("task waits", task=task_id, code=error.code, detail=error.message)
            self._queue.request(task_id, delay_s=RETRY_S)

    def _step(self, task: TaskState) -> TaskState | None:
        now = self._clock()
        if task.status in tasks.FAILURES:
            return self._fail(task)
        if now > task.final_deadline:
            return self._state.advance(task, _S.FINAL_DEADLINE_REACHED)
        step = self._steps.get(task.status)
        return None if step is None else step(task)

    # -- initialization -----------------------------------------------------------------------------------------

    def _receive(self, task: TaskState) -> TaskState | None:
        if task.framework is None:
            return self._state.advance(task, _S.INITIALIZING)
        try:
            url = self._sms.url_for(task.framework)
        except SmsUnknownError as error:
            return self._state.advance(task, _S.INITIALIZE_FAILED, reason=error.message)
        return self._state.advance(task, _S.INITIALIZING, {"smsUrl": url})

    def _initialize(self, task: TaskState) -> TaskState | None:
        if self._clock() > task.contribution_deadline:
            return self._state.advance(task, _S.INITIALIZE_FAILED, reason="contribution deadline")
        chain_task = self._onchain.task(task.id)
        receipt: dict[str, Any] | None = None
        if chain_task is None or chain_task.status is ChainStatus.UNSET:
            try:
                mined = self._onchain.initialize(task.data["chainDealId"], task.data["taskIndex"])
                receipt = {"blockNumber": mined.block_number, "txHash": mined.transaction_hash}
            except RevertError as error:
                if self._onchain.task(task.id) is None:  # else somebody else initialized it, which is as good
                    return self._state.advance(task, _S.INITIALIZE_FAILED, reason=error.message)
        if receipt is None:
            log = self._onchain.event_block(TASK_INITIALIZE, task.id, task.data["dealBlockNumber"])
            block = log.block_number if log is not None else task.data["dealBlockNumber"]
            receipt = {"blockNumber": block, "txHash": log.transaction_hash if log is not None else ""}
        challenge = self._challenge(task)
        if challenge is None:
            return None
        changes = {"initializationBlockNumber": receipt["blockNumber"], "enclaveChallenge": challenge}
        moved = self._state.advance(task, _S.INITIALIZED, changes, chainReceipt=receipt)
        self._work.ring()
        return moved

    def _challenge(self, task: TaskState) -> str | None:
        url = task.data.get("smsUrl")
        if not url:
            return ZERO_ADDRESS
        try:
            challenge = self._sms.challenge(url, task.id)
        except ChallengeRefusedError as error:
            # The SMS may see the chain a block later than we do; only a lasting refusal ends the task.
            count = self._refusals[task.id] = self._refusals.get(task.id, 0) + 1
            _log.warning("challenge refused", task=task.id, times=count, detail=error.message)
            if count >= MAX_REFUSALS:
                self._state.advance(task, _S.INITIALIZE_FAILED, reason=error.message)
            self._queue.request(task.id, delay_s=RETRY_S / 4)
            return None
        except AdytonError as error:
            raise UnavailableError(f"SMS at {url}: {error.message}", code=error.code) from error
        self._refusals.pop(task.id, None)
        self._sms.push_proxy_url(url)
        return challenge

    # -- contribution -------------------------------------------------------------------------------------------

    def _start(self, task: TaskState) -> TaskState | None:
        if any(each.relevant in STARTED_STATUSES for each in self._state.replicates_of(task.id)):
            return self._state.advance(task, _S.RUNNING)
        return self._time_out(task)

    def _run(self, task: TaskState) -> TaskState | None:
        replicates = self._state.replicates_of(task.id)
        if task.finalizes:
            done = [each for each in replicates if each.has(ReplicateStatus.CONTRIBUTE_AND_FINALIZE_DONE)]
            if len(done) > 1:
                return self._state.advance(task, _S.RUNNING_FAILED, reason="several workers finalized")
            if done:
                link = done[0].entry.data.get("resultLink", "")
                callback = done[0].entry.data.get("chainCallbackData", "")
                changes = {"resultLink": link, "chainCallbackData": callback}
                return self._state.advance(task, _S.FINALIZED, changes)
        else:
            chain_task = self._onchain.task(task.id)
            if chain_task is not None and chain_task.status is ChainStatus.REVEALING:
                return self._reach_consensus(task, chain_task, replicates)
        if task.framework is not None and self._all_failed(task, replicates):
            return self._state.advance(task, _S.RUNNING_FAILED, reason="every worker failed")
        return self._time_out(task)

    def _reach_consensus(self, task: TaskState, chain_task: Task, replicates: list[Replicate]) -> TaskState | None:
        winners = [
            each
            for each in replicates
            if each.relevant is ReplicateStatus.CONTRIBUTED and each.contribution == chain_task.consensus_value
        ]
        if len(winners) < chain_task.winner_counter:
            return None  # a winner's report is still on its way; detectors fill it in if it never comes
        log = self._onchain.event_block(TASK_CONSENSUS, task.id, task.data["initializationBlockNumber"])
        block = log.block_number if log is not None else self._onchain.head()
        losers = [each.wallet for each in replicates if each not in winners]
        self._notices.send(task.id, [each.wallet for each in winners], Action.PLEASE_REVEAL, block_number=block)
        self._notices.send(task.id, losers, Action.PLEASE_ABORT, abort_cause=AbortCause.CONSENSUS_REACHED)
        changes = {
            "consensus": chain_task.consensus_value,
            "consensusReachedBlockNumber": block,
            "revealDeadline": chain_task.reveal_deadline,
        }
        return self._state.advance(task, _S.CONSENSUS_REACHED, changes)

    def _all_failed(self, task: TaskState, replicates: list[Replicate]) -> bool:
        able = {
            each.wallet for each in self._repo.workers() if self._is_alive(each) and can_run(each, task.data["tag"])
        }
        hopeless = FAILED_BEFORE_COMPUTED | HOPELESS
        failed = {
            each.wallet for each in replicates if each.relevant in hopeless and not each.has(ReplicateStatus.COMPUTED)
        }
        return bool(able) and able <= failed

    def _time_out(self, task: TaskState) -> TaskState | None:
        if self._clock() <= task.contribution_deadline:
            return None
        chain_task = self._onchain.task(task.id)
        if chain_task is None or chain_task.status is not ChainStatus.ACTIVE:
            return None
        wallets = self._repo.replicate_wallets(task.id)
        self._notices.send(task.id, wallets, Action.PLEASE_ABORT, abort_cause=AbortCause.CONTRIBUTION_TIMEOUT)
        return self._state.advance(task, _S.CONTRIBUTION_TIMEOUT)

    # -- reveal and upload --------------------------------------------------------------------------------------

    def _await_reveal(self, task: TaskState) -> TaskState | None:
        if any(each.relevant is ReplicateStatus.REVEALED for each in self._state.replicates_of(task.id)):
            return self._state.advance(task, _S.AT_LEAST_ONE_REVEALED)
        return None

    def _request_upload(self, task: TaskState) -> TaskState | None:
        chosen = self._ask_upload(task)
        if chosen is None:
            return None
        return self._state.advance(task, _S.RESULT_UPLOADING, {"uploadingWorkerWalletAddress": chosen.wallet})

    def _ask_upload(self, task: TaskState) -> Replicate | None:
        replicates = self._state.replicates_of(task.id)
        asked = [each for each in replicates if each.relevant in _UPLOADING and each.status not in HOPELESS]
        candidates = [each for each in replicates if each.status is ReplicateStatus.REVEALED]
        if asked:  # a crash after the request and before the move
            return asked[0]
        if not candidates:
            return None
        chosen = random.choice(candidates)  # noqa: S311  # spreads load, decides nothing
        moved = self._state.move(chosen, ReplicateStatus.RESULT_UPLOAD_REQUESTED)
        if moved is not None:
            self._notices.send(task.id, [chosen.wallet], Action.PLEASE_UPLOAD)
        return moved

    def _await_upload(self, task: TaskState) -> TaskState | None:
        replicates = self._state.replicates_of(task.id)
        done = next((each for each in replicates if each.has(ReplicateStatus.RESULT_UPLOADED)), None)
        if done is not None:
            data = done.entry.data
            changes = {
                "resultLink": data.get("resultLink", ""),
                "chainCallbackData": data.get("chainCallbackData", ""),
                "uploadingWorkerWalletAddress": done.wallet,
            }
            return self._state.advance(task, _S.RESULT_UPLOADED, changes)
        busy = (*_UPLOADING, ReplicateStatus.RECOVERING)
        if not any(each.status in busy for each in replicates):
            chosen = self._ask_upload(task)
            if chosen is not None:
                self._state.annotate(task, {"uploadingWorkerWalletAddress": chosen.wallet})
        return None

    # -- finalization -------------------------------------------------------------------------------------------

    def _prepare_finalization(self, task: TaskState) -> TaskState | None:
        chain_task = self._onchain.task(task.id)
        if chain_task is None:
            return None
        if chain_task.status is ChainStatus.COMPLETED:
            return self._state.advance(task, _S.FINALIZING)
        now = self._clock().timestamp()
        enough = chain_task.reveal_counter == chain_task.winner_counter or (
            chain_task.reveal_counter > 0 and chain_task.reveal_deadline <= now
        )
        revealed = sum(each.has(ReplicateStatus.REVEALED) for each in self._state.replicates_of(task.id))
        if chain_task.status is ChainStatus.REVEALING and enough and revealed == chain_task.reveal_counter:
            return self._state.advance(task, _S.FINALIZING)
        return None

    def _finalize(self, task: TaskState) -> TaskState | None:
        chain_task = self._onchain.task(task.id)
        receipt: dict[str, Any] | None = None
        if chain_task is None or chain_task.status is not ChainStatus.COMPLETED:
            try:
                mined = self._onchain.finalize(
                    task.id, task.data.get("resultLink", ""), task.data.get("chainCallbackData", "")
                )
                receipt = {"blockNumber": mined.block_number, "txHash": mined.transaction_hash}
            except RevertError as error:
                chain_task = self._onchain.task(task.id)
                if chain_task is None or chain_task.status is not ChainStatus.COMPLETED:
                    return self._state.advance(task, _S.FINALIZE_FAILED, reason=error.message)
        return self._state.advance(task, _S.FINALIZED, chainReceipt=receipt)

    def _complete(self, task: TaskState) -> TaskState | None:
        wallets = self._repo.replicate_wallets(task.id)
        self._notices.send(task.id, wallets, Action.PLEASE_COMPLETE)
        self._repo.close_task(task.id)
        moved = self._state.advance(task, _S.COMPLETED)
        _log.info("task completed", task=task.id)
        self._work.ring()
        return moved

    def _fail(self, task: TaskState) -> TaskState | None:
        wallets = self._repo.replicate_wallets(task.id)
        self._notices.send(task.id, wallets, Action.PLEASE_ABORT, abort_cause=AbortCause.UNKNOWN)
        self._repo.close_task(task.id)
        self._refusals.pop(task.id, None)
        moved = self._state.advance(task, _S.FAILED)
        _log.warning("task failed", task=task.id, after=task.status.value)
        self._work.ring()
        return moved


_UPLOADING: Final = (
    ReplicateStatus.RESULT_UPLOAD_REQUESTED,
    ReplicateStatus.RESULT_UPLOADING,
)
