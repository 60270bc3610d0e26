"""Amounts as users write them."""

from __future__ import annotations

import pytest

from adyton.sdk.errors import ValidationError
from adyton.sdk.units import format_units, parse_nrlc, parse_uint, parse_wei


@pytest.mark.parametrize(
    ("text", "unit", "expected"),
    [
        ("5", "nRLC", 5),
        ("5 ", "nRLC", 5),
        ("5", "RLC", 5 * 10**9),
        ("5 RLC", "nRLC", 5 * 10**9),
        ("0005 nRLC", "RLC", 5),
        ("1.5 RLC", "nRLC", 1_500_000_000),
        ("0.000000001 RLC", "nRLC", 1),
        ("1.50000000000000 RLC", "nRLC", 1_500_000_000),
        ("5.0", "nRLC", 5),
    ],
)
def test_rlc(text: str, unit: str, expected: int) -> None:
    assert parse_nrlc(text, default_unit=unit) == expected


@pytest.mark.parametrize(
    "text", ["", "abc ", "-1", "1 foo", "1 rlc", "0.1 nRLC", "1e3", "1 2", ".5", "1.", "٣", "9" * 99]
)
def test_not_an_amount(text: str) -> None:
    with pytest.raises(ValidationError, match="is not a valid amount") as caught:
        parse_nrlc(text)
    assert caught.value.message == f"{text} is not a valid amount"


@pytest.mark.parametrize(
    ("text", "expected"),
    [("1", 1), ("1.1 gwei", 1_100_000_000), ("1 ether", 10**18), ("1 eth", 10**18), ("2 finney", 2 * 10**15)],
)
def test_wei(text: str, expected: int) -> None:
    assert parse_wei(text) == expected


@pytest.mark.parametrize("text", ["-1", "0.1 wei", "1 ethereum"])
def test_not_wei(text: str) -> None:
    with pytest.raises(ValidationError):
        parse_wei(text)


@pytest.mark.parametrize(
    ("amount", "decimals", "text"),
    [(0, 9, "0.0"), (42, 9, "0.000000042"), (10 * 10**9, 9, "10.0"), (42 * 10**17, 18, "4.2"), (7, 0, "7.0")],
)
def test_format(amount: int, decimals: int, text: str) -> None:
    assert format_units(amount, decimals) == text


@pytest.mark.parametrize("amount", [0, 1, 999_999_999, 10**9, 123_456_789_012])
def test_format_round_trip(amount: int) -> None:
    assert parse_nrlc(f"{format_units(amount, 9)} RLC") == amount


@pytest.mark.parametrize(("text", "expected"), [("0", 0), ("007", 7), (12, 12), (str(2**256 - 1), 2**256 - 1)])
def test_uint(text: object, expected: int) -> None:
    assert parse_uint(text) == expected


@pytest.mark.parametrize("text", ["", "-1", "1.0", "a", str(2**256), True, None, "0x10", "१"])
def test_not_uint(text: object) -> None:
    with pytest.raises(ValidationError, match="is not a valid uint256"):
        parse_uint(text)
