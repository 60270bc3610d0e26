"""The two HTTP faces of the CAS. Errors are problem+json with stable codes.

=========  =============================  ====================================================================
port       route                          answers
=========  =============================  ====================================================================
REST       ``POST /session``              201 stored · 400 ``cas.session.invalid``, ``cas.session.yaml`` ·
                                          401 no client certificate · 403 ``cas.session.forbidden``,
                                          ``cas.session.quota`` · 409 ``cas.session.exists``, ``…predecessor`` ·
                                          429 ``cas.rate``: refused too often
REST       ``GET /session?after=``        200: names and hashes of the caller's own sessions · 400 · 401
REST       ``GET /session/<name>``        200 · 401 · 404 ``cas.session.unknown``
REST       ``GET /ca``                    200 PEM
attested   ``GET /v1/nonce``              200
attested   ``POST /v1/config``            200 · 401 no client certificate · 403 ``attestation.*``,
                                          ``cas.release.*`` · to an enclave of the session also 404
                                          ``cas.session.expired``, ``…service_unknown``
attested   ``POST /v1/enclave-key``       as ``/v1/config``, and 403 ``cas.enclave_key.unknown`` · 409
                                          ``cas.enclave_key.pending``, ``….state``
both       ``GET /attestation?nonce=``    200 · 400
both       ``GET /v1/collateral``         200 · 503 ``cas.collateral``, ``attestation.*``
=========  =============================  ====================================================================

503 means: no verdict now, trying again may help. A refusal of ``/v1/config`` or ``/v1/enclave-key`` says its code and
nothing else: reasons name measurements and policies, which are no business of a peer that is not attested; they are in
the audit log. What a stranger is told does not depend on any session (:mod:`adyton.cas.releasing.disclosure`). Both
ports have the health and metrics routes of every service, and their document at ``/openapi.json``.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Callable
from typing import Annotated, Any, Final, TypeVar

from fastapi import APIRouter, Depends, FastAPI, Request, Response
from fastapi.responses import PlainTextResponse
from prometheus_client import Counter
from pydantic import ValidationError

from adyton import __version__
from adyton.attestation.errors import AttestationError
from adyton.attestation.ratls.provenkey import read_nonce
from adyton.base.clock import Clock, utc_now
from adyton.base.errors import AdytonError, InputError, NotFoundError, UnavailableError
from adyton.base.log import get_logger
from adyton.cas.errors import ConflictError, ForbiddenError, ReleaseRefusedError, UnauthenticatedError
from adyton.cas.face.authority import Authority
from adyton.cas.face.identity import CasIdentityError, spki_of
from adyton.cas.face.openapi_document import complete
from adyton.cas.face.prover import Prover
from adyton.cas.face.refusals import RefusalLimit
from adyton.cas.language.yamltree import MAX_BYTES
from adyton.cas.releasing.attested import ReleaseService
from adyton.cas.releasing.disclosure import NotTakenError
from adyton.cas.releasing.keyring import KeyExchangeRefusedError
from adyton.cas.service import SessionService
from adyton.cas.wire import (
    ConfigAnswer,
    ConfigRequest,
    IdentityAnswer,
    KeyAnswer,
    KeyRequest,
    NonceAnswer,
    SessionAnswer,
    SessionDocumentAnswer,
    SessionListAnswer,
)
from adyton.web.app import new_app
from adyton.web.peercert import client_certificate

T = TypeVar("T")
R = TypeVar("R", bound=ConfigRequest)

_log = get_logger("cas.api")
_PAGES: Final[dict[str, Any]] = {"docs_url": None, "redoc_url": None}  # they would load programs from elsewhere
_STATUSES: Final = (
    (UnauthenticatedError, 401),
    (CasIdentityError, 400),
    (ForbiddenError, 403),
    (ConflictError, 409),
    (KeyExchangeRefusedError, 409),
    (ReleaseRefusedError, 403),
    (AttestationError, 403),
)
_MAX_CONFIG_REQUEST: Final = 4096  # two names
_CURSOR: Final = re.compile(r"(?:[0-9a-f]{64})?")
_REFUSAL: Final = "the audit log of the CAS has the reason"
_NO_COLLATERAL: Final = "there is no collateral for the platform of this CAS that it would accept itself"
_COLLATERAL_HINT: Final = "see the CAS's log; its certificate service, or 'adyton collateral import', has to bring it"
_NO_VERDICT: Final = "no verdict is possible now; the log of the CAS has the reason"


async def _raw_body(request: Request) -> bytes:
    return await request.body()


async def _client(request: Request) -> str:
    """The caller's identity: SHA-256 of the public key it proved, hex."""
    certificate = client_certificate(dict(request.scope))
    if certificate is None:
        raise UnauthenticatedError("the connection has no client certificate")
    return hashlib.sha256(spki_of(certificate)).hexdigest()


Body = Annotated[bytes, Depends(_raw_body)]
Client = Annotated[str, Depends(_client)]


