"""Claiming failed tasks after their final deadline: requesters get their money back, workers their stakes.

The contracts take the pool's stake for such a task whoever claims it, and keep everybody's money until someone does. A
pool that claims its own failures at once owes nobody a wait.
"""

from __future__ import annotations

from typing import Final

from adyton.base.log import get_logger
from adyton.base.types import Bytes32
from adyton.chain.models import TaskStatus as ChainStatus
from adyton.chain.rpc import RevertError
from adyton.workerpool.scheduler.chainclock import ChainClock
from adyton.workerpool.scheduler.onchain import OnChain
from adyton.workerpool.scheduler.repo import Claim, SchedulerRepo

_log = get_logger("scheduler.claims")

MAX_AT_ONCE: Final = 50  # in one round of the detectors
MAX_TRIES: Final = 10
_OPEN: Final = frozenset({ChainStatus.ACTIVE, ChainStatus.REVEALING})


class Claims:
    """Claims that are due.

    Args:
        repo: where they wait.
        onchain: the chain.
        chain_clock: the chain's time.
    """

    def __init__(self, repo: SchedulerRepo, onchain: OnChain, chain_clock: ChainClock) -> None:
        self._repo = repo
        self._onchain = onchain
        self._chain_clock = chain_clock

    def settle(self) -> None:
        """Claim what is due.

        Raises:
            UnavailableError: the chain does not answer.
        """
        due = self._repo.due_claims(self._chain_clock(), MAX_AT_ONCE)
        if not due:
            return
        found = self._onchain.tasks([each.task_id for each in due])
        for claim in due:
            task = found[claim.task_id]
            if task is not None and task.status not in _OPEN:
                self._repo.close_claim(claim.task_id)
                continue
            try:
                if task is not None:
                    self._onchain.claim(claim.task_id)
                elif self._onchain.has_deal(claim.deal_id):
                    self._onchain.initialize_and_claim(claim.deal_id, claim.index)
                self._repo.close_claim(claim.task_id)
                _log.info("task claimed", task=claim.task_id)
            except RevertError as error:
                self._refused(claim, error)

    def _refused(self, claim: Claim, error: RevertError) -> None:
        tries = self._repo.count_claim(claim.task_id)
        _log.warning("claim refused", task=claim.task_id, tries=tries, detail=error.message)
        if tries >= MAX_TRIES:
            self._repo.close_claim(Bytes32(claim.task_id))
