"""The results service's HTTP application: the result proxy's routes, and the IPFS and registry parts.

| route | answers |
|---|---|
| ``POST /v1/results/token`` | 200 token, 401 |
| ``POST /v1/results`` | 200 ``/ipfs/<cid>``, 400 not stored, 401, 413 |
| ``HEAD /v1/results/{taskId}`` | 204, 404, 401 |
| ``GET /v1/results/{taskId}/ipfshash`` | 200 CID, 404 |
| ``GET /results/challenge`` | 200 typed data, 400 |
| ``POST /results/login`` | 200 token, 400, 401 |
"""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Depends, FastAPI, Header, Request
from fastapi.middleware.cors import CORSMiddleware
from fastapi.responses import JSONResponse, PlainTextResponse, Response
from pydantic import ValidationError

from adyton import __version__
from adyton.base.db import open_engine
from adyton.base.errors import InputError
from adyton.base.types import parse_address
from adyton.chain.contracts import Hub
from adyton.chain.rpc import Rpc
from adyton.content.blocks import BlockStore
from adyton.results.api_images import add_error_border, image_routes
from adyton.results.api_ipfs import ipfs_routes
from adyton.results.body import small_body
from adyton.results.errors import ResultRefusedError, UnauthorizedError
from adyton.results.images import ImageStore
from adyton.results.jwt import TokenSigner
from adyton.results.repo import Repo
from adyton.results.service import Chain, ResultProxy
from adyton.results.settings import ResultsSettings
from adyton.results.wire import ResultModel
from adyton.sms.wire import WorkerpoolAuthorization
from adyton.web.app import new_app

_SMALL_BODY_BYTES = 64 << 10
Bearer = Annotated[str, Header(alias="Authorization")]  # the bare token or signature, no scheme


def build_app(settings: ResultsSettings, chain: Chain | None = None) -> FastAPI:
    """The application.

    Args:
        settings: where everything is.
        chain: reads of the hub; by default those of ``settings.rpc_url``.
    """
    if chain is None:
        chain = Hub(Rpc(settings.rpc_url), parse_address(settings.hub))
    settings.data.mkdir(parents=True, exist_ok=True)
    repo = Repo(open_engine(settings.data / "results.sqlite"))
    blocks = BlockStore(settings.data / "blocks")
    signer = TokenSigner.from_file(settings.data / "jwt-sign.key")
    images = ImageStore(settings.data / "images", repo, settings.max_blob_bytes)
    proxy = ResultProxy(chain, repo, blocks, signer, settings.chain_id)
    largest = max(settings.max_blob_bytes, settings.max_file_bytes, settings.max_result_bytes)
    app = new_app("Adyton results", __version__, max_body_bytes=largest + _SMALL_BODY_BYTES)
    _add_error_border(app)
    add_error_border(app)
    app.include_router(_proxy_routes(proxy, settings))
    app.include_router(ipfs_routes(blocks, settings.max_file_bytes))
    app.include_router(
        image_routes(images, settings.max_blob_bytes, allow_remote_push=settings.allow_remote_push),
    )
    app.add_middleware(
        CORSMiddleware, allow_origins=["*"], allow_methods=["*"], allow_headers=["*"], expose_headers=["X-Ipfs-Path"]
    )
    return app


def _proxy_routes(proxy: ResultProxy, settings: ResultsSettings) -> APIRouter:
    router = APIRouter()
    small = Depends(small_body(_SMALL_BODY_BYTES))
    large = Depends(small_body(settings.max_result_bytes))

    @router.get("/version")
    def version() -> PlainTextResponse:
        return PlainTextResponse(__version__)

    @router.post("/v1/results/token")
    def token(authorization: Bearer = "", body: bytes = small) -> PlainTextResponse:
        try:
            model = WorkerpoolAuthorization.model_validate_json(body)
        except ValidationError as error:
            raise UnauthorizedError("the body is not a workerpool authorization") from error
        return PlainTextResponse(proxy.token(model, authorization).reveal())

    @router.post("/v1/results")
    def upload(authorization: Bearer = "", body: bytes = large) -> PlainTextResponse:
        wallet = proxy.authenticate(authorization)
        return PlainTextResponse(proxy.upload(wallet, ResultModel.from_json(body)))

    @router.head("/v1/results/{task_id}")
    def is_uploaded(task_id: str, authorization: Bearer = "") -> Response:
        proxy.authenticate(authorization)
        return Response(status_code=204 if proxy.location(task_id) else 404)

    @router.get("/v1/results/{task_id}/ipfshash")
    def location(task_id: str) -> PlainTextResponse:
        cid = proxy.location(task_id)
        return PlainTextResponse(cid or "", status_code=200 if cid else 404)

    @router.get("/results/challenge")
    def challenge(address: str, chainId: str) -> JSONResponse:  # noqa: N803  # the official parameter
        _check_chain(chainId, settings)
        return JSONResponse({"ok": True, "data": proxy.challenge(address).to_json()})

    @router.post("/results/login")
    def login(chainId: str, body: bytes = small) -> PlainTextResponse:  # noqa: N803
        _check_chain(chainId, settings)
        return PlainTextResponse(proxy.login(body.decode("ascii", "replace").strip().strip('"')).reveal())

    return router


def _check_chain(text: str, settings: ResultsSettings) -> None:
    if text != str(settings.chain_id):
        raise InputError(f"chainId {text[:20]!r} is not {settings.chain_id}", code="results.chain")


def _add_error_border(app: FastAPI) -> None:
    @app.exception_handler(UnauthorizedError)
    def unauthorized(_request: Request, error: UnauthorizedError) -> JSONResponse:
        return JSONResponse({"code": error.code, "error": error.message}, status_code=401)

    @app.exception_handler(ResultRefusedError)
    def refused(_request: Request, error: ResultRefusedError) -> JSONResponse:
        return JSONResponse({"code": error.code, "error": error.message}, status_code=400)
