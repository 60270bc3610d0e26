"""Buying one execution of an app at market price: find or make the orders, then match them (section 1.5.1)."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Final, TypeVar, cast

from adyton.base.types import ZERO_ADDRESS, ZERO_BYTES32, Address, Bytes32
from adyton.chain import params as request_params
from adyton.chain import tags
from adyton.chain.calldata import AssetKind
from adyton.chain.orders import (
    NULL_DATASET_ORDER,
    AppOrder,
    DatasetOrder,
    Order,
    OrderKind,
    RequestOrder,
    WorkerpoolOrder,
)
from adyton.sdk import assets, market, matching, orders
from adyton.sdk.errors import ClientError
from adyton.sdk.matching import OrderSet
from adyton.sdk.session import Session

_MAX_CATEGORIES: Final = 64  # tried in turn when the user names none

OrderT = TypeVar("OrderT", bound=Order)


@dataclass(frozen=True, slots=True)
class Purchase:
    """What the user wants to run.

    Attributes:
        app: the app.
        dataset: None for none.
        workerpool: None for the cheapest.
        category: None for the smallest that somebody offers.
        tag: a complete tag: ``tee`` only with its framework.
        trust: 0 or 1 mean one worker.
        beneficiary: who gets the result; None for the wallet.
        callback: contract that is told the result.
        params: as :func:`adyton.chain.params.normalise` takes them.
    """

    app: Address
    dataset: Address | None = None
    workerpool: Address | None = None
    category: int | None = None
    tag: Bytes32 = ZERO_BYTES32
    trust: int = 0
    beneficiary: Address | None = None
    callback: Address = ZERO_ADDRESS
    params: Mapping[str, Any] = field(default_factory=dict)


def check(purchase: Purchase) -> None:
    """Refuse a purchase that no order could be made of, before anything is asked of the network.

    Raises:
        InputError: malformed params, or a tag that no deal can have.
    """
    tags.validate(purchase.tag)
    request_params.normalise(dict(purchase.params), tag=purchase.tag, callback=purchase.callback)


def prepare(session: Session, purchase: Purchase, *, preflight_check: bool = True) -> OrderSet:
    """Find or make the app, dataset and workerpool orders, and the request (still unsigned) that fits them.

    Raises:
        ClientError: a resource does not exist, or nobody offers it for this.
        RequirementError: a preflight check fails.
    """
    check(purchase)
    app = _app_order(session, purchase)
    dataset = _dataset_order(session, purchase)
    needed = tags.union(app.tag, tags.strip_framework(dataset.tag), purchase.tag)
    workerpool = _workerpool_order(session, purchase, needed)
    request = RequestOrder(
        app=purchase.app,
        appmaxprice=app.appprice,
        dataset=dataset.dataset,
        datasetmaxprice=dataset.datasetprice,
        workerpool=workerpool.workerpool,
        workerpoolmaxprice=workerpool.workerpoolprice,
        requester=session.wallet.address,
        volume=1,
        tag=purchase.tag,
        category=workerpool.category,
        trust=purchase.trust,
        beneficiary=purchase.beneficiary or session.wallet.address,
        callback=purchase.callback,
        params=request_params.normalise(dict(purchase.params), tag=purchase.tag, callback=purchase.callback),
    )
    found = OrderSet(app, dataset, workerpool, request)
    if preflight_check:
        # Unlike when orders are filled, the dataset's framework counts here.
        matching.check_requirements(session, found, tags.union(request.tag, app.tag, dataset.tag))
    return found


def buy(session: Session, prepared: OrderSet) -> matching.Match:
    """Sign the request of :func:`prepare` and make the deal.

    Raises:
        ClientError: a rule is broken; nothing was sent.
        NodeError: the transaction failed.
    """
    request = cast("RequestOrder", orders.sign(session, prepared.request))
    signed = OrderSet(prepared.app, prepared.dataset, prepared.workerpool, request)
    return matching.match(session, signed, preflight_check=False)


def _app_order(session: Session, purchase: Purchase) -> AppOrder:
    assets.check_registered(session, AssetKind.APP, purchase.app)
    if _is_mine(session, purchase.app):
        return _ad_hoc(session, AppOrder(purchase.app, tag=purchase.tag, requesterrestrict=session.wallet.address))
    found = market.first(
        session,
        OrderKind.APP,
        app=purchase.app,
        requester=session.wallet.address,
        **_given(dataset=purchase.dataset, workerpool=purchase.workerpool),
        minTag=_framework_bits(purchase.tag),
        maxTag=purchase.tag,
    )
    if found is None:
        raise _nobody("app", purchase.app)
    return cast("AppOrder", found)


def _dataset_order(session: Session, purchase: Purchase) -> DatasetOrder:
    if purchase.dataset is None or purchase.dataset == ZERO_ADDRESS:
        return NULL_DATASET_ORDER
    assets.check_registered(session, AssetKind.DATASET, purchase.dataset)
    if _is_mine(session, purchase.dataset):
        order = DatasetOrder(purchase.dataset, tag=purchase.tag, requesterrestrict=session.wallet.address)
        return _ad_hoc(session, order)
    found = market.first(
        session,
        OrderKind.DATASET,
        dataset=purchase.dataset,
        app=purchase.app,
        requester=session.wallet.address,
        **_given(workerpool=purchase.workerpool),
        maxTag=purchase.tag,
    )
    if found is None:
        raise _nobody("dataset", purchase.dataset)
    return cast("DatasetOrder", found)


def _workerpool_order(session: Session, purchase: Purchase, needed: Bytes32) -> WorkerpoolOrder:
    if purchase.workerpool is not None and purchase.workerpool != ZERO_ADDRESS:
        assets.check_registered(session, AssetKind.WORKERPOOL, purchase.workerpool)
        if _is_mine(session, purchase.workerpool):
            order = WorkerpoolOrder(
                purchase.workerpool,
                tag=needed,
                category=purchase.category or 0,
                trust=purchase.trust,
                requesterrestrict=session.wallet.address,
            )
            return _ad_hoc(session, order)
    if purchase.category is not None:
        categories = range(purchase.category, purchase.category + 1)
    else:
        categories = range(min(session.hub.count_category(), _MAX_CATEGORIES))
    for category in categories:
        found = _offered_workerpool(session, purchase, needed, category)
        if found is not None:
            return found
    raise ClientError(
        "No workerpoolorder available" + (f" in category {purchase.category}" if purchase.category is not None else ""),
        code="sdk.buy.no_order",
        hint="look at the offers: iexec orderbook workerpool",
    )


def _offered_workerpool(session: Session, purchase: Purchase, needed: Bytes32, category: int) -> WorkerpoolOrder | None:
    with market.book(session) as client:
        found = client.find(
            OrderKind.WORKERPOOL,
            category=category,
            app=purchase.app,
            requester=session.wallet.address,
            **_given(dataset=purchase.dataset, workerpool=purchase.workerpool),
            minTag=needed,
            minTrust=purchase.trust,
        )
    for document in found["orders"]:
        order = cast("WorkerpoolOrder", market.read_order(OrderKind.WORKERPOOL, document))
        if orders.remaining(session, order) > 0:
            return order
    return None


def _ad_hoc(session: Session, order: OrderT) -> OrderT:
    """The owner's own order for this one purchase: free, one use."""
    return cast("OrderT", orders.sign(session, order))


def _is_mine(session: Session, resource: Address) -> bool:
    return assets.owner(session, resource) == session.wallet.address


def _given(**filters: Address | None) -> dict[str, Address]:
    """The filters that have a value: without one the market lists what is open to everybody."""
    return {name: value for name, value in filters.items() if value not in (None, ZERO_ADDRESS)}


def _framework_bits(tag: Bytes32) -> Bytes32:
    names = [name for name in tags.decode(tag) if name in ("tee", "scone", "gramine", "tdx")]
    return tags.encode(names)


def _nobody(kind: str, address: Address) -> ClientError:
    return ClientError(
        f"No order available for {kind} {address}",
        code="sdk.buy.no_order",
        hint=f"its owner can offer one: iexec {kind} publish",
    )
