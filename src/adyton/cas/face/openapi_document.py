"""The OpenAPI documents of both ports, at ``/openapi.json``, and problem+json for what no route takes.

The routes read bodies and certificates themselves, so the framework knows of neither; what it can answer is said here.
"""

from __future__ import annotations

from http import HTTPStatus
from typing import Any, Final

from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse
from pydantic import BaseModel
from pydantic.json_schema import models_json_schema
from starlette.exceptions import HTTPException

from adyton.cas.wire import ConfigRequest, KeyRequest, UpgradeRequest
from adyton.web.app import allowed_methods

_CLIENT: Final = {"type": "mutualTLS", "description": "Any key; its hash is who the caller is"}
_ENCLAVE: Final = {"type": "mutualTLS", "description": "An RA-TLS certificate over a nonce of GET /v1/nonce"}
_REF: Final = "#/components/schemas/{model}"
_PROBLEM_SCHEMA: Final[dict[str, Any]] = {
    "type": "object",
    "description": "RFC 9457, with a stable code",
    "properties": {
        **{name: {"type": "string"} for name in ("type", "title", "detail", "code", "hint")},
        "status": {"type": "integer"},
    },
    "required": ["type", "title", "status", "detail", "code"],
}
_PROBLEM: Final = {"application/problem+json": {"schema": {"$ref": _REF.format(model="Problem")}}}
_DESCRIPTIONS: Final = {
    "400": "Malformed: `cas.session.invalid`, `cas.session.yaml`, `cas.request.*`, `cas.identity.*`",
    "401": "No client certificate: `cas.client.certificate`",
    "403": "The caller may not: `cas.session.forbidden`, `cas.session.quota`, `cas.admin.forbidden`, `cas.upgrade.*`",
    "404": "There is none that the caller may see: `cas.session.*`",
    "409": "Not as the request presumes: `cas.session.exists`, `cas.session.predecessor`, `cas.enclave_key.*`",
    "413": "The body is too large",
    "429": "Too many refused requests: `cas.rate`; `Retry-After` says when to come back",
    "503": "No answer is possible now; trying again may help",
}
_REFUSED: Final = "This enclave does not get that: `cas.release.*`, `attestation.*`"
_OPERATIONS: Final[dict[tuple[str, str], str]] = {
    ("post", "/session"): "400 401 403 404 409 413 429 503",
    ("get", "/session"): "400 401 503",
    ("get", "/session/{name}"): "401 404 503",
    ("get", "/ca"): "",
    ("get", "/attestation"): "400 503",
    ("get", "/v1/collateral"): "503",
    ("get", "/v1/nonce"): "",
    ("post", "/v1/config"): "400 401 403 404 413 503",
    ("post", "/v1/enclave-key"): "400 401 403 404 409 413 503",
    ("post", "/admin/rotate-keys"): "401 403 503",
    ("post", "/v1/session/{name}/upgrade"): "400 401 403 404 409 413 429 503",
    ("delete", "/v1/session/{name}/upgrade"): "401 403 404 409 429 503",
}
"""What an operation may answer beside success, each with a body of problem+json but 413."""

_BODIES: Final[dict[str, type[BaseModel] | None]] = {
    "/session": None,
    "/v1/config": ConfigRequest,
    "/v1/enclave-key": KeyRequest,
    "/v1/session/{name}/upgrade": UpgradeRequest,
}
_ENCLAVES_ONLY: Final = frozenset({"/v1/config", "/v1/enclave-key"})
_ACTUATOR: Final[dict[str, Any]] = {
    f"/actuator/{name}": {
        "get": {
            "operationId": name,
            "summary": summary,
            "responses": {"200": {"description": summary, "content": {kind: {"schema": {"type": schema}}}}},
        }
    }
    for name, summary, kind, schema in (
        ("health", "Whether the service is up", "application/json", "object"),
        ("prometheus", "Metrics for Prometheus", "text/plain", "string"),
    )
}


