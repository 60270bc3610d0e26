"""The official HTTP surface (protocol, section 1) and :func:`build_app`.

Routes decode, call one use case and encode. Values come as the raw body whatever its content type; statuses and
texts are the official ones; a failing chain or database is 503 (the official service says 401 and 409 there, which
tells a client something false).
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from http import HTTPStatus
from typing import Annotated, Any, Final

from fastapi import APIRouter, FastAPI, Query, Response
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse, PlainTextResponse
from pydantic import ValidationError
from starlette.middleware.cors import CORSMiddleware

from adyton import __version__
from adyton.base.clock import Clock, utc_now
from adyton.base.errors import AdytonError
from adyton.sms.authorize import NotAuthorizedError
from adyton.sms.chain_view import ChainView
from adyton.sms.composition import compose
from adyton.sms.errors import (
    NotAllowedError,
    SecretExistsError,
    SecretNameError,
    SecretNotFoundError,
    SecretSizeError,
    SessionRefusedError,
)
from adyton.sms.intake import Authorization, Body, Limited, RawBody, Served, Text, bad_request
from adyton.sms.service import Upload
from adyton.sms.sessions import SessionStore
from adyton.sms.settings import PipelineSettings, SmsSettings
from adyton.sms.tables import SecretKey
from adyton.sms.wire import (
    BAD_KEY_TEXT,
    EXISTS_TEXT,
    TOO_LARGE_TEXT,
    UNAUTHORIZED_TEXT,
    Framework,
    SessionAnswer,
    SessionData,
    WorkerpoolAuthorization,
)
from adyton.web.app import new_app

_CORS_PATHS: Final = ("/secrets/", "/apps/", "/requesters/")
_NO_CONTENT: Final = 204

Refusals = dict[type[AdytonError], tuple[int, str | None]]

_BARE: Final[Refusals] = {
    NotAllowedError: (401, None),
    SecretNotFoundError: (404, None),
    SecretExistsError: (409, None),
    SecretSizeError: (413, None),
    SecretNameError: (400, None),
}
_APP: Final[Refusals] = {
    NotAllowedError: (401, UNAUTHORIZED_TEXT),
    SecretExistsError: (409, EXISTS_TEXT),
    SecretSizeError: (413, TOO_LARGE_TEXT),
}
_REQUESTER: Final[Refusals] = {
    NotAllowedError: (401, UNAUTHORIZED_TEXT),
    SecretNameError: (400, BAD_KEY_TEXT),
    SecretSizeError: (400, TOO_LARGE_TEXT),  # not 413: the official service's own exception
    SecretExistsError: (409, EXISTS_TEXT),
}


def build_app(
    settings: SmsSettings,
    *,
    view: ChainView | None = None,
    store: SessionStore | None = None,
    clock: Clock = utc_now,
) -> FastAPI:
    """The service; arguments and errors are those of :func:`adyton.sms.composition.compose`."""
    services = compose(settings, view=view, store=store, clock=clock)

    @asynccontextmanager
    async def lifespan(_app: FastAPI) -> AsyncIterator[None]:
        yield
        services.close()

    app = new_app(
        "iExec SMS", __version__, docs_url=None, redoc_url=None, openapi_url="/v3/api-docs", lifespan=lifespan
    )
    app.state.services = services
    app.state.registry.register(services.metrics)
    app.add_exception_handler(RequestValidationError, bad_request)
    app.add_middleware(_SecretsCors)
    app.include_router(router)
    return app


# -- encoding -----------------------------------------------------------------------------------------------------


def _found(exists: bool) -> Response:
    return Response(status_code=_NO_CONTENT if exists else 404)


def _push(upload: Upload | None, refusals: Refusals, use_case: Callable[[Upload], None]) -> Response:
    if upload is None:
        # What is left of such a body must not be waited for, so the server hangs up.
        return _refused(SecretSizeError(TOO_LARGE_TEXT), refusals, {"Connection": "close"})
    try:
        use_case(upload)
    except tuple(refusals) as error:
        return _refused(error, refusals)
    return Response(status_code=_NO_CONTENT)


def _refused(error: AdytonError, refusals: Refusals, headers: dict[str, str] | None = None) -> Response:
    status, text = next(answer for kind, answer in refusals.items() if isinstance(error, kind))
    if text is None:
        return Response(status_code=status, headers=headers)
    return JSONResponse({"error": [text]}, status_code=status, headers=headers)


class _SecretsCors:
    """Open to every origin on the secret routes, closed on the others (protocol, section 1)."""

    def __init__(self, app: Any) -> None:  # noqa: ANN401  # ASGI application
        self._app = app
        self._open = CORSMiddleware(
            app, allow_origins=["*"], allow_methods=["HEAD", "POST", "PUT"], allow_headers=["*"]
        )

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:  # noqa: ANN401  # ASGI
        opened = scope["type"] == "http" and scope["path"].startswith(_CORS_PATHS)
        await (self._open if opened else self._app)(scope, receive, send)


# -- routes -------------------------------------------------------------------------------------------------------

router = APIRouter()


@router.head("/secrets/web3")
def has_web3(services: Limited, address: Annotated[Text, Query(alias="secretAddress")]) -> Response:
    """204 present, 404 absent."""
    return _found(services.secrets.exists(SecretKey.web3(address)))


@router.post("/secrets/web3")
def push_web3(
    services: Limited, address: Annotated[Text, Query(alias="secretAddress")], authorization: Authorization, body: Body
) -> Response:
    """204 stored; 401 not the owner, 413 too large, 409 exists."""
    return _push(body, _BARE, lambda upload: services.secrets.push_web3(address, upload, authorization))


@router.head("/secrets/web2")
def has_web2(
    services: Limited,
    owner: Annotated[Text, Query(alias="ownerAddress")],
    name: Annotated[Text, Query(alias="secretName")],
) -> Response:
    """204 present, 404 absent."""
    return _found(services.secrets.exists(SecretKey.web2(owner, name)))


@router.post("/secrets/web2")
def push_web2(
    services: Limited,
    owner: Annotated[Text, Query(alias="ownerAddress")],
    name: Annotated[Text, Query(alias="secretName")],
    authorization: Authorization,
    body: Body,
) -> Response:
    """204 stored; 401 not the owner, 413 too large, 409 exists."""
    return _push(body, _BARE, lambda upload: services.secrets.push_web2(owner, name, upload, authorization))


@router.put("/secrets/web2")
def replace_web2(
    services: Limited,
    owner: Annotated[Text, Query(alias="ownerAddress")],
    name: Annotated[Text, Query(alias="secretName")],
    authorization: Authorization,
    body: Body,
) -> Response:
    """204 changed or unchanged; 401 not the owner or a replay, 413 too large, 404 absent."""
    return _push(body, _BARE, lambda upload: services.secrets.replace_web2(owner, name, upload, authorization))


@router.head("/apps/{app}/secrets")
def has_app(services: Limited, app: str) -> Response:
    """204 present, 404 absent."""
    return _found(services.secrets.exists(SecretKey.app(app)))


@router.post("/apps/{app}/secrets")
def push_app(services: Limited, app: str, authorization: Authorization, body: Body) -> Response:
    """204 stored; 401, 413 and 409 with their texts."""
    return _push(body, _APP, lambda upload: services.secrets.push_app(app, upload, authorization))


@router.head("/requesters/{requester}/secrets/{key}")
def has_requester(services: Limited, requester: str, key: str) -> Response:
    """204 present, 404 absent, 400 malformed key."""
    try:
        return _found(services.secrets.exists_requester(requester, key))
    except SecretNameError:
        return Response(status_code=HTTPStatus.BAD_REQUEST)


@router.post("/requesters/{requester}/secrets/{key}")
def push_requester(services: Limited, requester: str, key: str, authorization: Authorization, body: Body) -> Response:
    """204 stored; 401, 400 and 409 with their texts."""
    return _push(
        body, _REQUESTER, lambda upload: services.secrets.push_requester(requester, key, upload, authorization)
    )


@router.get("/tee/framework")
def framework(services: Served) -> JSONResponse:
    """The service's TEE framework as a JSON text."""
    return JSONResponse(services.settings.framework.value)


