"""Waking long-polls at once: a counter that only grows, and threads that wait for it to."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from typing import TypeVar

T = TypeVar("T")


class Bell:
    """Rings when something may have changed; a waiter looks, and sleeps only if nothing rang since before it looked."""

    def __init__(self) -> None:
        self._condition = threading.Condition()
        self._rings = 0
        self._closed = False
        self.relay: Callable[[], None] | None = None  # told of every ring, to pass it on to other processes

    def ring(self) -> None:
        """Wake everyone who waits, here and wherever the relay leads."""
        self.ring_here()
        if self.relay is not None:
            self.relay()

    def ring_here(self) -> None:
        """Wake everyone who waits in this process."""
        with self._condition:
            self._rings += 1
            self._condition.notify_all()

    def close(self) -> None:
        """End all waiting, now and later: the service stops."""
        with self._condition:
            self._closed = True
            self._condition.notify_all()

    def until(self, look: Callable[[], T | None], timeout_s: float) -> T | None:
        """Call ``look`` now and after every ring until it finds something or the time is over."""
        deadline = time.monotonic() + timeout_s
        while True:
            with self._condition:
                seen = self._rings
            found = look()
            if found is not None:
                return found
            with self._condition:
                while self._rings == seen:
                    left = deadline - time.monotonic()
                    if left <= 0 or self._closed:
                        return None
                    self._condition.wait(left)
