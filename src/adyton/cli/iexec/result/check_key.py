"""``iexec result check-encryption-key``: whether the SMS has an account's result key."""

from __future__ import annotations

from adyton.base.types import ZERO_ADDRESS
from adyton.cli.iexec import options as o
from adyton.cli.iexec.context import Context
from adyton.cli.iexec.grammar import Arguments, Command
from adyton.cli.iexec.outcome import Outcome
from adyton.sdk import secrets, wallets

COMMAND = Command("[address]", (*o.READ, o.TEE_FRAMEWORK))


def run(context: Context, arguments: Arguments) -> Outcome:
    """Ask the SMS."""
    text = arguments.text("address")
    own = wallets.find_address(context.selection, context.cwd) if text is None else ZERO_ADDRESS
    with context.reading() as session:
        address = own if text is None else session.resolve(text)
        found = secrets.has_web2_secret(session, address, secrets.RESULT_KEY_NAME, arguments.text("tee_framework"))
    return Outcome({"isEncryptionKeySet": found})