@router.get("/tee/properties/{name}")
def first_properties(services: Served, name: str) -> Response:
    """Properties of the first pipeline; 400 unknown framework, 409 not this service's."""
    return _properties(services.settings, name, services.settings.pipelines[0])


@router.get("/tee/properties/{name}/{version}")
def properties(services: Served, name: str, version: str) -> Response:
    """Properties of one framework version; 400 unknown framework, 404 unknown version, 409 not this service's."""
    return _properties(services.settings, name, services.settings.pipeline(version))


def _properties(settings: SmsSettings, name: str, pipeline: PipelineSettings | None) -> Response:
    if name.upper() not in Framework.__members__:
        return Response(status_code=HTTPStatus.BAD_REQUEST)
    if pipeline is None:
        return Response(status_code=HTTPStatus.NOT_FOUND)
    if name.upper() != settings.framework:
        return Response(status_code=HTTPStatus.CONFLICT)
    return JSONResponse(settings.properties(pipeline).model_dump(mode="json", by_alias=True, exclude_none=True))


@router.post("/tee/challenges/{task_id}")
def challenge(services: Limited, task_id: str, authorization: Authorization) -> Response:
    """200 the enclave challenge as lower-case text; 401 without a body for every refusal."""
    try:
        return PlainTextResponse(services.tee.challenge(task_id, authorization).lower())
    except NotAuthorizedError:
        return Response(status_code=HTTPStatus.UNAUTHORIZED)


@router.post("/tee/sessions")
def session(services: Limited, authorization: Authorization, body: RawBody) -> Response:
    """200 session and provisioning address; else the official failure with its status."""
    try:
        asked = WorkerpoolAuthorization.model_validate_json(body or b"")
    except ValidationError as error:
        raise RequestValidationError([]) from error
    try:
        session_id = services.tee.open_session(asked, authorization)
    except SessionRefusedError as error:
        return _session_answer(error.failure.status, SessionAnswer(error=error.failure))
    address = services.settings.provisioner_enclave_address
    data = SessionData(session_id=session_id, secret_provisioning_url=address)
    return _session_answer(200, SessionAnswer(data=data))


def _session_answer(status: int, answer: SessionAnswer) -> JSONResponse:
    return JSONResponse(answer.model_dump(by_alias=True, exclude_none=True), status_code=status)


@router.get("/version")
def version() -> PlainTextResponse:
    """The service's version."""
    return PlainTextResponse(__version__)


@router.get("/metrics")
def metrics(services: Served) -> JSONResponse:
    """Numbers of stored secrets."""
    return JSONResponse(services.metrics.document())
