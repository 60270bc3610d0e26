"""``iexec ens lookup``: the name of an address."""

from __future__ import annotations

from adyton.cli.iexec import options as o
from adyton.cli.iexec.context import Context
from adyton.cli.iexec.grammar import Arguments, Command
from adyton.cli.iexec.outcome import Outcome

COMMAND = Command("<address>", (*o.GLOBAL, o.CHAIN))


def run(context: Context, arguments: Arguments) -> Outcome:
    """Look a name up; null when the address has none that resolves back to it."""
    with context.reading() as session:
        return Outcome({"name": session.ens.lookup(session.resolve(arguments.required("address")))})
