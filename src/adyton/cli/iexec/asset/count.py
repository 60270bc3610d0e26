"""``iexec <resource> count``: how many resources an account owns."""

from __future__ import annotations

from typing import Final

from adyton.base.types import ZERO_ADDRESS
from adyton.chain.calldata import AssetKind
from adyton.cli.iexec import options as o
from adyton.cli.iexec.context import Context
from adyton.cli.iexec.grammar import Arguments, Command
from adyton.cli.iexec.outcome import Outcome
from adyton.sdk import assets, wallets

COMMANDS: Final = dict.fromkeys(("app", "dataset", "workerpool"), Command(options=(*o.READ, o.USER)))


def run(context: Context, arguments: Arguments) -> Outcome:
    """Count the resources of the wallet or of another account."""
    user = arguments.text("user")
    own = wallets.find_address(context.selection, context.cwd) if user is None else ZERO_ADDRESS
    with context.reading() as session:
        owner = own if user is None else session.resolve(user)
        found = assets.count(session, AssetKind(context.subject), owner)
    return Outcome({"count": str(found)})
