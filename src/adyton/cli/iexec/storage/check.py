"""``iexec storage check``: whether the SMS has a storage token."""

from __future__ import annotations

from adyton.base.types import ZERO_ADDRESS
from adyton.cli.iexec import options as o
from adyton.cli.iexec.context import Context
from adyton.cli.iexec.grammar import Arguments, Command
from adyton.cli.iexec.outcome import Outcome
from adyton.sdk import storage, wallets

COMMAND = Command("[provider]", (*o.READ, o.USER, o.TEE_FRAMEWORK))


def run(context: Context, arguments: Arguments) -> Outcome:
    """Ask the SMS."""
    provider = arguments.text("provider") or storage.DEFAULT
    storage.secret_name(provider)
    user = arguments.text("user")
    own = wallets.find_address(context.selection, context.cwd) if user is None else ZERO_ADDRESS
    with context.reading() as session:
        address = own if user is None else session.resolve(user)
        found = storage.is_initialized(session, address, provider, arguments.text("tee_framework"))
    return Outcome({"isInitialized": found})
