"""``iexec deal show``: a deal, and with ``--watch`` its tasks until they are over."""

from __future__ import annotations

from typing import Any

from adyton.cli.iexec import options as o
from adyton.cli.iexec.app.run import task_fields
from adyton.cli.iexec.context import Context
from adyton.cli.iexec.grammar import Arguments, Command
from adyton.cli.iexec.outcome import Outcome
from adyton.cli.iexec.values import word32
from adyton.sdk import deals

COMMAND = Command("<dealid>", (*o.READ, o.WATCH))


def run(context: Context, arguments: Arguments) -> Outcome:
    """Show a deal."""
    deal_id = word32(arguments.required("dealid"))
    with context.reading() as session:
        deal = deals.view_deal(session, deal_id)
        fields: dict[str, Any] = {"deal": deal.to_json()}
        if not arguments.flag("watch"):
            return Outcome(fields, next_step=f"iexec task show {deal.task_ids[0]}")
        tasks: list[deals.TaskView] = []
        for tasks in deals.watch_tasks(session, deal, pause=context.pause):
            done = sum(task.status_name == "COMPLETED" for task in tasks)
            context.ui.info(f"{done} of {len(tasks)} tasks completed")
    failed = [task_fields(task) for task in tasks if task.is_over and task.status_name != "COMPLETED"]
    fields |= {
        "tasksCount": len(tasks),
        "completedTasksCount": sum(task.status_name == "COMPLETED" for task in tasks),
        "failedTasksCount": len(failed),
        "tasks": [task_fields(task) for task in tasks],
        "failedTasks": failed,
    }
    return Outcome(fields)
