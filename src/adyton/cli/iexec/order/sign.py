"""``iexec order sign``: sign the orders of iexec.json into orders.json."""

from __future__ import annotations

from adyton.chain.orders import OrderKind
from adyton.cli.iexec import options as o
from adyton.cli.iexec.context import Context
from adyton.cli.iexec.grammar import Arguments, Command
from adyton.cli.iexec.order import kinds
from adyton.cli.iexec.outcome import Outcome
from adyton.sdk import orders, preflight
from adyton.sdk.errors import ClientError

COMMAND = Command(options=(*o.READ, o.FORCE, *kinds.flags("sign"), o.SKIP_PREFLIGHT))


def run(context: Context, arguments: Arguments) -> Outcome:
    """Check and sign one kind after the other."""
    described = context.project.load().get("order")
    with context.signing() as session:

        def sign(kind: OrderKind) -> dict[str, str]:
            name = orders.order_name(kind)
            if not isinstance(described, dict) or not isinstance(described.get(name), dict):
                message = f'Missing "{name}" in "iexec.json". Did you forget to run "iexec order init"?'
                raise ClientError(message, code="sdk.order.undescribed")
            order = orders.create(session, kind, described[name])
            orders.check_registered(session, order)
            if not arguments.flag("skip_preflight_check"):
                preflight.check(session, order)
            signed = orders.sign(session, order).to_json()
            context.project.save_orders(context.chain.chain_id, {name: signed})
            return signed

        return kinds.for_each(kinds.chosen(arguments), sign, next_step="iexec order publish or iexec order fill")
