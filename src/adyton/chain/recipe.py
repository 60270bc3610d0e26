"""What is deployed, in which order: data tables, and the pure step from them to unsigned transactions.

Every address follows from the deployer and its nonce, so the whole deployment is known before the first transaction
is sent. The order of :data:`MODULES` matters: a function that two modules have goes to the later one.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Final

from adyton.base.types import ZERO_ADDRESS, Address, keccak, parse_address
from adyton.chain import abi
from adyton.chain.abi import Function
from adyton.chain.artifacts import Artifacts, function_signatures
from adyton.chain.calldata import SET_NAME, AssetKind
from adyton.chain.ens import Ens, namehash

CALLBACK_GAS: Final = 100_000
CATEGORIES: Final = (("XS", 300), ("S", 1200), ("M", 3600), ("L", 10_800), ("XL", 36_000))  # period in seconds
CATEGORY_DESCRIPTION: Final = "{}"
LIBRARY: Final = "IexecLibOrders_v5"
MODULES: Final = (
    "ERC1538QueryDelegate",
    "IexecAccessorsDelegate",
    "IexecAccessorsABILegacyDelegate",
    "IexecCategoryManagerDelegate",
    "IexecERC20Delegate",
    "IexecEscrow{mode}Delegate",
    "IexecMaintenanceDelegate",
    "IexecOrderManagementDelegate",
    "IexecPoco1Delegate",
    "IexecPoco2Delegate",
    "IexecRelayDelegate",
    "ENSIntegrationDelegate",
    "IexecMaintenanceExtraDelegate",
    "IexecPocoAccessorsDelegate",
    "IexecPocoBoostDelegate",
    "IexecPocoBoostAccessorsDelegate",
)
REGISTRIES: Final = {
    AssetKind.APP: "AppRegistry",
    AssetKind.DATASET: "DatasetRegistry",
    AssetKind.WORKERPOOL: "WorkerpoolRegistry",
}
# Each of these domains is owned by a first-come registrar; a parent stands before its children.
DOMAINS: Final = (
    "eth",
    "iexec.eth",
    "v5.iexec.eth",
    "users.iexec.eth",
    "apps.iexec.eth",
    "datasets.iexec.eth",
    "pools.iexec.eth",
    "main.pools.iexec.eth",
)
SYSTEM_DOMAIN: Final = "v5.iexec.eth"

_UPDATE_CONTRACT = Function("updateContract(address,string,string)")
_REGISTRY_INITIALIZE = Function("initialize(address)")
_SET_BASE_URI = Function("setBaseURI(string)")
_CONFIGURE = Function("configure(address,string,string,uint8,address,address,address,address)")
_CREATE_CATEGORY = Function("createCategory(string,string,uint256)")


@dataclass(frozen=True, slots=True)
class Step:
    """One transaction of the deployment; ``to`` None creates ``creates``."""

    label: str
    to: Address | None
    data: bytes
    creates: Address | None = None


@dataclass(slots=True)
class Plan:
    """Steps of one deployer, in order.

    Attributes:
        artifacts: the contracts.
        sender: the deployer.
        nonce: its next nonce.
        steps: what is planned.
    """

    artifacts: Artifacts
    sender: Address
    nonce: int
    steps: list[Step] = field(default_factory=list)

    def create(
        self,
        contract: str,
        types: str = "()",
        values: tuple[Any, ...] = (),
        links: Mapping[str, Address] | None = None,
    ) -> Address:
        """Plan a contract with constructor arguments and return the address it will have."""
        address = create_address(self.sender, self.nonce)
        code = self.artifacts.bytecode(contract, links) + abi.encode(types, *values)
        self._add(Step(f"create {contract}", None, code, address))
        return address

    def call(self, label: str, to: Address, data: bytes) -> None:
        """Plan a call."""
        self._add(Step(label, to, data))

    def _add(self, step: Step) -> None:
        self.steps.append(step)
        self.nonce += 1


@dataclass(frozen=True, slots=True)
class Sources:
    """The contracts that other contracts refer to; on the twin they are moved to their official places."""

    hub: Address
    registries: Mapping[AssetKind, Address]
    ens_registry: Address
    ens_resolver: Address

    def all(self) -> tuple[Address, ...]:
        """Every address, in a fixed order."""
        return (self.hub, *(self.registries[kind] for kind in AssetKind), self.ens_registry, self.ens_resolver)


def create_address(sender: Address, nonce: int) -> Address:
    """The address of the contract that a transaction of ``sender`` with ``nonce`` creates."""
    import rlp  # noqa: PLC0415  # as in tx

    return parse_address("0x" + keccak(rlp.encode([bytes.fromhex(sender[2:]), nonce]))[12:].hex())


def plan_sources(plan: Plan, ens_registry: Address | None) -> Sources:
    """Plan the contracts that others refer to.

    Args:
        plan: where to add the steps.
        ens_registry: the place that the ENS registry will be moved to, or None when it stays.
    """
    update = plan.create("ERC1538UpdateDelegate")
    hub = plan.create("ERC1538Proxy", "(address)", (update,))
    registries = {kind: plan.create(name) for kind, name in REGISTRIES.items()}
    registry = plan.create("ENSRegistry")
    resolver = plan.create("PublicResolver", "(address)", (ens_registry or registry,))
    return Sources(hub, registries, registry, resolver)


def plan_hub(plan: Plan, places: Sources, token: Address, chain_id: int) -> None:
    """Plan the hub's modules, its registries, its configuration and its categories."""
    links = {LIBRARY: plan.create(LIBRARY)}
    mode = "Native" if token == ZERO_ADDRESS else "Token"
    for template in MODULES:
        name = template.format(mode=mode)
        module = plan.create(name, links=links)
        signatures = "".join(f"{signature};" for signature in function_signatures(plan.artifacts.abi(name)))
        plan.call(f"link {name}", places.hub, _UPDATE_CONTRACT(module, signatures, f"Linking {name}"))
    for kind, address in places.registries.items():
        plan.call(f"initialize the {kind} registry", address, _REGISTRY_INITIALIZE(ZERO_ADDRESS))
        uri = f"https://nfts-metadata.iex.ec/{kind}/{chain_id}/"
        plan.call(f"set the URI of the {kind} registry", address, _SET_BASE_URI(uri))
    registries = [places.registries[kind] for kind in AssetKind]
    configuration = _CONFIGURE(token, "Staked RLC", "SRLC", 9, *registries, ZERO_ADDRESS)
    plan.call("configure the hub", places.hub, configuration)
    for name, period in CATEGORIES:
        category = _CREATE_CATEGORY(name, CATEGORY_DESCRIPTION, period)
        plan.call(f"create category {name}", places.hub, category)


