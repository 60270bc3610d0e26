"""What the market asks the chain, over the hub and its registries."""

from __future__ import annotations

from functools import cached_property
from typing import Protocol

from adyton.base.errors import NotFoundError
from adyton.base.types import Address, Bytes32, from_hex
from adyton.chain.calldata import AssetKind
from adyton.chain.contracts import Hub, Registries, owner_of
from adyton.chain.eip712 import Domain
from adyton.chain.orders import OrderKind


class ChainView(Protocol):
    """Reads that publishing and cleaning up need."""

    @property
    def domain(self) -> Domain:
        """The hub's EIP-712 domain."""

    def owner(self, kind: OrderKind, resource: Address) -> Address | None:
        """The owner of an app, dataset or workerpool; None when it is not in its registry."""

    def verify(self, signer: Address, order_hash: Bytes32, sign: str) -> bool:
        """Whether the hub accepts the signature."""

    def consumed(self, order_hashes: list[Bytes32]) -> list[int]:
        """How much of each order has been used."""

    def stake(self, account: Address) -> int:
        """What an account has free in the hub, nRLC."""


class HubView:
    """:class:`ChainView` over a real hub; domain and registries are read once."""

    def __init__(self, hub: Hub) -> None:
        self.hub = hub

    @cached_property
    def domain(self) -> Domain:
        """The hub's EIP-712 domain."""
        return self.hub.domain()

    @cached_property
    def registries(self) -> Registries:
        """The hub's registries."""
        return self.hub.registries()

    def owner(self, kind: OrderKind, resource: Address) -> Address | None:
        """The owner of an app, dataset or workerpool; None when it is not in its registry."""
        if not self.registries.of(AssetKind(kind)).is_registered(resource):
            return None
        try:
            return owner_of(self.hub.rpc, resource)
        except NotFoundError:
            return None

    def verify(self, signer: Address, order_hash: Bytes32, sign: str) -> bool:
        """Whether the hub accepts the signature; one of a wrong length, which makes it revert, it does not."""
        return self.hub.verify_signature(signer, order_hash, from_hex(sign))

    def consumed(self, order_hashes: list[Bytes32]) -> list[int]:
        """How much of each order has been used."""
        return self.hub.view_consumed_many(order_hashes)

    def stake(self, account: Address) -> int:
        """What an account has free in the hub, nRLC."""
        return self.hub.view_account(account).stake
