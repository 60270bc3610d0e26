"""Installed Python distributions as files: with what they depend on, without what differs from machine to machine."""

from __future__ import annotations

import importlib.metadata
import importlib.util
import json
import os
import re
from collections.abc import Iterable, Iterator
from importlib.metadata import Distribution, PackageNotFoundError
from pathlib import Path, PurePosixPath
from typing import Final

from adyton.enclave.errors import BuildError

_REQUIREMENT = re.compile(r"\s*(?P<name>[A-Za-z0-9][A-Za-z0-9._-]*)\s*(?:\[(?P<extras>[^\]]*)\])?")
_EXTRA = re.compile(r"""extra\s*==\s*['"](?P<extra>[^'"]+)['"]""")
# Files that installers write about themselves: they name folders and tools of this machine.
_INSTALLER_FILES: Final = frozenset({"RECORD", "INSTALLER", "REQUESTED", "direct_url.json", "uv_cache.json"})

# What only compilers, type checkers and test runs read.
_NOT_RUN: Final = re.compile(
    r"(?!.*\.dist-info/).*\.(pyi|pyx|pxd|pxi|c|cpp|h|hpp|rst|md)|(.*/)?py\.typed"
    r"|(.*/)?(tests|SelfTest)/.*|sqlalchemy/testing/.*|[^/]*\.dist-info/(WHEEL|top_level\.txt|AUTHORS.*|sboms/.*)"
)

FileMap = dict[str, Path]


def needed_to_run(files: FileMap) -> FileMap:
    """The files without headers, type stubs, documents and tests; licences and names of the packages stay."""
    return {name: source for name, source in files.items() if not _NOT_RUN.fullmatch(name)}


def distribution_files(requirements: Iterable[str]) -> FileMap:
    """The files of the named distributions and all they need: path below site-packages to file here.

    Args:
        requirements: names as of the package index, with extras where wanted (``eth-hash[pycryptodome]``).

    Raises:
        BuildError: one is not installed here.
    """
    files: FileMap = {}
    for distribution in _closure(requirements):
        files |= _files(distribution)
    return files


def module_files(modules: Iterable[str]) -> FileMap:
    """The files of importable packages (whole folders) and modules, without what they import.

    Args:
        modules: dotted names; of each parent package only ``__init__.py`` comes along.

    Raises:
        BuildError: one cannot be found.
    """
    files: FileMap = {}
    for name in modules:
        parts = name.split(".")
        for depth in range(1, len(parts)):
            files |= _module(".".join(parts[:depth]), whole=False)
        files |= _module(name, whole=True)
    return files


def _module(name: str, *, whole: bool) -> FileMap:
    try:
        spec = importlib.util.find_spec(name)
    except ImportError as error:
        raise BuildError(f"the module {name} cannot be found here", code="enclave.build.module") from error
    if spec is None or spec.origin is None:
        raise BuildError(f"the module {name} cannot be found here", code="enclave.build.module")
    origin = Path(spec.origin)
    inside = PurePosixPath(*name.split("."))
    if spec.submodule_search_locations is None:
        return {str(inside.parent / origin.name): origin}
    if not whole:
        return {str(inside / origin.name): origin}
    return {str(inside / file.relative_to(origin.parent)): file for file in _folder_files(origin.parent)}


def _folder_files(folder: Path) -> Iterator[Path]:
    for parent, folders, files in os.walk(folder):
        folders[:] = sorted(name for name in folders if name != "__pycache__")
        yield from (Path(parent, name) for name in sorted(files) if not name.endswith(".pyc"))


def _closure(requirements: Iterable[str]) -> list[Distribution]:
    pending = [(text, True) for text in requirements]
    seen: dict[tuple[str, frozenset[str]], Distribution] = {}
    while pending:
        text, required = pending.pop()
        match = _REQUIREMENT.match(text)
        if match is None:
            raise BuildError(f"{text!r} names no distribution", code="enclave.build.distribution")
        extras = frozenset(extra.strip() for extra in (match["extras"] or "").split(",") if extra.strip())
        key = (re.sub(r"[-_.]+", "-", match["name"]).lower(), extras)
        if key in seen:
            continue
        try:
            seen[key] = importlib.metadata.distribution(match["name"])
        except PackageNotFoundError as error:
            if not required:
                continue
            raise BuildError(
                f"the distribution {match['name']} is not installed here",
                code="enclave.build.distribution",
                hint=f"install it first: python -m pip install {match['name']}",
            ) from error
        pending += _needs(seen[key], extras)
    unique = {distribution.name.lower(): distribution for distribution in seen.values()}
    return [unique[name] for name in sorted(unique)]


def _needs(distribution: Distribution, extras: frozenset[str]) -> list[tuple[str, bool]]:
    """Its requirements; one under another condition than an extra counts only if it is installed here."""
    needs = []
    for line in distribution.requires or []:
        text, _, marker = line.partition(";")
        wanted = _EXTRA.search(marker)
        if wanted is None or wanted["extra"] in extras:
            needs.append((text, not marker))
    return needs


def _files(distribution: Distribution) -> FileMap:
    files: FileMap = {}
    for file in distribution.files or []:
        name = file.as_posix()
        if file.parts[0] == ".." or "__pycache__" in file.parts or file.name in _INSTALLER_FILES:
            continue
        if not name.endswith((".pyc", ".pth")):
            files[name] = Path(str(distribution.locate_file(file)))
    if _is_editable(distribution):
        files |= _module(distribution.name.replace("-", "_").lower(), whole=True)
    return files


def _is_editable(distribution: Distribution) -> bool:
    text = distribution.read_text("direct_url.json")
    return bool(text) and bool(json.loads(text or "{}").get("dir_info", {}).get("editable"))
