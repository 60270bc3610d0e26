"""``iexec dataset init``: describe a new dataset in iexec.json."""

from __future__ import annotations

from adyton.cli.iexec import options as o
from adyton.cli.iexec.context import Context
from adyton.cli.iexec.dataset.folders import FOLDERS, folders_of
from adyton.cli.iexec.grammar import Arguments, Command, Option
from adyton.cli.iexec.outcome import Outcome
from adyton.sdk import templates

COMMAND = Command(
    options=(
        *o.GLOBAL,
        *o.WALLET,
        Option("--encrypted", "make the folders for an encrypted dataset"),
        Option("--tee", "the same as --encrypted"),
        *FOLDERS,
    ),
)


def run(context: Context, arguments: Arguments) -> Outcome:
    """Write the template, and make the folders of encrypted datasets when asked for."""
    dataset = templates.dataset(context.wallet_address())
    context.project.save_sections({"dataset": dataset})
    encrypted = arguments.flag("encrypted") or arguments.flag("tee")
    if encrypted:
        folders_of(context, arguments).create()
    return Outcome(
        {"dataset": dataset},
        message='dataset described in "iexec.json"',
        next_step="iexec dataset encrypt" if encrypted else "iexec dataset deploy",
    )
