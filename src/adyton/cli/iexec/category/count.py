"""``iexec category count``: how many size classes of tasks there are."""

from __future__ import annotations

from adyton.cli.iexec import options as o
from adyton.cli.iexec.context import Context
from adyton.cli.iexec.grammar import Arguments, Command
from adyton.cli.iexec.outcome import Outcome

COMMAND = Command(options=(*o.GLOBAL, o.CHAIN))


def run(context: Context, arguments: Arguments) -> Outcome:  # noqa: ARG001  # every verb has the same form
    """Count the categories."""
    with context.reading() as session:
        return Outcome({"count": str(session.hub.count_category())})
