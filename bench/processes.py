"""The processes that are measured: started as in operation, and what the kernel says of their time and memory."""

from __future__ import annotations

import contextlib
import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from adyton.base.errors import AdytonError

START_S: Final = 60.0
_TICKS: Final = os.sysconf("SC_CLK_TCK")
_ENVIRONMENT: Final = {"PATH": "/usr/local/bin:/usr/bin:/bin", "LANG": "C.UTF-8", "PYTHONUNBUFFERED": "1"}
"""What an enclave of the native image has (``adyton.enclave.native``)."""


class BenchError(AdytonError):
    """A measurement could not be made."""

    code = "bench.failed"


class MissingError(AdytonError):
    """What a measurement needs is not on this machine; the others go on."""

    code = "bench.missing"


@dataclass(frozen=True, slots=True)
class Memory:
    """Megabytes (10^6 bytes) of one process: resident, its share of what is shared, and the most it ever had resident.

    ``share`` equals ``resident`` where the kernel does not show it: only root may read it of a service that forbids
    dumps of itself.
    """

    resident: float
    share: float
    peak: float

    def __str__(self) -> str:
        return f"{self.resident:.0f} MB resident ({self.share:.0f} MB without what it shares, peak {self.peak:.0f} MB)"


@dataclass(frozen=True, slots=True)
class Service:
    """A running process; ``alone``: without its children."""

    pid: int
    alone: bool = False

    @classmethod
    def this(cls) -> Service:
        """The process that measures, which plays the simulated platform."""
        return cls(os.getpid(), alone=True)

    def cpu_s(self) -> float:
        """Processor seconds that it and its children have used."""
        if self.alone:
            return _cpu_s(self.pid, with_ended=False)
        return sum(_cpu_s(pid) for pid in (self.pid, *_children(self.pid)))

    def memory(self) -> Memory:
        """What it has now."""
        status = _fields(Path(f"/proc/{self.pid}/status"))
        resident, peak = status["VmRSS"], status["VmHWM"]
        try:
            share = _fields(Path(f"/proc/{self.pid}/smaps_rollup"))["Pss"]
        except PermissionError:
            share = resident
        return Memory(resident, share, peak)


@contextlib.contextmanager
def python_service(
    module: str,
    arguments: Sequence[str],
    log: Path,
    *,
    is_up: Callable[[], bool],
    environment: Mapping[str, str] | None = None,
    descriptors: Sequence[int] = (),
) -> Iterator[Service]:
    """Run a service of the package until the block ends.

    Args:
        module: as after ``python -m``.
        arguments: of its command line.
        log: file for what it says.
        is_up: whether it answers.
        environment: beside that of an enclave.
        descriptors: it inherits.

    Raises:
        BenchError: it did not start.
    """
    with log.open("wb") as stream:
        process = subprocess.Popen(
            [sys.executable, "-m", module, *arguments],
            env={**_ENVIRONMENT, **(environment or {})},
            stdout=stream,
            stderr=stream,
            pass_fds=tuple(descriptors),
        )
    try:
        deadline = time.monotonic() + START_S
        while not is_up():
            if process.poll() is not None or time.monotonic() > deadline:
                raise BenchError(f"{module} did not start: {log.read_text(errors='replace')[-2000:]}")
            time.sleep(0.05)
        yield Service(process.pid)
    finally:
        process.terminate()
        try:
            process.wait(20)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


def _cpu_s(pid: int, *, with_ended: bool = True) -> float:
    try:
        stat = Path(f"/proc/{pid}/stat").read_text(encoding="ascii", errors="replace")
    except FileNotFoundError:
        return 0.0
    fields = stat.rpartition(")")[2].split()
    times = fields[11:15] if with_ended else fields[11:13]  # proc(5): utime, stime, and those of ended children
    return sum(map(int, times)) / _TICKS


def _children(pid: int) -> list[int]:
    found = []
    for task in Path(f"/proc/{pid}/task").glob("*/children"):
        with contextlib.suppress(FileNotFoundError):
            found += [int(child) for child in task.read_text(encoding="ascii").split()]
    return found


def _fields(path: Path) -> dict[str, float]:
    """The lines of a file of proc(5) that are in kB, as MB."""
    found = {}
    for line in path.read_text(encoding="ascii", errors="replace").splitlines():
        name, _, value = line.partition(":")
        if value.endswith(" kB"):
            found[name] = int(value[:-3]) * 1024 / 1e6
    return found
