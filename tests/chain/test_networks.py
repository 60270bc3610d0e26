from __future__ import annotations

import pytest

from adyton.base.types import parse_address
from adyton.chain.networks import BELLECOUR_REGISTRIES, BUILTIN, FEATURES, Network, builtin_of


def test_names_and_ids() -> None:
    assert {name: network.chain_id for name, network in BUILTIN.items()} == {
        "bellecour": 134,
        "mainnet": 1,
        "arbitrum-sepolia-testnet": 421_614,
        "arbitrum-mainnet": 42_161,
    }
    assert builtin_of(134) is BUILTIN["bellecour"]
    assert builtin_of(5) is None


@pytest.mark.parametrize("network", BUILTIN.values(), ids=BUILTIN)
def test_every_address_has_its_checksum(network: Network) -> None:
    places = (network.hub, network.ens_registry, network.ens_resolver, network.voucher_hub, network.bridge)
    assert all(place is None or parse_address(place) == place for place in places)
    assert network.features < FEATURES
    assert network.native == (network.chain_id == 134)


def test_registry_addresses_have_their_checksums() -> None:
    assert all(parse_address(place) == place for place in BELLECOUR_REGISTRIES.values())
