"""A market over a real chain, served on a real socket, and assets to trade in."""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar

import httpx2
import pytest
from tests.waiting import until
from tests.web.serving import serving

from adyton.base.types import ZERO_BYTES32, Address, Bytes32
from adyton.chain import calldata
from adyton.chain.calldata import RegistryCalls
from adyton.chain.orders import (
    NULL_DATASET_ORDER,
    AppOrder,
    DatasetOrder,
    Order,
    OrderKind,
    RequestOrder,
    WorkerpoolOrder,
    sign_order,
)
from adyton.chain.wallet import Wallet
from adyton.market.api import build_app
from adyton.market.client import MarketClient
from adyton.market.settings import MarketSettings

if TYPE_CHECKING:
    from tests.conftest import Chain

OrderT = TypeVar("OrderT", bound=Order)
_names = itertools.count()
GWEI = 10**9  # wei in one nRLC
POLL_S = 0.1


@dataclass
class Bazaar:
    """A running market and the people of its chain."""

    chain: Chain
    url: str
    client: MarketClient
    clients: list[httpx2.Client] = field(default_factory=list)

    def get(self, path: str, **query: str | int | None) -> httpx2.Response:
        params = {"chainId": self.chain.deployment.chain_id} | query
        return httpx2.get(self.url + path, params={name: value for name, value in params.items() if value is not None})

    def create(self, kind: OrderKind, owner: Wallet) -> Address:
        """A fresh asset of ``owner``."""
        name = f"asset {next(_names)}"
        registry = self.chain.hub.registries().of(calldata.AssetKind(kind))
        match kind:
            case OrderKind.APP:
                data = RegistryCalls.create_app(owner.address, name, "DOCKER", b"image", ZERO_BYTES32)
                found = registry.predict_app(owner.address, name, "DOCKER", b"image", ZERO_BYTES32)
            case OrderKind.DATASET:
                data = RegistryCalls.create_dataset(owner.address, name, b"file", ZERO_BYTES32)
                found = registry.predict_dataset(owner.address, name, b"file", ZERO_BYTES32)
            case _:
                data = RegistryCalls.create_workerpool(owner.address, name)
                found = registry.predict_workerpool(owner.address, name)
        self.chain.sender(owner).send(registry.address, data)
        return found

    def deposit(self, wallet: Wallet, amount: int) -> None:
        self.chain.sender(wallet).send(self.chain.hub.address, calldata.HubCalls.deposit(), value=amount * GWEI)

    def sign(self, order: OrderT, wallet: Wallet) -> OrderT:
        return sign_order(order, wallet, self.chain.hub.domain())

    def publish(self, order: Order, wallet: Wallet) -> Bytes32:
        return self.client.publish(order.kind, order, wallet)

    def status(self, kind: OrderKind, order_hash: Bytes32) -> tuple[str, int]:
        found = self.client.get(kind, order_hash)
        return found["status"], found["remaining"]

    def settle(self) -> None:
        """Wait until the market has read the chain's head."""
        head = self.chain.rpc.block_number()
        until(lambda: self.client.metrics()["lastBlock"] >= head, what="the market's reading of the chain's head")


@dataclass(frozen=True)
class Trade:
    """Four signed orders that fit together, none of them published."""

    app: AppOrder
    dataset: DatasetOrder
    workerpool: WorkerpoolOrder
    request: RequestOrder


@pytest.fixture(scope="module")
def bazaar(chain: Chain, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Bazaar]:
    with serving(build_app(market_settings(chain, tmp_path_factory.mktemp("market") / "market.sqlite"))) as url:
        client = MarketClient(url, chain.deployment.chain_id)
        yield Bazaar(chain, url, client)
        client.close()


def market_settings(chain: Chain, database: Path, **values: object) -> MarketSettings:
    options: dict[str, object] = {"poll_s": POLL_S, "max_open_orders": 5, "confirmations": 2} | values
    return MarketSettings(
        database=database,
        rpc_url=chain.url,
        chain_id=chain.deployment.chain_id,
        hub=chain.deployment.hub,
        **options,
    )


@pytest.fixture
def owner(chain: Chain) -> Wallet:
    """A wallet with money that owns nothing yet."""
    return chain.funded_wallet()


def make_trade(bazaar: Bazaar, owner: Wallet, requester: Wallet, **volumes: int) -> Trade:
    """Assets of ``owner``, bought by ``requester`` at price 1 each."""
    app, dataset, pool = (
        bazaar.create(kind, owner) for kind in (OrderKind.APP, OrderKind.DATASET, OrderKind.WORKERPOOL)
    )
    return Trade(
        bazaar.sign(AppOrder(app=app, appprice=1, volume=volumes.get("app", 1)), owner),
        bazaar.sign(DatasetOrder(dataset=dataset, datasetprice=1, volume=volumes.get("dataset", 1)), owner),
        bazaar.sign(WorkerpoolOrder(workerpool=pool, workerpoolprice=1, volume=volumes.get("workerpool", 1)), owner),
        bazaar.sign(
            RequestOrder(
                app=app,
                appmaxprice=1,
                dataset=dataset,
                datasetmaxprice=1,
                workerpoolmaxprice=1,
                requester=requester.address,
                beneficiary=requester.address,
                volume=volumes.get("request", 1),
            ),
            requester,
        ),
    )


def match(bazaar: Bazaar, trade: Trade, wallet: Wallet) -> None:
    """Make the deal on the chain."""
    data = calldata.HubCalls.match_orders(
        trade.app, trade.dataset or NULL_DATASET_ORDER, trade.workerpool, trade.request
    )
    bazaar.chain.sender(wallet).send(bazaar.chain.hub.address, data)
