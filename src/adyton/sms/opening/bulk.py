"""Bulk tasks: which datasets a task of a bulk deal processes (protocol, section 5.2).

The deal names the CID of a JSON list of CIDs, one per task; each names a JSON list of signed dataset orders. Whether an
order goes with the deal is decided here by the rules of PoCo's ``assertDatasetDealCompatibility``, from facts that
every PoCo version has: older hubs do not know that function, and their fallback answers an unknown call with nothing,
which is what success looks like.

Stricter than the official service: content is checked against its CID, each list is fetched once, and a slice that
cannot be had, is empty, or has no usable dataset at all is refused instead of run on nothing.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Final, Protocol

from adyton.base.jsontext import parse_json
from adyton.base.types import ZERO_ADDRESS, Address
from adyton.chain import tags
from adyton.chain.orders import DatasetOrder, OrderError
from adyton.sms.errors import BulkError
from adyton.sms.onchain.view import ChainView, DatasetFacts, DealFacts, OrderFacts

MIN_VOLUME: Final = 9_007_199_254_740_990  # 2^53 - 2: an order for bulk processing has, in effect, no end
MAX_DATASETS: Final = 100  # of one task, as official clients make them


class Files(Protocol):
    """Where the lists come from."""

    def file(self, name: str) -> bytes:
        """The file that a CID names, checked.

        Raises:
            BulkError: it cannot be had.
        """


@dataclass(frozen=True, slots=True)
class BulkDataset:
    """One dataset of a slice. ``facts`` is None where the order is refused, with the ``refusal``."""

    address: Address
    facts: DatasetFacts | None
    refusal: str = ""


def read_slice(files: Files, bulk_cid: str, index: int) -> tuple[DatasetOrder, ...]:
    """The dataset orders of task ``index``.

    Raises:
        BulkError: it cannot be had, is malformed, empty, or longer than :data:`MAX_DATASETS`.
    """
    slices = _list(files.file(bulk_cid), "the list of slices")
    if not 0 <= index < len(slices):
        raise BulkError(f"the bulk has {len(slices)} slices, the task is number {index}", code="sms.bulk.index")
    if not isinstance(slices[index], str):
        raise BulkError(f"slice {index} is not named by a CID", code="sms.bulk.format")
    orders = _list(files.file(slices[index]), f"slice {index}")
    if not 0 < len(orders) <= MAX_DATASETS:
        raise BulkError(
            f"slice {index} has {len(orders)} datasets, 1 to {MAX_DATASETS} are processed", code="sms.bulk.count"
        )
    try:
        return tuple(DatasetOrder.from_json(order) for order in orders)
    except OrderError as error:
        raise BulkError(f"slice {index}: {error.message}", code="sms.bulk.format") from error


def judge_slice(view: ChainView, orders: tuple[DatasetOrder, ...], deal: DealFacts) -> tuple[BulkDataset, ...]:
    """Each order's dataset, or why it is not used.

    Raises:
        BulkError: none is usable.
        UnavailableError: the chain cannot be read.
    """
    found = tuple(_judge(view, order, deal) for order in orders)
    if all(each.facts is None for each in found):
        raise BulkError(f"no dataset of the slice may be used: {found[0].refusal}", code="sms.bulk.refused")
    return found


def incompatibility(order: DatasetOrder, deal: DealFacts, facts: OrderFacts) -> str | None:
    """Why an order does not go with a deal, or None (the rules of ``assertDatasetDealCompatibility``)."""
    rules = (
        (facts.consumed < order.volume, "the order is revoked or used up"),
        (facts.signed, "the order is not signed by the dataset's owner"),
        (not deal.has_dataset, "the deal has a dataset of its own"),
        (_allows(order.apprestrict, deal.app, facts), "the order is for another app"),
        (_allows(order.workerpoolrestrict, deal.workerpool, facts), "the order is for another workerpool"),
        (_allows(order.requesterrestrict, deal.requester, facts), "the order is for another requester"),
        (tags.covers(deal.tag, tags.strip_framework(order.tag)), "the order's tag asks for more than the deal's has"),
        (order.volume >= MIN_VOLUME, f"the order's volume is below {MIN_VOLUME}"),
    )
    return next((reason for holds, reason in rules if not holds), None)


def _judge(view: ChainView, order: DatasetOrder, deal: DealFacts) -> BulkDataset:
    facts = view.dataset(order.dataset)
    if facts is None or not facts.uri.strip():
        return BulkDataset(order.dataset, None, f"{order.dataset} is no dataset")
    refusal = incompatibility(order, deal, view.order_facts(order, deal))
    return BulkDataset(order.dataset, None, refusal) if refusal else BulkDataset(order.dataset, facts)


def _allows(restriction: Address, address: Address, facts: OrderFacts) -> bool:
    return restriction in {ZERO_ADDRESS, address} or (restriction, address) in facts.members


def _list(data: bytes, what: str) -> list[Any]:
    try:
        found = parse_json(data)
    except ValueError as error:
        raise BulkError(f"{what} is not JSON", code="sms.bulk.format") from error
    if not isinstance(found, list):
        raise BulkError(f"{what} is not a JSON array", code="sms.bulk.format")
    return found
