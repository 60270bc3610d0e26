"""A small market place for the tests of this room: assets, orders and deals on the shared chain."""

from __future__ import annotations

from dataclasses import dataclass, replace

from tests.conftest import Chain

from adyton.base.types import ZERO_BYTES32, Address, Bytes32
from adyton.chain.contracts import Hub, Registries
from adyton.chain.events import AssetTransfer, OrdersMatched, find
from adyton.chain.hashing import authorization_hash
from adyton.chain.orders import (
    NULL_DATASET_ORDER,
    AppOrder,
    DatasetOrder,
    RequestOrder,
    WorkerpoolOrder,
    sign_order,
)
from adyton.chain.rpc import Receipt
from adyton.chain.tx import TxSender
from adyton.chain.wallet import Wallet

GWEI = 10**9  # wei per nRLC
APP_PRICE, DATASET_PRICE, POOL_PRICE = 7, 5, 1000


@dataclass(frozen=True)
class Actor:
    """An account with money in the hub."""

    wallet: Wallet
    sender: TxSender

    @property
    def address(self) -> Address:
        return self.wallet.address


@dataclass(frozen=True)
class Market:
    """Everything that a deal needs."""

    chain: Chain
    hub: Hub
    registries: Registries
    developer: Actor
    owner: Actor
    pool_owner: Actor
    requester: Actor
    worker: Actor
    app: Address
    dataset: Address
    pool: Address

    @classmethod
    def open(cls, chain: Chain) -> Market:
        hub = Hub(chain.rpc, chain.deployment.hub)
        registries = hub.registries()
        developer, owner, pool_owner = actor(chain), actor(chain), actor(chain)
        app = _create(
            developer,
            registries.app.address,
            registries.app.create_app(developer.address, "a", "DOCKER", b"image", ZERO_BYTES32, b"{}"),
        )
        dataset = _create(
            owner, registries.dataset.address, registries.dataset.create_dataset(owner.address, "d", b"x", ZERO_BYTES32)
        )
        pool = _create(
            pool_owner,
            registries.workerpool.address,
            registries.workerpool.create_workerpool(pool_owner.address, "p"),
        )
        return cls(chain, hub, registries, developer, owner, pool_owner, actor(chain), actor(chain), app, dataset, pool)

    def orders(
        self, tag: Bytes32 = ZERO_BYTES32, volume: int = 1, *, with_dataset: bool = False
    ) -> tuple[AppOrder, DatasetOrder, WorkerpoolOrder, RequestOrder]:
        """Four orders, signed, that match."""
        domain = self.hub.domain()
        app = AppOrder(app=self.app, appprice=APP_PRICE, volume=100, tag=tag)
        dataset = DatasetOrder(dataset=self.dataset, datasetprice=DATASET_PRICE, volume=100)
        pool = WorkerpoolOrder(workerpool=self.pool, workerpoolprice=POOL_PRICE, volume=100, tag=tag, trust=1)
        request = RequestOrder(
            app=self.app,
            appmaxprice=APP_PRICE,
            workerpoolmaxprice=POOL_PRICE,
            requester=self.requester.address,
            beneficiary=self.requester.address,
            volume=volume,
            tag=tag,
            params='{"iexec_args":"é"}',
        )
        if with_dataset:
            request = replace(request, dataset=self.dataset, datasetmaxprice=DATASET_PRICE)
        return (
            sign_order(app, self.developer.wallet, domain),
            sign_order(dataset, self.owner.wallet, domain) if with_dataset else NULL_DATASET_ORDER,
            sign_order(pool, self.pool_owner.wallet, domain),
            sign_order(request, self.requester.wallet, domain),
        )

    def match(self, tag: Bytes32 = ZERO_BYTES32, volume: int = 1, *, with_dataset: bool = False) -> OrdersMatched:
        """Make a deal and return its event."""
        orders = self.orders(tag, volume, with_dataset=with_dataset)
        receipt = self.requester.sender.send(self.hub.address, self.hub.match_orders(*orders))
        (matched,) = find(receipt.logs, OrdersMatched, self.hub.address)
        return matched

    def authorize(self, task: Bytes32, challenge: Address) -> bytes:
        """The pool owner's word that the worker may compute a task."""
        digest = authorization_hash(self.worker.address, task, challenge)
        return self.pool_owner.wallet.sign_personal(bytes.fromhex(digest[2:]))


def actor(chain: Chain, deposit_nrlc: int = 1_000_000) -> Actor:
    """A fresh account with money on the chain and in the hub."""
    wallet = chain.funded_wallet()
    sender = chain.sender(wallet)
    sender.send(chain.deployment.hub, Hub.deposit(), deposit_nrlc * GWEI)
    return Actor(wallet, sender)


def _create(owner: Actor, registry: Address, calldata: bytes) -> Address:
    receipt: Receipt = owner.sender.send(registry, calldata)
    (created,) = find(receipt.logs, AssetTransfer, registry)
    return created.asset
