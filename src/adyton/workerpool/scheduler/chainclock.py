"""The chain's own time, by which deadlines are judged: a host with a wrong clock must not fail tasks, nor miss them.

A node stamps its pending block with the time at which it would be mined now. That stamp, carried on by the machine's
monotonic clock between two looks, is the time here. Nodes without a pending block give the newest block's stamp
instead; on a quiet chain that is too early, never too late, until the next block corrects it.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from datetime import UTC, datetime

from adyton.base.errors import UnavailableError
from adyton.base.types import Bytes32


class ChainClock:
    """A :data:`~adyton.base.clock.Clock` that is set by what the node says.

    Args:
        monotonic: seconds that only grow.
    """

    def __init__(self, monotonic: Callable[[], float] = time.monotonic) -> None:
        self._monotonic = monotonic
        self._lock = threading.Lock()
        self._head: Bytes32 | None = None
        self._stamp = 0.0
        self._at = 0.0

    def observe(self, head: Bytes32, stamp: float) -> None:
        """Take what the node says now.

        Args:
            head: hash of the newest block.
            stamp: time of the pending block, seconds of Unix time.
        """
        now = self._monotonic()
        with self._lock:
            if head == self._head:  # no block since: time can only have gone on
                stamp = max(stamp, self._stamp + now - self._at)
            self._head, self._stamp, self._at = head, stamp, now

    def __call__(self) -> datetime:
        """The chain's time.

        Raises:
            UnavailableError: the node has not answered yet.
        """
        with self._lock:
            if self._head is None:
                raise UnavailableError("the chain's time is not known yet", code="scheduler.chain_down")
            return datetime.fromtimestamp(self._stamp + self._monotonic() - self._at, UTC)
