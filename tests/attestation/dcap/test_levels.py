"""Which levels a trust domain's platform is at: Intel's rules about TEE_TCB_SVN, module identities and relaunching."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import Any

import pytest
from tests.attestation.dcap.test_tcb import PLATFORM, QE, info_document, level, qe_document

from adyton.attestation.dcap.levels import TcbVerdict, check_module, match
from adyton.attestation.dcap.pck import PckExtension
from adyton.attestation.dcap.tcb import CAUSES, TcbInfo, TcbStatus, parse_qe_identity, parse_tcb_info
from adyton.attestation.errors import AttestationError
from adyton.attestation.formats.tdx import TdReport, TdReport15
from adyton.attestation.policy import Weakness

ZERO = "00" * 48


def svns(*values: int) -> bytes:
    return bytes(values) + bytes(16 - len(values))


def report(tee_tcb_svn: bytes, now: bytes | None = None, **changes: Any) -> TdReport:  # noqa: ANN401  # fields
    blank = TdReport.parse(bytes(TdReport.LAYOUT.size))
    values = {name: getattr(blank, name) for name in TdReport.__dataclass_fields__ if name != "LAYOUT"}
    values |= {"tee_tcb_svn": tee_tcb_svn, **changes}
    return TdReport(**values) if now is None else TdReport15(**values, tee_tcb_svn2=now, mrservicetd=bytes(48))


def td_level(tdx: bytes, status: str, *advisories: str, sgx: int = 5, pcesvn: int = 10) -> dict[str, Any]:
    document = level(sgx, pcesvn, status, *advisories)
    document["tcb"]["tdxtcbcomponents"] = [{"svn": svn} for svn in tdx]
    return document


def module(version: str, *levels: tuple[int, str], **changes: Any) -> dict[str, Any]:  # noqa: ANN401  # JSON
    return {
        "id": f"TDX_{version}",
        "mrsigner": ZERO,
        "attributes": "00" * 8,
        "attributesMask": "FF" * 8,
        "tcbLevels": [
            {"tcb": {"isvsvn": svn}, "tcbDate": "2024-03-13T00:00:00Z", "tcbStatus": status, "advisoryIDs": [f"M{svn}"]}
            for svn, status in levels
        ],
        **changes,
    }


GENERAL = {"mrsigner": ZERO, "attributes": "00" * 8, "attributesMask": "FF" * 8}
MODULES = (
    module("01", (4, "UpToDate"), (2, "OutOfDate")),
    module("03", (3, "UpToDate")),
    module("0a", (1, "Revoked")),
)


def tdx_document(*levels: dict[str, Any], modules: tuple[dict[str, Any], ...] = MODULES) -> dict[str, Any]:
    tdx = {"id": "TDX", "tdxModule": GENERAL, "tdxModuleIdentities": list(modules)}
    return info_document(*levels) | tdx


def info(*levels: dict[str, Any], modules: tuple[dict[str, Any], ...] = MODULES) -> TcbInfo:
    return parse_tcb_info(json.dumps(tdx_document(*levels, modules=modules)))


LEVELS = (
    td_level(svns(5, 0, 3), "UpToDate"),
    td_level(svns(3, 0, 2), "ConfigurationNeeded", "INTEL-SA-00002"),
    td_level(svns(0), "OutOfDate", "INTEL-SA-00001", sgx=0, pcesvn=0),
)


def verdict(
    td: TdReport, *levels: dict[str, Any], qe: str = "UpToDate", platform: PckExtension = PLATFORM
) -> TcbVerdict:
    identity = parse_qe_identity(json.dumps(qe_document((0, qe)) | {"id": "TD_QE"}))
    return match(info(*(levels or LEVELS)), identity, platform, QE, td)


@pytest.mark.parametrize(
    ("tee_tcb_svn", "status"),
    [
        (svns(5, 0, 3), "UpToDate"),
        (svns(4, 0, 3), "ConfigurationNeeded"),
        (svns(9, 0, 2), "ConfigurationNeeded"),
        (svns(2, 0, 3), "OutOfDate"),
        (svns(4, 1, 3), "UpToDate"),  # [0] is the module's own matter: 4 is enough for TDX_01
        (svns(3, 3, 3), "UpToDate"),
        (svns(2, 1, 3), "OutOfDate"),
        (svns(2, 1, 2), "OutOfDateConfigurationNeeded"),
        (svns(9, 1, 1), "OutOfDate"),
        (svns(9, 10, 3), "Revoked"),
    ],
    ids=lambda value: value.hex()[:6] if isinstance(value, bytes) else value,
)
def test_the_module_is_judged_by_its_own_levels_where_it_has_a_major_version(tee_tcb_svn: bytes, status: str) -> None:
    assert verdict(report(tee_tcb_svn)).status == status


def test_every_component_of_both_technologies_must_reach_a_level() -> None:
    last = bytes(15) + b"\1"
    levels = (td_level(last, "UpToDate"), td_level(svns(0), "OutOfDate", sgx=0, pcesvn=0))
    assert verdict(report(last), *levels).status == "UpToDate"
    assert verdict(report(bytes(16)), *levels).status == "OutOfDate"
    old = replace(PLATFORM, components=(*(5,) * 15, 4))
    assert verdict(report(last), *levels, platform=old).status == "OutOfDate"
    assert verdict(report(last), *levels, platform=replace(PLATFORM, pcesvn=9)).status == "OutOfDate"


def test_causes_and_advisories_of_platform_module_and_quoting_enclave_unite() -> None:
    found = verdict(report(svns(2, 1, 2)), qe="OutOfDate")
    assert found.causes == {Weakness.OUTDATED_TCB, Weakness.INSECURE_CONFIGURATION}
    assert found.advisories == found.open_advisories == ("INTEL-SA-00002", "M2")


def test_advisories_of_a_module_that_is_up_to_date_are_not_open() -> None:
    found = verdict(report(svns(4, 1, 3)))
    assert (found.advisories, found.open_advisories) == (("M4",), ())


def test_hyperthreading_is_asked_about_enclaves_only() -> None:
    assert not verdict(report(svns(5, 0, 3)), platform=replace(PLATFORM, smt=True)).causes


@pytest.mark.parametrize(
    ("tee_tcb_svn", "who", "code"),
    [
        (svns(1, 1, 3), "TDX_01", "attestation.tcb.level"),
        (svns(9, 2, 3), "TDX_02", "attestation.tdx.module"),
    ],
    ids=["module below all its levels", "module of an unknown version"],
)
def test_a_module_without_a_level_is_refused(tee_tcb_svn: bytes, who: str, code: str) -> None:
    with pytest.raises(AttestationError, match=who) as caught:
        verdict(report(tee_tcb_svn))
    assert caught.value.code == code


def test_a_platform_without_a_level_is_refused() -> None:
    with pytest.raises(AttestationError, match="the TD's platform") as caught:
        verdict(report(svns(4)), td_level(svns(5), "UpToDate"))
    assert caught.value.code == "attestation.tcb.level"


@pytest.mark.parametrize(
    ("started", "now", "qe", "status"),
    [
        (svns(5, 0, 3), svns(5, 0, 3), "UpToDate", "UpToDate"),
        (svns(2, 1, 3), svns(4, 1, 3), "UpToDate", "TDRelaunchAdvised"),
        (svns(2, 1, 3), svns(2, 1, 3), "UpToDate", "OutOfDate"),
        (svns(2, 0, 3), svns(3, 0, 2), "UpToDate", "TDRelaunchAdvisedConfigurationNeeded"),
        (svns(2, 1, 2), svns(5, 0, 3), "UpToDate", "TDRelaunchAdvisedConfigurationNeeded"),
        (svns(2, 1, 3), svns(4, 1, 3), "OutOfDate", "OutOfDate"),
    ],
    ids=[
        "never updated",
        "updated",
        "not updated",
        "updated, badly configured",
        "started badly",
        "old quoting enclave",
    ],
)
def test_an_update_under_a_running_td_leaves_its_start_to_be_judged(
    started: bytes, now: bytes, qe: str, status: str
) -> None:
    found = verdict(report(started, now), qe=qe)
    assert found.status == status
    assert (Weakness.OUTDATED_TCB in found.causes) == (status != "UpToDate")
    assert found.causes >= CAUSES[found.status]


# What a TD amounts to that was started under a level of one status (rows) on a platform that is now at a level of
# another (columns), by Intel's rule that a relaunch mends a start under an outdated TCB and nothing else. None: what
# runs now is worse than what the TD was started under, which no update makes; that is refused.
U, S, C, CS, OD, OC, R = (
    "UpToDate",
    "SWHardeningNeeded",
    "ConfigurationNeeded",
    "ConfigurationAndSWHardeningNeeded",
    "OutOfDate",
    "OutOfDateConfigurationNeeded",
    "Revoked",
)
A, AC = "TDRelaunchAdvised", "TDRelaunchAdvisedConfigurationNeeded"
#        U     S     C     CS    OD    OC    R
STARTED = {
    U: (U, None, None, None, None, None, None),
    S: (S, S, None, None, None, None, None),
    C: (C, C, C, None, None, None, None),
    CS: (CS, CS, CS, CS, None, None, None),
    OD: (A, A, AC, AC, OD, None, None),
    OC: (AC, AC, AC, AC, OC, OC, None),
    R: (R, R, R, R, R, R, R),
}
STATUSES = tuple(STARTED)


@pytest.mark.parametrize("now", STATUSES)
@pytest.mark.parametrize("started", STATUSES)
def test_every_pair_of_statuses_of_start_and_now(started: str, now: str) -> None:
    expected = STARTED[started][STATUSES.index(now)]
    levels = (td_level(svns(5, 0, 3), now, "INTEL-SA-00005"), td_level(svns(2, 0, 2), started, "INTEL-SA-00002"))
    td = report(svns(2, 0, 2), svns(5, 0, 3))
    if expected is None:
        with pytest.raises(AttestationError, match="what runs now"):
            verdict(td, *levels)
        return
    found = verdict(td, *levels)
    assert found.status == expected
    assert found.causes == CAUSES.get(TcbStatus(expected), frozenset()).union(
        CAUSES.get(TcbStatus(started), frozenset()), CAUSES.get(TcbStatus(now), frozenset())
    )
    assert found.open_advisories == tuple(
        name for name, status in (("INTEL-SA-00002", started), ("INTEL-SA-00005", now)) if status != U
    )


def test_tolerating_an_old_start_does_not_tolerate_what_is_wrong_now() -> None:
    """The platform was updated and is badly configured: ``outdated-tcb`` excuses only that the TD is from before."""
    found = verdict(report(svns(2, 0, 3), svns(3, 0, 2)))
    assert found.status == AC
    assert found.causes == {Weakness.OUTDATED_TCB, Weakness.INSECURE_CONFIGURATION}
    assert found.open_advisories == ("INTEL-SA-00001", "INTEL-SA-00002")


@pytest.mark.parametrize("now", [svns(3, 0, 2), svns(2, 1, 3), svns(9, 10, 3)], ids=["older", "old", "revoked"])
def test_what_runs_now_must_not_be_worse_than_what_the_td_was_started_under(now: bytes) -> None:
    with pytest.raises(AttestationError, match="what runs now") as caught:
        verdict(report(svns(5, 0, 3), now))
    assert caught.value.code == "attestation.tcb.level"


@pytest.mark.parametrize("now", [svns(1, 1, 3), svns(9, 9, 3)], ids=["no level", "unknown module"])
def test_what_runs_now_must_be_known(now: bytes) -> None:
    with pytest.raises(AttestationError):
        verdict(report(svns(5, 0, 3), now))


SIGNER, OTHER = b"\x5a" * 48, b"\xa5" * 48


@pytest.mark.parametrize(
    ("td", "wrong"),
    [
        (report(svns(4, 1), mrsignerseam=OTHER), "MRSIGNERSEAM"),
        (report(svns(4, 1), mrsignerseam=SIGNER, seam_attributes=3), "SEAMATTRIBUTES"),
        (report(svns(4, 1), mrsignerseam=SIGNER, seam_attributes=0x101), "SEAMATTRIBUTES"),
        (report(svns(4, 0), mrsignerseam=SIGNER, seam_attributes=1), "MRSIGNERSEAM"),
    ],
    ids=["signer", "attribute under the mask", "attribute outside the mask", "signer of another version"],
)
def test_a_module_of_another_signer_or_with_other_attributes_is_refused(td: TdReport, wrong: str) -> None:
    attributes = {"mrsigner": SIGNER.hex(), "attributes": "0100000000000000", "attributesMask": "FF00000000000000"}
    published = info(*LEVELS, modules=(module("01", (4, "UpToDate"), **attributes),))
    assert "version 1, SVN 4" in check_module(published, report(svns(4, 1), mrsignerseam=SIGNER, seam_attributes=1))
    with pytest.raises(AttestationError, match=wrong) as caught:
        check_module(published, td)
    assert caught.value.code == "attestation.tdx.module"


@pytest.mark.parametrize(
    "change",
    [
        {"tdxModule": None},
        {"tdxModuleIdentities": [MODULES[0], {**MODULES[0], "id": "tdx_01"}]},
        {"tdxModuleIdentities": [module("01", (4, "UpToDate"), (4, "OutOfDate"))]},
        {"tdxModuleIdentities": [module("01", (4, "SWHardeningNeeded"))]},
        {"tdxModuleIdentities": [module("01")]},
        {"tdxModuleIdentities": [module("01", (4, "UpToDate"), mrsigner="00" * 32)]},
        {"tcbLevels": [level(5, 10, "UpToDate")]},
        {"tcbLevels": [td_level(svns(5), "UpToDate"), td_level(svns(5), "OutOfDate")]},
        {"tcbLevels": [td_level(svns(5), "TDRelaunchAdvised")]},
        {"id": "SGX"},
        {"id": "SNP"},
    ],
    ids=[
        "no module",
        "two modules of one version",
        "two levels of one SVN",
        "no status of a module",
        "a module without levels",
        "short signer",
        "no TDX components",
        "two levels of the same SVNs",
        "no status of a level",
        "of SGX with a module",
        "of another technology",
    ],
)
def test_malformed_tcb_info_of_tdx_is_refused(change: dict[str, Any]) -> None:
    with pytest.raises(AttestationError) as caught:
        parse_tcb_info(json.dumps(tdx_document(*LEVELS) | change))
    assert caught.value.code == "attestation.collateral.format"
