"""Entering what the chain has into the replicates, whether their workers said so or not (pool reference 2.7).

The chain is the truth: a contribution counts there even if its worker was given up here, and it is gone after a
reorganisation even if its worker reported it. What the machine lets a replicate do is moved, step by step; where it
does not, the contribution is only noted, so that consensus is judged by what the chain will judge by.
"""

from __future__ import annotations

from datetime import timedelta
from typing import Any, Final

from adyton.base.clock import Clock
from adyton.base.log import get_logger
from adyton.base.types import Address
from adyton.chain.models import Contribution, ContributionStatus, Task
from adyton.chain.models import TaskStatus as ChainStatus
from adyton.workerpool.actions import Action
from adyton.workerpool.replicate import FINAL, TRANSITIONS, ReplicateStatus
from adyton.workerpool.scheduler.notices import Notices
from adyton.workerpool.scheduler.onchain import OnChain
from adyton.workerpool.scheduler.state import PoolState, Replicate, TaskState

_log = get_logger("scheduler.reconcile")

SETTLED_AFTER: Final = timedelta(seconds=10)  # a node may lag behind the one that a worker uses
_S = ReplicateStatus
_TO_COMPUTED: Final = (
    _S.CREATED,
    _S.STARTING,
    _S.STARTED,
    _S.APP_DOWNLOADING,
    _S.APP_DOWNLOADED,
    _S.DATA_DOWNLOADING,
    _S.DATA_DOWNLOADED,
    _S.COMPUTING,
    _S.COMPUTED,
)
_FROM_CONTRIBUTING: Final = (
    _S.CONTRIBUTING,
    _S.CONTRIBUTED,
    _S.REVEALING,
    _S.REVEALED,
    _S.RESULT_UPLOAD_REQUESTED,
    _S.RESULT_UPLOADING,
    _S.RESULT_UPLOADED,
)
_FROM_FINALIZING: Final = (_S.CONTRIBUTE_AND_FINALIZE_ONGOING, _S.CONTRIBUTE_AND_FINALIZE_DONE)
# An error result is contributed from these, past the computation.
_ERROR_RESULTS: Final = (_S.APP_DOWNLOAD_FAILED, _S.DATA_DOWNLOAD_FAILED)
_COUNTED: Final = frozenset({ContributionStatus.CONTRIBUTED, ContributionStatus.PROVED})


def missing_statuses(relevant: ReplicateStatus, target: ReplicateStatus) -> tuple[ReplicateStatus, ...]:
    """The successful statuses between where a replicate is and ``target``, in order (pure).

    Empty when the replicate is not on the way to ``target``.
    """
    rest = _FROM_CONTRIBUTING if target in _FROM_CONTRIBUTING else _FROM_FINALIZING
    path = (relevant, *rest) if relevant in _ERROR_RESULTS else (*_TO_COMPUTED, *rest)
    if relevant not in path or target not in path:
        return ()
    return path[path.index(relevant) + 1 : path.index(target) + 1]


