"""The enclaves of a network's own services: CAS, two SMS, pre-compute and post-compute.

What is security-relevant is measured: the trust anchors and the hub, what an SMS tolerates, which CAS it takes its key
from, which stage enclaves it gives secrets to. What the host may set (ports, addresses, folders) is listed by name.
A network keeps its images: rebuilding with another measurement would close its stored secrets.
"""

from __future__ import annotations

import shlex
import shutil
import tempfile
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Final

from adyton.base.files import write_private
from adyton.chain.deploy import Deployment
from adyton.content.oci import TarEntry, add_layers, read_image_file, read_layout, write_image, write_tar
from adyton.devnet.approvers import read_approvers
from adyton.devnet.native import compute_image, service_image
from adyton.devnet.paths import NetworkPaths
from adyton.enclave.image import EnclaveImage
from adyton.enclave.manifest import CasPolicy
from adyton.enclave.prepared import prepare
from adyton.enclave.sconify import SconifyOptions, sconify
from adyton.enclave.sigstruct import load_signer, new_signer, new_signer_pem

FRAMEWORK_VERSION: Final = "v5"
TMPFS: Final = {"/tmp": 64 << 20, "/run": 1 << 20}  # noqa: S108  # folders inside the enclave
STAGE_HEAP_BYTES: Final = 1 << 30
_LARGEST_MODULE: Final = 1 << 20
TOLERATED: Final[Mapping[str, str]] = {"production": "", "debug": "debug-mode"}
_ACTIVATIONS: Final = 4  # of each stage of a task: one, and what a worker or a broken connection may start anew

_SMS_HOST_ENVIRONMENT: Final = (
    "ADYTON_SMS_HOST",
    "IEXEC_SMS_PORT",
    "ADYTON_SMS_TLS_PORT",
    "ADYTON_SMS_PCCS_URL",
    "ADYTON_SMS_ADMINS",
    "IEXEC_BLOCKCHAIN_NODE_ADDRESS",
    "ADYTON_SMS_IPFS_GATEWAY_URL",
    "IEXEC_SECRET_PROVISIONER_WEB_HOSTNAME",
    "IEXEC_SECRET_PROVISIONER_WEB_PORT",
    "IEXEC_SECRET_PROVISIONER_ENCLAVE_HOSTNAME",
    "IEXEC_SECRET_PROVISIONER_ENCLAVE_PORT",
    "TEE_WORKER_PIPELINES_0_PRECOMPUTE_IMAGE",
    "TEE_WORKER_PIPELINES_0_POSTCOMPUTE_IMAGE",
)
_CAS_HOST_ENVIRONMENT: Final = (
    "ADYTON_CAS_HOST",
    "ADYTON_CAS_REST_PORT",
    "ADYTON_CAS_ATTESTED_PORT",
    "ADYTON_CAS_PCCS_URL",
    "ADYTON_CAS_ADMINS",
    "ADYTON_CAS_AUDIT_ANCHOR",
)
# Where the worker that launched a stage listens, and where its host reaches IPFS: places, not secrets or rights.
_STAGE_HOST_ENVIRONMENT: Final = ("WORKER_HOST", "WORKER_HOST_ENV_VAR", "ADYTON_IPFS_GATEWAY")


@dataclass(frozen=True, slots=True)
class BuiltImage:
    """An enclave image on disk and its MRENCLAVE (hex)."""

    layout: Path
    mrenclave: str


@dataclass(frozen=True, slots=True)
class ServiceImages:
    """All enclaves of a network's services. ``sms`` is by role, ``stages`` by stage."""

    cas: BuiltImage
    sms: Mapping[str, BuiltImage]
    stages: Mapping[str, BuiltImage]

    def measurements(self) -> dict[str, str]:
        """MRENCLAVE by name, for the network's description."""
        named = {"cas": self.cas, **{f"sms-{role}": image for role, image in self.sms.items()}, **self.stages}
        return {name: image.mrenclave for name, image in named.items()}


@dataclass(frozen=True, slots=True)
class CoreImages:
    """The enclaves that depend on the platform alone."""

    cas: BuiltImage
    stages: Mapping[str, BuiltImage]


def build_core_images(paths: NetworkPaths, anchor: str, say: Callable[[str], None] = lambda _line: None) -> CoreImages:
    """Build CAS and stages, after :func:`prepare_building`, unless this network has them."""
    builder = _Builder(paths, say)
    cas = builder.build("cas", service_image, _cas_options(anchor))
    stages = {
        f"{stage}-compute": builder.build(
            f"{stage}-compute", compute_image, _stage_options(f"{stage}-compute", f"adyton.compute.{stage}")
        )
        for stage in ("pre", "post")
    }
    return CoreImages(cas, stages)


def build_service_images(
    paths: NetworkPaths,
    deployment: Deployment,
    anchor: str,
    core: CoreImages,
    say: Callable[[str], None] = lambda _line: None,
    *,
    edition: str = "",
) -> ServiceImages:
    """Build each SMS unless this network has it; it names the measurements of CAS and stages.

    ``edition`` goes behind the names of their folders, which are not measured.
    """
    builder = _Builder(paths, say)
    upgrade = read_approvers(paths)
    sms = {
        role: builder.build(
            f"sms-{role}",
            service_image,
            replace(_sms_options(role, deployment, anchor, core.cas, core.stages), upgrade=upgrade),
            edition,
        )
        for role in TOLERATED
    }
    return ServiceImages(core.cas, sms, core.stages)


def built(layout: Path) -> BuiltImage:
    """The image in a folder."""
    return BuiltImage(layout, EnclaveImage.load(layout).mrenclave.hex())


