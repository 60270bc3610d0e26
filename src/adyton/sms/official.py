"""The official service's configuration: its property and environment names, and files that use them (section 1.10).

Three spellings of one setting are understood: the property (``chain.hub-address``, in a TOML or YAML file as nested
tables), its documented environment name (``IEXEC_HUB_ADDRESS``), and the environment name that Spring derives from the
property (``CHAIN_HUBADDRESS``). Settings of the official service that have nothing to act on here are known, so that an
existing configuration starts, and are reported as being without effect.
"""

from __future__ import annotations

import re
import tomllib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from adyton.base.errors import InputError
from adyton.base.yamltree import YamlError, load_tree

# property: (environment name or None, our field)
PROPERTIES: Final[Mapping[str, tuple[str | None, str]]] = {
    "spring.profiles.active": ("IEXEC_SMS_TEE_RUNTIME_FRAMEWORK", "framework"),
    "server.port": ("IEXEC_SMS_PORT", "port"),
    "spring.datasource.url": ("IEXEC_SMS_H2_URL", "database"),
    "admin.api-key": ("IEXEC_SMS_ADMIN_API_KEY", "admin_api_key"),
    "admin.storage-location": ("IEXEC_SMS_ADMIN_STORAGE_LOCATION", "admin_storage_location"),
    "admin.out-of-service.enabled": (None, "out_of_service_enabled"),
    "encryption.aes-key-path": ("IEXEC_SMS_STORAGE_ENCRYPTION_AES_KEY_PATH", "database_key_file"),
    "chain.id": ("IEXEC_CHAIN_ID", "chain_id"),
    "chain.node-address": ("IEXEC_BLOCKCHAIN_NODE_ADDRESS", "node_url"),
    "chain.hub-address": ("IEXEC_HUB_ADDRESS", "hub"),
    "chain.block-time": ("IEXEC_BLOCK_TIME", "block_time_s"),
    "ipfs.gateway-url": (None, "ipfs_gateway_url"),
    "metrics.storage.refresh-interval": ("IEXEC_SMS_METRICS_STORAGE_REFRESH_INTERVAL", "metrics_refresh_s"),
    "tee.secret-provisioner.web.hostname": ("IEXEC_SECRET_PROVISIONER_WEB_HOSTNAME", "provisioner_web_hostname"),
    "tee.secret-provisioner.web.port": ("IEXEC_SECRET_PROVISIONER_WEB_PORT", "provisioner_web_port"),
    "tee.secret-provisioner.enclave.hostname": (
        "IEXEC_SECRET_PROVISIONER_ENCLAVE_HOSTNAME",
        "provisioner_enclave_hostname",
    ),
    "tee.secret-provisioner.enclave.port": ("IEXEC_SECRET_PROVISIONER_ENCLAVE_PORT", "provisioner_enclave_port"),
    "tee.secret-provisioner.post-url": (None, "provisioner_post_url"),
    "tee.secret-provisioner.remote-attestation-url": (None, "remote_attestation_url"),
    "tee.scone.las-image": ("IEXEC_SMS_IMAGE_LAS_IMAGE", "las_image"),
    "tee.scone.attestation.tolerated-insecure-options": (
        "IEXEC_SCONE_TOLERATED_INSECURE_OPTIONS",
        "tolerated_insecure_options",
    ),
    "tee.scone.attestation.ignored-sgx-advisories": ("IEXEC_IGNORED_SGX_ADVISORIES", "ignored_sgx_advisories"),
    "tee.scone.attestation.mode": ("TEE_SCONE_ATTESTATION_MODE", "attestation_mode"),
    "tee.scone.attestation.url": ("TEE_SCONE_ATTESTATION_URL", "attestation_urls"),
    "tee.scone.attestation.urls": ("TEE_SCONE_ATTESTATION_URLS", "attestation_urls"),
}

