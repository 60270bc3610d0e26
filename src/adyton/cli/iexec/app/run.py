"""``iexec app run``: buy one execution of an app at market price."""

from __future__ import annotations

import re
from typing import Any, Final

from adyton.base.jsontext import parse_json
from adyton.base.types import ZERO_ADDRESS, Address
from adyton.cli.iexec import options as o
from adyton.cli.iexec.context import Context
from adyton.cli.iexec.grammar import Arguments, Command, Option
from adyton.cli.iexec.outcome import Outcome
from adyton.cli.iexec.values import asset_address
from adyton.sdk import buy, deals, orders
from adyton.sdk.errors import ValidationError
from adyton.sdk.matching import Match, OrderSet
from adyton.sdk.session import Session
from adyton.sdk.units import format_units, parse_uint

COMMAND = Command(
    "[appAddress]",
    (
        *o.WRITE,
        o.FORCE,
        o.WATCH,
        Option('--dataset <address|"deployed">', 'dataset to use; "deployed" is the last deployed one'),
        Option('--workerpool <address|"deployed">', 'workerpool to run on; "deployed" is the last deployed one'),
        Option("--args <string>", "arguments of the app"),
        Option("--input-files <fileUrl>", "URLs of public input files, separated by commas"),
        Option(
            "--secret <secretMapping...>",
            "requester secrets for the app, <number>=<secretName> each (TEE only); -- ends the list",
        ),
        o.CATEGORY,
        o.TAG,
        Option('--storage-provider <"ipfs"|"dropbox">', "where the result is stored"),
        Option("--callback <address>", "contract that gets the result"),
        Option("--encrypt-result", "encrypt the result for the beneficiary (TEE only)"),
        Option("--trust <integer>", "trust level"),
        Option("--beneficiary <address>", "who gets the result (default: the wallet)"),
        Option("--params <json>", "params of the request, as JSON"),
        o.SKIP_PREFLIGHT,
    ),
)

_MAPPING: Final = re.compile(r"([^=]+)=(.+)")


def run(context: Context, arguments: Arguments) -> Outcome:
    """Find or make the orders, ask, make the deal; with ``--watch`` stay until its task is over."""
    params = request_params(arguments)
    tag = orders.parse_tag(arguments.text("tag"))
    category = arguments.text("category")
    trust = parse_uint(arguments.text("trust") or "0", "trust")
    with context.signing() as session:
        purchase = buy.Purchase(
            app=asset_address(context, session, "app", arguments.text("app_address")),
            dataset=_optional(context, session, "dataset", arguments.text("dataset")),
            workerpool=_optional(context, session, "workerpool", arguments.text("workerpool")),
            category=None if category is None else parse_uint(category, "category"),
            tag=tag,
            trust=trust,
            beneficiary=_address(session, arguments.text("beneficiary")),
            callback=_address(session, arguments.text("callback")) or ZERO_ADDRESS,
            params=params,
        )
        context.ui.info("looking for orders ...")
        prepared = buy.prepare(session, purchase, preflight_check=not arguments.flag("skip_preflight_check"))
        context.confirm(f"Spend {cost(prepared)} to run the app?")
        made = buy.buy(session, prepared)
        fields: dict[str, Any] = {"deals": [deal_fields(made)]}
        if not arguments.flag("watch"):
            return Outcome(fields, message="deal made", next_step=f"iexec deal show {made.deal_id} --watch")
        return watch(context, session, made, fields)


def request_params(arguments: Arguments) -> dict[str, Any]:
    """The request's params: ``--params``, then what single options add, in the official order.

    Raises:
        ValidationError: not a JSON object, or a malformed mapping.
    """
    params: dict[str, Any] = _json_params(arguments.text("params"))
    if arguments.text("args") is not None:
        params["iexec_args"] = arguments.text("args")
    files = arguments.text("input_files")
    if files is not None:
        params["iexec_input_files"] = files.split(",")
    mappings = arguments.words("secret")
    if mappings is not None:
        params["iexec_secrets"] = dict(_mapping(text) for text in mappings)
    if arguments.text("storage_provider") is not None:
        params["iexec_result_storage_provider"] = arguments.text("storage_provider")
    if arguments.flag("encrypt_result"):
        params["iexec_result_encryption"] = True
    return params


def cost(found: OrderSet) -> str:
    """The price of a deal of one task, for the question."""
    return f"{format_units(found.price, 9)} RLC"


def deal_fields(made: Match) -> dict[str, str]:
    """A new deal in raw output."""
    return {"dealid": made.deal_id, "volume": str(made.volume), "txHash": made.transaction_hash}


def watch(context: Context, session: Session, made: Match, fields: dict[str, Any]) -> Outcome:
    """Follow the deal's tasks to their end."""
    deal = deals.view_deal(session, made.deal_id)
    tasks: list[deals.TaskView] = []
    seen = ""
    for tasks in deals.watch_tasks(session, deal, pause=context.pause):
        states = ", ".join(f"task {task.idx} {task.status_name}" for task in tasks)
        if states != seen:
            context.ui.info(states)
        seen = states
    fields["tasks"] = [task_fields(task) for task in tasks]
    failed = [task_fields(task) for task in tasks if task.status_name != "COMPLETED"]
    if failed:
        fields["failedTasks"] = failed
    step = f"iexec task show {tasks[0].task_id} --download" if tasks and not failed else ""
    return Outcome(fields, message="execution over", failed=bool(failed), next_step=step)


def task_fields(task: deals.TaskView) -> dict[str, Any]:
    """A watched task in raw output: its index first, then its id."""
    document = task.to_json()
    return {"idx": document.pop("idx"), "taskid": document.pop("taskid"), "dealid": document.pop("dealid"), **document}


def _json_params(text: str | None) -> dict[str, Any]:
    if text is None:
        return {}
    try:
        params = parse_json(text)
    except (ValueError, RecursionError):
        params = None
    if not isinstance(params, dict):
        raise ValidationError(f"{text[:200]} is not a valid params, must be a json")
    return params


def _mapping(text: str) -> tuple[str, str]:
    match = _MAPPING.fullmatch(text)
    if match is None:
        raise ValidationError(f"{text[:200]} is not a secret mapping, must be <number>=<secretName>")
    if not (match[1].isascii() and match[1].isdigit() and int(match[1]) > 0):
        raise ValidationError("requester secret mapping keys must be strictly positive integers")
    return match[1], match[2]


def _optional(context: Context, session: Session, kind: str, text: str | None) -> Address | None:
    return None if text is None else asset_address(context, session, kind, text)


def _address(session: Session, text: str | None) -> Address | None:
    return None if text is None else session.resolve(text)
