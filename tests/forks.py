"""Programs in processes of their own that do not import everything again: where a test starts many of them."""

from __future__ import annotations

import multiprocessing
import os
import runpy
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Final

FORKS: Final = multiprocessing.get_context("forkserver")
FORKS.set_forkserver_preload(["adyton.cas.main", "adyton.compute.pre", "adyton.compute.post"])  # one server for all


def run(module: str, environment: Mapping[str, str], arguments: tuple[str, ...], errors: Path) -> int:
    """Run ``python -m module`` with this environment; its status, and what it wrote to standard error in a file."""
    process = FORKS.Process(target=_main, args=(module, dict(environment), arguments, errors))
    process.start()
    process.join(60)
    try:
        assert process.exitcode is not None, f"{module} did not end"
        return process.exitcode
    finally:
        process.kill()
        process.join()
        process.close()


def _main(module: str, environment: dict[str, str], arguments: tuple[str, ...], errors: Path) -> None:
    with errors.open("wb") as stream:
        os.dup2(stream.fileno(), 2)
    os.environ.clear()
    os.environ.update(environment)
    sys.argv[1:] = arguments
    del sys.modules[module]  # it runs as the program
    runpy.run_module(module, run_name="__main__", alter_sys=True)
