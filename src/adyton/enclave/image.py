"""Looking at an enclave image without starting it: its documents, and its files as a platform would find them."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from adyton.content.oci import Image, ImageConfig, read_image_file, read_layout, unpack
from adyton.enclave.errors import ManifestError
from adyton.enclave.filenames import require_utf8_names
from adyton.enclave.manifest import (
    MANIFEST_PATH,
    MAX_MANIFEST_BYTES,
    SIGSTRUCT_PATH,
    Manifest,
    TrustedEntry,
    TrustedFile,
)
from adyton.enclave.measure import measure, scan
from adyton.enclave.sigstruct import SIGSTRUCT_BYTES, SigStruct


@dataclass(frozen=True, slots=True)
class EnclaveImage:
    """What an image says about its enclave.

    Attributes:
        digest: of the OCI manifest.
        manifest: of the enclave.
        sigstruct: its signature; not verified.
        mrenclave: computed from the manifest; a platform computes it again and checks every file.
        config: what the OCI image says it runs; nothing of it is measured.
    """

    digest: str
    manifest: Manifest
    sigstruct: SigStruct
    mrenclave: bytes
    config: ImageConfig = field(default_factory=ImageConfig)

    @classmethod
    def load(cls, layout: Path, ref: str = "") -> EnclaveImage:
        """Read the enclave's documents from an OCI layout folder or archive.

        Raises:
            ManifestError: the image is no enclave, or its manifest is not usable.
            SigStructError: its signature structure is malformed.
            ContentError: no readable image.
        """
        return cls.of(read_layout(layout, ref))

    @classmethod
    def of(cls, image: Image) -> EnclaveImage:
        """As :meth:`load`, of an image that is open already."""
        manifest = Manifest.from_json(_read(image, MANIFEST_PATH, MAX_MANIFEST_BYTES))
        sigstruct = SigStruct.parse(_read(image, SIGSTRUCT_PATH, SIGSTRUCT_BYTES))
        return cls(image.digest, manifest, sigstruct, measure(manifest), image.config)


@dataclass(frozen=True, slots=True)
class ImageFiles:
    """The files of an unpacked image.

    Attributes:
        entries: as :func:`adyton.enclave.measure.scan` lists them.
        sizes: bytes of each regular file among them.
    """

    entries: Mapping[str, TrustedEntry]
    sizes: Mapping[str, int]


def read_files(image: Image) -> ImageFiles:
    """Unpack an image into a temporary folder and list what a platform would measure there.

    Raises:
        ContentError: the image cannot be unpacked.
        TrustedFileError: it has something that no enclave may have.
        BuildError: the locale is not UTF-8.
    """
    require_utf8_names()
    with tempfile.TemporaryDirectory(prefix="adyton-image-") as folder:
        rootfs = Path(folder, "rootfs")
        unpack(image, rootfs)
        entries = scan(rootfs)
        root = os.fsencode(rootfs)
        sizes = {
            path: os.lstat(root + path.encode()).st_size
            for path, entry in entries.items()
            if isinstance(entry, TrustedFile)
        }
    return ImageFiles(entries, sizes)


def _read(image: Image, path: str, limit: int) -> bytes:
    data = read_image_file(image, path, limit)
    if data is None:
        raise ManifestError(
            f"the image {image.digest} is no enclave: it has no {path}",
            code="enclave.manifest.missing",
            hint="make one of it with sconify_iexec",
        )
    return data
