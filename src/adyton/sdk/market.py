"""The order book: publishing, withdrawing and finding orders at the chain's market."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from adyton.base.types import Address, Bytes32
from adyton.chain.orders import Order, OrderKind
from adyton.sdk.errors import ClientError
from adyton.sdk.services import MARKET, calling
from adyton.sdk.session import Session

if TYPE_CHECKING:
    from adyton.market.client import MarketClient

PAGE_SIZE = 20


@contextmanager
def book(session: Session) -> Iterator[MarketClient]:
    """The market of the session's chain; its failures come out with the official texts.

    Raises:
        ClientError: not configured, or it refuses.
        ApiCallError: it does not answer.
    """
    from adyton.market.client import MarketClient  # noqa: PLC0415  # only where the market is really asked

    url = session.chain.url("iexecGateway")
    client = MarketClient(url, session.chain.chain_id)
    try:
        with calling(MARKET, url):
            yield client
    finally:
        client.close()


def publish(session: Session, order: Order) -> Bytes32:
    """Offer a signed order to everybody; returns its hash."""
    with book(session) as client:
        return client.publish(order.kind, order, session.wallet)


def unpublish(session: Session, kind: OrderKind, order_hash: Bytes32) -> Bytes32:
    """Withdraw one order from the market (not from the chain); returns its hash."""
    with book(session) as client:
        return client.unpublish(kind, session.wallet, order_hash=order_hash)[0]


def unpublish_of(session: Session, kind: OrderKind, resource: Address, *, everything: bool) -> list[Bytes32]:
    """Withdraw the last or all orders that the wallet has published for a resource."""
    target = "unpublish_all" if everything else "unpublish_last"
    with book(session) as client:
        return client.unpublish(kind, session.wallet, target=target, resource=resource)


def get(session: Session, kind: OrderKind, order_hash: Bytes32) -> dict[str, Any]:
    """The market's document of an order.

    Raises:
        ClientError: the market does not have it.
    """
    with book(session) as client:
        return client.get(kind, order_hash)


def first(session: Session, kind: OrderKind, **filters: Any) -> Order | None:  # noqa: ANN401  # query values
    """The best order of the market that the filters let through, or None."""
    with book(session) as client:
        found = client.find(kind, **filters)
    for document in found["orders"]:
        return read_order(kind, document)
    return None


def read_order(kind: OrderKind, document: dict[str, Any]) -> Order:
    """The order in a market document.

    Raises:
        ClientError: the document has none.
    """
    if not isinstance(document.get("order"), dict):
        raise ClientError("the market's answer has no order", code="sdk.market.answer")
    return kind.order_class.from_json(document["order"])


def deals_of(session: Session, kind: OrderKind, order_hash: Bytes32) -> dict[str, Any]:
    """The newest deals that were made of an order: how many there are, and one page of them."""
    with book(session) as client:
        found = client.deals(**{f"{kind}orderHash": order_hash})
    return {"count": found.get("count"), "lastDeals": found["deals"]}


def pages(session: Session, kind: OrderKind, limit: int, **filters: Any) -> tuple[int, list[dict[str, Any]]]:  # noqa: ANN401
    """The best open orders: how many there are in all, and at most ``limit`` of their documents, in whole pages."""
    documents: list[dict[str, Any]] = []
    with book(session) as client:
        while True:
            found = client.find(kind, **filters, pageIndex=len(documents) // PAGE_SIZE, pageSize=PAGE_SIZE)
            documents += found["orders"]
            if not found.get("nextPage") or len(documents) + PAGE_SIZE > limit:
                return int(found.get("count", len(documents))), documents
