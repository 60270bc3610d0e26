"""Putting the protocol on a chain: the twin with its official addresses, or a chain of one's own in either mode.

The twin has the chain id and, by moving contracts right after construction, every address that clients of Bellecour
have built in. It therefore shares the EIP-712 domain of the real network: orders signed on it are valid there, so only
throw-away wallets may be used on it.
"""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any, Final

from adyton.base.errors import AdytonError, InputError
from adyton.base.types import ZERO_ADDRESS, Address, keccak, parse_address, to_hex
from adyton.chain import anvil
from adyton.chain.abi import AbiError
from adyton.chain.artifacts import Artifacts
from adyton.chain.calldata import AssetKind
from adyton.chain.contracts import Hub
from adyton.chain.ens import Ens
from adyton.chain.networks import BELLECOUR_REGISTRIES, BUILTIN
from adyton.chain.recipe import CATEGORIES, SYSTEM_DOMAIN, Plan, Sources, Step, plan_ens, plan_hub, plan_sources
from adyton.chain.rpc import RevertError, Rpc, RpcError, UnavailableError
from adyton.chain.tx import Transaction
from adyton.chain.wallet import Wallet

TWIN_CHAIN_ID: Final = 134
STEP_GAS: Final = 15_000_000  # per transaction; the newest hard fork refuses more than 2^24
_MINING_S: Final = 120.0


class DeploymentError(AdytonError):
    """The contracts are not, or not all, where they should be, or cannot be put there."""

    code = "chain.deployment"


@dataclass(frozen=True, slots=True)
class Deployment:
    """Where everything is on one chain. ``token`` is the zero address in native mode."""

    chain_id: int
    hub: Address
    app_registry: Address
    dataset_registry: Address
    workerpool_registry: Address
    token: Address
    ens_registry: Address
    ens_resolver: Address
    admin: Address

    @property
    def native(self) -> bool:
        """Whether RLC is the chain's own currency (1 nRLC = 1e9 wei)."""
        return self.token == ZERO_ADDRESS

    def to_json(self) -> dict[str, Any]:
        """As a JSON object."""
        return asdict(self)

    @classmethod
    def from_json(cls, document: Mapping[str, Any]) -> Deployment:
        """Read what :meth:`to_json` made.

        Raises:
            InputError: anything else.
        """
        names = set(cls.__dataclass_fields__)
        if not isinstance(document, Mapping) or set(document) != names or not isinstance(document["chain_id"], int):
            raise InputError("not the description of a deployment", code="chain.deployment.json")
        return cls(document["chain_id"], **{name: parse_address(document[name]) for name in names - {"chain_id"}})


def deploy(
    rpc: Rpc,
    artifacts: Artifacts,
    *,
    chain_id: int = TWIN_CHAIN_ID,
    native: bool = True,
    admin: Wallet,
) -> Deployment:
    """Deploy everything and check it; about 100 transactions.

    On chain id 134 the node must be anvil with instant mining or short blocks; contracts get their official
    addresses. On another id any node that mines will do, and the addresses follow from ``admin``.

    Args:
        rpc: the node.
        artifacts: the published contracts.
        chain_id: must be the node's.
        native: RLC is the chain's currency; otherwise a token of which ``admin`` gets all 87 million RLC.
        admin: owns the hub, the registries and the system names.

    Raises:
        DeploymentError: wrong chain, something is deployed already, or a step failed.
        UnavailableError: no node.
    """
    if rpc.chain_id() != chain_id:
        raise DeploymentError(f"the node's chain is {rpc.chain_id()}, not {chain_id}")
    twin = _official_places() if chain_id == TWIN_CHAIN_ID else None
    _check_target(rpc, twin, native=native)
    plan = Plan(artifacts, admin.address, _nonce(rpc, admin))
    token = ZERO_ADDRESS if native else plan.create("RLC")
    built = plan_sources(plan, twin.ens_registry if twin else None)
    _execute(rpc, admin, chain_id, plan)
    if twin is not None:
        anvil.transplant(rpc, dict(zip(built.all(), twin.all(), strict=True)))
    places = twin or built
    plan_hub(plan, places, token, chain_id)
    plan_ens(plan, places)
    _execute(rpc, admin, chain_id, plan)
    deployment = _describe(chain_id, places, token, admin.address)
    verify_deployment(rpc, deployment)
    return deployment


def verify_deployment(rpc: Rpc, deployment: Deployment) -> None:
    """Check that a chain has a deployment, whole.

    Raises:
        DeploymentError: another chain, or something is missing; the message says what.
    """
    if rpc.chain_id() != deployment.chain_id:
        raise DeploymentError(f"the node's chain is {rpc.chain_id()}, not {deployment.chain_id}")
    for name, value in deployment.to_json().items():
        if name not in {"chain_id", "admin", "token"} and not rpc.code(value):
            raise DeploymentError(f"there is no contract at {value} ({name})")
    found = read_deployment(rpc, hub=deployment.hub, ens_registry=deployment.ens_registry)
    if found != deployment:
        raise DeploymentError(f"the chain has another deployment: {found}")
    hub = Hub(rpc, deployment.hub)
    if hub.count_category() < len(CATEGORIES):
        raise DeploymentError("the hub lacks categories")
    domain = hub.domain()
    if (domain.chain_id, domain.verifying_contract) != (deployment.chain_id, deployment.hub):
        raise DeploymentError("the hub's signing domain is of another chain or address")


