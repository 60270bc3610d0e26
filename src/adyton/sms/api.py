"""The official HTTP surface (protocol, section 1) and :func:`build_app`.

Routes decode, call one use case and encode. Values come as the raw body whatever its content type; statuses and
texts are the official ones; a failing chain or database is 503 (the official service says 401 and 409 there, which
tells a client something false).
"""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any, Final

from fastapi import APIRouter, FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import HTMLResponse, JSONResponse, PlainTextResponse
from starlette.exceptions import HTTPException

from adyton import __version__
from adyton.base.clock import Clock, utc_now
from adyton.sms import admin, secrets_api, tee_api
from adyton.sms.backups import BackupArchive
from adyton.sms.bulk import Files
from adyton.sms.chain_view import ChainView
from adyton.sms.composition import compose
from adyton.sms.edge import add_edge
from adyton.sms.errors import TooManyRequestsError
from adyton.sms.intake import Served, official_error, too_many
from adyton.sms.openapi_page import render
from adyton.sms.sessions import SessionStore
from adyton.sms.settings import SmsSettings
from adyton.web.app import new_app

_ADMIN_KEY: Final = {"type": "apiKey", "in": "header", "name": "X-API-KEY"}


def build_app(
    settings: SmsSettings,
    *,
    view: ChainView | None = None,
    store: SessionStore | None = None,
    files: Files | None = None,
    archive: BackupArchive | None = None,
    clock: Clock = utc_now,
) -> FastAPI:
    """The service; arguments and errors are those of :func:`adyton.sms.composition.compose`."""
    services = compose(settings, view=view, store=store, files=files, archive=archive, clock=clock)

    @asynccontextmanager
    async def lifespan(app: FastAPI) -> AsyncIterator[None]:
        yield
        app.state.services.close()

    app = new_app(
        "iExec SMS",
        __version__,
        docs_url=None,
        redoc_url=None,
        openapi_url="/v3/api-docs",
        redirect_slashes=False,
        lifespan=lifespan,
    )
    app.state.services = services
    app.state.registry.register(services.metrics)
    for kind in (RequestValidationError, HTTPException, Exception):
        app.add_exception_handler(kind, official_error)
    app.add_exception_handler(TooManyRequestsError, too_many)
    add_edge(app)
    for router in (secrets_api.router, tee_api.router, admin.router, _router):
        app.include_router(router)
    app.openapi = lambda: _openapi(app)  # type: ignore[method-assign]  # FastAPI's own way to change the document
    return app


def _openapi(app: FastAPI) -> dict[str, Any]:
    """FastAPI's document, with what this service does differently: malformed requests are 400, admin has a key."""
    if app.openapi_schema is None:
        document = FastAPI.openapi(app)
        for path, operations in document["paths"].items():
            for operation in operations.values():
                if operation["responses"].pop("422", None) is not None:
                    operation["responses"].setdefault("400", {"description": "A missing or malformed parameter"})
                if path.startswith("/admin/"):
                    operation["security"] = [{"admin": []}]
        document["components"]["securitySchemes"]["admin"] = _ADMIN_KEY
        document["components"]["schemas"] |= tee_api.SCHEMAS
        for unused in ("HTTPValidationError", "ValidationError"):
            document["components"]["schemas"].pop(unused, None)
    return app.openapi_schema or {}


_router = APIRouter(tags=["service"])


@_router.get("/version", response_class=PlainTextResponse)
def version() -> PlainTextResponse:
    """The service's version."""
    return PlainTextResponse(__version__)


@_router.get("/metrics")
def metrics(services: Served) -> JSONResponse:
    """Numbers of stored secrets."""
    return JSONResponse(services.metrics.document())


@_router.get("/swagger-ui/index.html", include_in_schema=False)
def page(request: Request) -> HTMLResponse:
    """The OpenAPI document for people: without scripts, and nothing from elsewhere."""
    headers = {"Content-Security-Policy": "default-src 'none'; style-src 'unsafe-inline'"}
    return HTMLResponse(render(request.app.openapi()), headers=headers)
