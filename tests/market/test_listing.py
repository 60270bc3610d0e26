"""Filters, order and pages of listings, over the database (acceptance cases 19 to 33)."""

from __future__ import annotations

import itertools
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from adyton.base.db import open_engine
from adyton.base.errors import InputError
from adyton.base.types import Address, Bytes32, parse_address
from adyton.chain.orders import AppOrder, DatasetOrder, Order, OrderKind, RequestOrder, WorkerpoolOrder
from adyton.market.errors import ValidationError
from adyton.market.listing import Listing
from adyton.market.repo import Repo
from adyton.market.rules import Status
from adyton.market.tables import order_row

APP, POOL, DATASET, ALICE, BOB = (parse_address(f"0x{digit * 40}") for digit in "12345")
_numbers = itertools.count(1)


def tag(text: str) -> Bytes32:
    return Bytes32("0x" + text.rjust(64, "0"))


class Shelf:
    """A book without a chain, filled by hand."""

    def __init__(self, folder: Path) -> None:
        self.repo = Repo(open_engine(folder / "market.sqlite"), "test")
        self.listing = Listing(self.repo, 134)

    def put(self, order: Order, signer: Address = ALICE, **changes: object) -> Bytes32:
        number = next(_numbers)
        row = order_row(
            order, Bytes32(f"0x{number:064x}"), signer, order.values()["volume"], f"2026-01-01T00:00:00.{number:03d}Z"
        )
        self.repo.publish(row | changes, 10_000)
        return Bytes32(row["order_hash"])

    def find(self, kind: OrderKind, **query: object) -> list[str]:
        return [found["orderHash"] for found in self.listing.orders(kind, query)["orders"]]


@pytest.fixture
def shelf(tmp_path: Path) -> Shelf:
    return Shelf(tmp_path)


def test_restrictions_absent_any_lenient_and_strict(shelf: Shelf) -> None:
    public = shelf.put(AppOrder(app=APP, appprice=1))
    other_public = shelf.put(AppOrder(app=APP, appprice=2))
    for_pool = shelf.put(AppOrder(app=APP, appprice=3, workerpoolrestrict=POOL))
    for_bob = shelf.put(AppOrder(app=APP, appprice=4, requesterrestrict=BOB))
    for_dataset = shelf.put(AppOrder(app=APP, appprice=5, datasetrestrict=DATASET))
    everything = {"workerpool": "any", "dataset": "any", "requester": "any"}
    assert shelf.find(OrderKind.APP, app=APP) == [public, other_public]
    assert shelf.find(OrderKind.APP, app=APP, isWorkerpoolStrict="true") == [public, other_public]
    assert shelf.find(OrderKind.APP, app=APP, **everything) == [public, other_public, for_pool, for_bob, for_dataset]
    assert shelf.find(OrderKind.APP, app=APP, workerpool=POOL) == [public, other_public, for_pool]
    assert shelf.find(OrderKind.APP, app=APP, workerpool=POOL.lower(), isWorkerpoolStrict="1") == [for_pool]
    assert shelf.find(OrderKind.APP, app=APP, workerpool="any", isWorkerpoolStrict="true") == [
        public,
        other_public,
        for_pool,
    ]
    strict = {"isWorkerpoolStrict": "TRUE", "isRequesterStrict": "true"}
    assert shelf.find(OrderKind.APP, app=APP, workerpool=POOL, requester=BOB, **strict) == []


def test_only_open_orders_are_listed(shelf: Shelf) -> None:
    shown = shelf.put(AppOrder(app=APP))
    for status in (Status.FILLED, Status.CANCELED, Status.DEAD):
        hidden = shelf.put(AppOrder(app=APP))
        shelf.repo.set_status(hidden, status)
        assert shelf.listing.order(OrderKind.APP, hidden)["status"] == status
    assert shelf.find(OrderKind.APP, app=APP) == [shown]


