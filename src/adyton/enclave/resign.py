"""Another signature for an enclave image that exists: what its owner's signer does away from whoever built it.

Only the SIGSTRUCT is replaced. It lies beside the measured pages, so MRENCLAVE stays, and so do all layers but the last
one: signing an image that ``sconify`` made gives byte for byte the image that ``sconify`` makes with that key and date.

Debug, ISVPRODID and ISVSVN stand in the measured manifest as well. A signature that says otherwise would be for an
enclave that does not exist, so changing one of them is refused unless a new measurement is asked for.
"""

from __future__ import annotations

import io
import tarfile
from dataclasses import dataclass, replace
from datetime import date
from pathlib import Path
from typing import Final

from cryptography.hazmat.primitives.asymmetric import rsa

from adyton.content.errors import ContentError
from adyton.content.image import name_of, parse_document
from adyton.content.layerstream import members
from adyton.content.oci import (
    Image,
    Layer,
    TarEntry,
    blob_path,
    build_image,
    deterministic_tar,
    open_tar_stream,
    write_image,
)
from adyton.enclave.errors import BuildError, ManifestError
from adyton.enclave.image import EnclaveImage, read_files
from adyton.enclave.manifest import MANIFEST_PATH, MAX_MANIFEST_BYTES, SIGSTRUCT_PATH, Manifest
from adyton.enclave.measure import compare, measure
from adyton.enclave.sigstruct import sign

_DOCUMENTS: Final = frozenset({MANIFEST_PATH[1:], SIGSTRUCT_PATH[1:]})
_COPY_BYTES: Final = 1 << 18


@dataclass(frozen=True, slots=True, kw_only=True)
class SignOptions:
    """What the signer decides.

    Attributes:
        signed_on: day recorded in the SIGSTRUCT.
        debug: True or False demands that kind of enclave; None takes what the image is.
        isvprodid: product number; None takes the image's.
        isvsvn: security version; None takes the image's.
        remeasure: write what differs into the manifest, which gives another MRENCLAVE.
    """

    signed_on: date
    debug: bool | None = None
    isvprodid: int | None = None
    isvsvn: int | None = None
    remeasure: bool = False

    def manifest(self, manifest: Manifest) -> Manifest:
        """The manifest as these options want it.

        Raises:
            ManifestError: a number out of range.
        """
        try:
            return replace(
                manifest,
                debug=manifest.debug if self.debug is None else self.debug,
                isvprodid=manifest.isvprodid if self.isvprodid is None else self.isvprodid,
                isvsvn=manifest.isvsvn if self.isvsvn is None else self.isvsvn,
            )
        except ManifestError as error:
            raise ManifestError(error.message, code=error.code, hint="both are unsigned 16-bit numbers") from error


@dataclass(frozen=True, slots=True)
class SignedImage:
    """An image with its new signature, not yet written; and what the image was."""

    image: Image
    enclave: EnclaveImage
    before: EnclaveImage


def sign_image(image: Image, key: rsa.RSAPrivateKey, options: SignOptions) -> SignedImage:
    """Sign the enclave in ``image``, after checking that its files are the ones that the signature will stand for.

    Raises:
        BuildError: ``enclave.sign.measured``: the options differ from what is measured.
        ManifestError: the image is no enclave, or a number is out of range.
        TrustedFileError: a file of the image is not as its manifest says.
        SignerKeyError: the key is not usable.
        ContentError: the image cannot be read.
    """
    before = EnclaveImage.of(image)
    manifest = options.manifest(before.manifest)
    mrenclave = measure(manifest)
    if manifest != before.manifest and not options.remeasure:
        raise _measured(before, manifest, mrenclave)
    compare(read_files(image).entries, manifest.trusted_files)
    signature = sign(
        mrenclave,
        key,
        debug=manifest.debug,
        isvprodid=manifest.isvprodid,
        isvsvn=manifest.isvsvn,
        signed_on=options.signed_on,
    )
    documents = {SIGSTRUCT_PATH: signature.to_bytes()}
    if manifest != before.manifest:
        documents[MANIFEST_PATH] = manifest.to_json()
    signed = _with_documents(image, documents)
    return SignedImage(signed, EnclaveImage(signed.digest, manifest, signature, mrenclave, signed.config), before)


