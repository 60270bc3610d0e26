"""``iexec category init``: describe a new category in iexec.json."""

from __future__ import annotations

from adyton.cli.iexec import options as o
from adyton.cli.iexec.context import Context
from adyton.cli.iexec.grammar import Arguments, Command
from adyton.cli.iexec.outcome import Outcome
from adyton.sdk import templates

COMMAND = Command(options=o.GLOBAL)


def run(context: Context, arguments: Arguments) -> Outcome:  # noqa: ARG001  # every verb has the same form
    """Write the template."""
    category = dict(templates.CATEGORY)
    context.project.save_sections({"category": category})
    return Outcome({"category": category})
