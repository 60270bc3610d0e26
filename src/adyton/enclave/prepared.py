"""The part of an enclave build that does not depend on the developer's options: what the image has, and the agent.

Unpacking and hashing an image and laying the agent over it is most of the work, and the same whatever the manifest will
say. It is kept by the image's digest, so a second enclave of the same image costs only its manifest and signature.
"""

from __future__ import annotations

import hashlib
import json
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from adyton.content.oci import Image, read_layout, unpack, write_tar
from adyton.enclave import base, measure
from adyton.enclave.agent import Agent, agent_for, agent_key
from adyton.enclave.filenames import require_utf8_names
from adyton.enclave.manifest import TrustedEntry, TrustedFile, TrustedLink

_FILES = "files.json"
_AGENT = "agent.tar"


@dataclass(frozen=True, slots=True)
class Prepared:
    """A native image with the agent over it.

    Attributes:
        image: the native image.
        native: files and links of the native image, as :func:`adyton.enclave.measure.scan` lists them.
        files: the same with the agent's.
        runtime: what the platform starts.
        agent_layer: tar archive with the agent.
    """

    image: Image
    native: Mapping[str, TrustedEntry]
    files: Mapping[str, TrustedEntry]
    runtime: tuple[str, ...]
    agent_layer: Path

    def native_has(self, path: str) -> bool:
        """Whether the native image has a file, link or non-empty folder there."""
        name = "/" + path.strip("/")
        return name in self.native or any(entry.startswith(f"{name}/") for entry in self.native)


def prepare(source: Path, *, ref: str = "", cache: Path | None = None) -> Prepared:
    """Read and hash an image and choose its agent, or take both from the cache.

    Raises:
        ContentError: the image cannot be read.
        BuildError: the agent cannot be built, or the locale is not UTF-8.
    """
    require_utf8_names()
    image = read_layout(source, ref)

    def make(folder: Path) -> None:
        with tempfile.TemporaryDirectory(prefix="adyton-prepare-") as unpacked:
            rootfs = Path(unpacked, "rootfs")
            unpack(image, rootfs)
            native = measure.scan(rootfs)
        agent = agent_for(native, cache=cache)
        with (folder / _AGENT).open("wb") as stream:
            write_tar(agent.tree, stream)
        (folder / _FILES).write_text(json.dumps(_document(native, agent)), encoding="utf-8")

    key = hashlib.sha256(f"{image.digest}\0{agent_key()}".encode()).hexdigest()
    folder = base.cached("prepared", key, make, cache)
    document = json.loads((folder / _FILES).read_text(encoding="utf-8"))
    native, added = _entries(document["native"]), _entries(document["agent"])
    files = {**native, **added}
    return Prepared(image, native, files, tuple(document["runtime"]), folder / _AGENT)


def _document(native: Mapping[str, TrustedEntry], agent: Agent) -> dict[str, object]:
    return {"native": _plain(native), "agent": _plain(measure.scan(agent.tree)), "runtime": list(agent.argv)}


def _plain(entries: Mapping[str, TrustedEntry]) -> dict[str, list[object]]:
    return {
        path: [entry.link] if isinstance(entry, TrustedLink) else [entry.sha256, entry.executable]
        for path, entry in entries.items()
    }


def _entries(document: Mapping[str, list[object]]) -> dict[str, TrustedEntry]:
    return {
        path: TrustedLink(str(entry[0])) if len(entry) == 1 else TrustedFile(str(entry[0]), bool(entry[1]))
        for path, entry in document.items()
    }
