"""What holds for every room: how properties are tried, the order of the rooms, and a real chain to use."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
from hypothesis import HealthCheck, settings
from tests.ports import free_port

from adyton.chain.anvil import AnvilProcess, set_balance
from adyton.chain.artifacts import ArtifactError, Artifacts, find_node_modules
from adyton.chain.contracts import Hub
from adyton.chain.deploy import Deployment, deploy
from adyton.chain.rpc import Rpc
from adyton.chain.tx import TxSender
from adyton.chain.wallet import Wallet

ETHER = 10**18

# The same examples in every run, and no limits in seconds: whether a change is good must not depend on luck or on what
# else the machine does. ``pytest --hypothesis-profile explore`` looks further, with other examples each time.
settings.register_profile("explore", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.register_profile("repeatable", settings.get_profile("explore"), derandomize=True)
settings.load_profile("repeatable")

# Rooms with files that take long come first, so that parallel processes end at about the same time; a room stays
# together, because its files share what is slow to start.
_FIRST = ("network", "official", "platform", "cli", "cas", "sms", "runtime", "workerpool", "compute")


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Order the rooms."""
    rooms = {name: rank for rank, name in enumerate(_FIRST)}
    tests = Path(__file__).parent
    items.sort(key=lambda item: rooms.get(item.path.relative_to(tests).parts[0], len(rooms)))


@dataclass(frozen=True)
class Chain:
    """A twin of Bellecour with instant blocks, shared by the session: use fresh wallets and assets."""

    rpc: Rpc
    url: str
    deployment: Deployment
    admin: Wallet

    @property
    def hub(self) -> Hub:
        return Hub(self.rpc, self.deployment.hub)

    def funded_wallet(self, ether: int = 1_000) -> Wallet:
        """A fresh wallet with money on the chain (1 ether = 1 RLC), none of it in the hub."""
        wallet = Wallet.create()
        set_balance(self.rpc, wallet.address, ether * ETHER)
        return wallet

    def sender(self, wallet: Wallet) -> TxSender:
        """Transactions of a wallet on this chain."""
        return TxSender(self.rpc, wallet, self.deployment.chain_id)


@pytest.fixture(scope="session")
def artifacts() -> Artifacts:
    """The published contracts; skips where they are not installed."""
    try:
        return Artifacts(find_node_modules())
    except ArtifactError as error:
        pytest.skip(f"{error}; {error.hint}")


@pytest.fixture(scope="session")
def chain(artifacts: Artifacts) -> Iterator[Chain]:
    """A deployed twin that ends with the session."""
    with AnvilProcess(artifacts.node_modules, port=free_port()) as node:
        admin = Wallet.create()
        yield Chain(node.rpc, node.url, deploy(node.rpc, artifacts, admin=admin), admin)


@pytest.fixture(scope="session")
def evidence() -> Path:
    """The folder of quotes and collateral made by real hardware: ``shared/evidence`` beside the repository."""
    folder = Path(__file__).resolve().parents[2] / "shared" / "evidence"
    if not (folder / "sgx_quote").is_file():
        pytest.skip("no folder shared/evidence with real quotes beside the repository")
    return folder