async def _peer(request: Request, client: Client) -> str:
    """The caller's address, once it is sure that it may ask again; before its body is read."""
    peer = request.client.host if request.client else ""
    limit: RefusalLimit = request.app.state.refusals
    certificate = client_certificate(dict(request.scope))
    if not limit.is_proven(client) and certificate is not None and request.app.state.has_issued(certificate):
        limit.accepted(client)  # an SMS goes on after a renewal of its key, whoever else is at its address
    limit.require(client, peer)
    return peer


Peer = Annotated[str, Depends(_peer)]


def build_rest_app(
    sessions: SessionService,
    prover: Prover,
    authority: Callable[[], Authority],
    limit: RefusalLimit,
    *,
    clock: Clock = utc_now,
) -> FastAPI:
    """The application of the REST port; ``limit`` is on the refused requests of one client."""
    app = new_app("Adyton CAS", __version__, max_body_bytes=MAX_BYTES, statuses=_STATUSES, **_PAGES)
    complete(app)
    app.state.refusals = limit
    app.state.has_issued = lambda certificate: authority().has_issued(certificate, clock())
    app.include_router(_proof_routes(prover))

    @app.post("/session", status_code=201)
    def put_session(client: Client, peer: Peer, body: Body) -> SessionAnswer:
        try:
            answer = sessions.put(client, body)
        except UnavailableError:
            raise
        except AdytonError:
            limit.refused(client, peer)
            raise
        limit.accepted(client)
        return answer

    @app.get("/session")
    def list_sessions(client: Client, after: str = "") -> SessionListAnswer:
        if not _CURSOR.fullmatch(after):
            raise InputError("'after' is not the cursor of a page", code="cas.request.cursor")
        return sessions.list(client, after)

    @app.get("/session/{name}")
    def show_session(client: Client, name: str) -> SessionDocumentAnswer:
        return sessions.show(client, name)

    @app.get("/ca", response_class=PlainTextResponse)
    def ca() -> Response:
        return Response(authority().root_pem, media_type="application/x-pem-file")

    return app


def build_attested_app(releases: ReleaseService, prover: Prover) -> FastAPI:
    """The application of the attested port."""
    app = new_app("Adyton CAS, attested", __version__, max_body_bytes=_MAX_CONFIG_REQUEST, statuses=_STATUSES, **_PAGES)
    complete(app)
    app.include_router(_proof_routes(prover))
    verdicts = Counter("cas_releases", "Verdicts over enclaves.", ["code"], registry=app.state.registry)

    @app.get("/v1/nonce")
    async def nonce() -> NonceAnswer:
        return releases.nonce()

    @app.post("/v1/config")
    def config(request: Request, body: Body) -> ConfigAnswer:
        return counted(lambda: releases.release(client_certificate(dict(request.scope)), _read(ConfigRequest, body)))

    @app.post("/v1/enclave-key")
    def enclave_key(request: Request, body: Body) -> KeyAnswer:
        return counted(lambda: releases.exchange_key(client_certificate(dict(request.scope)), _read(KeyRequest, body)))

    def counted(release: Callable[[], T]) -> T:
        try:
            answer = release()
        except AdytonError as error:
            verdicts.labels(error.code).inc()
            raise _disclosed(error) from error
        verdicts.labels("released").inc()
        return answer

    return app


def _disclosed(error: AdytonError) -> AdytonError:
    """What a peer that is not attested may know of an error: its code. What it got wrong itself, it is told."""
    if isinstance(error, (InputError, KeyExchangeRefusedError, NotTakenError)):
        return error
    if isinstance(error, (AttestationError, ReleaseRefusedError)):
        return ReleaseRefusedError(_REFUSAL, code=error.code, hint="")
    for kind in (UnauthenticatedError, CasIdentityError, NotFoundError):
        if isinstance(error, kind):
            return kind(_REFUSAL, code=error.code)
    if isinstance(error, UnavailableError):
        return UnavailableError(_NO_VERDICT, code=error.code)
    return AdytonError(_NO_VERDICT, code=error.code)


def _proof_routes(prover: Prover) -> APIRouter:
    router = APIRouter()

    @router.get("/attestation")
    def attestation(nonce: str) -> IdentityAnswer:
        refusal = InputError("the nonce is not 16 to 64 bytes in hex", code="cas.request.nonce")
        return prover.identity(read_nonce(nonce, refusal))

    @router.get("/v1/collateral")
    def collateral() -> Response:
        try:
            found = prover.collateral()
        except AttestationError as error:  # of the certificate service's answer, or of the CAS's own platform
            _log.error("no collateral to show", code=error.code, detail=error.message)
            raise UnavailableError(_NO_COLLATERAL, code="cas.collateral", hint=_COLLATERAL_HINT) from error
        return Response(found.to_json(), media_type="application/json")

    return router


def _read(kind: type[R], body: bytes) -> R:
    try:
        return kind.model_validate_json(body)
    except ValidationError as error:
        first = error.errors(include_input=False, include_url=False, include_context=False)[0]
        place = ".".join(map(str, first["loc"])) or "request"
        raise InputError(f"{place}: {first['msg']}", code="cas.request.invalid") from None
