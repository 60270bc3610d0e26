"""Settings of the secret management service: the official names (:mod:`adyton.sms.official`), and our own.

Inside its enclave the environment is the whole configuration: the measured manifest fixes what is security-relevant,
and names that the host may set are listed there.
"""

from __future__ import annotations

import ipaddress
import os
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, ClassVar, Final, Literal, Self
from urllib.parse import urlsplit

from pydantic import (
    BeforeValidator,
    ConfigDict,
    Field,
    PrivateAttr,
    StringConstraints,
    ValidationError,
    field_validator,
    model_validator,
)

from adyton.attestation.policy import Weakness
from adyton.base.errors import InputError
from adyton.base.secret import Secret
from adyton.base.settings import Settings
from adyton.base.types import ZERO_ADDRESS, Address, parse_address
from adyton.sms import official
from adyton.sms.official import Given
from adyton.sms.pipelines import PipelineSettings
from adyton.sms.wire import Framework, TeeProperties
from adyton.web.limits import Network

_DURATION = re.compile(r"P(?:(\d{1,5})D)?(?:T(?:(\d{1,6})H)?(?:(\d{1,6})M)?(?:(\d{1,7}(?:\.\d{1,3})?)S)?)?")
_SHORT_DURATION = re.compile(r"(\d{1,9}(?:\.\d{1,3})?)\s*(ms|s|m|h|d)?")
_SECONDS: Final = {"ms": 0.001, None: 1.0, "s": 1.0, "m": 60.0, "h": 3600.0, "d": 86400.0}
_MAX_KEY_BYTES: Final = 4096


def parse_duration(value: object) -> float:
    """Seconds from ``PT5S``, ``P5D`` (ISO 8601), ``5s``, ``100ms`` or a plain number.

    Raises:
        ValueError: another form.
    """
    if isinstance(value, int | float) and not isinstance(value, bool):
        return float(value)
    text = str(value).strip()
    iso = _DURATION.fullmatch(text.upper())
    if iso is not None and any(iso.groups()):
        return sum(float(part or 0) * seconds for part, seconds in zip(iso.groups(), (86400, 3600, 60, 1), strict=True))
    short = _SHORT_DURATION.fullmatch(text.lower())
    if short is None:
        raise ValueError("must be a duration like PT5S, 5s or 100ms")
    return float(short[1]) * _SECONDS[short[2]]


def _comma_list(value: object) -> object:
    return tuple(part.strip() for part in value.split(",") if part.strip()) if isinstance(value, str) else value


def _networks(value: object) -> object:
    given = _comma_list(value)
    return tuple(ipaddress.ip_network(each) if isinstance(each, str) else each for each in given) if given else ()  # type: ignore[attr-defined]  # pydantic reports what is no sequence


def _http_url(value: str) -> str:
    parts = urlsplit(value)
    if parts.scheme not in {"http", "https"} or not parts.hostname or parts.query or parts.fragment:
        raise ValueError("must be an http:// or https:// URL")
    return value.rstrip("/")


def _https_url(value: str) -> str:
    if not value.startswith("https://"):
        raise ValueError("must be an https:// URL")
    return _http_url(value)


def _secret(value: object) -> object:
    if isinstance(value, Secret) or value is None:
        return value
    text = str(value).strip()
    return Secret(text) if text else None


def _weakness(value: str) -> str:
    if value not in set(Weakness):
        raise ValueError(f"must be one of {', '.join(sorted(Weakness))}")
    return value


