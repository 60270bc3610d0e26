"""The agent: attest, get this service's part of the session, prepare, run, put away.

Order: (1) read the measured manifest; (2) ask the platform what the host passes; (3) without a CAS become the command;
(4) attest to the CAS and get the configuration; (5) identity files and injected files, into enclave memory; (6) open
the protected volumes; (7) run the command, renewing identity, with evidence of its own where the manifest says so;
(8) seal what changed back to the host.

Exit status 121 (refused) and 122 (failed) come with one line on standard error, ``adyton-enclave: refused <code>:
<text>``; otherwise the status is the command's.
"""

from __future__ import annotations

import os
import shlex
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Final

from adyton.base.errors import AdytonError, UnavailableError
from adyton.base.process import forbid_dumps
from adyton.enclave.manifest import MANIFEST_PATH, VOLUMES_FOLDER, Manifest, is_plain_path
from adyton.platform.client import PLATFORM_FD, EnclavePlatform, Startup
from adyton.runtime import command
from adyton.runtime.errors import EXIT_FAILED, EXIT_REFUSED, AgentError

if TYPE_CHECKING:
    from adyton.cas.client.answers import InjectedFile, ServiceConfig
    from adyton.runtime.volume import ProtectedVolume

_RETRIES_S: Final = (0.2, 0.5, 1.0, 2.0)  # a CAS that restarts is back within seconds


def main() -> int:
    """Run as the first program of an enclave; returns the exit status."""
    try:
        forbid_dumps()
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
    # here, for enclaves without a CAS start without it
    from adyton.cas.client.enclaves import AttestedClient, measured_policy, relay  # noqa: PLC0415
    from adyton.runtime import identity  # noqa: PLC0415

    session, _, service = startup.config_id.rpartition("/")
    client = AttestedClient(relay, platform, measured_policy(manifest))

    config = _patiently(lambda: client.fetch(session, service))  # (4)
    if manifest.closed:
        _require_nothing_but_keys(config)
        _require_same_approvers(manifest, config)
    environment = {**manifest.environment, **startup.environment, **config.environment}
    argv = shlex.split(config.command) or list(manifest.argv)
    identity.write(config)  # (5)
    for file in config.files:
        _inject(file, manifest)
    volumes = _volumes(manifest, startup, config, session)
    for volume in volumes:  # (6)
        volume.open()
    before = {volume.name: volume.snapshot() for volume in volumes}
    cwd = manifest.cwd if manifest.closed else config.pwd or manifest.cwd

    def renew(current: ServiceConfig) -> ServiceConfig:
        return client.fetch(session, service, current.activation)

    with identity.Renewal(renew, config, lambda error: _complain("renewal failed", error)):
        code = _run_command(manifest, platform, argv, environment, cwd)  # (7)
    for volume in volumes:  # (8)
        if volume.snapshot() != before[volume.name]:
            volume.seal()
    return code


def _run_command(
    manifest: Manifest, platform: EnclavePlatform, argv: Sequence[str], environment: Mapping[str, str], cwd: str
) -> int:
    """Run the command to its end; with a channel of its own to this enclave's evidence where the manifest says so."""
    if not manifest.evidence:
        return command.run(command.resolve(argv, environment, cwd))
    from adyton.runtime.evidence import EvidenceChannel  # noqa: PLC0415  # few commands have one

    with EvidenceChannel(platform) as channel:
        given = {**environment, PLATFORM_FD: str(channel.descriptor)}
        return command.run(command.resolve(argv, given, cwd), (channel.descriptor,), channel.serve)


def _require_nothing_but_keys(config: ServiceConfig) -> None:
    """What a closed enclave takes from its session: files that only its own measurement can get.

    The owner of the session may be the very party that this enclave keeps secrets from. A command or a variable of
    theirs would run their code here, and a key that they gave would be a key that they know. A volume's key is bound to
    no measurement: another enclave of theirs could have written what this one would read.
    """
    unbound = [file.path for file in config.files if not file.bound]
    members = (("command", config.command), ("environment", config.environment), ("volumes", config.volumes))
    given = [name for name, value in members if value]
    if given or unbound:
        raise AgentError(
            f"the session sets {', '.join([*given, *unbound])}, and this enclave takes only keys of its own",
            code="runtime.session.closed",
            hint="leave command, environment and volumes out of the session, and inject only enclave-key secrets",
        )


def _require_same_approvers(manifest: Manifest, config: ServiceConfig) -> None:
    """A closed enclave runs only where those may approve a successor whom it was built to trust with that.

    A successor can be given this enclave's keys. The owner of the session could name approvers of their own, and with
    them approve an enclave that hands the data out.
    """
    if config.upgrade == manifest.upgrade:
        return
    named, measured = (
        "nobody" if policy is None else f"{policy.threshold} of {', '.join(key[:16] for key in policy.approvers)}"
        for policy in (config.upgrade, manifest.upgrade)
    )
    raise AgentError(
        f"the session lets {named} approve a successor of this enclave; it was built for {measured}",
        code="runtime.session.upgrade",
        hint="make a session whose 'upgrade' has the approvers and the threshold of the enclave's manifest",
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


def _complain(verb: str, error: AdytonError) -> None:
    text = " ".join(error.message.split())
    sys.stderr.write(f"adyton-enclave: {verb} {error.code}: {text}\n")
    sys.stderr.flush()
