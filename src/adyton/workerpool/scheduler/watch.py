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
from adyton.base.errors import UnavailableError
from adyton.base.log import get_logger
from adyton.base.types import Address
from adyton.chain import tags
from adyton.chain.contracts import Hub
from adyton.chain.rpc import Block
from adyton.workerpool.description import DealDescription, DealUnreadableError, read_deal
from adyton.workerpool.scheduler.chainclock import ChainClock
from adyton.workerpool.scheduler.dealbook import Checkpoint, DealBook, DealStatus, PendingDeal
from adyton.workerpool.scheduler.leases import Leases
from adyton.workerpool.scheduler.onchain import OnChain
from adyton.workerpool.scheduler.state import PoolState
from adyton.workerpool.scheduler.workqueue import WorkQueue

_log = get_logger("scheduler.watch")

MAX_BLOCKS: Final = 1000  # of one log query
MAX_TASKS: Final = 200  # made in one look, so that a large deal does not hide the chain
_KNOWN_BITS: Final = sum(1 << bit for bit in tags.BITS.values())


@dataclass(frozen=True, slots=True)
class Head:
    """The newest block as last seen, and when."""

    block: Block
    seen_at: datetime


def rejection(deal: DealDescription, now: datetime, owner: Address) -> str:
    """Why the pool does not run a deal; empty when it does (pure).

    Args:
        deal: the deal.
        now: the chain's time.
        owner: the account that this scheduler finalizes as.
    """
    if now >= deal.contribution_deadline:
        return "the contribution deadline has passed"
    if int(deal.deal.tag, 16) & ~_KNOWN_BITS:
        return f"the tag {deal.deal.tag} asks for something unknown"
    if tags.is_tee(deal.deal.tag) and deal.framework is None:
        return "the tag demands an enclave without naming one known framework"
    if deal.is_tee and deal.deal.trust > 1:
        return f"an enclave task with trust {deal.deal.trust}"
    if deal.deal.workerpool.owner != owner:  # only that account can finalize
        return f"the pool belonged to {deal.deal.workerpool.owner} when the deal was made"
    return ""


class DealWatcher:
    """Looks at the chain when told to.

    Args:
        hub: contract that emits the notices.
        pool: whose deals.
        owner: account that owns the pool.
        start_block: first block ever to look at.
        book: position and deals.
        state: where tasks are made.
        queue: is asked to look at each new task.
        onchain: the chain.
        leases: keep replicas from opening one deal twice.
        clock: current time.
        chain_clock: is set by every look.
    """

    def __init__(
        self,
        *,
        hub: Hub,
        pool: Address,
        owner: Address,
        start_block: int,
        book: DealBook,
        state: PoolState,
        queue: WorkQueue,
        onchain: OnChain,
        leases: Leases,
        clock: Clock,
        chain_clock: ChainClock,
    ) -> None:
        self._hub = hub
        self._pool = pool
        self._owner = owner
        self._start_block = start_block
        self._book = book
        self._state = state
        self._queue = queue
        self._onchain = onchain
        self._leases = leases
        self._clock = clock
        self._chain_clock = chain_clock
        self._read: Block | None = None  # the head up to which everything is read
        self.head: Head | None = None

    def look(self) -> None:
        """Catch up with the chain by at most one range of blocks, and open some of the pending deals.

        Raises:
            UnavailableError: the node does not answer; nothing is lost.
        """
        head, stamp = self._onchain.now()
        self._chain_clock.observe(head.hash, stamp)
        self.head = Head(head, self._clock())
        if self._read != head:
            self._catch_up(head)
        self._open_deals()

    @property
    def is_behind(self) -> bool:
        """Whether there is more than one look takes."""
        unread = self.head is not None and self._read != self.head.block
        return unread or bool(self._book.pending(self._clock()))

    # -- blocks -------------------------------------------------------------------------------------------------

    def _catch_up(self, head: Block) -> None:
        standing = self._standing(head)
        since = None if standing is None else standing.number
        begin = self._start_block if since is None else max(self._start_block, since + 1)
        if begin > head.number:
            self._read = head
            return
        end = min(begin + MAX_BLOCKS - 1, head.number)
        found = self._onchain.notices(self._pool, begin, end, standing)
        if found is None:
            return  # the chain changed under the query: the next look sees how
        deals, reached = found
        if self._book.record(since, deals, reached, self._clock()) and reached.hash == head.hash:
            self._read = head

    def _standing(self, head: Block) -> Checkpoint | None:
        """The newest checkpoint of the node's chain; goes back there when later ones are gone."""
        known = self._book.checkpoints()
        comparable = [each for each in known if each.number <= head.number]
        if not comparable:
            # Nothing to compare: the first look, or a node that is far behind and has nothing new to say.
            return known[0] if known else None
        standing = self._onchain.first_standing(comparable)
        if standing == comparable[0]:
            return known[0]  # a node that is behind misses the newest, which is no reorganisation
        gone = self._book.rewind(standing)
        _log.warning(
            "chain reorganised",
            back_to=None if standing is None else standing.number,
            head=head.number,
            orphaned=len(gone),
        )
        return standing

    # -- deals --------------------------------------------------------------------------------------------------

    def _open_deals(self) -> None:
        pending = self._book.pending(self._clock())
        if not pending:
            return
        with self._leases.hold("deals") as mine:
            room = MAX_TASKS
            for deal in pending if mine else ():
                room -= self._open(deal, room)
                if room <= 0:
                    return

    def _open(self, pending: PendingDeal, room: int) -> int:
        """Make up to ``room`` tasks of a deal; how many."""
        try:
            deal = read_deal(self._hub, pending.deal_id)
        except DealUnreadableError as error:
            status = self._book.postpone(pending.deal_id, error.message, self._clock())
            _log.warning("deal not readable", deal=pending.deal_id, status=status.value, detail=error.message)
            return 0
        except UnavailableError as error:
            self._book.postpone(pending.deal_id, error.message, self._clock(), counts=False)
            raise
        reason = rejection(deal, self._chain_clock(), self._owner)
        if reason:
            _log.warning("deal rejected", deal=pending.deal_id, reason=reason)
            self._book.settle(pending.deal_id, DealStatus.REJECTED, reason)
            return 0
        # A crash before the last line repeats this: tasks that exist are not made again.
        indexes = deal.deal.indexes[pending.opened : pending.opened + room]
        for index in indexes:
            self._state.open_task(deal, index, pending.block)
            self._queue.request(deal.task_id(index))
        if pending.opened + len(indexes) < len(deal.deal.indexes):
            self._book.progress(pending.deal_id, pending.opened + len(indexes))
        else:
            self._book.settle(pending.deal_id, DealStatus.ACCEPTED)
            _log.info("deal accepted", deal=pending.deal_id, block=pending.block, tasks=deal.deal.bot_size)
        return len(indexes)
