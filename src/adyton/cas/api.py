"""The two HTTP faces of the CAS. Errors are problem+json with stable codes.

=========  =============================  ====================================================================
port       route                          answers
=========  =============================  ====================================================================
REST       ``POST /session``              201 stored · 400 ``cas.session.invalid``, ``cas.session.yaml`` ·
                                          401 no client certificate · 403 ``cas.session.forbidden``,
                                          ``cas.session.quota`` · 409 ``cas.session.exists``, ``…predecessor``
REST       ``GET /session?after=``        200: names and hashes of the caller's own sessions · 400 · 401
REST       ``GET /session/<name>``        200 · 401 · 404 ``cas.session.unknown``
REST       ``GET /ca``                    200 PEM
attested   ``GET /v1/nonce``              200
attested   ``POST /v1/config``            200 · 401 no client certificate · 403 ``attestation.*``,
                                          ``cas.release.*`` · 404 ``cas.session.unknown``, ``…expired``,
                                          ``…service_unknown``
both       ``GET /attestation?nonce=``    200 · 400
both       ``GET /v1/collateral``         200 · 503
=========  =============================  ====================================================================

503 means: no verdict now, trying again may help. A refusal of ``/v1/config`` says its code and nothing else: reasons
name measurements and policies, which are no business of a peer that is not attested; they are in the audit log. Both
ports have the health and metrics routes of every service.
"""

from __future__ import annotations

import hashlib
import re
from typing import Annotated, Final

from fastapi import APIRouter, Depends, FastAPI, Request, Response
from fastapi.responses import PlainTextResponse
from prometheus_client import Counter
from pydantic import ValidationError

from adyton import __version__
from adyton.attestation.errors import AttestationError
from adyton.base.errors import AdytonError, InputError, NotFoundError, UnavailableError
from adyton.cas.attested import ReleaseService
from adyton.cas.authority import Authority
from adyton.cas.errors import ConflictError, ForbiddenError, ReleaseRefusedError, UnauthenticatedError
from adyton.cas.identity import CasIdentityError, spki_of
from adyton.cas.prover import Prover
from adyton.cas.service import SessionService
from adyton.cas.wire import (
    ConfigAnswer,
    ConfigRequest,
    IdentityAnswer,
    NonceAnswer,
    SessionAnswer,
    SessionDocumentAnswer,
    SessionListAnswer,
)
from adyton.cas.yamltree import MAX_BYTES
from adyton.web.app import new_app
from adyton.web.peercert import client_certificate

_STATUSES: Final = (
    (UnauthenticatedError, 401),
    (CasIdentityError, 400),
    (ForbiddenError, 403),
    (ConflictError, 409),
    (ReleaseRefusedError, 403),
    (AttestationError, 403),
)
_MAX_CONFIG_REQUEST: Final = 4096  # two names
_CURSOR: Final = re.compile(r"(?:[0-9a-f]{64})?")
_REFUSAL: Final = "the audit log of the CAS has the reason"
_NO_VERDICT: Final = "no verdict is possible now; the log of the CAS has the reason"


async def _raw_body(request: Request) -> bytes:
    return await request.body()


def _client(request: Request) -> str:
    """The caller's identity: SHA-256 of the public key it proved, hex."""
    certificate = client_certificate(dict(request.scope))
    if certificate is None:
        raise UnauthenticatedError("the connection has no client certificate")
    return hashlib.sha256(spki_of(certificate)).hexdigest()


Body = Annotated[bytes, Depends(_raw_body)]
Client = Annotated[str, Depends(_client)]


def build_rest_app(sessions: SessionService, prover: Prover, authority: Authority) -> FastAPI:
    """The application of the REST port."""
    app = new_app("Adyton CAS", __version__, max_body_bytes=MAX_BYTES, statuses=_STATUSES)
    app.include_router(_proof_routes(prover))

    @app.post("/session", status_code=201)
    def put_session(client: Client, body: Body) -> SessionAnswer:
        return sessions.put(client, body)

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
        return Response(authority.root_pem, media_type="application/x-pem-file")

    return app


def build_attested_app(releases: ReleaseService, prover: Prover) -> FastAPI:
    """The application of the attested port."""
    app = new_app("Adyton CAS, attested", __version__, max_body_bytes=_MAX_CONFIG_REQUEST, statuses=_STATUSES)
    app.include_router(_proof_routes(prover))
    verdicts = Counter("cas_releases", "Verdicts over enclaves.", ["code"], registry=app.state.registry)

    @app.get("/v1/nonce")
    def nonce() -> NonceAnswer:
        return releases.nonce()

    @app.post("/v1/config")
    def config(request: Request, body: Body) -> ConfigAnswer:
        try:
            answer = releases.release(client_certificate(dict(request.scope)), _config_request(body))
        except AdytonError as error:
            verdicts.labels(error.code).inc()
            raise _disclosed(error) from error
        verdicts.labels("released").inc()
        return answer

    return app


def _disclosed(error: AdytonError) -> AdytonError:
    """What a peer that is not attested may know of an error: its code. What it got wrong itself, it is told."""
    if isinstance(error, InputError):
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
        try:
            value = bytes.fromhex(nonce)
        except ValueError:
            raise InputError("the nonce is not hex text", code="cas.request.nonce") from None
        return prover.identity(value)

    @router.get("/v1/collateral")
    def collateral() -> Response:
        return Response(prover.collateral().to_json(), media_type="application/json")

    return router


def _config_request(body: bytes) -> ConfigRequest:
    try:
        return ConfigRequest.model_validate_json(body)
    except ValidationError as error:
        first = error.errors(include_input=False, include_url=False, include_context=False)[0]
        place = ".".join(map(str, first["loc"])) or "request"
        raise InputError(f"{place}: {first['msg']}", code="cas.request.invalid") from None