def read_deployment(rpc: Rpc, *, hub: Address | None = None, ens_registry: Address | None = None) -> Deployment | None:
    """Recognise a deployment on a chain, for example after its node was restarted.

    Args:
        rpc: the node.
        hub: where its hub should be; None means Bellecour's.
        ens_registry: where its ENS registry should be; None means Bellecour's.

    Returns:
        The deployment, or None when there is no complete one.
    """
    official = _official_places()
    hub, ens_registry = hub or official.hub, ens_registry or official.ens_registry
    if not rpc.code(hub) or not rpc.code(ens_registry):
        return None
    contract = Hub(rpc, hub)
    try:
        registries = contract.registries()
        token, admin = contract.token(), contract.owner()
        resolver = Ens(rpc, ens_registry).resolver(f"core.{SYSTEM_DOMAIN}")
    except (AbiError, RevertError):
        return None
    places = Sources(hub, {kind: registries.of(kind).address for kind in AssetKind}, ens_registry, resolver)
    return None if ZERO_ADDRESS in places.all() else _describe(rpc.chain_id(), places, token, admin)


def _describe(chain_id: int, places: Sources, token: Address, admin: Address) -> Deployment:
    return Deployment(
        chain_id=chain_id,
        hub=places.hub,
        app_registry=places.registries[AssetKind.APP],
        dataset_registry=places.registries[AssetKind.DATASET],
        workerpool_registry=places.registries[AssetKind.WORKERPOOL],
        token=token,
        ens_registry=places.ens_registry,
        ens_resolver=places.ens_resolver,
        admin=admin,
    )


def _official_places() -> Sources:
    network = BUILTIN["bellecour"]
    if network.ens_registry is None or network.ens_resolver is None:
        raise AssertionError("Bellecour has ENS")
    registries = {kind: BELLECOUR_REGISTRIES[kind] for kind in AssetKind}
    return Sources(network.hub, registries, network.ens_registry, network.ens_resolver)


def _check_target(rpc: Rpc, twin: Sources | None, *, native: bool) -> None:
    if twin is None:
        return
    if not native:
        raise DeploymentError("chain 134 is native", hint="choose another chain id for the token mode")
    if not anvil.is_anvil(rpc):
        raise DeploymentError("the twin's fixed addresses need an anvil node")
    if rpc.code(twin.hub):
        raise DeploymentError(
            f"there is a hub at {twin.hub} already", hint="use read_deployment, or start from an empty state"
        )


def _nonce(rpc: Rpc, admin: Wallet) -> int:
    return int(rpc.call("eth_getTransactionCount", admin.address, "pending"), 16)


def _execute(rpc: Rpc, admin: Wallet, chain_id: int, plan: Plan) -> None:
    """Send the plan's steps in one batch, wait for all, check each, and empty the plan."""
    steps, plan.steps = plan.steps, []
    first = plan.nonce - len(steps)
    raw = [
        Transaction(first + index, 0, STEP_GAS, step.to, 0, step.data, chain_id).sign(admin)
        for index, step in enumerate(steps)
    ]
    try:
        rpc.batch(("eth_sendRawTransaction", [to_hex(each)]) for each in raw)
    except RpcError as error:
        raise DeploymentError(f"the node refused a step of the deployment: {error}") from error
    _await(rpc, steps, [to_hex(keccak(each)) for each in raw])
    created = [step for step in steps if step.creates is not None]
    codes = rpc.batch(("eth_getCode", [step.creates, "latest"]) for step in created)
    for step, code in zip(created, codes, strict=True):
        if code == "0x":
            raise DeploymentError(f"{step.label}: there is no code at {step.creates}")


def _await(rpc: Rpc, steps: Sequence[Step], hashes: Sequence[str]) -> None:
    waiting = dict(zip(hashes, steps, strict=True))
    deadline = time.monotonic() + _MINING_S
    while waiting:
        receipts = rpc.batch(("eth_getTransactionReceipt", [each]) for each in list(waiting))
        for receipt in receipts:
            if receipt is not None:
                step = waiting.pop(receipt["transactionHash"])
                if receipt["status"] != "0x1":
                    raise DeploymentError(f"{step.label}: the transaction failed")
        if waiting and time.monotonic() > deadline:
            raise UnavailableError(f"{len(waiting)} steps of the deployment were not mined", code="chain.tx.timeout")
        if waiting:
            time.sleep(0.02)
