"""Publishing and withdrawing through the HTTP interface, over a real chain (acceptance cases 1 to 18)."""

from __future__ import annotations

import re
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import httpx2
import pytest
from tests.market.conftest import Bazaar, make_trade, match

from adyton.base.types import ZERO_ADDRESS, Bytes32
from adyton.chain.orders import AppOrder, DatasetOrder, OrderKind, RequestOrder, WorkerpoolOrder
from adyton.chain.wallet import Wallet
from adyton.market.wire import sign_challenge
from adyton.web.client import AnswerError

if TYPE_CHECKING:
    from tests.conftest import Chain

TEE = Bytes32("0x" + "00" * 31 + "03")


def refusal(caught: pytest.ExceptionInfo[AnswerError]) -> tuple[int, str]:
    return caught.value.status, httpx2.Response(200, text=caught.value.body).json()["error"]


def login(bazaar: Bazaar, wallet: Wallet) -> str:
    document = bazaar.get("/challenge", address=wallet.address).json()
    return str(sign_challenge(document, wallet, bazaar.chain.deployment.chain_id))


def write(bazaar: Bazaar, method: str, path: str, body: object, token: str | None) -> tuple[int, Any]:
    headers = {} if token is None else {"authorization": token}
    chain_id = bazaar.chain.deployment.chain_id
    answer = httpx2.request(method, f"{bazaar.url}{path}?chainId={chain_id}", json=body, headers=headers)
    return answer.status_code, answer.json()


@pytest.mark.parametrize("kind", [OrderKind.APP, OrderKind.DATASET, OrderKind.WORKERPOOL])
def test_a_published_order_is_listed_and_found_by_its_hash(bazaar: Bazaar, owner: Wallet, kind: OrderKind) -> None:
    resource = bazaar.create(kind, owner)
    order = bazaar.sign(kind.order_class(**{kind: resource, "volume": 7}), owner)
    code, answer = write(bazaar, "POST", f"/{kind}orders", {"order": order.to_json()}, login(bazaar, owner))
    assert (code, answer["ok"]) == (200, True)
    published = answer["published"]
    assert published["orderHash"] == order.hash(bazaar.chain.hub.domain())
    assert (published["signer"], published["remaining"], published["status"]) == (owner.address, 7, "open")
    assert published["chainId"] == bazaar.chain.deployment.chain_id
    assert re.fullmatch(r"\d{4}-\d{2}-\d{2}T\d{2}:\d{2}:\d{2}\.\d{3}Z", published["publicationTimestamp"])
    assert published["order"]["volume"] == 7
    assert published.get("bulk") == (False if kind is OrderKind.DATASET else None)
    assert bazaar.client.find(kind, **{kind: resource})["orders"] == [published]
    single = bazaar.client.get(kind, published["orderHash"])
    assert single["order"] == published["order"]
    assert single["chainId"] == str(bazaar.chain.deployment.chain_id)
    assert "bulk" not in single


def test_the_same_order_is_not_published_twice(bazaar: Bazaar, owner: Wallet) -> None:
    order = bazaar.sign(AppOrder(app=bazaar.create(OrderKind.APP, owner)), owner)
    bazaar.publish(order, owner)
    with pytest.raises(AnswerError) as caught:
        bazaar.publish(order, owner)
    assert refusal(caught) == (403, "order already published")


def test_logins_that_prove_nothing(bazaar: Bazaar, owner: Wallet, chain: Chain) -> None:
    other = chain.funded_wallet()
    body = {"order": bazaar.sign(AppOrder(app=bazaar.create(OrderKind.APP, owner)), owner).to_json()}
    token = login(bazaar, owner)
    digest, signature, address = token.split("_")
    tokens = {
        "none": None,
        "no token": "bearer",
        "another address": f"{digest}_{signature}_{other.address}",
        "another digest": f"0x{'11' * 32}_{signature}_{address}",
        "another signature": f"{digest}_{login(bazaar, other).split('_')[1]}_{address}",
        "zero address": f"{digest}_{signature}_{ZERO_ADDRESS}",
    }
    for name, wrong in tokens.items():
        assert write(bazaar, "POST", "/apporders", body, wrong) == (
            403,
            {"ok": False, "error": "invalid authorization"},
        ), name
    assert write(bazaar, "POST", "/apporders", {}, token)[0] == 400  # good: none of the above used it up
    assert write(bazaar, "POST", "/apporders", body, token)[0] == 403  # used up, though the publish failed


