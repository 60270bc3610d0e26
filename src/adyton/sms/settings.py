"""Settings of the secret management service: the official environment names, and our own under ``ADYTON_SMS_``.

Inside its enclave the environment is the whole configuration: the measured manifest fixes what is security-relevant,
and names that the host may set are listed there.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, ClassVar, Final, Literal

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, field_validator

from adyton.base.errors import InputError
from adyton.base.settings import Settings
from adyton.base.types import ZERO_ADDRESS, Address, parse_address
from adyton.sms.wire import ComputeProperties, Framework, TeeProperties

_SIZE = re.compile(r"([0-9]{1,15})\s*(B|KB|MB|GB|TB)?")
_UNITS: Final = {"B": 0, "KB": 10, "MB": 20, "GB": 30, "TB": 40}  # powers of two, as the official settings read them
_PIPELINE_NAME = re.compile(r"TEE_WORKER_PIPELINES_([0-9]{1,2})_([A-Z_]+)")
_PIPELINE_FIELDS: Final = {
    "VERSION": ("version",),
    "JAVA_ENVIRONMENT": ("java_environment",),
    **{
        f"{stage}COMPUTE_{name}": (f"{stage.lower()}_compute", name.lower())
        for stage in ("PRE", "POST")
        for name in ("IMAGE", "FINGERPRINT", "ENTRYPOINT")
    },
    **{
        f"{stage}COMPUTE_{name}": (f"{stage.lower()}_compute", "heap_size")
        for stage in ("PRE", "POST")
        for name in ("HEAPSIZE", "HEAP_SIZE")
    },
}


def parse_size(value: object) -> int:
    """Bytes from ``1GB``, ``512MB`` (powers of 1024) or a plain number.

    Raises:
        ValueError: another form.
    """
    if isinstance(value, int) and not isinstance(value, bool):
        return value
    match = _SIZE.fullmatch(str(value).strip().upper())
    if match is None:
        raise ValueError(f"Heap size must be a number with B, KB, MB, GB or TB, not {value!r}")
    return int(match[1]) << _UNITS[match[2] or "B"]


def _comma_list(value: object) -> object:
    return tuple(part.strip() for part in value.split(",") if part.strip()) if isinstance(value, str) else value


Names = Annotated[tuple[str, ...], BeforeValidator(_comma_list)]
Port = Annotated[int, Field(ge=1, le=65535)]


class StageSettings(BaseModel):
    """One helper enclave: its image, MRENCLAVE (64 hex digits), command and heap (bytes)."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    image: str
    fingerprint: str
    entrypoint: str
    heap_size: Annotated[int, BeforeValidator(parse_size), Field(gt=0, le=1 << 40)]

    @field_validator("image", "fingerprint", "entrypoint")
    @classmethod
    def _not_blank(cls, value: str, info: Any) -> str:  # noqa: ANN401  # pydantic's ValidationInfo
        if not value.strip():
            raise ValueError(f"{info.field_name.capitalize()} must not be blank")
        return value.strip()

    def properties(self) -> ComputeProperties:
        """The stage as the wire shows it."""
        return ComputeProperties(
            image=self.image,
            fingerprint=self.fingerprint,
            entrypoint=self.entrypoint,
            heap_size_in_bytes=self.heap_size,
        )


