"""The secret routes (protocol, sections 1.1 to 1.4): the values' raw bodies, the official statuses and texts."""

from __future__ import annotations

from collections.abc import Callable
from http import HTTPStatus
from typing import Annotated, Any, Final

from fastapi import APIRouter, Query, Response
from fastapi.responses import JSONResponse

from adyton.base.errors import AdytonError
from adyton.sms.errors import (
    NotAllowedError,
    SecretExistsError,
    SecretNameError,
    SecretNotFoundError,
    SecretSizeError,
)
from adyton.sms.http.intake import Authorization, Body, Served, Text
from adyton.sms.service import Upload
from adyton.sms.store.tables import Kind, SecretKey
from adyton.sms.wire import BAD_KEY_TEXT, EXISTS_TEXT, MAX_SECRET_BYTES, TOO_LARGE_TEXT, UNAUTHORIZED_TEXT

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

Responses = dict[int | str, dict[str, Any]]
_COMMON: Final[Responses] = {
    400: {"description": "A missing or malformed header, parameter or body"},
    429: {"description": "Too many requests; `Retry-After` says when to come back"},
    503: {"description": "Chain or database failed, or the service is offline for a restore"},
}
_CHECKS: Final[Responses] = {204: {"description": "Present"}, 404: {"description": "Absent"}}
_WRITES: Final[Responses] = {
    204: {"description": "Stored"},
    401: {"description": "Not signed by who may write, or a signature that was used before"},
    409: {"description": "Exists already"},
    413: {"description": f"More than {MAX_SECRET_BYTES} bytes"},
}
_VALUE: Final[dict[str, Any]] = {
    "requestBody": {
        "required": True,
        "description": "The value as it is, UTF-8, whatever the content type",
        "content": {"text/plain": {"schema": {"type": "string", "minLength": 1, "maxLength": MAX_SECRET_BYTES}}},
    }
}
_CHECK: Final[dict[str, Any]] = {"status_code": 204, "response_class": Response, "responses": _CHECKS}
_WRITE: Final[dict[str, Any]] = {
    "status_code": 204,
    "response_class": Response,
    "responses": _WRITES,
    "openapi_extra": _VALUE,
}

router = APIRouter(tags=["secrets"], responses=_COMMON)


@router.head("/secrets/web3", **_CHECK)
def has_web3(services: Served, address: Annotated[Text, Query(alias="secretAddress")]) -> Response:
    """204 present, 404 absent."""
    return _found(services.secrets.exists(SecretKey.web3(address)))


@router.post("/secrets/web3", **_WRITE)
def push_web3(
    services: Served, address: Annotated[Text, Query(alias="secretAddress")], authorization: Authorization, body: Body
) -> Response:
    """204 stored; 401 not the owner, 413 too large, 409 exists."""
    push = _Push(services, Kind.WEB3, _BARE)
    return push(body, lambda upload: services.secrets.push_web3(address, upload, authorization))


@router.head("/secrets/web2", **_CHECK)
def has_web2(
    services: Served,
    owner: Annotated[Text, Query(alias="ownerAddress")],
    name: Annotated[Text, Query(alias="secretName")],
) -> Response:
    """204 present, 404 absent."""
    return _found(services.secrets.exists(SecretKey.web2(owner, name)))


@router.post("/secrets/web2", **_WRITE)
def push_web2(
    services: Served,
    owner: Annotated[Text, Query(alias="ownerAddress")],
    name: Annotated[Text, Query(alias="secretName")],
    authorization: Authorization,
    body: Body,
) -> Response:
    """204 stored; 401 not the owner, 413 too large, 409 exists."""
    push = _Push(services, Kind.WEB2, _BARE)
    return push(body, lambda upload: services.secrets.push_web2(owner, name, upload, authorization))


@router.put("/secrets/web2", **(_WRITE | {"responses": _WRITES | {404: {"description": "Absent"}}}))
def replace_web2(
    services: Served,
    owner: Annotated[Text, Query(alias="ownerAddress")],
    name: Annotated[Text, Query(alias="secretName")],
    authorization: Authorization,
    body: Body,
) -> Response:
    """204 changed or unchanged; 401 not the owner or a replay, 413 too large, 404 absent."""
    push = _Push(services, Kind.WEB2, _BARE)
    return push(body, lambda upload: services.secrets.replace_web2(owner, name, upload, authorization))


@router.head("/apps/{app}/secrets", **_CHECK)
def has_app(services: Served, app: str) -> Response:
    """204 present, 404 absent."""
    return _found(services.secrets.exists(SecretKey.app(app)))


@router.post("/apps/{app}/secrets", **_WRITE)
def push_app(services: Served, app: str, authorization: Authorization, body: Body) -> Response:
    """204 stored; 401, 413 and 409 with their texts."""
    push = _Push(services, Kind.APP, _APP)
    return push(body, lambda upload: services.secrets.push_app(app, upload, authorization))


@router.head("/requesters/{requester}/secrets/{key}", **_CHECK)
def has_requester(services: Served, requester: str, key: str) -> Response:
    """204 present, 404 absent, 400 malformed key."""
    try:
        return _found(services.secrets.exists_requester(requester, key))
    except SecretNameError:
        return Response(status_code=HTTPStatus.BAD_REQUEST)


@router.post("/requesters/{requester}/secrets/{key}", **_WRITE)
def push_requester(services: Served, requester: str, key: str, authorization: Authorization, body: Body) -> Response:
    """204 stored; 401, 400 and 409 with their texts."""
    push = _Push(services, Kind.REQUESTER, _REQUESTER)
    return push(body, lambda upload: services.secrets.push_requester(requester, key, upload, authorization))


def _found(exists: bool) -> Response:
    return Response(status_code=_NO_CONTENT if exists else 404)


class _Push:
    """One write: does it, counts it, and answers in the way of its kind."""

    def __init__(self, services: Served, kind: Kind, refusals: Refusals) -> None:
        self._metrics = services.metrics
        self._kind = kind
        self._refusals = refusals

    def __call__(self, upload: Upload | None, use_case: Callable[[Upload], None]) -> Response:
        if upload is None:
            # What is left of such a body must not be waited for, so the server hangs up.
            return self._refused(SecretSizeError(TOO_LARGE_TEXT), {"Connection": "close"})
        try:
            use_case(upload)
        except tuple(self._refusals) as error:
            return self._refused(error)
        self._metrics.count(f"secret_{self._kind}", "stored")
        return Response(status_code=_NO_CONTENT)

    def _refused(self, error: AdytonError, headers: dict[str, str] | None = None) -> Response:
        status, text = next(answer for kind, answer in self._refusals.items() if isinstance(error, kind))
        self._metrics.count(f"secret_{self._kind}", str(status))
        if text is None:
            return Response(status_code=status, headers=headers)
        return JSONResponse({"error": [text]}, status_code=status, headers=headers)
