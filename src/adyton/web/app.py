"""The shell of every HTTP service: health, metrics, error border, body limit.

``build_app(settings)`` of a service starts from :func:`new_app`, includes its routers, and returns it. Typed errors
become problem+json (RFC 9457) with their stable code; routes that speak the official protocol answer with the official
codes and texts themselves.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from typing import Any, Final

from fastapi import FastAPI, Request, Response
from fastapi.responses import JSONResponse
from prometheus_client import CONTENT_TYPE_LATEST, CollectorRegistry, Counter, generate_latest
from starlette.requests import ClientDisconnect
from starlette.routing import Match

from adyton.base.errors import AdytonError, InputError, NotFoundError, UnavailableError
from adyton.base.log import get_logger
from adyton.web.limits import RateError

Asgi = Callable[[dict[str, Any], Callable[[], Awaitable[Any]], Callable[[Any], Awaitable[None]]], Awaitable[None]]

_log = get_logger("web")

_METHODS: Final = frozenset({"GET", "HEAD", "POST", "PUT", "DELETE", "PATCH", "OPTIONS"})

_STATUS: tuple[tuple[type[AdytonError], int], ...] = (
    (InputError, 400),
    (NotFoundError, 404),
    (RateError, 429),
    (UnavailableError, 503),
)


def new_app(
    title: str,
    version: str,
    *,
    max_body_bytes: int = 1 << 20,
    statuses: Sequence[tuple[type[AdytonError], int]] = (),
    **options: Any,  # noqa: ANN401
) -> FastAPI:
    """A FastAPI application with ``/actuator/health``, ``/actuator/prometheus`` and the error border.

    The Prometheus registry is ``app.state.registry``; a service adds its own collectors there.

    Args:
        title: OpenAPI title.
        version: service version, for OpenAPI.
        max_body_bytes: requests with larger bodies are refused with 413 while being read.
        statuses: HTTP statuses of the service's own error classes, the first match counts; then come the common ones.
        options: passed on to FastAPI (for example ``lifespan``).
    """
    app = FastAPI(title=title, version=version, **options)
    app.state.registry = CollectorRegistry()
    requests = Counter("http_requests", "Requests answered.", ["method", "status"], registry=app.state.registry)
    app.add_middleware(BodyLimit, max_bytes=max_body_bytes)

    app.add_middleware(CountAnswers, requests=requests)

    @app.exception_handler(AdytonError)
    async def problem(_request: Request, error: AdytonError) -> JSONResponse:
        status = next((code for kind, code in (*statuses, *_STATUS) if isinstance(error, kind)), 500)
        if status >= 500:
            _log.error("request failed", code=error.code, detail=error.message)
        body = {"type": "about:blank", "title": error.code, "status": status, "detail": error.message}
        body["code"] = error.code
        if error.hint:
            body["hint"] = error.hint
        headers = {"Retry-After": str(error.retry_after_s)} if isinstance(error, RateError) else None
        return JSONResponse(body, status_code=status, headers=headers, media_type="application/problem+json")

    @app.exception_handler(ClientDisconnect)
    async def gone(_request: Request, _error: ClientDisconnect) -> Response:
        # Nobody reads it. What is no fault of the service must not look like one, nor fill its log with tracebacks.
        return Response(status_code=400)

    @app.get("/actuator/health", include_in_schema=False)
    def health() -> dict[str, str]:
        return {"status": "UP"}

    @app.get("/actuator/prometheus", include_in_schema=False)
    def prometheus() -> Response:
        return Response(generate_latest(app.state.registry), media_type=CONTENT_TYPE_LATEST)

    return app


def allowed_methods(request: Request) -> str:
    """The header ``Allow`` of a 405: every method of every route with this path (RFC 9110, section 10.2.1).

    The framework names those of the first route that has the path.
    """
    allowed = [
        method
        for method in sorted(_METHODS)
        if any(route.matches({**request.scope, "method": method})[0] is Match.FULL for route in request.app.routes)
    ]
    return ", ".join(allowed)


class CountAnswers:
    """ASGI middleware: counts answers by method and status."""

    def __init__(self, app: Asgi, requests: Counter) -> None:
        self._app = app
        self._requests = requests

    async def __call__(
        self,
        scope: dict[str, Any],
        receive: Callable[[], Awaitable[Any]],
        send: Callable[[Any], Awaitable[None]],
    ) -> None:
        """Pass the request on with a send that counts."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return

        async def counted(message: Any) -> None:  # noqa: ANN401  # ASGI messages
            if message["type"] == "http.response.start":
                method = scope["method"] if scope["method"] in _METHODS else "other"  # strangers make up names
                self._requests.labels(method, str(message["status"])).inc()
            await send(message)

        await self._app(scope, receive, counted)


class BodyLimit:
    """ASGI middleware: refuses a body over the limit while it arrives, whatever its Content-Length claims."""

    def __init__(self, app: Asgi, max_bytes: int) -> None:
        self._app = app
        self._max_bytes = max_bytes

    async def __call__(
        self,
        scope: dict[str, Any],
        receive: Callable[[], Awaitable[Any]],
        send: Callable[[Any], Awaitable[None]],
    ) -> None:
        """Pass the request on with a receive that counts."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        seen = 0
        answered = False

        async def counted() -> Any:  # noqa: ANN401  # ASGI messages
            nonlocal seen
            message = await receive()
            if message["type"] == "http.request":
                seen += len(message.get("body", b""))
                if seen > self._max_bytes:
                    raise _BodyTooLargeError
            return message

        async def watched(message: Any) -> None:  # noqa: ANN401
            nonlocal answered
            answered = True
            await send(message)

        try:
            await self._app(scope, counted, watched)
        except _BodyTooLargeError:
            if not answered:
                await Response("body too large", status_code=413)(scope, receive, send)


class _BodyTooLargeError(Exception):
    """The request's body passed the limit."""
