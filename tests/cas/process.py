"""The CAS as a process of its own in a simulated world, for those that send it what no client would."""

from __future__ import annotations

import socket
import subprocess
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from tests.cas.house import CAS, House, Running
from tests.cas.test_main import Everyone, settings, start
from tests.ports import free_port
from tests.waiting import PATIENCE_S, until

from adyton.base.errors import UnavailableError
from adyton.platform.client import PLATFORM_FD
from adyton.platform.simulated import channel


@dataclass(frozen=True, slots=True)
class CasProcess:
    """A CAS that answers, its process, and what it has logged so far."""

    cas: Running
    process: subprocess.Popen[str]
    lines: list[str]

    @property
    def log(self) -> str:
        return "".join(self.lines)


@contextmanager
def cas_process(house: House, **values: str) -> Iterator[CasProcess]:
    """Run a CAS until the block ends; ``values`` are settings by the names of their variables."""
    ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_STREAM)
    platform = house.world.platform(CAS)
    threading.Thread(target=channel.serve, args=(ours, platform, {}, Everyone(), lambda: None), daemon=True).start()
    cas = Running(house.world, house.folder / "cas", house.folder, free_port(), free_port())
    environment = settings(house, cas.rest_port, cas.attested_port) | values
    with start({**environment, PLATFORM_FD: str(theirs.fileno())}, theirs.fileno()) as process:
        theirs.close()
        lines: list[str] = []
        reader = threading.Thread(target=lambda: lines.extend(process.stderr or ()), daemon=True)
        reader.start()
        try:
            until(lambda: process.poll() is not None or _is_up(cas), what="the start of the CAS")
            assert process.poll() is None, "".join(lines)
            yield CasProcess(cas, process, lines)
        finally:
            process.terminate()
            process.wait(PATIENCE_S)
            reader.join(PATIENCE_S)


def _is_up(cas: Running) -> bool:
    try:
        with cas.connect():
            return True
    except UnavailableError:
        return False


def owner_files(cas: Running, name: str = "owner") -> tuple[Path, Path, Path]:
    """Client certificate, key and the CAS's root, once trusted."""
    cas.owner(name)
    folder = cas.folder / name
    return folder / "cas-client.pem", folder / "cas-client.key", folder / "cas-ca.pem"
