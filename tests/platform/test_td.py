"""Simulated evidence of trust domains; the judge here is a verifier that was not written for it."""

from __future__ import annotations

import hashlib
from dataclasses import replace
from typing import Any

import dcap_qvl
import pytest
from tests.platform.world import World, signer

from adyton.attestation.dcap.judge import read_pck
from adyton.attestation.dcap.tcb import TcbStatus
from adyton.attestation.formats.quote import Quote, TeeType, parse_quote
from adyton.attestation.formats.sgx import Report
from adyton.attestation.formats.tdx import TdFlag, TdReport, TdReport15
from adyton.attestation.verdict import EvidenceKind
from adyton.base.secret import Secret
from adyton.platform.protocol import PlatformError
from adyton.platform.simulated.documents import (
    DEFAULT_TEE_TCB_SVN,
    TD_QE_ISVPRODID,
    TD_QE_ISVSVN,
    Catalogue,
    Level,
    QeLevel,
    TdxModule,
)
from adyton.platform.simulated.pki import SimulatedVendor
from adyton.platform.simulated.td import MRTD, TD_QE_MRENCLAVE, TrustDomain

DATA = bytes(range(64))
KINDS = pytest.mark.parametrize(
    ("version", "body"),
    [(4, TdReport), (5, TdReport), (5, TdReport15)],
    ids=["version 4, TD 1.0", "version 5, TD 1.0", "version 5, TD 1.5"],
)


@pytest.fixture(scope="module")
def world() -> World:
    return World()


def judged(world: World, quote: bytes, kind: EvidenceKind = EvidenceKind.TDX) -> tuple[str, list[str]]:
    """Status and advisories by dcap-qvl under the world's root; ValueError when it refuses."""
    collateral = dcap_qvl.QuoteCollateralV3.from_json(world.collateral(kind).to_json())
    report = dcap_qvl.verify_with_root_ca(quote, collateral, world.vendor.root_der, int(world.now.timestamp()))
    return report.status, sorted(report.advisory_ids)


def vendor(**changes: Any) -> SimulatedVendor:  # noqa: ANN401  # fields of Catalogue
    catalogue = replace(Catalogue(), **changes)
    return SimulatedVendor(Secret(b"a seed for these tests: 32 bytes"), signer("vendor"), catalogue)


@KINDS
def test_an_independent_verifier_accepts_it_under_the_simulated_root_only(
    world: World, version: int, body: type[TdReport]
) -> None:
    quote = world.td_quote(DATA, version=version, body=body)
    assert judged(world, quote) == ("UpToDate", [])
    collateral = dcap_qvl.QuoteCollateralV3.from_json(world.collateral(EvidenceKind.TDX).to_json())
    with pytest.raises(ValueError, match="Verification failed"):
        dcap_qvl.verify(quote, collateral, int(world.now.timestamp()))


@KINDS
def test_an_independent_verifier_refuses_what_is_changed_after_signing(
    world: World, version: int, body: type[TdReport]
) -> None:
    parsed = parse_quote(world.td_quote(DATA, version=version, body=body))
    other = replace(parsed, body=replace(parsed.td, mrtd=bytes(48)))
    with pytest.raises(ValueError, match="signature is invalid"):
        judged(world, other.to_bytes())


