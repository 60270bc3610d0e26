"""Taken ports: who holds one, and free ones to use instead."""

from __future__ import annotations

import contextlib
import pwd
import secrets
import socket
from collections.abc import Iterator
from pathlib import Path

from adyton.devnet.network import HOST, Ports
from adyton.web.server import PortInUseError

_LISTENING = "0A"  # TCP_LISTEN in /proc/net/tcp
_PRIVATE = range(20_000, 32_000)  # below the ports that the system gives to outgoing connections


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
                hint=f"stop that program, or choose another port: --port {option}={private_ports().chain}"
                f" (or ADYTON_PORT_{service.upper()})",
            )


def private_ports() -> Ports:
    """Free ports for a network that nobody else needs to find, chosen so that two such networks hardly ever meet."""
    found: list[int] = []
    while len(found) < len(Ports.model_fields):
        port = _PRIVATE.start + secrets.randbelow(len(_PRIVATE))
        if port not in found and is_free(port):
            found.append(port)
    return Ports(**dict(zip(Ports.model_fields, found, strict=True)))


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
