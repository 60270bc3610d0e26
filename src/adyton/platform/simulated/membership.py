"""Which process may speak for an enclave: those that the platform started, and what they started inside.

Identity is never a claim. The kernel names the sender of every piece of a request, and a sender is part of the enclave
if all of this holds, at this very moment:

1. the enclave's first process, to which EINIT's result was tied, still lives;
2. so does the sender; it is held by a pidfd, so that its number cannot be used again while it is looked at. A program
   that asked and ended gets no answer;
3. its parents lead to that first process. Orphans inside are adopted by it, because it is the first of a pid namespace.
   A child inside is part of the enclave: it runs only files that were measured with it, in the same sandbox, and the
   enclave chose to start it. As on real hardware, an enclave answers for everything it runs;
4. it is in the enclave's own pid namespace, not in one below: what left the sandbox's shape is no longer it;
5. nothing of a production enclave is traced: a debugger reads memory and puts words into its mouth. On real hardware it
   cannot; here it is noticed at the next request, which ends the enclave. Debug enclaves may be traced, as on hardware.

What this does not stop: the host's root, and the user whom the platform runs as (who owns the sandbox's user namespace,
and with it every right over what is inside, PR_SET_DUMPABLE or not). They read memory without tracing, take answers off
a copied descriptor, and can enter the namespaces to put an inner process's number on what they send. A simulated
platform proves formats and code paths, not secrecy.
"""

from __future__ import annotations

import os
import select
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Final, Self

from adyton.platform.framing import Sender
from adyton.platform.protocol import PlatformError

_MAX_DEPTH: Final = 256
_MOST_BYTES: Final = 1 << 16  # of a file of the process table; they have a few thousand at most
_PROC: Final = Path("/proc")


class StrangerError(PlatformError):
    """A process that is not part of the enclave used its descriptor."""

    code = "platform.channel.stranger"


class TracedError(PlatformError):
    """A process of a production enclave is being traced."""

    code = "platform.channel.traced"


@dataclass(frozen=True, slots=True)
class ProcessStatus:
    """What ``/proc/PID/status`` says of a process (proc(5)).

    Attributes:
        pid: its number.
        parent: its parent's number; 0 where the parent is in another pid namespace than the reader.
        depth: how many pid namespaces it is in, counted from the reader's.
    """

    pid: int
    parent: int
    depth: int


class Enclosure:
    """The processes of one enclave.

    Args:
        pid: first process of the enclave's pid namespace, as this host numbers it; it must be alive.
        pidfd: that process; a copy is kept.
        debug: whether it may be traced.
        proc: where the process table is.

    Raises:
        OSError: no more descriptors.
    """

    def __init__(self, pid: int, pidfd: int, *, debug: bool, proc: Path = _PROC) -> None:
        self._pid = pid
        self._pidfd = os.dup(pidfd)
        self._debug = debug
        self._proc = proc

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_error: object) -> None:
        os.close(self._pidfd)

    def require(self, sender: Sender) -> None:
        """Prove that ``sender`` is part of the enclave, by the rules 1 to 4.

        Raises:
            StrangerError: it is not.
        """
        with ExitStack() as stack:
            pidfd = sender.pidfd
            if pidfd is None:  # an older kernel: the number may have changed hands since it was written down
                pidfd = _open(sender.pid)
                stack.callback(os.close, pidfd)
            require_descendant(sender.pid, self._pid, self._proc)  # (3), (4)
            # last, because it vouches for what was read before: neither number can have changed hands meanwhile
            if _ended(self._pidfd):  # (1)
                raise StrangerError("the enclave has ended")
            if _ended(pidfd):  # (2)
                raise StrangerError(f"process {sender.pid} ended before it could be answered")

    def require_untraced(self) -> None:
        """Prove that nothing of a production enclave is traced now (5).

        Raises:
            TracedError: something is.
        """
        if not self._debug:
            require_untraced(self._pid, self._proc)


def require_descendant(pid: int, ancestor: int, proc: Path = _PROC) -> None:
    """Prove that ``pid`` is ``ancestor`` or was started below it, in the same pid namespace.

    The way up is walked twice. A parent that ends in between, and whose number somebody else gets, hands its children
    on for ever; the second walk then finds another parent.

    Raises:
        StrangerError: it is not.
    """
    way = _way_up(pid, ancestor, proc)
    if not way or way != _way_up(pid, ancestor, proc):
        raise StrangerError(f"process {pid} is not part of the enclave")
    if len({status.depth for status in way}) > 1:
        raise StrangerError(f"process {pid} is in another pid namespace than the enclave")


def require_untraced(root: int, proc: Path = _PROC) -> None:
    """Prove that no thread of ``root`` and of what it started has a tracer.

    Raises:
        TracedError: one has.
    """
    for pid, thread in _threads(root, proc):
        _before, found, rest = _read(f"{proc}/{pid}/task/{thread}/status").partition(b"\nTracerPid:")
        tracer = rest.partition(b"\n")[0].strip() if found else b"0"  # it ended
        if tracer != b"0":
            raise TracedError(f"process {pid} of a production enclave is traced by process {tracer.decode()}")


def _way_up(pid: int, ancestor: int, proc: Path) -> tuple[ProcessStatus, ...]:
    """From ``pid`` to ``ancestor``, both included; empty where there is no such way."""
    way = []
    current = pid
    for _step in range(_MAX_DEPTH):
        status = _status(current, proc)
        if status is None:
            return ()
        way.append(status)
        if current == ancestor:
            return tuple(way)
        current = status.parent
        if current <= 1:
            return ()
    return ()


def _threads(root: int, proc: Path) -> Iterator[tuple[int, str]]:
    """Every thread of ``root`` and of what was started below it."""
    pending, seen = [root], {root}
    while pending:
        pid = pending.pop()
        for thread in _names(f"{proc}/{pid}/task"):
            yield pid, thread
            children = {int(text) for text in _read(f"{proc}/{pid}/task/{thread}/children").split()}
            pending.extend(children - seen)
            seen |= children


def _status(pid: int, proc: Path) -> ProcessStatus | None:
    lines = _read(f"{proc}/{pid}/status").decode(errors="replace").splitlines()
    fields = {name: value for name, _colon, value in (line.partition(":") for line in lines)}
    try:
        return ProcessStatus(pid, int(fields["PPid"]), len(fields["NSpid"].split()))
    except (KeyError, ValueError):  # there is no such process
        return None


def _read(path: str) -> bytes:
    """A file of the process table, empty where the process ended; this runs for every thread at every request."""
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    except OSError:
        return b""
    try:
        return os.read(descriptor, _MOST_BYTES)
    except OSError:
        return b""
    finally:
        os.close(descriptor)


def _names(path: str) -> list[str]:
    try:
        return os.listdir(path)  # noqa: PTH208  # see _read
    except OSError:
        return []


def _open(pid: int) -> int:
    try:
        return os.pidfd_open(pid)
    except (OSError, ValueError) as error:
        raise StrangerError(f"there is no process {pid}") from error


def _ended(pidfd: int) -> bool:
    poller = select.poll()
    poller.register(pidfd, select.POLLIN)
    return bool(poller.poll(0))
