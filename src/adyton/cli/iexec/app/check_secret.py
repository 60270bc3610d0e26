"""``iexec app check-secret``: whether the SMS has an app's secret."""

from __future__ import annotations

from adyton.cli.iexec import options as o
from adyton.cli.iexec.context import Context
from adyton.cli.iexec.grammar import Arguments, Command
from adyton.cli.iexec.outcome import Outcome
from adyton.cli.iexec.values import asset_address
from adyton.sdk import secrets

COMMAND = Command("[appAddress]", (*o.GLOBAL, o.CHAIN, o.TEE_FRAMEWORK))


def run(context: Context, arguments: Arguments) -> Outcome:
    """Ask the SMS of the app's framework."""
    with context.reading() as session:
        address = asset_address(context, session, "app", arguments.text("app_address"))
        framework = secrets.app_framework(session, address, arguments.text("tee_framework"))
        found = secrets.has_app_secret(session, address, framework)
    return Outcome({"isSecretSet": found})
