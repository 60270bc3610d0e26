"""``iexec <resource> unpublish``: withdraw offers of a resource from the market."""

from __future__ import annotations

from typing import Final

from adyton.chain.orders import OrderKind
from adyton.cli.iexec import options as o
from adyton.cli.iexec.context import Context
from adyton.cli.iexec.grammar import Arguments, Command, Option
from adyton.cli.iexec.outcome import Outcome
from adyton.cli.iexec.values import asset_address
from adyton.sdk import market

_ALL: Final = Option("--all", "withdraw all offers, not only the last")

COMMANDS: Final = {
    kind: Command(f"[{kind}Address]", (*o.READ, o.FORCE, _ALL)) for kind in ("app", "dataset", "workerpool")
}


def run(context: Context, arguments: Arguments) -> Outcome:
    """Withdraw the last offer, or all; orders stay valid on the chain until they are cancelled there."""
    kind = OrderKind(context.subject)
    everything = arguments.flag("all")
    with context.signing() as session:
        address = asset_address(context, session, kind, arguments.text(f"{kind}_address"))
        which = f"all {kind}orders" if everything else f"the last {kind}order"
        context.confirm(f"Withdraw {which} of {address} from the marketplace?")
        hashes = market.unpublish_of(session, kind, address, everything=everything)
    unpublished = list(hashes) if everything else hashes[0]
    return Outcome({"unpublished": unpublished}, next_step="iexec order cancel, to make signed orders void")
