"""A launch request as it comes from a host program, and the rules it must keep; no input or output here.

The host is not trusted: it may only say what the measured manifest lets it say.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Final, Literal, TypeVar

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from adyton.base.errors import AdytonError
from adyton.enclave.manifest import Manifest
from adyton.runner.profile import Limits

CAS_ADDRESS: Final = "SCONE_CAS_ADDR"
CONFIG_ID: Final = "SCONE_CONFIG_ID"
# what workers of the network set for every enclave and what means nothing here
_IGNORED: Final = frozenset({"SCONE_LAS_ADDR", "SCONE_HEAP", "SCONE_LOG", "SCONE_VERSION"})
_ADDRESS = re.compile(r"(?P<host>\[[0-9a-fA-F:]+\]|[A-Za-z0-9_.-]+):(?P<port>[0-9]{1,5})")
_SESSION = re.compile(r"(?P<session>[^/\s]{1,256})/(?P<service>[A-Za-z0-9_.-]{1,128})")

Text = Annotated[str, Field(max_length=65536)]
Layout = Annotated[str, Field(max_length=4096, pattern=r"^/[^\x00]*$")]
Size = Annotated[int, Field(gt=0, le=1 << 62)]
Count = Annotated[int, Field(gt=0, le=1 << 31)]
Seconds = Annotated[float, Field(gt=0, le=10 * 366 * 86400.0, allow_inf_nan=False)]
_MOST_COMPLAINTS: Final = 2000  # characters: names come from outside and may be long and many
_M = TypeVar("_M", bound=BaseModel)


class RequestError(AdytonError):
    """The request asks for something that this enclave's manifest does not allow, or is malformed."""

    code = "platform.launch.request"


class WireLimits(BaseModel):
    """Limits as in :class:`adyton.runner.profile.Limits`; the bounds are those of the kernel's own types."""

    model_config = ConfigDict(strict=True, extra="forbid", frozen=True)

    memory_bytes: Size | None = None
    processes: Count | None = None
    file_bytes: Size | None = None
    open_files: Count | None = None
    cpu_s: Count | None = None
    timeout_s: Seconds | None = None


class WirePrepare(BaseModel):
    """The message that asks to unpack and measure an image before it is launched."""

    model_config = ConfigDict(strict=True, extra="forbid", frozen=True)

    op: Literal["prepare"]
    layout: Layout


class WireLaunch(BaseModel):
    """The message that asks for a launch."""

    model_config = ConfigDict(strict=True, extra="forbid", frozen=True)

    op: Literal["launch"]
    layout: Layout
    environment: dict[Text, Text] = Field(max_length=1000)
    volumes: dict[Text, Text] = Field(max_length=100)
    host_paths: dict[Text, Text] = Field(max_length=100)
    args: list[Text] = Field(max_length=1000)
    cas_address: Text
    limits: WireLimits


@dataclass(frozen=True, slots=True)
class Grant:
    """What of a request is allowed: the agent's environment, the CAS to relay to, and the mounts.

    Attributes:
        host_environment: variables for the application.
        config_id: ``session/service``; empty when no CAS configures the enclave.
        cas: host and port of the CAS, or None.
        volumes: name to host folder.
        host_paths: path inside to path of the host.
        args: for the command.
        limits: what the enclave may use.
    """

    host_environment: Mapping[str, str]
    config_id: str
    cas: tuple[str, int] | None
    volumes: Mapping[str, Path]
    host_paths: Mapping[str, Path]
    args: tuple[str, ...]
    limits: Limits


def parse(message: Mapping[str, Any]) -> WireLaunch:
    """Read a launch message.

    Raises:
        RequestError: naming every wrong member.
    """
    return _validated(WireLaunch, message)


def parse_prepare(message: Mapping[str, Any]) -> WirePrepare:
    """Read a prepare message.

    Raises:
        RequestError: naming every wrong member.
    """
    return _validated(WirePrepare, message)


def _validated(model: type[_M], message: Mapping[str, Any]) -> _M:
    try:
        return model.model_validate(message)
    except ValidationError as error:
        wrong = "; ".join(f"{'.'.join(map(str, e['loc']))}: {e['msg']}" for e in error.errors(include_input=False))
        what = "launch" if model is WireLaunch else "prepare"
        raise RequestError(f"the {what} request is malformed: {wrong[:_MOST_COMPLAINTS]}") from None


def judge(request: WireLaunch, manifest: Manifest) -> Grant:
    """Hold a request against the measured manifest.

    Raises:
        RequestError: ``platform.launch.environment``, ``.config``, ``.cas``, ``.args``, ``.volume`` or ``.host_path``.
    """
    environment = dict(request.environment)
    for name in _IGNORED:
        environment.pop(name, None)
    address = environment.pop(CAS_ADDRESS, "")
    config_id = environment.pop(CONFIG_ID, "")
    for name in sorted(environment.keys() - set(manifest.host_environment)):
        raise RequestError(
            f"the host may not set {name} in {manifest.name}",
            code="platform.launch.environment",
            hint=f"leave it out, or build the image with --host-env {name}",
        )
    return Grant(
        host_environment=environment,
        config_id=_config_id(config_id, manifest),
        cas=_cas_address(request.cas_address or address, manifest),
        volumes=_volumes(request.volumes, manifest),
        host_paths=_host_paths(request.host_paths, manifest),
        args=_args(request.args, manifest),
        limits=Limits(**request.limits.model_dump()),
    )


def _config_id(text: str, manifest: Manifest) -> str:
    if manifest.config == "none":
        if text:
            raise RequestError(f"{manifest.name} takes no configuration from a CAS", code="platform.launch.config")
        return ""
    if not _SESSION.fullmatch(text):
        raise RequestError(
            f"{manifest.name} is configured by a CAS and needs {CONFIG_ID}=<session>/<service>",
            code="platform.launch.config",
            hint=f"pass {CONFIG_ID} and {CAS_ADDRESS} in the launch request's environment",
        )
    return text


def _cas_address(text: str, manifest: Manifest) -> tuple[str, int] | None:
    if not text and manifest.config == "none":
        return None
    match = _ADDRESS.fullmatch(text)
    if match is None or not 0 < int(match["port"]) < 65536:
        raise RequestError(f"{text!r} is not the host:port of a CAS", code="platform.launch.cas")
    return match["host"].strip("[]"), int(match["port"])


def _args(args: list[str], manifest: Manifest) -> tuple[str, ...]:
    if args and manifest.config != "none":
        raise RequestError(
            f"the host may not give arguments to {manifest.name}: its session has the command",
            code="platform.launch.args",
        )
    return tuple(args)


def _volumes(volumes: Mapping[str, str], manifest: Manifest) -> dict[str, Path]:
    for name in volumes:
        if name not in manifest.volumes:
            raise RequestError(f"{manifest.name} has no volume {name}", code="platform.launch.volume")
    return {name: _host_folder(path, f"volume {name}") for name, path in volumes.items()}


def _host_paths(paths: Mapping[str, str], manifest: Manifest) -> dict[str, Path]:
    for inside in paths:
        if inside not in manifest.host_paths:
            raise RequestError(
                f"the host may not mount anything at {inside} in {manifest.name}",
                code="platform.launch.host_path",
                hint=f"build the image with --host-path {inside}",
            )
    return {inside: _host_folder(path, f"host path {inside}") for inside, path in paths.items()}


def _host_folder(text: str, what: str) -> Path:
    path = Path(text)
    if not path.is_absolute() or "\0" in text:
        raise RequestError(f"the {what} is not an absolute path: {text!r}", code="platform.launch.path")
    return path
