"""The part of an IPFS node that clients of the protocol need: Kubo's ``add``, and the gateway.

Kubo RPC: https://docs.ipfs.tech/reference/kubo/rpc/#api-v0-add. Gateway: https://specs.ipfs.tech/http-gateways/. What
is not stored here is not fetched from elsewhere: a real node is used by configuring its URLs in place of this one's.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from itertools import chain
from typing import Annotated

from fastapi import APIRouter, Depends, Query, Request, UploadFile
from fastapi.responses import JSONResponse, PlainTextResponse, Response, StreamingResponse

from adyton.base.errors import InputError, NotFoundError
from adyton.content.blocks import Blocks
from adyton.content.cid import Cid
from adyton.content.unixfs import CHUNK_BYTES, import_file, read_entry, read_file
from adyton.results.body import uploaded_files

_SIGNATURES = (
    (b"PK\x03\x04", "application/zip"),
    (b"PK\x05\x06", "application/zip"),  # an empty archive
    (b"%PDF-", "application/pdf"),
    (b"\x89PNG\r\n\x1a\n", "image/png"),
    (b"\xff\xd8\xff", "image/jpeg"),
)
_SNIFF_BYTES = 512


def ipfs_routes(blocks: Blocks, max_file_bytes: int) -> APIRouter:
    """The routes over a block store.

    Args:
        blocks: where content is.
        max_file_bytes: limit of one upload.
    """
    router = APIRouter(include_in_schema=False)
    received = Depends(uploaded_files(max_file_bytes))

    @router.post("/api/v0/add")
    def add(
        version: Annotated[int | None, Query(alias="cid-version", ge=0, le=1)] = None,
        raw: Annotated[bool | None, Query(alias="raw-leaves")] = None,
        chunker: str = f"size-{CHUNK_BYTES}",
        wrap: Annotated[bool, Query(alias="wrap-with-directory")] = False,
        files: list[UploadFile] = received,
    ) -> Response:
        version = 1 if version is None and raw else version or 0
        if chunker != f"size-{CHUNK_BYTES}" or wrap or raw not in {None, version == 1} or not files:
            return _kubo_error("only whole files with the default chunker and leaves can be added here")
        lines = [_add_one(blocks, file, version) for file in files]
        return Response("".join(line + "\n" for line in lines), media_type="application/json")

    @router.api_route("/ipfs/{name}", methods=["GET", "HEAD"])
    def gateway(request: Request, name: str) -> Response:
        try:
            cid = Cid.parse(name)
            size = read_entry(cid, blocks).file_size
        except InputError as error:
            return PlainTextResponse(error.message, status_code=400)
        except NotFoundError as error:
            return PlainTextResponse(error.message, status_code=404)
        return _serve(request, cid, size, blocks)

    return router


def _add_one(blocks: Blocks, file: UploadFile, version: int) -> str:
    cid = import_file(file.file, blocks, version=version)
    entry = {"Name": file.filename or str(cid), "Hash": str(cid), "Size": str(read_entry(cid, blocks).total_size)}
    return json.dumps(entry)


def _serve(request: Request, cid: Cid, size: int, blocks: Blocks) -> Response:
    headers = {
        "ETag": f'"{cid}"',
        "Cache-Control": "public, max-age=29030400, immutable",
        "X-Ipfs-Path": f"/ipfs/{cid}",
        "X-Content-Type-Options": "nosniff",
    }
    if request.headers.get("if-none-match") == headers["ETag"]:
        return Response(status_code=304, headers=headers)
    pieces = read_file(cid, blocks)
    first = next(pieces, b"")
    headers["Content-Length"] = str(size)
    if request.method == "HEAD":
        return Response(headers=headers, media_type=_content_type(first))
    body: Iterator[bytes] = chain([first], pieces)
    return StreamingResponse(body, headers=headers, media_type=_content_type(first))


def _content_type(start: bytes) -> str:
    """What a file is by its first bytes; never HTML, so that no stored page runs in the gateway's origin."""
    for signature, media_type in _SIGNATURES:
        if start.startswith(signature):
            return media_type
    try:
        text = start[:_SNIFF_BYTES].decode()
    except UnicodeDecodeError as error:
        if error.reason != "unexpected end of data":
            return "application/octet-stream"
        text = start[: error.start].decode()
    is_text = all(char.isprintable() or char in "\t\r\n" for char in text)
    return "text/plain; charset=utf-8" if is_text else "application/octet-stream"


def _kubo_error(message: str) -> JSONResponse:
    return JSONResponse({"Message": message, "Code": 1, "Type": "error"}, status_code=400)
