"""How many sessions each creator has, counted once and then kept in step: a query would walk all of them each time."""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import Final

_MAX_CREATORS: Final = 10_000  # remembered; then the counting begins anew


class Holdings:
    """Numbers of stored sessions by creator.

    Args:
        count: counts those of one creator in the database, of which this process is the only writer.
    """

    def __init__(self, count: Callable[[str], int]) -> None:
        self._count = count
        self._known: dict[str, int] = {}
        self._lock = threading.Lock()

    def of(self, creator: str) -> int:
        """How many ``creator`` has.

        Raises:
            UnavailableError: the database cannot be read now.
        """
        with self._lock:
            if creator not in self._known:
                if len(self._known) >= _MAX_CREATORS:
                    self._known.clear()
                self._known[creator] = self._count(creator)
            return self._known[creator]

    def added(self, creator: str) -> None:
        """One more was stored."""
        with self._lock:
            if creator in self._known:
                self._known[creator] += 1

    def forget(self) -> None:
        """Some were deleted."""
        with self._lock:
            self._known.clear()
