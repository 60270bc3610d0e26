"""Bulk tasks on the real chain: what the hub says of real orders, and a session made of them."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from tests.chain.lifecycle import Market
from tests.conftest import Chain
from tests.sms.support import MRENCLAVE, Service, authorization, running

from adyton.base.secret import Secret
from adyton.base.types import ZERO_BYTES32, Address
from adyton.chain import tags
from adyton.chain.contracts import Hub, OrderOperation
from adyton.chain.events import AssetTransfer, OrdersMatched, find
from adyton.chain.hashing import task_id
from adyton.chain.orders import INFINITE_VOLUME, DatasetOrder, OrderKind, sign_order
from adyton.sms.client import SmsClient
from adyton.sms.onchain.hub_view import HubView
from adyton.sms.onchain.view import DealFacts
from adyton.sms.wire import IPFS_TOKEN

TAG = tags.encode(["tee", "scone"])
LIST, SLICE = "QmList", "QmSlice"


@pytest.fixture(scope="module")
def market(chain: Chain) -> Market:
    opened = Market.open(chain)
    apps, developer = opened.registries.app, opened.developer
    call = apps.create_app(developer.address, "enclave", "DOCKER", b"registry/app:1", ZERO_BYTES32, MRENCLAVE.encode())
    (created,) = find(developer.sender.send(apps.address, call).logs, AssetTransfer, apps.address)
    return replace(opened, app=created.asset)


@pytest.fixture(scope="module")
def bought(market: Market) -> OrdersMatched:
    """A deal whose params name a bulk, and its first task, initialized."""
    app, dataset, pool, request = market.orders(TAG)
    asked = replace(request, params=json.dumps({"bulk_cid": LIST}), sign="0x")
    signed = sign_order(asked, market.requester.wallet, market.hub.domain())
    receipt = market.requester.sender.send(market.hub.address, market.hub.match_orders(app, dataset, pool, signed))
    (matched,) = find(receipt.logs, OrdersMatched, market.hub.address)
    market.pool_owner.sender.send(market.hub.address, market.hub.initialize(matched.deal_id, 0))
    return matched


def order(market: Market, dataset: Address | None = None, **changes: object) -> DatasetOrder:
    made = DatasetOrder(dataset=dataset or market.dataset, volume=INFINITE_VOLUME, salt=ZERO_BYTES32)
    return sign_order(replace(made, **changes), market.owner.wallet, market.hub.domain())  # type: ignore[arg-type]  # any fields


def another_dataset(market: Market, name: str) -> Address:
    registry, owner = market.registries.dataset, market.owner
    call = registry.create_dataset(owner.address, name, b"x", ZERO_BYTES32)
    (created,) = find(owner.sender.send(registry.address, call).logs, AssetTransfer, registry.address)
    return created.asset


def seen(chain: Chain, bought: OrdersMatched) -> tuple[HubView, DealFacts]:
    view = HubView(Hub(chain.rpc, chain.deployment.hub), chain.deployment.chain_id)
    deal = view.deal(bought.deal_id)
    assert deal is not None
    return view, deal


def test_what_the_hub_says_of_orders(chain: Chain, market: Market, bought: OrdersMatched) -> None:
    view, deal = seen(chain, bought)
    good = order(market)
    facts = view.order_facts(good, deal)
    assert (facts.signed, facts.consumed, facts.members) == (True, 0, frozenset())
    forged = sign_order(replace(good, sign="0x"), market.requester.wallet, market.hub.domain())
    assert not view.order_facts(forged, deal).signed
    assert not view.order_facts(replace(good, volume=good.volume - 1), deal).signed  # signed for another volume
    nobody = sign_order(replace(good, dataset=market.worker.address), market.owner.wallet, market.hub.domain())
    assert not view.order_facts(nobody, deal).signed


def test_a_revoked_order_is_consumed_and_a_presigned_one_signed(
    chain: Chain, market: Market, bought: OrdersMatched
) -> None:
    view, deal = seen(chain, bought)
    revoked = order(market, another_dataset(market, "revoked"))
    call = market.hub.manage_order(OrderKind.DATASET, revoked, OrderOperation.CLOSE)
    market.owner.sender.send(market.hub.address, call)
    assert view.order_facts(revoked, deal).consumed == revoked.volume
    presigned = replace(order(market, another_dataset(market, "presigned")), sign="0x")
    assert not view.order_facts(presigned, deal).signed
    call = market.hub.manage_order(OrderKind.DATASET, presigned, OrderOperation.SIGN)
    market.owner.sender.send(market.hub.address, call)
    assert view.order_facts(presigned, deal).signed


def test_a_restriction_to_what_is_no_group_has_no_members(chain: Chain, market: Market, bought: OrdersMatched) -> None:
    view, deal = seen(chain, bought)
    for restriction in (market.worker.address, market.dataset, chain.deployment.hub):
        assert view.order_facts(order(market, apprestrict=restriction), deal).members == frozenset()


@pytest.fixture
def service(chain: Chain, tmp_path: Path) -> Iterator[Service]:
    chain.rpc.call("evm_mine")  # instant blocks: without a transaction the head grows old
    deployment = chain.deployment
    settings: dict[str, Any] = {"node_url": chain.url, "hub": deployment.hub, "chain_id": deployment.chain_id}
    with running(tmp_path, real_chain=True, **settings) as started:
        yield started


def test_a_bulk_session(market: Market, bought: OrdersMatched, service: Service) -> None:
    task, other = task_id(bought.deal_id, 0), another_dataset(market, "for another app")
    orders = [order(market), order(market, other, apprestrict=market.worker.address)]
    service.files.files = {
        LIST: json.dumps([SLICE]).encode(),
        SLICE: json.dumps([each.to_json() for each in orders]).encode(),
    }
    client = SmsClient(service.url)
    for dataset in (market.dataset, other):
        client.push_web3(dataset, Secret(f"key of {dataset}"), market.owner.wallet)
    client.push_web2(IPFS_TOKEN, Secret("jwt"), market.worker.wallet)
    challenge = client.challenge(task, market.pool_owner.wallet)
    given = authorization(challenge, worker=market.worker.wallet, pool=market.pool_owner.wallet, task_id=task)
    client.session(given, market.worker.wallet)
    client.close()
    (document,) = service.store.documents
    found = document["services"][0]["environment"]
    assert found["IEXEC_BULK_SLICE_SIZE"] == "2"
    assert found["IEXEC_DATASET_1_KEY"] == f"key of {market.dataset}"
    assert found["IEXEC_DATASET_2_FILENAME"] == other.lower()
    assert found["IEXEC_DATASET_2_KEY"] == found["IEXEC_DATASET_2_URL"] == ""
    assert f"key of {other}" not in repr(document)
