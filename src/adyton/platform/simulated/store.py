"""Unpacked images of this machine: by manifest digest, verified when unpacked, measured again at every launch.

Images share the files of the layers they have in common with a cache of layers. That saves unpacking, never measuring:
an image whose files turn out to be others than its manifest's when it is first put together is made again from its
verified layers alone, and one that changed later is refused.
"""

from __future__ import annotations

import os
import shutil
import threading
from dataclasses import dataclass, replace
from functools import lru_cache
from pathlib import Path

from adyton.attestation.formats.sgx import Attributes
from adyton.base.errors import AdytonError
from adyton.base.log import get_logger
from adyton.content.errors import ContentError
from adyton.content.oci import Image, LayerCache, read_layout, unpack
from adyton.enclave import measure
from adyton.enclave.errors import ManifestError, TrustedFileError
from adyton.enclave.manifest import MANIFEST_PATH, MAX_MANIFEST_BYTES, SIGSTRUCT_PATH, Manifest
from adyton.enclave.sigstruct import DEBUG, MODE64, SIGSTRUCT_BYTES, XFRM_LEGACY

_log = get_logger("platform.store")


@dataclass(frozen=True, slots=True)
class LoadedEnclave:
    """An image as this machine found it: nothing here is a claim of whoever asked for the launch.

    Attributes:
        digest: of the image's OCI manifest.
        rootfs: its files.
        manifest: what the enclave is.
        mrenclave: 32 bytes, measured.
        sigstruct: 1808 bytes, not yet judged.
    """

    digest: str
    rootfs: Path
    manifest: Manifest
    mrenclave: bytes
    sigstruct: bytes

    @property
    def attributes(self) -> Attributes:
        """SECS.ATTRIBUTES at ECREATE: 64-bit, and debug if the measured manifest says so."""
        return Attributes(MODE64 | (DEBUG if self.manifest.debug else 0), XFRM_LEGACY)


class ImageStore:
    """Keeps unpacked images below one private folder.

    Args:
        folder: made when missing, readable by the owner only.
        layers: layers that images have in common.
    """

    def __init__(self, folder: Path, layers: LayerCache) -> None:
        self._folder = folder
        self._layers = layers
        self._lock = threading.Lock()
        self._busy: dict[str, threading.Lock] = {}
        folder.mkdir(parents=True, exist_ok=True)
        folder.chmod(0o700)
        for leftover in folder.glob("*.partial"):
            shutil.rmtree(leftover, ignore_errors=True)

    def load(self, layout: Path) -> LoadedEnclave:
        """Unpack the image unless it is here already, and measure it.

        Raises:
            ContentError: the image cannot be read or unpacked.
            TrustedFileError: its files are not those of its manifest.
            ManifestError: it has no usable manifest, or no SIGSTRUCT.
        """
        image = read_layout(layout)
        name = image.digest.removeprefix("sha256:")
        with self._lock:
            busy = self._busy.setdefault(name, threading.Lock())
        rootfs = self._folder / name
        with busy:
            if rootfs.exists():
                return measure_image(rootfs, image.digest)
            partial = self._folder / f"{name}.partial"
            try:
                unpack(image, partial, cache=self._layers)
                loaded = measure_image(partial, image.digest)
            except (ContentError, TrustedFileError) as error:
                loaded = self._load_afresh(image, partial, error)
            partial.rename(rootfs)
            return replace(loaded, rootfs=rootfs)

    def _load_afresh(self, image: Image, partial: Path, cause: AdytonError) -> LoadedEnclave:
        """Unpack without kept layers: a damaged one must not close its images for ever.

        If the image is bad itself, this fails as well, and what is kept stays.
        """
        shutil.rmtree(partial, ignore_errors=True)
        try:
            unpack(image, partial)
            loaded = measure_image(partial, image.digest)
        except BaseException:
            shutil.rmtree(partial, ignore_errors=True)
            raise
        _log.warning("a kept layer was damaged; forgotten", code=cause.code, detail=cause.message)
        for layer in image.layers:
            self._layers.forget(layer)
        return loaded


def measure_image(rootfs: Path, digest: str) -> LoadedEnclave:
    """Check every file below ``rootfs`` against the manifest, then measure the manifest.

    Raises:
        TrustedFileError: a file is missing, added or changed.
        ManifestError: no usable manifest, or no SIGSTRUCT.
    """
    try:
        data = _read_inside(rootfs, MANIFEST_PATH, MAX_MANIFEST_BYTES)
        sigstruct = _read_inside(rootfs, SIGSTRUCT_PATH, SIGSTRUCT_BYTES)
    except OSError as error:
        raise ManifestError(
            f"the image is no enclave: {error.strerror}: {error.filename}",
            code="enclave.manifest.missing",
            hint="make one of it with sconify_iexec",
        ) from error
    manifest, mrenclave = _measure_manifest(data)
    measure.check(rootfs, manifest)
    return LoadedEnclave(digest, rootfs, manifest, mrenclave, sigstruct)


@lru_cache(maxsize=32)
def _measure_manifest(data: bytes) -> tuple[Manifest, bytes]:
    """Parse and measure; a pure function of the very bytes, so remembering it skips no check."""
    manifest = Manifest.from_json(data)
    return manifest, measure.measure(manifest)


def _read_inside(rootfs: Path, path: str, limit: int) -> bytes:
    """Read a file of the image without following any link below ``rootfs``."""
    folder = os.open(rootfs, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        *parents, name = path.strip("/").split("/")
        for part in parents:
            inner = os.open(part, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC, dir_fd=folder)
            os.close(folder)
            folder = inner
        descriptor = os.open(name, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC, dir_fd=folder)
        with os.fdopen(descriptor, "rb") as stream:
            return stream.read(limit + 1)
    finally:
        os.close(folder)
