"""``iexec wallet send-RLC``: a transfer to another account."""

from __future__ import annotations

from adyton.cli.iexec import options as o
from adyton.cli.iexec.context import Context
from adyton.cli.iexec.grammar import Arguments, Command
from adyton.cli.iexec.outcome import Outcome
from adyton.cli.iexec.values import amount_text
from adyton.sdk import accounts
from adyton.sdk.errors import ClientError
from adyton.sdk.units import format_units, parse_nrlc

COMMAND = Command("<amount> [unit]", (*o.WRITE, o.FORCE, o.TO))


def run(context: Context, arguments: Arguments) -> Outcome:
    """Send RLC."""
    amount = parse_nrlc(amount_text(arguments), default_unit="RLC")
    to = arguments.text("to")
    if to is None:
        raise ClientError("Missing --to option", code="sdk.input.to")
    with context.signing() as session:
        receiver = session.resolve(to)
        context.confirm(f"Send {format_units(amount, 9)} RLC to {receiver} on {context.chain.name}?")
        transaction = accounts.send_rlc(session, amount, receiver)
        sender = session.wallet.address
    return Outcome({"amount": str(amount), "from": sender, "to": receiver, "txHash": transaction})
