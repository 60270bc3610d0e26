"""``iexec order fill``: make a deal of signed orders."""

from __future__ import annotations

from typing import Any, cast

from adyton.base.types import ZERO_ADDRESS
from adyton.chain.orders import (
    NULL_DATASET_ORDER,
    AppOrder,
    DatasetOrder,
    Order,
    OrderKind,
    RequestOrder,
    WorkerpoolOrder,
)
from adyton.cli.iexec import options as o
from adyton.cli.iexec.context import Context
from adyton.cli.iexec.grammar import Arguments, Command, Option
from adyton.cli.iexec.order import kinds
from adyton.cli.iexec.outcome import Outcome
from adyton.cli.iexec.values import word32
from adyton.sdk import market, matching, orders
from adyton.sdk.errors import ClientError
from adyton.sdk.session import Session

COMMAND = Command(
    options=(
        *o.WRITE,
        o.FORCE,
        *(Option(f"--{kind} <orderHash>", f"{kind}order of the marketplace") for kind in OrderKind),
        Option("--params <json>", "sign a new request with these params for the other orders"),
        o.SKIP_PREFLIGHT,
    ),
)


def run(context: Context, arguments: Arguments) -> Outcome:
    """Take each order from the market by hash, or from orders.json, and match them."""
    local = context.project.orders(context.chain.chain_id)
    with context.signing() as session:
        found: dict[OrderKind, Order] = {}
        for kind in OrderKind:
            order = _find(session, arguments, kind, local)
            if order is not None:
                found[kind] = order
        request = _request(context, arguments, session, found)
        chosen = matching.OrderSet(
            cast("AppOrder", _need(found, OrderKind.APP)),
            _dataset(found, request),
            cast("WorkerpoolOrder", _need(found, OrderKind.WORKERPOOL)),
            request,
        )
        made = matching.match(session, chosen, preflight_check=not arguments.flag("skip_preflight_check"))
    return Outcome(
        {"dealid": made.deal_id, "volume": str(made.volume), "txHash": made.transaction_hash},
        message="deal made",
        next_step=f"iexec deal show {made.deal_id}",
    )


def _find(session: Session, arguments: Arguments, kind: OrderKind, local: dict[str, Any]) -> Order | None:
    typed = arguments.text(kind)
    if typed is not None:
        return market.read_order(kind, market.get(session, kind, word32(typed)))
    if kind is OrderKind.REQUEST and arguments.text("params") is not None:
        return None
    document = local.get(orders.order_name(kind))
    return None if document is None else orders.read_signed(kind, document)


def _need(found: dict[OrderKind, Order], kind: OrderKind) -> Order:
    if kind not in found:
        raise ClientError(f"Missing {orders.order_name(kind)}", code="sdk.order.missing", hint="iexec order sign")
    return found[kind]


def _dataset(found: dict[OrderKind, Order], request: RequestOrder) -> DatasetOrder:
    """The dataset order takes part if and only if the request names a dataset."""
    if request.dataset == ZERO_ADDRESS:
        return NULL_DATASET_ORDER
    return cast("DatasetOrder", _need(found, OrderKind.DATASET))


def _request(context: Context, arguments: Arguments, session: Session, found: dict[OrderKind, Order]) -> RequestOrder:
    params = arguments.text("params")
    pool = cast("WorkerpoolOrder", _need(found, OrderKind.WORKERPOOL))
    app = cast("AppOrder", _need(found, OrderKind.APP))
    if params is None:
        return cast("RequestOrder", _need(found, OrderKind.REQUEST))
    dataset = cast("DatasetOrder | None", found.get(OrderKind.DATASET))
    description: dict[str, Any] = {
        "app": app.app,
        "appmaxprice": app.appprice,
        "workerpool": pool.workerpool,
        "workerpoolmaxprice": pool.workerpoolprice,
        "category": pool.category,
        "params": params,
    }
    if dataset is not None:
        description |= {"dataset": dataset.dataset, "datasetmaxprice": dataset.datasetprice}
    order = orders.create(session, OrderKind.REQUEST, description)
    context.confirm(kinds.question("Sign", order))
    return cast("RequestOrder", orders.sign(session, order))