def plan_ens(plan: Plan, places: Sources) -> None:
    """Plan the domains, the reverse registrar, and the names of the protocol's own contracts."""
    ens, resolver = places.ens_registry, places.ens_resolver
    for domain in DOMAINS:
        label, _, parent = domain.partition(".")
        plan.call(f"take {domain}", ens, Ens.set_subnode_owner(parent, label, plan.sender))
    reverse = plan.create("ReverseRegistrar", "(address,address)", (ens, resolver))
    plan.call("take reverse", ens, Ens.set_subnode_owner("", "reverse", plan.sender))
    plan.call("give addr.reverse", ens, Ens.set_subnode_owner("reverse", "addr", reverse))
    system = {"core": places.hub} | {f"{kind}s": address for kind, address in places.registries.items()}
    for label, contract in system.items():
        name = f"{label}.{SYSTEM_DOMAIN}"
        plan.call(f"take {name}", ens, Ens.set_subnode_owner(SYSTEM_DOMAIN, label, plan.sender))
        plan.call(f"set the resolver of {name}", ens, Ens.set_resolver(name, resolver))
        plan.call(f"set the address of {name}", resolver, Ens.set_addr(name, contract))
        plan.call(f"set the reverse name {name}", contract, SET_NAME(ens, name))
    for domain in (*DOMAINS, ""):
        registrar = plan.create("FIFSRegistrar", "(address,bytes32)", (ens, namehash(domain)))
        plan.call(f"give {domain or 'the root'} to its registrar", ens, Ens.set_owner(domain, registrar))
