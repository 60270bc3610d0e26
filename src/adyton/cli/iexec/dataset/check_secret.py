"""``iexec dataset check-secret``: whether the SMS has a dataset's key."""

from __future__ import annotations

from adyton.cli.iexec import options as o
from adyton.cli.iexec.context import Context
from adyton.cli.iexec.grammar import Arguments, Command
from adyton.cli.iexec.outcome import Outcome
from adyton.cli.iexec.values import asset_address
from adyton.sdk import secrets

COMMAND = Command("[datasetAddress]", (*o.GLOBAL, o.CHAIN, o.TEE_FRAMEWORK))


def run(context: Context, arguments: Arguments) -> Outcome:
    """Ask the SMS."""
    with context.reading() as session:
        address = asset_address(context, session, "dataset", arguments.text("dataset_address"))
        found = secrets.has_dataset_secret(session, address, arguments.text("tee_framework"))
    return Outcome({"isSecretSet": found})
