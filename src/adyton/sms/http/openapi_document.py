"""The OpenAPI document of the service: FastAPI's, with what that cannot know about routes that answer officially."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, Final

from fastapi import FastAPI

from adyton.sms.http import tee_api
from adyton.sms.service import MAX_WEB2_NAME
from adyton.sms.wire import Framework

_ADMIN_KEY: Final = {"type": "apiKey", "in": "header", "name": "X-API-KEY"}
_TEXT: Final = {"text/plain": {"schema": {"type": "string"}}}
_SCHEMAS: Final[dict[str, Any]] = {
    "FrameworkError": {
        "type": "object",
        "description": "What the official service's web framework says of a request that no route takes",
        "properties": {
            "timestamp": {"type": "string", "format": "date-time"},
            "status": {"type": "integer"},
            "error": {"type": "string"},
            "path": {"type": "string"},
        },
        "required": ["timestamp", "status", "error", "path"],
    },
    "Refusal": {
        "type": "object",
        "properties": {"error": {"type": "array", "items": {"type": "string"}, "minItems": 1, "maxItems": 1}},
        "required": ["error"],
    },
    "Problem": {
        "type": "object",
        "description": "RFC 9457, with a stable code",
        "properties": {
            **{name: {"type": "string"} for name in ("type", "title", "detail", "code", "hint")},
            "status": {"type": "integer"},
        },
        "required": ["type", "title", "status", "detail", "code"],
    },
    "Health": {"type": "object", "properties": {"status": {"const": "UP"}}, "required": ["status"]},
}


def _of(*names: str) -> dict[str, Any]:
    found = [{"$ref": f"#/components/schemas/{name}"} for name in names]
    return {"application/json": {"schema": found[0] if len(found) == 1 else {"anyOf": found}}}


_PROBLEM: Final = {"application/problem+json": {"schema": {"$ref": "#/components/schemas/Problem"}}}
_STORAGE: Final = {"pattern": "^(?:[0-9a-fA-F]{2})+$", "description": "Hex of the folder's path"}
_FILE: Final = {"minLength": 1, "maxLength": 200, "pattern": r"\S", "description": "A plain file name"}
_PARAMETERS: Final[dict[str, dict[str, Any]]] = {
    **dict.fromkeys(("storage", "source", "target"), _STORAGE),
    **dict.fromkeys(("fileName", "sourceFileName", "destinationFileName"), _FILE),
    "key": {"pattern": r"^[0-9A-Za-z\-_]{1,64}$"},
    "secretName": {"maxLength": MAX_WEB2_NAME, "pattern": r"^[^\x00]*$"},
    "name": {"enum": [spelling for name in Framework for spelling in (name.value, name.value.lower())]},
}
"""What a parameter must be, by its name: said here, and judged by the use cases in the official order."""

_ACTUATOR: Final[dict[str, Any]] = {
    "/actuator/health": {
        "get": {
            "tags": ["service"],
            "summary": "Health",
            "operationId": "health",
            "responses": {"200": {"description": "The service is up", "content": _of("Health")}},
        }
    },
    "/actuator/prometheus": {
        "get": {
            "tags": ["service"],
            "summary": "Metrics for Prometheus",
            "operationId": "prometheus",
            "responses": {"200": {"description": "The metrics", "content": _TEXT}},
        }
    },
}


def describe(app: FastAPI) -> dict[str, Any]:
    """The document, made once."""
    if app.openapi_schema is None:
        document = FastAPI.openapi(app)
        for path, method, operation in _operations(document):
            _correct(path, method, operation)
        schemas = document["components"]["schemas"]
        schemas |= tee_api.SCHEMAS | _SCHEMAS
        for unused in ("HTTPValidationError", "ValidationError"):
            schemas.pop(unused, None)
        document["components"]["securitySchemes"]["admin"] = _ADMIN_KEY
        document["paths"] |= _ACTUATOR
    return app.openapi_schema or {}


def _operations(document: dict[str, Any]) -> Iterator[tuple[str, str, dict[str, Any]]]:
    for path, members in document["paths"].items():
        for method, operation in members.items():
            yield path, method, operation


def _correct(path: str, method: str, operation: dict[str, Any]) -> None:
    responses = operation["responses"]
    if responses.pop("422", None) is not None:
        responses.setdefault("400", {"description": "A missing or malformed parameter"})
    if path.startswith("/admin/"):
        operation["security"] = [{"admin": []}]
    for parameter in operation.get("parameters", ()):
        parameter["schema"] = _narrowed(parameter["schema"], _PARAMETERS.get(parameter["name"], {}))
    for status, response in responses.items():
        content = _content(path, status)
        if method == "head":
            response.pop("content", None)
        elif content is not None:
            response["content"] = content


def _narrowed(schema: dict[str, Any], by: dict[str, Any]) -> dict[str, Any]:
    if "anyOf" in schema:  # an optional parameter
        return schema | {"anyOf": [_narrowed(each, by) for each in schema["anyOf"]]}
    return schema | by if schema.get("type") == "string" else schema


def _content(path: str, status: str) -> dict[str, Any] | None:
    """The body of an answer that is no success; None where it has none, or its route says what it is."""
    if path.startswith("/admin/"):
        bodies = {"400": _of("FrameworkError") | _PROBLEM, "401": _TEXT, "403": _TEXT}
        return bodies.get(status, None if status < "400" else _PROBLEM)
    if path.startswith("/tee/properties/"):
        return None
    if status == "503":
        return _TEXT | _PROBLEM
    refusals = path.startswith(("/apps/", "/requesters/"))
    if status == "400":
        return _of("FrameworkError", "Refusal") if refusals else _of("FrameworkError")
    return _of("Refusal") if refusals and status in {"401", "409", "413"} else None
