"""Images by name and digest: blobs as files, manifests checked when they are put (OCI distribution spec 1.1)."""

from __future__ import annotations

import re
import secrets
import shutil
import time
from pathlib import Path
from typing import Any

from adyton.base.errors import AdytonError
from adyton.base.files import write_atomic
from adyton.content.blob import Blob, parse_digest, sha256_digest
from adyton.content.errors import ContentError
from adyton.content.image import (
    INDEX_TYPES,
    MANIFEST_TYPES,
    parse_descriptor,
    parse_document,
)
from adyton.content.reference import REPOSITORY, TAG
from adyton.results.repo import Repo

MAX_OPEN_UPLOADS = 256
UPLOAD_LIFETIME_S = 24 * 3600
_UPLOAD_ID = re.compile(r"[0-9a-f]{32}")


class ImageError(AdytonError):
    """A refusal in the distribution API's own terms.

    Attributes:
        status: HTTP status.
        code: an error code of the distribution specification.
    """

    def __init__(self, status: int, code: str, message: str) -> None:
        super().__init__(message, code=code)
        self.status = status


class ImageStore:
    """The registry's store.

    Args:
        folder: where blobs and unfinished uploads are kept.
        repo: names of manifests.
        max_blob_bytes: largest blob.
    """

    def __init__(self, folder: Path, repo: Repo, max_blob_bytes: int) -> None:
        self._blobs = folder / "blobs"
        self.uploads = folder / "uploads"
        self._repo = repo
        self._max_blob_bytes = max_blob_bytes
        self._blobs.mkdir(parents=True, exist_ok=True)
        self.uploads.mkdir(parents=True, exist_ok=True)

    def blob(self, digest: str) -> Path:
        """The file of a blob.

        Raises:
            ImageError: 404 ``BLOB_UNKNOWN``, 400 ``DIGEST_INVALID``.
        """
        path = self._path(digest)
        if not path.is_file():
            raise ImageError(404, "BLOB_UNKNOWN", f"there is no blob {digest}")
        return path

    def start(self) -> str:
        """Begin an upload and return its id; abandoned ones are removed.

        Raises:
            ImageError: 429 ``TOOMANYREQUESTS``.
        """
        open_uploads = 0
        for path in self.uploads.iterdir():
            if time.time() - path.stat().st_mtime > UPLOAD_LIFETIME_S:
                path.unlink(missing_ok=True)
            else:
                open_uploads += 1
        if open_uploads >= MAX_OPEN_UPLOADS:
            raise ImageError(429, "TOOMANYREQUESTS", f"{open_uploads} uploads are open")
        upload = secrets.token_hex(16)
        (self.uploads / upload).touch()
        return upload

    def size(self, upload: str) -> int:
        """Bytes received so far.

        Raises:
            ImageError: 404 ``BLOB_UPLOAD_UNKNOWN``.
        """
        return self._upload(upload).stat().st_size

    def append(self, upload: str, body: Path, start: int | None = None) -> int:
        """Add a part to an upload and return its size.

        Args:
            upload: id.
            body: file with the part; may be moved away.
            start: where the sender believes that the part begins.

        Raises:
            ImageError: 404 ``BLOB_UPLOAD_UNKNOWN``, 416 for a part out of order, 413 ``SIZE_INVALID``.
        """
        path = self._upload(upload)
        size, more = path.stat().st_size, body.stat().st_size
        if start is not None and start != size:
            raise ImageError(416, "BLOB_UPLOAD_INVALID", f"the part begins at {start}, not at {size}")
        if size + more > self._max_blob_bytes:
            raise ImageError(413, "SIZE_INVALID", f"a blob has at most {self._max_blob_bytes} bytes")
        if size == 0:
            body.replace(path)
        elif more:
            with path.open("ab") as target, body.open("rb") as source:
                shutil.copyfileobj(source, target, 1 << 20)
        return size + more

    def finish(self, upload: str, digest: str) -> None:
        """Make an upload a blob, if it is what ``digest`` names; the upload ends either way.

        Raises:
            ImageError: 404 ``BLOB_UPLOAD_UNKNOWN``, 400 ``DIGEST_INVALID``.
        """
        path = self._upload(upload)
        try:
            target = self._path(digest)
            found = Blob.of(path).digest
            if found != digest:
                raise ImageError(400, "DIGEST_INVALID", f"the content hashes to {found}, not {digest}")
            target.parent.mkdir(exist_ok=True)
            path.replace(target)
        finally:
            path.unlink(missing_ok=True)

    def cancel(self, upload: str) -> None:
        """Drop an upload.

        Raises:
            ImageError: 404 ``BLOB_UPLOAD_UNKNOWN``.
        """
        self._upload(upload).unlink(missing_ok=True)

    def put_manifest(self, repository: str, reference: str, media_type: str, data: bytes) -> str:
        """Store a manifest or index whose parts are all here, and return its digest.

        Raises:
            ImageError: 400 ``MANIFEST_INVALID``, ``DIGEST_INVALID``, ``NAME_INVALID``, ``TAG_INVALID`` or
                ``MANIFEST_BLOB_UNKNOWN``.
        """
        check_repository(repository)
        digest = sha256_digest(data)
        tag = None if reference.startswith("sha256:") else reference
        if tag is None and reference != digest:
            raise ImageError(400, "DIGEST_INVALID", f"the manifest hashes to {digest}, not {reference}")
        if tag is not None and not TAG.fullmatch(tag):
            raise ImageError(400, "TAG_INVALID", f"{tag!r} is not a tag")
        self._check_parts(repository, media_type, data)
        path = self._path(digest)
        if not path.is_file():
            write_atomic(path, data)
        self._repo.keep_manifest(repository, digest, media_type, tag)
        return digest

    def manifest(self, repository: str, reference: str) -> tuple[Path, str, str]:
        """File, digest and media type of a manifest.

        Raises:
            ImageError: 404 ``MANIFEST_UNKNOWN``.
        """
        found = self._repo.manifest(repository, reference)
        if found is None:
            raise ImageError(404, "MANIFEST_UNKNOWN", f"there is no {repository}:{reference}")
        digest, media_type = found
        return self.blob(digest), digest, media_type

    def tags(self, repository: str) -> list[str]:
        """The tags of a repository.

        Raises:
            ImageError: 404 ``NAME_UNKNOWN``.
        """
        found = self._repo.tags(repository)
        if not found:
            raise ImageError(404, "NAME_UNKNOWN", f"there is no repository {repository}")
        return found

    def _check_parts(self, repository: str, media_type: str, data: bytes) -> None:
        try:
            document = parse_document(data, "manifest")
            parts = _parts(document, media_type)
            descriptors = [parse_descriptor(part) for part in parts]
        except ContentError as error:
            raise ImageError(400, "MANIFEST_INVALID", error.message) from error
        for digest, size in descriptors:
            if media_type in INDEX_TYPES:
                self.manifest(repository, digest)
            else:
                self._check_blob(digest, size)

    def _check_blob(self, digest: str, size: int) -> None:
        path = self._path(digest)
        if not path.is_file() or path.stat().st_size != size:
            raise ImageError(400, "MANIFEST_BLOB_UNKNOWN", f"there is no blob {digest} of {size} bytes")

    def _path(self, digest: str) -> Path:
        try:
            name = parse_digest(digest).removeprefix("sha256:")
        except ContentError as error:
            raise ImageError(400, "DIGEST_INVALID", error.message) from error
        return self._blobs / name[:2] / name

    def _upload(self, upload: str) -> Path:
        path = self.uploads / upload
        if not _UPLOAD_ID.fullmatch(upload) or not path.is_file():
            raise ImageError(404, "BLOB_UPLOAD_UNKNOWN", f"there is no upload {upload[:40]!r}")
        return path


def _parts(document: dict[str, Any], media_type: str) -> list[Any]:
    """The descriptors in a manifest or index that is sent as ``media_type``."""
    layers, manifests = document.get("layers"), document.get("manifests")
    if document.get("mediaType", media_type) == media_type:
        if media_type in MANIFEST_TYPES and isinstance(layers, list):
            return [document.get("config"), *layers]
        if media_type in INDEX_TYPES and isinstance(manifests, list):
            return manifests
    raise ContentError(f"not an image manifest or index of type {media_type!r}")


def check_repository(name: str) -> None:
    """Refuse what is not the name of a repository.

    Raises:
        ImageError: 400 ``NAME_INVALID``.
    """
    if not REPOSITORY.fullmatch(name) or len(name) > 255:
        raise ImageError(400, "NAME_INVALID", f"{name[:80]!r} is not the name of a repository")
