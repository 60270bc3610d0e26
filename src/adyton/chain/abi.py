"""The contract ABI, as far as PoCo and ENS use it: typed values to bytes and back (Solidity ABI specification).

Addresses are :data:`Address` text, ``bytes32`` and other fixed bytes are lowercase ``0x`` text, ``bytes`` is bytes,
tuples and arrays are tuples. A type text is compiled once into a codec. Decoding checks every bound and every padding
byte, so a value has one accepted encoding per layout; ``eth-abi`` is the oracle in the tests and is not imported here
(it costs a third of a second at start).
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache, cached_property
from typing import Any, Final, Protocol

from adyton.base.errors import AdytonError
from adyton.base.types import keccak, parse_address

WORD: Final = 32
MAX_ITEMS: Final = 1 << 16  # of one array; a node's answer beyond this is refused before memory is taken for it

_FIXED = re.compile(r"(uint|bytes)([1-9][0-9]{0,2})")


class AbiError(AdytonError):
    """A value does not fit its ABI type, or bytes are not an encoding of it."""

    code = "chain.abi"


class Codec(Protocol):
    """Encodes and decodes one ABI type.

    Attributes:
        head: bytes it takes in the head of its tuple (32 for the offset of a dynamic type).
        dynamic: whether the head holds an offset to a tail.
    """

    head: int
    dynamic: bool

    def encode(self, value: Any) -> bytes:  # noqa: ANN401  # the type text says which
        """The bytes of ``value``, without the offset."""

    def decode(self, data: bytes, start: int) -> Any:  # noqa: ANN401
        """The value whose own encoding begins at ``start``."""


def _word(data: bytes, start: int) -> bytes:
    word = data[start : start + WORD]
    if len(word) != WORD:
        raise AbiError(f"the data ends inside the word at byte {start}")
    return word


def _size(data: bytes, start: int) -> int:
    value = int.from_bytes(_word(data, start))
    if value > len(data):
        raise AbiError(f"the length or offset at byte {start} reaches beyond the data")
    return value


class _Uint:
    head, dynamic = WORD, False

    def __init__(self, bits: int) -> None:
        self._limit = 1 << bits

    def encode(self, value: Any) -> bytes:  # noqa: ANN401
        if not isinstance(value, int) or isinstance(value, bool) or not 0 <= value < self._limit:
            raise AbiError(f"{value!r} is not an unsigned integer of {self._limit.bit_length() - 1} bits")
        return value.to_bytes(WORD)

    def decode(self, data: bytes, start: int) -> int:
        value = int.from_bytes(_word(data, start))
        if value >= self._limit:
            raise AbiError(f"the integer at byte {start} has more than {self._limit.bit_length() - 1} bits")
        return value


class _Bool:
    head, dynamic = WORD, False

    def encode(self, value: Any) -> bytes:  # noqa: ANN401
        if not isinstance(value, bool):
            raise AbiError(f"{value!r} is not a boolean")
        return int(value).to_bytes(WORD)

    def decode(self, data: bytes, start: int) -> bool:
        value = int.from_bytes(_word(data, start))
        if value > 1:
            raise AbiError(f"the boolean at byte {start} is {value}")
        return bool(value)


class _Address:
    head, dynamic = WORD, False

    def encode(self, value: Any) -> bytes:  # noqa: ANN401
        try:
            raw = bytes.fromhex(value[2:]) if value[:2] == "0x" else b""
        except (TypeError, ValueError):
            raw = b""
        if len(raw) != 20:
            raise AbiError(f"{value!r} is not an address")
        return bytes(12) + raw

    def decode(self, data: bytes, start: int) -> str:
        word = _word(data, start)
        if any(word[:12]):
            raise AbiError(f"the address at byte {start} has more than 20 bytes")
        return parse_address("0x" + word[12:].hex())


class _FixedBytes:
    head, dynamic = WORD, False

    def __init__(self, size: int) -> None:
        self._size = size

    def encode(self, value: Any) -> bytes:  # noqa: ANN401
        try:
            raw = bytes.fromhex(value[2:]) if value[:2] == "0x" else b""
        except (TypeError, ValueError):
            raw = b""
        if len(raw) != self._size:
            raise AbiError(f"{value!r} is not 0x text of {self._size} bytes")
        return raw.ljust(WORD, b"\0")

    def decode(self, data: bytes, start: int) -> str:
        word = _word(data, start)
        if any(word[self._size :]):
            raise AbiError(f"the value at byte {start} has more than {self._size} bytes")
        return "0x" + word[: self._size].hex()


class _Bytes:
    head, dynamic = WORD, True

    def encode(self, value: Any) -> bytes:  # noqa: ANN401
        if not isinstance(value, bytes):
            raise AbiError(f"a {type(value).__name__} is given where bytes are needed")
        return len(value).to_bytes(WORD) + value + bytes(-len(value) % WORD)

    def decode(self, data: bytes, start: int) -> bytes:
        size = _size(data, start)
        end = start + WORD + size
        if end > len(data):
            raise AbiError(f"the bytes at byte {start} are cut off")
        return data[start + WORD : end]


class _String(_Bytes):
    def encode(self, value: Any) -> bytes:  # noqa: ANN401
        if not isinstance(value, str):
            raise AbiError(f"a {type(value).__name__} is given where text is needed")
        try:
            return super().encode(value.encode())
        except UnicodeEncodeError as error:
            raise AbiError("the text has a lone surrogate") from error

    def decode(self, data: bytes, start: int) -> str:  # type: ignore[override]  # text is decoded bytes
        # Contracts do not check that a string is UTF-8; a bad one must not make its deal or asset unreadable.
        return super().decode(data, start).decode("utf-8", "replace")


class _Array:
    head, dynamic = WORD, True

    def __init__(self, item: Codec) -> None:
        self._item = item

    def encode(self, value: Any) -> bytes:  # noqa: ANN401
        return len(value).to_bytes(WORD) + _Tuple((self._item,) * len(value)).encode(value)

    def decode(self, data: bytes, start: int) -> tuple[Any, ...]:
        count = _size(data, start)
        if count > MAX_ITEMS or start + WORD + count * self._item.head > len(data):
            raise AbiError(f"the array at byte {start} says {count} items, which are not there")
        return _Tuple((self._item,) * count).decode(data, start + WORD)


class _Tuple:
    def __init__(self, items: Sequence[Codec]) -> None:
        self._items = items
        self._heads = sum(item.head for item in items)
        self.dynamic = any(item.dynamic for item in items)
        self.head = WORD if self.dynamic else self._heads

    def encode(self, value: Any) -> bytes:  # noqa: ANN401
        if not isinstance(value, Sequence) or len(value) != len(self._items):
            raise AbiError(f"{len(self._items)} values are needed")
        heads, tails, offset = [], [], self._heads
        for item, member in zip(self._items, value, strict=True):
            encoded = item.encode(member)
            if item.dynamic:
                heads.append(offset.to_bytes(WORD))
                tails.append(encoded)
                offset += len(encoded)
            else:
                heads.append(encoded)
        return b"".join(heads + tails)

    def decode(self, data: bytes, start: int) -> tuple[Any, ...]:
        values, at = [], start
        for item in self._items:
            values.append(item.decode(data, start + _size(data, at) if item.dynamic else at))
            at += item.head
        return tuple(values)


@cache  # the set of types is the source's, not the network's
def codec(type_text: str) -> Codec:
    """The codec of an ABI type such as ``(address,uint256[])``.

    Raises:
        AbiError: a type outside address, bool, uintN, bytesN, bytes, string, tuples and ``[]`` of those.
    """
    if type_text.endswith("[]"):
        return _Array(codec(type_text[:-2]))
    if type_text.startswith("(") and type_text.endswith(")"):
        return _Tuple([codec(member) for member in split_types(type_text[1:-1])])
    match = _FIXED.fullmatch(type_text)
    if match:
        number = int(match[2])
        if match[1] == "uint" and number % 8 == 0 and number <= 256:
            return _Uint(number)
        if match[1] == "bytes" and number <= WORD:
            return _FixedBytes(number)
    simple: dict[str, Codec] = {"address": _Address(), "bool": _Bool(), "bytes": _Bytes(), "string": _String()}
    if type_text not in simple:
        raise AbiError(f"{type_text!r} is not a supported ABI type")
    return simple[type_text]


def split_types(text: str) -> list[str]:
    """Split ``address,(uint256,bytes)[]`` at its outer commas; empty text is no type."""
    members, depth, begin = [], 0, 0
    for position, character in enumerate(text):
        depth += (character == "(") - (character == ")")
        if character == "," and depth == 0:
            members.append(text[begin:position])
            begin = position + 1
    return [*members, text[begin:]] if text else []


def encode(types: str, *values: Any) -> bytes:  # noqa: ANN401
    """Encode ``values`` as the tuple ``types`` (``"(address,uint256)"``), as Solidity's ``abi.encode`` does.

    Raises:
        AbiError: a value does not fit its type.
    """
    return codec(types).encode(values)


def decode(types: str, data: bytes) -> tuple[Any, ...]:
    """Decode the tuple ``types``; bytes after it are ignored, as nodes and contracts do.

    Raises:
        AbiError: ``data`` is not such an encoding.
    """
    values: tuple[Any, ...] = codec(types).decode(data, 0)
    return values


@dataclass(frozen=True)
class Function:
    """One contract function.

    Attributes:
        signature: ``name(type,…)`` in canonical form; its Keccak-256 gives the selector.
        returns: the tuple of its results, ``()`` when there is none to read.
    """

    signature: str
    returns: str = "()"

    @cached_property
    def selector(self) -> bytes:
        """The first four bytes of calldata."""
        return keccak(self.signature.encode())[:4]

    @cached_property
    def arguments(self) -> str:
        """The tuple of argument types."""
        return self.signature[self.signature.index("(") :]

    def __call__(self, *values: Any) -> bytes:  # noqa: ANN401
        """Calldata: selector and encoded arguments."""
        return self.selector + encode(self.arguments, *values)

    def result(self, data: bytes) -> Any:  # noqa: ANN401
        """The decoded result: the value itself when the function returns one, else a tuple.

        Raises:
            AbiError: not such a result; an empty one comes from an address without this contract.
        """
        try:
            values = decode(self.returns, data)
        except AbiError as error:
            raise AbiError(
                f"the answer to {self.signature} is not {self.returns}: {error}",
                hint="is the address that of the contract, and the node's chain the right one?",
            ) from error
        return values[0] if len(values) == 1 else values
