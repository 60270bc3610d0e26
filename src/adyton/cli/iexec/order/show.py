"""``iexec order show``: what the market knows of orders."""

from __future__ import annotations

from typing import Any

from adyton.base.types import Bytes32
from adyton.chain.orders import OrderKind
from adyton.cli.iexec import options as o
from adyton.cli.iexec.context import Context
from adyton.cli.iexec.grammar import Arguments, Command, Option
from adyton.cli.iexec.order import kinds
from adyton.cli.iexec.outcome import Outcome
from adyton.sdk import market

COMMAND = Command(
    options=(*o.GLOBAL, o.CHAIN, *kinds.optional_hashes("show"), Option("--deals", "show the deals made of it, too")),
)


def run(context: Context, arguments: Arguments) -> Outcome:
    """Show the orders of orders.json, or those with the given hashes."""
    named = kinds.required(arguments)
    with context.reading() as session:

        def show(kind: OrderKind) -> dict[str, Any]:
            typed = kinds.typed_hash(arguments, kind)
            order_hash = Bytes32(typed) if typed else kinds.saved(context, kind).hash(session.domain)
            document = {key: value for key, value in market.get(session, kind, order_hash).items() if key != "ok"}
            if arguments.flag("deals"):
                document["deals"] = market.deals_of(session, kind, order_hash)
            return document

        return kinds.for_each(named, show)
