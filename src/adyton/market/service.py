"""Use cases of the order book: logging in, publishing and withdrawing orders (market reference, sections 2, 5, 6)."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

from sqlalchemy.exc import IntegrityError

from adyton.base.clock import Clock, utc_now
from adyton.base.log import get_logger
from adyton.base.onetime import OneTimeValues
from adyton.base.types import ZERO_ADDRESS, Address, Bytes32
from adyton.chain.eip712 import TypedData
from adyton.chain.orders import AppOrder, DatasetOrder, Order, OrderKind, RequestOrder
from adyton.market import rules
from adyton.market.chain_view import ChainView
from adyton.market.cleanup import Cleanup, open_offers
from adyton.market.documents import iso_time
from adyton.market.errors import AuthorizationError, BusinessError
from adyton.market.repo import Published, Repo
from adyton.market.rules import Status
from adyton.market.schema import read_order, read_unpublish
from adyton.market.tables import order_row
from adyton.market.wire import CHALLENGE_LIFETIME_S, MARKET_SERVICE, LoginError, LoginToken, challenge_document

_log = get_logger("market")


class OrderBook:
    """The market of one chain.

    Args:
        repo: storage.
        chain: reads of the chain.
        cleanup: what happens when an order leaves the book.
        chain_id: of the login challenges.
        max_open_orders: per wallet and kind.
        clock: source of the time.
    """

    def __init__(  # noqa: PLR0917  # the parts it is made of
        self,
        repo: Repo,
        chain: ChainView,
        cleanup: Cleanup,
        chain_id: int,
        max_open_orders: int,
        clock: Clock = utc_now,
    ) -> None:
        self._repo = repo
        self._chain = chain
        self._cleanup = cleanup
        self._chain_id = chain_id
        self._max_open_orders = max_open_orders
        self._clock = clock
        lifetime = timedelta(seconds=CHALLENGE_LIFETIME_S)
        self._challenges = OneTimeValues(repo.engine, "market_challenge", lifetime, clock)

    def challenge(self, address: Address) -> TypedData:
        """The login challenge of a wallet: the same one until it is used or 300 s old."""
        return self._document(self._challenges.issue(address, lambda value: self._document(value).digest))

    def authenticate(self, header: str | None) -> Address:
        """The wallet that a login token proves; its challenge is used up.

        Raises:
            AuthorizationError: anything is wrong; the reason is logged, not told.
        """
        try:
            token = LoginToken.parse(header or "")
            value = self._challenges.find(token.address, token.digest)
            token.check(self._document(value or ""))
        except LoginError as error:
            _log.info("login refused", reason=error.message)
            raise AuthorizationError from error
        if not self._challenges.take(token.address, token.digest):
            _log.info("login refused", reason="the challenge was used meanwhile")
            raise AuthorizationError
        return token.address

    def publish(self, kind: OrderKind, body: Any, caller: Address) -> Published:  # noqa: ANN401  # outside JSON
        """Put an order into the book.

        Args:
            kind: of the order.
            body: as sent.
            caller: who is logged in.

        Raises:
            ValidationError: the body breaks a rule.
            BusinessError: the state of chain and book forbids it.
            RpcError, UnavailableError: the chain cannot be asked.
        """
        order = read_order(kind, body)
        order_hash = order.hash(self._chain.domain)
        known = self._repo.order(order_hash)
        if known is not None and known.status is not Status.DEAD:
            raise BusinessError("order already published")
        signer = self._signer(order)
        if signer != caller:
            raise BusinessError(f"only order signer {signer} can publish an order")
        if not self._chain.verify(signer, order_hash, order.sign):
            raise BusinessError("invalid sign")
        if self._repo.open_count(kind, signer) >= self._max_open_orders:
            raise self._too_many(kind, signer)
        remaining = getattr(order, "volume") - self._chain.consumed([order_hash])[0]  # noqa: B009  # every kind has it
        if remaining <= 0:
            raise BusinessError("order already consumed")
        self._check_stake(order, signer, remaining)
        if isinstance(order, RequestOrder):
            self._check_offers(order)
        row = order_row(order, order_hash, signer, remaining, iso_time(self._clock()))
        try:
            if not self._repo.publish(row, self._max_open_orders):
                raise self._too_many(kind, signer)
        except IntegrityError as error:  # another request published it since it was looked up
            raise BusinessError("order already published") from error
        published = self._repo.order(order_hash)
        if published is None:
            raise BusinessError("order already consumed")
        _log.info("order published", kind=kind, order=order_hash, signer=signer)
        return published

    def unpublish(self, kind: OrderKind, body: Any, caller: Address) -> list[Bytes32]:  # noqa: ANN401
        """Take open orders out of the book.

        Raises:
            ValidationError: the body breaks a rule.
            BusinessError: no such open order, or it is another's.
        """
        wanted = read_unpublish(kind, body)
        if wanted.order_hash is not None and wanted.target == "unpublish_orderHash":
            found = [self._one_open(kind, wanted.order_hash, caller)]
        else:
            name = "requester" if kind is OrderKind.REQUEST else str(kind)
            found = self._repo.open_orders(kind, signer=caller, **{name: wanted.resource})
            if not found:
                raise BusinessError(
                    f"no open {kind}order published by signer {caller} for {name} {wanted.resource}",
                )
            if wanted.target == "unpublish_last":
                found = found[:1]
        removed = self._repo.remove([each.order_hash for each in found])
        for each in found:
            self._cleanup.left_book(each.order)
        return removed

    def _signer(self, order: Order) -> Address:
        if isinstance(order, RequestOrder):
            return order.requester
        signer = self._chain.owner(order.kind, getattr(order, order.resource))
        if signer is None:
            raise BusinessError("Resource not deployed")
        return signer

    def _check_stake(self, order: Order, signer: Address, remaining: int) -> None:
        needed = rules.required_stake(order, remaining)
        if needed == 0 or self._chain.stake(signer) >= needed:
            return
        if isinstance(order, RequestOrder):
            raise BusinessError(
                f"requester stake is too low to cover requestorder payment, minimum stake required is {needed} nRLC"
            )
        raise BusinessError("workerpool owner's stake is too low to cover required workerpool lock")

    def _check_offers(self, request: RequestOrder) -> None:
        apps = open_offers(self._repo, AppOrder, request.app)
        datasets = [] if request.dataset == ZERO_ADDRESS else open_offers(self._repo, DatasetOrder, request.dataset)
        refusal = rules.request_refusal(request, apps, datasets)
        if refusal is not None:
            raise BusinessError(refusal)

    def _one_open(self, kind: OrderKind, order_hash: Bytes32, caller: Address) -> Published:
        found = self._repo.order(order_hash)
        if found is None or found.kind is not kind or found.status is not Status.OPEN:
            raise BusinessError(f"{kind}order with orderHash {order_hash} is not published")
        if found.signer != caller:
            raise BusinessError(f"only order signer {found.signer} can unpublish an order")
        return found

    def _too_many(self, kind: OrderKind, signer: Address) -> BusinessError:
        return BusinessError(
            f"maximum of {self._max_open_orders} published open {kind}order has been reached for wallet {signer}"
        )

    def _document(self, value: str) -> TypedData:
        return challenge_document(MARKET_SERVICE, self._chain_id, value)