def complete(app: FastAPI) -> None:
    """Give ``app`` its document, and answers of its own kind to what no route takes."""
    app.openapi = lambda: describe(app)  # type: ignore[method-assign]  # FastAPI's own way to change the document
    app.add_exception_handler(RequestValidationError, _malformed)
    app.add_exception_handler(HTTPException, _no_route)


def describe(app: FastAPI) -> dict[str, Any]:
    """The document, made once."""
    if app.openapi_schema is None:
        document = FastAPI.openapi(app)
        for path, members in document["paths"].items():
            for method, operation in members.items():
                _correct(path, method, operation)
        components = document.setdefault("components", {})
        components["securitySchemes"] = {"client": _CLIENT, "enclave": _ENCLAVE}
        models = [(model, "validation") for model in _BODIES.values() if model is not None]
        schemas = components.setdefault("schemas", {})
        schemas |= models_json_schema(models, ref_template=_REF)[1]["$defs"] | {"Problem": _PROBLEM_SCHEMA}  # type: ignore[arg-type]  # the mode is a literal
        for unused in ("HTTPValidationError", "ValidationError"):
            schemas.pop(unused, None)
        document["paths"] |= _ACTUATOR
    return app.openapi_schema or {}


def _correct(path: str, method: str, operation: dict[str, Any]) -> None:
    responses = operation["responses"]
    responses.pop("422", None)
    statuses = _OPERATIONS.get((method, path), "").split()
    for status in statuses:
        about = _REFUSED if status == "403" and path in _ENCLAVES_ONLY else _DESCRIPTIONS[status]
        content = {"text/plain": {"schema": {"type": "string"}}} if status == "413" else _PROBLEM
        responses[status] = {"description": about, "content": content}
    if "401" in statuses:
        operation["security"] = [{"enclave" if path in _ENCLAVES_ONLY else "client": []}]
    if method == "post" and path in _BODIES:
        operation["requestBody"] = {"required": True, "content": _body(_BODIES[path])}
    for parameter in operation.get("parameters", ()):
        if parameter["name"] == "nonce":
            parameter["schema"] |= {"pattern": "^(?:[0-9a-fA-F]{2}){16,64}$"}
        if parameter["name"] == "after":
            parameter["schema"] |= {"pattern": "^(?:[0-9a-f]{64})?$"}
    if path == "/ca":
        responses["200"]["content"] = {"application/x-pem-file": {"schema": {"type": "string"}}}
    if path == "/v1/collateral":
        responses["200"]["content"] = {"application/json": {"schema": {"type": "object"}}}


def _body(model: type[BaseModel] | None) -> dict[str, Any]:
    if model is None:  # a session's language is not one of JSON Schema
        return {"application/yaml": {"schema": {"type": "string", "description": "A session document: docs/cas.md"}}}
    return {"application/json": {"schema": {"$ref": _REF.format(model=model.__name__)}}}


async def _malformed(_request: Request, error: Exception) -> JSONResponse:
    """400 that names the parameter, never its value."""
    errors = error.errors() if isinstance(error, RequestValidationError) else ()
    place = ".".join(str(part) for part in errors[0]["loc"]) if errors else "request"
    return _problem(HTTPStatus.BAD_REQUEST, "cas.request.invalid", f"{place} is missing or malformed")


async def _no_route(request: Request, error: Exception) -> JSONResponse:
    status = HTTPStatus(error.status_code) if isinstance(error, HTTPException) else HTTPStatus.NOT_FOUND
    headers = {"Allow": allowed_methods(request)} if status is HTTPStatus.METHOD_NOT_ALLOWED else None
    return _problem(status, "cas.request.route", status.phrase, headers)


def _problem(status: HTTPStatus, code: str, detail: str, headers: dict[str, str] | None = None) -> JSONResponse:
    body = {"type": "about:blank", "title": code, "status": int(status), "detail": detail, "code": code}
    return JSONResponse(body, status, headers, media_type="application/problem+json")