def prepare_building(paths: NetworkPaths) -> None:
    """What building needs and nothing of the network does: the operator's signer key and the native images."""
    key_file = _signer_file(paths)
    if not key_file.exists():
        write_private(key_file, new_signer_pem())
    for native in (service_image(), compute_image()):
        prepare(native)


def _signer_file(paths: NetworkPaths) -> Path:
    return paths.data("operator") / "signer-key.pem"


class _Builder:
    def __init__(self, paths: NetworkPaths, say: Callable[[str], None]) -> None:
        self._folder = paths.images
        self._say = say
        self._signer = load_signer(_signer_file(paths))

    def build(self, name: str, source: Callable[[], Path], options: SconifyOptions, edition: str = "") -> BuiltImage:
        """The image of ``name``: the one that is there, else built from the native image ``source``."""
        layout = self._folder / f"{name}{edition}"
        if not layout.is_dir():
            self._say(f"building the enclave {name}")
            partial = self._folder / f"{name}.partial"
            shutil.rmtree(partial, ignore_errors=True)
            sconify(source(), partial, replace(options, name=name, signer=self._signer))
            partial.rename(layout)
        return built(layout)


def _stage_options(name: str, module: str) -> SconifyOptions:
    """A stage sees plaintext of inputs or outputs: it fetches and uploads them itself, hence the network."""
    place = {"iexec_in": "/iexec_in"} if name == "pre-compute" else {"iexec_out": "/iexec_out"}
    return SconifyOptions(
        name=name,
        command=f"python3 -m {module}",
        volumes={**place, **({} if name == "pre-compute" else {"post-compute-tmp": "/post-compute-tmp"})},
        tmpfs=TMPFS,
        host_environment=_STAGE_HOST_ENVIRONMENT,
        network=True,
        heap_bytes=STAGE_HEAP_BYTES,
    )


def _cas_options(anchor: str) -> SconifyOptions:
    return SconifyOptions(
        name="cas",
        command="python3 -m adyton.cas.main",
        environment={
            "ADYTON_CAS_ANCHORS": anchor,
            "ADYTON_CAS_PROFILE": "development",  # measured: who attests this CAS sees that it trusts a simulation
            "ADYTON_CAS_DATABASE": "/data",
        },
        host_environment=_CAS_HOST_ENVIRONMENT,
        host_paths=("/data/",),
        tmpfs=TMPFS,
        network=True,
        config="none",
        anchors=(anchor,),
    )


def _sms_options(
    role: str, deployment: Deployment, anchor: str, cas: BuiltImage, stages: Mapping[str, BuiltImage]
) -> SconifyOptions:
    pipeline = {"TEE_WORKER_PIPELINES_0_VERSION": FRAMEWORK_VERSION}
    for stage, image in stages.items():
        prefix = f"TEE_WORKER_PIPELINES_0_{stage.removesuffix('-compute').upper()}COMPUTE_"
        pipeline |= {
            f"{prefix}FINGERPRINT": image.mrenclave,
            f"{prefix}ENTRYPOINT": f"python3 -m adyton.compute.{stage.removesuffix('-compute')}",
            f"{prefix}HEAPSIZE": str(STAGE_HEAP_BYTES),
        }
    return SconifyOptions(
        name=f"sms-{role}",
        command="python3 -m adyton.sms.main",
        environment={
            "IEXEC_SMS_TEE_RUNTIME_FRAMEWORK": "scone",
            "ADYTON_SMS_ANCHORS": anchor,
            "IEXEC_SMS_ADMIN_STORAGE_LOCATION": "/data/backup",
            "IEXEC_CHAIN_ID": str(deployment.chain_id),
            "IEXEC_HUB_ADDRESS": deployment.hub,
            "IEXEC_SCONE_TOLERATED_INSECURE_OPTIONS": TOLERATED[role],
            "ADYTON_SMS_MAX_ACTIVATIONS": str(_ACTIVATIONS),
            **pipeline,
        },
        host_environment=_SMS_HOST_ENVIRONMENT,
        host_paths=("/data/",),
        volumes={},
        tmpfs=TMPFS,
        network=True,
        cas=CasPolicy(anchor, (cas.mrenclave,)),
        closed=True,
        evidence=True,
        anchors=(anchor,),
    )


def changed_sms(paths: NetworkPaths, target: Path) -> Path:
    """What an operator can do: the production SMS with one byte of its code changed, signed with a key of theirs."""
    original = EnclaveImage.load(paths.images / "sms-production").manifest
    options = SconifyOptions(
        name=original.name,
        command=shlex.join(original.argv),
        environment=original.environment,
        host_environment=original.host_environment,
        host_paths=tuple(f"{path}/" for path in original.host_paths),
        volumes={},
        tmpfs=original.tmpfs,
        network=original.network,
        cas=original.cas,
        closed=original.closed,
        upgrade=original.upgrade,
        evidence=original.evidence,
        anchors=original.anchors,
        signer=new_signer(),
    )
    image = read_layout(service_image())
    path = next(path for path in original.trusted_files if "/adyton/sms/main." in path)
    content = bytearray(read_image_file(image, path, _LARGEST_MODULE) or b"")
    content[-1] ^= 0x01
    native = target.with_name("native")
    with tempfile.TemporaryDirectory(prefix="adyton-changed-") as folder:
        layer = Path(folder) / "layer.tar"
        with layer.open("wb") as stream:
            write_tar([TarEntry(path[1:], "file", bytes(content))], stream)
        write_image(add_layers(image, [layer], image.config), native)
    sconify(native, target, options)
    return target
