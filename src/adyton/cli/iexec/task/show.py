"""``iexec task show``: a task; with ``--download`` its result, with ``--decrypt`` opened."""

from __future__ import annotations

from pathlib import Path

from adyton.base.files import write_atomic
from adyton.cli.iexec import options as o
from adyton.cli.iexec.context import Context
from adyton.cli.iexec.grammar import Arguments, Command, Option
from adyton.cli.iexec.outcome import Outcome
from adyton.cli.iexec.result.keys import KEY_FILE, KEY_FOLDER, private_key_path
from adyton.cli.iexec.values import word32
from adyton.sdk import deals, results
from adyton.sdk.session import Session

COMMAND = Command(
    "<taskid>",
    (
        *o.READ,
        o.WATCH,
        Option("--download [fileName]", "save the result of a completed task (default: its id with .zip)"),
        Option("--decrypt", "open the encrypted result that is downloaded"),
        KEY_FOLDER,
        KEY_FILE,
    ),
)


def run(context: Context, arguments: Arguments) -> Outcome:
    """Show a task, and fetch its result when asked for."""
    identifier = word32(arguments.required("taskid"))
    wanted = arguments.flag("download")
    # Fetching needs an open wallet, as with the official client: its owner is who may have the result.
    with context.signing() if wanted else context.reading() as session:
        task = deals.view_task(session, identifier)
        if arguments.flag("watch") and not task.is_over:
            for task in deals.watch_task(session, identifier, pause=context.pause):
                context.ui.info(f"task {task.status_name}")
        fields = {"task": task.to_json(), "claimable": task.claimable}
        if wanted and task.status_name != "COMPLETED":
            context.ui.info("the task is not completed: there is no result to download")
        elif wanted:
            fields["resultPath"] = str(_download(context, arguments, session, task))
    return Outcome(fields, next_step="" if wanted else f"iexec task show {identifier} --download")


def _download(context: Context, arguments: Arguments, session: Session, task: deals.TaskView) -> Path:
    path = results.download_path(context.cwd, task, arguments.text("download"))
    archive = results.fetch(session, task)
    if arguments.flag("decrypt"):
        archive = results.decrypt_archive(archive, private_key_path(context, arguments, session.wallet.address))
    write_atomic(path, archive)
    return path
