"""Which open orders die of a change: lost stake, a moved asset, an offer that left the book (market reference, 15).

Nothing here revives an order; publishing it again does.
"""

from __future__ import annotations

from typing import TypeVar

from adyton.base.log import get_logger
from adyton.base.types import ZERO_ADDRESS, Address
from adyton.chain.orders import AppOrder, DatasetOrder, Order, OrderKind, RequestOrder
from adyton.market import rules
from adyton.market.chain_view import ChainView
from adyton.market.repo import Published, Repo

_log = get_logger("market.cleanup")

OfferT = TypeVar("OfferT", AppOrder, DatasetOrder)


def open_offers(repo: Repo, offer_class: type[OfferT], resource: Address) -> list[OfferT]:
    """The open app or dataset orders for one app or dataset."""
    kind = offer_class.kind
    return [found.order for found in repo.open_orders(kind, **{kind: resource}) if isinstance(found.order, offer_class)]


class Cleanup:
    """Buries orders that can no longer be matched.

    Args:
        repo: storage.
        chain: reads of the chain.
    """

    def __init__(self, repo: Repo, chain: ChainView) -> None:
        self._repo = repo
        self._chain = chain

    def stake_moved(self, account: Address) -> None:
        """After stake left ``account``: orders that it can no longer back die, each looked at alone."""
        orders = [
            found
            for kind in (OrderKind.WORKERPOOL, OrderKind.REQUEST)
            for found in self._repo.open_orders(kind, signer=account)
            if rules.required_stake(found.order, found.remaining) > 0
        ]
        if orders:
            stake = self._chain.stake(account)
            for found in orders:
                if stake < rules.required_stake(found.order, found.remaining):
                    self._bury(found, "stake")

    def asset_moved(self, kind: OrderKind, asset: Address, previous: Address) -> None:
        """After an asset left ``previous``: its orders by that owner die."""
        if self._chain.owner(kind, asset) != previous:
            for found in self._repo.open_orders(kind, signer=previous, **{kind: asset}):
                self._bury(found, "owner")

    def left_book(self, order: Order) -> None:
        """After an order stopped being open: requests that no other open order serves die."""
        match order:
            case AppOrder():
                dependants = self._repo.open_orders(OrderKind.REQUEST, app=order.app)
            case DatasetOrder():
                dependants = self._repo.open_orders(OrderKind.REQUEST, dataset=order.dataset)
            case _:
                return
        for found in dependants:
            if isinstance(found.order, RequestOrder) and not self._is_served(found.order):
                self._bury(found, "no offer")

    def _is_served(self, request: RequestOrder) -> bool:
        apps = open_offers(self._repo, AppOrder, request.app)
        datasets = [] if request.dataset == ZERO_ADDRESS else open_offers(self._repo, DatasetOrder, request.dataset)
        return rules.request_refusal(request, apps, datasets) is None

    def _bury(self, found: Published, reason: str) -> None:
        if self._repo.bury(found.order_hash):
            _log.info("order dead", kind=found.kind, order=found.order_hash, reason=reason)
            self.left_book(found.order)