class PipelineSettings(BaseModel):
    """One framework version with its helper enclaves.

    ``java_environment`` adds the two Java variables that official pre- and post-compute images expect; ours are
    Python programs, and a variable that steers a dynamic loader has no place in their session.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    version: str
    pre_compute: StageSettings
    post_compute: StageSettings
    java_environment: bool = False

    @field_validator("version")
    @classmethod
    def _not_blank(cls, value: str) -> str:
        if not value.strip():
            raise ValueError("Pipeline version must not be blank")
        return value.strip()


class SmsSettings(Settings):
    """Everything the service can be told; official names where the official service has the setting."""

    env_prefix: ClassVar[str] = "ADYTON_SMS_"
    env_names: ClassVar[Mapping[str, str]] = {
        "IEXEC_SMS_TEE_RUNTIME_FRAMEWORK": "framework",
        "IEXEC_SMS_PORT": "port",
        "IEXEC_CHAIN_ID": "chain_id",
        "IEXEC_BLOCKCHAIN_NODE_ADDRESS": "node_url",
        "IEXEC_HUB_ADDRESS": "hub",
        "IEXEC_SECRET_PROVISIONER_WEB_HOSTNAME": "provisioner_web_hostname",
        "IEXEC_SECRET_PROVISIONER_WEB_PORT": "provisioner_web_port",
        "IEXEC_SECRET_PROVISIONER_ENCLAVE_HOSTNAME": "provisioner_enclave_hostname",
        "IEXEC_SECRET_PROVISIONER_ENCLAVE_PORT": "provisioner_enclave_port",
        "IEXEC_SMS_IMAGE_LAS_IMAGE": "las_image",
        "IEXEC_SCONE_TOLERATED_INSECURE_OPTIONS": "tolerated_insecure_options",
        "IEXEC_IGNORED_SGX_ADVISORIES": "ignored_sgx_advisories",
        "TEE_SCONE_ATTESTATION_MODE": "attestation_mode",
        "IEXEC_SMS_METRICS_STORAGE_REFRESH_INTERVAL": "metrics_refresh_s",
    }

    framework: Framework = Framework.SCONE
    host: str = "127.0.0.1"
    port: Port = 13300

    chain_id: int = Field(default=134, gt=0)
    node_url: str = "http://127.0.0.1:8545"
    hub: Address = Address("0x3eca1B216A7DF1C7689aEb259fFB83ADFB894E7f")
    max_head_age_s: int = Field(default=300, ge=5, le=604_800)
    """Seconds the chain's newest block may lie behind the clock before answers of the node are not believed."""

    provisioner_web_hostname: str = "127.0.0.1"
    provisioner_web_port: Port = 8081
    provisioner_enclave_hostname: str = "127.0.0.1"
    provisioner_enclave_port: Port = 18765
    identity_file: Path = Path("/run/adyton/identity.pem")
    cas_ca_file: Path = Path("/run/adyton/cas-ca.pem")

    database: str = "/data/sms.sqlite3"
    """Path of an SQLite file, or a ``postgresql://`` URL."""
    database_key_file: Path = Path("/run/adyton/database-key")
    """Hex of 32 bytes; read once and unlinked."""

    las_image: str = ""
    tolerated_insecure_options: Names = ()
    ignored_sgx_advisories: Names = ()
    attestation_mode: Literal["hardware"] = "hardware"
    """How the CAS shall attest; the official ``maa`` needs a third party's service and is not offered."""

    pipelines: tuple[PipelineSettings, ...] = Field(min_length=1)
    max_sessions_per_task: int = Field(default=32, ge=1, le=10_000)
    challenge_retention_s: int = Field(default=5 * 86_400, ge=3600, le=31_536_000)
    """Seconds a challenge is kept after its task's final deadline."""
    requests_per_s: float = Field(default=50, gt=0, le=100_000)
    """Existence checks, writes and requests about tasks that one client address may make per second."""
    metrics_refresh_s: int = Field(default=30, ge=1, le=3600)

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

    @field_validator("pipelines")
    @classmethod
    def _versions(cls, value: tuple[PipelineSettings, ...]) -> tuple[PipelineSettings, ...]:
        versions = [pipeline.version for pipeline in value]
        if len(set(versions)) != len(versions):
            raise ValueError(f"pipeline versions must differ: {', '.join(versions)}")
        return value

    @classmethod
    def _from_env(cls, env: Mapping[str, str]) -> dict[str, Any]:
        found = super()._from_env(env)
        pipelines = _pipelines_from_env(env)
        return found | ({"pipelines": pipelines} if pipelines else {})

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
        """What workers are told, without a scheme."""
        return f"{self.provisioner_enclave_hostname}:{self.provisioner_enclave_port}"


def _pipelines_from_env(env: Mapping[str, str]) -> list[dict[str, Any]]:
    found: dict[int, dict[str, Any]] = {}
    for name, value in env.items():
        if not name.startswith("TEE_WORKER_PIPELINES_"):
            continue
        match = _PIPELINE_NAME.fullmatch(name)
        if match is None or match[2] not in _PIPELINE_FIELDS:
            raise InputError(
                f"unknown setting {name}",
                code="settings.invalid",
                hint=f"after TEE_WORKER_PIPELINES_<n>_ come: {', '.join(sorted(_PIPELINE_FIELDS))}",
            )
        node = found.setdefault(int(match[1]), {})
        *parents, leaf = _PIPELINE_FIELDS[match[2]]
        for parent in parents:
            node = node.setdefault(parent, {})
        node[leaf] = value
    if sorted(found) != list(range(len(found))):
        raise InputError(
            f"TEE_WORKER_PIPELINES_<n>_ must count from 0 without gaps, found {sorted(found)}", code="settings.invalid"
        )
    return [found[index] for index in sorted(found)]
