"""What is said about two images that measure differently: the cause, its consequences, and what is no cause."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from tests.enclave.handmade import AGENT, FILES, LINKS, layout, manifest, signature, signer, trusted

from adyton.enclave.difference import Change, Difference, compare_images
from adyton.enclave.image import EnclaveImage
from adyton.enclave.manifest import CasPolicy, Manifest, TrustedFile, TrustedLink
from adyton.enclave.measure import measure


def _image(of: Manifest, number: int = 0) -> EnclaveImage:
    return EnclaveImage("sha256:" + "00" * 32, of, signature(of, signer(number)), measure(of))


def _between(old: Manifest, new: Manifest) -> Difference:
    return compare_images(_image(old), _image(new))


def test_the_same_enclave_has_no_difference(tmp_path: Path) -> None:
    one, two = (EnclaveImage.load(layout(tmp_path / name)) for name in ("one", "two"))
    difference = compare_images(one, two)
    assert difference.same
    assert (difference.fields, difference.files, difference.layout, difference.sigstruct) == ((), (), (), ())


def test_another_signer_is_no_other_measurement() -> None:
    difference = compare_images(_image(manifest()), _image(manifest(), 1))
    assert difference.same
    assert [change.name for change in difference.sigstruct] == ["mrsigner"]


_CAS = CasPolicy("intel", ("11" * 32,))


@pytest.mark.parametrize(
    ("change", "expected"),
    [
        pytest.param({"name": "other"}, Change("name", "demo", "other"), id="name"),
        pytest.param({"argv": ("/bin/tool", "-x")}, Change("argv", ["/bin/tool"], ["/bin/tool", "-x"]), id="command"),
        pytest.param({"environment": {"A": "2"}}, Change("environment.A", "1", "2"), id="variable changed"),
        pytest.param({"environment": {}}, Change("environment.A", "1", None), id="variable removed"),
        pytest.param({"environment": {"A": "1", "B": ""}}, Change("environment.B", None, ""), id="variable added"),
        pytest.param({"volumes": {"v": "/v"}}, Change("volumes.v", None, "/v"), id="volume"),
        pytest.param({"tmpfs": {}}, Change("tmpfs./tmp", 256 << 20, None), id="tmpfs"),
        pytest.param({"network": True}, Change("network", False, True), id="network"),
        pytest.param({"debug": True}, Change("debug", False, True), id="debug"),
        pytest.param({"isvsvn": 2}, Change("isvsvn", 0, 2), id="version"),
        pytest.param({"host_paths": ("/h",)}, Change("host_paths", [], ["/h"]), id="host path"),
        pytest.param(
            {"cas": _CAS}, Change("cas", None, {"anchor": "intel", "mrenclaves": ["11" * 32]}), id="CAS pinned",
        ),
    ],
)  # fmt: skip
def test_one_setting_is_one_difference(change: dict[str, Any], expected: Change) -> None:
    difference = _between(manifest(), manifest(**change))
    assert not difference.same
    assert difference.fields == (expected,)
    assert difference.files == ()


def test_a_part_of_the_cas_policy_is_named_alone() -> None:
    new = CasPolicy("intel", ("22" * 32,))
    assert _between(manifest(cas=_CAS), manifest(cas=new)).fields == (
        Change("cas.mrenclaves", ["11" * 32], ["22" * 32]),
    )


@pytest.mark.parametrize(
    ("change", "moved"),
    [
        pytest.param({"heap_bytes": 1 << 20}, {"size", "heap pages"}, id="heap"),
        pytest.param({"stack_bytes": 8192}, {"stack 1 pages", "stack 1 offset"}, id="stack"),
        pytest.param({"threads": 2}, {"ssa 2 pages", "tcs 2 pages", "stack 2 pages"}, id="threads"),
        pytest.param({"argv": ("a" * 5000,)}, {"manifest pages", "manifest offset"}, id="longer manifest"),
    ],
)
def test_consequences_for_the_layout_stand_apart(change: dict[str, Any], moved: set[str]) -> None:
    difference = _between(manifest(), manifest(**change))
    assert moved <= {item.name for item in difference.layout}
    assert len(difference.fields) == 1


def test_files_are_named_with_what_happened_to_them() -> None:
    new = {
        **trusted({**FILES, "/app/app.py": b"changed", "/app/new.py": b""}, {**LINKS, "/tool": "elsewhere"}),
        "/bin/tool": TrustedFile(trusted_sha("/bin/tool"), executable=False),
        "/replaced": TrustedLink("app"),
    }
    old = {**trusted({**FILES, "/old": b"", "/replaced": b""})}
    difference = _between(manifest(trusted_files=old), manifest(trusted_files=new))
    assert [(change.path, change.kind, change.what) for change in difference.files] == [
        ("/app/app.py", "changed", ("content",)),
        ("/app/new.py", "added", ()),
        ("/bin/tool", "changed", ("executable",)),
        ("/old", "removed", ()),
        ("/replaced", "changed", ("type",)),
        ("/tool", "changed", ("target",)),
    ]
    assert difference.fields == ()
    links = difference.files[-1]
    assert (links.old, links.new) == ({"link": "bin/tool"}, {"link": "elsewhere"})


def trusted_sha(path: str) -> str:
    entry = trusted()[path]
    assert isinstance(entry, TrustedFile)
    return entry.sha256


def test_a_file_can_change_in_two_ways_at_once() -> None:
    new = {**trusted(), "/bin/tool": TrustedFile("00" * 32, executable=False)}
    assert _between(manifest(), manifest(trusted_files=new)).files[0].what == ("content", "executable")


def test_files_of_the_agent_are_counted() -> None:
    new = {**trusted(), AGENT: TrustedFile("00" * 32)}
    difference = _between(manifest(), manifest(trusted_files=new))
    assert (difference.agent_files, len(difference.files)) == (1, 1)


def test_as_json_values_it_has_everything() -> None:
    document = _between(manifest(), manifest(name="other", threads=2, debug=True)).to_json()
    assert document["same"] is False
    assert {"name": "debug", "old": False, "new": True} in document["fields"]
    assert {change["name"] for change in document["sigstruct"]} == {"attributes"}
    assert document["layout"]
    assert document["mrenclaves"][0] != document["mrenclaves"][1]


def test_a_signature_for_another_measurement_is_a_difference_of_the_signature() -> None:
    good = _image(manifest())
    bad = EnclaveImage(good.digest, good.manifest, signature(manifest(name="other")), good.mrenclave)
    difference = compare_images(good, bad)
    assert difference.same
    assert "enclavehash" in {change.name for change in difference.sigstruct}
