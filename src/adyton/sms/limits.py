"""How much unauthenticated work one peer may cause: a token bucket per key, in bounded memory."""

from __future__ import annotations

import threading
from collections import OrderedDict
from typing import Final

from adyton.base.clock import Clock, utc_now

_BURST_S: Final = 4  # seconds of the rate that may come at once
_MAX_KEYS: Final = 10_000  # peers remembered; the one unseen for longest is forgotten first


class RateLimiter:
    """Allows ``per_second`` uses per key on average, and four seconds' worth at once.

    Args:
        per_second: sustained rate.
        clock: source of time.
    """

    def __init__(self, per_second: float, *, clock: Clock = utc_now) -> None:
        self._rate = per_second
        self._burst = max(1.0, per_second * _BURST_S)
        self._clock = clock
        self._buckets: OrderedDict[str, tuple[float, float]] = OrderedDict()
        self._lock = threading.Lock()

    def allow(self, key: str) -> bool:
        """Take one token of ``key``; False when it has none."""
        now = self._clock().timestamp()
        with self._lock:
            tokens, at = self._buckets.pop(key, (self._burst, now))
            tokens = min(self._burst, tokens + max(0.0, now - at) * self._rate)
            allowed = tokens >= 1
            self._buckets[key] = (tokens - 1 if allowed else tokens, now)
            if len(self._buckets) > _MAX_KEYS:
                self._buckets.popitem(last=False)
        return allowed
