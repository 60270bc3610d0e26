"""The chain as the service sees it: :class:`~adyton.sms.onchain.view.ChainView` on the PoCo hub."""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Callable
from typing import Any, Final, TypeVar

from adyton.base.errors import NotFoundError, UnavailableError
from adyton.base.types import ZERO_ADDRESS, Address, Bytes32
from adyton.chain import multiaddr
from adyton.chain.abi import AbiError, Function
from adyton.chain.calldata import IS_REGISTERED
from adyton.chain.contracts import AssetKind, Hub, Registries, owner_of, read_app, read_dataset
from adyton.chain.eip712 import Domain
from adyton.chain.orders import DatasetOrder
from adyton.chain.rpc import RevertError, RpcError
from adyton.sms.onchain.view import AppFacts, DatasetFacts, DealFacts, Head, OrderFacts, TaskFacts

T = TypeVar("T")
_IS_VALID_SIGNATURE: Final = Function("isValidSignature(bytes32,bytes)", "(bytes4)")
_MAGIC: Final = "0x1626ba7e"  # ERC-1271: the selector of that function
_KEY_HAS_PURPOSE: Final = Function("keyHasPurpose(bytes32,uint256)", "(bool)")
_MAX_KINDS: Final = 10_000  # assets whose registry is remembered
_MAX_ASSETS: Final = 1_000  # assets whose content is remembered
_MAX_CATEGORIES: Final = 1_000
_GROUP_MEMBER: Final = 4  # PoCo's purpose of a member in an ERC-734 group
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
        self._domain: Domain | None = None
        self._kinds: OrderedDict[Address, AssetKind] = OrderedDict()
        self._assets: OrderedDict[Address, AppFacts | DatasetFacts] = OrderedDict()
        self._categories: set[int] = set()
        self._lock = threading.Lock()

    def head(self) -> Head:
        """The newest block."""
        self._known_registries()
        block = _ask(self._hub.rpc.head)
        return Head(block.number, block.timestamp)

    def block_hash(self, number: int) -> Bytes32 | None:
        """The hash of a block."""
        try:
            return _ask(lambda: self._hub.rpc.block(number)).hash
        except NotFoundError:
            return None

    def task(self, task_id: Bytes32) -> TaskFacts | None:
        """A task that was initialized."""
        task = _ask_hub(lambda: self._hub.view_task(task_id))
        if task is None:
            return None
        return TaskFacts(task_id, task.status, task.deal_id, task.idx, task.final_deadline)

    def deal(self, deal_id: Bytes32) -> DealFacts | None:
        """A deal whose category is readable."""
        deal = _ask_hub(lambda: self._hub.view_deal(deal_id))
        if deal is None:
            return None
        if not self._has_category(deal.category):
            return None
        return DealFacts(
            deal_id=deal_id,
            app=deal.app.pointer,
            dataset=deal.dataset.pointer,
            workerpool=deal.workerpool.pointer,
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
        found = self._remembered(address)
        if found is None:
            try:
                info = _ask(lambda: read_app(self._hub.rpc, address))
            except NotFoundError:
                return None
            found = AppFacts(_address_text(info.multiaddr), info.checksum, info.mrenclave.decode(errors="replace"))
            self._remember(address, AssetKind.APP, found)
        return found if isinstance(found, AppFacts) else None

    def dataset(self, address: Address) -> DatasetFacts | None:
        """A dataset contract."""
        found = self._remembered(address)
        if found is None:
            try:
                info = _ask(lambda: read_dataset(self._hub.rpc, address))
            except NotFoundError:
                return None
            found = DatasetFacts(_address_text(info.multiaddr), info.checksum)
            self._remember(address, AssetKind.DATASET, found)
        return found if isinstance(found, DatasetFacts) else None

    def owner(self, address: Address) -> Address | None:
        """What ``owner()`` of a contract returns."""
        try:
            return _ask(lambda: owner_of(self._hub.rpc, address))
        except NotFoundError:
            return None

    def asset_kind(self, address: Address) -> AssetKind | None:
        """The registry that made ``address``, if one did."""
        registries = self._known_registries()
        with self._lock:
            known = self._kinds.get(address)
        if known is not None:
            return known
        calls = [(registries.of(kind).address, IS_REGISTERED, (address,)) for kind in AssetKind]
        found = _ask_hub(lambda: self._hub.rpc.read_many(calls))
        kind = next((kind for kind, registered in zip(AssetKind, found, strict=True) if registered), None)
        if kind is not None:
            with self._lock:
                self._kinds[address] = kind  # for ever: registries forget nothing
                if len(self._kinds) > _MAX_KINDS:
                    self._kinds.popitem(last=False)
        return kind

    def order_facts(self, order: DatasetOrder, deal: DealFacts) -> OrderFacts:
        """What decides whether a dataset order goes with a deal; the hub judges the signature itself."""
        if self._domain is None:
            self._domain = _ask_hub(self._hub.domain)
        order_hash, owner = order.hash(self._domain), self.owner(order.dataset)
        if owner is None:
            return OrderFacts(signed=False, consumed=0)
        sign = bytes.fromhex(order.sign[2:])
        return OrderFacts(
            signed=_ask_hub(lambda: self._hub.verify_presignature_or_signature(owner, order_hash, sign)),
            consumed=_ask_hub(lambda: self._hub.view_consumed(order_hash)),
            members=frozenset(
                (group, member)
                for group, member in (
                    (order.apprestrict, deal.app),
                    (order.workerpoolrestrict, deal.workerpool),
                    (order.requesterrestrict, deal.requester),
                )
                if group not in {ZERO_ADDRESS, member} and self._is_member(group, member)
            ),
        )

    def _has_category(self, index: int) -> bool:
        """Whether a category is there; once it is, it stays and does not change: the hub can only add some."""
        if index in self._categories:
            return True
        try:
            _ask(lambda: self._hub.view_category(index))
        except NotFoundError:
            return False
        if len(self._categories) < _MAX_CATEGORIES:
            self._categories.add(index)
        return True

    def _remembered(self, address: Address) -> AppFacts | DatasetFacts | None:
        with self._lock:
            return self._assets.get(address)

    def _remember(self, address: Address, kind: AssetKind, facts: AppFacts | DatasetFacts) -> None:
        """Keep what an asset of the registries says of itself.

        Their contracts have no function that changes it, and the address is made of it (EIP-1014 with the constructor's
        arguments in the salt), so no other content can ever be there. A contract of somebody else's may say anything.
        """
        if self.asset_kind(address) is not kind:
            return
        with self._lock:
            self._assets[address] = facts
            if len(self._assets) > _MAX_ASSETS:
                self._assets.popitem(last=False)

    def _is_member(self, group: Address, member: Address) -> bool:
        word = "0x" + "00" * 12 + member[2:].lower()
        return self._contract_says(group, _KEY_HAS_PURPOSE, word, _GROUP_MEMBER) is True

    def accepts_signature(self, account: Address, digest: bytes, signature: bytes) -> bool | None:
        """What a contract account says of a signature (ERC-1271)."""
        found = self._contract_says(account, _IS_VALID_SIGNATURE, "0x" + digest.hex(), signature)
        return None if found is None else found == _MAGIC

    def _contract_says(self, contract: Address, function: Function, *values: Any) -> Any:  # noqa: ANN401
        """A foreign contract's answer; None when there is none, False when it reverts or burns all its gas."""
        try:
            return self._hub.rpc.read(contract, function, *values)
        except RpcError:  # anybody's contract, so its failure is no failure of the node
            return False
        except AbiError:
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
                self._registries = _ask_hub(self._hub.registries)
            return self._registries


def _ask(call: Callable[[], T]) -> T:
    """Call the node; a contract's own refusal stays what it is, all else is the node's failure."""
    try:
        return call()
    except RevertError as error:
        raise NotFoundError(error.message, code="chain.revert") from error
    except (RpcError, AbiError) as error:
        raise UnavailableError(f"the chain cannot be read: {error.message}", code="sms.chain.unavailable") from error


def _ask_hub(call: Callable[[], T]) -> T:
    """Ask what the hub and its registries always answer; a refusal says that this is no node to believe."""
    try:
        return _ask(call)
    except NotFoundError as error:
        raise UnavailableError(
            f"the hub refuses to be read: {error.message}",
            code="sms.chain.unavailable",
            hint="see whether the hub's address and the node are the right ones",
        ) from error


def _address_text(raw: bytes) -> str:
    text = multiaddr.to_text(raw) if raw else ""
    return "/ipfs/" + text.removeprefix(_PEER_PREFIX) if text.startswith(_PEER_PREFIX) else text
