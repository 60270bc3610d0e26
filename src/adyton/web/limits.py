"""How much unauthenticated work one peer may cause: a token bucket per key, in bounded memory."""

from __future__ import annotations

import functools
import ipaddress
import math
import threading
from collections import OrderedDict
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from adyton.base.clock import Clock, utc_now
from adyton.base.errors import AdytonError

Network = ipaddress.IPv4Network | ipaddress.IPv6Network

_BURST_S: Final = 4  # seconds of the rate that may come at once
_MAX_KEYS: Final = 10_000  # peers remembered; the one unseen for longest is forgotten first
_IPV6_PREFIX: Final = 64  # what one subscriber has at least, so no more of an address tells peers apart


class RateError(AdytonError):
    """The client has used up what it may ask for (429 on the wire); ``retry_after_s`` says when to come back."""

    code = "service.rate"

    def __init__(self, message: str, *, retry_after_s: int, code: str | None = None) -> None:
        super().__init__(message, code=code, hint=f"try again in {retry_after_s} s")
        self.retry_after_s = retry_after_s


@dataclass(frozen=True, slots=True)
class Allowance:
    """What a peer may still do.

    Attributes:
        allowed: whether this use was.
        limit: uses that may come at once after a pause.
        remaining: uses left now.
        reset_s: seconds until the next use is possible; when this one was allowed, until ``limit`` are again.
    """

    allowed: bool
    limit: int
    remaining: int
    reset_s: int

    def headers(self) -> dict[str, str]:
        """``RateLimit-*`` (draft-ietf-httpapi-ratelimit-headers-06) and ``Retry-After`` (RFC 9110)."""
        found = {
            "RateLimit-Limit": str(self.limit),
            "RateLimit-Remaining": str(self.remaining),
            "RateLimit-Reset": str(self.reset_s),
        }
        return found if self.allowed else found | {"Retry-After": str(self.reset_s)}


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
        return self.take(key).allowed

    def take(self, key: str) -> Allowance:
        """Take one token of ``key``, and say what is left."""
        return self._spend(key, 1)

    def look(self, key: str) -> Allowance:
        """Whether ``key`` has a token, which stays where it is: for what is counted only once it has happened."""
        return self._spend(key, 0)

    def _spend(self, key: str, cost: int) -> Allowance:
        now = self._clock().timestamp()
        with self._lock:
            tokens, at = self._buckets.pop(key, (self._burst, now))
            tokens = min(self._burst, tokens + max(0.0, now - at) * self._rate)
            allowed = tokens >= 1
            left = tokens - cost if allowed else tokens
            self._buckets[key] = (left, now)
            if len(self._buckets) > _MAX_KEYS:
                self._buckets.popitem(last=False)
        missing = self._burst - left if allowed else 1 - left
        return Allowance(allowed, int(self._burst), int(left), max(1, math.ceil(missing / self._rate)))


def client_key(peer: str, forwarded: Sequence[str], trusted_proxies: Sequence[Network]) -> str:
    """Whom a request is counted for: its sender, or whom a trusted proxy names as such.

    Args:
        peer: address of the connection; empty when there is none.
        forwarded: every ``X-Forwarded-For`` header of the request, in order.
        trusted_proxies: networks whose headers are believed; their entries are read from the right, and the
            first that is no proxy of ours is the client, so nobody can put a name of their own before it.
    """
    chain = [peer]
    if _is_in(peer, trusted_proxies):
        chain = [*(part.strip() for part in ",".join(forwarded).split(",")), peer]
    client = next((each for each in reversed(chain) if each and not _is_in(each, trusted_proxies)), peer)
    address = _address(client)
    if address is None:
        return peer
    if address.version == 6:
        return str(ipaddress.ip_network((address, _IPV6_PREFIX), strict=False))
    return str(address)


def _is_in(text: str, networks: Sequence[Network]) -> bool:
    address = _address(text)
    return address is not None and any(
        address.version == network.version and address in network for network in networks
    )


@functools.lru_cache(maxsize=1024)  # few clients send most requests
def _address(text: str) -> ipaddress.IPv4Address | ipaddress.IPv6Address | None:
    """An address; one of IPv4 in the dress of IPv6 is the one of IPv4."""
    try:
        address = ipaddress.ip_address(text)
    except ValueError:
        return None
    return (address.ipv4_mapped if isinstance(address, ipaddress.IPv6Address) else None) or address
