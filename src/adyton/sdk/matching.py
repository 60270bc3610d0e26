"""From four signed orders to a deal: every rule of the contract checked before anything is sent (section 3.4)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from adyton.base.types import ZERO_ADDRESS, Bytes32, from_hex
from adyton.chain import tags
from adyton.chain.calldata import AssetKind, HubCalls
from adyton.chain.events import OrdersMatched, decode
from adyton.chain.models import WORKERPOOL_STAKE_RATIO
from adyton.chain.orders import (
    NULL_DATASET_ORDER,
    AppOrder,
    DatasetOrder,
    Order,
    RequestOrder,
    WorkerpoolOrder,
)
from adyton.sdk import assets, orders, preflight
from adyton.sdk.errors import ClientError, ValidationError
from adyton.sdk.session import Session

_UNLIMITED: Final = 2**256


@dataclass(frozen=True, slots=True)
class OrderSet:
    """What is matched; ``dataset`` is :data:`NULL_DATASET_ORDER` where there is none."""

    app: AppOrder
    dataset: DatasetOrder
    workerpool: WorkerpoolOrder
    request: RequestOrder

    @property
    def has_dataset(self) -> bool:
        """Whether a dataset takes part."""
        return self.dataset != NULL_DATASET_ORDER

    @property
    def present(self) -> list[Order]:
        """The three or four orders that take part."""
        return [self.app, *([self.dataset] if self.has_dataset else []), self.workerpool, self.request]

    @property
    def price(self) -> int:
        """What one task costs, nRLC."""
        return self.app.appprice + self.dataset.datasetprice + self.workerpool.workerpoolprice

    @property
    def tag(self) -> Bytes32:
        """The tag of the deal that the contract makes."""
        return tags.union(self.request.tag, self.app.tag, tags.strip_framework(self.dataset.tag))


@dataclass(frozen=True, slots=True)
class Match:
    """A deal that was made."""

    deal_id: Bytes32
    volume: int
    transaction_hash: Bytes32


def match(session: Session, found: OrderSet, *, preflight_check: bool = True) -> Match:
    """Check the orders and make the deal.

    Raises:
        ClientError: a rule is broken; nothing was sent.
        NodeError: the transaction failed.
    """
    if preflight_check:
        check_requirements(session, found, found.tag)
    check_rules(found)
    check_on_chain(session, found)
    call = HubCalls.match_orders(found.app, found.dataset, found.workerpool, found.request)
    receipt = session.send(session.chain.hub, call)
    for log in receipt.logs:
        event = decode(log) if log.address == session.chain.hub else None
        if isinstance(event, OrdersMatched):
            return Match(event.deal_id, event.volume, receipt.transaction_hash)
    raise ClientError(f"transaction {receipt.transaction_hash} made no deal", code="sdk.match.no_event")


def check_requirements(session: Session, found: OrderSet, tag: Bytes32) -> None:
    """Run the preflight checks of all orders under the deal's tag.

    Raises:
        RequirementError: one of them fails.
    """
    preflight.check(session, found.app, tag)
    if found.has_dataset:
        preflight.check(session, found.dataset, tag)
    preflight.check(session, found.request, tag)


def check_rules(found: OrderSet) -> None:
    """Compare the orders with each other; pure.

    Raises:
        ClientError: they do not fit.
    """
    try:
        tags.validate(found.tag)
    except tags.TagError as error:
        message = f"Matching order would produce an invalid deal tag. {error.message}"
        raise ValidationError(message, hint=error.hint) from error
    _check_addresses(found)
    _check_restrictions(found)
    if found.workerpool.category != found.request.category:
        raise ClientError(
            f"category mismatch between requestorder {found.request.category} and workerpoolorder "
            f"{found.workerpool.category}",
            code="sdk.match.category",
        )
    if found.workerpool.trust < found.request.trust:
        raise ClientError("workerpoolorder trust is too low", code="sdk.match.trust")
    missing = tags.missing(found.workerpool.tag, found.tag)
    if tags.decode(missing):
        names = ",".join(tags.decode(missing))
        raise ClientError(f"Missing tags [{names}] in workerpoolorder", code="sdk.match.tags")
    if tags.is_tee(tags.union(found.request.tag, found.dataset.tag)) and not tags.is_tee(found.app.tag):
        raise ClientError("Missing tag [tee] in apporder", code="sdk.match.tags")
    _check_prices(found)


def _check_addresses(found: OrderSet) -> None:
    pairs = [("app", found.app.app, found.request.app), ("dataset", found.dataset.dataset, found.request.dataset)]
    if found.request.workerpool != ZERO_ADDRESS:
        pairs.append(("workerpool", found.workerpool.workerpool, found.request.workerpool))
    for name, offered, asked in pairs:
        if offered != asked:
            raise ClientError(
                f"{name} address mismatch between requestorder {asked} and {name}order {offered}",
                code="sdk.match.address",
            )


def _check_restrictions(found: OrderSet) -> None:
    """An order may name who else takes part; the contract compares the same way (ERC-734 groups aside)."""
    who = {
        "app": found.app.app,
        "dataset": found.dataset.dataset,
        "workerpool": found.workerpool.workerpool,
        "requester": found.request.requester,
    }
    for order in (found.app, found.dataset, found.workerpool):
        for name, party in who.items():
            restriction = order.values().get(f"{name}restrict", ZERO_ADDRESS)
            if restriction not in (ZERO_ADDRESS, party) and order != NULL_DATASET_ORDER:
                raise ClientError(
                    f"{orders.order_name(order.kind)} is restricted to {name} {restriction}, not {party}",
                    code="sdk.match.restriction",
                )


def _check_prices(found: OrderSet) -> None:
    limits = {
        "app": (found.app.appprice, found.request.appmaxprice),
        "dataset": (found.dataset.datasetprice, found.request.datasetmaxprice),
        "workerpool": (found.workerpool.workerpoolprice, found.request.workerpoolmaxprice),
    }
    for name, (price, limit) in limits.items():
        if price > limit:
            raise ClientError(
                f"{name}maxprice too low, expected {limit} but {name}order price is {price}", code="sdk.match.price"
            )


def check_on_chain(session: Session, found: OrderSet) -> int:
    """Compare the orders with the chain: resources, signatures, volumes, stakes; returns the deal's volume.

    Raises:
        ClientError: something is missing.
    """
    for order in found.present:
        if not isinstance(order, RequestOrder):
            assets.check_registered(session, AssetKind(order.kind), orders.resource_of(order))
        _check_signature(session, order)
    volume = _matchable_volume(session, found)
    account = session.hub.view_account(found.request.requester)
    total = found.price * volume
    if account.stake < total:
        raise ClientError(
            f"the requester has {account.stake} nRLC of free stake; {volume} tasks at {found.price} nRLC need {total}",
            code="sdk.match.stake",
            hint=f"iexec account deposit {total - account.stake}",
        )
    return volume


def _check_signature(session: Session, order: Order) -> None:
    signer = orders.signer_of(session, order)
    if not session.hub.verify_signature(signer, order.hash(session.domain), from_hex(order.sign)):
        raise ClientError(f"{orders.order_name(order.kind)} has invalid sign", code="sdk.match.signature")


def _matchable_volume(session: Session, found: OrderSet) -> int:
    volume = _staked_volume(session, found.workerpool)
    for order in found.present:
        left = orders.remaining(session, order)
        if left == 0:
            raise ClientError(f"{orders.order_name(order.kind)} is fully consumed", code="sdk.match.consumed")
        volume = min(volume, left)
    return volume


def _staked_volume(session: Session, order: WorkerpoolOrder) -> int:
    """How many tasks the pool owner's free stake covers; the contract locks 30 % of the price for each."""
    per_task = order.workerpoolprice * WORKERPOOL_STAKE_RATIO // 100
    if per_task == 0:
        return _UNLIMITED
    stake = session.hub.view_account(orders.signer_of(session, order)).stake
    if stake < per_task:
        raise ClientError(
            f"the workerpool's owner has {stake} nRLC of free stake, one task locks {per_task}",
            code="sdk.match.pool_stake",
            hint="take another workerpool; its owner can deposit more",
        )
    return stake // per_task
