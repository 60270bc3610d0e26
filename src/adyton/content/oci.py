"""OCI layouts: images read from a folder or an archive, and written so that equal input gives equal bytes.

Reading verifies manifest and config at once; a layer is verified whenever it is read (:meth:`Blob.open`), so no
unverified byte of one is ever used. This module is also the door to the rest of the image code: values in
``image.py``, the tar format in ``tar.py``, unpacking in ``unpack.py``.
"""

from __future__ import annotations

import os
import tarfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from adyton.base.canonical import canonical_json
from adyton.base.files import write_atomic
from adyton.content.blob import Blob, parse_digest
from adyton.content.errors import ContentError, LimitError
from adyton.content.image import (
    INDEX_TYPE,
    MANIFEST_TYPES,
    MAX_DOCUMENT_BYTES,
    REF_NAME,
    Image,
    ImageConfig,
    Layer,
    add_layers,
    build_image,
    choose_manifest,
    descriptor,
    parse_descriptor,
    parse_document,
    parse_image,
)
from adyton.content.layercache import LayerCache
from adyton.content.layerstream import UnpackLimits, open_tar_stream
from adyton.content.tar import TarEntry, deterministic_tar, folder_entries, write_tar
from adyton.content.unpack import read_image_file, unpack

__all__ = [
    "Blob",
    "Image",
    "ImageConfig",
    "Layer",
    "LayerCache",
    "TarEntry",
    "UnpackLimits",
    "add_layers",
    "blob_path",
    "build_image",
    "deterministic_tar",
    "folder_entries",
    "open_tar_stream",
    "read_image_file",
    "read_layout",
    "unpack",
    "write_archive",
    "write_image",
    "write_layout",
    "write_tar",
]

_MAX_ARCHIVE_MEMBERS = 4096
_MAX_INDEX_DEPTH = 3


def write_layout(folder: Path, layers: Sequence[Path | bytes], config: ImageConfig, ref: str = "") -> str:
    """Write an image of uncompressed tar layers as an OCI layout and return the manifest's digest.

    Raises:
        ContentError: as :func:`build_image` and :func:`write_image`.
    """
    return write_image(build_image(layers, config), folder, ref)


def write_image(image: Image, folder: Path, ref: str = "") -> str:
    """Write ``image`` as the only one of an OCI layout folder; every blob is verified while it is copied or shared.

    Args:
        image: what to write; its blobs may lie in another layout.
        folder: made when missing; an existing layout gets a new index, its blobs stay.
        ref: name to give it in the index (``org.opencontainers.image.ref.name``).

    Returns:
        The manifest's digest.

    Raises:
        DigestError: a blob's bytes are not the named ones.
        ContentError: ``content.file``: the folder cannot be written.
    """
    try:
        return _write_image(image, folder, ref)
    except OSError as error:
        raise ContentError(f"cannot write {folder}: {error.strerror}", code="content.file") from error


def _write_image(image: Image, folder: Path, ref: str) -> str:
    for blob in image.blobs:
        _store(folder, blob)
    manifest = Blob(image.digest, len(image.manifest), image.manifest)
    _store(folder, manifest)
    entry = descriptor(image.manifest_type, manifest) | {"platform": {"architecture": "amd64", "os": "linux"}}
    if ref:
        entry["annotations"] = {REF_NAME: ref}
    index = {"schemaVersion": 2, "mediaType": INDEX_TYPE, "manifests": [entry]}
    write_atomic(folder / "oci-layout", canonical_json({"imageLayoutVersion": "1.0.0"}))
    write_atomic(folder / "index.json", canonical_json(index))
    return image.digest


def write_archive(layout: Path, archive: Path) -> None:
    """Write a layout folder as one tar file, deterministic like everything else here.

    Raises:
        ContentError: an unreadable layout.
    """
    with archive.open("wb") as stream:
        write_tar(layout, stream)


def blob_path(folder: Path, digest: str) -> Path:
    """Where a layout keeps a blob (OCI image layout, "Blobs")."""
    return folder / "blobs" / "sha256" / parse_digest(digest).removeprefix("sha256:")


