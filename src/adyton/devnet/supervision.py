"""The supervisor process of a network, as other commands see it: is it there, what does it say, make it stop."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

from adyton.base.errors import AdytonError
from adyton.base.files import write_atomic
from adyton.devnet.paths import NetworkPaths
from adyton.devnet.processes import Service

_STOP_TIMEOUT_S = 60.0


class AlreadyRunningError(AdytonError):
    """Another supervisor runs this network."""

    code = "devnet.already_running"


class WillNotStopError(AdytonError):
    """The supervisor did not end in time."""

    code = "devnet.will_not_stop"


@dataclass(frozen=True, slots=True)
class ServiceStatus:
    """What people see of a service."""

    name: str
    state: str
    endpoint: str
    pid: int
    restarts: int
    ready_s: float | None
    since: str


@dataclass(frozen=True, slots=True)
class Status:
    """The supervisor's last word.

    Attributes:
        pid: its process.
        pid_started: that process's start time in clock ticks, so that a re-used pid is not mistaken for it.
        phase: ``starting``, ``ready``, ``stopping`` or ``failed``.
        message: why it failed, else empty.
        services: in start order.
    """

    pid: int
    pid_started: int
    phase: str
    message: str
    services: tuple[ServiceStatus, ...]

    def alive(self) -> bool:
        """Whether that very process still exists."""
        return process_started(self.pid) == self.pid_started


def process_started(pid: int) -> int | None:
    """Start time of a process in clock ticks since boot (``/proc/PID/stat`` field 22), None when there is none."""
    try:
        text = Path(f"/proc/{pid}/stat").read_text(encoding="utf-8")
    except OSError:
        return None
    fields = text.rpartition(")")[2].split()
    return None if fields[0] == "Z" else int(fields[19])


def publish(paths: NetworkPaths, phase: str, services: Sequence[Service], message: str = "") -> None:
    """Write this process's word for others to read."""
    status = Status(
        pid=os.getpid(),
        pid_started=process_started(os.getpid()) or 0,
        phase=phase,
        message=message,
        services=tuple(
            ServiceStatus(
                name=service.spec.name,
                state=service.state,
                endpoint=service.spec.endpoint,
                pid=service.process.pid,
                restarts=service.restarts,
                ready_s=service.ready_s,
                since=service.started_at.isoformat(timespec="seconds"),
            )
            for service in services
        ),
    )
    write_atomic(paths.status_file, json.dumps(asdict(status), indent=2).encode() + b"\n")


def read(paths: NetworkPaths) -> Status | None:
    """The last word, or None when there never was one."""
    try:
        raw = json.loads(paths.status_file.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return None
    services = tuple(ServiceStatus(**service) for service in raw.pop("services"))
    return Status(**raw, services=services)


def refuse_if_running(paths: NetworkPaths) -> None:
    """Make sure that no other supervisor runs this network.

    Raises:
        AlreadyRunningError: one does.
    """
    status = read(paths)
    if status is not None and status.alive() and status.pid != os.getpid():
        raise AlreadyRunningError(
            f"the network in {paths.root} is already running (process {status.pid})",
            hint="see it with 'adyton status', stop it with 'adyton down', or start another with --state FOLDER",
        )


def stop(paths: NetworkPaths) -> bool:
    """Ask the supervisor to stop and wait until it has; False when none was running.

    Raises:
        WillNotStopError: it still runs a minute later.
    """
    status = read(paths)
    if status is None or not status.alive():
        return False
    os.kill(status.pid, signal.SIGTERM)
    deadline = time.monotonic() + _STOP_TIMEOUT_S
    while status.alive():
        if time.monotonic() > deadline:
            raise WillNotStopError(
                f"process {status.pid} still runs {_STOP_TIMEOUT_S:.0f} s after it was asked to stop",
                hint=f"its log is {paths.supervisor_log}; as a last resort: kill -9 {status.pid}",
            )
        time.sleep(0.1)
    with contextlib.suppress(FileNotFoundError):
        paths.status_file.unlink()
    return True
