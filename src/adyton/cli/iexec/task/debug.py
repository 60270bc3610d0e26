"""``iexec task debug``: what the workerpool knows about a task."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from adyton.base.errors import AdytonError
from adyton.cli.iexec import options as o
from adyton.cli.iexec.context import Context
from adyton.cli.iexec.grammar import Arguments, Command, Option
from adyton.cli.iexec.outcome import Outcome, given
from adyton.cli.iexec.values import word32
from adyton.sdk import deals, pools

COMMAND = Command("<taskid>", (*o.READ, Option("--logs", "fetch the app's output, too (the requester only)")))


def run(context: Context, arguments: Arguments) -> Outcome:
    """Show the task on the chain and at its scheduler; what the scheduler does not give is only a warning."""
    identifier = word32(arguments.required("taskid"))
    with_logs = arguments.flag("logs")
    with context.signing() if with_logs else context.reading() as session:
        task = deals.view_task(session, identifier)
        deal = deals.view_deal(session, task.deal_id).deal
        pool = deal.workerpool.pointer
        offchain = _or_warn(context, lambda: pools.offchain_info(session, identifier, pool))
        logs = _or_warn(context, lambda: pools.logs(session, identifier, pool, deal.requester)) if with_logs else None
    return Outcome(given(onchainData=task.to_json(), offchainData=offchain, appLogs=logs))


def _or_warn(context: Context, ask: Callable[[], Any]) -> Any:  # noqa: ANN401  # JSON of the scheduler
    try:
        return ask()
    except AdytonError as error:
        context.ui.warn(error.message)
        return None
