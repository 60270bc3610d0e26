"""The PoCo contracts as objects: typed reads, and calldata for what is sent with a :class:`~adyton.chain.tx.TxSender`.

Reads batch their calls into one request. A deal or task that does not exist is None; an address that is not the
contract it should be gives an ``AbiError``. (The native hub answers unknown functions with nothing instead of
refusing them, so an empty answer is an error here, too.)
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

from adyton.base.errors import NotFoundError
from adyton.base.types import ZERO_ADDRESS, ZERO_BYTES32, Address, Bytes32, parse_address
from adyton.chain import calldata as f
from adyton.chain.abi import AbiError, Function
from adyton.chain.calldata import AssetKind, HubCalls, OrderOperation, RegistryCalls
from adyton.chain.eip712 import Domain
from adyton.chain.models import (
    Account,
    AppInfo,
    Category,
    Contribution,
    ContributionStatus,
    DatasetInfo,
    Deal,
    Party,
    Task,
    TaskStatus,
    WorkerpoolInfo,
)
from adyton.chain.rpc import BlockTag, RevertError, Rpc

__all__ = [
    "Account",
    "AppInfo",
    "AssetKind",
    "Category",
    "Contribution",
    "ContributionStatus",
    "DatasetInfo",
    "Deal",
    "Hub",
    "OrderOperation",
    "Party",
    "Registries",
    "Registry",
    "Task",
    "TaskStatus",
    "WorkerpoolInfo",
    "owner_of",
    "read_app",
    "read_dataset",
    "read_workerpool",
]


class Registries:
    """The three registries of a hub."""

    __slots__ = ("app", "dataset", "workerpool")

    def __init__(self, rpc: Rpc, app: Address, dataset: Address, workerpool: Address) -> None:
        self.app = Registry(rpc, app)
        self.dataset = Registry(rpc, dataset)
        self.workerpool = Registry(rpc, workerpool)

    def of(self, kind: AssetKind) -> Registry:
        """The registry of one kind of asset."""
        registry: Registry = getattr(self, kind)
        return registry


class Hub(HubCalls):
    """The PoCo proxy contract.

    Args:
        rpc: the node.
        address: the proxy's address.
    """

    def __init__(self, rpc: Rpc, address: Address) -> None:
        self.rpc = rpc
        self.address = address

    def domain(self) -> Domain:
        """The EIP-712 domain under which orders are signed."""
        name, version, chain_id, contract = self._read(f.DOMAIN)
        return Domain(name, version, chain_id, contract)

    def registries(self) -> Registries:
        """The registries that this hub accepts assets from."""
        functions = (f.APP_REGISTRY, f.DATASET_REGISTRY, f.WORKERPOOL_REGISTRY)
        return Registries(self.rpc, *self.rpc.read_many([(self.address, each, ()) for each in functions]))

    def token(self) -> Address:
        """The RLC token, or the zero address in native mode."""
        return self._address(f.TOKEN)

    def owner(self) -> Address:
        """Who may change the hub."""
        return self._address(f.OWNER)

    def tee_broker(self) -> Address:
        """Who signs authorizations for enclave tasks in the pool owner's place; the zero address when nobody does."""
        return self._address(f.TEE_BROKER)

    def view_deal(self, deal_id: Bytes32, block: BlockTag = "latest") -> Deal | None:
        """A deal, or None."""
        return self.view_deals([deal_id], block)[0]

    def view_deals(self, deal_ids: Iterable[Bytes32], block: BlockTag = "latest") -> list[Deal | None]:
        """Several deals in one batch."""
        found = self._many(f.VIEW_DEAL, [(deal_id,) for deal_id in deal_ids], block)
        return [None if values[0][0] == ZERO_ADDRESS else Deal.from_abi(values) for values in found]

    def view_task(self, task_id: Bytes32, block: BlockTag = "latest") -> Task | None:
        """A task that has been initialized, or None."""
        return self.view_tasks([task_id], block)[0]

    def view_tasks(self, task_ids: Iterable[Bytes32], block: BlockTag = "latest") -> list[Task | None]:
        """Several tasks in one batch."""
        found = self._many(f.VIEW_TASK, [(task_id,) for task_id in task_ids], block)
        return [None if values[1] == ZERO_BYTES32 else Task.from_abi(values) for values in found]

    def view_contribution(self, task_id: Bytes32, worker: Address) -> Contribution:
        """What a worker contributed; status UNSET when nothing."""
        return Contribution.from_abi(self._read(f.VIEW_CONTRIBUTION, task_id, worker))

    def view_account(self, account: Address) -> Account:
        """Money in the hub."""
        return Account(*self._read(f.VIEW_ACCOUNT, account))

    def view_accounts(self, accounts: Iterable[Address]) -> list[Account]:
        """Several accounts in one batch."""
        return [Account(*values) for values in self._many(f.VIEW_ACCOUNT, [(account,) for account in accounts])]

    def view_category(self, index: int) -> Category:
        """A category.

        Raises:
            NotFoundError: no such category.
        """
        try:
            return Category(*self._read(f.VIEW_CATEGORY, index))
        except RevertError as error:
            raise NotFoundError(f"category {index} does not exist", code="chain.category.unknown") from error

    def count_category(self) -> int:
        """How many categories there are."""
        return int(self._read(f.COUNT_CATEGORY))

    def view_categories(self) -> list[Category]:
        """All categories by index."""
        return [Category(*each) for each in self._many(f.VIEW_CATEGORY, [(i,) for i in range(self.count_category())])]

    def view_consumed(self, order_hash: Bytes32) -> int:
        """How much of an order's volume is used; a cancelled order has all of it used."""
        return int(self._read(f.VIEW_CONSUMED, order_hash))

    def view_consumed_many(self, order_hashes: Iterable[Bytes32]) -> list[int]:
        """Several :meth:`view_consumed` in one batch."""
        return self._many(f.VIEW_CONSUMED, [(order_hash,) for order_hash in order_hashes])

    def view_score(self, worker: Address) -> int:
        """A worker's reputation."""
        return int(self._read(f.VIEW_SCORE, worker))

    def verify_signature(self, signer: Address, digest: Bytes32, sign: bytes) -> bool:
        """Whether the hub takes ``sign`` as the signer's over ``digest`` (account, or contract by ERC-1271)."""
        return self._truth(f.VERIFY_SIGNATURE, signer, digest, sign)

    def verify_presignature_or_signature(self, signer: Address, digest: Bytes32, sign: bytes) -> bool:
        """Like :meth:`verify_signature`, also true for an order presigned on chain."""
        return self._truth(f.VERIFY_PRESIGNATURE, signer, digest, sign)

    def allowance(self, account: Address, spender: Address) -> int:
        """How much stake of ``account`` ``spender`` may use, nRLC."""
        return int(self._read(f.ALLOWANCE, account, spender))

    def final_deadline_ratio(self) -> int:
        """How many periods after the deal's start a task ends."""
        return int(self._read(f.FINAL_RATIO))

    def callback_gas(self) -> int:
        """Gas that a result callback gets."""
        return int(self._read(f.CALLBACK_GAS))

    def _read(self, function: Function, *values: Any) -> Any:  # noqa: ANN401  # the function says which
        return self.rpc.read(self.address, function, *values)

    def _many(self, function: Function, values: Sequence[Sequence[Any]], block: BlockTag = "latest") -> list[Any]:
        return self.rpc.read_many([(self.address, function, each) for each in values], block)

    def _address(self, function: Function) -> Address:
        return parse_address(self._read(function))

    def _truth(self, function: Function, *values: Any) -> bool:  # noqa: ANN401
        try:
            return bool(self._read(function, *values))
        except RevertError:  # a contract account that refuses, or a malformed signature
            return False


