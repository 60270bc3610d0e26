"""``iexec wallet import``: a wallet from a private key."""

from __future__ import annotations

from adyton.cli.iexec import options as o
from adyton.cli.iexec.context import Context
from adyton.cli.iexec.grammar import Arguments, Command
from adyton.cli.iexec.outcome import Outcome
from adyton.cli.iexec.wallet.create import outcome_of_new
from adyton.sdk import wallets

COMMAND = Command("<privateKey>", (*o.GLOBAL, *o.NEW_WALLET, o.FORCE))


def run(context: Context, arguments: Arguments) -> Outcome:
    """Save a wallet with a given key."""
    return outcome_of_new(context, arguments, wallets.import_key(arguments.required("private_key")))
