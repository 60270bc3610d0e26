"""``iexec app push-secret``: give an app its secret."""

from __future__ import annotations

from adyton.base.secret import Secret
from adyton.cli.iexec import options as o
from adyton.cli.iexec.context import Context
from adyton.cli.iexec.grammar import Arguments, Command, Option
from adyton.cli.iexec.outcome import Outcome
from adyton.cli.iexec.pushing import KEEP_A_COPY, telling
from adyton.cli.iexec.values import asset_address
from adyton.sdk import secrets

COMMAND = Command(
    "[appAddress]",
    (
        *o.READ,
        Option("--secret-value <secretValue>", "the secret (others on this machine may see it)"),
        o.TEE_FRAMEWORK,
    ),
)


def run(context: Context, arguments: Arguments) -> Outcome:
    """Push the secret to the SMS of the app's framework."""
    with context.signing() as session:
        address = asset_address(context, session, "app", arguments.text("app_address"))
        framework = secrets.app_framework(session, address, arguments.text("tee_framework"))
        given = arguments.text("secret_value")
        value = Secret(given) if given is not None else context.ui.hidden("Secret of the app")
        secrets.push_app_secret(session, address, value, framework, tell=telling(context.ui))
    context.ui.info(KEEP_A_COPY)
    return Outcome(message=f"secret of app {address} pushed")
