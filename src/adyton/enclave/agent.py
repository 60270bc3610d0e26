"""The measured agent as files: what ``sconify`` adds below ``/.adyton/runtime`` and how it is started.

Two forms. *Shared*: the image has this machine's Python byte for byte (it was built here), so only the agent's packages
are added. *Own*: any other image, with another Python or none, gets a complete interpreter with its own dynamic loader
and libraries beside the packages; nothing of the image is loaded into the agent.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Final

from adyton.enclave import base
from adyton.enclave.closure import closure, source_of
from adyton.enclave.errors import BuildError
from adyton.enclave.interpreter import Interpreter, is_elf, local_interpreter, shared_libraries
from adyton.enclave.manifest import RUNTIME_PREFIX, TrustedEntry
from adyton.enclave.measure import scan
from adyton.enclave.packages import FileMap, distribution_files, needed_to_run

AGENT_MODULE: Final = "adyton.runtime.agent"
_HOME: Final = RUNTIME_PREFIX.strip("/")
_FLAGS: Final = ("-I", "-S", "-B")
_START: Final = f"""import sys

sys.path.append("{RUNTIME_PREFIX}site")
from {AGENT_MODULE} import main

sys.exit(main())
"""


@dataclass(frozen=True, slots=True)
class Agent:
    """The agent's files and its start command.

    Attributes:
        tree: folder whose content is to be laid over the image's root; a cache, not to be changed.
        argv: what the platform starts; part of the manifest.
    """

    tree: Path
    argv: tuple[str, ...]


def agent_for(image_files: Mapping[str, TrustedEntry], *, cache: Path | None = None) -> Agent:
    """The agent for an image, in the smaller form that fits.

    Args:
        image_files: what the image has, as :func:`adyton.enclave.measure.scan` lists it.
        cache: where built trees are kept.

    Raises:
        BuildError: the local Python or one of the agent's packages is incomplete.
    """
    interpreter = local_interpreter()
    python = base.python_base(interpreter, cache=cache)
    files = _packages()
    if _has_python(image_files, python, interpreter, files):
        tree = base.cached("agent", _key(files, b"shared"), lambda root: _make_shared(root, files, interpreter), cache)
        program = f"/{base.PREFIX}/bin/{interpreter.name}"
        return Agent(tree, (program, *_FLAGS, f"{RUNTIME_PREFIX}agent.py"))
    key = _key(files, b"own" + python.name.encode())
    tree = base.cached("agent", key, lambda root: _make_own(root, files, interpreter, python), cache)
    loader = shared_libraries([interpreter.executable])[1].name
    library = f"{RUNTIME_PREFIX}lib"
    program = f"{RUNTIME_PREFIX}bin/{interpreter.name}"
    start = (f"{library}/{loader}", "--library-path", library, program, *_FLAGS, f"{RUNTIME_PREFIX}agent.py")
    return Agent(tree, start)


@cache  # the installed packages do not change under a running build
def agent_key() -> str:
    """Names the agent that would be built now, whichever form an image needs."""
    return _key(_packages(), base.python_base(local_interpreter()).name.encode())


@cache
def _packages() -> FileMap:
    needs = closure(AGENT_MODULE)
    files = distribution_files(needs.distributions)
    for name in needs.modules:
        source = source_of(name)
        folder = name.split(".") if source.name == "__init__.py" else name.split(".")[:-1]
        files["/".join((*folder, source.name))] = source
    return needed_to_run(files)


def _has_python(
    image_files: Mapping[str, TrustedEntry], python: Path, interpreter: Interpreter, files: FileMap
) -> bool:
    """Whether the image has the same interpreter, library and shared objects, and all that the packages need."""
    wanted = {path: entry for path, entry in scan(python).items() if not path.startswith("/etc/")}
    objects = [file for file in files.values() if is_elf(file)]
    brought = {file.resolve() for file in objects}
    home = base.library_folder(interpreter)
    for name, file in shared_libraries([interpreter.executable, *objects])[0].items():
        if f"/{home}/{name}" not in wanted and file.resolve() not in brought:
            return False
    return all(image_files.get(path) == entry for path, entry in wanted.items())


def _make_shared(root: Path, files: FileMap, interpreter: Interpreter) -> None:
    home = root / _HOME
    base.install(files, home / "site")
    base.compile_folder(interpreter, home / "site", f"{RUNTIME_PREFIX}site", sources=False)
    (home / "agent.py").write_text(_START)


def _make_own(root: Path, files: FileMap, interpreter: Interpreter, python: Path) -> None:
    _make_shared(root, files, interpreter)
    home = root / _HOME
    base.copy_file(interpreter.executable, home / "bin" / interpreter.name)
    library = home / "lib" / interpreter.name
    base.copy_tree(python / base.PREFIX / "lib" / interpreter.name, library)
    objects = [file for folder in (library, home / "site") for file in sorted(folder.rglob("*.so*"))]
    libraries, loader = shared_libraries([interpreter.executable, *filter(is_elf, objects)])
    for name, path in libraries.items():
        if not path.is_relative_to(home):
            base.copy_file(path.resolve(), home / "lib" / name)
    if "libc.so.6" not in libraries:
        raise BuildError("the local Python does not use the GNU C library", code="enclave.build.library")
    base.copy_file(loader.resolve(), home / "lib" / loader.name)


def _key(files: FileMap, form: bytes) -> str:
    return base.content_key(files, form + b"\0" + _START.encode() + Path(__file__).read_bytes())
