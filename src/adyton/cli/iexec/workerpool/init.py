"""``iexec workerpool init``: describe a new workerpool in iexec.json."""

from __future__ import annotations

from adyton.cli.iexec import options as o
from adyton.cli.iexec.context import Context
from adyton.cli.iexec.grammar import Arguments, Command
from adyton.cli.iexec.outcome import Outcome
from adyton.sdk import templates

COMMAND = Command(options=(*o.GLOBAL, *o.WALLET))


def run(context: Context, arguments: Arguments) -> Outcome:  # noqa: ARG001  # every verb has the same form
    """Write the template."""
    workerpool = templates.workerpool(context.wallet_address())
    context.project.save_sections({"workerpool": workerpool})
    return Outcome({"workerpool": workerpool}, next_step="iexec workerpool deploy")
