"""The native images that the network's own enclaves are built from: this Python, this package, what it needs.

They are the same for every network on this machine and are kept in the user's cache folder; ``make setup`` makes them.
"""

from __future__ import annotations

import hashlib
import sys
from importlib import metadata
from pathlib import Path
from typing import Final

import adyton
from adyton.content.oci import LayerCache, add_layers
from adyton.enclave import base
from adyton.enclave.native import build_image
from adyton.enclave.prepared import prepare

SERVICE_PACKAGES: Final = (
    "alembic",
    "cbor2",
    "coincurve",
    "cryptography",
    "dcap-qvl",
    "eth-hash",
    "fastapi",
    "httptools",
    "httpx2",
    "prometheus-client",
    "psycopg[binary]",
    "pycryptodome",
    "pydantic",
    "pyopenssl",
    "python-multipart",
    "pyyaml",
    "sqlalchemy",
    "structlog",
    "uvicorn",
    "uvloop",
)
COMPUTE_PACKAGES: Final = (
    "cbor2",
    "coincurve",
    "cryptography",
    "eth-hash",
    "httpx2",
    "pycryptodome",
    "pydantic",
    "structlog",
)


def service_image() -> Path:
    """Layout of the native image for CAS and SMS."""
    return _native("service", SERVICE_PACKAGES)


def compute_image() -> Path:
    """Layout of the native image for pre-compute and post-compute."""
    return _native("compute", COMPUTE_PACKAGES)


def main() -> int:
    """Make all that a first ``adyton up`` on this machine would have to make and later ones share."""
    layers = LayerCache(layers_folder())
    for native in (service_image(), compute_image()):
        prepared = prepare(native)
        for layer in add_layers(prepared.image, [prepared.agent_layer]).layers:
            if layers.is_worth(layer):
                layers.keep(layer)
    return 0


def layers_folder() -> Path:
    """Where the platforms of this user's networks keep unpacked layers."""
    return base.cache_folder() / "layers"


def _native(name: str, packages: tuple[str, ...]) -> Path:
    def make(folder: Path) -> None:
        build_image(None, folder / "layout", distributions=packages, modules=["adyton"], sources=False)

    return base.cached(f"native-{name}", _key(packages), make) / "layout"


def _key(packages: tuple[str, ...]) -> str:
    """What the image is made of: every source file of this package, and the versions of the others."""
    digest = hashlib.sha256()
    root = Path(adyton.__file__).parent
    for file in sorted(root.rglob("*.py")):
        digest.update(f"{file.relative_to(root)}\0".encode() + hashlib.sha256(file.read_bytes()).digest())
    for distribution in sorted(metadata.distributions(), key=lambda found: found.name):
        digest.update(f"{distribution.name}=={distribution.version}\n".encode())
    digest.update(repr(packages).encode())
    return digest.hexdigest()


if __name__ == "__main__":
    sys.exit(main())
