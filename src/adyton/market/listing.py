"""Reading the book: order pages, single documents, deals, categories, metrics (market reference, sections 7 to 10)."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from adyton.chain.orders import OrderKind
from adyton.market import fields
from adyton.market.documents import Document, order_document, single_order_document
from adyton.market.errors import MissingError
from adyton.market.repo import Published, Repo
from adyton.market.schema import Paging, Query, read_deal_filter, read_filter
from adyton.market.watcher import CHECKPOINT, LAST_BLOCK

_OHLC_LIMIT = 100


class Listing:
    """Answers to read requests.

    Args:
        repo: storage.
        chain_id: shown in documents.
    """

    def __init__(self, repo: Repo, chain_id: int) -> None:
        self._repo = repo
        self._chain_id = chain_id

    def document(self, published: Published) -> Document:
        """A published order as lists show it."""
        return order_document(published, self._chain_id)

    def orders(self, kind: OrderKind, query: Query) -> Document:
        """One page of open orders.

        Raises:
            ValidationError: a filter breaks a rule.
        """
        wanted = read_filter(kind, query)
        count, page = self._repo.find(wanted)
        return _page("orders", [self.document(each) for each in page], count, wanted.paging)

    def order(self, kind: OrderKind, order_hash: str) -> Document:
        """One order in any status.

        Raises:
            ValidationError: not a hash.
            MissingError: not in the book.
        """
        found = self._repo.order(fields.bytes32("orderHash", order_hash))
        if found is None or found.kind is not kind:
            raise MissingError(f"{kind}order not found")
        return {"ok": True, **single_order_document(found, self._chain_id)}

    def deals(self, query: Query) -> Document:
        """One page of deals.

        Raises:
            ValidationError: a filter breaks a rule.
        """
        paging = Paging.read(query)
        count, page = self._repo.find_deals(read_deal_filter(query), paging)
        return _page("deals", page, count, paging)

    def deal(self, deal_id: str) -> Document:
        """One deal.

        Raises:
            ValidationError: not an id.
            MissingError: not indexed.
        """
        found = self._repo.deal(fields.bytes32("dealid", deal_id))
        if found is None:
            raise MissingError("deal not found")
        return {"ok": True, **found}

    def categories(self, query: Query) -> Document:
        """One page of categories.

        Raises:
            ValidationError: a filter breaks a rule.
        """
        paging = Paging.read(query)
        shortest, longest = (
            fields.optional(name, query.get(name), fields.integer(0))
            for name in ("minWorkClockTimeRef", "maxWorkClockTimeRef")
        )
        count, page = self._repo.find_categories(shortest, longest, paging)
        return _page("categories", page, count, paging)

    def category(self, category_id: str) -> Document:
        """One category; the chain id is text there.

        Raises:
            ValidationError: not a number.
            MissingError: not indexed.
        """
        found = self._repo.category(fields.integer(0)("catid", category_id))
        if found is None:
            raise MissingError("category not found")
        return {"ok": True, **found, "chainId": str(self._chain_id)}

    def ohlc(self, query: Query) -> Document:
        """Time, workerpool price and volume of a category's newest deals.

        Raises:
            ValidationError: no category.
        """
        category = fields.required("category", query.get("category"), fields.integer(0))
        deals = self._repo.newest_deals(category, _OHLC_LIMIT)
        rows = [[deal["blockTimestamp"], deal["workerpool"]["price"], deal["volume"]] for deal in deals]
        return {"ok": True, "ohlc": rows}

    def metrics(self) -> Document:
        """How far the chain has been read, and how many orders are open."""
        blocks = {name: self._repo.block(name) or 0 for name in (LAST_BLOCK, CHECKPOINT)}
        return {"ok": True, **blocks, **{f"{kind}orders": self._repo.open_count(kind) for kind in OrderKind}}


def _page(member: str, items: Sequence[Any], count: int, paging: Paging) -> Document:
    document: Document = {"ok": True, member: list(items), "count": count}
    if len(items) == paging.limit:
        document["nextPage"] = paging.offset + paging.limit
    return document
