"""What stands before the routes: CORS, the offline gate, rate limits, and the key of the admin operations.

ASGI middleware that looks at nothing but the path, the peer and two headers, so that what it refuses costs neither a
body nor a thread. The services are found through the application, as the routes find them.
"""

from __future__ import annotations

import hashlib
import hmac
from abc import ABC, abstractmethod
from typing import Any, Final, cast

from cryptography import x509
from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from starlette.datastructures import Headers
from starlette.middleware.cors import CORSMiddleware
from starlette.responses import PlainTextResponse, Response

from adyton.sms.composition import Services
from adyton.web.limits import Allowance, client_key

OPEN_PATHS: Final = ("/secrets/", "/apps/", "/requesters/")
ADMIN_PATHS: Final = ("/admin/",)
_PROOFS: Final = ("/attestation/", "/v1/collateral/")
_GUARDED: Final = (*OPEN_PATHS, "/tee/")
_LIMITED: Final = (*OPEN_PATHS, *ADMIN_PATHS, "/tee/challenges/", "/tee/sessions", *_PROOFS)
_RATE_HEADERS: Final = ("RateLimit-Limit", "RateLimit-Remaining", "RateLimit-Reset", "Retry-After")

DISABLED_TEXT: Final = "This endpoint is disabled."
FORBIDDEN_TEXT: Final = "You are not authorized to access this endpoint."
OFFLINE_TEXT: Final = "The server is temporarily unable to serve your request due to maintenance downtime"


def add_edge(app: Any) -> None:  # noqa: ANN401  # a FastAPI application
    """Put everything of this module before the routes, CORS outermost: browsers must see the refusals, too."""
    for gate in (AdminGate, RateGate, OfflineGate, SecretsCors):
        app.add_middleware(gate)


def client_of(scope: Any) -> str:  # noqa: ANN401  # ASGI scope
    """Whom a request is counted for."""
    services = _services(scope)
    peer = scope["client"][0] if scope.get("client") else ""
    return client_key(peer, Headers(scope=scope).getlist("x-forwarded-for"), services.settings.trusted_proxies)


def client_key_hash(scope: Any) -> str | None:  # noqa: ANN401  # ASGI scope
    """SHA-256 (hex) of the public key that the client proved on the TLS port; None without a readable certificate."""
    from adyton.web.peercert import client_certificate  # noqa: PLC0415  # OpenSSL only where a port needs it

    certificate = client_certificate(scope)
    if certificate is None:
        return None
    try:
        key = x509.load_der_x509_certificate(certificate).public_key()
        return hashlib.sha256(key.public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)).hexdigest()
    except (ValueError, UnsupportedAlgorithm):
        return None


class SecretsCors:
    """Open to every origin on the secret routes, closed on the others (protocol, section 1)."""

    def __init__(self, app: Any) -> None:  # noqa: ANN401  # ASGI application
        self._app = app
        self._open = CORSMiddleware(
            app,
            allow_origins=["*"],
            allow_methods=["HEAD", "POST", "PUT"],
            allow_headers=["*"],
            expose_headers=_RATE_HEADERS,
        )

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:  # noqa: ANN401  # ASGI
        """Pass the request on."""
        opened = scope["type"] == "http" and scope["path"].startswith(OPEN_PATHS)
        await (self._open if opened else self._app)(scope, receive, send)


class _Gate(ABC):
    """Answers some requests itself and passes the others on."""

    paths: tuple[str, ...] = ()

    def __init__(self, app: Any) -> None:  # noqa: ANN401  # ASGI application
        self._app = app

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:  # noqa: ANN401  # ASGI
        """Answer or pass on."""
        if scope["type"] == "http" and f"{scope['path']}/".startswith(self.paths):
            refused = self.refuse(scope)
            if refused is not None:
                await refused(scope, receive, send)
                return
        await self._app(scope, receive, send)

    @abstractmethod
    def refuse(self, scope: Any) -> Response | None:  # noqa: ANN401  # ASGI scope
        """The answer, or None to pass on."""


class OfflineGate(_Gate):
    """503 while the database is being replaced. Unlike the official service, it does not start offline."""

    paths = _GUARDED

    def refuse(self, scope: Any) -> Response | None:  # noqa: ANN401  # ASGI scope
        """See the class."""
        services = _services(scope)
        if not (services.maintenance.offline and services.settings.out_of_service_enabled):
            return None
        return PlainTextResponse(OFFLINE_TEXT, status_code=503, headers={"Retry-After": "5"})


class AdminGate(_Gate):
    """403 where no key is configured, 401 without the right one.

    On the TLS port a client whose own key the settings name needs none.
    """

    paths = ADMIN_PATHS

    def refuse(self, scope: Any) -> Response | None:  # noqa: ANN401  # ASGI scope
        """See the class."""
        settings = _services(scope).settings
        client = client_key_hash(scope) if settings.admins else None
        if client is not None and any(hmac.compare_digest(client, admin) for admin in settings.admins):
            return None
        wanted = settings.admin_key()
        if wanted is None:
            disabled = PlainTextResponse(DISABLED_TEXT, status_code=403)
            return disabled if client is None else PlainTextResponse(FORBIDDEN_TEXT, status_code=401)
        given = Headers(scope=scope).get("x-api-key", "")
        # Hashed first: the comparison then does not tell the length either.
        hashes = (hashlib.sha256(text.encode()).digest() for text in (given, wanted.reveal()))
        if not hmac.compare_digest(*hashes):
            return PlainTextResponse(FORBIDDEN_TEXT, status_code=401)
        return None


class RateGate:
    """429 for a client that asks too often; the others learn what they have left."""

    def __init__(self, app: Any) -> None:  # noqa: ANN401  # ASGI application
        self._app = app

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:  # noqa: ANN401  # ASGI
        """Count the request, then answer or pass on."""
        if scope["type"] != "http" or not f"{scope['path']}/".startswith(_LIMITED):
            await self._app(scope, receive, send)
            return
        services = _services(scope)
        allowance = services.limiter.take(client_of(scope))
        if not allowance.allowed:
            services.metrics.count("requests", "limited")
            await Response(status_code=429, headers=allowance.headers())(scope, receive, send)
            return
        await self._app(scope, receive, _with_headers(send, allowance))


def _with_headers(send: Any, allowance: Allowance) -> Any:  # noqa: ANN401  # ASGI
    added = [(name.lower().encode(), value.encode()) for name, value in allowance.headers().items()]

    async def sending(message: Any) -> None:  # noqa: ANN401  # ASGI
        if message["type"] == "http.response.start":
            message = {**message, "headers": [*message.get("headers", ()), *added]}
        await send(message)

    return sending


def _services(scope: Any) -> Services:  # noqa: ANN401  # ASGI scope
    return cast("Services", scope["app"].state.services)
