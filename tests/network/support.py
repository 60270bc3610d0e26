"""A whole network for tests: started with the public command, on free ports, in a folder of its own."""

import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import pytest

from adyton.devnet.network import Network
from adyton.devnet.paths import NetworkPaths
from adyton.devnet.ports import private_ports

BIN = Path(sys.executable).parent
REPOSITORY = Path(__file__).parents[2]


def need_whole_machine() -> None:
    """Skip, saying what is missing, where a network cannot run."""
    if shutil.which("bwrap") is None:
        pytest.skip("bubblewrap is missing: 'make setup' installs it or says how")
    if not (REPOSITORY / "node_modules" / "@iexec" / "poco").is_dir():
        pytest.skip("the npm packages are missing: 'make setup' installs them")


def adyton(*words: str, timeout_s: float = 400) -> "subprocess.CompletedProcess[str]":
    """Run the command and return what it printed."""
    return subprocess.run(
        [str(BIN / "adyton"), *words],
        capture_output=True,
        text=True,
        stdin=subprocess.DEVNULL,
        timeout=timeout_s,
        check=False,
    )


@dataclass(frozen=True)
class RunningNetwork:
    """A started network and how to stop and start it again."""

    paths: NetworkPaths
    port_options: tuple[str, ...]

    @property
    def description(self) -> Network:
        return Network.read(self.paths)

    def up(self) -> None:
        started = adyton("up", "--detach", "--state", str(self.paths.root), *self.port_options)
        assert started.returncode == 0, started.stderr

    def down(self) -> None:
        stopped = adyton("down", "--state", str(self.paths.root))
        assert stopped.returncode == 0, stopped.stderr


@contextmanager
def running_network() -> Iterator[RunningNetwork]:
    """Start a network, hand it out, stop it and remove its folder."""
    need_whole_machine()
    # Not pytest's folder: sockets need a short path.
    root = Path(tempfile.mkdtemp(prefix="adyton-test-"))
    options = [word for name, port in private_ports().model_dump().items() for word in ("--port", f"{name}={port}")]
    network = RunningNetwork(NetworkPaths.of(root), tuple(options))
    try:
        network.up()
        yield network
    finally:
        adyton("down", "--state", str(root))
        shutil.rmtree(root, ignore_errors=True)
