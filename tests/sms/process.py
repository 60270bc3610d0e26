"""The service as a process of its own on a real chain, for those that send it what no client would."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import httpx2
from tests.conftest import Chain
from tests.ports import free_port
from tests.sms.support import KEY_HEX
from tests.waiting import PATIENCE_S, until

ADMIN_KEY = "the-operators-key"


@dataclass(frozen=True, slots=True)
class SmsProcess:
    """A service that answers.

    Attributes:
        port: its TCP port on 127.0.0.1.
        folder: holds the database, the backups, the log and the settings.
        process: the process.
        http: a client of it.
    """

    port: int
    folder: Path
    process: subprocess.Popen[bytes]
    http: httpx2.Client

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    @property
    def database(self) -> Path:
        return self.folder / "sms.sqlite3"

    @property
    def log(self) -> str:
        return (self.folder / "log").read_text(errors="replace")

    def memory_kb(self) -> int:
        """Resident memory."""
        return resident_kb(self.process.pid)


def resident_kb(pid: int) -> int:
    """Resident memory of a process (proc(5), VmRSS)."""
    status = Path(f"/proc/{pid}/status").read_text()
    return int(next(line for line in status.splitlines() if line.startswith("VmRSS:")).split()[1])


@contextmanager
def sms_process(folder: Path, chain: Chain, **settings: object) -> Iterator[SmsProcess]:
    """Run the service on ``chain`` until the block ends."""
    port = free_port()
    backups = folder / "backups"
    backups.mkdir()
    (folder / "database-key").write_text(KEY_HEX)
    (folder / "admin-key").write_text(ADMIN_KEY)
    stage = {"image": "i", "fingerprint": "a1" * 32, "entrypoint": "e", "heap_size": "1GB"}
    values = {
        "framework": "SCONE",
        "port": port,
        "chain_id": chain.deployment.chain_id,
        "node_url": chain.url,
        "hub": chain.deployment.hub,
        "max_head_age_s": 604_800,
        "database": str(folder / "sms.sqlite3"),
        "database_key_file": str(folder / "database-key"),
        "admin_api_key_file": str(folder / "admin-key"),
        "admin_storage_location": str(backups),
        "requests_per_s": 100_000,
        "contract_checks_per_s": 100_000,
        "las_image": "las:1",
    } | settings
    config = folder / "sms.toml"
    lines = [f"{name} = {json.dumps(value)}" for name, value in values.items()]
    members = ", ".join(f"{name} = {json.dumps(value)}" for name, value in stage.items())
    lines += ["[[pipelines]]", 'version = "v5"', f"pre_compute = {{{members}}}", f"post_compute = {{{members}}}"]
    config.write_text("\n".join(lines))
    log = folder / "log"
    with (
        log.open("wb") as stream,
        subprocess.Popen(
            [sys.executable, "-m", "adyton.sms.main", "--config", str(config)], stdout=stream, stderr=stream
        ) as process,
        httpx2.Client(base_url=f"http://127.0.0.1:{port}", trust_env=False) as http,
    ):
        running = SmsProcess(port, folder, process, http)
        try:
            until(lambda: process.poll() is not None or _is_up(running.url), what="the start of the SMS")
            assert process.poll() is None, running.log
            yield running
        finally:
            process.send_signal(signal.SIGTERM)
            process.wait(PATIENCE_S)


def _is_up(url: str) -> bool:
    try:
        return httpx2.get(f"{url}/actuator/health", trust_env=False).status_code == 200
    except httpx2.HTTPError:
        return False
