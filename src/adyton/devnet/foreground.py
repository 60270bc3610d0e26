"""Running a network in the foreground with a live table, or detached from the terminal."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from types import FrameType
from typing import TextIO

from rich.console import Console, Group, RenderableType
from rich.live import Live
from rich.text import Text

from adyton.base import log
from adyton.base.errors import AdytonError
from adyton.devnet import supervision, table
from adyton.devnet.local import LocalNetwork
from adyton.devnet.network import Network, Ports
from adyton.devnet.paths import NetworkPaths
from adyton.devnet.processes import ServiceFailedError

_WATCH_S = 0.25
_DETACHED_READY_S = 300.0


def run(paths: NetworkPaths, ports: Ports) -> None:
    """Start the network, show it until SIGINT or SIGTERM, then stop it.

    Raises:
        AlreadyRunningError: it runs already.
        AdytonError: it did not start; what had started is stopped again.
    """
    log.configure("warning")
    supervision.refuse_if_running(paths)
    stopping = threading.Event()

    def ask_to_stop(_number: int, _frame: FrameType | None) -> None:
        if stopping.is_set():
            raise KeyboardInterrupt
        stopping.set()

    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, ask_to_stop)
    view = _View(paths)
    network = LocalNetwork(paths, ports, view.say, stopping.is_set)
    try:
        with view:
            description = _start(network, stopping)
            if description is not None:
                view.ready(description)
                while not stopping.wait(_WATCH_S):
                    network.watch_once()
            view.say("stopping")
    finally:
        network.stop()


def _start(network: LocalNetwork, stopping: threading.Event) -> Network | None:
    try:
        return network.start()
    except AdytonError as error:
        if stopping.is_set():  # a service that was interrupted while it started is no failure
            return None
        network.fail(f"{error.message}\n{error.hint}".strip())
        raise


class _View:
    """The live table on a terminal; plain lines elsewhere."""

    def __init__(self, paths: NetworkPaths) -> None:
        self._paths = paths
        self._console = Console(stderr=True, highlight=False)
        self._line = ""
        self._network: Network | None = None
        self._begun = time.monotonic()
        self._live = Live(get_renderable=self._render, console=self._console, refresh_per_second=4, transient=False)

    def __enter__(self) -> None:
        if self._console.is_terminal:
            self._live.start()

    def __exit__(self, *_: object) -> None:
        if self._console.is_terminal:
            self._live.stop()

    def say(self, line: str) -> None:
        self._line = line
        if not self._console.is_terminal:
            self._console.print(f"{time.monotonic() - self._begun:5.1f} s  {line}")

    def ready(self, network: Network) -> None:
        self._network = network
        self._line = "Ctrl-C stops the network"
        if not self._console.is_terminal:
            self._console.print(table.next_steps(network))

    def _render(self) -> Group:
        status = supervision.read(self._paths)
        parts: list[RenderableType] = [] if status is None else [table.services_table(status)]
        if self._network is not None:
            parts.append(table.next_steps(self._network))
        parts.append(Text(self._line, style="dim"))
        return Group(*parts)


def start_detached(
    paths: NetworkPaths, ports: Ports, *, say: Callable[[str], object] = sys.stderr.write, tied: bool = False
) -> Network:
    """Start the network as a process of its own and return when it is ready.

    Args:
        paths: its folder.
        ports: where its services listen.
        say: called with what the starting network prints, as it prints it.
        tied: let it end with this process.

    Raises:
        AlreadyRunningError: it runs already.
        ServiceFailedError: it did not start; carries its reason.
    """
    supervision.refuse_if_running(paths)
    paths.status_file.unlink(missing_ok=True)
    command = [
        sys.executable,
        "-m",
        "adyton.devnet.detached",
        str(paths.root),
        ports.model_dump_json(),
        *(["tied"] if tied else []),
    ]
    with paths.supervisor_log.open("ab") as output:
        offset = output.tell()
        process = subprocess.Popen(
            command, stdin=subprocess.DEVNULL, stdout=output, stderr=output, start_new_session=True, env=os.environ
        )
    with paths.supervisor_log.open(encoding="utf-8", errors="replace") as progress:
        progress.seek(offset)
        return _follow(paths, process, progress, say)


def _follow(
    paths: NetworkPaths, process: subprocess.Popen[bytes], progress: TextIO, say: Callable[[str], object]
) -> Network:
    deadline = time.monotonic() + _DETACHED_READY_S
    while time.monotonic() < deadline:
        say(progress.read())
        status = supervision.read(paths)
        if status is not None and status.pid == process.pid and status.phase == "ready":
            return Network.read(paths)
        if process.poll() is not None:
            reason = status.message if status is not None and status.message else f"see {paths.supervisor_log}"
            what, _, why = reason.partition("\n")
            raise ServiceFailedError(f"the network did not start: {what}", hint=why)
        time.sleep(0.1)
    process.terminate()
    raise ServiceFailedError(
        f"the network was not ready within {_DETACHED_READY_S:.0f} s", hint=f"see {paths.supervisor_log}"
    )
