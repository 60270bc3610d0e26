"""The book follows the chain (acceptance cases 34 to 42)."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from tests.market.conftest import Bazaar, Trade, make_trade, match

from adyton.base.db import open_engine
from adyton.base.types import Bytes32
from adyton.chain import calldata
from adyton.chain.calldata import AssetKind, RegistryCalls
from adyton.chain.orders import AppOrder, OrderKind, RequestOrder, WorkerpoolOrder
from adyton.chain.wallet import Wallet
from adyton.market.chain_view import HubView
from adyton.market.cleanup import Cleanup
from adyton.market.repo import Repo
from adyton.market.rules import Status
from adyton.market.tables import order_row
from adyton.market.watcher import CHECKPOINT, LAST_BLOCK, Watcher

if TYPE_CHECKING:
    from tests.conftest import Chain


def funded_trade(bazaar: Bazaar, owner: Wallet, **volumes: int) -> tuple[Trade, Wallet]:
    requester = bazaar.chain.funded_wallet()
    bazaar.deposit(owner, 1_000)
    bazaar.deposit(requester, 1_000)
    return make_trade(bazaar, owner, requester, **volumes), requester


def publish_all(bazaar: Bazaar, trade: Trade, owner: Wallet, requester: Wallet) -> dict[OrderKind, Bytes32]:
    orders = (trade.app, trade.dataset, trade.workerpool, trade.request)
    return {order.kind: bazaar.publish(order, requester if order is trade.request else owner) for order in orders}


def test_a_match_fills_the_orders_and_is_listed_as_a_deal(bazaar: Bazaar, owner: Wallet) -> None:
    trade, requester = funded_trade(bazaar, owner)
    hashes = publish_all(bazaar, trade, owner, requester)
    match(bazaar, trade, requester)
    bazaar.settle()
    assert {bazaar.status(kind, order_hash) for kind, order_hash in hashes.items()} == {("filled", 0)}
    found = bazaar.client.deals(requester=requester.address)
    assert found["count"] == 1
    deal = found["deals"][0]
    assert deal["app"] == {"pointer": trade.app.app, "price": 1, "owner": owner.address}
    assert (deal["volume"], deal["botFirst"], deal["botSize"], deal["trust"]) == (1, 0, 1, 1)
    assert deal["chainId"] == bazaar.chain.deployment.chain_id
    by_id = bazaar.get(f"/deals/{deal['dealid']}").json()
    assert by_id == {"ok": True, **deal}
    filters = {
        "beneficiary": requester.address,
        "app": trade.app.app,
        "dataset": trade.dataset.dataset,
        "workerpool": trade.workerpool.workerpool,
        "appOwner": owner.address,
        "apporderHash": hashes[OrderKind.APP],
        "datasetorderHash": hashes[OrderKind.DATASET],
        "workerpoolorderHash": hashes[OrderKind.WORKERPOOL],
        "requestorderHash": hashes[OrderKind.REQUEST],
    }
    for name, value in filters.items():
        assert bazaar.client.deals(**{name: value})["deals"] == [deal], name
    assert bazaar.client.deals(requester=owner.address)["count"] == 0
    assert [deal["blockTimestamp"], 1, 1] in bazaar.get("/ohlc", category=0).json()["ohlc"]


def test_a_partial_match_leaves_the_rest_open(bazaar: Bazaar, owner: Wallet) -> None:
    trade, requester = funded_trade(bazaar, owner, app=105, dataset=205, workerpool=35, request=5)
    hashes = publish_all(bazaar, trade, owner, requester)
    match(bazaar, trade, requester)
    bazaar.settle()
    assert {kind: bazaar.status(kind, order_hash) for kind, order_hash in hashes.items()} == {
        OrderKind.APP: ("open", 100),
        OrderKind.DATASET: ("open", 200),
        OrderKind.WORKERPOOL: ("open", 30),
        OrderKind.REQUEST: ("filled", 0),
    }
    assert bazaar.client.find(OrderKind.APP, app=trade.app.app, minVolume=101)["count"] == 0


def test_a_cancelled_offer_leaves_the_list_and_buries_its_requests(bazaar: Bazaar, owner: Wallet) -> None:
    trade, requester = funded_trade(bazaar, owner)
    hashes = publish_all(bazaar, trade, owner, requester)
    close = calldata.HubCalls.manage_order(OrderKind.DATASET, trade.dataset, calldata.OrderOperation.CLOSE)
    bazaar.chain.sender(owner).send(bazaar.chain.hub.address, close)
    bazaar.settle()
    assert bazaar.status(OrderKind.DATASET, hashes[OrderKind.DATASET]) == ("canceled", 0)
    assert bazaar.status(OrderKind.REQUEST, hashes[OrderKind.REQUEST]) == ("dead", 1)
    assert bazaar.status(OrderKind.APP, hashes[OrderKind.APP]) == ("open", 1)
    assert bazaar.client.find(OrderKind.DATASET, dataset=trade.dataset.dataset)["count"] == 0


def test_withdrawn_stake_buries_what_it_no_longer_backs(bazaar: Bazaar, owner: Wallet) -> None:
    pool = bazaar.create(OrderKind.WORKERPOOL, owner)
    bazaar.deposit(owner, 100)
    offers = {(36, 3): "open", (37, 3): "dead", (104, 1): "dead", (0, 9): "open"}  # stake needed: 30, 33, 31, 0
    hashes = {
        offer: bazaar.publish(
            bazaar.sign(WorkerpoolOrder(workerpool=pool, workerpoolprice=offer[0], volume=offer[1]), owner), owner
        )
        for offer in offers
    }
    bazaar.chain.sender(owner).send(bazaar.chain.hub.address, calldata.HubCalls.withdraw(70))
    bazaar.settle()
    assert {offer: bazaar.status(OrderKind.WORKERPOOL, hashes[offer])[0] for offer in offers} == offers


def test_a_sold_asset_buries_the_seller_s_orders_only(bazaar: Bazaar, owner: Wallet, chain: Chain) -> None:
    buyer = chain.funded_wallet()
    sold, kept = bazaar.create(OrderKind.APP, owner), bazaar.create(OrderKind.APP, owner)
    of_sold = bazaar.publish(bazaar.sign(AppOrder(app=sold), owner), owner)
    of_kept = bazaar.publish(bazaar.sign(AppOrder(app=kept), owner), owner)
    registry = chain.hub.registries().of(AssetKind.APP).address
    chain.sender(owner).send(registry, RegistryCalls.transfer_asset(owner.address, buyer.address, sold))
    bazaar.settle()
    assert bazaar.status(OrderKind.APP, of_sold) == ("dead", 1)
    assert bazaar.status(OrderKind.APP, of_kept) == ("open", 1)
    assert bazaar.client.find(OrderKind.APP, appOwner=owner.address)["count"] == 1


def test_categories_are_indexed(bazaar: Bazaar) -> None:
    bazaar.settle()
    found = bazaar.get("/categories").json()
    on_chain = bazaar.chain.hub.view_categories()
    assert found["count"] == len(on_chain)
    assert [each["workClockTimeRef"] for each in found["categories"]] == sorted(
        each.work_clock_time_ref for each in on_chain
    )
    one = bazaar.get("/categories/0").json()
    assert (one["ok"], one["catid"], one["name"]) == (True, 0, on_chain[0].name)
    assert one["chainId"] == str(bazaar.chain.deployment.chain_id)
    shortest = found["categories"][0]["workClockTimeRef"]
    only = bazaar.get("/categories", maxWorkClockTimeRef=shortest).json()
    assert {each["workClockTimeRef"] for each in only["categories"]} == {shortest}
    missing = bazaar.get("/categories/999")
    assert (missing.status_code, missing.json()) == (404, {"ok": False, "error": "category not found"})


def test_a_follower_starts_where_the_last_one_stopped(bazaar: Bazaar, owner: Wallet, tmp_path: Path) -> None:
    chain = bazaar.chain
    view = HubView(chain.hub)
    repo = Repo(open_engine(tmp_path / "market.sqlite"), "test")
    cleanup = Cleanup(repo, view)

    def follow(confirmations: int = 1_000_000) -> None:
        Watcher(view, repo, cleanup, chain.deployment.chain_id, 0, 7, confirmations).catch_up()

    follow()
    seen = repo.block(LAST_BLOCK)
    assert seen == chain.rpc.block_number()
    assert repo.block(CHECKPOINT) is None
    trade, requester = funded_trade(bazaar, owner)
    match(bazaar, trade, requester)  # while nobody follows
    row = order_row(trade.app, trade.app.hash(view.domain), owner.address, 1, "2026-01-01T00:00:00.000Z")
    repo.publish(row, 5)
    repo.set_block(LAST_BLOCK, seen)
    follow()
    found = repo.order(trade.app.hash(view.domain))
    assert found is not None
    assert (found.status, found.remaining) == (Status.FILLED, 0)
    # An order that came in after its match was read is found by the second reading.
    late = trade.dataset
    repo.publish(order_row(late, late.hash(view.domain), owner.address, 1, "2026-01-01T00:00:00.000Z"), 5)
    follow(confirmations=0)
    found = repo.order(late.hash(view.domain))
    assert found is not None
    assert found.status is Status.FILLED
    assert repo.block(CHECKPOINT) == repo.block(LAST_BLOCK)


def test_a_chain_that_was_reset_is_read_again(bazaar: Bazaar, tmp_path: Path) -> None:
    view = HubView(bazaar.chain.hub)
    repo = Repo(open_engine(tmp_path / "market.sqlite"), "test")
    repo.set_block(LAST_BLOCK, 10**9)
    repo.set_block(CHECKPOINT, 10**9)
    Watcher(view, repo, Cleanup(repo, view), 134, 0, 1000, 5).catch_up()
    head = bazaar.chain.rpc.block_number()
    assert repo.block(LAST_BLOCK) == head


def test_metrics_count_open_orders(bazaar: Bazaar, owner: Wallet) -> None:
    before = bazaar.client.metrics()
    bazaar.publish(bazaar.sign(AppOrder(app=bazaar.create(OrderKind.APP, owner)), owner), owner)
    after = bazaar.client.metrics()
    assert after["apporders"] == before["apporders"] + 1
    assert set(after) == {
        "ok", "lastBlock", "checkpointBlock", "apporders", "datasetorders", "workerpoolorders", "requestorders",
    }  # fmt: skip


def test_a_dead_request_of_a_poorer_requester(bazaar: Bazaar, owner: Wallet) -> None:
    trade, requester = funded_trade(bazaar, owner)
    bazaar.publish(trade.app, owner)
    bazaar.publish(trade.dataset, owner)
    request: RequestOrder = trade.request
    order_hash = bazaar.publish(request, requester)
    bazaar.chain.sender(requester).send(bazaar.chain.hub.address, calldata.HubCalls.withdraw(998))
    bazaar.settle()
    assert bazaar.status(OrderKind.REQUEST, order_hash) == ("dead", 1)
