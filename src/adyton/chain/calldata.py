"""Calldata of every PoCo call that this project makes, and the functions behind it.

:class:`HubCalls` and :class:`RegistryCalls` only build bytes; :mod:`adyton.chain.contracts` reads.
"""

from __future__ import annotations

from collections.abc import Sequence
from enum import IntEnum, StrEnum
from typing import Final

from adyton.base.types import Address, Bytes32
from adyton.chain.abi import Function
from adyton.chain.models import CONTRIBUTION_ABI, DEAL_ABI, TASK_ABI
from adyton.chain.orders import AppOrder, DatasetOrder, Order, OrderKind, RequestOrder, WorkerpoolOrder


def _order_abi(order: type[Order]) -> str:
    return "(" + ",".join([kind for _, kind in order.struct_fields()] + ["bytes"]) + ")"


_APP, _DATASET, _POOL, _REQUEST = map(_order_abi, (AppOrder, DatasetOrder, WorkerpoolOrder, RequestOrder))
_ALL_ORDERS: Final = f"({_APP},{_DATASET},{_POOL},{_REQUEST})"


class OrderOperation(IntEnum):
    """What ``manage…Order`` does: record a signature on chain, or close the order for ever."""

    SIGN = 0
    CLOSE = 1


class AssetKind(StrEnum):
    """What a registry registers."""

    APP = "app"
    DATASET = "dataset"
    WORKERPOOL = "workerpool"


# Reads of the hub
DOMAIN = Function("domain()", "((string,string,uint256,address))")
APP_REGISTRY = Function("appregistry()", "(address)")
DATASET_REGISTRY = Function("datasetregistry()", "(address)")
WORKERPOOL_REGISTRY = Function("workerpoolregistry()", "(address)")
TOKEN = Function("token()", "(address)")
OWNER = Function("owner()", "(address)")
TEE_BROKER = Function("teebroker()", "(address)")
CALLBACK_GAS = Function("callbackgas()", "(uint256)")
FINAL_RATIO = Function("final_deadline_ratio()", "(uint256)")
VIEW_DEAL = Function("viewDeal(bytes32)", f"({DEAL_ABI})")
VIEW_TASK = Function("viewTask(bytes32)", f"({TASK_ABI})")
VIEW_CONTRIBUTION = Function("viewContribution(bytes32,address)", f"({CONTRIBUTION_ABI})")
VIEW_ACCOUNT = Function("viewAccount(address)", "((uint256,uint256))")
VIEW_CATEGORY = Function("viewCategory(uint256)", "((string,string,uint256))")
COUNT_CATEGORY = Function("countCategory()", "(uint256)")
VIEW_CONSUMED = Function("viewConsumed(bytes32)", "(uint256)")
VIEW_SCORE = Function("viewScore(address)", "(uint256)")
VERIFY_SIGNATURE = Function("verifySignature(address,bytes32,bytes)", "(bool)")
VERIFY_PRESIGNATURE = Function("verifyPresignatureOrSignature(address,bytes32,bytes)", "(bool)")
ALLOWANCE = Function("allowance(address,address)", "(uint256)")

# Changes of the hub
_MATCH = Function(f"matchOrders{_ALL_ORDERS}")
_SPONSOR_MATCH = Function(f"sponsorMatchOrders{_ALL_ORDERS}")
_INITIALIZE = Function("initialize(bytes32,uint256)")
_INITIALIZE_ARRAY = Function("initializeArray(bytes32[],uint256[])")
_CONTRIBUTE = Function("contribute(bytes32,bytes32,bytes32,address,bytes,bytes)")
_REVEAL = Function("reveal(bytes32,bytes32)")
_FINALIZE = Function("finalize(bytes32,bytes,bytes)")
_CONTRIBUTE_AND_FINALIZE = Function("contributeAndFinalize(bytes32,bytes32,bytes,bytes,address,bytes,bytes)")
_REOPEN = Function("reopen(bytes32)")
_CLAIM = Function("claim(bytes32)")
_CLAIM_ARRAY = Function("claimArray(bytes32[])")
_INITIALIZE_AND_CLAIM = Function("initializeAndClaimArray(bytes32[],uint256[])")
_DEPOSIT = Function("deposit()")
_DEPOSIT_FOR = Function("depositFor(address)")
_WITHDRAW = Function("withdraw(uint256)")
_APPROVE = Function("approve(address,uint256)")
_APPROVE_AND_CALL = Function("approveAndCall(address,uint256,bytes)")
_TRANSFER = Function("transfer(address,uint256)")
_CREATE_CATEGORY = Function("createCategory(string,string,uint256)")
_SET_TEE_BROKER = Function("setTeeBroker(address)")
_MANAGE: Final = {
    OrderKind.APP: Function(f"manageAppOrder(({_APP},uint8,bytes))"),
    OrderKind.DATASET: Function(f"manageDatasetOrder(({_DATASET},uint8,bytes))"),
    OrderKind.WORKERPOOL: Function(f"manageWorkerpoolOrder(({_POOL},uint8,bytes))"),
    OrderKind.REQUEST: Function(f"manageRequestOrder(({_REQUEST},uint8,bytes))"),
}

