"""A wrapper that keeps secret values out of logs, tracebacks, pickles and JSON by type."""

from __future__ import annotations

import hmac
from typing import Generic, NoReturn, TypeVar

T = TypeVar("T", bytes, str)


class Secret(Generic[T]):
    """Holds a value that only an explicit :meth:`reveal` gives out.

    ``repr``, ``str``, formatting, hashing, ordering, pickling and copying into JSON all refuse or show a mask.
    Python cannot wipe immutable values; the wrapper prevents accidents, not a reader of this process's memory.
    """

    __slots__ = ("_value",)

    def __init__(self, value: T) -> None:
        self._value: T = value

    def reveal(self) -> T:
        """Return the wrapped value; the name makes every use findable."""
        return self._value

    def __repr__(self) -> str:
        return "Secret(***)"

    __str__ = __repr__

    def __format__(self, spec: str) -> str:
        return repr(self)

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, Secret):
            return NotImplemented
        return hmac.compare_digest(_as_bytes(self._value), _as_bytes(other._value))

    __hash__ = None  # type: ignore[assignment]  # a hash would leak equality

    def __len__(self) -> int:
        return len(self._value)

    def __reduce__(self) -> NoReturn:
        raise TypeError("a Secret cannot be pickled or copied")


def _as_bytes(value: bytes | str) -> bytes:
    return value.encode() if isinstance(value, str) else value