Names = Annotated[tuple[str, ...], BeforeValidator(_comma_list)]
Weaknesses = Annotated[tuple[Annotated[str, BeforeValidator(_weakness)], ...], BeforeValidator(_comma_list)]
Advisories = Annotated[
    tuple[Annotated[str, StringConstraints(pattern=r"^(?:\*|INTEL-SA-[0-9]{5})$")], ...], BeforeValidator(_comma_list)
]
Url = Annotated[str, BeforeValidator(_http_url)]
Urls = Annotated[tuple[Url, ...], BeforeValidator(_comma_list)]
HttpsUrls = Annotated[tuple[Annotated[str, BeforeValidator(_https_url)], ...], BeforeValidator(_comma_list)]
KeyHash = Annotated[str, StringConstraints(pattern=r"^[0-9a-f]{64}$")]
Hostname = Annotated[str, StringConstraints(pattern=r"^(?:[A-Za-z0-9._-]{1,253}|\[[0-9a-fA-F:.]{2,45}\])$")]
Port = Annotated[int, Field(ge=1, le=65535)]
OptionalPort = Annotated[int, Field(ge=0, le=65535)]
Anchors = Annotated[
    tuple[Annotated[str, StringConstraints(pattern=r"^(?:intel|sim:[0-9a-f]{64})$")], ...], BeforeValidator(_comma_list)
]