# Registries and assets
IS_REGISTERED = Function("isRegistered(address)", "(bool)")
BALANCE_OF = Function("balanceOf(address)", "(uint256)")
TOKEN_OF_OWNER = Function("tokenOfOwnerByIndex(address,uint256)", "(uint256)")
OWNER_OF = Function("ownerOf(uint256)", "(address)")
REGISTRY = Function("registry()", "(address)")
APP_NAME = Function("m_appName()", "(string)")
APP_TYPE = Function("m_appType()", "(string)")
APP_MULTIADDR = Function("m_appMultiaddr()", "(bytes)")
APP_CHECKSUM = Function("m_appChecksum()", "(bytes32)")
APP_MRENCLAVE = Function("m_appMREnclave()", "(bytes)")
DATASET_NAME = Function("m_datasetName()", "(string)")
DATASET_MULTIADDR = Function("m_datasetMultiaddr()", "(bytes)")
DATASET_CHECKSUM = Function("m_datasetChecksum()", "(bytes32)")
POOL_DESCRIPTION = Function("m_workerpoolDescription()", "(string)")
POOL_STAKE_RATIO = Function("m_workerStakeRatioPolicy()", "(uint256)")
POOL_REWARD_RATIO = Function("m_schedulerRewardRatioPolicy()", "(uint256)")
CHANGE_POLICY = Function("changePolicy(uint256,uint256)")
_APP_ARGUMENTS: Final = "(address,string,string,bytes,bytes32,bytes)"
_DATASET_ARGUMENTS: Final = "(address,string,bytes,bytes32)"
_POOL_ARGUMENTS: Final = "(address,string)"
CREATE: Final = {
    AssetKind.APP: Function(f"createApp{_APP_ARGUMENTS}", "(address)"),
    AssetKind.DATASET: Function(f"createDataset{_DATASET_ARGUMENTS}", "(address)"),
    AssetKind.WORKERPOOL: Function(f"createWorkerpool{_POOL_ARGUMENTS}", "(address)"),
}
PREDICT: Final = {
    AssetKind.APP: Function(f"predictApp{_APP_ARGUMENTS}", "(address)"),
    AssetKind.DATASET: Function(f"predictDataset{_DATASET_ARGUMENTS}", "(address)"),
    AssetKind.WORKERPOOL: Function(f"predictWorkerpool{_POOL_ARGUMENTS}", "(address)"),
}
_SAFE_TRANSFER = Function("safeTransferFrom(address,address,uint256)")
SET_NAME = Function("setName(address,string)")


