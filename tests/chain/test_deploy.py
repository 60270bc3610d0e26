from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
from tests.conftest import Chain
from tests.ports import free_port

from adyton.base.errors import InputError
from adyton.base.types import ZERO_ADDRESS, parse_address
from adyton.chain.anvil import AnvilProcess, is_instant_mining, set_instant_mining, set_interval_mining
from adyton.chain.artifacts import Artifacts
from adyton.chain.contracts import Hub
from adyton.chain.deploy import Deployment, DeploymentError, deploy, read_deployment, verify_deployment
from adyton.chain.ens import Ens
from adyton.chain.events import TOPICS
from adyton.chain.networks import BELLECOUR_REGISTRIES, BUILTIN
from adyton.chain.recipe import DOMAINS, create_address
from adyton.chain.tx import TxSender
from adyton.chain.wallet import Wallet


def test_twin_has_every_official_address(chain: Chain) -> None:
    found, official = chain.deployment, BUILTIN["bellecour"]
    assert (found.hub, found.ens_registry, found.ens_resolver) == (
        official.hub,
        official.ens_registry,
        official.ens_resolver,
    )
    registries = (found.app_registry, found.dataset_registry, found.workerpool_registry)
    assert registries == tuple(BELLECOUR_REGISTRIES.values())
    assert found.native
    assert found.chain_id == official.chain_id
    verify_deployment(chain.rpc, found)


def test_nothing_is_left_where_the_moved_contracts_were_built(chain: Chain) -> None:
    for nonce in range(1, 7):
        assert chain.rpc.code(create_address(chain.admin.address, nonce)) == b""


def test_system_names_and_domains(chain: Chain) -> None:
    ens, found = Ens(chain.rpc, chain.deployment.ens_registry), chain.deployment
    names = {
        "core": found.hub,
        "apps": found.app_registry,
        "datasets": found.dataset_registry,
        "workerpools": found.workerpool_registry,
    }
    for label, address in names.items():
        assert ens.resolve(f"{label}.v5.iexec.eth") == address
        assert ens.lookup(address) == f"{label}.v5.iexec.eth"
    for domain in (*DOMAINS, ""):
        assert chain.rpc.code(ens.owner(domain)), domain
    assert chain.rpc.code(ens.reverse_registrar())


def test_json_round_trip(chain: Chain) -> None:
    document = chain.deployment.to_json()
    assert Deployment.from_json(document) == chain.deployment
    for wrong in ({}, {**document, "extra": 1}, {**document, "hub": "x"}, {**document, "chain_id": "134"}):
        with pytest.raises(InputError):
            Deployment.from_json(wrong)


def test_second_deployment_is_refused(chain: Chain, artifacts: Artifacts) -> None:
    with pytest.raises(DeploymentError, match="already"):
        deploy(chain.rpc, artifacts, admin=chain.admin)


def test_impossible_requests_are_refused(chain: Chain, artifacts: Artifacts) -> None:
    with pytest.raises(DeploymentError, match="is 134, not 1"):
        deploy(chain.rpc, artifacts, chain_id=1, admin=chain.admin)
    with pytest.raises(DeploymentError, match="native"):
        deploy(chain.rpc, artifacts, native=False, admin=chain.admin)


def test_verification_names_what_is_wrong(chain: Chain) -> None:
    good, nobody = chain.deployment, Wallet.create().address
    with pytest.raises(DeploymentError, match="app_registry"):
        verify_deployment(chain.rpc, replace(good, app_registry=nobody))
    with pytest.raises(DeploymentError, match="another deployment"):
        verify_deployment(chain.rpc, replace(good, app_registry=good.dataset_registry))
    with pytest.raises(DeploymentError, match="another deployment"):
        verify_deployment(chain.rpc, replace(good, admin=nobody))
    with pytest.raises(DeploymentError, match="not 5"):
        verify_deployment(chain.rpc, replace(good, chain_id=5))
    assert read_deployment(chain.rpc, hub=nobody) is None
    assert read_deployment(chain.rpc, hub=good.ens_resolver) is None


def test_token_flavour_survives_a_restart(artifacts: Artifacts, tmp_path: Path) -> None:
    admin, state = Wallet.create(), tmp_path / "state.json"
    with AnvilProcess(artifacts.node_modules, port=free_port(), chain_id=65_535, state_file=state) as node:
        assert read_deployment(node.rpc) is None
        made = deploy(node.rpc, artifacts, chain_id=65_535, native=False, admin=admin)
        assert not made.native
        sender = TxSender(node.rpc, admin, 65_535)
        sender.send(made.token, Hub.approve_and_call(made.hub, 1_000))
        hub = Hub(node.rpc, made.hub)
        assert hub.view_account(admin.address).stake == 1_000
        assert (hub.token(), hub.domain().chain_id) == (made.token, 65_535)
        set_interval_mining(node.rpc, 1)
        assert not is_instant_mining(node.rpc)
        set_instant_mining(node.rpc)
        assert is_instant_mining(node.rpc)
        pid = node.pid
    assert not Path(f"/proc/{pid}").exists()
    with AnvilProcess(artifacts.node_modules, port=free_port(), chain_id=65_535, state_file=state) as node:
        verify_deployment(node.rpc, made)
        assert read_deployment(node.rpc, hub=made.hub, ens_registry=made.ens_registry) == made
        assert Hub(node.rpc, made.hub).view_account(admin.address).stake == 1_000
        assert len(node.rpc.logs(made.hub, [TOPICS["CreateCategory"]], 0, "latest")) == 5
        assert TxSender(node.rpc, admin, 65_535).send(made.hub, Hub.withdraw(1_000)).status == 1


def test_twin_after_a_power_failure(artifacts: Artifacts, tmp_path: Path) -> None:
    """What a state dump holds is enough; a node killed before its first dump starts empty, and is recognised so."""
    with AnvilProcess(artifacts.node_modules, port=free_port(), state_file=tmp_path / "state.json") as node:
        node.kill()
        assert read_deployment_after(artifacts, tmp_path) is None


def read_deployment_after(artifacts: Artifacts, folder: Path) -> Deployment | None:
    with AnvilProcess(artifacts.node_modules, port=free_port(), state_file=folder / "state.json") as node:
        return read_deployment(node.rpc)


def test_address_of_a_created_contract() -> None:
    sender = parse_address("0x6ac7ea33f8831ea9dcc53393aaa88b25a785dbf0")
    assert create_address(sender, 0) == parse_address("0xcd234a471b72ba2f1ccf0a70fcaba648a5eecd8d")
    assert create_address(ZERO_ADDRESS, 0) != create_address(ZERO_ADDRESS, 1)