def test_best_price_first_then_oldest(shelf: Shelf) -> None:
    late_cheap, dear = shelf.put(AppOrder(app=APP, appprice=1)), shelf.put(AppOrder(app=APP, appprice=9))
    early_cheap = shelf.put(AppOrder(app=APP, appprice=1), published_at="2025-01-01T00:00:00.000Z")
    assert shelf.find(OrderKind.APP, app=APP) == [early_cheap, late_cheap, dear]
    low = shelf.put(RequestOrder(app=APP, workerpoolmaxprice=1, requester=ALICE))
    high = shelf.put(RequestOrder(app=APP, workerpoolmaxprice=5, requester=ALICE))
    assert shelf.find(OrderKind.REQUEST, app=APP) == [high, low]


TAGS = [tag("00"), tag("03"), tag("0100"), tag("0103"), tag("f" + "0" * 62 + "3")]


@pytest.mark.parametrize(
    ("query", "expected"),
    [
        ({}, [0, 1, 2, 3, 4]),
        ({"minTag": tag("03")}, [1, 3, 4]),
        ({"minTag": tag("0")}, [0, 1, 2, 3, 4]),
        ({"maxTag": tag("0100")}, [0, 2]),
        ({"maxTag": tag("0")}, [0]),
        ({"minTag": tag("03"), "maxTag": tag("03")}, [1]),
        ({"minTag": tag("03"), "maxTag": tag("f" + "0" * 62 + "3").upper().replace("0X", "0x")}, [1, 4]),
    ],
)
def test_tags(shelf: Shelf, query: dict[str, str], expected: list[int]) -> None:
    hashes = [shelf.put(AppOrder(app=APP, tag=each)) for each in TAGS]
    assert shelf.find(OrderKind.APP, app=APP, **query) == [hashes[index] for index in expected]


def test_volume_is_what_remains(shelf: Shelf) -> None:
    small, large = shelf.put(AppOrder(app=APP, volume=1233)), shelf.put(AppOrder(app=APP, volume=1234))
    assert shelf.find(OrderKind.APP, app=APP, minVolume="1234") == [large]
    shelf.repo.set_status(large, Status.OPEN, remaining=1)
    assert shelf.find(OrderKind.APP, app=APP, minVolume="2") == [small]


def test_trust_and_category(shelf: Shelf) -> None:
    pools = [shelf.put(WorkerpoolOrder(workerpool=POOL, trust=trust, category=trust)) for trust in (0, 1, 5)]
    assert shelf.find(OrderKind.WORKERPOOL, minTrust="1") == pools  # 0 and 1 mean the same
    assert shelf.find(OrderKind.WORKERPOOL, minTrust="2") == pools[2:]
    assert shelf.find(OrderKind.WORKERPOOL, category="1") == [pools[1]]
    requests = [shelf.put(RequestOrder(app=APP, requester=ALICE, trust=trust)) for trust in (0, 1, 5)]
    assert shelf.find(OrderKind.REQUEST, maxTrust="0") == requests[:1]
    assert shelf.find(OrderKind.REQUEST, maxTrust="0x1") == requests[:2]


def test_requests_are_filtered_by_their_own_parties(shelf: Shelf) -> None:
    open_pool = shelf.put(RequestOrder(app=APP, requester=ALICE, beneficiary=BOB))
    one_pool = shelf.put(RequestOrder(app=APP, requester=BOB, beneficiary=BOB, workerpool=POOL, dataset=DATASET))

    def find(**query: object) -> list[str]:
        return shelf.find(OrderKind.REQUEST, workerpool="any", **query)

    assert find() == [open_pool, one_pool]
    assert find(requester=BOB) == [one_pool]
    assert find(dataset=DATASET) == [one_pool]
    assert find(beneficiary=BOB) == [open_pool, one_pool]
    assert shelf.find(OrderKind.REQUEST) == [open_pool]
    assert shelf.find(OrderKind.REQUEST, workerpool=POOL) == [open_pool, one_pool]
    assert shelf.find(OrderKind.REQUEST, workerpool=POOL, isWorkerpoolStrict="true") == [one_pool]


