"""Unpacking an image's layers into a folder: hostile input, so every name, link and size is checked first.

What is written never leaves the destination (``changeset.py``). Owners and set-id bits are dropped: an enclave has one
user. Layers are verified as they are read (``layerstream.py``), or were when the cache read them (``layercache.py``);
on any failure the destination is removed, so an unpacked folder is always a verified one.
"""

from __future__ import annotations

import os
import shutil
import tarfile
from collections.abc import Iterator
from pathlib import Path, PurePosixPath

from adyton.content.blob import CHUNK_BYTES
from adyton.content.changeset import Changeset
from adyton.content.errors import ContentError, LimitError
from adyton.content.image import Image, Layer
from adyton.content.layercache import LayerCache
from adyton.content.layerstream import (
    DEFAULT_LIMITS,
    WHITEOUT,
    Budget,
    Entry,
    UnpackLimits,
    members,
    open_tar_stream,
    stream_entries,
)

_OPAQUE = ".wh..wh..opq"


def unpack(
    image: Image, destination: Path, limits: UnpackLimits = DEFAULT_LIMITS, *, cache: LayerCache | None = None
) -> None:
    """Write the file system of ``image`` into ``destination``, which must not exist or be empty.

    Args:
        image: what to unpack.
        destination: folder.
        limits: how much is taken.
        cache: where unpacked layers are kept; files then share their content with it through hard links, so nobody
            may write to them.

    Raises:
        EscapeError: an entry would be written outside, or is a device or pipe.
        LimitError: too many entries or bytes, or a name that is too long.
        DigestError: a layer is not the named bytes.
        ContentError: a layer is no tar archive, or the destination is not empty.
    """
    destination.mkdir(parents=True, exist_ok=True)
    if any(destination.iterdir()):
        raise ContentError(f"{destination} is not empty", code="content.unpack.destination")
    budget = Budget(limits)
    try:
        for layer in image.layers:
            changeset = Changeset(os.fspath(destination), budget)
            for entry in _entries(layer, budget, cache):
                changeset.apply(entry)
    except BaseException:
        shutil.rmtree(destination, ignore_errors=True)
        raise


def _entries(layer: Layer, budget: Budget, cache: LayerCache | None) -> Iterator[Entry]:
    if cache is not None and cache.is_worth(layer):
        return cache.entries(layer, budget)
    return stream_entries(layer, budget)


def read_image_file(image: Image, path: str, limit: int = 1 << 20) -> bytes | None:
    """Content of one regular file of the image without unpacking it; None when it has no such file.

    Links are not followed. All layers down to the one that decides are read to their end and so verified.

    Raises:
        LimitError: the file is larger than ``limit`` bytes.
        DigestError: a layer is not the named bytes.
        ContentError: a layer is no tar archive.
    """
    wanted = str(PurePosixPath(path.lstrip("/")))
    for layer in reversed(image.layers):
        found, content = _find_in_layer(layer, wanted, limit)
        if found:
            return content
    return None


def _find_in_layer(layer: Layer, wanted: str, limit: int) -> tuple[bool, bytes | None]:
    pure = PurePosixPath(wanted)
    hiding = {str(parent / _OPAQUE) for parent in pure.parents}
    hiding |= {str(part.parent / (WHITEOUT + part.name)) for part in (pure, *pure.parents) if part.name}
    hidden, content = False, None
    with open_tar_stream(layer, Budget(DEFAULT_LIMITS)) as archive:
        for info in members(archive):
            name = str(PurePosixPath(info.name))
            if name == wanted:
                content = _content(archive, info, limit) if info.isreg() else None
                hidden = True
            elif name in hiding or (name in map(str, pure.parents) and not info.isdir()):
                hidden = True
    return hidden, content


def _content(archive: tarfile.TarFile, info: tarfile.TarInfo, limit: int) -> bytes:
    if info.size > limit:
        raise LimitError(f"{info.name} has {info.size} bytes; at most {limit} are read")
    stream = archive.extractfile(info)
    return b"" if stream is None else b"".join(iter(lambda: stream.read(CHUNK_BYTES), b""))
