"""MRENCLAVE, computed a second time from the manual's records, and the files that it stands for."""

from __future__ import annotations

import hashlib
import itertools
import json
import os
import socket
import struct
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

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


class _Recorder:
    """Hashes record by record, as the SDM writes them (vol. 3D: ECREATE, EADD, EEXTEND)."""

    def __init__(self, size: int) -> None:
        self.digest = hashlib.sha256(b"ECREATE\0" + struct.pack("<IQ", 4, size) + bytes(44))

    def page(self, offset: int, flags: int, content: bytes | None) -> None:
        self.digest.update(b"EADD\0\0\0\0" + struct.pack("<QQ", offset, flags) + bytes(40))
        for chunk in range(0, 0 if content is None else 4096, 256):
            self.digest.update(b"EEXTEND\0" + struct.pack("<Q", offset + chunk) + bytes(48))
            self.digest.update((content or b"")[chunk : chunk + 256])


def _reference(data: bytes) -> bytes:
    """MRENCLAVE of a manifest's bytes, the slow and obvious way; nothing of the code under test is used."""
    document = json.loads(data)
    threads, stack, heap = document["threads"], document["stack_bytes"] // 4096, document["heap_bytes"] // 4096
    text = data + b"\0" * (4096 - len(data) % 4096)
    files = {
        path: entry.get("link") or entry["sha256"]
        for path, entry in document["trusted_files"].items()
        if path.startswith("/.adyton/runtime/")
    }
    agent = json.dumps({"argv": document["runtime"], "files": files}, sort_keys=True, separators=(",", ":"))
    commitment = hashlib.sha256(b"adyton/enclave/runtime\0" + agent.encode()).digest()
    pages = len(text) // 4096 + 1 + threads * (8 + 1 + stack) + heap
    size = 65536
    while size < 0x10000 + pages * 4096:
        size *= 2
    record = _Recorder(size)
    top = size - len(text)
    for start in range(0, len(text), 4096):
        record.page(top + start, 0x201, text[start : start + 4096])
    top = entry = top - 4096
    record.page(entry, 0x205, commitment + bytes(4064))
    for _thread in range(threads):
        ssa = top - 8 * 4096
        for index in range(8):
            record.page(ssa + index * 4096, 0x203, bytes(4096))
        tcs = struct.pack("<QQQIIQQQQII", 0, 0, ssa, 0, 2, entry, 0, 0, 0, 0xFFF, 0xFFF)
        record.page(ssa - 4096, 0x100, tcs + bytes(4096 - len(tcs)))
        top = ssa - 4096 - stack * 4096
        for index in range(stack):
            record.page(top + index * 4096, 0x203, bytes(4096))
    for index in range(heap):
        record.page(0x10000 + index * 4096, 0x203, None)
    return record.digest.digest()


def test_equals_the_measurement_made_record_by_record() -> None:
    assert measure.measure(_manifest()) == _reference(_manifest().to_json())


@given(
    name=st.text(min_size=1, max_size=200).filter(lambda text: text.isprintable() and text.isascii()),
    argv=st.lists(st.text("abc /", max_size=40), min_size=1, max_size=200),
    threads=st.integers(1, 5),
    stack_pages=st.integers(1, 5),
    heap_pages=st.integers(1, 300),
    debug=st.booleans(),
)
@settings(max_examples=25, deadline=None)
def test_any_manifest_measures_like_its_records(
    *, name: str, argv: list[str], threads: int, stack_pages: int, heap_pages: int, debug: bool
) -> None:
    manifest = _manifest(
        name=name, argv=tuple(argv), threads=threads, stack_bytes=stack_pages * 4096, heap_bytes=heap_pages * 4096,
        debug=debug,
    )  # fmt: skip
    assert measure.measure(manifest) == _reference(manifest.to_json())