def test_the_challenge_stays_until_it_is_used(bazaar: Bazaar, owner: Wallet) -> None:
    first = bazaar.get("/challenge", address=owner.address).json()
    assert bazaar.get("/challenge", address=owner.address.lower()).json() == first
    assert first["data"]["domain"] == {
        "name": "iExec Gateway",
        "version": "1",
        "chainId": str(bazaar.chain.deployment.chain_id),
    }
    write(bazaar, "POST", "/apporders", {}, login(bazaar, owner))
    assert bazaar.get("/challenge", address=owner.address).json() != first


def test_only_the_owner_publishes_and_signs(bazaar: Bazaar, owner: Wallet, chain: Chain) -> None:
    other = chain.funded_wallet()
    order = bazaar.sign(AppOrder(app=bazaar.create(OrderKind.APP, owner)), owner)
    cases = [
        (order, other, f"only order signer {owner.address} can publish an order"),
        (replace(order, appprice=3), owner, "invalid sign"),
        (replace(order, sign="0x1234"), owner, "invalid sign"),
        (bazaar.sign(AppOrder(app=other.address), owner), owner, "Resource not deployed"),
    ]
    for wrong, wallet, text in cases:
        with pytest.raises(AnswerError) as caught:
            bazaar.publish(wrong, wallet)
        assert refusal(caught) == (403, text)


def test_open_orders_of_a_wallet_are_capped(bazaar: Bazaar, owner: Wallet) -> None:
    app = bazaar.create(OrderKind.APP, owner)
    for _ in range(5):
        bazaar.publish(bazaar.sign(AppOrder(app=app), owner), owner)
    with pytest.raises(AnswerError) as caught:
        bazaar.publish(bazaar.sign(AppOrder(app=app), owner), owner)
    expected = f"maximum of 5 published open apporder has been reached for wallet {owner.address}"
    assert refusal(caught) == (403, expected)


def test_a_pool_owner_needs_the_stake_of_its_order(bazaar: Bazaar, owner: Wallet) -> None:
    pool = bazaar.create(OrderKind.WORKERPOOL, owner)
    bazaar.deposit(owner, 10)
    order = WorkerpoolOrder(workerpool=pool, workerpoolprice=4)  # 30 % rounded down: 1 for each task
    bazaar.publish(bazaar.sign(replace(order, volume=10), owner), owner)
    with pytest.raises(AnswerError) as caught:
        bazaar.publish(bazaar.sign(replace(order, volume=11), owner), owner)
    assert refusal(caught) == (403, "workerpool owner's stake is too low to cover required workerpool lock")


def test_a_request_needs_stake_and_offers_that_fit(bazaar: Bazaar, owner: Wallet, chain: Chain) -> None:
    requester = chain.funded_wallet()
    trade = make_trade(bazaar, owner, requester)

    def attempt(request: RequestOrder) -> tuple[int, str]:
        with pytest.raises(AnswerError) as caught:
            bazaar.publish(bazaar.sign(request, requester), requester)
        return refusal(caught)

    assert attempt(trade.request) == (
        403,
        "requester stake is too low to cover requestorder payment, minimum stake required is 3 nRLC",
    )
    bazaar.deposit(requester, 10)
    app, dataset = trade.app.app, trade.dataset.dataset
    assert attempt(trade.request) == (403, f"No apporder published for app {app}")
    bazaar.publish(trade.app, owner)
    assert attempt(replace(trade.request, tag=TEE)) == (403, f"No tee enabled apporder published for app {app}")
    low = f"appmaxprice for app {app} is too low, actual best price is 1 nRLC"
    assert attempt(replace(trade.request, appmaxprice=0)) == (403, low)
    assert attempt(trade.request) == (403, f"No datasetorder published for dataset {dataset}")
    private = replace(trade.dataset, apprestrict=owner.address)
    bazaar.publish(bazaar.sign(private, owner), owner)
    assert attempt(trade.request) == (403, f"No datasetorder published for dataset {dataset}")
    bazaar.publish(trade.dataset, owner)
    low = f"datasetmaxprice for dataset {dataset} is too low, actual best price is 1 nRLC"
    assert attempt(replace(trade.request, datasetmaxprice=0)) == (403, low)
    order_hash = bazaar.publish(trade.request, requester)
    assert bazaar.status(OrderKind.REQUEST, order_hash) == ("open", 1)


