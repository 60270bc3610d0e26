"""Bodies that break a rule get the official text (market reference, sections 5.1 and 6)."""

from __future__ import annotations

from typing import Any

import pytest

from adyton.chain.orders import AppOrder, OrderKind
from adyton.market.errors import ValidationError
from adyton.market.schema import read_order, read_unpublish

ZERO = "0x" + "0" * 40
ORDER: dict[str, Any] = {
    "app": "0x" + "ab" * 20,
    "appprice": "5",
    "volume": 100,
    "tag": "0x" + "0" * 64,
    "datasetrestrict": ZERO,
    "workerpoolrestrict": ZERO,
    "requesterrestrict": ZERO,
    "salt": "0x" + "AB" * 32,
    "sign": "0x" + "12" * 65,
}


def test_an_order_is_normalised() -> None:
    order = read_order(OrderKind.APP, {"order": ORDER | {"app": "0X" + "AB" * 20, "unknown": 1}})
    assert isinstance(order, AppOrder)
    assert (order.appprice, order.volume, order.salt) == (5, 100, "0x" + "ab" * 32)
    assert order.app.lower() == "0x" + "ab" * 20
    assert order.app != order.app.lower()


@pytest.mark.parametrize(
    ("changes", "text"),
    [
        ({"app": "0x12"}, "order.app is not a valid ethereum address"),
        ({"app": "name.eth"}, "order.app is not a valid ethereum address"),
        ({"app": None}, "order.app is a required field"),
        ({"appprice": -1}, "order.appprice must be greater than or equal to 0"),
        ({"appprice": 1.5}, "order.appprice must be an integer"),
        ({"appprice": 2**53}, "order.appprice must be less than or equal to 9007199254740991"),
        (
            {"appprice": "a"},
            'order.appprice must be a `number` type, but the final value was: `NaN` (cast from the value `"a"`).',
        ),
        ({"volume": 0}, "order.volume must be greater than or equal to 1"),
        ({"tag": "0x1"}, "order.tag must be a bytes32 hexstring"),
        ({"salt": "12" * 32}, "order.salt must be a bytes32 hexstring"),
        ({"sign": "1234"}, "order.sign must be a valid signature"),
        ({"sign": "0xZZ"}, "order.sign must be a valid signature"),
        ({"sign": None}, "order.sign is a required field"),
    ],
)
def test_orders_that_break_a_rule(changes: dict[str, Any], text: str) -> None:
    with pytest.raises(ValidationError) as caught:
        read_order(OrderKind.APP, {"order": ORDER | changes})
    assert caught.value.message == text


@pytest.mark.parametrize(
    ("body", "text"),
    [
        ({}, "order.sign is a required field"),
        ({"order": {}}, "order.sign is a required field"),
        ([], "order.sign is a required field"),
        ({"order": None}, "order is a required field"),
        ({"order": "x"}, 'order must be a `object` type, but the final value was: `"x"`.'),
    ],
)
def test_bodies_without_an_order(body: object, text: str) -> None:
    with pytest.raises(ValidationError) as caught:
        read_order(OrderKind.REQUEST, body)
    assert caught.value.message == text


@pytest.mark.parametrize(
    ("body", "text"),
    [
        (
            {"target": "all"},
            "target must be one of the following values: unpublish_orderHash, unpublish_last, unpublish_all",
        ),
        ({}, "orderHash is a required field"),
        ({"orderHash": "0x1"}, "orderHash must be a bytes32 hexstring"),
        ({"target": "unpublish_last"}, "app is a required field"),
        ({"target": "unpublish_all", "app": "0x1"}, "app is not a valid ethereum address"),
        ({"orderHash": "0x" + "11" * 32, "app": "0x1"}, "app is not a valid ethereum address"),
    ],
)
def test_unpublish_bodies_that_break_a_rule(body: object, text: str) -> None:
    with pytest.raises(ValidationError) as caught:
        read_unpublish(OrderKind.APP, body)
    assert caught.value.message == text


@pytest.mark.parametrize(("text", "number"), [("1e3", 1000), ("0x10", 16), (" 7 ", 7), ("1.0", 1)])
def test_numbers_as_javascript_reads_them(text: str, number: int) -> None:
    order = read_order(OrderKind.APP, {"order": ORDER | {"volume": text}})
    assert order.values()["volume"] == number
