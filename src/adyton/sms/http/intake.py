"""What comes in over HTTP: bodies read up to a limit, signatures, and the services that routes call."""

from __future__ import annotations

from datetime import UTC, datetime
from http import HTTPStatus
from typing import Annotated, Any, Final

from fastapi import Depends, HTTPException, Query, Request, Security
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse
from fastapi.security import APIKeyHeader
from starlette.exceptions import HTTPException as StarletteHTTPException

from adyton.base.errors import AdytonError
from adyton.base.secret import Secret
from adyton.sms.access.signatures import MAX_SIGNATURE_BYTES, Credential
from adyton.sms.composition import Services
from adyton.sms.errors import TooManyRequestsError
from adyton.sms.http.edge import client_of
from adyton.sms.service import Upload
from adyton.web.app import allowed_methods

MAX_READ_BYTES: Final = 64 << 10
"""How much of a body is kept. Up to here the signature is still checked before the size, as officially."""

MAX_DISCARDED_BYTES: Final = 512 << 10
"""A longer body is read and dropped up to here, so that its sender sees the answer; then the connection is closed."""

_MAX_HEADER: Final = 2 * MAX_SIGNATURE_BYTES + 2
_signature_header = APIKeyHeader(
    name="Authorization",
    scheme_name="signature",
    description="The bare EIP-191 signature, `0x` and 130 hex digits, or a contract account's (ERC-1271).",
    auto_error=False,
)


async def _services(request: Request) -> Services:  # async, as all of these: others are run in a thread each
    found: Services = request.app.state.services
    return found


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


async def _upload(body: Annotated[bytes | None, Depends(raw_body)]) -> Upload | None:
    if body is None:
        return None
    try:
        text = body.decode()
    except UnicodeDecodeError:
        raise HTTPException(HTTPStatus.BAD_REQUEST, "the secret is not UTF-8 text") from None
    if not text:
        raise HTTPException(HTTPStatus.BAD_REQUEST, "the secret is missing")
    return Upload(Secret(text), len(body))


async def _credential(request: Request, signature: Annotated[str | None, Security(_signature_header)]) -> Credential:
    if "authorization" not in request.headers:
        raise HTTPException(HTTPStatus.BAD_REQUEST, "the signature is missing")
    text = signature or ""
    return Credential(text if len(text) <= _MAX_HEADER else "", client_of(request.scope))  # too long is none


async def official_error(request: Request, error: Exception) -> JSONResponse:
    """What no use case answered, in the form of the official service's framework: 400, 404, 405, 500."""
    status, headers = HTTPStatus.INTERNAL_SERVER_ERROR, None
    if isinstance(error, RequestValidationError):
        status = HTTPStatus.BAD_REQUEST
    elif isinstance(error, StarletteHTTPException):
        status, headers = HTTPStatus(error.status_code), error.headers
        if status == HTTPStatus.METHOD_NOT_ALLOWED:
            headers = {"Allow": allowed_methods(request)}
    body: dict[str, Any] = {
        "timestamp": datetime.now(UTC).isoformat(timespec="milliseconds"),
        "status": int(status),
        "error": status.phrase,
        "path": request.url.path,
    }
    return JSONResponse(body, status_code=status, headers=headers)


async def too_many(_request: Request, error: Exception) -> JSONResponse:
    """429 with the time to come back."""
    after = error.retry_after_s if isinstance(error, TooManyRequestsError) else 1
    code = error.code if isinstance(error, AdytonError) else ""
    return JSONResponse({"code": code}, status_code=429, headers={"Retry-After": str(after)})


Served = Annotated[Services, Depends(_services)]
RawBody = Annotated[bytes | None, Depends(raw_body)]
Authorization = Annotated[Credential, Depends(_credential)]
Body = Annotated[Upload | None, Depends(_upload)]
Text = Annotated[str, Query(max_length=2048)]
