"""What an OCI image is: its config, its layers, its manifest, as values; built deterministically or parsed.

Formats: OCI image spec 1.0 (manifest, config, descriptors); Docker's schema 2 manifests are read as well.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from adyton.base.canonical import canonical_json
from adyton.base.jsontext import parse_json
from adyton.content.blob import Blob, parse_digest
from adyton.content.errors import ContentError, LimitError

MANIFEST_TYPE = "application/vnd.oci.image.manifest.v1+json"
INDEX_TYPE = "application/vnd.oci.image.index.v1+json"
CONFIG_TYPE = "application/vnd.oci.image.config.v1+json"
LAYER_TYPE = "application/vnd.oci.image.layer.v1.tar"
LAYER_GZIP_TYPE = "application/vnd.oci.image.layer.v1.tar+gzip"
DOCKER_MANIFEST_TYPE = "application/vnd.docker.distribution.manifest.v2+json"
DOCKER_LIST_TYPE = "application/vnd.docker.distribution.manifest.list.v2+json"
MANIFEST_TYPES = (MANIFEST_TYPE, DOCKER_MANIFEST_TYPE)
INDEX_TYPES = (INDEX_TYPE, DOCKER_LIST_TYPE)
_CONFIG_TYPES = (CONFIG_TYPE, "application/vnd.docker.container.image.v1+json")
_LAYER_TYPES = {
    LAYER_TYPE: LAYER_TYPE,
    LAYER_GZIP_TYPE: LAYER_GZIP_TYPE,
    "application/vnd.docker.image.rootfs.diff.tar": LAYER_TYPE,
    "application/vnd.docker.image.rootfs.diff.tar.gzip": LAYER_GZIP_TYPE,
}
REF_NAME = "org.opencontainers.image.ref.name"
MAX_DOCUMENT_BYTES = 4 << 20  # the size up to which registries must accept manifests (distribution spec)
MAX_LAYERS = 127  # Docker's own limit

BlobFinder = Callable[[object], Blob]  # from a descriptor to its blob; raises ContentError when it is missing


@dataclass(frozen=True, slots=True)
class ImageConfig:
    """What an image runs: the members of an OCI image's ``config`` that are kept.

    Attributes:
        entrypoint: fixed part of the command line.
        cmd: default arguments.
        env: ``NAME=value`` texts in order.
        workdir: working folder, absolute; empty for ``/``.
        user: user to run as, as written; kept for other tools, an enclave has one user only.
        labels: free text by name.
    """

    entrypoint: tuple[str, ...] = ()
    cmd: tuple[str, ...] = ()
    env: tuple[str, ...] = ()
    workdir: str = ""
    user: str = ""
    labels: tuple[tuple[str, str], ...] = ()


@dataclass(frozen=True, slots=True)
class Layer:
    """One layer: its blob as stored and the digest of the tar archive in it.

    Attributes:
        blob: digest, size and place of the stored bytes.
        media_type: OCI layer type, plain tar or tar+gzip.
        diff_id: ``sha256:…`` of the uncompressed tar.
    """

    blob: Blob
    media_type: str
    diff_id: str

    @property
    def is_gzip(self) -> bool:
        """Whether the stored bytes are compressed."""
        return self.media_type == LAYER_GZIP_TYPE


@dataclass(frozen=True, slots=True)
class Image:
    """One image: the exact bytes of its manifest and config, what they say, and where its layers are.

    Attributes:
        digest: ``sha256:…`` of the manifest; what an app's on-chain checksum names.
        config: what it runs.
        layers: lowest first.
        manifest: manifest bytes.
        manifest_type: media type of the manifest.
        config_blob: config bytes with their digest.
    """

    digest: str
    config: ImageConfig
    layers: tuple[Layer, ...]
    manifest: bytes
    manifest_type: str
    config_blob: Blob

    @property
    def blobs(self) -> tuple[Blob, ...]:
        """Config and layers, each digest once."""
        return tuple(
            {blob.digest: blob for blob in (self.config_blob, *(layer.blob for layer in self.layers))}.values()
        )


def build_image(layers: Sequence[Path | bytes | Layer], config: ImageConfig) -> Image:
    """Make an image of layers; raw ones are uncompressed tar archives.

    Raises:
        ContentError: an unreadable layer file or too many layers.
    """
    if len(layers) > MAX_LAYERS:
        raise LimitError(f"{len(layers)} layers; an image has at most {MAX_LAYERS}")
    made = tuple(layer if isinstance(layer, Layer) else _raw_layer(layer) for layer in layers)
    config_blob = Blob.of(_config_json(config, [layer.diff_id for layer in made]))
    manifest = canonical_json(
        {
            "schemaVersion": 2,
            "mediaType": MANIFEST_TYPE,
            "config": descriptor(CONFIG_TYPE, config_blob),
            "layers": [descriptor(layer.media_type, layer.blob) for layer in made],
        }
    )
    return Image(Blob.of(manifest).digest, config, made, manifest, MANIFEST_TYPE, config_blob)


def add_layers(image: Image, layers: Sequence[Path | bytes | Layer], config: ImageConfig | None = None) -> Image:
    """The image with more layers on top and, when given, another config.

    Raises:
        ContentError: as :func:`build_image`.
    """
    return build_image((*image.layers, *layers), image.config if config is None else config)


def parse_image(manifest: bytes, media_type: str, find: BlobFinder) -> Image:
    """Read a manifest and the config it names.

    Args:
        manifest: verified manifest bytes.
        media_type: what the index or registry says they are.
        find: where the blobs it names are.

    Raises:
        ContentError: not an image manifest, or its config does not fit its layers.
    """
    document = parse_document(manifest, "manifest")
    config_entry, entries = document.get("config"), document.get("layers")
    if media_type not in MANIFEST_TYPES or document.get("schemaVersion") != 2 or not isinstance(entries, list):
        raise ContentError("not an image manifest of schema version 2", code="content.oci.manifest")
    if len(entries) > MAX_LAYERS:
        raise LimitError(f"{len(entries)} layers; an image has at most {MAX_LAYERS}")
    if not isinstance(config_entry, dict) or config_entry.get("mediaType") not in _CONFIG_TYPES:
        raise ContentError("the manifest names no image config", code="content.oci.config")
    config_blob = find(config_entry)
    config, diff_ids = _parse_config(config_blob.read(MAX_DOCUMENT_BYTES))
    if len(diff_ids) != len(entries):
        raise ContentError(
            f"{len(entries)} layers but {len(diff_ids)} layer digests in the config", code="content.oci.config"
        )
    layers = tuple(_parse_layer(entry, diff_id, find) for entry, diff_id in zip(entries, diff_ids, strict=True))
    return Image(Blob.of(manifest).digest, config, layers, manifest, media_type, config_blob)


def parse_document(data: bytes, what: str) -> dict[str, Any]:
    """Decode a JSON object.

    Raises:
        ContentError: not a JSON object.
    """
    try:
        document = parse_json(data)
    except (ValueError, RecursionError) as error:
        raise ContentError(f"the {what} is not JSON", code="content.oci.json") from error
    if not isinstance(document, dict):
        raise ContentError(f"the {what} is not a JSON object", code="content.oci.json")
    return document


def parse_descriptor(entry: object) -> tuple[str, int]:
    """Digest and size of a descriptor (OCI content descriptors).

    Raises:
        ContentError: members are missing or malformed.
    """
    if not isinstance(entry, dict):
        raise ContentError("a descriptor is not an object", code="content.oci.descriptor")
    size = entry.get("size")
    if not isinstance(size, int) or isinstance(size, bool) or size < 0:
        raise ContentError("a descriptor has no size", code="content.oci.descriptor")
    return parse_digest(entry.get("digest")), size


def _raw_layer(source: Path | bytes) -> Layer:
    blob = Blob.of(source)
    return Layer(blob, LAYER_TYPE, blob.digest)


def descriptor(media_type: str, blob: Blob) -> dict[str, Any]:
    """The descriptor that names ``blob`` (OCI content descriptors)."""
    return {"mediaType": media_type, "digest": blob.digest, "size": blob.size}


def _config_json(config: ImageConfig, diff_ids: list[str]) -> bytes:
    inner: dict[str, Any] = {
        "Entrypoint": list(config.entrypoint),
        "Cmd": list(config.cmd),
        "Env": list(config.env),
        "WorkingDir": config.workdir,
        "User": config.user,
        "Labels": dict(config.labels),
    }
    return canonical_json(
        {
            "architecture": "amd64",
            "os": "linux",
            "config": {name: value for name, value in inner.items() if value},
            "rootfs": {"type": "layers", "diff_ids": diff_ids},
        }
    )


def _parse_config(data: bytes) -> tuple[ImageConfig, list[str]]:
    document = parse_document(data, "image config")
    inner, rootfs = document.get("config") or {}, document.get("rootfs")
    if not isinstance(inner, dict) or not isinstance(rootfs, dict) or not isinstance(rootfs.get("diff_ids"), list):
        raise ContentError("the image config has no rootfs", code="content.oci.config")
    labels = inner.get("Labels") or {}
    if not isinstance(labels, dict):
        raise ContentError("Labels of the image config are not an object", code="content.oci.config")
    config = ImageConfig(
        entrypoint=_texts(inner, "Entrypoint"),
        cmd=_texts(inner, "Cmd"),
        env=_texts(inner, "Env"),
        workdir=_text(inner, "WorkingDir"),
        user=_text(inner, "User"),
        labels=tuple(sorted((str(name), str(value)) for name, value in labels.items())),
    )
    return config, [parse_digest(item) for item in rootfs["diff_ids"]]


def _texts(inner: Mapping[str, Any], name: str) -> tuple[str, ...]:
    value = inner.get(name) or []
    if not isinstance(value, list) or not all(isinstance(item, str) for item in value):
        raise ContentError(f"{name} of the image config is not a list of texts", code="content.oci.config")
    return tuple(value)


def _text(inner: Mapping[str, Any], name: str) -> str:
    value = inner.get(name) or ""
    if not isinstance(value, str):
        raise ContentError(f"{name} of the image config is not a text", code="content.oci.config")
    return value


def _parse_layer(entry: object, diff_id: str, find: BlobFinder) -> Layer:
    media_type = entry.get("mediaType") if isinstance(entry, dict) else None
    if media_type not in _LAYER_TYPES:
        raise ContentError(
            f"layers of type {media_type!r} are not supported",
            code="content.oci.layer_type",
            hint="store the image with plain or gzip-compressed layers",
        )
    return Layer(find(entry), _LAYER_TYPES[media_type], diff_id)


def choose_manifest(entries: object, ref: str = "") -> Mapping[str, Any]:
    """The descriptor in an index that is meant: named ``ref``, else the only one that may run on linux/amd64.

    One of another name, or of another digest than is asked for, is never meant; one without a name may be.

    Raises:
        ContentError: none or several fit.
    """
    if not isinstance(entries, list):
        raise ContentError("the index lists no manifests", code="content.oci.index")
    usable = [e for e in entries if isinstance(e, dict) and e.get("mediaType") in (*MANIFEST_TYPES, *INDEX_TYPES)]
    named = [e for e in usable if ref and ref in (e.get("digest"), name_of(e))]
    others = [e for e in usable if _runs_here(e) and not (ref and name_of(e))]
    fitting = named or ([] if ref.startswith("sha256:") else others)
    if len(fitting) != 1 or (ref and len(usable) > 1 and not named):
        what = f"image {ref!r}" if ref else "image for linux/amd64"
        raise ContentError(
            f"the index has {len(named) if ref else len(fitting)} manifests for the {what}; one is needed",
            code="content.oci.index",
        )
    return fitting[0]


def name_of(entry: Mapping[str, Any]) -> str:
    """The name that an index gives one of its entries; empty where it gives none."""
    annotations = entry.get("annotations")
    return str(annotations.get(REF_NAME, "")) if isinstance(annotations, dict) else ""


def _runs_here(entry: Mapping[str, Any]) -> bool:
    platform = entry.get("platform")
    return not isinstance(platform, dict) or (platform.get("os"), platform.get("architecture")) == ("linux", "amd64")
