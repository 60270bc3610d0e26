"""The chain as the service sees it: :class:`~adyton.sms.chain_view.ChainView` on the PoCo hub."""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import Final, TypeVar

from adyton.base.errors import NotFoundError, UnavailableError
from adyton.base.types import Address, Bytes32
from adyton.chain import multiaddr
from adyton.chain.abi import AbiError
from adyton.chain.contracts import AssetKind, Hub, Registries, owner_of, read_app, read_dataset
from adyton.chain.rpc import RevertError, RpcError
from adyton.sms.chain_view import AppFacts, DatasetFacts, DealFacts, Head, TaskFacts

T = TypeVar("T")
_PEER_PREFIX: Final = "/p2p/"  # how the multiaddress of an IPFS path reads back; programs expect the path


class HubView:
    """Reads the hub; every failure of the node is ``UnavailableError``.

    Args:
        hub: the PoCo contract.
        chain_id: the chain the node must be on; asked once.
    """

    def __init__(self, hub: Hub, chain_id: int) -> None:
        self._hub = hub
        self._chain_id = chain_id
        self._registries: Registries | None = None
        self._lock = threading.Lock()

    def head(self) -> Head:
        """The newest block."""
        self._known_registries()
        block = _ask(self._hub.rpc.head)
        return Head(block.number, block.timestamp)

    def task(self, task_id: Bytes32) -> TaskFacts | None:
        """A task that was initialized."""
        task = _ask(lambda: self._hub.view_task(task_id))
        if task is None:
            return None
        return TaskFacts(task_id, task.status, task.deal_id, task.idx, task.final_deadline)

    def deal(self, deal_id: Bytes32) -> DealFacts | None:
        """A deal whose category is readable."""
        deal = _ask(lambda: self._hub.view_deal(deal_id))
        if deal is None:
            return None
        try:
            _ask(lambda: self._hub.view_category(deal.category))
        except NotFoundError:
            return None
        return DealFacts(
            deal_id=deal_id,
            app=deal.app.pointer,
            dataset=deal.dataset.pointer,
            workerpool_owner=deal.workerpool.owner,
            requester=deal.requester,
            beneficiary=deal.beneficiary,
            callback=deal.callback,
            tag=deal.tag,
            params=deal.params,
            start_time=deal.start_time,
            bot_first=deal.bot_first,
            bot_size=deal.bot_size,
        )

    def app(self, address: Address) -> AppFacts | None:
        """An app contract."""
        try:
            info = _ask(lambda: read_app(self._hub.rpc, address))
        except NotFoundError:
            return None
        return AppFacts(_address_text(info.multiaddr), info.checksum, info.mrenclave.decode(errors="replace"))

    def dataset(self, address: Address) -> DatasetFacts | None:
        """A dataset contract."""
        try:
            info = _ask(lambda: read_dataset(self._hub.rpc, address))
        except NotFoundError:
            return None
        return DatasetFacts(_address_text(info.multiaddr), info.checksum)

    def owner(self, address: Address) -> Address | None:
        """What ``owner()`` of a contract returns."""
        try:
            return _ask(lambda: owner_of(self._hub.rpc, address))
        except NotFoundError:
            return None

    def asset_kind(self, address: Address) -> AssetKind | None:
        """The registry that made ``address``, if one did."""
        registries = self._known_registries()
        for kind in AssetKind:
            registry = registries.of(kind)
            if _ask(lambda registry=registry: registry.is_registered(address)):  # type: ignore[misc]
                return kind
        return None

    def _known_registries(self) -> Registries:
        with self._lock:
            if self._registries is None:
                found = _ask(self._hub.rpc.chain_id)
                if found != self._chain_id:
                    raise UnavailableError(
                        f"the node is on chain {found}, this service is for chain {self._chain_id}",
                        code="sms.chain.other",
                    )
                self._registries = _ask(self._hub.registries)
            return self._registries


def _ask(call: Callable[[], T]) -> T:
    """Call the node; a contract's own refusal stays what it is, all else is the node's failure."""
    try:
        return call()
    except RevertError as error:
        raise NotFoundError(error.message, code="chain.revert") from error
    except (RpcError, AbiError) as error:
        raise UnavailableError(f"the chain cannot be read: {error.message}", code="sms.chain.unavailable") from error


def _address_text(raw: bytes) -> str:
    text = multiaddr.to_text(raw) if raw else ""
    return "/ipfs/" + text.removeprefix(_PEER_PREFIX) if text.startswith(_PEER_PREFIX) else text
