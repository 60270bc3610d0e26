"""``iexec ens resolve``: the address of a name."""

from __future__ import annotations

from adyton.cli.iexec import options as o
from adyton.cli.iexec.context import Context
from adyton.cli.iexec.grammar import Arguments, Command
from adyton.cli.iexec.outcome import Outcome

COMMAND = Command("<name>", (*o.GLOBAL, o.CHAIN))


def run(context: Context, arguments: Arguments) -> Outcome:
    """Resolve a name; null when it has no address."""
    with context.reading() as session:
        return Outcome({"address": session.ens.resolve(arguments.required("name"))})