def test_owners(shelf: Shelf) -> None:
    of_alice = shelf.put(DatasetOrder(dataset=DATASET), ALICE)
    of_bob = shelf.put(DatasetOrder(dataset=DATASET), BOB)
    assert shelf.find(OrderKind.DATASET, datasetOwner=ALICE) == [of_alice]
    assert shelf.find(OrderKind.DATASET, dataset="any") == [of_alice, of_bob]


def test_pages(shelf: Shelf) -> None:
    hashes = [shelf.put(AppOrder(app=APP, appprice=price)) for price in range(30)]

    def page(**query: object) -> dict[str, Any]:
        return shelf.listing.orders(OrderKind.APP, {"app": APP, **query})

    first = page()
    assert (first["count"], first["nextPage"], len(first["orders"])) == (30, 20, 20)
    assert [each["orderHash"] for each in page(page="20")["orders"]] == hashes[20:]
    assert "nextPage" not in page(page="20")
    assert [each["orderHash"] for each in page(pageIndex="1", pageSize="25")["orders"]] == hashes[25:]
    assert page(pageIndex="100") == {"ok": True, "orders": [], "count": 30}
    assert page(pageSize="10", pageIndex="2")["nextPage"] == 30


@pytest.mark.parametrize(
    ("kind", "query", "text"),
    [
        (OrderKind.APP, {}, "app or appOwner is required"),
        (OrderKind.DATASET, {"isAppStrict": "true"}, "dataset or datasetOwner is required"),
        (OrderKind.APP, {"app": "ANY"}, 'app is neither "any" nor a valid ethereum address'),
        (OrderKind.APP, {"app": ""}, 'app is neither "any" nor a valid ethereum address'),
        (OrderKind.APP, {"appOwner": "any"}, "appOwner is not a valid ethereum address"),
        (
            OrderKind.WORKERPOOL,
            {"isAppStrict": "abc"},
            'isAppStrict must be a `boolean` type, but the final value was: `"abc"`.',
        ),
        (OrderKind.WORKERPOOL, {"minTag": "0x1"}, "minTag must be a bytes32 hexstring"),
        (OrderKind.WORKERPOOL, {"minVolume": "0"}, "minVolume must be greater than or equal to 1"),
        (OrderKind.WORKERPOOL, {"pageSize": "1"}, "pageSize must be greater than or equal to 10"),
        (OrderKind.WORKERPOOL, {"pageSize": "1001"}, "pageSize must be less than or equal to 1000"),
        (OrderKind.WORKERPOOL, {"pageIndex": "-1"}, "pageIndex must be greater than or equal to 0"),
        (OrderKind.WORKERPOOL, {"category": "1.5"}, "category must be an integer"),
        (
            OrderKind.WORKERPOOL,
            {"category": "abc"},
            'category must be a `number` type, but the final value was: `NaN` (cast from the value `"abc"`).',
        ),
    ],
)
def test_filters_that_break_a_rule(shelf: Shelf, kind: OrderKind, query: dict[str, str], text: str) -> None:
    with pytest.raises(ValidationError) as caught:
        shelf.listing.orders(kind, query)
    assert caught.value.message == text


def test_a_database_belongs_to_one_chain(shelf: Shelf) -> None:
    Repo(shelf.repo.engine, "test")
    with pytest.raises(InputError, match="is of test, not of another"):
        Repo(shelf.repo.engine, "another")


def test_an_order_survives_storage(shelf: Shelf) -> None:
    order = RequestOrder(app=APP, requester=ALICE, params='{"iexec_args":"\u2713"}', tag=tag("03"), volume=2**53 - 1)
    found = shelf.repo.order(shelf.put(replace(order, sign="0x12")))
    assert found is not None
    assert found.order == replace(order, sign="0x12")
