"""The official HTTP surface (protocol, section 1) and :func:`build_app`.

Routes decode, call one use case and encode. Values come as the raw body whatever its content type; statuses and
texts are the official ones; a failing chain or database is 503 (the official service says 401 and 409 there, which
tells a client something false).
"""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Final

from fastapi import APIRouter, FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import HTMLResponse, JSONResponse, PlainTextResponse
from starlette.exceptions import HTTPException

from adyton import __version__
from adyton.attestation.errors import AttestationError
from adyton.base.clock import Clock, utc_now
from adyton.platform.protocol import PlatformError
from adyton.sms.backup.backups import BackupArchive
from adyton.sms.composition import compose
from adyton.sms.errors import TooManyRequestsError
from adyton.sms.http import admin, secrets_api, tee_api
from adyton.sms.http.edge import add_edge
from adyton.sms.http.intake import Served, official_error, too_many
from adyton.sms.http.openapi_document import describe
from adyton.sms.http.openapi_page import render
from adyton.sms.onchain.view import ChainView
from adyton.sms.opening.bulk import Files
from adyton.sms.opening.session_stores import SessionStore
from adyton.sms.prover import Prover, proof_routes
from adyton.sms.settings import SmsSettings
from adyton.sms.store.keyexchange import KeyExchange
from adyton.web.app import new_app

_STATUSES: Final = ((PlatformError, 503), (AttestationError, 503))  # this service cannot prove itself now


def build_app(
    settings: SmsSettings,
    *,
    view: ChainView | None = None,
    store: SessionStore | None = None,
    files: Files | None = None,
    archive: BackupArchive | None = None,
    prover: Prover | None = None,
    exchange: KeyExchange | None = None,
    measurement: str = "",
    clock: Clock = utc_now,
) -> FastAPI:
    """The service; arguments and errors are those of :func:`adyton.sms.composition.compose`, and ``prover``.

    With a prover it has the routes by which it proves itself; they mean nothing but over the prover's own TLS.
    """
    services = compose(
        settings,
        view=view,
        store=store,
        files=files,
        archive=archive,
        exchange=exchange,
        measurement=measurement,
        clock=clock,
    )

    @asynccontextmanager
    async def lifespan(app: FastAPI) -> AsyncIterator[None]:
        yield
        app.state.services.close()

    app = new_app(
        "iExec SMS",
        __version__,
        statuses=_STATUSES,
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
    if prover is not None:
        app.include_router(proof_routes(prover))
    app.openapi = lambda: describe(app)  # type: ignore[method-assign]  # FastAPI's own way to change the document
    return app


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
