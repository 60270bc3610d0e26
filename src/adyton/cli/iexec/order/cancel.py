"""``iexec order cancel``: make signed orders void on the chain."""

from __future__ import annotations

from adyton.chain.orders import OrderKind
from adyton.cli.iexec import options as o
from adyton.cli.iexec.context import Context
from adyton.cli.iexec.grammar import Arguments, Command
from adyton.cli.iexec.order import kinds
from adyton.cli.iexec.outcome import Outcome
from adyton.sdk import orders

COMMAND = Command(options=(*o.WRITE, o.FORCE, *kinds.flags("cancel")))


def run(context: Context, arguments: Arguments) -> Outcome:
    """Cancel one kind after the other."""
    named = kinds.required(arguments)
    context.project.existing_orders(context.chain.chain_id)
    with context.signing() as session:

        def cancel(kind: OrderKind) -> dict[str, str]:
            order = kinds.saved(context, kind)
            context.confirm(kinds.question("Cancel, for ever,", order))
            return {"txHash": orders.cancel(session, order)}

        return kinds.for_each(named, cancel)
