"""The market's decisions as pure functions: stakes, matching of offers, what a listing shows.

Market reference, sections 5.2 (publish), 8 (bulk), 15 (status machine).
"""

from __future__ import annotations

from collections.abc import Iterable
from enum import StrEnum
from typing import Final

from adyton.base.types import ZERO_ADDRESS, Address
from adyton.chain.models import WORKERPOOL_STAKE_RATIO
from adyton.chain.orders import AppOrder, DatasetOrder, Order, RequestOrder, WorkerpoolOrder
from adyton.chain.tags import is_tee

BULK_VOLUME: Final = 2**53 - 2  # kept for orders that are signed already


class Status(StrEnum):
    """Where a published order is; unpublished ones are deleted."""

    OPEN = "open"
    FILLED = "filled"
    CANCELED = "canceled"
    DEAD = "dead"


def price_of(order: Order) -> int:
    """What orders of the kind are sorted by."""
    match order:
        case AppOrder():
            return order.appprice
        case DatasetOrder():
            return order.datasetprice
        case WorkerpoolOrder():
            return order.workerpoolprice
        case RequestOrder():
            return order.workerpoolmaxprice
        case _:
            raise TypeError(type(order).__name__)


def required_stake(order: Order, remaining: int) -> int:
    """What the signer must have free in the hub for the rest of the order, nRLC.

    The pool's share is rounded down for each task before it is multiplied, as the contracts lock it.
    """
    match order:
        case WorkerpoolOrder():
            return order.workerpoolprice * WORKERPOOL_STAKE_RATIO // 100 * remaining
        case RequestOrder():
            return (order.appmaxprice + order.datasetmaxprice + order.workerpoolmaxprice) * remaining
        case _:
            return 0


def is_bulk(order: DatasetOrder) -> bool:
    """Whether the dataset may be used in bulk requests."""
    return order.volume >= BULK_VOLUME and order.datasetprice == 0


def open_to(restriction: Address, party: Address) -> bool:
    """Whether an order restricted to ``restriction`` serves ``party``."""
    return restriction in {ZERO_ADDRESS, party}


def app_offer_fits(offer: AppOrder, request: RequestOrder) -> bool:
    """Whether an app order can be matched with a request, price aside."""
    return (
        offer.app == request.app
        and open_to(offer.workerpoolrestrict, request.workerpool)
        and open_to(offer.datasetrestrict, request.dataset)
        and open_to(offer.requesterrestrict, request.requester)
        and (is_tee(offer.tag) or not is_tee(request.tag))
    )


def dataset_offer_fits(offer: DatasetOrder, request: RequestOrder) -> bool:
    """Whether a dataset order can be matched with a request, price aside."""
    return (
        offer.dataset == request.dataset
        and open_to(offer.apprestrict, request.app)
        and open_to(offer.workerpoolrestrict, request.workerpool)
        and open_to(offer.requesterrestrict, request.requester)
    )


def request_refusal(request: RequestOrder, apps: Iterable[AppOrder], datasets: Iterable[DatasetOrder]) -> str | None:
    """Why no open order of the book serves a request; None when one does.

    Args:
        request: the request.
        apps: open orders for its app.
        datasets: open orders for its dataset.
    """
    prices = [offer.appprice for offer in apps if app_offer_fits(offer, request)]
    if not prices:
        kind = "tee enabled apporder" if is_tee(request.tag) else "apporder"
        return f"No {kind} published for app {request.app}"
    if min(prices) > request.appmaxprice:
        return f"appmaxprice for app {request.app} is too low, actual best price is {min(prices)} nRLC"
    if request.dataset == ZERO_ADDRESS:
        return None
    prices = [offer.datasetprice for offer in datasets if dataset_offer_fits(offer, request)]
    if not prices:
        return f"No datasetorder published for dataset {request.dataset}"
    if min(prices) > request.datasetmaxprice:
        return f"datasetmaxprice for dataset {request.dataset} is too low, actual best price is {min(prices)} nRLC"
    return None
