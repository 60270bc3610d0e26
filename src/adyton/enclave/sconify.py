"""From a native image to an enclave image: agent, manifest and signature in one more layer.

Same source image, same options, same builder give the same MRENCLAVE, wherever it is built.
"""

from __future__ import annotations

import hashlib
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import date
from pathlib import Path
from types import MappingProxyType
from typing import Final

from cryptography.hazmat.primitives.asymmetric import rsa

from adyton.content.oci import add_layers, write_image, write_tar
from adyton.enclave import measure
from adyton.enclave.errors import BuildError, ManifestError
from adyton.enclave.manifest import (
    ADYTON_FOLDER,
    MANIFEST_PATH,
    RUN_FOLDER,
    SIGSTRUCT_PATH,
    VOLUMES_FOLDER,
    CasPolicy,
    Manifest,
    TrustedEntry,
    TrustedFile,
)
from adyton.enclave.native import split_command
from adyton.enclave.prepared import Prepared, prepare
from adyton.enclave.sigstruct import new_signer, sign
from adyton.enclave.successors import UpgradePolicy

DEFAULT_HEAP_BYTES: Final = 1 << 30
DEFAULT_STACK_BYTES: Final = 8 << 20
TMPFS_BYTES: Final = 256 << 20
# Where every task of the network finds its inputs and puts its outputs; protected by keys of its session.
TASK_VOLUMES: Final = MappingProxyType({"iexec_in": "/iexec_in", "iexec_out": "/iexec_out"})
_DEBUG_SIGNED_ON: Final = date(2026, 1, 1)
_EMPTY_SHA256: Final = hashlib.sha256(b"").hexdigest()


@dataclass(frozen=True, slots=True, kw_only=True)
class SconifyOptions:
    """What the developer decides; see :class:`adyton.enclave.manifest.Manifest` for each.

    Attributes:
        name: of the enclave.
        command: default command, split as a shell would; empty takes the image's entrypoint and command.
        binary: program that must exist in the image; empty checks nothing.
        fs_dir: folder that must exist in the image; empty checks nothing.
        environment: on top of the image's own.
        signer: key of a production enclave; None makes a debug enclave with a throw-away key.
        signed_on: day recorded in the SIGSTRUCT.
        debug: a debug enclave although there is a signer.
    """

    name: str
    command: str = ""
    binary: str = ""
    fs_dir: str = ""
    environment: Mapping[str, str] = field(default_factory=lambda: MappingProxyType({}))
    host_environment: tuple[str, ...] = ()
    host_paths: tuple[str, ...] = ()
    volumes: Mapping[str, str] = field(default_factory=lambda: TASK_VOLUMES)
    tmpfs: Mapping[str, int] = field(default_factory=lambda: MappingProxyType({"/tmp": TMPFS_BYTES}))  # noqa: S108  # inside
    network: bool = False
    heap_bytes: int = DEFAULT_HEAP_BYTES
    stack_bytes: int = DEFAULT_STACK_BYTES
    threads: int = 4
    isvprodid: int = 0
    isvsvn: int = 0
    config: str = "cas"
    cas: CasPolicy | None = None
    closed: bool = False
    upgrade: UpgradePolicy | None = None
    evidence: bool = False
    anchors: tuple[str, ...] = ()
    signer: rsa.RSAPrivateKey | None = field(default=None, repr=False)
    signed_on: date = _DEBUG_SIGNED_ON
    debug: bool = False


@dataclass(frozen=True, slots=True)
class SconeImage:
    """An enclave image that was built: its measurement, signer, OCI digest, and whether it is a debug enclave."""

    mrenclave: str
    mrsigner: str
    digest: str
    debug: bool


