"""What a local network is: its ports, its settings, and the file that tells clients where everything is."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, ClassVar

from pydantic import Field

from adyton.base.errors import InputError, NotFoundError
from adyton.base.files import write_atomic
from adyton.base.settings import Settings
from adyton.devnet.paths import NetworkPaths

HOST = "127.0.0.1"
PRODUCTION_POOL = "prod-v8-bellecour.main.pools.iexec.eth"
DEBUG_POOL = "debug-v8-learn.main.pools.iexec.eth"
DEBUG_POOL_ALIAS = "debug-v8-bellecour.main.pools.iexec.eth"


class Ports(Settings):
    """TCP ports of the network's services, all on the loopback address."""

    env_prefix: ClassVar[str] = "ADYTON_PORT_"

    chain: int = Field(8545, ge=1, le=65535)
    market: int = Field(3000, ge=1, le=65535)
    results: int = Field(13200, ge=1, le=65535)
    sms: int = Field(13300, ge=1, le=65535)
    sms_debug: int = Field(13301, ge=1, le=65535)
    sms_tls: int = Field(13302, ge=1, le=65535)
    sms_debug_tls: int = Field(13303, ge=1, le=65535)
    scheduler: int = Field(13000, ge=1, le=65535)
    scheduler_debug: int = Field(13001, ge=1, le=65535)
    worker: int = Field(13100, ge=1, le=65535)
    worker_debug: int = Field(13101, ge=1, le=65535)
    cas: int = Field(8081, ge=1, le=65535)
    cas_enclave: int = Field(18765, ge=1, le=65535)
    pccs: int = Field(8042, ge=1, le=65535)

    @classmethod
    def choose(cls, overrides: dict[str, int]) -> Ports:
        """Defaults, environment (``ADYTON_PORT_SMS=…``) and explicit choices, checked for doubles.

        Raises:
            InputError: unknown service, port out of range, or one port given to two services.
        """
        ports = cls.load(None, None, **overrides)
        seen: dict[int, str] = {}
        for service, port in ports.model_dump().items():
            if port in seen:
                raise InputError(
                    f"port {port} is given to both {seen[port]} and {service}",
                    code="devnet.port.double",
                    hint=f"choose another one with --port {service}=NUMBER",
                )
            seen[port] = service
        return ports

    def url(self, service: str) -> str:
        """The base URL of a service's HTTP interface."""
        return f"http://{HOST}:{getattr(self, service)}"

    def tls_url(self, service: str) -> str:
        """The base URL of a service's interface over TLS."""
        return f"https://{HOST}:{getattr(self, service)}"


@dataclass(frozen=True, slots=True)
class Pool:
    """One workerpool of the network."""

    name: str
    address: str
    owner: str
    scheduler: str
    sms: str


@dataclass(frozen=True, slots=True)
class Network:
    """Everything a client or a person needs to know about a running network; holds no secret."""

    chain_id: int
    rpc: str
    hub: str
    ens_registry: str
    ens_resolver: str
    market: str
    results: str
    sms: str
    sms_debug: str
    cas: str
    cas_enclave: str
    platform_socket: str
    tier: str
    measurements: dict[str, str] = field(default_factory=dict)
    pools: dict[str, Pool] = field(default_factory=dict)
    ready_s: float = 0.0
    sms_tls: str = ""
    sms_debug_tls: str = ""

    def save(self, paths: NetworkPaths) -> None:
        """Write the network file."""
        write_atomic(paths.network_file, json.dumps(asdict(self), indent=2).encode() + b"\n")

    @classmethod
    def read(cls, paths: NetworkPaths) -> Network:
        """Read the network file.

        Raises:
            NotFoundError: no network was ever started in this folder.
        """
        try:
            raw: dict[str, Any] = json.loads(paths.network_file.read_text(encoding="utf-8"))
        except (OSError, ValueError) as error:
            raise NotFoundError(
                f"there is no network in {paths.root}",
                code="devnet.network.none",
                hint="start one with 'adyton up', or name its folder with --state",
            ) from error
        pools = {name: Pool(**pool) for name, pool in raw.pop("pools").items()}
        return cls(**raw, pools=pools)

    def chain_json(self) -> dict[str, Any]:
        """A ``chain.json`` with which the official and our ``iexec`` use this network, not the public one."""
        common = {
            "host": self.rpc,
            "resultProxy": self.results,
            "ipfsGateway": self.results,
            "iexecGateway": self.market,
            "pocoSubgraph": self.market,
            "voucherSubgraph": self.market,
        }
        return {
            "default": "bellecour",
            "chains": {
                "bellecour": common | {"sms": {"scone": self._sms_entry("production")}},
                "bellecour-debug": {
                    "id": str(self.chain_id),
                    **common,
                    "sms": {"scone": self._sms_entry("debug")},
                },
            },
        }

    def _sms_entry(self, role: str) -> str:
        """The URL of an SMS, with the enclave that our client must find there (:mod:`adyton.sdk.smsentry`)."""
        url, tls = (self.sms, self.sms_tls) if role == "production" else (self.sms_debug, self.sms_debug_tls)
        if not tls:  # a network that an older version started
            return url
        return f"{url}#tls={tls}&mrenclave={self.measurements[f'sms-{role}']}&anchor={self.tier}"


def write_chain_json(network: Network, folder: Path) -> Path:
    """Write ``chain.json`` for this network into a client's folder."""
    file = folder / "chain.json"
    write_atomic(file, json.dumps(network.chain_json(), indent=2).encode())
    return file
