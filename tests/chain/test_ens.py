from __future__ import annotations

import pytest
from tests.chain.lifecycle import Market, actor
from tests.conftest import Chain

from adyton.base.errors import InputError
from adyton.base.types import ZERO_ADDRESS, Address
from adyton.chain.ens import API_URL_KEY, Ens, EnsNameError, is_name, label_hash, labels, namehash, reverse_node
from adyton.chain.naming import NameTakenError, register_name
from adyton.chain.rpc import RevertError
from adyton.chain.wallet import Wallet


@pytest.fixture(scope="module")
def market(chain: Chain) -> Market:
    return Market.open(chain)


@pytest.mark.parametrize(
    ("name", "node"),
    [
        ("", "0x" + "00" * 32),
        ("eth", "0x93cdeb708b7545dc668eb9280176169d1c33cfd8ed6f04690a0bcc88a93fc4ae"),
        ("foo.eth", "0xde9b09fd7c5f901e23a3f19fecc54828e9c848539801e86591bd9801b019f84f"),
        ("addr.reverse", "0x91d1777781884d03a6757a803996e38de2a42967fb37eeaca72729271025a9e2"),
    ],
)
def test_namehash_of_eip_137(name: str, node: str) -> None:
    assert namehash(name) == node


def test_labels() -> None:
    assert labels("prod-v8-bellecour.main.pools.iexec.eth") == ["prod-v8-bellecour", "main", "pools", "iexec", "eth"]
    assert label_hash("eth") == "0x4f5b812789fc606be1b3b16908db13fc7a9adf7ca72641f84d75b47069d3d7f0"
    assert is_name("a.eth")
    assert not is_name("0x" + "11" * 20)


@pytest.mark.parametrize(
    "name", ["a..eth", ".eth", "eth.", "Foo.eth", "f\u00f6o.eth", "a b.eth", "x" * 64, "a." * 200 + "b"]
)
def test_what_is_no_name(name: str) -> None:
    with pytest.raises(EnsNameError):
        namehash(name)


@pytest.mark.parametrize("label", ["a.b", "", "A"])
def test_what_is_no_label(label: str) -> None:
    with pytest.raises(EnsNameError):
        label_hash(label)


def test_pool_name_with_its_service_address(market: Market) -> None:
    chain, name = market.chain, "test-pool.main.pools.iexec.eth"
    ens = Ens(chain.rpc, chain.deployment.ens_registry)
    assert (ens.resolve(name), ens.text(name, API_URL_KEY), ens.owner(name)) == (None, None, ZERO_ADDRESS)
    url = "http://127.0.0.1:13000"

    def register(url: str) -> None:
        texts = {API_URL_KEY: url}
        register_name(chain.rpc, chain.deployment, market.pool_owner.sender, name=name, target=market.pool, texts=texts)

    register(url)
    assert (ens.resolve(name), ens.lookup(market.pool)) == (market.pool, name)
    assert ens.text(name, API_URL_KEY) == url
    assert ens.text(name, "other") is None
    assert ens.owner(name) == market.pool_owner.address
    assert ens.resolver(name) == chain.deployment.ens_resolver
    sent = nonce(chain, market.pool_owner.address)
    register(url)
    assert nonce(chain, market.pool_owner.address) == sent
    register("http://127.0.0.1:14000")
    assert nonce(chain, market.pool_owner.address) == sent + 1
    assert ens.text(name, API_URL_KEY) == "http://127.0.0.1:14000"


def nonce(chain: Chain, account: Address) -> int:
    return int(chain.rpc.call("eth_getTransactionCount", account, "latest"), 16)


def test_name_of_an_account(chain: Chain) -> None:
    ens, user = Ens(chain.rpc, chain.deployment.ens_registry), actor(chain)
    register_name(chain.rpc, chain.deployment, user.sender, name="me-test.users.iexec.eth", target=user.address)
    assert ens.lookup(user.address) == "me-test.users.iexec.eth"


def test_reverse_name_that_does_not_resolve_back_is_not_believed(chain: Chain) -> None:
    ens, user = Ens(chain.rpc, chain.deployment.ens_registry), actor(chain)
    for lie in ("core.v5.iexec.eth", "No Name", "nothing.users.iexec.eth"):
        user.sender.send(ens.reverse_registrar(), ens.set_name(lie))
        assert ens.lookup(user.address) is None


def test_name_of_somebody_else(market: Market, chain: Chain) -> None:
    name = "taken.pools.iexec.eth"
    sender = market.pool_owner.sender
    register_name(chain.rpc, chain.deployment, sender, name=name, target=market.pool)
    thief = actor(chain)
    with pytest.raises(NameTakenError, match=name):
        register_name(chain.rpc, chain.deployment, thief.sender, name=name, target=thief.address)
    with pytest.raises(InputError, match="registrar"):
        register_name(chain.rpc, chain.deployment, sender, name="a.nowhere.eth", target=market.pool)
    with pytest.raises(RevertError):
        register_name(chain.rpc, chain.deployment, thief.sender, name="thief.pools.iexec.eth", target=market.pool)


def test_resolver_that_is_no_resolver(chain: Chain) -> None:
    ens, user = Ens(chain.rpc, chain.deployment.ens_registry), actor(chain)
    name = "odd.users.iexec.eth"
    register_name(chain.rpc, chain.deployment, user.sender, name=name, target=user.address)
    for resolver in (ens.registry, Wallet.create().address):
        user.sender.send(ens.registry, ens.set_resolver(name, resolver))
        assert (ens.resolve(name), ens.text(name, "x")) == (None, None)
    assert reverse_node(user.address) == namehash(f"{user.address[2:].lower()}.addr.reverse")
