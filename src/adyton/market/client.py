"""Typed calls to a market, ours or an official one."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any
from urllib.parse import urlencode

from adyton.base.errors import InputError, UnavailableError
from adyton.base.types import Address, Bytes32, parse_bytes32
from adyton.chain.orders import Order, OrderKind
from adyton.chain.wallet import Wallet
from adyton.market.wire import LoginToken, sign_challenge
from adyton.web.client import HttpClient

Document = dict[str, Any]
_STRICT_FLAGS = {
    OrderKind.APP: ("isDatasetStrict", "isWorkerpoolStrict", "isRequesterStrict"),
    OrderKind.DATASET: ("isAppStrict", "isWorkerpoolStrict", "isRequesterStrict"),
    OrderKind.WORKERPOOL: ("isAppStrict", "isDatasetStrict", "isRequesterStrict"),
    OrderKind.REQUEST: ("isWorkerpoolStrict",),
}


class MarketClient:
    """Calls the order book of one chain.

    A refusal comes out as :class:`~adyton.web.client.AnswerError` whose body is ``{"ok": false, "error": "…"}``.

    Args:
        url: where the market is.
        chain_id: of the chain whose orders are meant.
        timeout_s: seconds for connect and each read.
    """

    def __init__(self, url: str, chain_id: int, *, timeout_s: float = 20) -> None:
        self._http = HttpClient(url, "market", timeout_s=timeout_s)
        self._chain_id = chain_id

    def close(self) -> None:
        """Release the connections."""
        self._http.close()

    def publish(self, kind: OrderKind, order: Order, wallet: Wallet) -> Bytes32:
        """Offer a signed order to everybody and return its hash.

        Raises:
            AnswerError: the market refuses it.
            ChallengeError: the market asks to sign something else than a login.
            UnavailableError: no answer, or not a market's.
        """
        answer = self._write("POST", kind, {"order": order.to_json()}, wallet)
        return _hash(
            answer.get("published", {}).get("orderHash") if isinstance(answer.get("published"), dict) else None
        )

    def unpublish(
        self,
        kind: OrderKind,
        wallet: Wallet,
        *,
        order_hash: Bytes32 | None = None,
        target: str = "unpublish_orderHash",
        resource: Address | None = None,
    ) -> list[Bytes32]:
        """Withdraw orders from the market, not from the chain, and return their hashes.

        Args:
            kind: of the orders.
            wallet: that published them.
            order_hash: which one, for ``unpublish_orderHash``.
            target: ``unpublish_orderHash``, ``unpublish_last`` or ``unpublish_all``.
            resource: app, dataset, workerpool or requester that the orders are for, for the other two.

        Raises:
            AnswerError: there is no such order, or it is another's.
            ChallengeError: the market asks to sign something else than a login.
            UnavailableError: no answer, or not a market's.
        """
        body: dict[str, str] = {"target": target}
        if order_hash is not None:
            body["orderHash"] = order_hash
        if resource is not None:
            body["requester" if kind is OrderKind.REQUEST else str(kind)] = resource
        return [_hash(each) for each in _list(self._write("PUT", kind, body, wallet), "unpublished")]

    def find(self, kind: OrderKind, **filters: Any) -> Document:  # noqa: ANN401  # query values
        """One page of open orders, best first: ``{"count", "orders", "nextPage"?}``.

        Args:
            kind: of the orders.
            filters: the market's query parameters by their own names (``app``, ``minTag``, ``isAppStrict``,
                ``pageIndex``, …); None means absent.

        Raises:
            AnswerError: a filter is malformed or missing.
            UnavailableError: no answer, or not a market's.
        """
        flags = dict.fromkeys(_STRICT_FLAGS[kind], False)
        if kind is OrderKind.DATASET:
            flags["bulkOnly"] = False
        return self._page(f"/{kind}orders", "orders", flags | filters)

    def find_all(self, kind: OrderKind, **filters: Any) -> Iterator[Document]:  # noqa: ANN401
        """The documents of all pages; arguments and errors as :meth:`find`."""
        page = 0
        while True:
            found = self.find(kind, **filters, pageIndex=page)
            yield from found["orders"]
            if not found.get("nextPage"):
                return
            page += 1

    def get(self, kind: OrderKind, order_hash: Bytes32) -> Document:
        """The document of one order, whatever its status.

        Raises:
            AnswerError: status 404 when the market does not have it.
            UnavailableError: no answer, or not a market's.
        """
        return self._read(f"/{kind}orders/{order_hash}", {})

    def deals(self, **filters: Any) -> Document:  # noqa: ANN401
        """One page of deals, newest first: ``{"count", "deals", "nextPage"?}``; otherwise as :meth:`find`."""
        return self._page("/deals", "deals", filters)

    def metrics(self) -> Document:
        """How far the market has read the chain, and how many orders are open.

        Raises:
            UnavailableError: no answer, or not a market's.
        """
        return self._read("/metrics", {})

    def _page(self, path: str, member: str, filters: Document) -> Document:
        found = self._read(path, {"pageIndex": 0, "pageSize": 20} | filters)
        _list(found, member)
        return found

    def _read(self, path: str, query: Document) -> Document:
        return _document(self._http.json("GET", f"{path}?{self._query(query)}", headers={"Accept": "application/json"}))

    def _write(self, method: str, kind: OrderKind, body: Document, wallet: Wallet) -> Document:
        headers = {"Authorization": str(self._login(wallet)), "Accept": "application/json"}
        return _document(self._http.json(method, f"/{kind}orders?{self._query({})}", json=body, headers=headers))

    def _login(self, wallet: Wallet) -> LoginToken:
        document = self._http.json("GET", f"/challenge?{self._query({'address': wallet.address})}")
        return sign_challenge(document, wallet, self._chain_id)

    def _query(self, query: Document) -> str:
        """Keys in order, truth values in lower case, as official clients send them."""
        items = {"chainId": self._chain_id} | {name: value for name, value in query.items() if value is not None}
        return urlencode(
            {name: str(items[name]).lower() if isinstance(items[name], bool) else items[name] for name in sorted(items)}
        )


def _document(answer: Any) -> Document:  # noqa: ANN401  # JSON is any
    if not isinstance(answer, dict) or answer.get("ok") is not True:
        raise UnavailableError("the market's answer is not one of a market", code="market.answer")
    return answer


def _list(document: Document, member: str) -> list[Any]:
    found = document.get(member)
    if not isinstance(found, list):
        raise UnavailableError(f"the market's answer has no {member}", code="market.answer")
    return found


def _hash(value: Any) -> Bytes32:  # noqa: ANN401
    try:
        return parse_bytes32(value)
    except InputError as error:
        raise UnavailableError("the market's answer has no order hash", code="market.answer") from error
