"""Taken ports: who holds one, and free ones to use instead."""

from __future__ import annotations

import contextlib
import pwd
import socket
from collections.abc import Iterator
from pathlib import Path

from adyton.devnet.network import HOST, Ports
from adyton.web.server import PortInUseError

_LISTENING = "0A"  # TCP_LISTEN in /proc/net/tcp


def require_free(ports: Ports) -> None:
    """Make sure that every port can be listened on.

    Raises:
        PortInUseError: one is taken; names the service, the program that holds it if it can be seen, and the remedy.
    """
    for service, port in ports.model_dump().items():
        if not is_free(port):
            option = service.replace("_", "-")
            raise PortInUseError(
                f"port {port}, which {option} is to listen on, is taken by {holder(port)}",
                hint=f"stop that program, or choose another port: --port {option}={_free_port()}"
                f" (or ADYTON_PORT_{service.upper()})",
            )


def free_ports(wanted: Ports | None = None) -> Ports:
    """The wanted ports where they are free, and others chosen by the system where not."""
    chosen = (wanted or Ports.choose({})).model_dump()
    taken = set(chosen.values())
    for service, port in chosen.items():
        if not is_free(port):
            other = _free_port()
            while other in taken:
                other = _free_port()
            chosen[service] = other
            taken.add(other)
    return Ports(**chosen)


def is_free(port: int) -> bool:
    """Whether a service could listen on the port now."""
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((HOST, port))
        except OSError:
            return False
    return True


def holder(port: int) -> str:
    """Who listens on the port: program, process and user, as far as this user may see."""
    for inode, uid in _listeners(port):
        with contextlib.suppress(KeyError):
            user = pwd.getpwuid(uid).pw_name
            for pid in _processes_of(inode):
                name = Path(f"/proc/{pid}/comm").read_text(encoding="utf-8").strip()
                return f"{name} (process {pid}, user {user})"
            return f"a program of user {user}"
    return "another program"


def _listeners(port: int) -> Iterator[tuple[str, int]]:
    for table in ("/proc/net/tcp", "/proc/net/tcp6"):
        with contextlib.suppress(OSError):
            for line in Path(table).read_text(encoding="ascii").splitlines()[1:]:
                fields = line.split()
                if fields[3] == _LISTENING and int(fields[1].rpartition(":")[2], 16) == port:
                    yield fields[9], int(fields[7])


def _processes_of(inode: str) -> Iterator[int]:
    for process in Path("/proc").iterdir():
        if process.name.isdigit():
            with contextlib.suppress(OSError):
                for descriptor in (process / "fd").iterdir():
                    with contextlib.suppress(OSError):
                        if str(descriptor.readlink()) == f"socket:[{inode}]":
                            yield int(process.name)


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind((HOST, 0))
        return int(probe.getsockname()[1])
