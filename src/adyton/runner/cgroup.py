"""Control groups where this process may make them: the only bound on all processes of a sandbox together.

Version 1 (one hierarchy per controller) and version 2 are used alike; a machine that offers neither gets the limits of
``setrlimit(2)`` only. The kernel does not apply ``RLIMIT_NPROC`` to root, so as root this is what bounds processes.
"""

from __future__ import annotations

import contextlib
import os
import secrets
from dataclasses import dataclass
from pathlib import Path
from typing import Final

_ROOT: Final = Path("/sys/fs/cgroup")
# controller: file of version 1, file of version 2
_FILES: Final = {
    "pids": ("pids.max", "pids.max"),
    "memory": ("memory.limit_in_bytes", "memory.max"),
}


@dataclass(frozen=True, slots=True)
class ControlGroup:
    """The folders, one per hierarchy, that bound one sandbox."""

    folders: tuple[Path, ...]
    controllers: frozenset[str]

    def add(self, pid: int) -> None:
        """Move a process, and what it will start, into the group.

        Raises:
            OSError: the process is gone or the kernel refuses.
        """
        for folder in self.folders:
            (folder / "cgroup.procs").write_text(str(pid))

    def remove(self) -> None:
        """Drop the group once it is empty; a group that cannot be dropped holds no resource."""
        for folder in self.folders:
            with contextlib.suppress(OSError):
                folder.rmdir()


def create(limits: dict[str, int], root: Path = _ROOT) -> ControlGroup:
    """Make a group with those of ``limits`` (``pids``, ``memory``) that this machine lets this process set."""
    folders: list[Path] = []
    done: set[str] = set()
    name = f"adyton-{os.getpid()}-{secrets.token_hex(6)}"
    for controller, value in limits.items():
        for parent, file in _places(controller, root):
            folder = parent / name
            try:
                folder.mkdir(exist_ok=True)
                (folder / file).write_text(str(value))
            except OSError:
                with contextlib.suppress(OSError):
                    if folder not in folders:
                        folder.rmdir()
                continue
            if folder not in folders:
                folders.append(folder)
            done.add(controller)
            break
    return ControlGroup(tuple(folders), frozenset(done))


def sweep(root: Path = _ROOT) -> None:
    """Drop the empty groups of processes that were killed before they could."""
    for pattern in ("adyton-*", "*/adyton-*"):
        for folder in root.glob(pattern):
            owner = folder.name.split("-")[1]
            if not Path("/proc", owner).exists():
                with contextlib.suppress(OSError):
                    folder.rmdir()


def _places(controller: str, root: Path) -> list[tuple[Path, str]]:
    """Where a group with ``controller`` could be made: our own group in version 1, the root in version 2."""
    first, second = _FILES[controller]
    places = []
    if (root / controller / "cgroup.procs").exists():
        places.append((root / controller, first))
    enabled = root / "cgroup.subtree_control"
    with contextlib.suppress(OSError):
        if controller in enabled.read_text().split():
            places.append((root, second))
    return places
