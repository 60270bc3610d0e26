"""The routes about tasks and frameworks (protocol, section 1.5)."""

from __future__ import annotations

from http import HTTPStatus
from typing import Any, Final

from fastapi import APIRouter, Response
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse, PlainTextResponse
from pydantic import ValidationError
from pydantic.json_schema import models_json_schema

from adyton.sms.access.authorize import NotAuthorizedError
from adyton.sms.errors import DatabaseRowError, SessionRefusedError
from adyton.sms.http.intake import Authorization, RawBody, Served
from adyton.sms.pipelines import PipelineSettings
from adyton.sms.settings import SmsSettings
from adyton.sms.wire import Framework, SessionAnswer, SessionData, TeeProperties, WorkerpoolAuthorization

_PROPERTIES: Final[dict[str, Any]] = {
    "response_model": TeeProperties,
    "responses": {400: {"description": "No such framework"}, 409: {"description": "This service runs another one"}},
}
_AUTHORIZATION: Final[dict[str, Any]] = {
    "requestBody": {
        "required": True,
        "content": {"application/json": {"schema": {"$ref": "#/components/schemas/WorkerpoolAuthorization"}}},
    }
}
SCHEMAS: Final[dict[str, Any]] = models_json_schema(
    [(WorkerpoolAuthorization, "validation")], ref_template="#/components/schemas/{model}"
)[1]["$defs"]
"""Components of the OpenAPI document that bodies of these routes refer to."""

_BUSY: Final[dict[int | str, dict[str, Any]]] = {
    400: {"description": "A missing or malformed header, parameter or body"},
    401: {"description": "The execution is not authorized"},
    429: {"description": "Too many requests; `Retry-After` says when to come back"},
    503: {"description": "The database failed, or the service is offline for a restore"},
}

router = APIRouter(prefix="/tee", tags=["tee"])


@router.get("/framework", response_model=Framework)
def framework(services: Served) -> JSONResponse:
    """The service's TEE framework as a JSON text."""
    return JSONResponse(services.settings.framework.value)


@router.get("/properties/{name}", deprecated=True, **_PROPERTIES)
def first_properties(services: Served, name: str) -> Response:
    """Properties of the first pipeline; 400 unknown framework, 409 not this service's."""
    return _properties(services.settings, name, services.settings.pipelines[0])


@router.get(
    "/properties/{name}/{version}",
    **(_PROPERTIES | {"responses": _PROPERTIES["responses"] | {404: {"description": "No such version"}}}),
)
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


@router.post(
    "/challenges/{task_id}",
    response_class=PlainTextResponse,
    responses=_BUSY | {404: {"description": "The task's challenge is damaged"}},
)
def challenge(services: Served, task_id: str, authorization: Authorization) -> Response:
    """200 the enclave challenge as lower-case text; 401 without a body for every refusal, 404 when it is damaged."""
    try:
        address = services.tee.challenge(task_id, authorization).lower()
    except NotAuthorizedError as error:
        services.metrics.count("challenge", error.reason)
        return Response(status_code=HTTPStatus.UNAUTHORIZED)
    except DatabaseRowError:
        services.metrics.count("challenge", "damaged")
        return Response(status_code=HTTPStatus.NOT_FOUND)
    services.metrics.count("challenge", "given")
    return PlainTextResponse(address)


@router.post(
    "/sessions",
    response_model=SessionAnswer,
    responses=_BUSY
    | {
        401: {"model": SessionAnswer, "description": "The execution is not authorized"},
        500: {"model": SessionAnswer, "description": "The session could not be made; `error` says why"},
    },
    openapi_extra=_AUTHORIZATION,
)
def session(services: Served, authorization: Authorization, body: RawBody) -> Response:
    """200 session and provisioning address; else the official failure with its status."""
    try:
        asked = WorkerpoolAuthorization.model_validate_json(body or b"")
    except ValidationError as error:
        raise RequestValidationError([]) from error
    try:
        session_id = services.tee.open_session(asked, authorization)
    except SessionRefusedError as error:
        services.metrics.count("session", error.failure)
        return _session_answer(error.failure.status, SessionAnswer(error=error.failure))
    services.metrics.count("session", "opened")
    address = services.settings.provisioner_enclave_address
    data = SessionData(session_id=session_id, secret_provisioning_url=address)
    return _session_answer(200, SessionAnswer(data=data))


def _session_answer(status: int, answer: SessionAnswer) -> JSONResponse:
    return JSONResponse(answer.model_dump(by_alias=True, exclude_none=True), status_code=status)
