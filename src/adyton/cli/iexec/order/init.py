"""``iexec order init``: describe new orders in iexec.json."""

from __future__ import annotations

from adyton.base.types import ZERO_ADDRESS
from adyton.chain.orders import OrderKind
from adyton.cli.iexec import options as o
from adyton.cli.iexec.context import Context
from adyton.cli.iexec.grammar import Arguments, Command
from adyton.cli.iexec.order import kinds
from adyton.cli.iexec.outcome import Outcome
from adyton.sdk import orders, templates

COMMAND = Command(options=(*o.READ, *kinds.flags("describe")))


def run(context: Context, arguments: Arguments) -> Outcome:
    """Write the templates, with the resources that were deployed last and the wallet filled in."""
    chain_id = context.chain.chain_id
    described = context.project.load().get("order", {})
    deployed = context.project.deployed()

    def describe(kind: OrderKind) -> object:
        resource = deployed.get(kind, {}).get(str(chain_id), ZERO_ADDRESS)
        wallet = context.wallet_address() if kind is OrderKind.REQUEST else None
        described[orders.order_name(kind)] = template = templates.order(kind, resource, wallet)
        return template

    outcome = kinds.for_each(kinds.chosen(arguments), describe, next_step="edit iexec.json, iexec order sign")
    context.project.save_sections({"order": described})
    return outcome
