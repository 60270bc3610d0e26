"""``iexec requester check-secret``: whether the SMS has a named secret of a requester."""

from __future__ import annotations

from adyton.base.types import ZERO_ADDRESS
from adyton.cli.iexec import options as o
from adyton.cli.iexec.context import Context
from adyton.cli.iexec.grammar import Arguments, Command
from adyton.cli.iexec.outcome import Outcome
from adyton.sdk import secrets, wallets

COMMAND = Command("<secretName> [requesterAddress]", (*o.READ, o.TEE_FRAMEWORK))


def run(context: Context, arguments: Arguments) -> Outcome:
    """Ask the SMS."""
    name, text = arguments.required("secret_name"), arguments.text("requester_address")
    own = wallets.find_address(context.selection, context.cwd) if text is None else ZERO_ADDRESS
    with context.reading() as session:
        requester = own if text is None else session.resolve(text)
        found = secrets.has_requester_secret(session, requester, name, arguments.text("tee_framework"))
    return Outcome({"isSet": found, "name": name})
