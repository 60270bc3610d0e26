"""The order book's storage: orders and their status, deals, categories, how far the chain has been read."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from sqlalchemy import ColumnElement, Engine, and_, delete, func, insert, or_, select, update
from sqlalchemy.sql import Select

from adyton.base.errors import InputError
from adyton.base.types import ZERO_ADDRESS, Address, Bytes32
from adyton.chain.orders import Order, OrderKind
from adyton.market.rules import BULK_VOLUME, Status
from adyton.market.schema import OrderFilter, Paging, Restriction
from adyton.market.tables import CATEGORIES, COUNTERS, DEALS, METADATA, ORDERS, TAG_WORDS, stored_order, tag_words


@dataclass(frozen=True, slots=True)
class Published:
    """One published order as stored."""

    order_hash: Bytes32
    order: Order
    status: Status
    remaining: int
    signer: Address
    published_at: str

    @property
    def kind(self) -> OrderKind:
        """What kind of order it is."""
        return self.order.kind


class Repo:
    """The market's database; it belongs to one chain and hub.

    Args:
        engine: database.
        identity: text that names chain and hub; a database of another one is refused.

    Raises:
        InputError: the database belongs to another chain or hub.
    """

    def __init__(self, engine: Engine, identity: str) -> None:
        self.engine = engine
        METADATA.create_all(engine)
        kept = self._counter("identity")
        if kept not in {None, identity}:
            raise InputError(
                f"the market's database is of {kept}, not of {identity}",
                code="market.database",
                hint="use another database file for another chain",
            )
        self._set_counter("identity", identity)

    # -- orders ---------------------------------------------------------------------------------------------------

    def order(self, order_hash: Bytes32) -> Published | None:
        """An order by its hash, whatever its status."""
        return next(iter(self._orders(ORDERS.c.order_hash == order_hash)), None)

    def publish(self, row: Mapping[str, Any], cap: int) -> bool:
        """Insert a new order, or revive a dead one; False when its signer has ``cap`` open ones of the kind.

        Counting and inserting are one transaction under the database's write lock, so parallel calls keep the cap.

        Raises:
            IntegrityError: the order is there already, in another status.
        """
        mine = and_(ORDERS.c.kind == row["kind"], ORDERS.c.signer == row["signer"], ORDERS.c.status == Status.OPEN)
        with self.engine.connect() as db, db.begin() as transaction:
            revived = db.execute(
                update(ORDERS)
                .where(ORDERS.c.order_hash == row["order_hash"], ORDERS.c.status == Status.DEAD)
                .values(status=Status.OPEN, remaining=row["remaining"], document=row["document"])
            )
            if revived.rowcount == 0:
                db.execute(insert(ORDERS).values(row))
            count = db.scalar(select(func.count()).select_from(ORDERS).where(mine)) or 0
            if count > cap:
                transaction.rollback()
            return count <= cap

    def open_count(self, kind: OrderKind, signer: Address | None = None) -> int:
        """How many open orders of a kind there are, of one signer or of all."""
        query = select(func.count()).select_from(ORDERS).where(ORDERS.c.kind == kind, ORDERS.c.status == Status.OPEN)
        with self.engine.connect() as db:
            return db.scalar(query if signer is None else query.where(ORDERS.c.signer == signer)) or 0

    def open_orders(self, kind: OrderKind, **columns: Any) -> list[Published]:  # noqa: ANN401  # column values
        """All open orders of a kind whose columns have the given values, newest first."""
        same = [ORDERS.c[name] == value for name, value in columns.items()]
        return self._orders(ORDERS.c.kind == kind, ORDERS.c.status == Status.OPEN, *same)

    def remove(self, order_hashes: Iterable[Bytes32]) -> list[Bytes32]:
        """Delete open orders; returns those that were."""
        removed = []
        with self.engine.begin() as db:
            for order_hash in order_hashes:
                key = (ORDERS.c.order_hash == order_hash, ORDERS.c.status == Status.OPEN)
                if db.execute(delete(ORDERS).where(*key)).rowcount:
                    removed.append(order_hash)
        return removed

    def set_status(self, order_hash: Bytes32, status: Status, *, remaining: int | None = None) -> None:
        """Change where an order is."""
        values: dict[str, Any] = {"status": status}
        if remaining is not None:
            values["remaining"] = remaining
        with self.engine.begin() as db:
            db.execute(update(ORDERS).where(ORDERS.c.order_hash == order_hash).values(values))

    def bury(self, order_hash: Bytes32) -> bool:
        """Turn an open order dead; False when it is not open."""
        key = (ORDERS.c.order_hash == order_hash, ORDERS.c.status == Status.OPEN)
        with self.engine.begin() as db:
            return db.execute(update(ORDERS).where(*key).values(status=Status.DEAD)).rowcount == 1

    def find(self, wanted: OrderFilter) -> tuple[int, list[Published]]:
        """How many open orders fit, and one page of them, best first."""
        conditions = list(_conditions(wanted))
        price = ORDERS.c.price.desc() if wanted.kind is OrderKind.REQUEST else ORDERS.c.price
        rows = select(ORDERS).where(*conditions).order_by(price, ORDERS.c.published_at, ORDERS.c.order_hash)
        count, page = self._page(rows, wanted.paging)
        return count, [_published(row) for row in page]

    # -- deals and categories -------------------------------------------------------------------------------------

    def keep_deal(self, row: Mapping[str, Any]) -> None:
        """Insert a deal, or replace it by what the chain says now."""
        with self.engine.begin() as db:
            db.execute(delete(DEALS).where(DEALS.c.deal_id == row["deal_id"]))
            db.execute(insert(DEALS).values(row))

    def deal(self, deal_id: Bytes32) -> dict[str, Any] | None:
        """A deal's document."""
        return self._document(select(DEALS.c.document).where(DEALS.c.deal_id == deal_id))

    def find_deals(self, columns: Mapping[str, str | int], paging: Paging) -> tuple[int, list[dict[str, Any]]]:
        """How many deals have the given column values, and one page of them, newest first."""
        rows = select(DEALS.c.document).where(*(DEALS.c[name] == value for name, value in columns.items()))
        count, page = self._page(rows.order_by(DEALS.c.block_number.desc(), DEALS.c.deal_id), paging)
        return count, [json.loads(row.document) for row in page]

    def newest_deals(self, category: int, limit: int) -> list[dict[str, Any]]:
        """The newest deals of a category."""
        rows = select(DEALS.c.document).where(DEALS.c.category == category)
        rows = rows.order_by(DEALS.c.block_number.desc(), DEALS.c.workerpool_price, DEALS.c.deal_id).limit(limit)
        with self.engine.connect() as db:
            return [json.loads(text) for text in db.scalars(rows)]

    def keep_category(self, category_id: int, period_s: int, document: Mapping[str, Any]) -> None:
        """Insert or replace a category."""
        with self.engine.begin() as db:
            db.execute(delete(CATEGORIES).where(CATEGORIES.c.category_id == category_id))
            values = {"category_id": category_id, "period_s": period_s, "document": json.dumps(dict(document))}
            db.execute(insert(CATEGORIES).values(values))

    def category(self, category_id: int) -> dict[str, Any] | None:
        """A category's document."""
        return self._document(select(CATEGORIES.c.document).where(CATEGORIES.c.category_id == category_id))

    def find_categories(
        self, shortest: int | None, longest: int | None, paging: Paging
    ) -> tuple[int, list[dict[str, Any]]]:
        """How many categories have periods in a range (seconds, ends included), and one page of them."""
        rows = select(CATEGORIES.c.document)
        if shortest is not None:
            rows = rows.where(CATEGORIES.c.period_s >= shortest)
        if longest is not None:
            rows = rows.where(CATEGORIES.c.period_s <= longest)
        count, page = self._page(rows.order_by(CATEGORIES.c.period_s, CATEGORIES.c.category_id), paging)
        return count, [json.loads(row.document) for row in page]

    # -- counters -------------------------------------------------------------------------------------------------

    def block(self, name: str) -> int | None:
        """A block number that is remembered."""
        kept = self._counter(name)
        return None if kept is None else int(kept)

    def set_block(self, name: str, number: int) -> None:
        """Remember a block number."""
        self._set_counter(name, str(number))

    def _counter(self, name: str) -> str | None:
        with self.engine.connect() as db:
            return db.scalar(select(COUNTERS.c.value).where(COUNTERS.c.name == name))

    def _set_counter(self, name: str, value: str) -> None:
        with self.engine.begin() as db:
            if db.execute(update(COUNTERS).where(COUNTERS.c.name == name).values(value=value)).rowcount == 0:
                db.execute(insert(COUNTERS).values(name=name, value=value))

    def _orders(self, *conditions: ColumnElement[bool]) -> list[Published]:
        rows = select(ORDERS).where(*conditions).order_by(ORDERS.c.published_at.desc(), ORDERS.c.order_hash)
        with self.engine.connect() as db:
            return [_published(row) for row in db.execute(rows)]

    def _page(self, rows: Select[Any], paging: Paging) -> tuple[int, Sequence[Any]]:
        with self.engine.connect() as db:
            count = db.scalar(select(func.count()).select_from(rows.order_by(None).subquery())) or 0
            return count, db.execute(rows.offset(paging.offset).limit(paging.limit)).all()

    def _document(self, query: Select[Any]) -> dict[str, Any] | None:
        with self.engine.connect() as db:
            text = db.scalar(query)
        return None if text is None else dict(json.loads(text))


