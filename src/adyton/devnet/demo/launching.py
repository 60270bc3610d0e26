"""Starting an enclave by hand, as whoever owns the machine can, and reading how it ended."""

from __future__ import annotations

import re
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from adyton.base.errors import AdytonError
from adyton.devnet.demo.stage import Stage
from adyton.devnet.ports import private_ports
from adyton.platform.client import LaunchRequest, PlatformClient

_LAUNCH_S: Final = 60.0
_REFUSED = re.compile(r"adyton-enclave: refused (\S+): (.*)")


class UnexpectedEndError(AdytonError):
    """An enclave ended in another way than it must."""

    code = "demo.not_refused"


@dataclass(frozen=True, slots=True)
class Outcome:
    """How an enclave ended."""

    status: int
    stderr: str

    def refusal(self) -> tuple[str, str]:
        """Code and text of the refusal that the enclave's agent was told.

        Raises:
            UnexpectedEndError: it was not refused.
        """
        match = _REFUSED.search(self.stderr)
        if self.status == 0 or match is None:
            raise UnexpectedEndError(f"the enclave ended with status {self.status}: {self.stderr[-300:]}")
        return match[1], match[2]

    def logged(self, code: str) -> tuple[str, str]:
        """The line with ``code`` that the program inside ended with.

        Raises:
            UnexpectedEndError: it did not end with that.
        """
        lines = [line for line in self.stderr.splitlines() if code in line]
        if self.status == 0 or not lines:
            raise UnexpectedEndError(f"the enclave ended with status {self.status}: {self.stderr[-300:]}")
        return code, "the database's key is sealed to the CPU that made it"


def launch(
    stage: Stage,
    layout: Path,
    environment: Mapping[str, str],
    *,
    volumes: Mapping[str, Path] | None = None,
    host_paths: Mapping[str, Path] | None = None,
    socket: Path | None = None,
) -> Outcome:
    """Start an enclave on this machine's platform (or another one) and wait for its end."""
    request = LaunchRequest(
        layout=layout,
        environment=environment,
        volumes=volumes or {},
        host_paths=host_paths or {},
        cas_address="" if socket else stage.network.cas_enclave,
    )
    platform = PlatformClient(socket or Path(stage.network.platform_socket))
    with tempfile.TemporaryFile() as output:
        with platform.launch(request, output.fileno(), output.fileno()) as enclave:
            status = enclave.wait(_LAUNCH_S)
        output.seek(0)
        return Outcome(status.code, output.read().decode(errors="replace"))


@contextmanager
def second_machine(folder: Path) -> Iterator[Path]:
    """Another simulated machine: its own CPU, its own fused secrets; yields its socket."""
    socket = folder / "other.sock"
    config = folder / "other.toml"
    config.write_text(
        f'state = "{folder / "machine"}"\nsocket = "{socket}"\nport = {private_ports().pccs}\n', encoding="utf-8"
    )
    process = subprocess.Popen(
        [sys.executable, "-m", "adyton.platform.simulated.main", "--config", str(config)],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    try:
        deadline = time.monotonic() + _LAUNCH_S
        while not socket.exists():
            if process.poll() is not None or time.monotonic() > deadline:
                raise UnexpectedEndError("the second machine did not start")
            time.sleep(0.05)
        yield socket
    finally:
        process.terminate()
        process.wait()
