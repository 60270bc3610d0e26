"""Starting, watching and stopping the processes of a local network.

One thread owns all children: they are told to end when that thread's process dies (``PR_SET_PDEATHSIG``), so nothing
survives a killed supervisor. Each writes to its own log file, is waited for until it answers, is restarted with a
growing pause when it dies, and is stopped in the reverse of the start order.
"""

from __future__ import annotations

import contextlib
import ctypes
import os
import signal
import subprocess
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path

from adyton.base.errors import AdytonError
from adyton.base.log import get_logger

_log = get_logger("devnet.processes")
_PR_SET_PDEATHSIG = 1
_STOP_TIMEOUT_S = 10.0
_LONGEST_PAUSE_S = 30.0
_STABLE_AFTER_S = 60.0
_LAST_LINES = 12
_LOOK_S = 0.05
_libc = ctypes.CDLL(None, use_errno=True)


class ServiceFailedError(AdytonError):
    """A service ended, or did not answer in time, while the network was starting."""

    code = "devnet.service.failed"


class StartInterruptedError(AdytonError):
    """The network was asked to stop before it was ready."""

    code = "devnet.interrupted"


@dataclass(frozen=True, slots=True)
class ServiceSpec:
    """How to run one service.

    Attributes:
        name: what people call it.
        command: argument vector.
        healthy: answers True once the service can be used; must not raise.
        log_file: standard output and error are appended here.
        endpoint: where it listens, for people.
        environment: added to a minimal inherited environment.
        ready_timeout_s: seconds it may take to become healthy.
    """

    name: str
    command: Sequence[str]
    healthy: Callable[[], bool]
    log_file: Path
    endpoint: str
    environment: Mapping[str, str] = field(default_factory=dict)
    ready_timeout_s: float = 90.0


@dataclass(slots=True)
class Service:
    """One running (or restarting) service."""

    spec: ServiceSpec
    process: subprocess.Popen[bytes]
    started_at: datetime
    ready_s: float | None = None
    restarts: int = 0
    restart_at: float | None = None

    @property
    def state(self) -> str:
        """``ready``, ``starting`` or ``restarting``."""
        if self.restart_at is not None:
            return "restarting"
        return "starting" if self.ready_s is None else "ready"


class Supervisor:
    """Owns the processes of one network; use from one thread only.

    Args:
        on_change: called with all services whenever one changes its state.
        stopping: asked while services start; once it answers True, waiting for them ends.
    """

    def __init__(
        self,
        on_change: Callable[[Sequence[Service]], None] = lambda _services: None,
        stopping: Callable[[], bool] = lambda: False,
    ) -> None:
        self._services: list[Service] = []
        self._on_change = on_change
        self._stopping = stopping

    @property
    def services(self) -> Sequence[Service]:
        """All services in start order."""
        return tuple(self._services)

    def start(self, *specs: ServiceSpec) -> None:
        """Start services together and wait until every one is healthy.

        Raises:
            ServiceFailedError: one ended or was not healthy in time; carries its last log lines.
        """
        self.launch(*specs)
        self.wait(*(spec.name for spec in specs))

    def launch(self, *specs: ServiceSpec) -> None:
        """Start services without waiting for them; :meth:`wait` must follow."""
        self._services.extend(Service(spec, _spawn(spec), datetime.now(UTC)) for spec in specs)
        self._on_change(self._services)

    def wait(self, *names: str) -> None:
        """Wait until the named services are healthy; without names, until all are.

        Raises:
            ServiceFailedError: one of all that were launched ended, or was not healthy in time; carries its last log
                lines.
            StartInterruptedError: the network was asked to stop meanwhile.
        """
        while True:
            if self._stopping():
                raise StartInterruptedError("the network was asked to stop while it started")
            starting = [service for service in self._services if service.ready_s is None]
            for service in starting:
                self._check_started(service, (datetime.now(UTC) - service.started_at).total_seconds())
                if service.ready_s is not None:
                    self._on_change(self._services)
            if all(service.ready_s is not None or (names and service.spec.name not in names) for service in starting):
                return
            time.sleep(_LOOK_S)

    def watch_once(self) -> None:
        """Restart what died, each time after a longer pause; call it regularly."""
        for service in self._services:
            if service.restart_at is not None:
                if time.monotonic() >= service.restart_at:
                    self._restart(service)
            elif service.process.poll() is not None:
                pause = min(0.5 * 2**service.restarts, _LONGEST_PAUSE_S)
                _log.warning(
                    "service died", service=service.spec.name, status=service.process.returncode, again_s=pause
                )
                service.restart_at = time.monotonic() + pause
                service.ready_s = None
                self._on_change(self._services)
            elif service.ready_s is None and service.spec.healthy():
                service.ready_s = (datetime.now(UTC) - service.started_at).total_seconds()
                self._on_change(self._services)
            elif service.restarts and (datetime.now(UTC) - service.started_at).total_seconds() > _STABLE_AFTER_S:
                service.restarts = 0

    def stop(self) -> None:
        """Stop all in reverse order: SIGTERM, and SIGKILL for what has not ended ten seconds later."""
        for service in reversed(self._services):
            if service.process.poll() is None:
                service.process.terminate()
                try:
                    service.process.wait(_STOP_TIMEOUT_S)
                except subprocess.TimeoutExpired:
                    _log.warning("service did not end; killing it", service=service.spec.name)
                    service.process.kill()
                    service.process.wait()
        self._services.clear()
        self._on_change(self._services)

    def _check_started(self, service: Service, waited_s: float) -> None:
        spec = service.spec
        if service.process.poll() is not None:
            raise ServiceFailedError(
                f"{spec.name} ended with status {service.process.returncode} while starting",
                hint=f"{_tail(spec.log_file)}\nits whole log is {spec.log_file}",
            )
        if spec.healthy():
            service.ready_s = waited_s
        elif waited_s > spec.ready_timeout_s:
            raise ServiceFailedError(
                f"{spec.name} did not answer at {spec.endpoint} within {spec.ready_timeout_s:.0f} s",
                hint=f"{_tail(spec.log_file)}\nits whole log is {spec.log_file}",
            )

    def _restart(self, service: Service) -> None:
        service.restarts += 1
        service.restart_at = None
        service.process = _spawn(service.spec)
        service.started_at = datetime.now(UTC)
        self._on_change(self._services)


def _spawn(spec: ServiceSpec) -> subprocess.Popen[bytes]:
    inherited = {
        key: os.environ[key] for key in ("PATH", "HOME", "LANG", "TMPDIR", "SSL_CERT_FILE") if key in os.environ
    }
    spec.log_file.parent.mkdir(parents=True, exist_ok=True)
    with spec.log_file.open("ab") as log:
        return subprocess.Popen(
            list(spec.command),
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=subprocess.STDOUT,
            env=inherited | dict(spec.environment),
            start_new_session=True,
            preexec_fn=die_with_parent,  # noqa: PLW1509  # one prctl call; only the child can ask for its death signal
        )


def die_with_parent() -> None:
    """Let this process get SIGTERM when the one that started it ends, however that ends."""
    _libc.prctl(_PR_SET_PDEATHSIG, signal.SIGTERM)


def _tail(file: Path) -> str:
    with contextlib.suppress(OSError):
        return "\n".join(file.read_text(errors="replace").splitlines()[-_LAST_LINES:])
    return ""
