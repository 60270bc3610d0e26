"""Reading the services' log files, at once or as they grow."""

from __future__ import annotations

import contextlib
import sys
import time
from collections import deque
from pathlib import Path
from typing import TextIO

from adyton.base.errors import NotFoundError
from adyton.devnet.paths import NetworkPaths

_POLL_S = 0.3


def show(paths: NetworkPaths, service: str | None, *, lines: int, follow: bool, out: TextIO | None = None) -> None:
    """Print the last ``lines`` of each log to ``out`` (default: standard output), and with ``follow`` what comes later.

    Raises:
        NotFoundError: no log of that name.
    """
    stream = out or sys.stdout
    files = _choose(paths, service)
    width = max((len(file.stem) for file in files), default=0)
    readers = []
    for file in files:
        reader = file.open(encoding="utf-8", errors="replace")
        for line in deque(reader, maxlen=lines):
            stream.write(_labelled(file, width, line))
        readers.append((file, reader))
    with contextlib.suppress(KeyboardInterrupt):
        while follow:
            fresh = [(file, line) for file, reader in readers for line in reader]
            for file, line in fresh:
                stream.write(_labelled(file, width, line))
            stream.flush()
            if not fresh:
                time.sleep(_POLL_S)
    for _, reader in readers:
        reader.close()


def _choose(paths: NetworkPaths, service: str | None) -> list[Path]:
    files = sorted(paths.logs.glob("*.log"))
    if service is None:
        return files
    chosen = [file for file in files if file.stem == service]
    if not chosen:
        raise NotFoundError(
            f"there is no log of a service {service!r} in {paths.logs}",
            code="devnet.log.none",
            hint="the logs are: " + (", ".join(file.stem for file in files) or "none; was the network ever started?"),
        )
    return chosen


def _labelled(file: Path, width: int, line: str) -> str:
    return f"{file.stem:<{width}} | {line.rstrip()}\n"