@pytest.mark.parametrize(
    "measurements",
    [
        {"td_attributes": TdFlag.SEPT_VE_DISABLE | TdFlag.DEBUG},
        {"td_attributes": 0},
        {"mrsignerseam": b"\x01" * 48},
        {"seam_attributes": 1},
        {"tee_tcb_svn": bytes((6, 9, 3)) + bytes(13)},
        {"tee_tcb_svn": bytes((1, 1, 3)) + bytes(13)},
    ],
    ids=["debug", "no SEPT_VE_DISABLE", "foreign module", "module attributes", "unknown module", "module too old"],
)
def test_an_independent_verifier_refuses_trust_domains_that_do_not_protect(
    world: World, measurements: dict[str, Any]
) -> None:
    with pytest.raises(ValueError, match="Verification failed"):
        judged(world, world.td_quote(DATA, **measurements))


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        (
            {"tdx_levels": (Level(bytes(16), 0, TcbStatus.SW_HARDENING_NEEDED, ("INTEL-SA-00001",)),)},
            ("SWHardeningNeeded", ["INTEL-SA-00001"]),
        ),
        (
            {"tdx_modules": (TdxModule(1, (QeLevel(2, TcbStatus.OUT_OF_DATE, ("INTEL-SA-00002",)),)),)},
            ("OutOfDate", ["INTEL-SA-00002"]),
        ),
        (
            {"td_qe_levels": (QeLevel(0, TcbStatus.OUT_OF_DATE, ("INTEL-SA-00003",)),)},
            ("OutOfDate", ["INTEL-SA-00003"]),
        ),
        ({"levels": (Level(bytes(16), 0, TcbStatus.OUT_OF_DATE),)}, ("UpToDate", [])),
        ({"qe_levels": (QeLevel(0, TcbStatus.OUT_OF_DATE),)}, ("UpToDate", [])),
    ],
    ids=["platform level", "module level", "quoting enclave level", "a level of SGX", "the quoting enclave of SGX"],
)
def test_what_the_vendor_says_of_tdx_decides(changes: dict[str, Any], expected: tuple[str, list[str]]) -> None:
    world = World(vendor(**changes))
    assert judged(world, world.td_quote(DATA)) == expected


def test_a_platform_below_every_level_is_refused() -> None:
    """Of a module of version 1 or later the first two components are its identity's matter, the third is not."""
    needed = bytes((9, 9, 4)) + bytes(13)
    world = World(vendor(tdx_levels=(Level(bytes(16), 0, TcbStatus.UP_TO_DATE, tdx_components=needed),)))
    with pytest.raises(ValueError, match="No matching TCB level"):
        judged(world, world.td_quote(DATA))
    newer = bytes((6, 1, 4)) + bytes(13)
    assert judged(world, world.td_quote(DATA, tee_tcb_svn=newer)) == ("UpToDate", [])


def test_collateral_of_one_technology_does_not_judge_the_other(world: World) -> None:
    with pytest.raises(ValueError, match="Verification failed"):
        judged(world, world.td_quote(DATA), EvidenceKind.SGX)
    with pytest.raises(ValueError, match="Verification failed"):
        judged(world, world.enclave_quote(bytes(32), DATA), EvidenceKind.TDX)
    assert judged(world, world.enclave_quote(bytes(32), DATA), EvidenceKind.SGX) == ("UpToDate", [])


@KINDS
def test_a_quote_repeats_what_was_measured(world: World, version: int, body: type[TdReport]) -> None:
    measured = {name: bytes((number,)) * 48 for number, name in enumerate(("mrtd", "mrconfigid", "mrowner"), 1)}
    rtmrs = tuple(bytes((number,)) * 48 for number in range(10, 14))
    attributes = TdFlag.SEPT_VE_DISABLE | TdFlag.PKS
    quote = parse_quote(
        world.td_quote(DATA, version=version, body=body, rtmrs=rtmrs, td_attributes=attributes, **measured)
    )
    assert (quote.version, quote.header.tee_type, type(quote.body)) == (version, TeeType.TDX, body)
    assert {name: getattr(quote.td, name) for name in measured} == measured
    assert (quote.td.rtmrs, quote.td.flags, quote.td.report_data) == (rtmrs, attributes, DATA)


def test_a_report_of_1_5_says_which_module_runs_now(world: World) -> None:
    def report(**measurements: Any) -> TdReport15:  # noqa: ANN401  # fields of TrustDomain
        found = parse_quote(world.td_quote(DATA, version=5, body=TdReport15, **measurements)).body
        assert isinstance(found, TdReport15)
        return found

    assert report().tee_tcb_svn2 == report().tee_tcb_svn == DEFAULT_TEE_TCB_SVN
    assert report(tee_tcb_svn2=bytes(16)).tee_tcb_svn2 == bytes(16)
    assert report(mrservicetd=b"\x05" * 48).mrservicetd == b"\x05" * 48


