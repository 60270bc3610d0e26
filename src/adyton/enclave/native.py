"""Native images without a container engine: this machine's Python and an application folder."""

from __future__ import annotations

import shlex
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Final

from adyton.content.oci import ImageConfig, TarEntry, folder_entries, write_layout, write_tar
from adyton.enclave import base
from adyton.enclave.errors import BuildError
from adyton.enclave.filenames import require_utf8_names
from adyton.enclave.interpreter import local_interpreter

APP_FOLDER: Final = "app"
_ENVIRONMENT: Final = ("PATH=/usr/local/bin:/usr/bin:/bin", "LANG=C.UTF-8", "PYTHONUNBUFFERED=1")
_LEFT_OUT: Final = frozenset({"__pycache__", ".git", ".venv", "node_modules", ".mypy_cache", ".ruff_cache"})


def build_image(
    app_dir: Path | None,
    out_layout: Path,
    *,
    command: str = "",
    distributions: Sequence[str] = (),
    modules: Sequence[str] = (),
    environment: Sequence[str] = (),
    sources: bool = True,
    ref: str = "",
    cache: Path | None = None,
) -> str:
    """Build an image with Python, the named packages and ``app_dir`` at ``/app``; equal inputs give equal digests.

    Args:
        app_dir: the application; None for images whose program is in a package.
        out_layout: OCI layout folder to write.
        command: entrypoint, split as a shell would.
        distributions: installed distributions the application needs.
        modules: importable packages it needs, without what they need.
        environment: further ``NAME=value`` texts.
        sources: whether packages come with their sources, type stubs and tests; not needed to run them.
        ref: name in the layout's index.
        cache: where built trees are kept.

    Returns:
        The image's digest.

    Raises:
        BuildError: the folder is missing, a package is not installed, the command cannot be split, or the locale is
            not UTF-8.
    """
    require_utf8_names()
    if app_dir is not None and not app_dir.is_dir():
        raise BuildError(f"there is no application folder {app_dir}", code="enclave.build.app")
    with tempfile.TemporaryDirectory(prefix="adyton-image-") as folder:
        interpreter = local_interpreter()
        parts: list[Path | list[TarEntry]] = [base.python_base(interpreter, cache=cache)]
        if distributions or modules:
            parts.append(base.packages_tree(interpreter, distributions, modules, sources=sources, cache=cache))
        if app_dir is not None:
            parts.append(_application(app_dir))
        layers = [_layer(Path(folder, f"{number}.tar"), part) for number, part in enumerate(parts)]
        config = ImageConfig(
            entrypoint=split_command(command) or (f"/{base.PREFIX}/bin/{interpreter.name}",),
            env=(*_ENVIRONMENT, *environment),
            workdir="/" if app_dir is None else f"/{APP_FOLDER}",
        )
        return write_layout(out_layout, layers, config, ref)


def split_command(text: str) -> tuple[str, ...]:
    """A command as words, as a shell would split it; nothing is expanded.

    Raises:
        BuildError: a quotation or an escape that does not end.
    """
    try:
        return tuple(shlex.split(text))
    except ValueError as error:
        raise BuildError(f"the command {text!r} has no end: {error}", code="enclave.build.command") from error


def _layer(archive: Path, content: Path | list[TarEntry]) -> Path:
    with archive.open("wb") as stream:
        write_tar(content, stream)
    return archive


def _application(folder: Path) -> list[TarEntry]:
    """The application's files below ``/app``, without what tools leave behind.

    Names of one file (hard links) become files of their own: whether a checkout or a copy has links is chance, and
    must not change the image's digest.
    """
    entries = [TarEntry(APP_FOLDER, "dir")]
    for entry in folder_entries(folder):
        if _LEFT_OUT.intersection(entry.path.split("/")):
            continue
        path = f"{APP_FOLDER}/{entry.path}"
        if entry.kind == "hardlink":
            source = folder / entry.path
            entries.append(TarEntry(path, "file", source, executable=bool(source.stat().st_mode & 0o111)))
        else:
            entries.append(TarEntry(path, entry.kind, entry.content, entry.executable, entry.target))
    return entries
