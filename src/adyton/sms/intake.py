"""What comes in over HTTP: bodies read up to a limit, signatures, and the services that routes call."""

from __future__ import annotations

from datetime import UTC, datetime
from http import HTTPStatus
from typing import Annotated, Final

from fastapi import Depends, Header, HTTPException, Query, Request
from fastapi.responses import JSONResponse

from adyton.base.secret import Secret
from adyton.sms.composition import Services
from adyton.sms.service import Upload

MAX_READ_BYTES: Final = 64 << 10
"""How much of a body is kept. Up to here the signature is still checked before the size, as officially."""

MAX_DISCARDED_BYTES: Final = 512 << 10
"""A longer body is read and dropped up to here, so that its sender sees the answer; then the connection is closed."""


def _services(request: Request) -> Services:
    found: Services = request.app.state.services
    return found


def _limited(request: Request) -> Services:
    """For what anybody may cause: existence checks, reads of the chain, rows in the database."""
    services = _services(request)
    if not services.limiter.allow(request.client.host if request.client else ""):
        raise HTTPException(HTTPStatus.TOO_MANY_REQUESTS)
    return services


async def raw_body(request: Request) -> bytes | None:
    """The raw body; None when it is longer than :data:`MAX_READ_BYTES`, and then maybe not read to its end."""
    chunks, size = [], 0
    async for chunk in request.stream():
        size += len(chunk)
        if size > MAX_DISCARDED_BYTES:
            return None
        if size <= MAX_READ_BYTES:
            chunks.append(chunk)
    return b"".join(chunks) if size <= MAX_READ_BYTES else None


def _upload(body: Annotated[bytes | None, Depends(raw_body)]) -> Upload | None:
    if body is None:
        return None
    try:
        text = body.decode()
    except UnicodeDecodeError:
        raise HTTPException(HTTPStatus.BAD_REQUEST, "the secret is not UTF-8 text") from None
    if not text:
        raise HTTPException(HTTPStatus.BAD_REQUEST, "the secret is missing")
    return Upload(Secret(text), len(body))


async def bad_request(request: Request, _error: Exception) -> JSONResponse:
    """Missing headers, parameters and malformed bodies, in the form of the official service's framework."""
    body = {
        "timestamp": datetime.now(UTC).isoformat(timespec="milliseconds"),
        "status": 400,
        "error": "Bad Request",
        "path": request.url.path,
    }
    return JSONResponse(body, status_code=HTTPStatus.BAD_REQUEST)


Served = Annotated[Services, Depends(_services)]
Limited = Annotated[Services, Depends(_limited)]
RawBody = Annotated[bytes | None, Depends(raw_body)]
Authorization = Annotated[str, Header(max_length=1024)]
Body = Annotated[Upload | None, Depends(_upload)]
Text = Annotated[str, Query(max_length=2048)]
