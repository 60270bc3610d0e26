"""``iexec account show``: free and locked stake."""

from __future__ import annotations

from adyton.cli.iexec import options as o
from adyton.cli.iexec.context import Context
from adyton.cli.iexec.grammar import Arguments, Command
from adyton.cli.iexec.outcome import Outcome
from adyton.sdk import accounts, wallets

COMMAND = Command("[address]", o.READ)


def run(context: Context, arguments: Arguments) -> Outcome:
    """Show what an account has in the hub, in nRLC."""
    text = arguments.text("address")
    own = wallets.find_address(context.selection, context.cwd) if text is None else None
    with context.reading() as session:
        address = own if text is None else session.resolve(text)
        found = accounts.stake(session, address) if address is not None else None
    balance = {"stake": str(found.stake), "locked": str(found.locked)} if found else {}
    return Outcome({"balance": balance})
