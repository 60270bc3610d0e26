"""What must be on the chain before the services start: contracts, the faucet's money, the pools and their names."""

from __future__ import annotations

from dataclasses import dataclass

from adyton.base.types import Address, parse_address
from adyton.chain import anvil
from adyton.chain.artifacts import Artifacts, find_node_modules
from adyton.chain.contracts import Hub
from adyton.chain.deploy import Deployment, deploy, read_deployment
from adyton.chain.ens import API_URL_KEY, Ens
from adyton.chain.naming import register_name
from adyton.chain.rpc import Rpc
from adyton.chain.tx import TxSender
from adyton.devnet.network import DEBUG_POOL, DEBUG_POOL_ALIAS, PRODUCTION_POOL, Ports
from adyton.devnet.operators import operator
from adyton.devnet.paths import NetworkPaths

FAUCET_WEI = 10**6 * 10**18
BLOCK_TIME_S = 1  # official clients re-use nonces when blocks come at once


@dataclass(frozen=True, slots=True)
class PoolSpec:
    """One workerpool that the network operates.

    Attributes:
        role: ``production`` or ``debug``; names its wallets and services.
        names: ENS names that resolve to it; the first one is also its reverse name.
        service: the scheduler's entry in :class:`Ports`.
    """

    role: str
    names: tuple[str, ...]
    service: str


POOLS = (
    PoolSpec("production", (PRODUCTION_POOL,), "scheduler"),
    PoolSpec("debug", (DEBUG_POOL, DEBUG_POOL_ALIAS), "scheduler_debug"),
)


def prepare_chain(paths: NetworkPaths, ports: Ports) -> tuple[Deployment, dict[str, Address]]:
    """Bring a fresh or restarted chain to the state that the services need; returns each pool's address by role.

    Everything that exists already is left as it is.
    """
    rpc = Rpc(ports.url("chain"))
    admin = operator(paths, "faucet")
    anvil.set_instant_mining(rpc)
    deployment = read_deployment(rpc)
    if deployment is None:
        anvil.set_balance(rpc, admin.address, FAUCET_WEI)
        deployment = deploy(rpc, Artifacts(find_node_modules()), admin=admin)
    pools = {spec.role: _ensure_pool(rpc, deployment, paths, ports, spec) for spec in POOLS}
    anvil.set_interval_mining(rpc, BLOCK_TIME_S)
    rpc.close()
    return deployment, pools


def _ensure_pool(rpc: Rpc, deployment: Deployment, paths: NetworkPaths, ports: Ports, spec: PoolSpec) -> Address:
    owner = operator(paths, f"pool-{spec.role}")
    registry = Hub(rpc, deployment.hub).registries().workerpool
    description = f"{spec.role} pool of this network"
    address = parse_address(registry.predict_workerpool(owner.address, description))
    sender = TxSender(rpc, owner, deployment.chain_id)
    if not registry.is_registered(address):
        sender.send(registry.address, registry.create_workerpool(owner.address, description))
    names, url = Ens(rpc, deployment.ens_registry), ports.url(spec.service)
    for name in reversed(spec.names):  # the first name comes last, so it is the one that the address is known by
        if names.resolve(name) != address or names.text(name, API_URL_KEY) != url:
            register_name(rpc, deployment, sender, name=name, target=address, texts={API_URL_KEY: url})
    return address