def test_a_register_is_extended_as_the_module_does_it() -> None:
    digests = [hashlib.sha384(text).digest() for text in (b"kernel", b"initrd")]
    domain = TrustDomain().extend(1, digests[0]).extend(1, digests[1])
    first = hashlib.sha384(bytes(48) + digests[0]).digest()
    assert domain.rtmrs == (bytes(48), hashlib.sha384(first + digests[1]).digest(), bytes(48), bytes(48))
    assert (domain.mrtd, TrustDomain().rtmrs) == (MRTD, (bytes(48),) * 4)


def test_the_quoting_enclave_of_tdx_is_another_enclave_of_the_vendor_on_the_same_platform(world: World) -> None:
    of_td, of_enclave = parse_quote(world.td_quote(DATA)), parse_quote(world.enclave_quote(bytes(32), DATA))
    report = of_td.qe_report
    assert (report.mrenclave, report.isvprodid, report.isvsvn) == (TD_QE_MRENCLAVE, TD_QE_ISVPRODID, TD_QE_ISVSVN)
    assert report.mrsigner == of_enclave.qe_report.mrsigner
    assert of_td.certification == of_enclave.certification
    assert of_td.attestation_key != of_enclave.attestation_key
    assert of_td.header.user_data != of_enclave.header.user_data


def test_keys_are_the_same_after_a_restart_and_others_on_another_cpu(world: World) -> None:
    def keys(quote: Quote) -> tuple[bytes, int, bytes]:
        return quote.attestation_key, read_pck(quote).key.public_numbers().x, quote.header.user_data

    restarted = World(world.vendor, fuses=world.cpu._fuses)
    here = keys(parse_quote(world.td_quote(DATA)))
    assert here == keys(parse_quote(restarted.td_quote(DATA)))
    assert not set(here) & set(keys(parse_quote(world.other_cpu().td_quote(DATA))))


def test_only_the_vendors_quoting_enclave_is_certified(world: World) -> None:
    target = world.qe.target_info
    genuine = world.cpu.ereport(world.td_qe.identity, target, DATA)
    assert world.qe.certify(genuine.to_bytes()).report == genuine.body
    vendors = signer("vendor")
    impostors = {
        "another signer": world.enclave(TD_QE_MRENCLAVE, isvprodid=TD_QE_ISVPRODID, isvsvn=TD_QE_ISVSVN),
        "another product": world.enclave(TD_QE_MRENCLAVE, isvprodid=TD_QE_ISVPRODID + 1, key=vendors),
        "a debug build": world.enclave(TD_QE_MRENCLAVE, isvprodid=TD_QE_ISVPRODID, key=vendors, debug=True),
    }
    reports = [world.cpu.ereport(identity, target, DATA) for identity in impostors.values()]
    reports += [
        replace(genuine, body=replace(genuine.body, report_data=bytes(64))),
        world.cpu.ereport(world.td_qe.identity, world.td_qe.identity.target_info(), DATA),
        world.other_cpu().cpu.ereport(world.td_qe.identity, target, DATA),
    ]
    for data in [report.to_bytes() for report in reports] + [b"", bytes(Report.LAYOUT.size)]:
        with pytest.raises(PlatformError) as caught:
            world.qe.certify(data)
        assert caught.value.code == "platform.quote.report"


@pytest.mark.parametrize(("version", "body"), [(3, TdReport), (4, TdReport15), (6, TdReport), (0, TdReport15)], ids=str)
def test_there_is_no_such_quote(world: World, version: int, body: type[TdReport]) -> None:
    with pytest.raises(PlatformError) as caught:
        world.td_quote(DATA, version=version, body=body)
    assert caught.value.code == "platform.quote.version"


@pytest.mark.parametrize("size", [0, 32, 63, 65])
def test_report_data_has_64_bytes(world: World, size: int) -> None:
    with pytest.raises(PlatformError) as caught:
        world.td_quote(bytes(size))
    assert caught.value.code == "platform.report.data"
