"""The agent: attest, get this service's part of the session, prepare, run, put away.

Order: (1) read the measured manifest; (2) ask the platform what the host passes; (3) without a CAS become the command;
(4) attest to the CAS and get the configuration; (5) identity files and injected files, into enclave memory; (6) open
the protected volumes; (7) run the command, renewing identity; (8) seal what changed back to the host.

Exit status 121 (refused) and 122 (failed) come with one line on standard error, ``adyton-enclave: refused <code>:
<text>``; otherwise the status is the command's.
"""

from __future__ import annotations

import os
import shlex
import socket
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Final

from adyton.base.errors import AdytonError, UnavailableError
from adyton.enclave.manifest import MANIFEST_PATH, RUN_FOLDER, VOLUMES_FOLDER, Manifest, is_plain_path
from adyton.platform.client import PLATFORM_FD, EnclavePlatform, Startup
from adyton.runtime import command
from adyton.runtime.errors import EXIT_FAILED, EXIT_REFUSED, AgentError

if TYPE_CHECKING:
    from adyton.attestation.policy import QuotePolicy
    from adyton.cas.client import InjectedFile, ServiceConfig
    from adyton.runtime.volume import ProtectedVolume

_CAS_SOCKET: Final = f"{RUN_FOLDER}/cas.sock"
_CONNECT_TIMEOUT_S: Final = 20.0
_RETRIES_S: Final = (0.2, 0.5, 1.0, 2.0)  # a CAS that restarts is back within seconds
_PR_SET_DUMPABLE: Final = 4


def main() -> int:
    """Run as the first program of an enclave; returns the exit status."""
    try:
        _forbid_dumps()
        return _run()
    except UnavailableError as error:
        _complain("failed", error)
        return EXIT_FAILED
    except AdytonError as error:
        _complain("refused", error)
        return EXIT_REFUSED
    except OSError as error:
        _complain("failed", AgentError(f"{error.strerror}: {error.filename}", code="runtime.system"))
        return EXIT_FAILED


def _run() -> int:
    manifest = Manifest.from_json(Path(MANIFEST_PATH).read_bytes())  # (1)
    platform = EnclavePlatform.from_environment()
    startup = platform.startup()  # (2)
    if manifest.config == "none":
        _become(manifest, platform, startup)  # (3)
    return _serve(manifest, platform, startup)


def _become(manifest: Manifest, platform: EnclavePlatform, startup: Startup) -> None:
    """Hand everything to the command: it needs quotes and seal keys itself."""
    environment = {**manifest.environment, **startup.environment, PLATFORM_FD: str(platform.hand_on())}
    command.become(command.resolve((*manifest.argv, *startup.args), environment, manifest.cwd))


def _serve(manifest: Manifest, platform: EnclavePlatform, startup: Startup) -> int:
    from adyton.cas.client import AttestedClient  # noqa: PLC0415  # enclaves without a CAS start without it
    from adyton.runtime import identity  # noqa: PLC0415

    session, _, service = startup.config_id.rpartition("/")
    client = AttestedClient(_connect, platform, _cas_policy(manifest))

    def fetch() -> ServiceConfig:
        return client.fetch(session, service)

    config = _patiently(fetch)  # (4)
    if manifest.closed:
        _require_nothing_but_keys(config)
    environment = {**manifest.environment, **startup.environment, **config.environment}
    argv = shlex.split(config.command) or list(manifest.argv)
    identity.write(config)  # (5)
    for file in config.files:
        _inject(file, manifest)
    volumes = _volumes(manifest, startup, config, session)
    for volume in volumes:  # (6)
        volume.open()
    before = {volume.name: volume.snapshot() for volume in volumes}
    program = command.resolve(argv, environment, manifest.cwd if manifest.closed else config.pwd or manifest.cwd)
    with identity.Renewal(fetch, config, lambda error: _complain("renewal failed", error)):
        code = command.run(program)  # (7)
    for volume in volumes:  # (8)
        if volume.snapshot() != before[volume.name]:
            volume.seal()
    return code


