"""What the scheduler asks of the chain about a task: statuses, blocks of events, the pool owner's transactions."""

from __future__ import annotations

from typing import Final

from adyton.base.types import Address, Bytes32, from_hex
from adyton.chain.events import TOPICS
from adyton.chain.models import Contribution, ContributionStatus, Task
from adyton.chain.rpc import Log, Receipt
from adyton.workerpool.access import ChainAccess
from adyton.workerpool.consensus import worker_weight

SCHEDULER_NOTICE: Final = TOPICS["SchedulerNotice"]
TASK_INITIALIZE: Final = TOPICS["TaskInitialize"]
TASK_CONSENSUS: Final = TOPICS["TaskConsensus"]


class OnChain:
    """Reads and transactions of the pool's owner.

    Args:
        access: node, hub and the owner's account.
    """

    def __init__(self, access: ChainAccess) -> None:
        self._access = access

    def task(self, task_id: Bytes32) -> Task | None:
        """The task as the chain has it."""
        return self._access.hub.view_task(task_id)

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
        """Finalize a revealed task; errors as :meth:`initialize`."""
        callback = from_hex(callback_data) if callback_data else b""
        calldata = self._access.hub.finalize(task_id, result_link.encode(), callback)
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

    def notices(self, pool: Address, from_block: int, to_block: int) -> list[tuple[Bytes32, int]]:
        """Deals of the pool in a range of blocks, with their blocks."""
        topics = [SCHEDULER_NOTICE, address_topic(pool)]
        logs = self._access.rpc.logs(self._access.hub.address, topics, from_block, to_block)
        return [(Bytes32("0x" + log.data[:32].hex()), log.block_number) for log in logs]

    def head(self) -> int:
        """The newest block's number."""
        return self._access.rpc.block_number()


def address_topic(address: Address) -> Bytes32:
    """An address as an indexed event argument: left-padded to 32 bytes."""
    return Bytes32("0x" + "00" * 12 + address[2:].lower())
