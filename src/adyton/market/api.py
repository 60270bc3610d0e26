"""The market's HTTP application (market reference, sections 3 and 11).

Success is 200 with ``"ok": true``, a refusal ``{"ok": false, "error": "<official text>"}`` with 400 for a broken rule,
403 for login and business rules, 404 for unknown documents, 429 over the rate limit, 500 when the chain does not
answer. The websocket of the official market, which no current client uses, is not offered.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Annotated, Any

from fastapi import APIRouter, Depends, FastAPI, Request
from fastapi.responses import JSONResponse, PlainTextResponse
from starlette.exceptions import HTTPException

from adyton import __version__
from adyton.base.db import open_engine
from adyton.base.errors import UnavailableError
from adyton.base.jsontext import parse_json
from adyton.base.types import parse_address
from adyton.chain.contracts import Hub
from adyton.chain.orders import OrderKind
from adyton.chain.rpc import Rpc, RpcError
from adyton.market import fields
from adyton.market.chain_view import HubView
from adyton.market.cleanup import Cleanup
from adyton.market.edge import Edge, RateLimiter
from adyton.market.errors import ChainError, MarketError, ValidationError
from adyton.market.listing import Listing
from adyton.market.repo import Repo
from adyton.market.service import OrderBook
from adyton.market.settings import MarketSettings
from adyton.market.watcher import Watcher
from adyton.web.app import new_app


class Answer(JSONResponse):
    """JSON as the official market sends it."""

    media_type = "application/json; charset=utf-8"


def build_app(settings: MarketSettings) -> FastAPI:
    """The application; while it runs, a thread follows the chain.

    Raises:
        InputError: the database belongs to another chain.
    """
    view = HubView(Hub(Rpc(settings.rpc_url), parse_address(settings.hub)))
    repo = Repo(open_engine(settings.database), f"chain {settings.chain_id} hub {view.hub.address}")
    cleanup = Cleanup(repo, view)
    book = OrderBook(repo, view, cleanup, settings.chain_id, settings.max_open_orders)
    # The follower has its own connection: a publish must not wait for a long read of the past.
    followed = HubView(Hub(Rpc(settings.rpc_url, timeout_s=30), view.hub.address))
    watcher = Watcher(
        followed,
        repo,
        cleanup,
        settings.chain_id,
        settings.start_block,
        settings.batch_blocks,
        settings.confirmations,
    )

    @asynccontextmanager
    async def lifespan(_app: FastAPI) -> AsyncIterator[None]:
        watcher.start(settings.poll_s)
        yield
        watcher.stop()

    app = new_app("Adyton market", __version__, lifespan=lifespan, default_response_class=Answer)
    _add_error_border(app)
    routes = APIRouter()
    _add_read_routes(routes, Listing(repo, settings.chain_id), book, settings.chain_id)
    for kind in OrderKind:
        _add_order_routes(routes, kind, Listing(repo, settings.chain_id), book, settings.chain_id)
    app.include_router(routes)
    app.add_middleware(Edge, limiter=RateLimiter(settings.rate_limit_max, settings.rate_limit_period_s))
    return app


def read_query(request: Request) -> dict[str, Any]:
    """The query's values; a repeated key becomes a list, which no reader accepts."""
    query: dict[str, Any] = {}
    for name, value in request.query_params.multi_items():
        query[name] = value if name not in query else [*_listed(query[name]), value]
    return query


async def read_body(request: Request) -> Any:  # noqa: ANN401  # JSON is any
    """The JSON body; other content types count as empty.

    Raises:
        ValidationError: not a JSON object or array.
    """
    raw = await request.body()
    if not raw or request.headers.get("content-type", "").partition(";")[0].strip() != "application/json":
        return {}
    try:
        body = parse_json(raw)
    except (ValueError, RecursionError) as error:
        raise ValidationError("the body is not valid JSON") from error
    if not isinstance(body, dict | list):
        raise ValidationError("the body is neither a JSON object nor an array")
    return body


Query = Annotated[dict[str, Any], Depends(read_query)]
Body = Annotated[Any, Depends(read_body)]


