"""``iexec orderbook <kind>``: open offers and requests of the market, best first."""

from __future__ import annotations

from typing import Any, Final

from adyton.base.types import Bytes32
from adyton.chain.orders import OrderKind
from adyton.cli.iexec import options as o
from adyton.cli.iexec.context import Context
from adyton.cli.iexec.grammar import Arguments, Command, Option
from adyton.cli.iexec.outcome import Outcome
from adyton.sdk import market, orders
from adyton.sdk.errors import ValidationError
from adyton.sdk.session import Session
from adyton.sdk.units import parse_uint

_LIMIT: Final = 100  # orders shown at once, as official clients do
_ANY: Final = "any"

_TAGS: Final = (
    Option("--tag <tag>", "exactly these tags"),
    Option("--require-tag <tag>", "at least these tags"),
    Option("--max-tag <tag>", "at most these tags"),
    Option("--min-volume <integer>", "good for at least so many executions"),
)
_CATEGORY: Final = Option("--category <id>", "size class of the task")
_MIN_TRUST: Final = Option("--min-trust <integer>", "at least this trust level")
_MAX_TRUST: Final = Option("--max-trust <integer>", "at most this trust level")


def _parties(*kinds: str) -> tuple[Option, ...]:
    return tuple(Option(f"--{kind} <address>", f"usable with this {kind}") for kind in kinds)


def _strict(*kinds: str) -> tuple[Option, ...]:
    # The official client reads these flags under another name than it stores them: they change nothing there or here.
    return tuple(Option(f"--{kind}-strict", f"accepted without effect ({kind})") for kind in kinds)


COMMANDS: Final = {
    "app": Command(
        "<address>",
        (
            *(*o.GLOBAL, o.CHAIN, *_TAGS),
            *_parties("dataset", "workerpool", "requester"),
            *_strict("dataset", "workerpool", "requester"),
        ),
    ),
    "dataset": Command(
        "<address>",
        (
            *(*o.GLOBAL, o.CHAIN, *_TAGS),
            *_parties("app", "workerpool", "requester"),
            *_strict("app", "requester", "workerpool"),
        ),
    ),
    "workerpool": Command(
        "[address]",
        (
            *(*o.GLOBAL, o.CHAIN, _CATEGORY, *_TAGS, _MIN_TRUST),
            *_parties("app", "dataset", "requester"),
            *_strict("dataset", "app", "requester"),
        ),
    ),
    "requester": Command(
        "[address]",
        (
            *(*o.GLOBAL, o.CHAIN, _CATEGORY, *_TAGS, _MAX_TRUST),
            *_parties("app", "dataset", "beneficiary", "workerpool"),
            *_strict("workerpool"),
        ),
    ),
}

# Members of the order that are shown, under which names, in the official order.
_SHOWN: Final[dict[str, dict[str, str]]] = {
    "app": {
        "price": "appprice",
        "remaining": "",
        "app": "app",
        "tag": "tag",
        "datasetrestrict": "datasetrestrict",
        "workerpoolrestrict": "workerpoolrestrict",
        "requesterrestrict": "requesterrestrict",
    },
    "dataset": {
        "price": "datasetprice",
        "remaining": "",
        "dataset": "dataset",
        "tag": "tag",
        "apprestrict": "apprestrict",
        "workerpoolrestrict": "workerpoolrestrict",
        "requesterrestrict": "requesterrestrict",
    },
    "workerpool": {
        "price": "workerpoolprice",
        "remaining": "",
        "category": "category",
        "tag": "tag",
        "trust": "trust",
        "workerpool": "workerpool",
        "apprestrict": "apprestrict",
        "datasetrestrict": "datasetrestrict",
        "requesterrestrict": "requesterrestrict",
    },
    "requester": {
        "app": "app",
        "dataset": "dataset",
        "workerpool": "workerpool",
        "requester": "requester",
        "beneficiary": "beneficiary",
        "category": "category",
        "tag": "tag",
        "trust": "trust",
        "price": "workerpoolmaxprice",
        "remaining": "",
    },
}


def run(context: Context, arguments: Arguments) -> Outcome:
    """List up to a hundred open orders."""
    subject = context.subject
    kind = OrderKind.REQUEST if subject == "requester" else OrderKind(subject)
    tags = _tag_bounds(arguments)
    with context.reading() as session:
        filters = tags | _filters(session, subject, arguments)
        count, documents = market.pages(session, kind, _LIMIT, **filters)
    listed = [_row(subject, document) for document in documents]
    return Outcome({"count": count, f"{kind}Orders": listed})


def _filters(session: Session, subject: str, arguments: Arguments) -> dict[str, Any]:
    filters: dict[str, Any] = {subject: _party(session, arguments.text("address"))}
    for party in ("app", "dataset", "workerpool", "requester", "beneficiary"):
        if arguments.text(party) is not None:
            filters[party] = _party(session, arguments.text(party))
    numbers = {"category": "category", "minTrust": "min_trust", "maxTrust": "max_trust", "minVolume": "min_volume"}
    for name, option in numbers.items():
        text = arguments.text(option)
        if text is not None:
            filters[name] = parse_uint(text, name)
    return filters


def _tag_bounds(arguments: Arguments) -> dict[str, Bytes32]:
    exact = arguments.text("tag")
    if exact is not None and (arguments.flag("require_tag") or arguments.flag("max_tag")):
        raise ValidationError("tag option cannot be used with require-tag or max-tag")
    texts = {"minTag": exact or arguments.text("require_tag"), "maxTag": exact or arguments.text("max_tag")}
    return {name: orders.parse_tag(text, allow_bare_tee=True) for name, text in texts.items() if text is not None}


def _party(session: Session, text: str | None) -> str | None:
    return text if text in (None, _ANY) else session.resolve(str(text))


def _row(subject: str, document: dict[str, Any]) -> dict[str, Any]:
    order = document.get("order", {})
    shown = {name: order.get(member) if member else document.get(name) for name, member in _SHOWN[subject].items()}
    return {"orderHash": document.get("orderHash"), **shown}