def _published(row: Any) -> Published:  # noqa: ANN401  # SQLAlchemy's row
    order = stored_order(row.kind, row.document)
    return Published(row.order_hash, order, Status(row.status), row.remaining, row.signer, row.published_at)


def _conditions(wanted: OrderFilter) -> Iterable[ColumnElement[bool]]:
    table = ORDERS.c
    yield table.kind == wanted.kind
    yield table.status == Status.OPEN
    yield from (table[name] == value for name, value in wanted.exact.items())
    for name, restriction in wanted.restrictions.items():
        yield from _restricted(table[name], restriction)
    if wanted.owner is not None:
        yield table.signer == wanted.owner
    if wanted.min_volume is not None:
        yield table.remaining >= wanted.min_volume
    if wanted.category is not None:
        yield table.category == wanted.category
    if wanted.min_trust is not None and wanted.min_trust > 1:  # trust 0 and 1 mean the same
        yield table.trust >= wanted.min_trust
    if wanted.max_trust is not None:
        yield table.trust <= wanted.max_trust
    if wanted.bulk_only:
        yield and_(table.volume >= BULK_VOLUME, table.price == 0)
    yield from _tag_conditions(wanted)


def _restricted(column: ColumnElement[str], restriction: Restriction) -> Iterable[ColumnElement[bool]]:
    if restriction.everything:
        return
    if restriction.party is None:
        yield column == ZERO_ADDRESS
    elif restriction.strict:
        yield column == restriction.party
    else:
        yield or_(column == ZERO_ADDRESS, column == restriction.party)


def _tag_conditions(wanted: OrderFilter) -> Iterable[ColumnElement[bool]]:
    if wanted.min_tag is not None:
        for name, word in zip(TAG_WORDS, tag_words(wanted.min_tag), strict=True):
            if word:
                yield ORDERS.c[name].bitwise_and(word) == word
    if wanted.max_tag is not None:
        for name, word in zip(TAG_WORDS, tag_words(wanted.max_tag), strict=True):
            if word != 0xFFFFFFFF:
                yield ORDERS.c[name].bitwise_and(~word & 0xFFFFFFFF) == 0
