"""A process that forbids dumps leaves none, whatever kills it and whoever asks."""

from __future__ import annotations

import signal
import subprocess
import sys
from pathlib import Path

import pytest

PROGRAM = """
import os, resource, signal, sys
resource.setrlimit(resource.RLIMIT_CORE, (resource.RLIM_INFINITY, resource.RLIM_INFINITY))
if sys.argv[1] == "forbid":
    from adyton.base.process import forbid_dumps
    forbid_dumps()
os.kill(os.getpid(), signal.SIGSEGV)
"""


def test_no_core_file_is_written(tmp_path: Path) -> None:
    pattern = Path("/proc/sys/kernel/core_pattern").read_text().strip()
    if "/" in pattern or pattern.startswith("|"):
        pytest.skip(f"cores go to {pattern} on this machine; this test needs them in the working folder")
    left = {}
    for mode in ("allow", "forbid"):
        folder = tmp_path / mode
        folder.mkdir()
        done = subprocess.run([sys.executable, "-c", PROGRAM, mode], cwd=folder, check=False)
        assert done.returncode == -signal.SIGSEGV
        left[mode] = [path.name for path in folder.iterdir()]
    if not left["allow"]:
        pytest.skip("no core file appears here even for a process that allows one")
    assert left["forbid"] == []


def test_the_kernel_says_so() -> None:
    program = (
        "import ctypes, resource\nfrom adyton.base.process import forbid_dumps\nforbid_dumps()\n"
        "print(ctypes.CDLL(None).prctl(3, 0, 0, 0, 0), *resource.getrlimit(resource.RLIMIT_CORE))"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert done.stdout.split() == ["0", "0", "0"]
