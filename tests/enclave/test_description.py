"""What is said about an enclave image: everything that is measured, and every way in which it does not hold."""

from __future__ import annotations

import hashlib
import json
from dataclasses import fields, replace
from pathlib import Path
from typing import Any

import pytest
from tests.enclave.handmade import DAY, FILES, LINKS, layout, manifest, signature, signer

from adyton.content.oci import read_layout
from adyton.enclave import measure
from adyton.enclave.description import UNMEASURED, Checks, check, describe, file_values
from adyton.enclave.image import EnclaveImage, read_files
from adyton.enclave.manifest import CasPolicy, Manifest
from adyton.enclave.sigstruct import DEBUG, SigStruct, sign
from adyton.enclave.successors import UpgradePolicy

_FULL: dict[str, Any] = {
    "cwd": "/app", "host_environment": ("B",), "host_paths": ("/etc/hosts",), "volumes": {"in": "/in"}, "network": True,
    "isvprodid": 7, "isvsvn": 65535, "cas": CasPolicy("sim:" + "00" * 32, ("11" * 32,)), "closed": True,
    "anchors": ("intel",), "threads": 3, "upgrade": UpgradePolicy(("22" * 32,), 1), "evidence": True,
}  # fmt: skip


def _described(folder: Path, **options: Any) -> dict[str, Any]:  # noqa: ANN401  # of handmade.layout
    image = read_layout(layout(folder, **options))
    return describe(EnclaveImage.of(image), read_files(image))


def _checks(folder: Path, **options: Any) -> Checks:  # noqa: ANN401  # of handmade.layout
    image = read_layout(layout(folder, **options))
    return check(EnclaveImage.of(image), read_files(image))


def test_every_member_of_the_manifest_is_shown_as_it_is_measured(tmp_path: Path) -> None:
    of = manifest(**_FULL)
    shown = _described(tmp_path, of=of)["measured"]["manifest"]
    measured = json.loads(of.to_json())
    assert set(shown) == {item.name for item in fields(Manifest)} - {"trusted_files"}
    assert shown == {name: value for name, value in measured.items() if name not in ("trusted_files", "format")}


def test_every_file_and_link_is_shown_as_it_is_measured(tmp_path: Path) -> None:
    of = manifest()
    described = _described(tmp_path, of=of)["measured"]["files"]
    assert described == {
        "count": len(FILES), "links": len(LINKS), "bytes": sum(map(len, FILES.values())), "of_the_agent": 1,
    }  # fmt: skip
    shown = {entry.pop("path"): entry for entry in file_values(of.trusted_files)}
    assert shown == json.loads(of.to_json())["trusted_files"]
    assert list(shown) == sorted(shown)


def test_the_layout_shown_is_enough_to_measure_again(tmp_path: Path) -> None:
    """MRENCLAVE from what is shown, plus the contents: nothing that counts is missing."""
    of = manifest(threads=2)
    described = _described(tmp_path, of=of)
    contents = {area.name: area.content for area in measure.layout(of)[0]}
    shown = described["measured"]["layout"]
    digest = hashlib.sha256(b"ECREATE\0" + shown["ssa_frame_pages"].to_bytes(4, "little"))
    digest.update(shown["size"].to_bytes(8, "little") + bytes(44))
    for area in shown["areas"]:
        flags = sum(1 << "rwx".index(letter) for letter in area["permissions"] if letter != "-")
        flags |= {"TCS": 0x100, "REG": 0x200}[area["type"]]
        content = contents[area["name"]]
        assert area["content_measured"] is (content is not None)
        for page in range(area["pages"]):
            offset = area["offset"] + page * 4096
            digest.update(b"EADD\0\0\0\0" + offset.to_bytes(8, "little") + flags.to_bytes(8, "little") + bytes(40))
            for chunk in range(0, 4096 if content is not None else 0, 256):
                digest.update(b"EEXTEND\0" + (offset + chunk).to_bytes(8, "little") + bytes(48))
                digest.update((content or b"")[page * 4096 + chunk :][:256])
    assert digest.hexdigest() == described["mrenclave"]


