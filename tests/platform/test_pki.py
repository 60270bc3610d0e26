from __future__ import annotations

import json
import stat
from dataclasses import fields, replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding
from tests.platform.world import NOW, World, signer

from adyton.attestation.chain import common_name
from adyton.attestation.dcap.pck import CaKind
from adyton.attestation.dcap.tcb import TcbStatus
from adyton.attestation.verdict import EvidenceKind
from adyton.base.errors import InputError
from adyton.base.secret import Secret
from adyton.platform.simulated.cpu import DEFAULT_CPUSVN
from adyton.platform.simulated.pki import Level, SimulatedVendor, Update

SEED = Secret(b"a seed for these tests: 32 bytes")


@pytest.fixture(scope="module")
def vendor() -> SimulatedVendor:
    return SimulatedVendor(SEED, signer("vendor"))


def chain_of(pem: str) -> list[x509.Certificate]:
    return x509.load_pem_x509_certificates(pem.encode())


def test_everything_follows_from_the_seed(vendor: SimulatedVendor) -> None:
    again = SimulatedVendor(SEED, signer("vendor"))
    other = SimulatedVendor(Secret(b"another seed for the same tests."), signer("vendor"))
    assert again.root_der == vendor.root_der
    assert again.collateral(NOW) == vendor.collateral(NOW)
    assert other.anchor != vendor.anchor


def test_a_folder_keeps_it_private_and_the_same(tmp_path: Path) -> None:
    folder = tmp_path / "vendor"
    first, second = SimulatedVendor.create(folder), SimulatedVendor.create(folder)
    assert first.root_der == second.root_der
    assert first.collateral(NOW) == second.collateral(NOW)
    assert {stat.S_IMODE(path.stat().st_mode) for path in folder.iterdir()} == {0o600}
    assert stat.S_IMODE(folder.stat().st_mode) == 0o700
    (folder / "vendor-seed").write_bytes(b"cut")
    with pytest.raises(InputError) as caught:
        SimulatedVendor.create(folder)
    assert caught.value.code == "platform.vendor.seed"


def test_every_name_says_simulated(vendor: SimulatedVendor) -> None:
    world = World(vendor)
    collateral = vendor.collateral(NOW)
    chains = [collateral.pck_crl_issuer_chain, collateral.tcb_info_issuer_chain, world.qe.pck_chain(NOW).decode()]
    names = {common_name(certificate.subject) for chain in chains for certificate in chain_of(chain)}
    assert names == {
        "Simulated SGX Root CA",
        "Simulated SGX PCK Platform CA",
        "Simulated SGX TCB Signing",
        "Simulated SGX PCK Certificate",
    }


def test_the_root_is_one_for_all_chains(vendor: SimulatedVendor) -> None:
    collateral = vendor.collateral(NOW)
    chains = (collateral.pck_crl_issuer_chain, collateral.tcb_info_issuer_chain, collateral.qe_identity_issuer_chain)
    roots = {chain_of(pem)[-1].public_bytes(Encoding.DER) for pem in chains}
    assert roots == {vendor.root_der}


def test_collateral_is_the_same_until_it_is_renewed_and_never_short(vendor: SimulatedVendor) -> None:
    copies = []
    for hour in range(0, 24 * 45, 7):
        now = NOW + timedelta(hours=hour)
        collateral = vendor.collateral(now)
        start, end = collateral.window()
        assert start < now
        assert timedelta(days=19) < end - now <= timedelta(days=30)
        copies.append(collateral)
    assert len(set(copies)) in {5, 6}


@pytest.mark.parametrize(
    "now",
    [
        datetime(2026, 1, 1, tzinfo=UTC),
        datetime(2026, 12, 31, 23, 59, 59, tzinfo=UTC),
        datetime(2028, 2, 29, tzinfo=UTC),
    ],
)
def test_quotes_verify_around_the_turn_of_the_year(now: datetime) -> None:
    world = World(now=now)
    evidence = world.verifier().verify(world.platform(b"\x01" * 32).quote(bytes(64)), world.policy(b"\x01" * 32))
    assert evidence.valid_until > now


