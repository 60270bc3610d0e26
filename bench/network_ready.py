"""``devnet.ready``: seconds from ``adyton up --detach`` on a fresh state folder until the network is ready."""

from __future__ import annotations

import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Final

from bench.row import Row

from adyton.devnet.ports import private_ports

AIM_S: Final = 15.0
RUNS: Final = 3
_ADYTON = str(Path(sys.executable).parent / "adyton")


def measure() -> Row:
    """Start and stop a fresh network three times."""
    seconds = [_once(number) for number in range(1, RUNS + 1)]
    value = statistics.median(seconds)
    told = ", ".join(f"{each:.1f}" for each in seconds)
    note = f"adyton up --detach on a fresh state folder, set up beforehand; median of {told} s"
    return Row("devnet.ready", round(value, 2), "s", f"{AIM_S:g} s aim", round(AIM_S / value, 2), note)


def _once(number: int) -> float:
    folder = Path(tempfile.mkdtemp(prefix="adyton-bench-"))
    state = f"--state={folder / 'network'}"
    ports = [f"--port={name.replace('_', '-')}={port}" for name, port in private_ports().model_dump().items()]
    try:
        begun = time.monotonic()
        subprocess.run([_ADYTON, "up", "--detach", state, *ports], check=True, capture_output=True)
        seconds = time.monotonic() - begun
    finally:
        subprocess.run([_ADYTON, "down", state], check=False, capture_output=True)
        shutil.rmtree(folder, ignore_errors=True)
    print(f"devnet.ready {number}/{RUNS}: {seconds:.2f} s", flush=True)
    return seconds
