"""Follows the chain and keeps the book true to it (market reference, sections 14 and 15).

Every block is read twice: at once, and again when ``confirmations`` blocks lie on top of it. All actions recompute
from the chain's current state and may be repeated. A block counts as read only when everything in it has been handled:
an error stops the pass, and the next one begins there.
"""

from __future__ import annotations

import threading
from collections.abc import Iterable
from functools import lru_cache

from adyton.base.errors import AdytonError
from adyton.base.log import get_logger
from adyton.base.types import ZERO_ADDRESS, Address, Bytes32
from adyton.chain import events
from adyton.chain.calldata import AssetKind
from adyton.chain.contracts import Hub
from adyton.chain.events import AssetTransfer, CreateCategory, Event, OrdersMatched, Transfer
from adyton.chain.orders import OrderKind
from adyton.chain.rpc import Block
from adyton.market.chain_view import HubView
from adyton.market.cleanup import Cleanup
from adyton.market.documents import category_document, deal_row
from adyton.market.repo import Repo
from adyton.market.rules import Status

_log = get_logger("market.watcher")

LAST_BLOCK = "lastBlock"
CHECKPOINT = "checkpointBlock"
_WATCHED = (
    "CreateCategory",
    "OrdersMatched",
    "Transfer",  # of stake in the hub, and, with the same topic, of assets in the registries
    "ClosedAppOrder",
    "ClosedDatasetOrder",
    "ClosedWorkerpoolOrder",
    "ClosedRequestOrder",
)


class Watcher:
    """Reads the chain into the book; :meth:`start` does so in a thread.

    Args:
        view: the hub.
        repo: storage.
        cleanup: what happens when orders leave the book.
        chain_id: of the documents.
        start_block: first block to read when the storage is new.
        batch_blocks: blocks in one query.
        confirmations: depth of the second reading.
    """

    def __init__(  # noqa: PLR0917  # the parts it is made of
        self,
        view: HubView,
        repo: Repo,
        cleanup: Cleanup,
        chain_id: int,
        start_block: int = 0,
        batch_blocks: int = 1000,
        confirmations: int = 10,
    ) -> None:
        self._view = view
        self._hub: Hub = view.hub
        self._repo = repo
        self._cleanup = cleanup
        self._chain_id = chain_id
        self._start_block = start_block
        self._batch_blocks = batch_blocks
        self._confirmations = confirmations
        self._stop = threading.Event()
        self._thread: threading.Thread | None = None

    def start(self, poll_s: float) -> None:
        """Follow the chain until :meth:`stop`, looking every ``poll_s`` seconds."""
        self._thread = threading.Thread(target=self._run, args=(poll_s,), name="market-watcher", daemon=True)
        self._thread.start()

    def stop(self) -> None:
        """Stop after the batch at hand."""
        self._stop.set()
        if self._thread is not None:
            self._thread.join(timeout=10)

    def catch_up(self) -> int:
        """Read all blocks up to the chain's head, then the second time those that are deep enough.

        Returns:
            The number of the newest block that has been read.

        Raises:
            AdytonError: the chain cannot be asked; what was read before stays.
        """
        head = self._hub.rpc.block_number()
        last = self._repo.block(LAST_BLOCK)
        if last is not None and last > head:
            # The chain is shorter than it was: a reorganisation, or a development chain that was reset.
            _log.warning("the chain went back", last=last, head=head)
            last = max(self._start_block - 1, head - self._confirmations)
            self._repo.set_block(CHECKPOINT, min(self._repo.block(CHECKPOINT) or 0, max(last, 0)))
        self._read(LAST_BLOCK, self._start_block if last is None else last + 1, head)
        checkpoint = self._repo.block(CHECKPOINT)
        first = self._start_block if checkpoint is None else checkpoint + 1
        deep = head - self._confirmations
        if deep - first + 1 >= max(1, self._confirmations):
            self._read(CHECKPOINT, first, deep)
        return head

    def _run(self, poll_s: float) -> None:
        while not self._stop.is_set():
            try:
                self.catch_up()
            except AdytonError as error:
                _log.warning("the chain could not be read", code=error.code, detail=error.message)
            self._stop.wait(poll_s)

    def _read(self, counter: str, first: int, last: int) -> None:
        for start in range(first, last + 1, self._batch_blocks):
            end = min(start + self._batch_blocks - 1, last)
            self._handle_all(self._events(start, end))
            self._repo.set_block(counter, end)
            if self._stop.is_set():
                return

    def _events(self, first: int, last: int) -> Iterable[Event]:
        registries = [self._view.registries.of(kind).address for kind in AssetKind]
        wanted = [events.TOPICS[name] for name in _WATCHED]
        for log in self._hub.rpc.logs([self._hub.address, *registries], [wanted], first, last):
            event = events.decode(log)
            is_asset = isinstance(event, AssetTransfer)
            if event is not None and is_asset == (log.address != self._hub.address):
                yield event

    def _handle_all(self, found: Iterable[Event]) -> None:
        block = lru_cache(maxsize=64)(self._hub.rpc.block)
        poorer: dict[Address, None] = {}
        for event in found:
            match event:
                case CreateCategory():
                    self._keep_category(event, block(event.log.block_number))
                case OrdersMatched():
                    self._keep_deal(event, block(event.log.block_number))
                case Transfer() if event.sender != ZERO_ADDRESS and event.amount:
                    poorer[event.sender] = None
                case AssetTransfer() if event.sender != ZERO_ADDRESS:
                    self._cleanup.asset_moved(self._kind_of(event), event.asset, event.sender)
                case (
                    events.ClosedAppOrder()
                    | events.ClosedDatasetOrder()
                    | events.ClosedWorkerpoolOrder()
                    | events.ClosedRequestOrder()
                ):
                    self._cancel(event.order_hash)
                case _:
                    pass
        for account in poorer:
            self._cleanup.stake_moved(account)

    def _keep_category(self, event: CreateCategory, block: Block) -> None:
        category = self._hub.view_category(event.index)
        document = category_document(event, category, block, self._chain_id)
        self._repo.keep_category(event.index, category.work_clock_time_ref, document)

    def _keep_deal(self, event: OrdersMatched, block: Block) -> None:
        deal = self._hub.view_deal(event.deal_id)
        if deal is not None:
            self._repo.keep_deal(deal_row(event, deal, block, self._chain_id))
        hashes = [event.app_hash, event.dataset_hash, event.workerpool_hash, event.request_hash]
        for order_hash, consumed in zip(hashes, self._view.consumed(hashes), strict=True):
            self._consume(order_hash, consumed)

    def _consume(self, order_hash: Bytes32, consumed: int) -> None:
        found = self._repo.order(order_hash)
        if found is None:
            return
        remaining = max(0, min(found.order.values()["volume"] - consumed, found.remaining))
        if remaining == found.remaining:
            return
        if remaining:
            self._repo.set_status(order_hash, found.status, remaining=remaining)
        else:
            self._repo.set_status(order_hash, Status.FILLED, remaining=0)
            self._cleanup.left_book(found.order)

    def _cancel(self, order_hash: Bytes32) -> None:
        found = self._repo.order(order_hash)
        if found is not None:
            self._repo.set_status(order_hash, Status.CANCELED, remaining=0)
            self._cleanup.left_book(found.order)

    def _kind_of(self, event: AssetTransfer) -> OrderKind:
        registries = self._view.registries
        return next(OrderKind(kind) for kind in AssetKind if registries.of(kind).address == event.log.address)