class Registry(RegistryCalls):
    """One registry of assets; an asset is a token of it, its id the asset's address.

    Args:
        rpc: the node.
        address: the registry's address.
    """

    def __init__(self, rpc: Rpc, address: Address) -> None:
        self.rpc = rpc
        self.address = address

    def is_registered(self, asset: Address) -> bool:
        """Whether the asset was created by this registry (or one it replaces)."""
        return bool(self.rpc.read(self.address, f.IS_REGISTERED, asset))

    def balance_of(self, owner: Address) -> int:
        """How many assets an account owns."""
        return int(self.rpc.read(self.address, f.BALANCE_OF, owner))

    def token_of_owner(self, owner: Address, index: int) -> Address:
        """The asset number ``index`` of an owner.

        Raises:
            NotFoundError: the owner has not so many.
        """
        try:
            token = self.rpc.read(self.address, f.TOKEN_OF_OWNER, owner, index)
        except RevertError as error:
            raise NotFoundError(f"{owner} has no asset number {index}", code="chain.asset.index") from error
        return parse_address(f"0x{token:040x}")

    def predict_app(  # noqa: PLR0917  # the contract's arguments
        self, owner: Address, name: str, type_: str, multiaddr: bytes, checksum: Bytes32, mrenclave: bytes = b""
    ) -> Address:
        """The address that :meth:`create_app` with the same arguments makes."""
        return self._predict(AssetKind.APP, owner, name, type_, multiaddr, checksum, mrenclave)

    def predict_dataset(self, owner: Address, name: str, multiaddr: bytes, checksum: Bytes32) -> Address:
        """The address that :meth:`create_dataset` with the same arguments makes."""
        return self._predict(AssetKind.DATASET, owner, name, multiaddr, checksum)

    def predict_workerpool(self, owner: Address, description: str) -> Address:
        """The address that :meth:`create_workerpool` with the same arguments makes."""
        return self._predict(AssetKind.WORKERPOOL, owner, description)

    def _predict(self, kind: AssetKind, *values: Any) -> Address:  # noqa: ANN401
        return parse_address(self.rpc.read(self.address, f.PREDICT[kind], *values))