def sconify(
    source: Path, out: Path, options: SconifyOptions, *, ref: str = "", out_ref: str = "", cache: Path | None = None
) -> SconeImage:
    """Make an enclave image.

    Args:
        source: OCI layout folder or archive of the native image.
        out: OCI layout folder to write.
        options: what the developer decides.
        ref: which image of ``source``.
        out_ref: name in the index of ``out``.
        cache: where built trees are kept.

    Raises:
        BuildError: the image is an enclave already, lacks what the options name, or would be replaced.
        ManifestError: an option that no manifest may have.
        SignerKeyError: the signer key is not usable.
        ContentError: the source image cannot be read, or the enclave image not be written.
    """
    if out.resolve() == source.resolve():
        raise BuildError(
            f"the enclave image would replace the native image {source}",
            code="enclave.build.place",
            hint="name another folder for the enclave image",
        )
    prepared = prepare(source, ref=ref, cache=cache)
    _require_native(prepared, options)
    with tempfile.TemporaryDirectory(prefix="adyton-sconify-") as folder:
        layer = Path(folder, "layer")
        files, folders = _mounted_files(prepared, options), _mounted_folders(prepared, options)
        manifest = _described(prepared, files, options)
        _make_mount_points(layer, files, folders)
        mrenclave = measure.measure(manifest)
        signature = sign(
            mrenclave,
            options.signer or new_signer(),
            debug=manifest.debug,
            isvprodid=manifest.isvprodid,
            isvsvn=manifest.isvsvn,
            signed_on=options.signed_on,
        )
        (layer / ADYTON_FOLDER[1:]).mkdir(parents=True, exist_ok=True)
        (layer / MANIFEST_PATH[1:]).write_bytes(manifest.to_json())
        (layer / SIGSTRUCT_PATH[1:]).write_bytes(signature.to_bytes())
        archive = Path(folder, "layer.tar")
        with archive.open("wb") as stream:
            write_tar(layer, stream)
        image = prepared.image
        config = replace(image.config, entrypoint=manifest.runtime, cmd=(), workdir="/")
        digest = write_image(add_layers(image, [prepared.agent_layer, archive], config), out, out_ref)
    return SconeImage(mrenclave.hex(), signature.mrsigner.hex(), digest, manifest.debug)


def _described(prepared: Prepared, places: Mapping[str, TrustedEntry], options: SconifyOptions) -> Manifest:
    try:
        return _describe(prepared, places, options)
    except ManifestError as error:
        raise ManifestError(
            error.message, code=error.code, hint="change the option, or the part of the native image, that says so"
        ) from error


def _describe(prepared: Prepared, places: Mapping[str, TrustedEntry], options: SconifyOptions) -> Manifest:
    config = prepared.image.config
    environment = dict(item.partition("=")[::2] for item in config.env)
    return Manifest(
        name=options.name,
        argv=split_command(options.command) or (*config.entrypoint, *config.cmd),
        runtime=prepared.runtime,
        trusted_files={**prepared.files, **places},
        cwd=config.workdir or "/",
        environment={**environment, **options.environment},
        host_environment=tuple(sorted(set(options.host_environment))),
        host_paths=tuple(sorted({path.rstrip("/") for path in options.host_paths})),
        volumes=options.volumes if options.config == "cas" else {},
        network=options.network,
        heap_bytes=options.heap_bytes,
        stack_bytes=options.stack_bytes,
        threads=options.threads,
        debug=options.debug or options.signer is None,
        isvprodid=options.isvprodid,
        isvsvn=options.isvsvn,
        config=options.config,
        cas=options.cas,
        closed=options.closed,
        upgrade=options.upgrade,
        evidence=options.evidence,
        anchors=options.anchors,
        tmpfs=options.tmpfs,
    )


def _require_native(prepared: Prepared, options: SconifyOptions) -> None:
    if prepared.native_has(ADYTON_FOLDER):
        raise BuildError("the source image is an enclave image already", code="enclave.build.sconified")
    for what, path in (("--binary", options.binary), ("--fs-dir", options.fs_dir)):
        if path and not prepared.native_has(path):
            raise BuildError(f"{what}={path} does not exist in the source image", code="enclave.build.missing")


def _mounted_files(prepared: Prepared, options: SconifyOptions) -> dict[str, TrustedEntry]:
    """Host paths that are files and not in the image yet: empty files there, measured like any other.

    A host path with a trailing slash is a folder; others are files.
    """
    new = (path for path in options.host_paths if not path.endswith("/") and path not in prepared.files)
    return {path: TrustedFile(_EMPTY_SHA256) for path in new}


def _mounted_folders(prepared: Prepared, options: SconifyOptions) -> list[str]:
    """Folders on which something is mounted; whatever is on the way to them must be a folder too."""
    folders = ["/proc", "/dev", "/run", RUN_FOLDER, *options.tmpfs]
    folders += [path for path in options.host_paths if path.endswith("/")]
    if options.config == "cas":
        folders += [*options.volumes.values(), *(f"{VOLUMES_FOLDER}/{name}" for name in options.volumes)]
    for path in folders:
        parts = path.strip("/").split("/")
        for depth in range(1, len(parts) + 1):
            here = "/" + "/".join(parts[:depth])
            if here in prepared.files:
                raise BuildError(f"{path} cannot be mounted: {here} is no folder", code="enclave.build.mount")
    return folders


def _make_mount_points(layer: Path, files: Mapping[str, TrustedEntry], folders: Sequence[str]) -> None:
    """Make them below ``layer``; their paths are those of a manifest, and so do not lead out of it."""
    for path in files:
        target = layer / path.strip("/")
        target.parent.mkdir(parents=True, exist_ok=True)
        target.touch()
    for path in folders:
        (layer / path.strip("/")).mkdir(parents=True, exist_ok=True)
