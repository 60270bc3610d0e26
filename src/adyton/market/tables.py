"""The market's tables, and orders as rows.

Numbers of orders are at most 2^53-1 by validation; what comes from the chain may be larger and is kept as JSON text,
with only what is filtered or sorted by in columns. A tag is eight columns of 32 bits: bit filters are plain SQL.
"""

from __future__ import annotations

import json
from typing import Any, Final

from sqlalchemy import BigInteger, Column, Index, MetaData, String, Table, Text

from adyton.base.types import Address, Bytes32
from adyton.chain.orders import Order, OrderKind
from adyton.market.rules import Status, price_of

METADATA: Final = MetaData()
PARTIES: Final = ("app", "dataset", "workerpool", "requester", "beneficiary")
TAG_WORDS: Final = tuple(f"tag{index}" for index in range(8))

ORDERS: Final = Table(
    "published_order",
    METADATA,
    Column("order_hash", String(66), primary_key=True),
    Column("kind", String(16), nullable=False),
    Column("status", String(16), nullable=False),
    Column("signer", String(42), nullable=False),
    Column("published_at", String(24), nullable=False),
    Column("remaining", BigInteger, nullable=False),
    Column("price", BigInteger, nullable=False),
    Column("volume", BigInteger, nullable=False),
    Column("category", BigInteger),
    Column("trust", BigInteger),
    *(Column(name, String(42)) for name in PARTIES),
    *(Column(name, BigInteger, nullable=False) for name in TAG_WORDS),
    Column("document", Text, nullable=False),
    Index("ix_order_listing", "kind", "status", "price"),
    Index("ix_order_signer", "kind", "signer", "status"),
    Index("ix_order_app", "kind", "app", "status"),
    Index("ix_order_dataset", "kind", "dataset", "status"),
)
DEALS: Final = Table(
    "deal",
    METADATA,
    Column("deal_id", String(66), primary_key=True),
    Column("block_number", BigInteger, nullable=False),
    Column("category", BigInteger, nullable=False),
    *(Column(name, String(42), nullable=False, index=True) for name in PARTIES),
    *(Column(f"{name}_owner", String(42), nullable=False) for name in ("app", "dataset", "workerpool")),
    *(Column(f"{name}_hash", String(66), nullable=False) for name in ("app", "dataset", "workerpool", "request")),
    Column("workerpool_price", String(80), nullable=False),  # zero-padded decimal: sorts as the number does
    Column("document", Text, nullable=False),
)
CATEGORIES: Final = Table(
    "category",
    METADATA,
    Column("category_id", BigInteger, primary_key=True),
    Column("period_s", BigInteger, nullable=False),
    Column("document", Text, nullable=False),
)
COUNTERS: Final = Table(
    "counter", METADATA, Column("name", String(32), primary_key=True), Column("value", String(80), nullable=False)
)


def order_row(order: Order, order_hash: Bytes32, signer: Address, remaining: int, published_at: str) -> dict[str, Any]:
    """The row of a newly published order."""
    values = order.values()
    parties = {name: values.get(name) if name in values else values.get(f"{name}restrict") for name in PARTIES}
    return {
        "order_hash": order_hash,
        "kind": str(order.kind),
        "status": str(Status.OPEN),
        "signer": signer,
        "published_at": published_at,
        "remaining": remaining,
        "price": price_of(order),
        "volume": values["volume"],
        "category": values.get("category"),
        "trust": values.get("trust"),
        **parties,
        **dict(zip(TAG_WORDS, tag_words(values["tag"]), strict=True)),
        "document": json.dumps({**values, "sign": order.sign}),
    }


def tag_words(tag: Bytes32) -> list[int]:
    """A tag as eight numbers of 32 bits, highest first."""
    return [int(tag[start : start + 8], 16) for start in range(2, 66, 8)]


def stored_order(kind: str, document: str) -> Order:
    """The order in a row's document."""
    return OrderKind(kind).order_class(**json.loads(document))