class HubCalls:
    """Calldata for the hub. Amounts are nRLC; a native deposit's amount is the transaction's value in wei."""

    @staticmethod
    def match_orders(app: AppOrder, dataset: DatasetOrder, workerpool: WorkerpoolOrder, request: RequestOrder) -> bytes:
        """Make a deal of four signed orders (:data:`NULL_DATASET_ORDER` where there is no dataset)."""
        return _MATCH(app.as_tuple(), dataset.as_tuple(), workerpool.as_tuple(), request.as_tuple())

    @staticmethod
    def sponsor_match_orders(
        app: AppOrder, dataset: DatasetOrder, workerpool: WorkerpoolOrder, request: RequestOrder
    ) -> bytes:
        """Like :meth:`match_orders`, paid by the sender."""
        return _SPONSOR_MATCH(app.as_tuple(), dataset.as_tuple(), workerpool.as_tuple(), request.as_tuple())

    @staticmethod
    def initialize(deal_id: Bytes32, index: int) -> bytes:
        """Start a task of a deal; anyone may."""
        return _INITIALIZE(deal_id, index)

    @staticmethod
    def initialize_array(deal_ids: Sequence[Bytes32], indexes: Sequence[int]) -> bytes:
        """Start several tasks."""
        return _INITIALIZE_ARRAY(deal_ids, indexes)

    @staticmethod
    def contribute(  # noqa: PLR0917  # the contract's arguments
        task_id: Bytes32,
        result_hash: Bytes32,
        result_seal: Bytes32,
        enclave_challenge: Address,
        enclave_sign: bytes,
        authorization_sign: bytes,
    ) -> bytes:
        """Commit to a result, as the worker that is the sender."""
        return _CONTRIBUTE(task_id, result_hash, result_seal, enclave_challenge, enclave_sign, authorization_sign)

    @staticmethod
    def reveal(task_id: Bytes32, result_digest: Bytes32) -> bytes:
        """Show the digest that was committed to."""
        return _REVEAL(task_id, result_digest)

    @staticmethod
    def finalize(task_id: Bytes32, results: bytes, results_callback: bytes = b"") -> bytes:
        """Complete a task, as the workerpool owner."""
        return _FINALIZE(task_id, results, results_callback)

    @staticmethod
    def contribute_and_finalize(  # noqa: PLR0917  # the contract's arguments
        task_id: Bytes32,
        result_digest: Bytes32,
        results: bytes,
        results_callback: bytes,
        enclave_challenge: Address,
        enclave_sign: bytes,
        authorization_sign: bytes,
    ) -> bytes:
        """Contribute and complete in one step, as the only worker of a task of trust 1."""
        return _CONTRIBUTE_AND_FINALIZE(
            task_id, result_digest, results, results_callback, enclave_challenge, enclave_sign, authorization_sign
        )

    @staticmethod
    def reopen(task_id: Bytes32) -> bytes:
        """Reject contributions that nobody revealed, as the workerpool owner."""
        return _REOPEN(task_id)

    @staticmethod
    def claim(task_id: Bytes32) -> bytes:
        """Fail a task after its final deadline and refund its payer."""
        return _CLAIM(task_id)

    @staticmethod
    def claim_array(task_ids: Sequence[Bytes32]) -> bytes:
        """Claim several tasks."""
        return _CLAIM_ARRAY(task_ids)

    @staticmethod
    def initialize_and_claim_array(deal_ids: Sequence[Bytes32], indexes: Sequence[int]) -> bytes:
        """Claim tasks that nobody initialized; indexes count from the deal's ``bot_first``."""
        return _INITIALIZE_AND_CLAIM(deal_ids, indexes)

    @staticmethod
    def manage_order(kind: OrderKind, order: Order, operation: OrderOperation, sign: bytes = b"") -> bytes:
        """Presign (``SIGN``) or cancel (``CLOSE``) an order, as its signer."""
        return _MANAGE[kind]((order.as_tuple(), int(operation), sign))

    @staticmethod
    def deposit() -> bytes:
        """Native mode: put the transaction's value into the sender's account."""
        return _DEPOSIT()

    @staticmethod
    def deposit_for(target: Address) -> bytes:
        """Native mode: put the transaction's value into another account."""
        return _DEPOSIT_FOR(target)

    @staticmethod
    def withdraw(amount: int) -> bytes:
        """Take free stake out."""
        return _WITHDRAW(amount)

    @staticmethod
    def approve(spender: Address, amount: int) -> bytes:
        """Let ``spender`` use stake (hub), or tokens (RLC contract)."""
        return _APPROVE(spender, amount)

    @staticmethod
    def approve_and_call(spender: Address, amount: int, extra: bytes = b"") -> bytes:
        """Token mode, sent to the RLC contract with the hub as spender: deposit."""
        return _APPROVE_AND_CALL(spender, amount, extra)

    @staticmethod
    def transfer(recipient: Address, amount: int) -> bytes:
        """Move stake (hub) or tokens (RLC contract)."""
        return _TRANSFER(recipient, amount)

    @staticmethod
    def create_category(name: str, description: str, period_s: int) -> bytes:
        """Add a category, as the hub's owner."""
        return _CREATE_CATEGORY(name, description, period_s)

    @staticmethod
    def set_tee_broker(broker: Address) -> bytes:
        """Make ``broker`` the signer of authorizations for enclave tasks, as the hub's owner."""
        return _SET_TEE_BROKER(broker)


class RegistryCalls:
    """Calldata for the three registries and for assets."""

    @staticmethod
    def create_app(  # noqa: PLR0917  # the contract's arguments
        owner: Address, name: str, type_: str, multiaddr: bytes, checksum: Bytes32, mrenclave: bytes = b""
    ) -> bytes:
        """Register an app."""
        return CREATE[AssetKind.APP](owner, name, type_, multiaddr, checksum, mrenclave)

    @staticmethod
    def create_dataset(owner: Address, name: str, multiaddr: bytes, checksum: Bytes32) -> bytes:
        """Register a dataset."""
        return CREATE[AssetKind.DATASET](owner, name, multiaddr, checksum)

    @staticmethod
    def create_workerpool(owner: Address, description: str) -> bytes:
        """Register a workerpool."""
        return CREATE[AssetKind.WORKERPOOL](owner, description)

    @staticmethod
    def transfer_asset(sender: Address, recipient: Address, asset: Address) -> bytes:
        """Hand an asset over, as its owner, sent to its registry."""
        return _SAFE_TRANSFER(sender, recipient, int(asset, 16))

    @staticmethod
    def change_policy(stake_ratio: int, reward_ratio: int) -> bytes:
        """Set a pool's stake and reward ratios in percent, as its owner, sent to the workerpool."""
        return CHANGE_POLICY(stake_ratio, reward_ratio)

    @staticmethod
    def set_name(ens_registry: Address, name: str) -> bytes:
        """Set the reverse name of an asset, as its owner, sent to the asset."""
        return SET_NAME(ens_registry, name)
