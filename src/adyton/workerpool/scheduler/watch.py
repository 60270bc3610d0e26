"""Following the chain: every deal of the pool becomes tasks exactly once, whatever fails in between.

A look reads the notices of the blocks since the last one and records them together with the new position, in one
transaction. Deals are then read and turned into tasks on their own account: one that cannot be read now stays pending
and is tried again, so nothing is lost and the position never has to wait.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import Final

from adyton.base.clock import Clock
from adyton.base.log import get_logger
from adyton.base.types import Address, Bytes32
from adyton.chain import tags
from adyton.chain.contracts import Hub
from adyton.chain.rpc import Block, Rpc
from adyton.workerpool.description import DealDescription, DealUnreadableError, read_deal
from adyton.workerpool.scheduler.onchain import OnChain
from adyton.workerpool.scheduler.repo import ACCEPTED, REJECTED, SchedulerRepo
from adyton.workerpool.scheduler.state import PoolState
from adyton.workerpool.scheduler.workqueue import WorkQueue

_log = get_logger("scheduler.watch")

MAX_BLOCKS: Final = 1000  # of one log query


@dataclass(frozen=True, slots=True)
class Head:
    """The newest block as last seen, and when."""

    block: Block
    seen_at: datetime


def rejection(deal: DealDescription, now: datetime) -> str:
    """Why the pool does not run a deal; empty when it does (pure)."""
    if now >= deal.contribution_deadline:
        return "the contribution deadline has passed"
    if tags.is_tee(deal.deal.tag) and deal.framework is None:
        return "the tag demands an enclave without naming one known framework"
    if deal.is_tee and deal.deal.trust > 1:
        return f"an enclave task with trust {deal.deal.trust}"
    return ""


class DealWatcher:
    """Looks at the chain when told to.

    Args:
        hub: contract that emits the notices.
        pool: whose deals.
        start_block: first block ever to look at.
        repo: position and deals.
        state: where tasks are made.
        queue: is asked to look at each new task.
        clock: current time.
    """

    def __init__(
        self,
        *,
        hub: Hub,
        pool: Address,
        start_block: int,
        repo: SchedulerRepo,
        state: PoolState,
        queue: WorkQueue,
        onchain: OnChain,
        clock: Clock,
    ) -> None:
        self._hub = hub
        self._rpc: Rpc = hub.rpc
        self._pool = pool
        self._start_block = start_block
        self._repo = repo
        self._state = state
        self._queue = queue
        self._onchain = onchain
        self._clock = clock
        self.head: Head | None = None

    def look(self) -> None:
        """Catch up with the chain by at most one range of blocks, and try the pending deals.

        Raises:
            UnavailableError: the node does not answer; nothing is lost.
        """
        head = self._rpc.head()
        self.head = Head(head, self._clock())
        last = self._repo.cursor()
        begin = max(self._start_block, 0 if last is None else last + 1)
        if begin <= head.number:
            end = min(begin + MAX_BLOCKS - 1, head.number)
            self._repo.record_notices(self._onchain.notices(self._pool, begin, end), end)
        for deal_id, block in self._repo.pending_deals():
            self._open(deal_id, block)

    @property
    def is_behind(self) -> bool:
        """Whether there are more blocks than one look takes."""
        last = self._repo.cursor()
        return self.head is not None and last is not None and last < self.head.block.number

    def _open(self, deal_id: Bytes32, block: int) -> None:
        try:
            deal = read_deal(self._hub, deal_id)
        except DealUnreadableError as error:
            _log.warning("deal stays pending", deal=deal_id, detail=error.message)
            return
        reason = rejection(deal, self._clock())
        if reason:
            _log.warning("deal rejected", deal=deal_id, reason=reason)
            self._repo.settle_deal(deal_id, REJECTED, reason)
            return
        # A crash before the last line repeats this: tasks that exist are not made again.
        for index in deal.deal.indexes:
            self._state.create_task(deal, index, block)
            self._queue.request(deal.task_id(index))
        self._repo.settle_deal(deal_id, ACCEPTED)
        _log.info("deal accepted", deal=deal_id, block=block, tasks=deal.deal.bot_size)
