"""What to run and what it may use: values that every back end understands alike.

What every back end must guarantee, whatever the values (proved by ``tests/runner/test_conformance.py``): no
capabilities, no new privileges, a read-only root, own user, pid, mount, ipc and uts namespaces, no /proc of the host,
no core dumps, the seccomp deny list, no environment but the given one, no descriptors but the given ones, and death
together with the process that started it.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from types import MappingProxyType
from typing import Protocol

from adyton.base.errors import AdytonError, InputError


class RunnerError(AdytonError):
    """The sandbox could not be started."""

    code = "runner.start"


class RunnerMissingError(RunnerError):
    """No program that can confine is usable on this machine."""

    code = "runner.missing"
    hint = "install bubblewrap: apt-get install -y bubblewrap"


@dataclass(frozen=True, slots=True)
class Limits:
    """Upper bounds; None leaves the host's own.

    Attributes:
        memory_bytes: memory of all processes together where control groups can be used, else data of each process.
        processes: processes and threads at one time.
        file_bytes: size of any one file written.
        open_files: descriptors of a process.
        cpu_s: processor seconds of a process.
        timeout_s: seconds from the start until everything is killed.
    """

    memory_bytes: int | None = None
    processes: int | None = 1024
    file_bytes: int | None = None
    open_files: int | None = 1024
    cpu_s: int | None = None
    timeout_s: float | None = None

    def __post_init__(self) -> None:
        for name in ("memory_bytes", "processes", "file_bytes", "open_files", "cpu_s", "timeout_s"):
            value = getattr(self, name)
            if value is not None and value <= 0:
                raise InputError(f"the limit {name} must be positive, not {value}", code="runner.limits")


@dataclass(frozen=True, slots=True)
class Mount:
    """A folder or file of the host that appears at ``target`` inside."""

    source: Path
    target: str
    read_only: bool = True


@dataclass(frozen=True, slots=True, kw_only=True)
class Sandbox:
    """One confined run.

    Attributes:
        rootfs: folder that becomes the read-only root.
        argv: program, by its path inside, and arguments; visible to other users of the host.
        env: the whole environment.
        cwd: working directory inside.
        mounts: what else is visible.
        tmpfs: writable folders in memory: path to size in bytes.
        network: whether the host's network is there; otherwise there is loopback only.
        limits: upper bounds.
        pass_fds: descriptors that stay open inside under the same numbers.
        hostname: name of the machine as seen inside.
    """

    rootfs: Path
    argv: tuple[str, ...]
    env: Mapping[str, str] = field(default_factory=lambda: MappingProxyType({}))
    cwd: str = "/"
    mounts: tuple[Mount, ...] = ()
    tmpfs: Mapping[str, int] = field(default_factory=lambda: MappingProxyType({}))
    network: bool = False
    limits: Limits = field(default_factory=Limits)
    pass_fds: tuple[int, ...] = ()
    hostname: str = "enclave"

    def __post_init__(self) -> None:
        texts = [*self.argv, *self.env, *self.env.values(), self.cwd, self.hostname, *self.tmpfs]
        if not self.argv or any("\0" in text for text in texts):
            raise InputError("a sandbox needs a program, and no text of it may hold a zero byte", code="runner.sandbox")
        if any("=" in name or not name for name in self.env):
            raise InputError("an environment name is empty or has an equals sign", code="runner.sandbox")


@dataclass(frozen=True, slots=True)
class ExitStatus:
    """How a run ended.

    Attributes:
        code: exit status; 128 plus the signal's number where a signal ended it.
        timed_out: whether it was killed because its time was over.
        signal: the signal's number, or None. A program that itself exits with 128 + n cannot be told apart.
    """

    code: int
    timed_out: bool = False
    signal: int | None = None


class RunningProcess(Protocol):
    """A started sandbox."""

    @property
    def pid(self) -> int:
        """The first process of the sandbox's pid namespace, as the host numbers it."""

    @property
    def pidfd(self) -> int:
        """Descriptor of that process; readable when everything inside has ended. Valid until :meth:`wait` returned."""

    def wait(self, timeout_s: float | None = None) -> ExitStatus:
        """Wait for the end; when ``timeout_s`` or the limit of the sandbox passes first, kill and say so."""

    def signal(self, number: int) -> None:
        """Send a signal to the program inside."""

    def kill(self) -> None:
        """End everything inside at once."""


class Runner(Protocol):
    """A back end."""

    def start(self, sandbox: Sandbox, stdout: int, stderr: int) -> RunningProcess:
        """Start ``sandbox`` with the given descriptors as standard output and error, and no input.

        Raises:
            RunnerError: it cannot be started.
        """
