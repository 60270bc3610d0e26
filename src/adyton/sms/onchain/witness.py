"""The chain as several nodes show it: what they do not all say alike is not believed.

One node can be lied to, or lie. With witnesses configured, every fact is asked of each of them; a node that is a block
behind gets a little time to catch up, then the request is refused as if no node answered.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from typing import Final, TypeVar

from adyton.base.errors import UnavailableError
from adyton.base.types import Address, Bytes32
from adyton.chain.contracts import AssetKind
from adyton.chain.orders import DatasetOrder
from adyton.sms.onchain.view import AppFacts, DatasetFacts, DealFacts, Head, NodeView, OrderFacts, TaskFacts

T = TypeVar("T")
_TRIES: Final = 4


class DisagreementError(UnavailableError):
    """Two nodes say different things about the chain."""

    code = "sms.chain.disagree"
    hint = "compare the configured nodes: one is behind, on another fork, or lying"


class AgreeingView:
    """A :class:`~adyton.sms.onchain.view.ChainView` of several.

    Args:
        nodes: at least one.
        block_time_s: seconds between two blocks; what a lagging node has to catch up, all in all.
        sleep: waits.
    """

    def __init__(
        self, nodes: Sequence[NodeView], block_time_s: float, *, sleep: Callable[[float], None] = time.sleep
    ) -> None:
        self._nodes = tuple(nodes)
        self._pause_s = block_time_s / (_TRIES - 1)
        self._sleep = sleep

    def head(self) -> Head:
        """The newest block that all have; they must be on one fork up to there."""
        oldest = min((node.head() for node in self._nodes), key=lambda head: (head.number, head.timestamp))
        if self._agreed(f"block {oldest.number}", lambda node: node.block_hash(oldest.number)) is None:
            raise DisagreementError(f"no node has block {oldest.number} any more")
        return oldest

    def task(self, task_id: Bytes32) -> TaskFacts | None:
        """A task that was initialized."""
        return self._agreed(f"task {task_id}", lambda node: node.task(task_id))

    def deal(self, deal_id: Bytes32) -> DealFacts | None:
        """A deal whose category is readable."""
        return self._agreed(f"deal {deal_id}", lambda node: node.deal(deal_id))

    def app(self, address: Address) -> AppFacts | None:
        """An app contract."""
        return self._agreed(f"app {address}", lambda node: node.app(address))

    def dataset(self, address: Address) -> DatasetFacts | None:
        """A dataset contract."""
        return self._agreed(f"dataset {address}", lambda node: node.dataset(address))

    def owner(self, address: Address) -> Address | None:
        """What ``owner()`` of a contract returns."""
        return self._agreed(f"the owner of {address}", lambda node: node.owner(address))

    def asset_kind(self, address: Address) -> AssetKind | None:
        """The registry that made ``address``, if one did."""
        return self._agreed(f"the registry of {address}", lambda node: node.asset_kind(address))

    def order_facts(self, order: DatasetOrder, deal: DealFacts) -> OrderFacts:
        """What decides whether a dataset order goes with a deal."""
        return self._agreed(f"an order of {order.dataset}", lambda node: node.order_facts(order, deal))

    def accepts_signature(self, account: Address, digest: bytes, signature: bytes) -> bool | None:
        """What a contract account says of a signature (ERC-1271)."""
        what = f"a signature by {account}"
        return self._agreed(what, lambda node: node.accepts_signature(account, digest, signature))

    def _agreed(self, what: str, read: Callable[[NodeView], T]) -> T:
        for attempt in range(_TRIES):
            if attempt:
                self._sleep(self._pause_s)
            first, *others = (read(node) for node in self._nodes)
            if all(other == first for other in others):
                return first
        raise DisagreementError(f"{len(self._nodes)} nodes do not say the same about {what}")
