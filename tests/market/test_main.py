"""The service as a process: it starts from its settings file and stops on SIGTERM."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
import time
from pathlib import Path

import httpx2

from adyton.web.server import listen


def free_port() -> int:
    probe = listen("127.0.0.1", 0)
    port: int = probe.getsockname()[1]
    probe.close()
    return port


def test_it_starts_without_a_chain_and_stops(tmp_path: Path) -> None:
    port = free_port()
    settings = {
        "port": port,
        "database": str(tmp_path / "data/market.sqlite"),
        "rpc_url": "http://127.0.0.1:1",
        "hub": "0x" + "11" * 20,
    }
    config = tmp_path / "settings.toml"
    config.write_text("".join(f"{name} = {json.dumps(value)}\n" for name, value in settings.items()))
    command = [sys.executable, "-m", "adyton.market.main", "--config", str(config)]
    with subprocess.Popen(command, stderr=subprocess.PIPE, text=True) as process:
        try:
            deadline = time.monotonic() + 20
            while True:
                assert process.poll() is None
                assert time.monotonic() < deadline
                try:
                    if httpx2.get(f"http://127.0.0.1:{port}/actuator/health").json() == {"status": "UP"}:
                        break
                except httpx2.HTTPError:
                    time.sleep(0.1)
        finally:
            process.send_signal(signal.SIGTERM)
        _, errors = process.communicate(timeout=20)
    assert "Traceback" not in errors