def test_a_used_order_is_not_published(bazaar: Bazaar, owner: Wallet, chain: Chain) -> None:
    requester = chain.funded_wallet()
    trade = make_trade(bazaar, owner, requester)
    bazaar.deposit(requester, 10)
    bazaar.deposit(owner, 10)
    match(bazaar, trade, requester)
    with pytest.raises(AnswerError) as caught:
        bazaar.publish(trade.dataset, owner)
    assert refusal(caught) == (403, "order already consumed")


def test_withdrawing_one_the_last_and_all(bazaar: Bazaar, owner: Wallet, chain: Chain) -> None:
    app, kept_app = bazaar.create(OrderKind.APP, owner), bazaar.create(OrderKind.APP, owner)
    hashes = [bazaar.publish(bazaar.sign(AppOrder(app=app), owner), owner) for _ in range(4)]
    kept = bazaar.publish(bazaar.sign(AppOrder(app=kept_app), owner), owner)
    unpublish = bazaar.client.unpublish
    assert unpublish(OrderKind.APP, owner, order_hash=hashes[0]) == [hashes[0]]
    with pytest.raises(AnswerError) as caught:
        bazaar.client.get(OrderKind.APP, hashes[0])
    assert refusal(caught) == (404, "apporder not found")
    with pytest.raises(AnswerError) as caught:
        unpublish(OrderKind.APP, owner, order_hash=hashes[0])
    assert refusal(caught) == (403, f"apporder with orderHash {hashes[0]} is not published")
    with pytest.raises(AnswerError) as caught:
        unpublish(OrderKind.APP, chain.funded_wallet(), order_hash=hashes[1])
    assert refusal(caught) == (403, f"only order signer {owner.address} can unpublish an order")
    assert unpublish(OrderKind.APP, owner, target="unpublish_last", resource=app) == [hashes[3]]
    assert set(unpublish(OrderKind.APP, owner, target="unpublish_all", resource=app)) == {hashes[1], hashes[2]}
    with pytest.raises(AnswerError) as caught:
        unpublish(OrderKind.APP, owner, target="unpublish_all", resource=app)
    assert refusal(caught) == (403, f"no open apporder published by signer {owner.address} for app {app}")
    assert bazaar.status(OrderKind.APP, kept) == ("open", 1)


def test_withdrawing_an_offer_buries_the_requests_that_need_it(bazaar: Bazaar, owner: Wallet, chain: Chain) -> None:
    requester = chain.funded_wallet()
    bazaar.deposit(requester, 100)
    trade = make_trade(bazaar, owner, requester)
    cheap = bazaar.publish(trade.app, owner)
    bazaar.publish(trade.dataset, owner)
    bazaar.publish(bazaar.sign(replace(trade.app, appprice=2), owner), owner)
    needs_cheap = bazaar.publish(trade.request, requester)
    generous = bazaar.publish(bazaar.sign(replace(trade.request, appmaxprice=2), requester), requester)
    bazaar.client.unpublish(OrderKind.APP, owner, order_hash=cheap)
    assert bazaar.status(OrderKind.REQUEST, needs_cheap) == ("dead", 1)
    assert bazaar.status(OrderKind.REQUEST, generous) == ("open", 1)
    bazaar.publish(trade.app, owner)  # it may come back, and then the request may be published again
    assert bazaar.publish(trade.request, requester) == needs_cheap
    assert bazaar.status(OrderKind.REQUEST, needs_cheap) == ("open", 1)


def test_free_large_dataset_orders_are_marked_as_bulk(bazaar: Bazaar, owner: Wallet) -> None:
    dataset = bazaar.create(OrderKind.DATASET, owner)
    bulk = bazaar.publish(bazaar.sign(DatasetOrder(dataset=dataset, volume=2**53 - 1), owner), owner)
    bazaar.publish(bazaar.sign(DatasetOrder(dataset=dataset, datasetprice=1, volume=2**53 - 1), owner), owner)
    assert [found["bulk"] for found in bazaar.client.find(OrderKind.DATASET, dataset=dataset)["orders"]] == [
        True,
        False,
    ]
    only = bazaar.client.find(OrderKind.DATASET, dataset=dataset, bulkOnly=True)["orders"]
    assert [found["orderHash"] for found in only] == [bulk]
