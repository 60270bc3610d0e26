"""Layers that were unpacked before: verified once, then shared by every image that has them, through hard links.

Half of an image's layers are those of the one before it. A kept layer is a folder named by the digests of blob and
archive, with the content of each file under its number and ``index.json`` with what the archive said of each entry. It
is only made of a stream that was verified to its end. What is taken from it passes the same checks as a stream's
entries; who needs to know that nobody changed a kept file since must measure the files, as for any unpacked image.
"""

from __future__ import annotations

import contextlib
import errno
import hashlib
import json
import os
import shutil
import tempfile
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Final, cast

from adyton.content.errors import ContentError
from adyton.content.image import Layer
from adyton.content.layerstream import DEFAULT_LIMITS, Budget, Entry, Kind, UnpackLimits, stream_entries

MIN_BYTES: Final = 4 << 20  # below, reading the archive costs no more than keeping it
KEPT: Final = 24
_INDEX: Final = "index.json"
_VERSION: Final = b"adyton/content/layercache/1\0"
_NO_LINK: Final = frozenset({errno.EXDEV, errno.EMLINK, errno.EPERM, errno.ENOTSUP})


class LayerCache:
    """Kept layers below one private folder; several processes may use it at one time.

    Args:
        folder: made when missing, readable by the owner only.
        kept: how many layers stay; those unused for longest are removed.
        min_bytes: smaller layers are not kept.
    """

    def __init__(self, folder: Path, *, kept: int = KEPT, min_bytes: int = MIN_BYTES) -> None:
        self._folder = folder
        self._kept = kept
        self._min_bytes = min_bytes
        self._lock = threading.Lock()
        self._busy: dict[str, threading.Lock] = {}
        folder.mkdir(parents=True, exist_ok=True)
        folder.chmod(0o700)

    def is_worth(self, layer: Layer) -> bool:
        """Whether keeping the layer saves anything."""
        return layer.blob.size >= self._min_bytes

    def keep(self, layer: Layer, limits: UnpackLimits = DEFAULT_LIMITS) -> None:
        """Unpack the layer into the cache unless it is there.

        Raises:
            DigestError, LimitError, EscapeError, ContentError: the layer is not usable; see
                :func:`adyton.content.layerstream.stream_entries`.
        """
        target = self._place(layer)
        with self._lock:
            busy = self._busy.setdefault(target.name, threading.Lock())
        with busy:
            if not target.exists():
                self._make(layer, Budget(limits), target)
            with contextlib.suppress(FileNotFoundError):  # removed by another process meanwhile: found out by who reads
                os.utime(target)  # in use: not the next one to be removed

    def entries(self, layer: Layer, budget: Budget) -> Iterator[Entry]:
        """The entries of a layer; unpacks it into the cache first.

        Raises:
            ContentError: as :meth:`keep`; or the kept layer is damaged, or was removed while it was being used.
        """
        self.keep(layer, budget.limits)
        place = self._place(layer)
        try:
            document = json.loads((place / _INDEX).read_bytes())
            budget.count_bytes(document["bytes"])
            for number, (name, kind, mode, mtime, linkname) in enumerate(document["entries"]):
                yield Entry(name, cast("Kind", kind), mode, mtime, linkname, _linker(f"{place}/{number}"))
        except (OSError, ValueError, KeyError, TypeError) as error:
            raise ContentError(
                f"the kept layer {layer.diff_id} is damaged: {error}", code="content.layercache.damaged"
            ) from error

    def forget(self, layer: Layer) -> None:
        """Remove a layer, so that its archive is read again."""
        place = self._place(layer)
        doomed = Path(tempfile.mkdtemp(prefix=".old-", dir=self._folder))
        try:
            place.rename(doomed / place.name)  # at once, so that nobody finds half of it
        except OSError:  # not there, or somebody else removes it
            pass
        finally:
            shutil.rmtree(doomed, ignore_errors=True)

    def _place(self, layer: Layer) -> Path:
        # both digests: an image that lists a blob under another archive's digest is found out, not served
        text = f"{layer.blob.digest}\n{layer.diff_id}\n{layer.media_type}"
        return self._folder / hashlib.sha256(_VERSION + text.encode()).hexdigest()

    def _make(self, layer: Layer, budget: Budget, target: Path) -> None:
        partial = Path(tempfile.mkdtemp(prefix=".new-", dir=self._folder))
        try:
            rows: list[list[object]] = []
            for entry in stream_entries(layer, budget):
                budget.count_entry()
                if entry.kind == "file":
                    entry.put(f"{partial}/{len(rows)}")
                rows.append([entry.name, entry.kind, entry.mode, entry.mtime, entry.linkname])
            document = {"bytes": budget.used_bytes, "entries": rows}
            (partial / _INDEX).write_text(json.dumps(document), encoding="ascii")
            try:
                partial.rename(target)
            except OSError:
                if not target.exists():  # else another process was first
                    raise
        finally:
            shutil.rmtree(partial, ignore_errors=True)
        self._remove_old()

    def _remove_old(self) -> None:
        layers = [path for path in self._folder.iterdir() if not path.name.startswith(".")]
        layers.sort(key=_used)
        for path in layers[: -self._kept]:
            shutil.rmtree(path, ignore_errors=True)


def _used(path: Path) -> int:
    try:
        return path.stat().st_mtime_ns
    except OSError:  # somebody else removed it
        return 0


def _linker(source: str) -> Callable[[str], None]:
    def put(target: str) -> None:
        try:
            os.link(source, target, follow_symlinks=False)
        except OSError as error:
            if error.errno == errno.ENOENT:
                raise ContentError(f"the kept file {source} is gone", code="content.layercache.damaged") from error
            if error.errno not in _NO_LINK:
                raise
            _copy(source, target)

    return put


def _copy(source: str, target: str) -> None:
    with Path(source).open("rb") as reader, Path(target).open("xb") as writer:
        shutil.copyfileobj(reader, writer, 1 << 20)
    shutil.copystat(source, target)