class SmsSettings(Settings):
    """Everything the service can be told; official names where the official service has the setting."""

    model_config = ConfigDict(frozen=True, extra="forbid", arbitrary_types_allowed=True)

    env_prefix: ClassVar[str] = "ADYTON_SMS_"
    _without_effect: Mapping[str, str] = PrivateAttr(default_factory=dict)

    framework: Framework = Framework.SCONE
    host: str = "127.0.0.1"
    port: Port = 13300
    tls_port: OptionalPort = 0
    """Port of the same routes over TLS, where the enclave proves itself; 0: none. Needs a platform that quotes."""
    pccs_url: Url | None = None
    """Certificate service: where the collateral comes from that clients judge this enclave's evidence by."""
    anchors: Anchors = ()
    """Roots under which that collateral must be: ``intel``, ``sim:FINGERPRINT``."""

    chain_id: int = Field(default=134, gt=0)
    node_url: Url = "http://127.0.0.1:8545"
    witness_node_urls: Urls = Field(default=(), max_length=4)
    """Further nodes, by other operators at best: what they do not all say alike is not believed."""
    hub: Address = Address("0x3eca1B216A7DF1C7689aEb259fFB83ADFB894E7f")
    block_time_s: Annotated[float, BeforeValidator(parse_duration), Field(ge=0.1, le=20)] = 5.0
    """Seconds between two blocks: how long nodes may take to see the same."""
    max_head_age_s: int = Field(default=300, ge=5, le=604_800)
    """Seconds the chain's newest block may lie behind the clock before answers of the node are not believed."""

    ipfs_gateway_url: Url = "https://ipfs.iex.ec"
    """Where the lists of bulk tasks are fetched; what comes is checked against its CID."""

    provisioner_web_hostname: Hostname = "127.0.0.1"
    provisioner_web_port: Port = 8081
    provisioner_enclave_hostname: Hostname = "127.0.0.1"
    provisioner_enclave_port: Port = 18765
    provisioner_post_url: Annotated[str, BeforeValidator(_https_url)] | None = None
    """TDX: where sessions are posted."""
    remote_attestation_url: str = ""
    """TDX: what workers are told, word for word."""
    identity_file: Path = Path("/run/adyton/identity.pem")
    cas_ca_file: Path = Path("/run/adyton/cas-ca.pem")

    database: str = "/data/sms.sqlite3"
    """Path of an SQLite file, or a ``postgresql://`` URL; ``jdbc:sqlite:`` and ``jdbc:postgresql:`` alike."""
    database_key_file: Path = Path("/run/adyton/database-key")
    """Hex of 32 bytes; read once and unlinked."""
    database_key_name: Annotated[str, StringConstraints(pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]{0,127}$")] = "database-key"
    """The enclave-key secret of the service's CAS session that the file comes from: what is exchanged there."""

    admin_api_key: Annotated[Secret[str] | None, BeforeValidator(_secret)] = Field(default=None, repr=False)
    admin_api_key_file: Path | None = None
    """File that holds the key of the admin operations; without a key they are disabled."""
    admins: Annotated[tuple[KeyHash, ...], BeforeValidator(_comma_list)] = Field(default=(), max_length=32)
    """Key hashes of clients of the TLS port who may do what the key of the admin operations allows: no operation shows
    a secret, so the host may say who."""
    admin_storage_location: Path = Path("/backup")
    out_of_service_enabled: bool = True
    """Answer 503 on the guarded paths while a restore runs."""

    las_image: str = ""
    tolerated_insecure_options: Weaknesses = ()
    ignored_sgx_advisories: Advisories = ()
    attestation_mode: Literal["hardware", "maa"] = "hardware"
    """How the CAS shall attest. Ours verifies DCAP evidence itself in both; ``maa`` is for one that asks Microsoft."""
    attestation_urls: HttpsUrls = Field(default=(), max_length=16)

    pipelines: tuple[PipelineSettings, ...]
    max_sessions_per_task: int = Field(default=32, ge=1, le=10_000)
    max_activations: int | None = Field(default=None, ge=1, le=1000)
    """How often the enclaves of one stage may get their part of a session. Only our CAS knows it, so it is off."""
    challenge_retention_s: int = Field(default=5 * 86_400, ge=3600, le=31_536_000)
    """Seconds a challenge is kept after its task's final deadline."""
    requests_per_s: float = Field(default=50, gt=0, le=100_000)
    """Existence checks, writes and requests about tasks that one client address may make per second."""
    contract_checks_per_s: float = Field(default=1, gt=0, le=100_000)
    """Questions to contract accounts that one client address may cause per second."""
    trusted_proxies: Annotated[tuple[Network, ...], BeforeValidator(_networks)] = Field(default=(), max_length=64)
    """Networks of reverse proxies whose ``X-Forwarded-For`` names the client."""
    metrics_refresh_s: Annotated[float, BeforeValidator(parse_duration), Field(ge=1, le=3600)] = 30.0

    @field_validator("framework", mode="before")
    @classmethod
    def _framework(cls, value: object) -> object:
        return value.upper() if isinstance(value, str) else value

    @field_validator("hub")
    @classmethod
    def _hub(cls, value: str) -> Address:
        try:
            hub = parse_address(value)
        except InputError as error:
            raise ValueError(error.message) from None
        if hub == ZERO_ADDRESS:
            raise ValueError("the hub address must not be zero")
        return hub

    @field_validator("database")
    @classmethod
    def _database(cls, value: str) -> str:
        if value.startswith("jdbc:") and not value.startswith(("jdbc:sqlite:/", "jdbc:postgresql://")):
            raise ValueError("must be a path, jdbc:sqlite:/…, postgresql://… or jdbc:postgresql://…; H2 is not read")
        return value.removeprefix("jdbc:").removeprefix("sqlite:")

    @field_validator("pipelines")
    @classmethod
    def _versions(cls, value: tuple[PipelineSettings, ...]) -> tuple[PipelineSettings, ...]:
        if not value:
            raise ValueError("Pipeline list must not be empty")
        versions = [pipeline.version for pipeline in value]
        if len(set(versions)) != len(versions):
            raise ValueError(f"pipeline versions must differ: {', '.join(versions)}")
        return value

    @model_validator(mode="after")
    def _together(self) -> Self:
        if self.attestation_mode == "maa" and not self.attestation_urls:
            raise ValueError("attestation_mode maa needs attestation_urls")
        if self.framework is Framework.TDX:
            if len(self.pipelines) != 1:
                raise ValueError(f"framework TDX needs exactly one pipeline, not {len(self.pipelines)}")
            if self.provisioner_post_url is None or not self.remote_attestation_url.strip():
                raise ValueError("framework TDX needs provisioner_post_url and remote_attestation_url")
        if self.pccs_url is not None and not self.anchors:
            raise ValueError("pccs_url needs anchors: collateral is believed under a root only")
        if self.tls_port == self.port:
            raise ValueError(f"port and tls_port are both {self.port}")
        if self.admin_api_key is not None and self.admin_api_key_file is not None:
            raise ValueError("admin_api_key and admin_api_key_file are two ways to say one thing")
        if self.max_head_age_s < 2 * self.block_time_s:
            raise ValueError(f"max_head_age_s must be at least two block times ({2 * self.block_time_s:g})")
        return self

    @classmethod
    def load(
        cls,
        file: Path | None = None,
        env: Mapping[str, str] | None = None,
        **explicit: Any,  # noqa: ANN401
    ) -> Self:
        """Read the settings from a TOML or YAML file, the environment, and explicit values; the later win.

        Raises:
            InputError: unreadable file, unknown key, contradictory names, or a value out of its range; the message
                has the name under which it was given, the value, and what is allowed.
        """
        below = Given.nothing() if file is None else official.from_file(file, frozenset(cls.model_fields))
        given = official.from_environment(os.environ if env is None else env, cls.env_prefix).over(below)
        for field, value in explicit.items():
            if value is not None:
                given.values[field], given.names[field] = value, field
        try:
            settings = cls.model_validate(given.values)
        except ValidationError as error:
            raise InputError(
                f"settings of {cls.__name__}: " + "; ".join(_complaint(each, given) for each in error.errors()),
                code="settings.invalid",
                hint=f"correct {file or 'the environment'}; the fields are: {', '.join(cls.model_fields)}",
            ) from None
        settings._without_effect = dict(given.without_effect)  # noqa: SLF001  # its own class
        return settings

    @property
    def without_effect(self) -> Mapping[str, str]:
        """Official settings that were given and have nothing to act on here, with the reason."""
        return self._without_effect

    def admin_key(self) -> Secret[str] | None:
        """The key of the admin operations, read afresh when it is in a file; None disables them."""
        if self.admin_api_key_file is None:
            return self.admin_api_key
        try:
            with self.admin_api_key_file.open("rb") as stream:
                text = stream.read(_MAX_KEY_BYTES).decode("utf-8", errors="strict").strip()
        except (OSError, UnicodeDecodeError):
            return None
        return Secret(text) if text else None

    def pipeline(self, version: str) -> PipelineSettings | None:
        """The pipeline of ``version``, or None."""
        return next((pipeline for pipeline in self.pipelines if pipeline.version == version), None)

    def properties(self, pipeline: PipelineSettings) -> TeeProperties:
        """A pipeline as the wire shows it; ``lasImage`` only for SCONE."""
        return TeeProperties(
            tee_framework=self.framework,
            tee_framework_version=pipeline.version,
            pre_compute_properties=pipeline.pre_compute.properties(),
            post_compute_properties=pipeline.post_compute.properties(),
            las_image=self.las_image if self.framework is Framework.SCONE else None,
        )

    @property
    def provisioner_web_url(self) -> str:
        """Where sessions are posted."""
        return f"https://{self.provisioner_web_hostname}:{self.provisioner_web_port}"

    @property
    def provisioner_enclave_address(self) -> str:
        """What workers are told: ``host:port`` without a scheme, or TDX's URL word for word."""
        if self.framework is Framework.TDX:
            return self.remote_attestation_url
        return f"{self.provisioner_enclave_hostname}:{self.provisioner_enclave_port}"


def _complaint(error: Mapping[str, Any], given: Given) -> str:
    """Name, allowed range and value of one wrong setting; never the value of a secret one."""
    path = [str(part) for part in error["loc"]]
    message = str(error["msg"]).removeprefix("Value error, ")
    if not path:
        return message
    field = path[0]
    name = ".".join(path)
    if given.names.get(field, field) != field:
        name += f" ({given.names[field]})"
    value = error.get("input")
    hidden = field == "admin_api_key" or "@" in str(value)  # a URL with a password in it
    if error["type"] == "missing" or hidden or isinstance(value, Secret | dict):
        return f"{name}: {message}"
    return f"{name}: {message}, not {repr(value)[:100]}"
