"""Deal and order tags: 32 bytes whose bits name what hardware a task needs.

Bit 0 ``tee``, 1 ``scone``, 2 ``gramine``, 3 ``tdx``, 8 ``gpu``.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final, Literal, cast

from adyton.base.errors import InputError
from adyton.base.types import Bytes32, word_bytes

Framework = Literal["SCONE", "GRAMINE", "TDX"]

BITS: Final = {"tee": 0, "scone": 1, "gramine": 2, "tdx": 3, "gpu": 8}
NAMES: Final = {bit: name for name, bit in BITS.items()}
FRAMEWORKS: Final = ("scone", "gramine", "tdx")
_FRAMEWORK_MASK: Final = 0b1110


class TagError(InputError):
    """A tag that names something unknown or a combination that no task can have."""

    code = "chain.tag"


def encode(names: Iterable[str]) -> Bytes32:
    """The tag with the bits of ``names``; empty names are ignored.

    Raises:
        TagError: an unknown name.
    """
    value = 0
    for name in names:
        if name and name not in BITS:
            raise TagError(f"Unknown tag {name}", hint=f"known tags: {', '.join(BITS)}")
        value |= 1 << BITS[name] if name else 0
    return _tag(value)


def decode(tag: Bytes32) -> list[str]:
    """The names of the tag's bits, lowest first.

    Raises:
        TagError: an unknown bit.
    """
    value = _value(tag)
    names = []
    for bit in range(value.bit_length()):
        if value >> bit & 1:
            if bit not in NAMES:
                raise TagError(f"Unknown bit {bit} in tag")
            names.append(NAMES[bit])
    return names


def validate(tag: Bytes32, *, allow_bare_tee: bool = False) -> Bytes32:
    """Return ``tag`` if it is one that an order may have.

    Args:
        tag: the tag.
        allow_bare_tee: accept ``tee`` without a framework (dataset orders, request orders, order book filters).

    Raises:
        TagError: unknown bit, several frameworks, a framework without ``tee``, or ``tee`` without a framework.
    """
    names = decode(tag)
    chosen = [name for name in FRAMEWORKS if name in names]
    listing = "|".join(f"'{name}'" for name in FRAMEWORKS)
    if len(chosen) > 1:
        raise TagError(f"tee framework tags are exclusive ({listing})")
    if chosen and "tee" not in names:
        raise TagError(f"'{chosen[0]}' tag must be used with 'tee' tag")
    if "tee" in names and not chosen and not allow_bare_tee:
        raise TagError(f"'tee' tag must be used with a tee framework ({listing})")
    return tag


def strip_framework(tag: Bytes32) -> Bytes32:
    """``tag`` without its framework bits, as the contracts take a dataset's tag into a deal."""
    return _tag(_value(tag) & ~_FRAMEWORK_MASK)


def framework(tag: Bytes32) -> Framework | None:
    """The framework that a deal's tag selects, or None: the low four bits must match one exactly."""
    names = {0b0011: "SCONE", 0b0101: "GRAMINE", 0b1001: "TDX"}
    return cast("Framework | None", names.get(_value(tag) & 0b1111))


def is_tee(tag: Bytes32) -> bool:
    """Whether the contracts demand an enclave for such a deal (bit 0)."""
    return bool(_value(tag) & 1)


def union(*tags: Bytes32) -> Bytes32:
    """The tag with every bit that any of ``tags`` has."""
    value = 0
    for tag in tags:
        value |= _value(tag)
    return _tag(value)


def covers(offered: Bytes32, needed: Bytes32) -> bool:
    """Whether ``offered`` has all bits of ``needed``."""
    return _value(needed) & ~_value(offered) == 0


def missing(offered: Bytes32, needed: Bytes32) -> Bytes32:
    """The bits of ``needed`` that ``offered`` lacks."""
    return _tag(_value(needed) & ~_value(offered))


def _value(tag: Bytes32) -> int:
    return int.from_bytes(word_bytes(tag))


def _tag(value: int) -> Bytes32:
    return Bytes32("0x" + value.to_bytes(32).hex())
