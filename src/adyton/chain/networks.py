"""The networks that official clients know, with every address and service URL that is built into them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Final

from adyton.base.types import Address


@dataclass(frozen=True, slots=True)
class Network:
    """One network; None where it has no such thing.

    Attributes:
        name: its name in ``chain.json``.
        chain_id: EIP-155 id.
        host: URL of a node.
        hub: the PoCo proxy.
        ens_registry: ENS registry.
        ens_resolver: ENS public resolver.
        sms: secret management services by framework, ``scone``, ``gramine``, ``tdx``.
        result_proxy: where results are uploaded.
        ipfs_gateway: where results are downloaded.
        ipfs_node: where datasets are uploaded.
        market: the order book (``iexecGateway``).
        compass: registry of workerpool services, where ENS is not used.
        poco_subgraph: index of the chain.
        voucher_hub: vouchers.
        voucher_subgraph: index of vouchers.
        bridge: bridge contract, and ``bridged_chain_id`` the chain at its other end.
        native: RLC is the chain's currency.
        use_gas: transactions cost gas.
        features: what official clients do on this network, see :data:`FEATURES`.
    """

    name: str
    chain_id: int
    host: str
    hub: Address
    ens_registry: Address | None = None
    ens_resolver: Address | None = None
    sms: Mapping[str, str] = field(default_factory=dict)
    result_proxy: str | None = None
    ipfs_gateway: str | None = None
    ipfs_node: str | None = None
    market: str | None = None
    compass: str | None = None
    poco_subgraph: str | None = None
    voucher_hub: Address | None = None
    voucher_subgraph: str | None = None
    bridge: Address | None = None
    bridged_chain_id: int | None = None
    native: bool = False
    use_gas: bool = True
    features: frozenset[str] = frozenset()


ENS: Final = "ENS"
POOL_API: Final = "Workerpool API Registration"
VOUCHER: Final = "iExec Voucher"
COMPASS: Final = "iExec Compass"
BRIDGE: Final = "iExec xRLC Bridge"
BULK: Final = "Bulk processing"
FEATURES: Final = frozenset({ENS, POOL_API, VOUCHER, COMPASS, BRIDGE, BULK})  # an unknown chain id has all of them

BELLECOUR_REGISTRIES: Final[Mapping[str, Address]] = MappingProxyType(
    {
        "app": Address("0xB1C52075b276f87b1834919167312221d50c9D16"),
        "dataset": Address("0x799DAa22654128d0C64d5b79eac9283008158730"),
        "workerpool": Address("0xC76A18c78B7e530A165c5683CB1aB134E21938B4"),
    }
)

_BELLECOUR = Network(
    name="bellecour",
    chain_id=134,
    host="https://bellecour.iex.ec",
    hub=Address("0x3eca1B216A7DF1C7689aEb259fFB83ADFB894E7f"),
    ens_registry=Address("0x5f5B93fca68c9C79318d1F3868A354EE67D8c006"),
    ens_resolver=Address("0x1347d8a1840A810B990d0B774A6b7Bb8A1bd62BB"),
    sms={"scone": "https://sms.iex.ec", "gramine": "https://sms.gramine.v8-bellecour.iex.ec"},
    result_proxy="https://result.v8-bellecour.iex.ec",
    ipfs_gateway="https://ipfs-gateway.v8-bellecour.iex.ec",
    ipfs_node="https://ipfs-upload.v8-bellecour.iex.ec",
    market="https://api.market.v8-bellecour.iex.ec",
    poco_subgraph="https://thegraph.iex.ec/subgraphs/name/bellecour/poco-v5",
    voucher_hub=Address("0x3137B6DF4f36D338b82260eDBB2E7bab034AFEda"),
    voucher_subgraph="https://thegraph.iex.ec/subgraphs/name/bellecour/iexec-voucher",
    bridge=Address("0x188A4376a1D818bF2434972Eb34eFd57102a19b7"),
    bridged_chain_id=1,
    native=True,
    use_gas=False,
    features=FEATURES - {COMPASS, BULK},
)
_MAINNET = Network(
    name="mainnet",
    chain_id=1,
    host="mainnet",
    hub=_BELLECOUR.hub,
    ens_registry=Address("0x00000000000C2E074eC69A0dFb2997BA6C7d2e1e"),
    ens_resolver=Address("0x4976fb03C32e5B8cfe2b6cCB31c09Ba78EBaBa41"),
    bridge=Address("0x4e55c9B8953AB1957ad0A59D413631A66798c6a2"),
    bridged_chain_id=134,
    features=FEATURES - {COMPASS, VOUCHER, BULK},
)
_ARBITRUM_SEPOLIA = Network(
    name="arbitrum-sepolia-testnet",
    chain_id=421614,
    host="https://sepolia-rollup.arbitrum.io/rpc",
    hub=Address("0xB2157BF2fAb286b2A4170E3491Ac39770111Da3E"),
    sms={
        "scone": "https://sms.arbitrum-sepolia-testnet.iex.ec",
        "tdx": "https://sms.arbitrum-sepolia-testnet.iex.ec",
    },
    ipfs_gateway="https://ipfs-gateway.arbitrum-sepolia-testnet.iex.ec",
    ipfs_node="https://ipfs-upload.arbitrum-sepolia-testnet.iex.ec",
    market="https://api-market.arbitrum-sepolia-testnet.iex.ec",
    compass="https://compass.arbitrum-sepolia-testnet.iex.ec",
    poco_subgraph=(
        "https://thegraph.arbitrum-sepolia-testnet.iex.ec/api/subgraphs/id/2GCj8gzLCihsiEDq8cYvC5nUgK6VfwZ6hm3Wj8A3kcxz"
    ),
    features=frozenset({COMPASS, BULK}),
)
_ARBITRUM = Network(
    name="arbitrum-mainnet",
    chain_id=42161,
    host="https://arb1.arbitrum.io/rpc",
    hub=Address("0x098bFCb1E50ebcA0BaA92C12eA0c3F045A1aD9f0"),
    sms={"scone": "https://sms.arbitrum-mainnet.iex.ec", "tdx": "https://sms.arbitrum-mainnet.iex.ec"},
    ipfs_gateway="https://ipfs-gateway.arbitrum-mainnet.iex.ec",
    ipfs_node="https://ipfs-upload.arbitrum-mainnet.iex.ec",
    market="https://api.market.arbitrum-mainnet.iex.ec",
    compass="https://compass.arbitrum-mainnet.iex.ec",
    poco_subgraph=("https://thegraph.arbitrum.iex.ec/api/subgraphs/id/B1comLe9SANBLrjdnoNTJSubbeC7cY7EoNu6zD82HeKy"),
    features=frozenset({COMPASS, BULK}),
)

BUILTIN: Final[Mapping[str, Network]] = MappingProxyType(
    {network.name: network for network in (_BELLECOUR, _MAINNET, _ARBITRUM_SEPOLIA, _ARBITRUM)}
)


def builtin_of(chain_id: int) -> Network | None:
    """The built-in network with a chain id, or None."""
    return next((network for network in BUILTIN.values() if network.chain_id == chain_id), None)
