"""``iexec wallet show``: what a wallet holds."""

from __future__ import annotations

from typing import Any

from adyton.cli.iexec import options as o
from adyton.cli.iexec.context import Context
from adyton.cli.iexec.grammar import Arguments, Command, Option
from adyton.cli.iexec.outcome import Outcome
from adyton.sdk import accounts, wallets
from adyton.sdk.units import format_units

COMMAND = Command("[address]", (*o.READ, Option("--show-private-key", "show the private key, too")))


def run(context: Context, arguments: Arguments) -> Outcome:
    """Show an account's balances; of the own wallet also its keys when asked for."""
    text = arguments.text("address")
    own: dict[str, Any] = {}
    if text is None:
        own = _own_wallet(context, arguments)
    with context.reading() as session:
        address = session.resolve(text) if text is not None else own["address"]
        found = accounts.balance(session, address)
        balance = {"RLC": format_units(found.nrlc, 9), "nRLC": str(found.nrlc)}
        if not context.chain.native:
            balance = {"ether": format_units(found.wei, 18)} | balance | {"wei": str(found.wei)}
        fields: dict[str, Any] = {"balance": balance}
        if own:
            fields["wallet"] = own
        if session.has_ens:
            fields["ens"] = session.name_of(address)
    return Outcome(fields)


def _own_wallet(context: Context, arguments: Arguments) -> dict[str, Any]:
    if not arguments.flag("show_private_key"):
        return {"address": wallets.find_address(context.selection, context.cwd)}
    wallet = wallets.find_for_signing(context.selection, context.cwd).open(context.password)
    document = wallets.plain_document(wallet)
    return {key: document[key] for key in ("address", "privateKey", "publicKey")}
