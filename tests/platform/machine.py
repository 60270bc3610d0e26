"""A real platform daemon process and real enclave images, for the tests of this room and those above it.

    with running_daemon(folder) as machine:
        machine.client.launch(...)
        code, out, err = machine.run(layout, args=("show",))

``build_native(folder, files)`` makes a native image with this machine's Python; ``enclave(native, folder, **options)``
makes an enclave of it. Building is cached in the user's cache folder, so only the first run of a machine is slow.
"""

from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tests.waiting import PATIENCE_S, until

from adyton.enclave.native import build_image
from adyton.enclave.sconify import SconeImage, SconifyOptions, sconify
from adyton.platform.client import LaunchRequest, PlatformClient
from adyton.runner.profile import ExitStatus


@dataclass(frozen=True, slots=True)
class Outcome:
    """How a launch ended, with what it wrote."""

    status: ExitStatus
    stdout: str
    stderr: str
    mrenclave: str


@dataclass(frozen=True, slots=True)
class Machine:
    """A running daemon."""

    client: PlatformClient
    state: Path
    process: subprocess.Popen[bytes]

    def run(self, layout: Path, *, timeout_s: float = PATIENCE_S, **request: Any) -> Outcome:  # noqa: ANN401  # of LaunchRequest
        """Launch, wait for the end, and return everything."""
        with tempfile.TemporaryFile() as out, tempfile.TemporaryFile() as err:
            with self.client.launch(LaunchRequest(layout=layout, **request), out.fileno(), err.fileno()) as enclave:
                status = enclave.wait(timeout_s)
            out.seek(0)
            err.seek(0)
            return Outcome(status, out.read().decode(), err.read().decode(), enclave.mrenclave)

    @property
    def log(self) -> str:
        """What the daemon has logged so far."""
        return (self.state.parent / "daemon.log").read_text()

    @property
    def descriptors(self) -> int:
        """How many descriptors the daemon has open."""
        return len(list(Path(f"/proc/{self.process.pid}/fd").iterdir()))

    @property
    def threads(self) -> int:
        """How many threads the daemon has."""
        return len(list(Path(f"/proc/{self.process.pid}/task").iterdir()))

    @property
    def children(self) -> list[int]:
        """Processes the daemon started that still run."""
        listing = subprocess.run(
            ["ps", "-o", "pid=", "--ppid", str(self.process.pid)], capture_output=True, text=True, check=False
        )
        return [int(line) for line in listing.stdout.split()]


@contextlib.contextmanager
def running_daemon(folder: Path, **settings: int | str) -> Iterator[Machine]:
    """A daemon of its own below ``folder``; leaving the block stops it, and its state stays.

    ``settings`` are of PlatformSettings; the log is ``daemon.log`` in the folder, temporary files are in ``tmp``.
    """
    folder.mkdir(parents=True, exist_ok=True)
    config = folder / "platform.toml"
    values = {"state": str(folder / "state"), "port": 0, "log_level": "info", **settings}
    config.write_text("".join(f"{name} = {json.dumps(value)}\n" for name, value in values.items()))
    (folder / "tmp").mkdir(exist_ok=True)
    with (folder / "daemon.log").open("ab") as log:
        process = subprocess.Popen(
            [sys.executable, "-m", "adyton.platform.simulated.main", "--config", str(config)],
            stdout=log,
            stderr=log,
            env={"PATH": os.environ["PATH"], "HOME": os.environ.get("HOME", "/"), "TMPDIR": str(folder / "tmp")},
        )
    socket_path = folder / "state" / "platform.sock"
    try:
        until(lambda: socket_path.exists() or process.poll() is not None, what="the daemon's start")
        assert process.poll() is None, (folder / "daemon.log").read_text()
        yield Machine(PlatformClient(socket_path), folder / "state", process)
    finally:
        process.send_signal(signal.SIGTERM)
        try:
            process.wait(PATIENCE_S)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


def steal_channel(outer: int) -> int:
    """Duplicate the enclave's end of its channel into this process, as the host's root can (pidfd_getfd(2)).

    Args:
        outer: the daemon's child that runs the enclave.
    """
    import ctypes  # noqa: PLC0415  # for a system call that Python does not offer

    libc = ctypes.CDLL(None, use_errno=True)
    inner = innermost(outer)
    pidfd = os.pidfd_open(inner)
    try:
        for entry in Path(f"/proc/{inner}/fd").iterdir():
            if str(entry.readlink()).startswith("socket:"):
                return int(libc.syscall(438, pidfd, int(entry.name), 0))
    finally:
        os.close(pidfd)
    raise AssertionError("the enclave has no channel")


def innermost(outer: int) -> int:
    """The last process below ``outer``: the program of an enclave that has one."""
    tree = [outer]
    for pid in tree:
        tree += [int(text) for text in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]
    return tree[-1]


def build_native(folder: Path, files: Mapping[str, str], **options: Any) -> Path:  # noqa: ANN401  # of build_image
    """A native image whose ``/app`` has ``files``; returns the layout."""
    app, layout = folder / "app", folder / "native"
    app.mkdir(parents=True)
    for name, text in files.items():
        (app / name).write_text(text)
    build_image(app, layout, command="python3 /app/app.py", **options)
    return layout


def enclave(native: Path, folder: Path, **options: Any) -> tuple[Path, SconeImage]:  # noqa: ANN401  # of SconifyOptions
    """An enclave of a native image; a debug one unless a ``signer`` is given. Returns layout and measurement."""
    layout = folder / f"enclave-{len(list(folder.glob('enclave-*')))}"
    values: dict[str, Any] = {"name": "demo", "heap_bytes": 64 << 20}
    return layout, sconify(native, layout, SconifyOptions(**values | options))
