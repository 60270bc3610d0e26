"""Services as processes of their own, started from a settings file as they are in operation."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
from pathlib import Path

import httpx2
from tests.ports import free_port
from tests.waiting import PATIENCE_S, until


def start_and_stop(module: str, folder: Path, **settings: object) -> str:
    """Run a service on a free port until it says that it is up, then ask it to end; gives what it logged."""
    port = free_port()
    config = folder / "settings.toml"
    config.write_text("".join(f"{name} = {json.dumps(value)}\n" for name, value in {"port": port, **settings}.items()))
    log = folder / "log"
    with (
        log.open("wb") as stderr,
        subprocess.Popen([sys.executable, "-m", module, "--config", str(config)], stderr=stderr) as process,
    ):
        try:
            until(lambda: process.poll() is not None or _is_up(port), what=f"the start of {module}")
            assert process.poll() is None, log.read_text()
        finally:
            process.send_signal(signal.SIGTERM)
        process.wait(PATIENCE_S)
    return log.read_text()


def _is_up(port: int) -> bool:
    try:
        return bool(httpx2.get(f"http://127.0.0.1:{port}/actuator/health", trust_env=False).json() == {"status": "UP"})
    except httpx2.HTTPError:
        return False