def _add_read_routes(routes: APIRouter, listing: Listing, book: OrderBook, chain_id: int) -> None:
    read = _reader(routes)

    @read("/version")
    def version() -> dict[str, Any]:
        return {"ok": True, "version": __version__}

    @read("/metrics")
    def metrics(query: Query) -> dict[str, Any]:
        _check_chain(query, chain_id)
        return listing.metrics()

    @read("/challenge")
    def challenge(query: Query) -> dict[str, Any]:
        _check_chain(query, chain_id)
        address = fields.required("address", query.get("address"), fields.address)
        return {"ok": True, "data": book.challenge(address).to_json()}

    @read("/deals")
    def deals(query: Query) -> dict[str, Any]:
        _check_chain(query, chain_id)
        return listing.deals(query)

    @read("/deals/{deal_id}")
    def deal(query: Query, deal_id: str) -> dict[str, Any]:
        _check_chain(query, chain_id)
        return listing.deal(deal_id)

    @read("/categories")
    def categories(query: Query) -> dict[str, Any]:
        _check_chain(query, chain_id)
        return listing.categories(query)

    @read("/categories/{category_id}")
    def category(query: Query, category_id: str) -> dict[str, Any]:
        _check_chain(query, chain_id)
        return listing.category(category_id)

    @read("/ohlc")
    def ohlc(query: Query) -> dict[str, Any]:
        _check_chain(query, chain_id)
        return listing.ohlc(query)


def _add_order_routes(routes: APIRouter, kind: OrderKind, listing: Listing, book: OrderBook, chain_id: int) -> None:
    read, path = _reader(routes), f"/{kind}orders"

    @read(path)
    def find(query: Query) -> dict[str, Any]:
        _check_chain(query, chain_id)
        return listing.orders(kind, query)

    @read(path + "/{order_hash}")
    def get(query: Query, order_hash: str) -> dict[str, Any]:
        _check_chain(query, chain_id)
        return listing.order(kind, order_hash)

    @routes.post(path)
    def publish(request: Request, query: Query, body: Body) -> dict[str, Any]:
        _check_chain(query, chain_id)
        caller = book.authenticate(request.headers.get("authorization"))
        return {"ok": True, "published": listing.document(book.publish(kind, body, caller))}

    @routes.put(path)
    def unpublish(request: Request, query: Query, body: Body) -> dict[str, Any]:
        _check_chain(query, chain_id)
        caller = book.authenticate(request.headers.get("authorization"))
        return {"ok": True, "unpublished": book.unpublish(kind, body, caller)}


def _reader(routes: APIRouter) -> Callable[[str], Callable[[Callable[..., Any]], Callable[..., Any]]]:
    def at(path: str) -> Callable[[Callable[..., Any]], Callable[..., Any]]:
        return routes.api_route(path, methods=["GET", "HEAD"])

    return at


def _check_chain(query: dict[str, Any], chain_id: int) -> None:
    found = fields.required("chainId", query.get("chainId"), fields.text)
    if found != str(chain_id):
        raise ValidationError(f"chainId {found[:40]} is not supported")


def _listed(value: Any) -> list[Any]:  # noqa: ANN401
    return value if isinstance(value, list) else [value]


def _add_error_border(app: FastAPI) -> None:
    @app.exception_handler(MarketError)
    def refused(_request: Request, error: MarketError) -> Answer:
        return Answer({"ok": False, "error": error.message}, status_code=error.status)

    @app.exception_handler(RpcError)
    @app.exception_handler(UnavailableError)
    def no_chain(_request: Request, _error: Exception) -> Answer:
        return Answer({"ok": False, "error": ChainError().message}, status_code=500)

    @app.exception_handler(Exception)
    def fault(_request: Request, _error: Exception) -> Answer:
        return Answer({"ok": False, "error": "Internal error"}, status_code=500)

    @app.exception_handler(HTTPException)
    def no_route(_request: Request, error: HTTPException) -> PlainTextResponse:
        return PlainTextResponse(error.detail, status_code=error.status_code, headers=error.headers)