def test_a_changed_catalogue_is_published_at_once() -> None:
    world = World(SimulatedVendor(SEED, signer("vendor")))
    before = world.collateral()
    level = Level(DEFAULT_CPUSVN, 13, TcbStatus.SW_HARDENING_NEEDED, ("INTEL-SA-00334",))
    world.vendor.catalogue = replace(world.vendor.catalogue, levels=(level,), evaluation_number=18)
    document = json.loads(world.collateral().tcb_info)
    assert document["tcbEvaluationDataNumber"] == 18
    assert document["tcbLevels"][0]["advisoryIDs"] == ["INTEL-SA-00334"]
    assert before != world.collateral()


def test_tdx_has_documents_of_its_own(vendor: SimulatedVendor) -> None:
    info = json.loads(vendor.collateral(NOW, EvidenceKind.TDX).tcb_info)
    assert (info["id"], info["version"], info["fmspc"].lower()) == ("TDX", 3, vendor.fmspc)
    assert {"mrsigner", "attributes", "attributesMask"} == set(info["tdxModule"])
    assert [module["id"] for module in info["tdxModuleIdentities"]] == ["TDX_03", "TDX_01"]
    assert all(len(level["tcb"]["tdxtcbcomponents"]) == 16 for level in info["tcbLevels"])
    identity = json.loads(vendor.collateral(NOW, EvidenceKind.TDX).qe_identity)
    assert (identity["id"], identity["version"], identity["isvprodid"]) == ("TD_QE", 2, 2)
    plain = json.loads(vendor.collateral(NOW).tcb_info)
    assert not {"tdxModule", "tdxModuleIdentities"} & set(plain)
    assert not any("tdxtcbcomponents" in level["tcb"] for level in plain["tcbLevels"])


def test_both_technologies_share_certificates_and_lists(vendor: SimulatedVendor) -> None:
    sgx, tdx = vendor.collateral(NOW), vendor.collateral(NOW, EvidenceKind.TDX)
    changed = {name.name for name in fields(sgx) if getattr(sgx, name.name) != getattr(tdx, name.name)}
    assert changed == {"tcb_info", "tcb_info_signature", "qe_identity", "qe_identity_signature"}


@pytest.mark.parametrize("kind", [EvidenceKind.SNP, EvidenceKind.NITRO])
def test_it_has_no_collateral_for_other_technologies(vendor: SimulatedVendor, kind: EvidenceKind) -> None:
    with pytest.raises(InputError) as caught:
        vendor.collateral(NOW, kind)
    assert caught.value.code == "platform.vendor.kind"


def test_what_is_new_is_published_early_to_those_who_ask() -> None:
    vendor = SimulatedVendor(SEED, signer("vendor"))
    assert vendor.collateral(NOW, update=Update.EARLY) == vendor.collateral(NOW)
    vendor.early = replace(vendor.catalogue, evaluation_number=18)
    for kind in (EvidenceKind.SGX, EvidenceKind.TDX):
        numbers = [
            json.loads(getattr(vendor.collateral(NOW, kind, update), document))["tcbEvaluationDataNumber"]
            for update in (Update.STANDARD, Update.EARLY)
            for document in ("tcb_info", "qe_identity")
        ]
        assert numbers == [17, 17, 18, 18]


def test_it_knows_its_own_platforms_only(vendor: SimulatedVendor) -> None:
    assert '"id":"SGX"' in vendor.fetch(vendor.fmspc.upper(), CaKind.PLATFORM).tcb_info
    assert '"id":"TDX"' in vendor.fetch(vendor.fmspc, CaKind.PLATFORM, EvidenceKind.TDX).tcb_info
    for fmspc, ca in (("00a067110000", CaKind.PLATFORM), (vendor.fmspc, CaKind.PROCESSOR)):
        with pytest.raises(InputError) as caught:
            vendor.fetch(fmspc, ca)
        assert caught.value.code == "platform.vendor.fmspc"
