"""Amounts as users write them: ``5``, ``5 RLC``, ``1.1 gwei``; integers of protocol fields; dates of people.

RLC has 9 decimals (1 RLC = 10^9 nRLC), ether 18. All results are integers of the smallest unit.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Final

from adyton.sdk.errors import ValidationError

RLC_DECIMALS: Final = {"nRLC": 0, "RLC": 9}
ETHER_DECIMALS: Final = {
    "wei": 0,
    "kwei": 3,
    "mwei": 6,
    "gwei": 9,
    "szabo": 12,
    "finney": 15,
    "ether": 18,
    "eth": 18,
}
WEI_PER_NRLC: Final = 10**9

_AMOUNT = re.compile(r"([0-9]+)(?:\.([0-9]+))?(?: +([A-Za-z]+))? *")
_DIGITS = re.compile(r"[0-9]{1,78}")
_UINT256_LIMIT: Final = 1 << 256
_MAX_TEXT: Final = 200  # characters of an amount; the largest has 78 digits


def parse_nrlc(text: str, *, default_unit: str = "nRLC") -> int:
    """An amount of RLC in nRLC.

    Args:
        text: ``<number>[ nRLC|RLC]``.
        default_unit: what a bare number counts.

    Raises:
        ValidationError: another unit, a negative number, or more decimals than the unit has.
    """
    return _parse(text, RLC_DECIMALS, default_unit)


def parse_wei(text: str, *, default_unit: str = "wei") -> int:
    """An amount of ether in wei; units from ``wei`` to ``ether``.

    Raises:
        ValidationError: as :func:`parse_nrlc`.
    """
    return _parse(text, ETHER_DECIMALS, default_unit)


def format_units(amount: int, decimals: int) -> str:
    """Decimal text with at least one fraction digit: ``10.0``, ``0.000000042``."""
    whole, fraction = divmod(amount, 10**decimals)
    digits = str(fraction).rjust(decimals, "0").rstrip("0") if decimals else ""
    return f"{whole}.{digits or '0'}"


def parse_uint(text: object, name: str = "") -> int:
    """An unsigned 256-bit integer of a protocol field, from digits or an integer.

    Args:
        text: what the user gave.
        name: the field, for the hint.

    Raises:
        ValidationError: not digits, or too large.
    """
    shown = str(text).strip()
    if isinstance(text, bool) or not _DIGITS.fullmatch(shown) or int(shown) >= _UINT256_LIMIT:
        raise ValidationError(f"{shown[:_MAX_TEXT]} is not a valid uint256", hint=name and f"for {name}")
    return int(shown)


def _parse(text: str, decimals: Mapping[str, int], default_unit: str) -> int:
    match = _AMOUNT.fullmatch(text) if len(text) <= _MAX_TEXT else None
    unit = (match[3] or default_unit) if match else ""
    if match is None or unit not in decimals:
        raise ValidationError(f"{text[:_MAX_TEXT]} is not a valid amount", hint=f"units: {', '.join(decimals)}")
    fraction = (match[2] or "").rstrip("0")
    if len(fraction) > decimals[unit]:
        raise ValidationError(f"{text} is not a valid amount", hint=f"{unit} has {decimals[unit]} decimals")
    amount = int(match[1] + fraction.ljust(decimals[unit], "0"))
    if amount >= _UINT256_LIMIT:
        raise ValidationError(f"{text} is not a valid amount")
    return amount
