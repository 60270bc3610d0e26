"""Collateral carried to a host without a network: what is taken, what is refused, and what is said about it."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from cryptography import x509
from tests.platform.world import NOW, World, signer

from adyton.attestation.anchors import INTEL
from adyton.attestation.collateral.bundle import (
    FORMAT,
    MAX_BUNDLE_BYTES,
    MAX_ENTRIES,
    Taken,
    export_bundle,
    import_bundle,
    read_bundle,
    read_folder,
)
from adyton.attestation.collateral.cache import CollateralCache
from adyton.attestation.collateral.documents import Collateral
from adyton.attestation.dcap.pck import CaKind
from adyton.attestation.errors import AttestationError
from adyton.attestation.verdict import EvidenceKind
from adyton.base.errors import InputError, UnavailableError
from adyton.base.secret import Secret
from adyton.platform.simulated.pki import SimulatedVendor

OTHER_FLEET = SimulatedVendor(Secret(b"another fleet's own seed, 32 byt"), signer("other"))
KINDS = (EvidenceKind.SGX, EvidenceKind.TDX)


@pytest.fixture(scope="module")
def bundle(world: World) -> bytes:
    return export_bundle(world.collateral(kind) for kind in KINDS)


def outcomes(data: bytes, folder: Path, world: World, now: datetime = NOW) -> list[tuple[str, str]]:
    report = import_bundle(data, folder, [world.anchor], now)
    assert all(bool(entry.code) == (entry.outcome is Taken.REFUSED) == bool(entry.message) for entry in report)
    assert all((entry.valid_until is None) == (entry.outcome is Taken.REFUSED) for entry in report)
    return [(entry.platform.kind.value, entry.code or entry.outcome.value) for entry in report]


def test_a_bundle_says_what_it_holds(world: World, bundle: bytes) -> None:
    document = json.loads(bundle)
    assert document["format"] == FORMAT
    assert [sorted(entry) for entry in document["entries"]] == [["ca", "collateral", "fmspc", "kind"]] * 2
    assert [(entry["kind"], entry["fmspc"], entry["ca"]) for entry in document["entries"]] == [
        ("sgx", world.vendor.fmspc, "platform"),
        ("tdx", world.vendor.fmspc, "platform"),
    ]
    assert [collateral for _platform, collateral in read_bundle(bundle)] == [world.collateral(k) for k in KINDS]


def test_a_host_without_a_network_serves_what_was_imported(world: World, bundle: bytes, tmp_path: Path) -> None:
    class Nothing:
        def fetch(self, _fmspc: str, _ca: CaKind, _kind: EvidenceKind = EvidenceKind.SGX) -> Collateral:
            raise UnavailableError("there is no network")

    assert outcomes(bundle, tmp_path / "made", world) == [("sgx", "taken"), ("tdx", "taken")]
    cache = CollateralCache(Nothing(), [world.anchor], clock=world.clock, folder=tmp_path / "made")
    for kind in KINDS:
        assert cache.fetch(world.vendor.fmspc, CaKind.PLATFORM, kind) == world.collateral(kind)
    assert export_bundle(read_folder(tmp_path / "made")) == bundle


def test_the_same_again_changes_nothing(world: World, bundle: bytes, tmp_path: Path) -> None:
    outcomes(bundle, tmp_path, world)
    assert outcomes(bundle, tmp_path, world) == [("sgx", "unchanged"), ("tdx", "unchanged")]


def test_a_single_copy_as_other_tools_write_it_is_taken(world: World, tmp_path: Path) -> None:
    document = json.loads(world.collateral().to_json()) | {"pck_certificate_chain": None}
    assert outcomes(json.dumps(document).encode(), tmp_path, world) == [("sgx", "taken")]
    assert read_folder(tmp_path) == (world.collateral(),)


def test_the_real_sample_is_taken_in_its_window_only(evidence: Path, tmp_path: Path) -> None:
    data = (evidence / "tdx_quote_collateral.json").read_bytes()
    inside, outside = datetime(2025, 7, 1, tzinfo=UTC), NOW
    (late,) = import_bundle(data, tmp_path, [INTEL], outside)
    assert (late.outcome, late.code) == (Taken.REFUSED, "attestation.validity")
    assert read_folder(tmp_path) == ()
    (entry,) = import_bundle(data, tmp_path, [INTEL], inside)
    assert (entry.outcome, str(entry.platform)) == (Taken.TAKEN, "tdx-b0c06f000000-platform")
    assert entry.valid_until == datetime(2025, 7, 19, 10, 0, 34, tzinfo=UTC)  # the CRL's nextUpdate is not its own


def test_one_bad_entry_is_refused_and_the_good_ones_are_taken(world: World, tmp_path: Path) -> None:
    good, tdx = world.collateral(), world.collateral(EvidenceKind.TDX)
    forged = replace(tdx, tcb_info=tdx.tcb_info.replace('r":17', 'r":18'))
    data = export_bundle([good, forged])
    assert outcomes(data, tmp_path, world) == [("sgx", "taken"), ("tdx", "attestation.tcb.signature")]
    assert read_folder(tmp_path) == (good,)


@pytest.mark.parametrize(
    ("make", "code"),
    [
        (lambda world: world.vendor.collateral(NOW - timedelta(days=40)), "attestation.validity"),
        (lambda world: world.vendor.collateral(NOW + timedelta(days=40)), "attestation.validity"),
        (
            lambda _world: SimulatedVendor(Secret(b"another fleet's own seed, 32 byt"), signer("other")).collateral(
                NOW
            ),
            "attestation.chain.anchor",
        ),
        (
            lambda world: replace(world.collateral(), root_ca_crl=world.collateral().pck_crl),
            "attestation.crl.signature",
        ),
        (
            lambda world: replace(world.collateral(), tcb_info_issuer_chain=world.collateral().pck_crl_issuer_chain),
            "attestation.chain.path",
        ),
    ],
    ids=["expired", "not yet valid", "another root", "swapped list", "another signer"],
)
def test_what_would_not_verify_is_not_taken(
    world: World, tmp_path: Path, make: Callable[[World], Collateral], code: str
) -> None:
    assert outcomes(export_bundle([make(world)]), tmp_path, world) == [("sgx", code)]
    assert list(tmp_path.iterdir()) == []


def test_a_revoked_tcb_signer_is_not_taken(tmp_path: Path) -> None:
    world = World()
    serial = next(iter(_signer_serials(world)))
    world.vendor.catalogue = replace(world.vendor.catalogue, revoked_by_root=frozenset({serial}))
    assert outcomes(export_bundle([world.collateral()]), tmp_path, world) == [("sgx", "attestation.crl.revoked")]


def _signer_serials(world: World) -> list[int]:
    pem = world.collateral().tcb_info_issuer_chain.encode()
    return [certificate.serial_number for certificate in x509.load_pem_x509_certificates(pem)]


def test_a_rollback_is_refused_however_valid(world: World, tmp_path: Path) -> None:
    newer, older = world.vendor.collateral(NOW + timedelta(days=10)), world.collateral()
    now = NOW + timedelta(days=10)
    assert older.window()[1] > now
    assert outcomes(export_bundle([newer]), tmp_path, world, now) == [("sgx", "taken")]
    assert outcomes(export_bundle([older]), tmp_path, world, now) == [("sgx", "attestation.collateral.rollback")]
    assert read_folder(tmp_path) == (newer,)


def test_a_forged_copy_in_the_folder_does_not_keep_a_genuine_one_out(world: World, tmp_path: Path) -> None:
    good = world.collateral()
    forged = replace(good, tcb_info=good.tcb_info.replace('r":17', 'r":99'))
    (tmp_path / f"{good.platform}.json").write_bytes(forged.to_json().encode())
    assert outcomes(export_bundle([good]), tmp_path, world) == [("sgx", "taken")]
    assert read_folder(tmp_path) == (good,)


def edited(bundle: bytes, edit: Callable[[dict[str, Any]], object]) -> bytes:
    document = json.loads(bundle)
    edit(document)
    return json.dumps(document).encode()


@pytest.mark.parametrize(
    ("edit", "code"),
    [
        (lambda d: d.update(format="adyton-collateral/2"), "attestation.collateral.format"),
        (lambda d: d.update(more=1), "attestation.collateral.format"),
        (lambda d: d["entries"][0].update(more=1), "attestation.collateral.format"),
        (lambda d: d["entries"][0].update(kind="snp"), "attestation.collateral.format"),
        (lambda d: d["entries"][0].update(fmspc="../../../../x"), "attestation.collateral.format"),
        (lambda d: d["entries"][0].update(ca="root"), "attestation.collateral.format"),
        (lambda d: d["entries"][0]["collateral"].pop("pck_crl"), "attestation.collateral.format"),
        (lambda d: d["entries"].append(d["entries"][0]), "attestation.collateral.bundle"),
        (lambda d: d.update(entries=d["entries"] * 2049), "attestation.collateral.format"),
    ],
    ids=[
        "another format",
        "unknown member",
        "unknown member of an entry",
        "technology without collateral",
        "path for an FMSPC",
        "unknown CA",
        "incomplete collateral",
        "twice the same platform",
        "too many",
    ],
)
def test_a_malformed_bundle_changes_nothing(
    world: World, bundle: bytes, tmp_path: Path, edit: Callable[[dict[str, Any]], object], code: str
) -> None:
    with pytest.raises(AttestationError) as caught:
        import_bundle(edited(bundle, edit), tmp_path, [world.anchor], NOW)
    assert caught.value.code == code
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("data", [b"", b"[]", b"null", b'{"entries"', b"\xff" * 10, b'"entries"'])
def test_other_bytes_are_refused(world: World, tmp_path: Path, data: bytes) -> None:
    with pytest.raises(AttestationError) as caught:
        import_bundle(data, tmp_path, [world.anchor], NOW)
    assert caught.value.code == "attestation.collateral.format"


def test_an_entry_that_holds_something_else_is_refused(world: World, bundle: bytes, tmp_path: Path) -> None:
    def swap(document: dict[str, Any]) -> None:
        first, second = document["entries"]
        first["collateral"], second["collateral"] = second["collateral"], first["collateral"]

    assert {code for _kind, code in outcomes(edited(bundle, swap), tmp_path, world)} == {
        "attestation.collateral.bundle"
    }


def test_a_time_without_a_zone_is_refused(world: World, bundle: bytes, tmp_path: Path) -> None:
    with pytest.raises(InputError) as caught:
        import_bundle(bundle, tmp_path, [world.anchor], NOW.replace(tzinfo=None))
    assert caught.value.code == "attestation.now"


def test_a_bundle_over_its_limits_is_refused() -> None:
    with pytest.raises(AttestationError, match="over the limit"):
        read_bundle(b" " * (MAX_BUNDLE_BYTES + 1))
    entry = {"kind": "sgx", "fmspc": "00" * 6, "ca": "platform", "collateral": {}}
    with pytest.raises(AttestationError, match="entries") as caught:
        read_bundle(json.dumps({"format": FORMAT, "entries": [entry] * (MAX_ENTRIES + 1)}).encode())
    assert caught.value.code == "attestation.collateral.format"
