"""One enclave from EINIT to its end: the process, its channel to the CPU, its relay to the CAS."""

from __future__ import annotations

import shutil
import socket
import tempfile
import threading
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from typing import Any, Final

from adyton.enclave.manifest import RUN_FOLDER, VOLUMES_FOLDER, Manifest
from adyton.platform import framing
from adyton.platform.client import PLATFORM_FD
from adyton.platform.protocol import Platform
from adyton.platform.simulated import channel
from adyton.platform.simulated.membership import Enclosure
from adyton.platform.simulated.relay import CasRelay
from adyton.platform.simulated.request import Grant, RequestError
from adyton.platform.simulated.store import LoadedEnclave
from adyton.runner.profile import Mount, Runner, RunningProcess, Sandbox

_RUN_TMPFS: Final = "/run"
_RUN_BYTES: Final = 16 << 20
_MIN_VOLUME_BYTES: Final = 64 << 20


@contextmanager
def running(
    loaded: LoadedEnclave, enclave: Platform, grant: Grant, runner: Runner, output: tuple[int, int]
) -> Iterator[RunningProcess]:
    """Start an initialised enclave; leaving the block ends it and all it was given.

    Args:
        loaded: the measured image.
        enclave: its identity, as EINIT made it.
        grant: what the host may pass in.
        runner: who confines it.
        output: descriptors of standard output and error.

    Raises:
        RequestError: a host folder does not exist.
        RunnerError: the process cannot be started.
    """
    with ExitStack() as stack:
        run_folder = Path(tempfile.mkdtemp(prefix="adyton-enclave-"))
        stack.callback(shutil.rmtree, run_folder, ignore_errors=True)
        if grant.cas is not None:
            stack.callback(CasRelay(run_folder, grant.cas).close)
        ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_STREAM)
        with theirs:
            stack.callback(ours.close)
            framing.ask_for_senders(ours)  # before the enclave can send
            sandbox = _sandbox(loaded, grant, run_folder, theirs.fileno())
            process = runner.start(sandbox, *output)
        stack.callback(process.wait)
        stack.callback(process.kill)
        enclosure = stack.enter_context(Enclosure(process.pid, process.pidfd, debug=loaded.manifest.debug))
        service = threading.Thread(
            target=channel.serve,
            args=(ours, enclave, _startup(grant), enclosure, process.kill),
            name="enclave-channel",
            daemon=True,
        )
        service.start()
        stack.callback(service.join)
        stack.callback(_shut, ours)  # first of all: from here on nobody is answered, whatever becomes of the process
        yield process


def _shut(connection: socket.socket) -> None:
    """Wake whoever waits on the connection: to close it would leave them waiting."""
    with suppress(OSError):
        connection.shutdown(socket.SHUT_RDWR)


def _startup(grant: Grant) -> dict[str, Any]:
    """What the agent is told; all of it comes from the untrusted host."""
    return {
        "environment": dict(grant.host_environment),
        "config_id": grant.config_id,
        "args": list(grant.args),
        "volumes": sorted(grant.volumes),
    }


def _sandbox(loaded: LoadedEnclave, grant: Grant, run_folder: Path, descriptor: int) -> Sandbox:
    manifest = loaded.manifest
    mounts = [Mount(run_folder, RUN_FOLDER)]
    mounts += [_mount(path, f"{VOLUMES_FOLDER}/{name}", folder=True) for name, path in grant.volumes.items()]
    mounts += [_mount(path, inside, folder=False) for inside, path in grant.host_paths.items()]
    return Sandbox(
        rootfs=loaded.rootfs,
        argv=manifest.runtime,
        env={PLATFORM_FD: str(descriptor)},
        mounts=tuple(mounts),
        tmpfs=_memory_folders(manifest),
        network=manifest.network,
        limits=grant.limits,
        pass_fds=(descriptor,),
    )


def _mount(path: Path, inside: str, *, folder: bool) -> Mount:
    if not (path.is_dir() if folder else path.exists()):
        raise RequestError(
            f"{path} is no {'folder' if folder else 'file or folder'} of this host", code="platform.launch.path"
        )
    return Mount(path, inside, read_only=path.is_file())


def _memory_folders(manifest: Manifest) -> dict[str, int]:
    """Writable folders, parents before what lies below them."""
    volume_bytes = max(manifest.heap_bytes, _MIN_VOLUME_BYTES)
    folders = {_RUN_TMPFS: _RUN_BYTES, **dict.fromkeys(manifest.volumes.values(), volume_bytes), **manifest.tmpfs}
    return dict(sorted(folders.items()))
