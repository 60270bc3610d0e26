from __future__ import annotations

import pytest
from tests.chain.lifecycle import GWEI, Market, actor
from tests.conftest import Chain

from adyton.base.errors import NotFoundError
from adyton.base.types import ZERO_ADDRESS, ZERO_BYTES32, Bytes32
from adyton.chain.abi import AbiError
from adyton.chain.contracts import Account, AssetKind, Hub, Registry, owner_of, read_app, read_dataset, read_workerpool
from adyton.chain.events import AssetTransfer, find
from adyton.chain.wallet import Wallet

CHECKSUM = Bytes32("0x" + "ab" * 32)


@pytest.fixture(scope="module")
def market(chain: Chain) -> Market:
    return Market.open(chain)


def test_configuration(chain: Chain) -> None:
    hub = chain.hub
    domain = hub.domain()
    assert (domain.name, domain.version, domain.chain_id) == ("iExecODB", "5.0.0", 134)
    assert domain.verifying_contract == chain.deployment.hub
    assert (hub.token(), hub.owner(), hub.tee_broker()) == (ZERO_ADDRESS, chain.admin.address, ZERO_ADDRESS)
    assert (hub.final_deadline_ratio(), hub.callback_gas()) == (10, 100_000)
    assert [(each.name, each.work_clock_time_ref) for each in hub.view_categories()] == [
        ("XS", 300),
        ("S", 1200),
        ("M", 3600),
        ("L", 10_800),
        ("XL", 36_000),
    ]
    assert hub.view_category(4).description == "{}"
    with pytest.raises(NotFoundError):
        hub.view_category(5)


def test_owner_adds_a_category(chain: Chain) -> None:
    count = chain.hub.count_category()
    chain.sender(chain.admin).send(chain.deployment.hub, Hub.create_category("test", "none", 60))
    assert chain.hub.view_category(count).work_clock_time_ref == 60


def test_what_does_not_exist(chain: Chain) -> None:
    assert chain.hub.view_deal(CHECKSUM) is None
    assert chain.hub.view_task(CHECKSUM) is None
    assert chain.hub.view_deals([]) == []
    assert chain.hub.view_consumed(CHECKSUM) == 0
    assert chain.hub.view_score(chain.admin.address) == 0


def test_money_in_the_hub(chain: Chain) -> None:
    one, other = actor(chain, 100), Wallet.create()
    hub = chain.hub
    one.sender.send(hub.address, hub.transfer(other.address, 30))
    one.sender.send(hub.address, hub.withdraw(20))
    one.sender.send(hub.address, hub.deposit_for(other.address), 5 * GWEI)
    assert hub.view_accounts([one.address, other.address]) == [Account(50, 0), Account(35, 0)]


def test_app_can_be_read_as_it_was_written(market: Market) -> None:
    registry, developer = market.registries.app, market.developer
    arguments = (developer.address, "n\u00e4me", "DOCKER", b"\x01image", CHECKSUM, b'{"framework":"SCONE"}')
    predicted = registry.predict_app(*arguments)
    assert not registry.is_registered(predicted)
    receipt = market.requester.sender.send(registry.address, registry.create_app(*arguments))
    (created,) = find(receipt.logs, AssetTransfer, registry.address)
    assert (created.sender, created.asset) == (ZERO_ADDRESS, predicted)
    assert registry.is_registered(predicted)
    info = read_app(market.chain.rpc, predicted)
    assert (info.owner, info.name, info.type, info.multiaddr, info.checksum, info.mrenclave) == arguments
    assert info.registry == registry.address


def test_dataset_and_workerpool(market: Market) -> None:
    rpc, registries = market.chain.rpc, market.registries
    dataset = read_dataset(rpc, market.dataset)
    assert (dataset.owner, dataset.name, dataset.multiaddr) == (market.owner.address, "d", b"x")
    assert registries.dataset.predict_dataset(dataset.owner, "d", b"x", ZERO_BYTES32) == market.dataset
    pool = read_workerpool(rpc, market.pool)
    assert (pool.owner, pool.description, pool.stake_ratio, pool.reward_ratio) == (
        market.pool_owner.address,
        "p",
        30,
        1,
    )
    assert registries.workerpool.predict_workerpool(pool.owner, "p") == market.pool
    market.pool_owner.sender.send(market.pool, Registry.change_policy(35, 5))
    changed = read_workerpool(rpc, market.pool)
    assert (changed.stake_ratio, changed.reward_ratio) == (35, 5)


def test_owners_list_and_transfer(market: Market) -> None:
    registry, recipient = market.registries.of(AssetKind.DATASET), Wallet.create().address
    assert registry.balance_of(market.owner.address) == 1
    assert registry.token_of_owner(market.owner.address, 0) == market.dataset
    with pytest.raises(NotFoundError):
        registry.token_of_owner(market.owner.address, 1)
    call = registry.transfer_asset(market.owner.address, recipient, market.dataset)
    market.owner.sender.send(registry.address, call)
    assert owner_of(market.chain.rpc, market.dataset) == recipient


@pytest.mark.parametrize("read", [read_app, read_dataset, read_workerpool, owner_of])
def test_address_without_the_contract(chain: Chain, read: object) -> None:
    assert callable(read)
    for address in (Wallet.create().address, chain.deployment.ens_registry):
        with pytest.raises(NotFoundError, match=address):
            read(chain.rpc, address)


def test_native_hub_is_no_app_though_it_answers_everything(chain: Chain) -> None:
    with pytest.raises(NotFoundError):
        read_app(chain.rpc, chain.deployment.hub)


def test_hub_at_a_wrong_address(chain: Chain) -> None:
    with pytest.raises(AbiError):
        Hub(chain.rpc, Wallet.create().address).domain()
