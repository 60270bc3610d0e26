"""A bound on refused ``POST /session``: each costs parsing and an audit entry, and any key may send them.

Counted is what was refused, by the key that sent it and by its address, since keys cost nothing. A key that has stored
a session here, or is of a service that the CAS attested, is not held liable for its address: whoever shares it with
somebody that floods goes on.
"""

from __future__ import annotations

import threading
from collections import OrderedDict
from typing import Final

from adyton.base.clock import Clock, utc_now
from adyton.web.limits import RateError, RateLimiter, client_key

_MAX_PROVEN: Final = 10_000


class TooManyRefusalsError(RateError):
    """The client was refused too often and must wait; the header ``Retry-After`` says how long (429)."""

    code = "cas.rate"


class RefusalLimit:
    """Says who must wait.

    Args:
        per_second: refusals that one key, and one address, may have on average.
        clock: time.
    """

    def __init__(self, per_second: float, *, clock: Clock = utc_now) -> None:
        self._limiter = RateLimiter(per_second, clock=clock)
        self._proven: OrderedDict[str, None] = OrderedDict()
        self._lock = threading.Lock()

    def require(self, client: str, peer: str) -> None:
        """Let pass who may ask.

        Args:
            client: hash of the key that it proved.
            peer: address of the connection.

        Raises:
            TooManyRefusalsError: it must wait.
        """
        for key in self._liable(client, peer):
            allowance = self._limiter.look(key)
            if not allowance.allowed:
                raise TooManyRefusalsError(
                    "too many requests of this client were refused", retry_after_s=allowance.reset_s
                )

    def refused(self, client: str, peer: str) -> None:
        """Count a refusal."""
        for key in self._liable(client, peer):
            self._limiter.take(key)

    def is_proven(self, client: str) -> bool:
        """Whether ``client`` answers for itself only."""
        with self._lock:
            return client in self._proven

    def accepted(self, client: str) -> None:
        """Remember that ``client`` stored a session, or was attested."""
        with self._lock:
            self._proven[client] = None
            self._proven.move_to_end(client)
            if len(self._proven) > _MAX_PROVEN:
                self._proven.popitem(last=False)

    def _liable(self, client: str, peer: str) -> tuple[str, ...]:
        return (client,) if self.is_proven(client) else (client, client_key(peer, (), ()))
