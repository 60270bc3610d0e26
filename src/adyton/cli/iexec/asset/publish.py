"""``iexec <resource> publish``: sign an order for a resource and offer it on the market."""

from __future__ import annotations

from typing import Any, Final

from adyton.chain.orders import OrderKind
from adyton.cli.iexec import options as o
from adyton.cli.iexec.context import Context
from adyton.cli.iexec.grammar import Arguments, Command, Option
from adyton.cli.iexec.outcome import Outcome
from adyton.cli.iexec.ui import show
from adyton.cli.iexec.values import asset_address, price
from adyton.sdk import market, orders, preflight

_OTHERS: Final = {
    "app": ("dataset", "workerpool", "requester"),
    "dataset": ("app", "workerpool", "requester"),
    "workerpool": ("app", "dataset", "requester"),
}
_DEFAULT_VOLUME: Final = {"app": "1000000", "dataset": "1000000", "workerpool": "1"}


def _command(kind: str) -> Command:
    if kind == "workerpool":
        trust = Option("--trust <integer>", "trust level that the pool gives")
        own = (o.CATEGORY, o.PRICE, o.VOLUME, o.TAG, trust, *o.restrict(*_OTHERS[kind]))
    else:
        own = (o.PRICE, o.VOLUME, o.TAG, *o.restrict(*_OTHERS[kind]), o.SKIP_PREFLIGHT)
    return Command(f"[{kind}Address]", (*o.READ, o.FORCE, *own))


COMMANDS: Final = {kind: _command(kind) for kind in _OTHERS}


def run(context: Context, arguments: Arguments) -> Outcome:
    """Make, check, sign and publish the order."""
    kind = OrderKind(context.subject)
    with context.signing() as session:
        address = asset_address(context, session, kind, arguments.text(f"{kind}_address"))
        description: dict[str, Any] = {
            kind.value: address,
            f"{kind}price": price(arguments),
            "volume": arguments.text("volume") or _DEFAULT_VOLUME[kind],
            "tag": arguments.text("tag"),
            **{f"{other}restrict": arguments.text(f"{other}_restrict") for other in _OTHERS[kind]},
        }
        if kind is OrderKind.WORKERPOOL:
            description["category"] = arguments.text("category") or "0"
            description["trust"] = arguments.text("trust") or "0"
        order = orders.create(session, kind, description)
        orders.check_registered(session, order)
        if not arguments.flag("skip_preflight_check"):
            preflight.check(session, order)
        shown = {name: str(value) for name, value in order.values().items() if name != "salt"}
        context.confirm(f"Publish this {kind}order?\n{show(shown, '  ')}\n")
        order_hash = market.publish(session, orders.sign(session, order))
    return Outcome({"orderHash": order_hash}, message=f"{kind}order published")
