"""``iexec category show``: one size class of tasks."""

from __future__ import annotations

from adyton.base.errors import NotFoundError
from adyton.cli.iexec import options as o
from adyton.cli.iexec.context import Context
from adyton.cli.iexec.grammar import Arguments, Command
from adyton.cli.iexec.outcome import Outcome
from adyton.sdk.errors import ObjectNotFoundError
from adyton.sdk.units import parse_uint

COMMAND = Command("<index>", (*o.GLOBAL, o.CHAIN))


def run(context: Context, arguments: Arguments) -> Outcome:
    """Show a category."""
    index = arguments.required("index")
    number = parse_uint(index)
    with context.reading() as session:
        try:
            found = session.hub.view_category(number)
        except NotFoundError as error:
            raise ObjectNotFoundError("category", index, context.chain.chain_id) from error
    category = {
        "name": found.name,
        "description": found.description,
        "workClockTimeRef": str(found.work_clock_time_ref),
    }
    return Outcome({"index": index, "category": category})
