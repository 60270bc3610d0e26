"""``iexec order publish``: offer signed orders on the market."""

from __future__ import annotations

from adyton.chain.orders import OrderKind
from adyton.cli.iexec import options as o
from adyton.cli.iexec.context import Context
from adyton.cli.iexec.grammar import Arguments, Command
from adyton.cli.iexec.order import kinds
from adyton.cli.iexec.outcome import Outcome
from adyton.sdk import market, preflight

COMMAND = Command(options=(*o.READ, o.FORCE, *kinds.flags("publish"), o.SKIP_PREFLIGHT))


def run(context: Context, arguments: Arguments) -> Outcome:
    """Publish one kind after the other."""
    named = kinds.required(arguments)
    context.project.existing_orders(context.chain.chain_id)
    with context.signing() as session:

        def publish(kind: OrderKind) -> dict[str, str]:
            order = kinds.saved(context, kind)
            context.confirm(kinds.question("Publish", order))
            if not arguments.flag("skip_preflight_check"):
                preflight.check(session, order)
            return {"orderHash": market.publish(session, order)}

        return kinds.for_each(named, publish, next_step="iexec order show")
