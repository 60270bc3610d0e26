"""Applying a layer's entries to a folder, never beyond it.

Layer semantics: OCI image spec "Applying Changesets" (whiteouts ``.wh.<name>`` and ``.wh..wh..opq``). Names with ``..``
or a leading ``/`` are refused, and links on the way to an entry are followed inside the folder only. A file that is in
the way is replaced, never written to: files may be shared with other folders through hard links.

Paths are texts here: for tens of thousands of entries, Path objects cost more than the system calls.
"""

# ruff: noqa: PTH101, PTH102, PTH108, PTH115, PTH208, PTH211

from __future__ import annotations

import os
import shutil
import stat
from typing import Final

from adyton.content.errors import ContentError, EscapeError, LimitError
from adyton.content.layerstream import WHITEOUT, Budget, Entry

_OPAQUE: Final = ".wh..wh..opq"
_MAX_LINK_HOPS: Final = 40  # as Linux (ELOOP)
_MAX_PART_BYTES: Final = 255


class Changeset:
    """Applies one layer.

    Args:
        root: folder; must exist, and nobody else may change it meanwhile.
        budget: counts entries.
    """

    def __init__(self, root: str, budget: Budget) -> None:
        self._root = root
        self._budget = budget
        self._written: set[str] = {root}
        # Real folder of each parent that was resolved. Only removing a folder or link can make one of them wrong.
        self._folders: dict[tuple[str, ...], str] = {}

    def apply(self, entry: Entry) -> None:
        """Make the entry's change.

        Raises:
            EscapeError: it would change something outside.
            LimitError: too many entries, or a name that is too long.
            ContentError: something on the way is no folder.
        """
        self._budget.count_entry()
        *parents, name = self._plain_name(entry.name, "entry") or [""]
        if not name:
            return
        parent = self._resolve(tuple(parents), create=True)
        if name == _OPAQUE:
            self._clear(parent)
        elif name.startswith(WHITEOUT):
            hidden = name.removeprefix(WHITEOUT)
            if hidden in {"", ".", ".."}:
                raise EscapeError(f"whiteout {entry.name!r} names no entry")
            self._remove(f"{parent}/{hidden}")
        else:
            self._write(entry, f"{parent}/{name}")

    def _plain_name(self, name: str, what: str) -> list[str]:
        parts = [part for part in name.split("/") if part not in {"", "."}]
        if name.startswith("/") or ".." in parts or "\0" in name:
            raise EscapeError(f"{what} {name!r} leads out of the image")
        if not name.isascii() or len(name) > _MAX_PART_BYTES:
            long = len(os.fsencode(name)) > self._budget.limits.name_bytes
            if long or any(len(os.fsencode(part)) > _MAX_PART_BYTES for part in parts):
                raise LimitError(f"{what} name {name[:80]!r}… is too long", code="content.limit.name")
        elif len(name) > self._budget.limits.name_bytes:
            raise LimitError(f"{what} name {name[:80]!r}… is too long", code="content.limit.name")
        return parts

    def _resolve(self, parts: tuple[str, ...], *, create: bool) -> str:
        """The real folder of ``parts`` below the root, links followed inside the root only."""
        found = self._folders.get(parts)
        if found is None:
            found = self._folders[parts] = "/".join((self._root, *self._walk(parts, create=create)))
        return found

    def _walk(self, parts: tuple[str, ...], *, create: bool) -> list[str]:
        todo = list(reversed(parts))
        current: list[str] = []
        hops = 0
        while todo:
            part = todo.pop()
            if part == "..":
                if not current:
                    raise EscapeError(f"a link on the way to {'/'.join(parts)!r} leads out of the image")
                current.pop()
                continue
            here = "/".join((self._root, *current, part))
            mode = _mode(here)
            if stat.S_ISLNK(mode):
                hops += 1
                if hops > _MAX_LINK_HOPS:
                    raise EscapeError(f"too many links on the way to {'/'.join(parts)!r}")
                target = os.readlink(here)  # the text as it is; names are judged one by one
                if target.startswith("/"):
                    current = []
                todo.extend(reversed([each for each in target.split("/") if each not in {"", "."}]))
                continue
            if not stat.S_ISDIR(mode):
                if not create or mode:
                    raise EscapeError(
                        f"{part!r} on the way to {'/'.join(parts)!r} is no folder", code="content.unpack.parent"
                    )
                os.mkdir(here, 0o755)
            current.append(part)
        return current

    def _clear(self, folder: str) -> None:
        """Opaque whiteout: hide what lower layers put into the folder, not what this one has."""
        for name in os.listdir(folder):
            if f"{folder}/{name}" not in self._written:
                self._remove(f"{folder}/{name}")

    def _write(self, entry: Entry, target: str) -> None:
        if entry.kind == "dir":
            self._make_folder(target, entry.mode)
        else:
            source = self._link_source(entry) if entry.kind == "hardlink" else ""
            if source == target:
                raise EscapeError(f"{entry.name!r} is a hard link to itself", code="content.unpack.link")
            if entry.kind == "symlink":
                self._require_link(entry.linkname)
            try:
                self._make(entry, source, target)
            except FileExistsError:
                self._remove(target)
                self._make(entry, source, target)
        while target not in self._written:
            self._written.add(target)
            target = target.rpartition("/")[0]

    @staticmethod
    def _make(entry: Entry, source: str, target: str) -> None:
        if entry.kind == "symlink":
            os.symlink(entry.linkname, target)
        elif entry.kind == "hardlink":
            os.link(source, target, follow_symlinks=False)
        else:
            entry.put(target)

    def _make_folder(self, target: str, mode: int) -> None:
        try:
            os.mkdir(target)
        except FileExistsError:
            if not stat.S_ISDIR(_mode(target)):
                self._remove(target)
                os.mkdir(target)
        os.chmod(target, mode & 0o777 | 0o700)

    def _link_source(self, entry: Entry) -> str:
        *parents, name = self._plain_name(entry.linkname, "hard link to") or [""]
        source = f"{self._resolve(tuple(parents), create=False)}/{name}"
        mode = _mode(source) if name else 0
        if not (stat.S_ISLNK(mode) or stat.S_ISREG(mode)):
            raise EscapeError(
                f"{entry.name!r} links to {entry.linkname!r}, which is no file", code="content.unpack.link"
            )
        return source

    def _require_link(self, text: str) -> None:
        if not text or "\0" in text or len(os.fsencode(text)) > self._budget.limits.name_bytes:
            raise LimitError("a link's target is empty or too long", code="content.limit.name")

    def _remove(self, path: str) -> None:
        mode = _mode(path)
        if not mode:
            return
        if not stat.S_ISREG(mode):
            self._folders.clear()
        if stat.S_ISDIR(mode):
            shutil.rmtree(path)
        else:
            os.unlink(path)


def _mode(path: str) -> int:
    """What is there, links not followed; 0 for nothing.

    Raises:
        ContentError: it cannot be seen.
    """
    try:
        return os.lstat(path).st_mode
    except FileNotFoundError:
        return 0
    except OSError as error:
        raise ContentError(f"cannot read {path}: {error.strerror}", code="content.file") from error
