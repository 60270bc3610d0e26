"""Which modules of this package a module needs: read from its source, imports inside functions included.

What the agent needs is what every enclave's measurement covers, so it is computed, not listed: no more than needed, and
never less after a change. Imports under ``if TYPE_CHECKING`` do not count.
"""

from __future__ import annotations

import ast
import importlib.metadata
import importlib.util
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from adyton.enclave.errors import BuildError


@dataclass(frozen=True, slots=True)
class Closure:
    """What a module needs.

    Attributes:
        modules: dotted names in this package, with the packages they are in.
        distributions: other installed distributions that are imported directly.
    """

    modules: tuple[str, ...]
    distributions: tuple[str, ...]


def closure(root: str) -> Closure:
    """Everything ``root`` may import.

    Raises:
        BuildError: a module cannot be found or is not plain Python.
    """
    package = root.partition(".")[0]
    pending, own, foreign = [root], dict[str, None](), set[str]()
    while pending:
        name = pending.pop()
        if name in own:
            continue
        own[name] = None
        pending += [".".join(name.split(".")[:depth]) for depth in range(1, name.count(".") + 1)]
        for imported in _imports(name):
            if imported.partition(".")[0] == package:
                pending += [imported] if _find(imported) else []
            else:
                foreign.add(imported.partition(".")[0])
    owners = importlib.metadata.packages_distributions()
    outside = foreign - sys.stdlib_module_names - {"__future__"}
    return Closure(tuple(sorted(own)), tuple(sorted({owners[name][0] for name in outside if name in owners})))


def source_of(name: str) -> Path:
    """The file of a module or of a package's ``__init__``.

    Raises:
        BuildError: it cannot be found or is not plain Python.
    """
    origin = _find(name)
    if origin is None:
        raise BuildError(f"the module {name} has no source here", code="enclave.build.module")
    return origin


def _find(name: str) -> Path | None:
    try:
        spec = importlib.util.find_spec(name)
    except ImportError:
        return None
    origin = spec.origin if spec is not None else None
    return Path(origin) if origin is not None and origin.endswith(".py") else None


def _imports(name: str) -> Iterator[str]:
    """Names that may be modules: of ``from a import b`` both ``a`` and ``a.b``."""
    pending: list[ast.AST] = [ast.parse(source_of(name).read_bytes())]
    while pending:
        node = pending.pop()
        if isinstance(node, ast.If) and isinstance(node.test, ast.Name) and node.test.id == "TYPE_CHECKING":
            pending += node.orelse
            continue
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.level == 0 and node.module:
            yield node.module
            yield from (f"{node.module}.{alias.name}" for alias in node.names)
        pending += ast.iter_child_nodes(node)
