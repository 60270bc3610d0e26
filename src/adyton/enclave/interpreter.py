"""The Python that builds images: where this machine's interpreter and its standard library are.

Works for interpreters built from source (pyenv, python-build-standalone) and for a distribution's own; a virtual
environment is looked through to the interpreter it was made from.
"""

from __future__ import annotations

import os
import re
import subprocess
import sys
import sysconfig
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from adyton.enclave.errors import BuildError

_LDD_LINE = re.compile(r"^\s+(?P<name>\S+)(?: => (?P<path>\S+))? \(0x[0-9a-f]+\)$")
_BATCH: Final = 64

# Standard library that means nothing without a screen, a terminal, a network of installers, or a test run.
_LEFT_OUT_FOLDERS: Final = frozenset(
    {"test", "tests", "idlelib", "tkinter", "turtledemo", "ensurepip", "lib2to3", "pydoc_data", "distutils", "curses",
     "site-packages", "dist-packages", "__pycache__", "idle_test", "ctypes/test"}
)  # fmt: skip
_LEFT_OUT_MODULES: Final = re.compile(
    r"(_test\w*|_ctypes_test|_tkinter|_xx\w+|xx\w+|_curses\w*|readline|_dbm|_gdbm|nis|ossaudiodev)\.[\w-]+\.so"
    r"|turtle\.py|.*\.(a|pyc|exe|bat)|sitecustomize\.py|EXTERNALLY-MANAGED"
)


@dataclass(frozen=True, slots=True)
class Interpreter:
    """A Python installation on this machine.

    Attributes:
        executable: the real executable.
        stdlib: folder of the standard library.
        name: ``python3.X``.
        site_folder: name of the folder below the standard library where packages go (``site-packages``, or
            ``dist-packages`` on Debian).
    """

    executable: Path
    stdlib: Path
    name: str
    site_folder: str

    def modules(self) -> Iterator[Path]:
        """The files of the standard library that an image gets, relative to :attr:`stdlib`, sorted."""
        for parent, folders, files in os.walk(self.stdlib):
            folders[:] = sorted(name for name in folders if name not in _LEFT_OUT_FOLDERS and "config-" not in name)
            for name in sorted(files):
                if not _LEFT_OUT_MODULES.fullmatch(name):
                    yield Path(parent, name).relative_to(self.stdlib)


def local_interpreter() -> Interpreter:
    """The installation that runs this.

    Raises:
        BuildError: it is incomplete.
    """
    # sys._base_executable is how venv itself finds the interpreter behind a virtual environment
    executable = Path(getattr(sys, "_base_executable", sys.executable)).resolve()
    base = {"base": sys.base_prefix, "installed_base": sys.base_prefix}
    stdlib = Path(sysconfig.get_path("stdlib", vars=base)).resolve()
    if not (stdlib / "os.py").is_file() or not executable.is_file():
        raise BuildError(
            f"the Python in {sys.base_prefix} has no complete standard library", code="enclave.build.python"
        )
    name = f"python{sys.version_info.major}.{sys.version_info.minor}"
    site_folder = "dist-packages" if (stdlib.parent / "python3" / "dist-packages").is_dir() else "site-packages"
    return Interpreter(executable, stdlib, name, site_folder)


def is_elf(path: Path) -> bool:
    """Whether a regular file is an ELF object."""
    with path.open("rb") as stream:
        return stream.read(4) == b"\x7fELF"


def shared_libraries(objects: Iterable[Path]) -> tuple[dict[str, Path], Path]:
    """What ELF objects need, with what that needs: library name to file, and the dynamic loader.

    Raises:
        BuildError: a library is missing, or none of the objects is dynamically linked.
    """
    found: dict[str, Path] = {}
    loader: Path | None = None
    wanted = sorted(objects)
    for start in range(0, len(wanted), _BATCH):
        for line in _ldd(wanted[start : start + _BATCH]):
            if "not found" in line:
                raise BuildError(f"a shared library is missing: {line.strip()}", code="enclave.build.library")
            match = _LDD_LINE.match(line)
            if match is None:
                continue
            if match["path"]:
                found[match["name"]] = Path(match["path"])
            elif match["name"].startswith("/"):
                loader = Path(match["name"])
    if loader is None:
        raise BuildError("the local Python is not dynamically linked", code="enclave.build.library")
    return found, loader


def _ldd(objects: list[Path]) -> list[str]:
    try:
        done = subprocess.run(
            ["ldd", *map(str, objects)],
            capture_output=True,
            text=True,
            check=False,
            env={"LC_ALL": "C", "PATH": _path()},
        )
    except OSError as error:
        raise BuildError(f"cannot run ldd: {error.strerror}", code="enclave.build.ldd") from error
    return done.stdout.splitlines()


def _path() -> str:
    return os.environ.get("PATH", "/usr/bin:/bin")