_NO_TRANSACTIONS = "this service sends no transactions"
_OWN_IDENTITY = "the certificate towards the CAS comes from the CAS (identity_file)"
_NO_GRAMINE = "sessions of this framework are not offered"
_EVERY_HOUR = "challenges are purged every hour, by the deadline that each has"
# property: (environment name or None, why there is nothing to act on)
WITHOUT_EFFECT: Final[Mapping[str, tuple[str | None, str]]] = {
    "chain.sidechain": ("IEXEC_IS_SIDECHAIN", _NO_TRANSACTIONS),
    "chain.gas-price-multiplier": ("IEXEC_GAS_PRICE_MULTIPLIER", _NO_TRANSACTIONS),
    "chain.gas-price-cap": ("IEXEC_GAS_PRICE_CAP", _NO_TRANSACTIONS),
    "tee.gramine.sps.login": ("IEXEC_GRAMINE_SPS_WEB_LOGIN", _NO_GRAMINE),
    "tee.gramine.sps.password": ("IEXEC_GRAMINE_SPS_WEB_PASSWORD", _NO_GRAMINE),
    "tee.ssl.key-store": ("IEXEC_SMS_SSL_KEYSTORE", _OWN_IDENTITY),
    "tee.ssl.key-store-password": ("IEXEC_SMS_SSL_KEYSTORE_PASSWORD", _OWN_IDENTITY),
    "tee.ssl.key-store-type": ("IEXEC_SMS_SSL_KEYSTORE_TYPE", _OWN_IDENTITY),
    "tee.ssl.key-alias": ("IEXEC_SMS_SSL_KEYSTORE_ALIAS", _OWN_IDENTITY),
    "spring.h2.console.enabled": ("IEXEC_SMS_H2_CONSOLE", "there is no H2 database, and no console"),
    "tee.challenge.cleanup.cron": ("IEXEC_TEE_CHALLENGE_CLEANUP_CRON", _EVERY_HOUR),
    "tee.challenge.cleanup.missing-deadline-max-batch-size": (
        "IEXEC_TEE_CHALLENGE_CLEANUP_MAX_BATCH_SIZE",
        _EVERY_HOUR,
    ),
    "tee.challenge.cleanup.missing-deadline-retention-duration": (
        "IEXEC_TEE_CHALLENGE_CLEANUP_RETENTION_DURATION",
        _EVERY_HOUR,
    ),
}

