"""Small enclave images put together by hand: no agent to build, so every case can have its own."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from datetime import date
from functools import cache
from pathlib import Path
from typing import Any

from cryptography.hazmat.primitives.asymmetric import rsa

from adyton.content.oci import ImageConfig, TarEntry, deterministic_tar, write_layout
from adyton.enclave.manifest import Manifest, TrustedEntry, TrustedFile, TrustedLink
from adyton.enclave.measure import measure
from adyton.enclave.sigstruct import SigStruct, new_signer, sign

DAY = date(2026, 11, 22)
AGENT = "/.adyton/runtime/agent.py"
FILES: Mapping[str, bytes] = {AGENT: b"agent", "/app/app.py": b"print('hello')\n", "/bin/tool": b"#!"}
LINKS: Mapping[str, str] = {"/tool": "bin/tool"}


@cache
def signer(number: int = 0) -> rsa.RSAPrivateKey:
    """One of a few keys; making one takes most of a second."""
    del number
    return new_signer()


def trusted(files: Mapping[str, bytes] = FILES, links: Mapping[str, str] = LINKS) -> dict[str, TrustedEntry]:
    """The manifest's list of these files; what is below ``/bin`` is executable."""
    entries: dict[str, TrustedEntry] = {
        path: TrustedFile(hashlib.sha256(content).hexdigest(), path.startswith("/bin/"))
        for path, content in files.items()
    }
    return entries | {path: TrustedLink(target) for path, target in links.items()}


def manifest(**changes: Any) -> Manifest:  # noqa: ANN401  # any field
    """A small enclave: 16 pages of heap, one of stack, one thread."""
    values: dict[str, Any] = {
        "name": "demo", "argv": ("/bin/tool",), "runtime": (AGENT,), "trusted_files": trusted(), "heap_bytes": 1 << 16,
        "stack_bytes": 4096, "threads": 1, "environment": {"A": "1"},
    }  # fmt: skip
    return Manifest(**(values | changes))


def signature(of: Manifest, key: rsa.RSAPrivateKey | None = None, *, day: date = DAY) -> SigStruct:
    """The signature that fits a manifest."""
    return sign(measure(of), key or signer(), debug=of.debug, isvprodid=of.isvprodid, isvsvn=of.isvsvn, signed_on=day)


def layout(
    folder: Path,
    of: Manifest | None = None,
    *,
    key: rsa.RSAPrivateKey | None = None,
    files: Mapping[str, bytes] = FILES,
    sigstruct: SigStruct | None = None,
    ref: str = "",
    squashed: bool = False,
) -> Path:
    """Write an enclave image: a layer of files, and one of folders and the enclave's documents as ``sconify`` has it.

    Args:
        folder: OCI layout to write.
        of: its manifest.
        key: who signs.
        files: what the image has, whatever its manifest says.
        sigstruct: in place of one that fits.
        ref: name in the index.
        squashed: all in one layer.
    """
    of = of or manifest()
    system = [
        *(TarEntry(path[1:], "file", content, path.startswith("/bin/")) for path, content in files.items()),
        *(TarEntry(path[1:], "symlink", target=target) for path, target in LINKS.items()),
    ]
    documents = [
        TarEntry(".adyton", "dir"),
        TarEntry("proc", "dir"),
        TarEntry(".adyton/manifest.json", "file", of.to_json()),
        TarEntry(".adyton/sigstruct.bin", "file", (sigstruct or signature(of, key)).to_bytes()),
    ]
    layers = [[*system, *documents]] if squashed else [system, documents]
    config = ImageConfig(entrypoint=of.runtime, env=("UNMEASURED=1",), workdir="/")
    write_layout(folder, [deterministic_tar(layer) for layer in layers], config, ref)
    return folder
