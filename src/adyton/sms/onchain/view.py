"""What the service asks the chain: facts as plain values, behind one protocol.

:class:`ChainView` is implemented on the hub by :mod:`adyton.sms.onchain.hub_view` and by simulators in tests.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

from adyton.base.types import ZERO_ADDRESS, Address, Bytes32
from adyton.chain.contracts import AssetKind, TaskStatus
from adyton.chain.orders import DatasetOrder


@dataclass(frozen=True, slots=True)
class Head:
    """The newest block; ``timestamp`` in seconds since the epoch."""

    number: int
    timestamp: int


@dataclass(frozen=True, slots=True)
class TaskFacts:
    """An initialized task; ``final_deadline`` in seconds since the epoch."""

    task_id: Bytes32
    status: TaskStatus
    deal_id: Bytes32
    index: int
    final_deadline: int


@dataclass(frozen=True, slots=True)
class DealFacts:
    """A deal: who agreed on what. ``dataset`` and ``callback`` are the zero address when there is none."""

    deal_id: Bytes32
    app: Address
    dataset: Address
    workerpool: Address
    workerpool_owner: Address
    requester: Address
    beneficiary: Address
    callback: Address
    tag: Bytes32
    params: str
    start_time: int
    bot_first: int
    bot_size: int

    @property
    def has_dataset(self) -> bool:
        """Whether a dataset was bought."""
        return self.dataset != ZERO_ADDRESS


@dataclass(frozen=True, slots=True)
class AppFacts:
    """What an app's contract says of its image; ``mrenclave`` is the enclave description, JSON text or empty."""

    multiaddr: str
    checksum: Bytes32
    mrenclave: str


@dataclass(frozen=True, slots=True)
class DatasetFacts:
    """Where a dataset's encrypted bytes are and their SHA-256."""

    uri: str
    checksum: Bytes32


@dataclass(frozen=True, slots=True)
class OrderFacts:
    """What the chain says of a dataset order, for one deal.

    Attributes:
        signed: the dataset's owner signed it, or a contract owner says so, or it was presigned on chain.
        consumed: how much of its volume is used; all of it when the order was revoked.
        members: pairs of a restriction and an address of the deal that belongs to its group (ERC-734).
    """

    signed: bool
    consumed: int
    members: frozenset[tuple[Address, Address]] = frozenset()


class ChainView(Protocol):
    """Reads of the chain.

    Every method raises ``UnavailableError`` when the node does not answer; None means that the node did answer and
    there is no such thing.
    """

    def head(self) -> Head:
        """The newest block."""

    def task(self, task_id: Bytes32) -> TaskFacts | None:
        """A task that was initialized."""

    def deal(self, deal_id: Bytes32) -> DealFacts | None:
        """A deal whose category is readable and which has started."""

    def app(self, address: Address) -> AppFacts | None:
        """An app of the registry."""

    def dataset(self, address: Address) -> DatasetFacts | None:
        """A dataset of the registry."""

    def owner(self, address: Address) -> Address | None:
        """What ``owner()`` of a contract returns; None when there is no such contract or function."""

    def asset_kind(self, address: Address) -> AssetKind | None:
        """The registry that made ``address``, if one did."""

    def order_facts(self, order: DatasetOrder, deal: DealFacts) -> OrderFacts:
        """What decides whether a dataset order goes with a deal."""

    def accepts_signature(self, account: Address, digest: bytes, signature: bytes) -> bool | None:
        """What a contract account says of a signature over 32 bytes (ERC-1271); None when it is none."""


class NodeView(ChainView, Protocol):
    """The chain as one node shows it."""

    def block_hash(self, number: int) -> Bytes32 | None:
        """The hash of a block; None when the node does not have it."""