_PIPELINES: Final = "tee.worker.pipelines"
_STAGES: Final = {"pre-compute": "pre_compute", "post-compute": "post_compute"}
_STAGE_MEMBERS: Final = {
    "image": "image",
    "fingerprint": "fingerprint",
    "entrypoint": "entrypoint",
    "heap-size": "heap_size",
}
_PIPELINE_PREFIX: Final = "TEE_WORKER_PIPELINES_"
_PIPELINE_NAME: Final = re.compile(r"TEE_WORKER_PIPELINES_([0-9]{1,2})_([A-Z_]+)")
_PIPELINE_FIELDS: Final[Mapping[str, tuple[str, ...]]] = {
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
_STRICT_PREFIXES: Final = ("IEXEC_SMS_", "IEXEC_SECRET_PROVISIONER_")  # nobody else's: a misspelt one is an error
_MAX_FILE_BYTES: Final = 1 << 20


@dataclass(frozen=True, slots=True)
class Given:
    """Settings as they were given.

    Attributes:
        values: by field.
        names: under which name each field was given.
        without_effect: names that were given and do nothing here, with the reason.
    """

    values: dict[str, Any]
    names: dict[str, str]
    without_effect: dict[str, str]

    @classmethod
    def nothing(cls) -> Given:
        """No settings."""
        return cls({}, {}, {})

    def put(self, field: str, value: object, name: str) -> None:
        """Take a setting.

        Raises:
            InputError: given under two names, differently.
        """
        if field in self.values and self.values[field] != value:
            raise InputError(
                f"{self.names[field]} and {name} are two names of one setting ({field}), and say different things",
                code="settings.invalid",
                hint="keep one of them",
            )
        self.values[field], self.names[field] = value, name

    def over(self, lower: Given) -> Given:
        """These settings, and where there is none, those of ``lower``."""
        return Given(lower.values | self.values, lower.names | self.names, lower.without_effect | self.without_effect)


def spring_name(name: str) -> str:
    """The environment name that Spring derives from a property."""
    return name.replace(".", "_").replace("-", "").upper()


def from_environment(env: Mapping[str, str], prefix: str) -> Given:
    """Read all official names, and our own under ``prefix``.

    Raises:
        InputError: contradictions, or pipelines that are not well numbered.
    """
    given, known, idle = Given.nothing(), _environment_names(), _idle_names()
    for name, value in env.items():
        if name.startswith(prefix):
            given.put(name.removeprefix(prefix).lower(), value, name)
        elif name in known:
            given.put(known[name], value, name)
        elif name in idle:
            given.without_effect[name] = idle[name]
        elif name.startswith(_STRICT_PREFIXES):
            raise InputError(
                f"unknown setting {name}",
                code="settings.invalid",
                hint=f"known names: {', '.join(sorted(each for each in known if each.startswith(_STRICT_PREFIXES)))}",
            )
    pipelines = _pipelines_of(env)
    if pipelines:
        given.put("pipelines", pipelines, f"{_PIPELINE_PREFIX}<n>_…")
    return given


def from_file(file: Path, fields: frozenset[str]) -> Given:
    """Read a TOML or YAML file (``.yml``, ``.yaml``) with our field names, official property names, or both.

    Raises:
        InputError: unreadable, malformed, or a name that is neither.
    """
    given = Given.nothing()
    for name, value in _flat(_read(file), fields):
        if name in fields:
            given.put(name, value, name)
        elif name in PROPERTIES:
            given.put(PROPERTIES[name][1], value, name)
        elif name in WITHOUT_EFFECT:
            given.without_effect[name] = WITHOUT_EFFECT[name][1]
        elif name == _PIPELINES:
            given.put("pipelines", _official_pipelines(value), name)
        else:
            raise InputError(
                f"unknown setting {name} in {file}",
                code="settings.invalid",
                hint=f"official names are: {', '.join([*PROPERTIES, _PIPELINES])}; ours: {', '.join(sorted(fields))}",
            )
    return given


def _environment_names() -> dict[str, str]:
    documented = {env: field for env, field in PROPERTIES.values() if env is not None}
    return {spring_name(name): field for name, (_, field) in PROPERTIES.items()} | documented


def _idle_names() -> dict[str, str]:
    documented = {env: reason for env, reason in WITHOUT_EFFECT.values() if env is not None}
    return {spring_name(name): reason for name, (_, reason) in WITHOUT_EFFECT.items()} | documented


def _read(file: Path) -> dict[str, Any]:
    try:
        with file.open("rb") as stream:
            data = stream.read(_MAX_FILE_BYTES + 1)
        if len(data) > _MAX_FILE_BYTES:
            raise InputError(f"{file} is larger than {_MAX_FILE_BYTES} bytes", code="settings.file")
        tree = load_tree(data) if file.suffix in {".yml", ".yaml"} else tomllib.loads(data.decode())
    except OSError as error:
        raise InputError(f"cannot read the settings file {file}: {error.strerror}", code="settings.file") from error
    except (tomllib.TOMLDecodeError, UnicodeDecodeError, YamlError) as error:
        raise InputError(f"{file} is not valid: {error}", code="settings.file") from error
    if not isinstance(tree, dict):
        raise InputError(f"{file} holds no settings", code="settings.file")
    return tree


def _flat(tree: Mapping[str, Any], fields: frozenset[str], prefix: str = "") -> Iterator[tuple[str, Any]]:
    """Dotted names and their values; what is below one of our own names is its value."""
    for key, value in tree.items():
        name = f"{prefix}{key}"
        if isinstance(value, str) and "${" in value:
            raise InputError(f"{name}: placeholders are not filled in here", code="settings.invalid")
        if isinstance(value, dict) and name not in fields:
            yield from _flat(value, fields, f"{name}.")
        else:
            yield name, value


def _official_pipelines(value: Any) -> list[dict[str, Any]]:  # noqa: ANN401  # what a file holds
    if not isinstance(value, list):
        raise InputError(f"{_PIPELINES} must be a list", code="settings.invalid")
    if not all(isinstance(each, dict) for each in value):
        raise InputError(f"{_PIPELINES}: List elements must not be null", code="settings.invalid")
    return [
        {
            _STAGES.get(name, name): (
                {_STAGE_MEMBERS.get(key, key): member for key, member in part.items()}
                if name in _STAGES and isinstance(part, dict)
                else part
            )
            for name, part in pipeline.items()
        }
        for pipeline in value
    ]


def _pipelines_of(env: Mapping[str, str]) -> list[dict[str, Any]]:
    found: dict[int, dict[str, Any]] = {}
    for name, value in env.items():
        if not name.startswith(_PIPELINE_PREFIX):
            continue
        match = _PIPELINE_NAME.fullmatch(name)
        if match is None or match[2] not in _PIPELINE_FIELDS:
            raise InputError(
                f"unknown setting {name}",
                code="settings.invalid",
                hint=f"after {_PIPELINE_PREFIX}<n>_ come: {', '.join(sorted(_PIPELINE_FIELDS))}",
            )
        node = found.setdefault(int(match[1]), {})
        *parents, leaf = _PIPELINE_FIELDS[match[2]]
        for parent in parents:
            node = node.setdefault(parent, {})
        node[leaf] = value
    if sorted(found) != list(range(len(found))):
        raise InputError(
            f"{_PIPELINE_PREFIX}<n>_ must count from 0 without gaps, found {sorted(found)}", code="settings.invalid"
        )
    return [found[index] for index in sorted(found)]