def _require_nothing_but_keys(config: ServiceConfig) -> None:
    """What a closed enclave takes from its session: files that only its own measurement can get.

    The owner of the session may be the very party that this enclave keeps secrets from. A command or a variable of
    theirs would run their code here, and a key that they gave would be a key that they know.
    """
    unbound = [file.path for file in config.files if not file.bound]
    given = [name for name, value in (("command", config.command), ("environment", config.environment)) if value]
    if given or unbound:
        raise AgentError(
            f"the session sets {', '.join([*given, *unbound])}, and this enclave takes only keys of its own",
            code="runtime.session.closed",
            hint="leave command and environment out of the session, and inject only secrets of kind enclave-key",
        )


def _connect() -> socket.socket:
    connection = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    connection.settimeout(_CONNECT_TIMEOUT_S)
    try:
        connection.connect(_CAS_SOCKET)
    except OSError:
        connection.close()
        raise
    return connection


def _cas_policy(manifest: Manifest) -> QuotePolicy | None:
    """Who may configure this enclave, by its own measurement."""
    if manifest.cas is None:
        return None
    from adyton.attestation.anchors import TrustAnchor  # noqa: PLC0415  # only enclaves with an opinion need it
    from adyton.attestation.policy import QuotePolicy, Weakness  # noqa: PLC0415

    return QuotePolicy(
        anchors=(TrustAnchor(manifest.cas.anchor),),
        mrenclaves=frozenset(bytes.fromhex(value) for value in manifest.cas.mrenclaves),
        tolerate=frozenset({Weakness.DEBUG_MODE}) if manifest.debug else frozenset(),
    )


def _patiently(fetch: Callable[[], ServiceConfig]) -> ServiceConfig:
    for wait_s in _RETRIES_S:
        try:
            return fetch()
        except UnavailableError:
            time.sleep(wait_s)
    return fetch()


def _inject(file: InjectedFile, manifest: Manifest) -> None:
    """Write an injected file, readable by this enclave's user only, and only where memory is."""
    places = ("/run", *manifest.tmpfs, *manifest.volumes.values())
    if not is_plain_path(file.path) or not any(file.path.startswith(f"{place}/") for place in places):
        raise AgentError(
            f"the session injects {file.path}, which is not in enclave memory",
            code="runtime.file.place",
            hint=f"inject below one of: {', '.join(sorted(places))}",
        )
    path = Path(file.path)
    path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600)
    with os.fdopen(descriptor, "wb") as stream:
        stream.write(file.content.reveal())


def _volumes(manifest: Manifest, startup: Startup, config: ServiceConfig, session: str) -> list[ProtectedVolume]:
    from adyton.runtime.volume import ProtectedVolume  # noqa: PLC0415  # most services have none

    for name, volume in config.volumes.items():
        if manifest.volumes.get(name) != volume.path:
            raise AgentError(
                f"the session has the volume {name} at {volume.path}, the image does not",
                code="runtime.volume.unknown",
                hint=f"build the image with --volume {name}:{volume.path}",
            )
    return [
        ProtectedVolume(
            name=name,
            session=session,
            key=volume.key,
            folder=Path(volume.path),
            host_folder=Path(VOLUMES_FOLDER, name) if name in startup.volumes else None,
        )
        for name, volume in sorted(config.volumes.items())
    ]


def _forbid_dumps() -> None:
    """Keep other processes of this user from reading this one's memory through /proc (prctl(2), PR_SET_DUMPABLE)."""
    import ctypes  # noqa: PLC0415  # nothing else needs it

    if ctypes.CDLL(None, use_errno=True).prctl(_PR_SET_DUMPABLE, 0, 0, 0, 0) != 0:
        raise OSError(ctypes.get_errno(), "prctl(PR_SET_DUMPABLE)")


def _complain(verb: str, error: AdytonError) -> None:
    text = " ".join(error.message.split())
    sys.stderr.write(f"adyton-enclave: {verb} {error.code}: {text}\n")
    sys.stderr.flush()