def owner_of(rpc: Rpc, address: Address) -> Address:
    """The owner of an asset, or of any contract with ``owner()``.

    Raises:
        NotFoundError: no such contract there.
    """
    return parse_address(_asset(rpc, address, "contract with an owner", (f.OWNER,))[0])


def read_app(rpc: Rpc, address: Address) -> AppInfo:
    """All of an app contract.

    Raises:
        NotFoundError: there is no app at the address.
    """
    fields = (f.OWNER, f.APP_NAME, f.APP_TYPE, f.APP_MULTIADDR, f.APP_CHECKSUM, f.APP_MRENCLAVE, f.REGISTRY)
    return AppInfo(*_asset(rpc, address, "app", fields))


def read_dataset(rpc: Rpc, address: Address) -> DatasetInfo:
    """All of a dataset contract.

    Raises:
        NotFoundError: there is no dataset at the address.
    """
    fields = (f.OWNER, f.DATASET_NAME, f.DATASET_MULTIADDR, f.DATASET_CHECKSUM, f.REGISTRY)
    return DatasetInfo(*_asset(rpc, address, "dataset", fields))


def read_workerpool(rpc: Rpc, address: Address) -> WorkerpoolInfo:
    """All of a workerpool contract.

    Raises:
        NotFoundError: there is no workerpool at the address.
    """
    fields = (f.OWNER, f.POOL_DESCRIPTION, f.POOL_STAKE_RATIO, f.POOL_REWARD_RATIO, f.REGISTRY)
    return WorkerpoolInfo(*_asset(rpc, address, "workerpool", fields))


def _asset(rpc: Rpc, address: Address, what: str, functions: Sequence[Function]) -> list[Any]:
    try:
        return rpc.read_many([(address, function, ()) for function in functions])
    except (RevertError, AbiError) as error:
        raise NotFoundError(f"there is no {what} at {address}", code="chain.asset.unknown") from error
