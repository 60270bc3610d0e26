"""Reading single values from queries and bodies, with the official texts for what is wrong with them.

Rules and texts: market reference, sections 5.1 and 8. Numbers are read as JavaScript reads them (``1e3`` and ``0x10``
pass), because official clients may send such forms.
"""

from __future__ import annotations

import json
import math
import re
from collections.abc import Callable
from typing import Any, Final, TypeVar

from adyton.base.errors import InputError
from adyton.base.types import Address, Bytes32, parse_address, parse_bytes32
from adyton.market.errors import ValidationError

MAX_SAFE: Final = 2**53 - 1
ANY: Final = "any"
_PREFIXED = re.compile(r"0(?:[xX][0-9a-fA-F]+|[bB][01]+|[oO][0-7]+)")
_DECIMAL = re.compile(r"[+-]?(?:Infinity|(?:\d+\.?\d*|\.\d+)(?:[eE][+-]?\d+)?)")
_MAX_NUMBER_CHARS = 400
_SIGN = re.compile(r"0x[0-9a-f]*", re.IGNORECASE)

T = TypeVar("T")
Reader = Callable[[str, Any], T]


def required(name: str, value: Any, reader: Reader[T]) -> T:  # noqa: ANN401  # outside values
    """Read a value that must be there.

    Raises:
        ValidationError: absent, or what ``reader`` finds.
    """
    if value is None:
        raise ValidationError(f"{name} is a required field")
    return reader(name, value)


def optional(name: str, value: Any, reader: Reader[T]) -> T | None:  # noqa: ANN401
    """Read a value that may be absent."""
    return None if value is None else reader(name, value)


def text(name: str, value: Any) -> str:  # noqa: ANN401
    """Text as it is."""
    if isinstance(value, str):
        return value
    raise ValidationError(f"{name} must be a `string` type, but the final value was: `{_shown(value)}`.")


def address(name: str, value: Any) -> Address:  # noqa: ANN401
    """An address in any case; ENS names are not resolved."""
    try:
        return parse_address(text(name, value))
    except InputError:
        raise ValidationError(f"{name} is not a valid ethereum address") from None


def address_or_any(name: str, value: Any) -> Address | None:  # noqa: ANN401
    """An address, or None for the word ``any``."""
    if value == ANY:
        return None
    try:
        return parse_address(text(name, value))
    except InputError:
        raise ValidationError(f'{name} is neither "any" nor a valid ethereum address') from None


def bytes32(name: str, value: Any) -> Bytes32:  # noqa: ANN401
    """32 bytes of hex in any case."""
    try:
        return parse_bytes32(text(name, value))
    except InputError:
        raise ValidationError(f"{name} must be a bytes32 hexstring") from None


def signature(name: str, value: Any) -> str:  # noqa: ANN401
    """``0x`` hex text of whole bytes; stricter than the reference, which lets anything after ``0x`` pass."""
    found = text(name, value)
    if not _SIGN.fullmatch(found) or len(found) % 2:
        raise ValidationError(f"{name} must be a valid signature")
    return found.lower()


def boolean(name: str, value: Any) -> bool:  # noqa: ANN401
    """``true``, ``false``, ``1`` or ``0`` in any case."""
    if isinstance(value, bool):
        return value
    known = {"true": True, "1": True, "false": False, "0": False}
    if isinstance(value, str) and value.lower() in known:
        return known[value.lower()]
    raise ValidationError(f"{name} must be a `boolean` type, but the final value was: `{_shown(value)}`.")


def integer(minimum: int, maximum: int = MAX_SAFE) -> Reader[int]:
    """A reader of whole numbers in a range."""

    def read(name: str, value: Any) -> int:  # noqa: ANN401
        number = _number(value)
        if number is None:
            cast = f" (cast from the value `{_shown(value)}`)"
            raise ValidationError(f"{name} must be a `number` type, but the final value was: `NaN`{cast}.")
        if number < minimum:
            raise ValidationError(f"{name} must be greater than or equal to {minimum}")
        if number > maximum:
            raise ValidationError(f"{name} must be less than or equal to {maximum}")
        if not isinstance(number, int):
            raise ValidationError(f"{name} must be an integer")
        return number

    return read


def _number(value: Any) -> int | float | None:  # noqa: ANN401
    """The number that JavaScript makes of ``value``; None for NaN."""
    if isinstance(value, bool) or not isinstance(value, int | float | str):
        return None
    number = _parse(value) if isinstance(value, str) else value
    if isinstance(number, float):
        if math.isnan(number):
            return None
        return int(number) if number.is_integer() else number
    return number


def _parse(digits: str) -> int | float:
    stripped = "".join(digits.split())
    if len(stripped) > _MAX_NUMBER_CHARS:
        return math.nan
    if _PREFIXED.fullmatch(stripped):
        return int(stripped, 0)
    if not _DECIMAL.fullmatch(stripped):
        return math.nan
    return int(stripped) if stripped.lstrip("+-").isdigit() else float(stripped)


def _shown(value: Any) -> str:  # noqa: ANN401
    return json.dumps(value, ensure_ascii=False, indent=2)[:200]
