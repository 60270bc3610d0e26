"""``iexec requester push-secret``: put a named secret of the wallet into the SMS."""

from __future__ import annotations

from adyton.base.secret import Secret
from adyton.cli.iexec import options as o
from adyton.cli.iexec.context import Context
from adyton.cli.iexec.grammar import Arguments, Command, Option
from adyton.cli.iexec.outcome import Outcome
from adyton.cli.iexec.pushing import KEEP_A_COPY, telling
from adyton.sdk import secrets

COMMAND = Command(
    "<secretName>",
    (
        *o.READ,
        Option("--secret-value <secretValue>", "the secret (others on this machine may see it)"),
        o.TEE_FRAMEWORK,
    ),
)


def run(context: Context, arguments: Arguments) -> Outcome:
    """Push the secret."""
    name = arguments.required("secret_name")
    with context.signing() as session:
        given = arguments.text("secret_value")
        value = Secret(given) if given is not None else context.ui.hidden(f"Value of secret {name}")
        secrets.push_requester_secret(session, name, value, arguments.text("tee_framework"), tell=telling(context.ui))
    context.ui.info(KEEP_A_COPY)
    return Outcome({"isPushed": True, "name": name})
