"""An enclave as a process that a supervisor can run: starts it on the platform, passes signals on, ends as it ends.

``python -m adyton.devnet.enclave_process FILE`` where FILE is JSON: ``{"socket", "layout", "environment",
"host_paths", "cas_address"}``. It holds nothing secret: what an enclave must not share comes from its CAS.
"""

from __future__ import annotations

import json
import signal
import sys
from dataclasses import asdict, dataclass, field
from pathlib import Path
from types import FrameType

from adyton.base import log
from adyton.base.errors import AdytonError
from adyton.base.files import write_atomic
from adyton.platform.client import LaunchRequest, PlatformClient


@dataclass(frozen=True, slots=True)
class EnclaveProcess:
    """Which enclave to run with what of the host.

    Attributes:
        socket: the platform's socket.
        layout: OCI layout of the enclave image.
        environment: names the image's manifest lets the host set.
        host_paths: path inside to folder outside.
        cas_address: attested endpoint of the CAS that configures it; empty when none does.
    """

    socket: str
    layout: str
    environment: dict[str, str] = field(default_factory=dict)
    host_paths: dict[str, str] = field(default_factory=dict)
    cas_address: str = ""

    def command(self, file: Path) -> list[str]:
        """Write this to ``file`` and return the argument vector that runs it."""
        write_atomic(file, json.dumps(asdict(self), indent=2).encode() + b"\n")
        return [sys.executable, "-m", "adyton.devnet.enclave_process", str(file)]

    def request(self) -> LaunchRequest:
        """What to ask of the platform."""
        return LaunchRequest(
            layout=Path(self.layout),
            environment=self.environment,
            host_paths={inside: Path(outside) for inside, outside in self.host_paths.items()},
            cas_address=self.cas_address,
        )


def main(arguments: list[str]) -> int:
    """Run the enclave that the file describes; returns its exit status, 1 when the platform refuses it."""
    log.configure()
    wanted = EnclaveProcess(**json.loads(Path(arguments[0]).read_text(encoding="utf-8")))
    try:
        with PlatformClient(Path(wanted.socket)).launch(wanted.request(), 1, 2) as enclave:

            def pass_on(number: int, _frame: FrameType | None) -> None:
                enclave.signal(number)

            for number in (signal.SIGTERM, signal.SIGINT):
                signal.signal(number, pass_on)
            return enclave.wait().code
    except AdytonError as error:
        log.get_logger("devnet.enclave").error("enclave not started", code=error.code, detail=error.message)
        return 1


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