class Reconciler:
    """Makes the journals agree with the chain.

    Args:
        state: journals.
        onchain: the chain.
        notices: boxes of workers.
        clock: current time.
    """

    def __init__(self, state: PoolState, onchain: OnChain, notices: Notices, clock: Clock) -> None:
        self._state = state
        self._onchain = onchain
        self._notices = notices
        self._clock = clock

    def catch_up(self, task: TaskState, chain_task: Task) -> list[Replicate]:
        """The task's replicates after everything that the chain has was entered.

        Raises:
            UnavailableError: the chain does not answer.
        """
        known = {each.wallet: each for each in self._state.replicates_of(task.id)}
        for wallet in chain_task.contributors:
            replicate = known.get(wallet) or self._adopt(task, wallet)
            if replicate is not None:
                known[wallet] = self._contributor(task, chain_task, replicate)
        self._ask_again(
            task, chain_task, [each for each in known.values() if each.wallet not in chain_task.contributors]
        )
        return list(known.values())

    def fill(self, replicate: Replicate, target: ReplicateStatus) -> Replicate:
        """Move a replicate to ``target`` through everything it never reported, as far as the machine allows."""
        for status in missing_statuses(replicate.relevant, target):
            if status not in TRANSITIONS[replicate.status]:
                break
            moved = self._state.move(replicate, status, changes=self._known(replicate, status))
            if moved is None:
                break
            replicate = moved
        return replicate

    def reject(self, task: TaskState, chain_task: Task) -> list[Address]:
        """After a task was reopened: contributions that count no more; the wallets whose replicates end by it."""
        ended = []
        for replicate in self._state.replicates_of(task.id):
            if replicate.wallet not in chain_task.contributors or replicate.is_rejected:
                continue
            if self._contribution(replicate).status is ContributionStatus.REJECTED:
                self._state.annotate_replicate(replicate, {"rejected": True})
                ended.append(replicate.wallet)
        return ended

    def _adopt(self, task: TaskState, wallet: Address) -> Replicate | None:
        # Its authorization was given out by a scheduler whose database is lost.
        _log.warning("contribution of an unknown replicate", task=task.id, worker=wallet)
        self._state.create_replicate(task.id, wallet, self._onchain.weight(wallet))
        return self._state.replicate(task.id, wallet)

    def _contributor(self, task: TaskState, chain_task: Task, replicate: Replicate) -> Replicate:
        if chain_task.status is ChainStatus.COMPLETED and task.finalizes:
            if replicate.has(_S.CONTRIBUTE_AND_FINALIZE_DONE, _S.CONTRIBUTED):
                return replicate
            return self.fill(replicate, _S.CONTRIBUTE_AND_FINALIZE_DONE)
        if replicate.contribution is None and not replicate.is_rejected:
            replicate = self._contributed(replicate)
        silent = replicate.relevant in {_S.CONTRIBUTED, _S.REVEALING} and replicate.status not in FINAL
        if silent and chain_task.reveal_counter and self._contribution(replicate).status is ContributionStatus.PROVED:
            replicate = self.fill(replicate, _S.REVEALED)
        return replicate

    def _contributed(self, replicate: Replicate) -> Replicate:
        replicate = self.fill(replicate, _S.CONTRIBUTED)
        if replicate.contribution is None:  # the machine has no way there: aborted, failed, lost for good
            noted = self._state.annotate_replicate(replicate, self._known(replicate, _S.CONTRIBUTED))
            replicate = replicate if noted is None else noted
        return replicate

    def _ask_again(self, task: TaskState, chain_task: Task, absent: list[Replicate]) -> None:
        """A contribution that was reported and is not on the chain went down with a reorganised block."""
        if chain_task.status is not ChainStatus.ACTIVE:
            return
        for replicate in absent:
            settled = self._clock() - replicate.entry.updated_at > SETTLED_AFTER
            if replicate.status is _S.CONTRIBUTED and settled and not replicate.is_rejected:
                _log.warning("contribution is gone", task=task.id, worker=replicate.wallet)
                self._notices.send(task.id, [replicate.wallet], Action.PLEASE_CONTRIBUTE)

    def _known(self, replicate: Replicate, status: ReplicateStatus) -> dict[str, Any]:
        if status is _S.CONTRIBUTED:
            contribution = self._contribution(replicate)
            if contribution.status not in _COUNTED:
                return {}
            weight = self._onchain.weight(replicate.wallet)
            return {"contributionHash": contribution.result_hash, "workerWeight": weight}
        if status is _S.CONTRIBUTE_AND_FINALIZE_DONE:
            task = self._onchain.task(replicate.task_id)
            return {} if task is None else {"resultLink": task.results.decode("utf-8", errors="replace")}
        return {}

    def _contribution(self, replicate: Replicate) -> Contribution:
        return self._onchain.contribution(replicate.task_id, replicate.wallet)
