"""``chain.json``: which chain a command talks to, and where its services are (reference sections 0.5, 2.2, 2.3).

Every key that the file leaves out falls back to the built-in value of the chain's *configured* id; the ``sms`` object
replaces the built-in map as a whole.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Final

from adyton.base.types import Address, parse_address
from adyton.chain.networks import BUILTIN, Network
from adyton.sdk import schema
from adyton.sdk.errors import ClientError, ConfigurationError
from adyton.sdk.files import CHAINS_FILE, Project, read_json
from adyton.sdk.smsentry import SmsEntry, parse_entry

FRAMEWORKS: Final = ("scone", "gramine", "tdx")
DEFAULT_FRAMEWORK: Final = "scone"

ENS: Final = "ENS"
API_REGISTRATION: Final = "Workerpool API Registration"
COMPASS: Final = "iExec Compass"

# What a network of the built-in list does not offer; ids outside the list have everything.
_LACKING: Final[Mapping[str, frozenset[int]]] = {
    ENS: frozenset({421614, 42161}),
    API_REGISTRATION: frozenset({421614, 42161}),
    COMPASS: frozenset({134, 1}),
}

_URL_KEYS: Final = (
    "resultProxy",
    "ipfsGateway",
    "iexecGateway",
    "compass",
    "pocoSubgraph",
    "voucherSubgraph",
)
_CHAIN_SCHEMA: Final = schema.Object(
    {
        "id": schema.ChainId(),
        "host": schema.Text(),
        "hub": schema.Address(),
        "ensRegistry": schema.Address(),
        "ensPublicResolver": schema.Address(),
        "voucherHub": schema.Address(),
        "sms": schema.TextOr(schema.Url(), schema.Object(dict.fromkeys(FRAMEWORKS, schema.Url()), nested=True)),
        **dict.fromkeys(_URL_KEYS, schema.Url()),
        "native": schema.Boolean(),
        "useGas": schema.Boolean(),
        "defaultTeeFramework": schema.Framework(FRAMEWORKS),
        "bridge": schema.Object({"bridgedChainName": schema.Text(), "contract": schema.Address()}, nested=True),
    }
)
_FILE_SCHEMA: Final = schema.Object(
    {
        "default": schema.Text(),
        "allowExperimentalNetworks": schema.Boolean(),
        "chains": schema.Map(_CHAIN_SCHEMA),
        "providers": schema.Object(
            {
                "alchemy": schema.Text(),
                "etherscan": schema.Text(),
                "infura": schema.TextOr(
                    schema.Text(),
                    schema.Object({"projectId": schema.Text(), "projectSecret": schema.Text()}, nested=True),
                ),
                "quorum": schema.Integer(1, 3),
            },
            nested=True,
        ),
    },
    required=("chains",),
)


@dataclass(frozen=True, slots=True)
class ChainConfig:
    """One chain as commands see it. Getters of services fail with the missing key's name.

    Attributes:
        name: its key in ``chain.json``.
        chain_id: the configured id; never asked of the node.
        host: URL of the node.
        host_is_builtin: whether the file left the host to the built-in network.
        hub: address of the PoCo contract.
        native: whether the chain's own currency is the RLC.
        free_gas: transactions are sent with gas price 0 unless the user says otherwise.
        ens_registry: None where ENS is not offered.
        ens_resolver: the public resolver that new names get.
        urls: services by their key in ``chain.json``.
        sms: SMS by framework, as :mod:`adyton.sdk.smsentry` reads them.
        default_framework: which SMS to use where nothing else decides.
    """

    name: str
    chain_id: int
    host: str
    host_is_builtin: bool
    hub: Address
    native: bool
    free_gas: bool
    ens_registry: Address | None
    ens_resolver: Address | None
    urls: Mapping[str, str] = field(default_factory=dict)
    sms: Mapping[str, str] = field(default_factory=dict)
    default_framework: str = DEFAULT_FRAMEWORK

    def url(self, key: str) -> str:
        """A service's URL, as configured.

        Raises:
            ClientError: not configured.
        """
        if key not in self.urls:
            raise self.missing(key)
        return self.urls[key]

    def sms_url(self, framework: str | None = None) -> str:
        """The URL of the SMS of a framework (lower case), or of the chain's default one.

        Raises:
            ClientError: not configured.
        """
        return self.sms_entry(framework).url

    def sms_entry(self, framework: str | None = None) -> SmsEntry:
        """The same, with which enclave it must be where the chain says so.

        Raises:
            ClientError: not configured, or what it says cannot be understood.
        """
        chosen = framework or self.default_framework
        if not self.sms:
            raise self.missing("sms")
        if chosen not in self.sms:
            raise self.missing(f"sms for tee framework {chosen}")
        return parse_entry(self.sms[chosen])

    def has_feature(self, label: str) -> bool:
        """Whether the network offers a feature, by its official label."""
        return self.chain_id not in _LACKING[label]

    def require_feature(self, label: str) -> None:
        """Refuse what the network does not offer.

        Raises:
            ConfigurationError: the network is known to lack it.
        """
        if not self.has_feature(label):
            known = next(name for name, network in BUILTIN.items() if network.chain_id == self.chain_id)
            raise ConfigurationError(f"{label} is not available on network {known}", code="sdk.configuration.feature")

    def missing(self, key: str) -> ClientError:
        """The error for a key that is neither in the file nor built in."""
        return ClientError(
            f'Missing {key} in "{CHAINS_FILE}" for chain {self.chain_id}',
            code="sdk.configuration.missing",
            hint=f'add it to "{CHAINS_FILE}"',
        )


def load_file(project: Project) -> dict[str, Any]:
    """The checked content of ``chain.json``.

    Raises:
        ClientError: missing, not JSON, or against the schema.
    """
    try:
        document = read_json(project.path(CHAINS_FILE))
    except FileNotFoundError:
        message = f'Missing "{CHAINS_FILE}" file, did you forget to run "iexec init"?'
        raise ClientError(message, code="sdk.files.missing") from None
    try:
        _FILE_SCHEMA.check(document, "")
    except schema.SchemaError as error:
        raise ClientError(f"ValidationError: {error} in {CHAINS_FILE}", code=error.code) from error
    return dict(document)


def load(project: Project, choice: str | None = None) -> ChainConfig:
    """The chain to use.

    Args:
        project: where ``chain.json`` is.
        choice: a key of the file, or a built-in name or id whose name is a key of the file; None for the default.

    Raises:
        ClientError: no such chain, the file is missing or wrong, or the chain has no id, host or hub.
    """
    document = load_file(project)
    chosen = choice or document.get("default")
    if not chosen:
        raise ClientError(f'Missing chain parameter. Check your "{CHAINS_FILE}" file', code="sdk.configuration.chain")
    name = _key_of(chosen, document["chains"])
    if name is None:
        raise ClientError(f'Missing "{chosen}" chain in "{CHAINS_FILE}"', code="sdk.configuration.chain")
    return _effective(name, document["chains"][name])


def default_framework_of(project: Project) -> str:
    """The framework of templates: that of the default chain when ``chain.json`` says so, else SCONE."""
    try:
        document = load_file(project)
    except ClientError:
        return DEFAULT_FRAMEWORK
    chain = document["chains"].get(document.get("default"), {})
    return str(chain.get("defaultTeeFramework", DEFAULT_FRAMEWORK))


def _key_of(choice: str, chains: Mapping[str, Any]) -> str | None:
    if choice in chains:
        return choice
    alias = next((name for name, network in BUILTIN.items() if choice in (name, str(network.chain_id))), None)
    return alias if alias in chains else None


def _effective(name: str, given: Mapping[str, Any]) -> ChainConfig:
    builtin = _builtin(name, given.get("id"))
    chain_text = given.get("id") or (str(builtin.chain_id) if builtin else None)
    host = given.get("host") or (builtin.host if builtin else None)
    if not host:
        shown = chain_text or "undefined"
        raise ClientError(
            f'Missing RPC host, no "host" key in "{CHAINS_FILE}" and no default value for chain {shown}',
            code="sdk.configuration.host",
        )
    if not host.startswith(("http://", "https://")):
        raise ClientError("Invalid provider host name or url", code="sdk.configuration.host")
    if chain_text is None:
        raise ClientError(f'Missing id of chain "{name}" in "{CHAINS_FILE}"', code="sdk.configuration.id")
    chain_id = int(chain_text)
    hub = _address(given.get("hub")) or (builtin.hub if builtin else None)
    if hub is None:
        raise ClientError("missing hubAddress key", code="sdk.configuration.hub", hint='add "hub" to the chain')
    native = bool(given.get("native", builtin.native if builtin else False))
    return ChainConfig(
        name=name,
        chain_id=chain_id,
        host=host,
        host_is_builtin=builtin is not None and host == builtin.host,
        hub=hub,
        native=native,
        free_gas=not given.get("useGas", True) or chain_id == 134,
        ens_registry=builtin.ens_registry if builtin else _address(given.get("ensRegistry")),
        ens_resolver=_address(given.get("ensPublicResolver")) or (builtin.ens_resolver if builtin else None),
        urls=_builtin_urls(builtin) | {key: given[key] for key in _URL_KEYS if key in given},
        sms=_sms(given.get("sms"), builtin),
        default_framework=given.get("defaultTeeFramework", DEFAULT_FRAMEWORK),
    )


def _builtin(name: str, chain_id: str | None) -> Network | None:
    if chain_id is None:
        return BUILTIN.get(name)
    return next((network for network in BUILTIN.values() if str(network.chain_id) == chain_id), None)


def _builtin_urls(builtin: Network | None) -> dict[str, str]:
    if builtin is None:
        return {}
    known = {
        "resultProxy": builtin.result_proxy,
        "ipfsGateway": builtin.ipfs_gateway,
        "iexecGateway": builtin.market,
        "compass": builtin.compass,
    }
    return {key: url for key, url in known.items() if url}


def _sms(given: str | Mapping[str, str] | None, builtin: Network | None) -> dict[str, str]:
    named = dict.fromkeys(FRAMEWORKS, given) if isinstance(given, str) else given
    if named is not None:
        for text in named.values():
            parse_entry(text)
        return dict(named)
    return dict(builtin.sms) if builtin else {}


def _address(text: str | None) -> Address | None:
    return parse_address(text) if text else None
