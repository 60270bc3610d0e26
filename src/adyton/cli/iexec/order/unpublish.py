"""``iexec order unpublish``: withdraw orders from the market."""

from __future__ import annotations

from adyton.base.types import Bytes32
from adyton.chain.orders import OrderKind
from adyton.cli.iexec import options as o
from adyton.cli.iexec.context import Context
from adyton.cli.iexec.grammar import Arguments, Command
from adyton.cli.iexec.order import kinds
from adyton.cli.iexec.outcome import Outcome
from adyton.sdk import market

COMMAND = Command(options=(*o.READ, o.FORCE, *kinds.optional_hashes("withdraw")))


def run(context: Context, arguments: Arguments) -> Outcome:
    """Withdraw the orders of orders.json, or those with the given hashes."""
    named = kinds.required(arguments)
    context.project.existing_orders(context.chain.chain_id)
    with context.signing() as session:

        def unpublish(kind: OrderKind) -> dict[str, str]:
            typed = kinds.typed_hash(arguments, kind)
            order_hash = Bytes32(typed) if typed else kinds.saved(context, kind).hash(session.domain)
            context.confirm(f"Withdraw {kind}order {order_hash} from the marketplace?")
            return {"orderHash": market.unpublish(session, kind, order_hash)}

        return kinds.for_each(named, unpublish, next_step="iexec order cancel, to make signed orders void")