def test_a_manifest_that_fills_its_pages_gets_one_more_for_its_last_zero() -> None:
    lengths = {len(_manifest(argv=("a" * n,)).to_json()) % 4096: n for n in range(3000, 7200)}
    for rest in (0, 4095):
        manifest = _manifest(argv=("a" * lengths[rest],))
        area = measure.layout(manifest)[0][0]
        assert area.pages == len(manifest.to_json()) // 4096 + 1
        assert measure.measure(manifest) == _reference(manifest.to_json())


def _swap(areas: list[measure.Area]) -> None:
    areas[0], areas[1] = areas[1], areas[0]


def _change(name: str, **values: Any) -> Callable[[list[measure.Area]], None]:  # noqa: ANN401  # of Area
    def change(areas: list[measure.Area]) -> None:
        index = next(index for index, area in enumerate(areas) if area.name == name)
        areas[index] = replace(areas[index], **values)

    return change


@pytest.mark.parametrize(
    "change",
    [
        pytest.param(_swap, id="order of pages"),
        pytest.param(_change("stack 1", flags=0x201), id="permission W taken away"),
        pytest.param(_change("stack 1", flags=0x207), id="permission X given"),
        pytest.param(_change("runtime", flags=0x105), id="page type"),
        pytest.param(_change("heap", offset=measure.HEAP_START + 4096), id="place of the heap"),
        pytest.param(_change("heap", content=bytes(1 << 20)), id="heap extended, though all zero"),
        pytest.param(_change("stack 1", content=None), id="stack not extended"),
        pytest.param(_change("tcs 1", content=struct.pack("<QQ", 0, 1).ljust(4096, b"\0")), id="TCS content"),
    ],
)
def test_order_places_permissions_and_extension_of_pages_are_measured(
    change: Callable[[list[measure.Area]], None], monkeypatch: pytest.MonkeyPatch
) -> None:
    areas, size = measure.layout(_manifest())
    before = measure.measure(_manifest())
    change(areas)
    monkeypatch.setattr(measure, "layout", lambda _manifest: (areas, size))
    assert measure.measure(_manifest()) != before


def test_names_of_areas_are_not_measured(monkeypatch: pytest.MonkeyPatch) -> None:
    areas, size = measure.layout(_manifest())
    before = measure.measure(_manifest())
    monkeypatch.setattr(measure, "layout", lambda _manifest: ([replace(area, name="") for area in areas], size))
    assert measure.measure(_manifest()) == before


def test_threads_start_at_the_runtime_and_no_debugger_may_step_in() -> None:
    areas = {area.name: area for area in measure.layout(_manifest())[0]}
    for number in (1, 2):
        tcs, ssa = areas[f"tcs {number}"], areas[f"ssa {number}"]
        assert (tcs.flags, ssa.flags) == (0x100, 0x203)  # a TCS is added without R, W and X
        assert tcs.content is not None
        state, flags, ossa, cssa, nssa, oentry, aep, ofs, ogs, fslimit, gslimit = struct.unpack_from(
            "<QQQIIQQQQII", tcs.content
        )
        assert (state, flags, cssa) == (0, 0, 0)  # bit 0 of FLAGS is DBGOPTIN
        assert (ossa, nssa, oentry) == (ssa.offset, 2, areas["runtime"].offset)
        assert (aep, ofs, ogs, fslimit, gslimit) == (0, 0, 0, 0xFFF, 0xFFF)
        assert not any(tcs.content[72:])


def test_the_heap_is_added_but_not_extended_and_everything_else_is() -> None:
    areas = measure.layout(_manifest())[0]
    assert [area.name for area in areas if area.content is None] == ["heap"]


def test_batches_do_not_change_the_measurement(monkeypatch: pytest.MonkeyPatch) -> None:
    expected = measure.measure(_manifest())
    for size in (1, 3, 1 << 20):
        monkeypatch.setattr(measure, "_ADDED_BATCH", size)
        monkeypatch.setattr(measure, "_EXTENDED_BATCH", size)
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
        pytest.param(lambda root: _relink(root, os.fsdecode(b"\xff")), "name", "/link", id="target not UTF-8"),
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
