"""Images on the worker's disk: pulled once, kept by digest, unpacked once.

An app's image is what the chain's checksum names, not what its reference happens to serve: another digest is refused.
"""

from __future__ import annotations

import hashlib
import shutil
import tempfile
import threading
from pathlib import Path

from adyton.base.errors import AdytonError
from adyton.base.types import Bytes32
from adyton.content.oci import read_layout
from adyton.content.reference import ImageReference
from adyton.content.registry import RegistryClient
from adyton.content.unpack import unpack


class ImageMismatchError(AdytonError):
    """The registry serves another image than the chain names."""

    code = "worker.image.mismatch"
    hint = "deploy the app with the digest of the image that is published, as 'sha256:…' without its prefix"


class ImageStore:
    """Layouts and root file systems by digest.

    Args:
        folder: where they lie.
        registry: where they come from.
    """

    def __init__(self, folder: Path, registry: RegistryClient) -> None:
        self._layouts = folder / "layouts"
        self._roots = folder / "rootfs"
        self._registry = registry
        self._lock = threading.Lock()
        self._locks: dict[str, threading.Lock] = {}

    def app(self, reference: str, checksum: Bytes32) -> Path:
        """The layout of an app's image.

        Args:
            reference: image name from the chain.
            checksum: digest of the image's manifest from the chain.

        Raises:
            InputError: not an image name.
            ImageMismatchError: the registry serves another image under this name.
            AdytonError: it cannot be pulled; see :meth:`RegistryClient.pull`.
        """
        name = ImageReference.parse(reference)
        expected = "sha256:" + checksum[2:]
        if name.digest not in {"", expected}:
            raise ImageMismatchError(f"{reference} names another image than the checksum {checksum}")
        return self._get(checksum[2:], name, expected)

    def stage(self, reference: str, fingerprint: str) -> Path:
        """The layout of a stage enclave's image; a new fingerprint under an old name is pulled anew.

        Raises:
            InputError: not an image name.
            AdytonError: it cannot be pulled.
        """
        key = hashlib.sha256(f"{reference}\n{fingerprint}".encode()).hexdigest()
        return self._get(key, ImageReference.parse(reference), "")

    def rootfs(self, layout: Path) -> Path:
        """The unpacked file system of a layout, shared by all runs and never written to.

        Raises:
            ContentError: damaged, malformed or too large.
        """
        image = read_layout(layout)
        target = self._roots / image.digest.removeprefix("sha256:")
        with self._lock_of("rootfs:" + image.digest):
            if not target.is_dir():
                with self._temporary(self._roots) as scratch:
                    unpack(image, scratch / "root")
                    (scratch / "root").replace(target)
        return target

    def _get(self, key: str, reference: ImageReference, expected: str) -> Path:
        target = self._layouts / key
        with self._lock_of(key):
            if target.is_dir():
                return target
            with self._temporary(self._layouts) as scratch:
                digest = self._registry.pull(reference, scratch / "layout", self._kept)
                if expected and digest != expected:
                    raise ImageMismatchError(f"{reference} is {digest} and the chain says {expected}")
                (scratch / "layout").replace(target)
        return target

    def _kept(self, digest: str) -> Path | None:
        """A blob of an image that is here already: images share their lower layers."""
        name = digest.removeprefix("sha256:")
        found = self._layouts.glob(f"[!.]*/blobs/sha256/{name}")
        return next(found, None)

    def _lock_of(self, key: str) -> threading.Lock:
        with self._lock:
            return self._locks.setdefault(key, threading.Lock())

    @staticmethod
    def _temporary(parent: Path) -> _Scratch:
        parent.mkdir(parents=True, exist_ok=True)
        return _Scratch(parent)


class _Scratch:
    """A folder beside the final place, so that a rename is atomic; removed whatever happens."""

    def __init__(self, parent: Path) -> None:
        self._folder = Path(tempfile.mkdtemp(prefix=".partial-", dir=parent))

    def __enter__(self) -> Path:
        return self._folder

    def __exit__(self, *_error: object) -> None:
        shutil.rmtree(self._folder, ignore_errors=True)
