"""From a deal to a task that workers may take: secrets' service, initialization on the chain, enclave challenge."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from adyton.base.errors import AdytonError, UnavailableError
from adyton.base.log import get_logger
from adyton.base.types import ZERO_ADDRESS, Bytes32
from adyton.chain.models import Task
from adyton.chain.rpc import Receipt, RevertError
from adyton.sms.errors import ChallengeRefusedError
from adyton.workerpool.scheduler.means import Means
from adyton.workerpool.scheduler.onchain import TASK_INITIALIZE
from adyton.workerpool.scheduler.sms_gate import SmsGate, SmsUnknownError
from adyton.workerpool.scheduler.state import Step, TaskState
from adyton.workerpool.task import TaskStatus

_log = get_logger("scheduler.initialization")

ORPHAN_PAUSE_S: Final = 1.0
_S = TaskStatus


class Initialization:
    """Steps of tasks that no worker has taken yet.

    Args:
        means: the scheduler's parts.
        sms: secret management services.
    """

    def __init__(self, means: Means, sms: SmsGate) -> None:
        self._means = means
        self._sms = sms

    @property
    def steps(self) -> Mapping[TaskStatus, Step]:
        """What is done in which status."""
        return {_S.RECEIVED: self._receive, _S.INITIALIZING: self._initialize}

    def revive(self, task: TaskState) -> Task | None:
        """Initialize a task again that a reorganisation took off the chain; None while that is not possible.

        Raises:
            UnavailableError: the chain does not answer.
        """
        _log.warning("task is gone from the chain", task=task.id)
        try:
            self._send(task)
        except RevertError as error:
            _log.warning("task not initialized again", task=task.id, detail=error.message)
        return self._means.onchain.task(task.id)

    def _receive(self, task: TaskState) -> TaskState | None:
        state = self._means.state
        if task.framework is None:
            return state.advance(task, _S.INITIALIZING)
        try:
            url = self._sms.url_for(task.framework)
        except SmsUnknownError as error:
            return state.advance(task, _S.INITIALIZE_FAILED, reason=error.message)
        except AdytonError as error:  # whatever else it answers, it may answer better later
            raise UnavailableError(f"SMS of {task.framework}: {error.message}", code=error.code) from error
        return state.advance(task, _S.INITIALIZING, {"smsUrl": url})

    def _initialize(self, task: TaskState) -> TaskState | None:
        state = self._means.state
        if self._means.chain_clock() > task.contribution_deadline:
            return state.advance(task, _S.INITIALIZE_FAILED, reason="contribution deadline")
        receipt: Receipt | None = None
        if self._means.onchain.task(task.id) is None:
            try:
                receipt = self._send(task)
            except RevertError as error:
                if self._means.onchain.task(task.id) is None:  # else somebody else initialized it, which is as good
                    return self._refused(task, error)
        challenge = self._challenge(task)
        if challenge is None:
            return None
        where = self._where(task, receipt)
        changes = {"initializationBlockNumber": where["blockNumber"], "enclaveChallenge": challenge}
        moved = state.advance(task, _S.INITIALIZED, changes, chainReceipt=where)
        self._means.work.ring()
        return moved

    def _send(self, task: TaskState) -> Receipt:
        return self._means.onchain.initialize(Bytes32(task.data["chainDealId"]), task.data["taskIndex"])

    def _refused(self, task: TaskState, error: RevertError) -> TaskState | None:
        if not self._means.onchain.has_deal(Bytes32(task.data["chainDealId"])):
            # The deal's block was reorganised away. It mostly comes back in another one; else the deadline ends this.
            self._means.queue.request(task.id, delay_s=ORPHAN_PAUSE_S)
            return None
        pause = self._means.tries.again(task.id, "initialize")
        _log.warning("initialization refused", task=task.id, detail=error.message, again=pause is not None)
        if pause is None:
            return self._means.state.advance(task, _S.INITIALIZE_FAILED, reason=error.message)
        self._means.queue.request(task.id, delay_s=pause)
        return None

    def _where(self, task: TaskState, receipt: Receipt | None) -> dict[str, Any]:
        if receipt is not None:
            return {"blockNumber": receipt.block_number, "txHash": receipt.transaction_hash}
        log = self._means.onchain.event_block(TASK_INITIALIZE, task.id, task.data["dealBlockNumber"])
        if log is None:
            return {"blockNumber": task.data["dealBlockNumber"], "txHash": ""}
        return {"blockNumber": log.block_number, "txHash": log.transaction_hash}

    def _challenge(self, task: TaskState) -> str | None:
        url = task.data.get("smsUrl")
        if not url:
            return ZERO_ADDRESS
        try:
            challenge = self._sms.challenge(url, task.id)
        except ChallengeRefusedError as error:
            # The SMS may see the chain a block later than we do; only a lasting refusal ends the task.
            pause = self._means.tries.again(task.id, "challenge")
            _log.warning("challenge refused", task=task.id, detail=error.message, again=pause is not None)
            if pause is None:
                self._means.state.advance(task, _S.INITIALIZE_FAILED, reason=error.message)
            self._means.queue.request(task.id, delay_s=pause or 0)
            return None
        except AdytonError as error:
            raise UnavailableError(f"SMS at {url}: {error.message}", code=error.code) from error
        self._sms.push_proxy_url(url)
        return challenge
