"""Looking at an enclave image without unpacking or starting it."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from adyton.content.oci import Image, read_image_file, read_layout
from adyton.enclave.errors import ManifestError
from adyton.enclave.manifest import MANIFEST_PATH, MAX_MANIFEST_BYTES, SIGSTRUCT_PATH, Manifest
from adyton.enclave.measure import measure
from adyton.enclave.sigstruct import SIGSTRUCT_BYTES, SigStruct


@dataclass(frozen=True, slots=True)
class EnclaveImage:
    """What an image says about its enclave.

    Attributes:
        digest: of the OCI manifest.
        manifest: of the enclave.
        sigstruct: its signature; not verified.
        mrenclave: computed from the manifest; a platform computes it again and checks every file.
    """

    digest: str
    manifest: Manifest
    sigstruct: SigStruct
    mrenclave: bytes

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
        return cls(image.digest, manifest, sigstruct, measure(manifest))


def _read(image: Image, path: str, limit: int) -> bytes:
    data = read_image_file(image, path, limit)
    if data is None:
        raise ManifestError(
            f"the image {image.digest} is no enclave: it has no {path}",
            code="enclave.manifest.missing",
            hint="make one of it with sconify_iexec",
        )
    return data
