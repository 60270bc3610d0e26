"""The market's HTTP edge: cross-origin access, rate limit, forgiving paths (market reference, section 12)."""

from __future__ import annotations

import ipaddress
import threading
from collections.abc import Awaitable, Callable, Iterable
from datetime import datetime
from typing import Any

from fastapi.responses import JSONResponse, Response

from adyton.base.clock import Clock, utc_now
from adyton.web.app import Asgi

Send = Callable[[Any], Awaitable[None]]
Headers = list[tuple[bytes, bytes]]
_METHODS = b"GET,HEAD,PUT,POST,DELETE,PATCH"
_MAX_TRACKED = 100_000


class RateLimiter:
    """Counts requests by caller in fixed windows.

    Args:
        maximum: requests in one window.
        period_s: length of a window.
        clock: source of the time.
    """

    def __init__(self, maximum: int, period_s: float, clock: Clock = utc_now) -> None:
        self.maximum = maximum
        self._period_s = period_s
        self._clock = clock
        self._lock = threading.Lock()
        self._windows: dict[str, tuple[float, int]] = {}

    def count(self, caller: str) -> tuple[int, float]:
        """Count one request.

        Returns:
            How many more are allowed (negative: this one is too many), and the Unix time when the window ends.
        """
        now = self._clock().timestamp()
        with self._lock:
            if len(self._windows) > _MAX_TRACKED:
                self._windows = {key: window for key, window in self._windows.items() if window[0] > now}
            end, seen = self._windows.get(caller, (0.0, 0))
            if end <= now:
                end, seen = now + self._period_s, 0
            self._windows[caller] = (end, seen + 1)
        return self.maximum - seen - 1, end

    def now(self) -> datetime:
        """The limiter's time."""
        return self._clock()


class Edge:
    """ASGI middleware around the market's routes.

    The caller is the address of its connection; headers that name another are not believed, and this machine's own
    programs are not limited.
    """

    def __init__(self, app: Asgi, limiter: RateLimiter) -> None:
        self._app = app
        self._limiter = limiter

    async def __call__(self, scope: dict[str, Any], receive: Callable[[], Awaitable[Any]], send: Send) -> None:
        """Answer preflights and callers over the limit; pass everything else on."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        request_headers = dict(scope["headers"])
        added = _cors_headers(request_headers)
        if scope["method"] == "OPTIONS" and b"access-control-request-method" in request_headers:
            await _send_with(Response(status_code=204), scope, receive, send, [*added, *_preflight(request_headers)])
            return
        host = scope["client"][0] if scope.get("client") else ""
        if not _is_this_machine(host):
            left, end = self._limiter.count(host)
            added += _limit_headers(self._limiter.maximum, left, end)
            if left < 0:
                wait = max(1, round(end - self._limiter.now().timestamp()))
                refusal = JSONResponse({"ok": False, "error": "Rate limit exceeded"}, status_code=429)
                await _send_with(refusal, scope, receive, send, [*added, (b"retry-after", b"%d" % wait)])
                return
        path = scope["path"].lower().rstrip("/") or "/"
        await self._app({**scope, "path": path}, receive, _adding(send, added))


async def _send_with(
    response: Response, scope: dict[str, Any], receive: Callable[[], Awaitable[Any]], send: Send, headers: Headers
) -> None:
    await response(scope, receive, _adding(send, headers))


def _adding(send: Send, headers: Iterable[tuple[bytes, bytes]]) -> Send:
    async def with_headers(message: Any) -> None:  # noqa: ANN401  # ASGI messages
        if message["type"] == "http.response.start":
            message["headers"] = [*message.get("headers", ()), *headers]
        await send(message)

    return with_headers


def _cors_headers(request: dict[bytes, bytes]) -> Headers:
    origin = request.get(b"origin")
    return [(b"vary", b"Origin")] + ([(b"access-control-allow-origin", origin)] if origin else [])


def _preflight(request: dict[bytes, bytes]) -> Headers:
    asked = request.get(b"access-control-request-headers", b"")
    return [(b"access-control-allow-methods", _METHODS)] + ([(b"access-control-allow-headers", asked)] if asked else [])


def _limit_headers(maximum: int, left: int, end: float) -> Headers:
    return [
        (b"x-ratelimit-limit", str(maximum).encode()),
        (b"x-ratelimit-remaining", str(max(left, 0)).encode()),
        (b"x-ratelimit-reset", str(int(end)).encode()),
    ]


def _is_this_machine(host: str) -> bool:
    try:
        address = ipaddress.ip_address(host)
    except ValueError:
        return False
    mapped = getattr(address, "ipv4_mapped", None)
    return bool((mapped or address).is_loopback)
