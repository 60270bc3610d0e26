"""The image registry's routes: the pull, push and tag-listing parts of the OCI distribution API 1.1.

Pulling is open to all, pushing to programs on this machine unless the settings allow more. Errors have the
specification's form ``{"errors": [{"code", "message"}]}``.
"""

from __future__ import annotations

import ipaddress
import re
from pathlib import Path
from typing import Annotated

from fastapi import APIRouter, Depends, FastAPI, Header, Request
from fastapi.params import Depends as Dependency
from fastapi.responses import FileResponse, JSONResponse, Response

from adyton.content.image import MAX_DOCUMENT_BYTES
from adyton.results.body import small_body, spooled_body
from adyton.results.errors import TooLargeError
from adyton.results.images import ImageError, ImageStore, check_repository

_API_VERSION = {"Docker-Distribution-API-Version": "registry/2.0"}
_CONTENT_RANGE = re.compile(r"(?:bytes )?(\d{1,15})-(\d{1,15})(?:/.*)?")
_BLOB_ROUTE = "/v2/{name:path}/blobs/{digest}"
_UPLOADS_ROUTE = "/v2/{name:path}/blobs/uploads/"
_UPLOAD_ROUTE = _UPLOADS_ROUTE + "{upload}"
_MANIFEST_ROUTE = "/v2/{name:path}/manifests/{reference}"


def add_error_border(app: FastAPI) -> None:
    """Answer refusals of the registry in the specification's form."""

    @app.exception_handler(ImageError)
    def refused(_request: Request, error: ImageError) -> JSONResponse:
        return _errors(error.status, error.code, error.message)

    @app.exception_handler(TooLargeError)
    def too_large(_request: Request, error: TooLargeError) -> JSONResponse:
        return _errors(413, "SIZE_INVALID", error.message)


def image_routes(store: ImageStore, max_blob_bytes: int, *, allow_remote_push: bool) -> APIRouter:
    """The routes over a store.

    Args:
        store: where images are.
        max_blob_bytes: limit of one request's body.
        allow_remote_push: whether other machines may push.
    """
    router = APIRouter(include_in_schema=False)
    _add_pull_routes(router, store)
    _add_upload_routes(router, store, max_blob_bytes, _pusher(allow_remote_push=allow_remote_push))
    return router


def _add_pull_routes(router: APIRouter, store: ImageStore) -> None:
    @router.get("/v2/")
    def version() -> JSONResponse:
        return JSONResponse({}, headers=_API_VERSION)

    @router.get("/v2/{name:path}/tags/list")
    def tags(name: str) -> JSONResponse:
        return JSONResponse({"name": name, "tags": store.tags(name)}, headers=_API_VERSION)

    @router.api_route(_BLOB_ROUTE, methods=["GET", "HEAD"])
    def blob(name: str, digest: str) -> FileResponse:
        check_repository(name)
        headers = _API_VERSION | {"Docker-Content-Digest": digest}
        return FileResponse(store.blob(digest), media_type="application/octet-stream", headers=headers)

    @router.api_route(_MANIFEST_ROUTE, methods=["GET", "HEAD"])
    def manifest(name: str, reference: str) -> FileResponse:
        path, digest, media_type = store.manifest(name, reference)
        headers = _API_VERSION | {"Docker-Content-Digest": digest}
        return FileResponse(path, media_type=media_type, headers=headers)


def _add_upload_routes(router: APIRouter, store: ImageStore, limit: int, pusher: Dependency) -> None:
    received = Depends(spooled_body(store.uploads.parent, limit))
    document = Depends(small_body(MAX_DOCUMENT_BYTES))
    guarded = [pusher]

    @router.post(_UPLOADS_ROUTE, dependencies=guarded)
    def start(name: str, digest: str | None = None, body: Path = received) -> Response:
        check_repository(name)
        upload = store.start()
        if digest is None:
            return _accepted(name, upload, 0)
        store.append(upload, body)
        store.finish(upload, digest)
        return _created(f"/v2/{name}/blobs/{digest}", digest)

    @router.patch(_UPLOAD_ROUTE, dependencies=guarded)
    def append(
        name: str, upload: str, content_range: Annotated[str | None, Header()] = None, body: Path = received
    ) -> Response:
        return _accepted(name, upload, store.append(upload, body, _start(content_range)))

    @router.put(_UPLOAD_ROUTE, dependencies=guarded)
    def finish(
        name: str,
        upload: str,
        digest: str,
        content_range: Annotated[str | None, Header()] = None,
        body: Path = received,
    ) -> Response:
        check_repository(name)
        store.append(upload, body, _start(content_range))
        store.finish(upload, digest)
        return _created(f"/v2/{name}/blobs/{digest}", digest)

    @router.get(_UPLOAD_ROUTE, dependencies=guarded)
    def progress(name: str, upload: str) -> Response:
        return _accepted(name, upload, store.size(upload), status=204)

    @router.delete(_UPLOAD_ROUTE, dependencies=guarded)
    def cancel(upload: str) -> Response:
        store.cancel(upload)
        return Response(status_code=204)

    @router.put(_MANIFEST_ROUTE, dependencies=guarded)
    def put_manifest(
        name: str,
        reference: str,
        content_type: Annotated[str, Header()] = "",
        data: bytes = document,
    ) -> Response:
        digest = store.put_manifest(name, reference, content_type.partition(";")[0].strip(), data)
        return _created(f"/v2/{name}/manifests/{digest}", digest)


def _pusher(*, allow_remote_push: bool) -> Dependency:
    def check(request: Request) -> None:
        host = request.client.host if request.client else ""
        if not allow_remote_push and not _is_loopback(host):
            raise ImageError(403, "DENIED", "images are accepted from this machine only")

    guard: Dependency = Depends(check)
    return guard


def _is_loopback(host: str) -> bool:
    try:
        address = ipaddress.ip_address(host)
    except ValueError:
        return False
    mapped = getattr(address, "ipv4_mapped", None)
    return (mapped or address).is_loopback


def _start(content_range: str | None) -> int | None:
    if content_range is None:
        return None
    match = _CONTENT_RANGE.fullmatch(content_range)
    if match is None:
        raise ImageError(416, "BLOB_UPLOAD_INVALID", f"Content-Range {content_range[:60]!r} is malformed")
    return int(match[1])


def _accepted(name: str, upload: str, size: int, *, status: int = 202) -> Response:
    headers = {
        "Location": f"/v2/{name}/blobs/uploads/{upload}",
        "Range": f"0-{max(size - 1, 0)}",
        "Docker-Upload-UUID": upload,
    }
    return Response(status_code=status, headers=_API_VERSION | headers)


def _created(location: str, digest: str) -> Response:
    headers = {"Location": location, "Docker-Content-Digest": digest}
    return Response(status_code=201, headers=_API_VERSION | headers)


def _errors(status: int, code: str, message: str) -> JSONResponse:
    return JSONResponse({"errors": [{"code": code, "message": message}]}, status_code=status, headers=_API_VERSION)