def store_in_place(layout: Path, old: Image, new: Image) -> None:
    """Put ``new`` in the place of ``old`` in an OCI layout folder; blobs that only ``old`` had are removed.

    Raises:
        BuildError: the layout is an archive, or holds other images too.
        ContentError: it cannot be read or written.
    """
    if not layout.is_dir():
        raise BuildError(
            f"{layout} is an archive, which is not changed in place",
            code="enclave.sign.place",
            hint="name the folder for the signed image: --out FOLDER",
        )
    try:
        entries = parse_document((layout / "index.json").read_bytes(), "index").get("manifests")
    except OSError as error:
        raise ContentError(f"cannot read {layout}: {error.strerror}", code="content.oci.layout") from error
    if not isinstance(entries, list) or len(entries) != 1 or entries[0].get("digest") != old.digest:
        raise BuildError(
            f"{layout} holds other images too, which would be lost",
            code="enclave.sign.place",
            hint="name another folder for the signed image: --out FOLDER",
        )
    write_image(new, layout, name_of(entries[0]))
    for digest in _digests(old) - _digests(new):
        blob_path(layout, digest).unlink(missing_ok=True)


def _digests(image: Image) -> set[str]:
    return {image.digest, *(blob.digest for blob in image.blobs)}


def _measured(before: EnclaveImage, manifest: Manifest, mrenclave: bytes) -> BuildError:
    old, new = before.manifest, manifest
    differences = [
        f"{name} is {getattr(old, name)!r}, not {getattr(new, name)!r}"
        for name in ("debug", "isvprodid", "isvsvn")
        if getattr(old, name) != getattr(new, name)
    ]
    return BuildError(
        f"the image's measurement says otherwise: {', '.join(differences)}",
        code="enclave.sign.measured",
        hint=f"build it again with sconify_iexec, or say --remeasure: MRENCLAVE {before.mrenclave.hex()} becomes"
        f" {mrenclave.hex()}, and whoever names the old one must be told",
    )


def _with_documents(image: Image, documents: dict[str, bytes]) -> Image:
    """The image with these files: in the layer that ``sconify`` put on top, or in one more where that is another."""
    last = image.layers[-1]
    entries = _enclave_layer(last)
    layers = image.layers if entries is None else image.layers[:-1]
    kept = [entry for entry in entries or [TarEntry(".adyton", "dir")] if f"/{entry.path}" not in documents]
    changed = [TarEntry(path[1:], "file", content) for path, content in documents.items()]
    return build_image((*layers, deterministic_tar([*kept, *changed])), image.config)


def _enclave_layer(layer: Layer) -> list[TarEntry] | None:
    """The entries of a layer that holds folders, empty files and an enclave's documents only; None for any other."""
    found: list[TarEntry] | None = []
    seen: set[str] = set()  # a document that is there twice would be kept in memory as often
    with open_tar_stream(layer) as archive:
        for info in members(archive):
            name = info.name.removeprefix("./").rstrip("/")
            plain = info.isreg() and not info.mode & 0o111 and "/.wh." not in f"/{name}"
            empty = plain and not info.size
            document = plain and name in _DOCUMENTS and info.size <= MAX_MANIFEST_BYTES and name not in seen
            if found is None or not (info.isdir() or empty or document):
                found = None
                continue
            seen.add(name)
            if info.isdir():
                found.append(TarEntry(name, "dir"))
            else:
                found.append(TarEntry(name, "file", _content(archive, info)))
    return found


def _content(archive: tarfile.TarFile, info: tarfile.TarInfo) -> bytes:
    """A file of a layer; in pieces, as layers bound single reads."""
    stream = archive.extractfile(info) or io.BytesIO()
    return b"".join(iter(lambda: stream.read(_COPY_BYTES), b""))