def read_layout(layout: Path, ref: str = "") -> Image:
    """Open the image in a layout folder or in an uncompressed tar archive of one.

    Args:
        layout: folder or archive.
        ref: which image, by the name in the index or by digest; not needed where there is only one for linux/amd64.

    Raises:
        ContentError: not a layout, an unknown format, a missing blob, or no single image fits.
        DigestError: manifest or config are not the named bytes.
    """
    files = _LayoutFiles.open(layout)
    if files.document("oci-layout").get("imageLayoutVersion") != "1.0.0":
        raise ContentError(f"{layout} is no OCI layout of version 1.0.0", code="content.oci.version")
    chosen = _select(files, files.document("index.json"), ref)
    return parse_image(files.blob(chosen).read(MAX_DOCUMENT_BYTES), str(chosen["mediaType"]), files.blob)


def _select(files: _LayoutFiles, index: Mapping[str, Any], ref: str) -> Mapping[str, Any]:
    chosen = choose_manifest(index.get("manifests"), ref)
    for _ in range(_MAX_INDEX_DEPTH):
        if chosen["mediaType"] in MANIFEST_TYPES:
            return chosen
        nested = parse_document(files.blob(chosen).read(MAX_DOCUMENT_BYTES), "index")
        chosen = choose_manifest(nested.get("manifests"))
    raise LimitError("indexes are nested too deeply", code="content.oci.index")


@dataclass(frozen=True, slots=True)
class _LayoutFiles:
    """The files of a layout: a folder, or an archive's members as (offset, size)."""

    root: Path
    members: Mapping[str, tuple[int, int]] | None

    @classmethod
    def open(cls, root: Path) -> _LayoutFiles:
        if root.is_dir():
            return cls(root, None)
        members: dict[str, tuple[int, int]] = {}
        try:
            with tarfile.open(root, "r:") as archive:
                for count, info in enumerate(archive):
                    if count >= _MAX_ARCHIVE_MEMBERS:
                        raise LimitError(f"{root} has more than {_MAX_ARCHIVE_MEMBERS} members")
                    if info.isreg() and not info.issparse():
                        members[info.name.removeprefix("./")] = (info.offset_data, info.size)
        except (tarfile.TarError, OSError) as error:
            raise ContentError(
                f"{root} is neither an OCI layout folder nor an uncompressed archive of one",
                code="content.oci.layout",
                hint="a compressed archive must be decompressed first",
            ) from error
        return cls(root, members)

    def place(self, name: str) -> tuple[Path, int, int]:
        """File, offset and size of a member."""
        try:
            if self.members is not None:
                return self.root, *self.members[name]
            return self.root / name, 0, (self.root / name).stat().st_size
        except (KeyError, OSError) as error:
            raise ContentError(f"{self.root} has no {name}", code="content.oci.missing") from error

    def document(self, name: str) -> dict[str, Any]:
        path, offset, size = self.place(name)
        if size > MAX_DOCUMENT_BYTES:
            raise LimitError(f"{name} has {size} bytes; at most {MAX_DOCUMENT_BYTES} are read")
        with path.open("rb") as stream:
            stream.seek(offset)
            return parse_document(stream.read(size), name)

    def blob(self, entry: object) -> Blob:
        digest, size = parse_descriptor(entry)
        path, offset, found = self.place(f"blobs/sha256/{digest.removeprefix('sha256:')}")
        if found != size:
            raise ContentError(f"{digest} has {found} bytes, not {size}", code="content.size")
        return Blob(digest, size, path, offset)


def _store(folder: Path, blob: Blob) -> None:
    target = blob_path(folder, blob.digest)
    if target == blob.source and blob.offset == 0:
        return
    target.parent.mkdir(parents=True, exist_ok=True)
    partial = target.with_name(target.name + ".partial")
    partial.unlink(missing_ok=True)
    try:
        if not _linked(blob, partial):
            with partial.open("xb") as stream:
                for chunk in blob.chunks():
                    stream.write(chunk)
        partial.replace(target)
    finally:
        partial.unlink(missing_ok=True)


def _linked(blob: Blob, target: Path) -> bool:
    """Share the file of a blob that lies in another layout, after reading it; layouts replace files, never change them.

    Only blobs that carry their digest as name are shared: any other file may be its owner's to change.
    """
    if not isinstance(blob.source, Path) or blob.offset or blob.source.name != blob.digest.removeprefix("sha256:"):
        return False
    try:
        os.link(blob.source, target, follow_symlinks=False)
    except OSError:  # another file system, or none with links
        return False
    for _chunk in Blob(blob.digest, blob.size, target).chunks():
        pass
    return True
