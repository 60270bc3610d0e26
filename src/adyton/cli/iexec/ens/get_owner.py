"""``iexec ens get-owner``: who owns a name."""

from __future__ import annotations

from adyton.cli.iexec import options as o
from adyton.cli.iexec.context import Context
from adyton.cli.iexec.grammar import Arguments, Command
from adyton.cli.iexec.outcome import Outcome

COMMAND = Command("<name>", (*o.GLOBAL, o.CHAIN))


def run(context: Context, arguments: Arguments) -> Outcome:
    """Show the owner in the registry; the zero address when nobody owns the name."""
    with context.reading() as session:
        return Outcome({"owner": session.ens.owner(arguments.required("name"))})
