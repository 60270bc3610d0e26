"""What the scheduler asks of the chain about a task: statuses, blocks of events, the pool owner's transactions."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final

from adyton.base.errors import InputError, UnavailableError
from adyton.base.types import ZERO_BYTES32, Address, Bytes32, from_hex, parse_bytes32
from adyton.chain.events import TOPICS
from adyton.chain.models import Contribution, ContributionStatus, Task
from adyton.chain.rpc import Block, Log, Receipt
from adyton.workerpool.access import ChainAccess
from adyton.workerpool.consensus import worker_weight
from adyton.workerpool.scheduler.dealbook import Checkpoint
from adyton.workerpool.scheduler.owner import PoolOwner

SCHEDULER_NOTICE: Final = TOPICS["SchedulerNotice"]
TASK_INITIALIZE: Final = TOPICS["TaskInitialize"]
TASK_CONSENSUS: Final = TOPICS["TaskConsensus"]


class OnChain:
    """Reads and transactions of the pool's owner.

    Args:
        access: node, hub and the scheduler's account.
        owner: who owns the pool.
    """

    def __init__(self, access: ChainAccess, owner: PoolOwner) -> None:
        self._access = access
        self._owner = owner

    def task(self, task_id: Bytes32) -> Task | None:
        """The task as the chain has it."""
        return self._access.hub.view_task(task_id)

    def tasks(self, task_ids: Sequence[Bytes32]) -> dict[Bytes32, Task | None]:
        """Several tasks in one request."""
        return dict(zip(task_ids, self._access.hub.view_tasks(task_ids), strict=True))

    def has_deal(self, deal_id: Bytes32) -> bool:
        """Whether the deal is part of the chain."""
        return self._access.hub.view_deal(deal_id) is not None

    def contribution(self, task_id: Bytes32, worker: Address) -> Contribution:
        """A worker's contribution."""
        return self._access.hub.view_contribution(task_id, worker)

    def has_contributed(self, task_id: Bytes32, worker: Address) -> bool:
        """Whether the chain has a contribution of the worker that was not rejected."""
        status = self.contribution(task_id, worker).status
        return status in {ContributionStatus.CONTRIBUTED, ContributionStatus.PROVED}

    def has_revealed(self, task_id: Bytes32, worker: Address) -> bool:
        """Whether the chain has the worker's reveal."""
        return self.contribution(task_id, worker).status is ContributionStatus.PROVED

    def weight(self, worker: Address) -> int:
        """The worker's weight by its score."""
        return worker_weight(self._access.hub.view_score(worker))

    def initialize(self, deal_id: Bytes32, index: int) -> Receipt:
        """Initialize a task.

        Raises:
            RevertError: the chain refuses, for example because somebody else was first.
            UnavailableError: no node, or not mined in time.
        """
        return self._access.sender.send(self._access.hub.address, self._access.hub.initialize(deal_id, index))

    def finalize(self, task_id: Bytes32, result_link: str, callback_data: str) -> Receipt:
        """Finalize a revealed task as the pool's owner; errors as :meth:`initialize`."""
        callback = from_hex(callback_data) if callback_data else b""
        return self._owner.send(self._access.hub.finalize(task_id, result_link.encode(), callback))

    def reopen(self, task_id: Bytes32) -> Receipt:
        """Let others contribute to a task that nobody revealed, as the pool's owner; errors as :meth:`initialize`."""
        return self._owner.send(self._access.hub.reopen(task_id))

    def claim(self, task_id: Bytes32) -> Receipt:
        """Give the requester its money back after the final deadline; errors as :meth:`initialize`."""
        return self._access.sender.send(self._access.hub.address, self._access.hub.claim(task_id))

    def initialize_and_claim(self, deal_id: Bytes32, index: int) -> Receipt:
        """Like :meth:`claim`, of a task that nobody initialized."""
        calldata = self._access.hub.initialize_and_claim_array([deal_id], [index])
        return self._access.sender.send(self._access.hub.address, calldata)

    def event_block(
        self, topic: Bytes32, task_id: Bytes32, from_block: int, worker: Address | None = None
    ) -> Log | None:
        """The log of one of the task's events since ``from_block``, or None."""
        topics: list[Bytes32 | None] = [topic, task_id]
        if worker is not None:
            topics.append(address_topic(worker))
        found = self._access.rpc.logs(self._access.hub.address, topics, from_block, "latest")
        return found[0] if found else None

    def notices(
        self, pool: Address, from_block: int, to_block: int, standing: Checkpoint | None
    ) -> tuple[list[tuple[Bytes32, int]], Checkpoint] | None:
        """Deals of the pool in a range of blocks, with their blocks, and the range's last block.

        The query is in one request with a look at the block before and the last one, so that a node of another branch,
        or one that has not seen the range yet, cannot answer unnoticed.

        Returns:
            None when the chain is not the one of ``standing``, or has not so many blocks.

        Raises:
            UnavailableError: the node does not answer.
        """
        query = {
            "address": self._access.hub.address,
            "topics": [SCHEDULER_NOTICE, address_topic(pool)],
            "fromBlock": hex(from_block),
            "toBlock": hex(to_block),
        }
        before = 0 if standing is None else standing.number
        first, logs, last = self._access.rpc.batch(
            [
                ("eth_getBlockByNumber", [hex(before), False]),
                ("eth_getLogs", [query]),
                ("eth_getBlockByNumber", [hex(to_block), False]),
            ]
        )
        if not first or not last or (standing is not None and first.get("hash") != standing.hash):
            return None
        try:
            found = [(parse_bytes32(log["data"][:66]), int(log["blockNumber"], 16)) for log in logs]
            return found, Checkpoint(to_block, parse_bytes32(last["hash"]))
        except (KeyError, TypeError, ValueError, InputError) as error:
            raise UnavailableError("the node's logs are malformed", code="chain.rpc.unavailable") from error

    def first_standing(self, checkpoints: Sequence[Checkpoint]) -> Checkpoint | None:
        """The first of some checkpoints that is a block of the node's chain."""
        for begin, end in ((0, 1), (1, len(checkpoints))):  # mostly the first is
            part = checkpoints[begin:end]
            blocks = self._access.rpc.batch([("eth_getBlockByNumber", [hex(each.number), False]) for each in part])
            for each, block in zip(part, blocks, strict=True):
                if block and block.get("hash") == each.hash:
                    return each
        return None

    def now(self) -> tuple[Block, float]:
        """The newest block, and the time that the next one would have now, seconds of Unix time."""
        blocks = [("eth_getBlockByNumber", ["latest", False]), ("eth_getBlockByNumber", ["pending", False])]
        latest, pending = self._access.rpc.batch_outcomes(blocks)
        head = _block(latest)
        # Not every node has a pending block.
        return head, float(max(_block(pending).timestamp if isinstance(pending, dict) else 0, head.timestamp))

    def head(self) -> int:
        """The newest block's number."""
        return self._access.rpc.block_number()


def _block(found: Any) -> Block:  # noqa: ANN401  # JSON
    try:
        return Block(
            int(found["number"], 16), parse_bytes32(found["hash"] or ZERO_BYTES32), int(found["timestamp"], 16)
        )
    except (KeyError, TypeError, ValueError, InputError) as error:
        raise UnavailableError("the node's block is malformed", code="chain.rpc.unavailable") from error


def address_topic(address: Address) -> Bytes32:
    """An address as an indexed event argument: left-padded to 32 bytes."""
    return Bytes32("0x" + "00" * 12 + address[2:].lower())
