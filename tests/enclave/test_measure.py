from __future__ import annotations

import hashlib
import itertools
import os
import socket
import struct
from pathlib import Path
from typing import Any

import pytest

from adyton.enclave import measure
from adyton.enclave.errors import TrustedFileError
from adyton.enclave.manifest import Manifest, TrustedFile, TrustedLink

_AGENT = "/.adyton/runtime/agent.py"


def _manifest(**changes: Any) -> Manifest:  # noqa: ANN401  # any field
    values: dict[str, Any] = {
        "name": "demo", "argv": ("a",), "runtime": (_AGENT,), "trusted_files": {_AGENT: TrustedFile("ab" * 32)},
        "heap_bytes": 1 << 20, "stack_bytes": 8192, "threads": 2,
    }  # fmt: skip
    return Manifest(**(values | changes))


def _reference(manifest: Manifest) -> bytes:
    """MRENCLAVE record by record, as the SDM writes it: the slow and obvious way."""
    areas, size = measure.layout(manifest)
    digest = hashlib.sha256(b"ECREATE\0" + struct.pack("<IQ", 4, size) + bytes(44))
    for area in areas:
        for index in range(area.pages):
            offset = area.offset + index * 4096
            digest.update(b"EADD\0\0\0\0" + struct.pack("<QQ", offset, area.flags) + bytes(40))
            if area.content is None:
                continue
            page = area.content[index * 4096 : (index + 1) * 4096]
            for chunk in range(0, 4096, 256):
                digest.update(b"EEXTEND\0" + struct.pack("<Q", offset + chunk) + bytes(48) + page[chunk : chunk + 256])
    return digest.digest()


def test_equals_the_measurement_made_record_by_record() -> None:
    assert measure.measure(_manifest()) == _reference(_manifest())


def test_batches_do_not_change_the_measurement(monkeypatch: pytest.MonkeyPatch) -> None:
    expected = measure.measure(_manifest())
    monkeypatch.setattr(measure, "_BATCH", 64)
    assert measure.measure(_manifest()) == expected


def test_known_value() -> None:
    """Changes when anything that is measured changes: then every enclave must be built and approved anew."""
    assert measure.measure(_manifest()).hex() == _KNOWN


def test_areas_fill_the_enclave_without_overlap() -> None:
    areas, size = measure.layout(_manifest())
    assert size & (size - 1) == 0
    spans = sorted((area.offset, area.offset + area.pages * 4096) for area in areas)
    assert spans[0][0] == measure.HEAP_START
    assert spans[-1][1] == size
    assert all(before[1] <= after[0] for before, after in itertools.pairwise(spans))


@pytest.mark.parametrize(
    "change",
    [
        {"name": "other"}, {"argv": ("b",)}, {"environment": {"A": "1"}}, {"debug": True}, {"isvsvn": 1},
        {"heap_bytes": 2 << 20}, {"stack_bytes": 4096}, {"threads": 1}, {"network": True}, {"runtime": (_AGENT, "-x")},
        {"trusted_files": {_AGENT: TrustedFile("ac" * 32)}},
        {"trusted_files": {_AGENT: TrustedFile("ab" * 32, executable=True)}},
    ],
    ids=str,
)  # fmt: skip
def test_every_property_is_measured(change: dict[str, Any]) -> None:
    assert measure.measure(_manifest(**change)) != measure.measure(_manifest())


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    root = tmp_path / "root"
    (root / "bin").mkdir(parents=True)
    (root / "bin/tool").write_bytes(b"tool")
    (root / "bin/tool").chmod(0o755)
    (root / "data").write_bytes(b"x" * 3_000_000)
    os.link(root / "data", root / "same")
    (root / "link").symlink_to("./bin//tool")
    (root / ".adyton").mkdir()
    (root / ".adyton/manifest.json").write_text("{}")
    (root / ".adyton/sigstruct.bin").write_text("")
    return root


def test_scan_lists_files_and_links_as_they_are(tree: Path) -> None:
    data = TrustedFile(hashlib.sha256(b"x" * 3_000_000).hexdigest())
    assert measure.scan(tree) == {
        "/bin/tool": TrustedFile(hashlib.sha256(b"tool").hexdigest(), executable=True),
        "/data": data,
        "/same": data,
        "/link": TrustedLink("./bin//tool"),
    }


def test_scan_does_not_depend_on_the_place(tree: Path, tmp_path: Path) -> None:
    before = measure.scan(tree)
    assert measure.scan(tree.rename(tmp_path / "elsewhere")) == before


def _relink(root: Path, target: str) -> None:
    (root / "link").unlink()
    (root / "link").symlink_to(target)


def _to_link(root: Path) -> None:
    (root / "data").unlink()
    (root / "data").symlink_to("same")


def _socket(root: Path) -> None:
    with socket.socket(socket.AF_UNIX) as server:
        here = os.open(root, os.O_RDONLY)
        server.bind(f"/proc/self/fd/{here}/socket")
        os.close(here)


@pytest.mark.parametrize(
    ("change", "code", "path"),
    [
        pytest.param(lambda root: (root / "data").write_bytes(b"y"), "changed", "/data", id="content"),
        pytest.param(lambda root: (root / "bin/tool").chmod(0o644), "changed", "/bin/tool", id="executable bit"),
        pytest.param(lambda root: (root / "data").unlink(), "missing", "/data", id="missing"),
        pytest.param(lambda root: (root / "bin/new").touch(), "unlisted", "/bin/new", id="added"),
        pytest.param(lambda root: _relink(root, "data"), "changed", "/link", id="link target"),
        pytest.param(_to_link, "changed", "/data", id="file became a link"),
        pytest.param(lambda root: os.mkfifo(root / "pipe"), "kind", "/pipe", id="pipe"),
        pytest.param(_socket, "kind", "/socket", id="socket"),
        pytest.param(lambda root: Path(os.fsdecode(bytes(root) + b"/\xff")).touch(), "name", "", id="name not UTF-8"),
    ],
)
def test_check_names_the_first_difference(tree: Path, change: Any, code: str, path: str) -> None:  # noqa: ANN401
    trusted = {_AGENT: TrustedFile("00" * 32), **measure.scan(tree)}
    (tree / _AGENT[1:]).parent.mkdir()
    (tree / _AGENT[1:]).write_bytes(b"agent")
    trusted[_AGENT] = TrustedFile(hashlib.sha256(b"agent").hexdigest())
    manifest = _manifest(trusted_files=trusted)
    measure.check(tree, manifest)
    change(tree)
    with pytest.raises(TrustedFileError) as caught:
        measure.check(tree, manifest)
    assert caught.value.code == f"enclave.trusted_file.{code}"
    assert path in caught.value.message


_KNOWN = "e0c9dc3564ecac56e299fd1210750d16c32853dd208328abfdfd31a68ceb6c0e"
