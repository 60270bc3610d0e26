"""Request bodies with a limit of their own per route, streamed to disk where they may be large.

These are the only asynchronous parts of the service: FastAPI dependencies that receive a body before the plain route
function runs. The shell's general limit is as high as the largest route needs, so no route may read a body otherwise.
"""

from __future__ import annotations

import tempfile
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any

from fastapi import Request, UploadFile
from fastapi.concurrency import run_in_threadpool
from starlette.formparsers import MultiPartException

from adyton.base.errors import InputError
from adyton.results.errors import TooLargeError


def small_body(limit: int) -> Callable[[Request], Any]:
    """A dependency that gives the body in memory, at most ``limit`` bytes."""

    async def receive(request: Request) -> bytes:
        parts: list[bytes] = []
        seen = 0
        async for chunk in request.stream():
            seen += len(chunk)
            if seen > limit:
                raise _too_large(limit)
            parts.append(chunk)
        return b"".join(parts)

    return receive


def spooled_body(folder: Path, limit: int) -> Callable[[Request], AsyncIterator[Path]]:
    """A dependency that gives the body as a file in ``folder``, which is gone after the route unless it was moved."""

    async def receive(request: Request) -> AsyncIterator[Path]:
        with tempfile.NamedTemporaryFile(dir=folder, prefix="body-", delete=False) as stream:
            path = Path(stream.name)
            try:
                async for chunk in request.stream():
                    await run_in_threadpool(stream.write, chunk)
                    if stream.tell() > limit:
                        raise _too_large(limit)
                stream.close()
                yield path
            finally:
                await run_in_threadpool(path.unlink, missing_ok=True)

    return receive


def uploaded_files(limit: int) -> Callable[[Request], AsyncIterator[list[UploadFile]]]:
    """A dependency that gives the files of a multipart body, spooled to disk, at most ``limit`` bytes together."""

    async def receive(request: Request) -> AsyncIterator[list[UploadFile]]:
        seen = 0

        async def counted() -> Any:  # noqa: ANN401  # ASGI messages
            nonlocal seen
            message = await request.receive()
            seen += len(message.get("body", b""))
            if seen > limit:
                raise _too_large(limit)
            return message

        try:
            async with Request(request.scope, counted).form(max_files=1000) as form:
                files = [item for _, item in form.multi_items() if not isinstance(item, str)]
                yield files  # type: ignore[misc]  # of Starlette's class, which FastAPI's only extends
        except MultiPartException as error:
            raise InputError("the body is not multipart form data", code="results.multipart") from error

    return receive


def _too_large(limit: int) -> TooLargeError:
    return TooLargeError(f"the body is larger than {limit} bytes")