def test_every_field_of_the_signature_is_shown_or_judged(tmp_path: Path) -> None:
    shown = _described(tmp_path)["unmeasured"]["sigstruct"]
    judged = {
        "header", "header2", "exponent", "signature", "q1", "q2", "modulus", "reserved1", "reserved2", "reserved3",
        "reserved4",
    }  # fmt: skip
    named = {"flags": "attributes", "flagsmask": "attributes_mask", "xfrmmask": "xfrm_mask",
             "miscmask": "miscselect_mask", "cetmask": "cet_mask"}  # fmt: skip
    for item in fields(SigStruct):
        assert item.name in judged or named.get(item.name, item.name) in shown
    assert shown["date"] == str(DAY)
    assert shown["mrsigner"] == signature(manifest()).mrsigner.hex()


def test_a_good_image_holds(tmp_path: Path) -> None:
    described = _described(tmp_path, of=manifest(**_FULL))
    assert described["holds"] is True
    assert set(described["checks"].values()) == {"ok"}
    assert described["debug"] is False


def test_a_debug_image_says_so_first_of_all(tmp_path: Path) -> None:
    described = _described(tmp_path, of=manifest(debug=True))
    assert described["debug"] is True
    assert described["measured"]["manifest"]["debug"] is True
    assert "DEBUG" in described["unmeasured"]["sigstruct"]["attributes"]
    assert described["holds"] is True


def _tampered(**values: Any) -> SigStruct:  # noqa: ANN401  # of SigStruct
    return replace(signature(manifest()), **values)


@pytest.mark.parametrize(
    ("options", "wrong", "said"),
    [
        pytest.param({"sigstruct": _tampered(signature=bytes(384))}, {"signature"}, "Q1 and Q2", id="signature"),
        pytest.param({"sigstruct": _tampered(reserved3=b"\1" * 16)}, {"signature"}, "reserved", id="reserved bytes"),
        pytest.param({"sigstruct": _tampered(q2=bytes(384))}, {"signature"}, "Q1 and Q2", id="Q2"),
        pytest.param({"sigstruct": _tampered(miscselect=1)}, {"signature", "attributes"}, "MISCSELECT", id="EXINFO"),
        pytest.param({"sigstruct": _tampered(cetmask=1)}, {"signature", "attributes"}, "CET", id="CET mask"),
        pytest.param(
            {"sigstruct": _tampered(isvfamilyid=b"\1" * 16)}, {"signature", "attributes"}, "ISVFAMILYID",
            id="family without KSS",
        ),
        pytest.param(
            {"sigstruct": signature(manifest(name="other"))}, {"enclavehash"}, "signed is", id="of another enclave",
        ),
        pytest.param(
            {"sigstruct": signature(manifest(debug=True))}, {"enclavehash", "attributes"}, "EINIT refuses",
            id="debug signature for production",
        ),
        pytest.param(
            {"sigstruct": _tampered(flagsmask=0xFFFF_FFFF_FFFF_FFFF & ~DEBUG)}, {"signature", "attributes"},
            "any host may start it as a debug enclave", id="mask lets debug in",
        ),
        pytest.param(
            {"sigstruct": sign(measure.measure(manifest()), signer(), debug=False, isvprodid=1, isvsvn=2,
                               signed_on=DAY)},
            {"identity"}, "product 1 version 2", id="other version signed",
        ),
        pytest.param({"files": {**FILES, "/bin/tool": b"x"}}, {"files"}, "/bin/tool", id="changed file"),
        pytest.param({"files": {**FILES, "/bin/more": b"x"}}, {"files"}, "/bin/more", id="added file"),
    ],
)  # fmt: skip
def test_what_does_not_hold_is_named(tmp_path: Path, options: dict[str, Any], wrong: set[str], said: str) -> None:
    checks = _checks(tmp_path, **options)
    assert {item.name for item in fields(checks) if getattr(checks, item.name)} == wrong
    assert any(said in problem for problem in checks.problems)


def test_what_is_not_measured_is_named_as_such(tmp_path: Path) -> None:
    free = _described(tmp_path / "free")["unmeasured"]
    assert free["config"]["environment"] == ["UNMEASURED=1"]
    assert set(UNMEASURED) < set(free["notes"])
    assert any("any CAS that the host names" in note for note in free["notes"])
    closed = _described(tmp_path / "closed", of=manifest(**_FULL))["unmeasured"]
    assert closed["host"] == {"environment": ["B"], "paths": ["/etc/hosts"]}
    assert any("the CAS named in the manifest" in note for note in closed["notes"])
    alone = _described(tmp_path / "alone", of=manifest(config="none"))["unmeasured"]
    assert not any("CAS" in note for note in alone["notes"])
