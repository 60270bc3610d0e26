"""``iexec account deposit``: RLC into the account."""

from __future__ import annotations

from adyton.cli.iexec import options as o
from adyton.cli.iexec.context import Context
from adyton.cli.iexec.grammar import Arguments, Command
from adyton.cli.iexec.outcome import Outcome
from adyton.cli.iexec.values import amount_text
from adyton.sdk import accounts
from adyton.sdk.units import parse_nrlc

COMMAND = Command("<amount> [unit]", o.WRITE)


def run(context: Context, arguments: Arguments) -> Outcome:
    """Move RLC into the account."""
    amount = parse_nrlc(amount_text(arguments))
    with context.signing() as session:
        transaction = accounts.deposit(session, amount)
    return Outcome({"amount": str(amount), "txHash": transaction}, next_step="iexec account show")
