# ruff: noqa: ANN401  # JSON is any
from __future__ import annotations

import json
from dataclasses import replace
from typing import Any

import pytest

from adyton.attestation.dcap.levels import TcbVerdict, match
from adyton.attestation.dcap.pck import PckExtension
from adyton.attestation.dcap.tcb import (
    CAUSES,
    MAX_LEVELS,
    QeIdentity,
    TcbInfo,
    TcbStatus,
    check_platform,
    check_qe,
    parse_qe_identity,
    parse_tcb_info,
)
from adyton.attestation.errors import AttestationError
from adyton.attestation.formats.sgx import Attributes, ReportBody
from adyton.attestation.policy import Weakness
from adyton.attestation.verdict import EvidenceKind

PLATFORM = PckExtension(
    ppid=bytes(16),
    components=(5,) * 16,
    pcesvn=10,
    cpusvn=bytes((5,) * 16),
    pceid=b"\0\0",
    fmspc=bytes.fromhex("00a067110000"),
)
QE = ReportBody(bytes(16), Attributes(0x15), bytes(32), b"\x0e" * 32, 1, 8, bytes(64))


def level(svn: int, pcesvn: int, status: str, *advisories: str) -> dict[str, Any]:
    tcb = {"sgxtcbcomponents": [{"svn": svn, "category": "BIOS"}] * 16, "pcesvn": pcesvn}
    return {"tcb": tcb, "tcbDate": "2024-03-13T00:00:00Z", "tcbStatus": status, "advisoryIDs": list(advisories)}


def info_document(*levels: dict[str, Any]) -> dict[str, Any]:
    return {
        "id": "SGX",
        "version": 3,
        "issueDate": "2025-06-19T10:56:11Z",
        "nextUpdate": "2025-07-19T10:56:11Z",
        "fmspc": "00A067110000",
        "pceId": "0000",
        "tcbType": 0,
        "tcbEvaluationDataNumber": 17,
        "tcbLevels": list(levels),
    }


def qe_document(*levels: tuple[int, str]) -> dict[str, Any]:
    return {
        "id": "QE",
        "version": 2,
        "issueDate": "2025-06-19T10:56:11Z",
        "nextUpdate": "2025-07-19T10:56:11Z",
        "tcbEvaluationDataNumber": 17,
        "miscselect": "00000000",
        "miscselectMask": "FFFFFFFF",
        "attributes": "11000000000000000000000000000000",
        "attributesMask": "FBFFFFFFFFFFFFFF0000000000000000",
        "mrsigner": "0E" * 32,
        "isvprodid": 1,
        "tcbLevels": [
            {"tcb": {"isvsvn": svn}, "tcbDate": "2024-03-13T00:00:00Z", "tcbStatus": status} for svn, status in levels
        ],
    }


def info(*levels: dict[str, Any]) -> TcbInfo:
    return parse_tcb_info(json.dumps(info_document(*levels)))


def identity(*levels: tuple[int, str], **changes: Any) -> QeIdentity:
    return parse_qe_identity(json.dumps(qe_document(*levels) | changes))


GOOD_QE = identity((8, "UpToDate"), (0, "OutOfDate"))


def verdict(*levels: dict[str, Any], qe: QeIdentity = GOOD_QE, platform: PckExtension = PLATFORM) -> TcbVerdict:
    return match(info(*levels), qe, platform, QE)


def test_the_highest_level_that_is_reached_counts_whatever_the_order() -> None:
    levels = [level(0, 0, "OutOfDate"), level(5, 10, "UpToDate"), level(6, 0, "Revoked"), level(5, 9, "OutOfDate")]
    assert verdict(*levels).status is TcbStatus.UP_TO_DATE
    assert verdict(*reversed(levels)).status is TcbStatus.UP_TO_DATE


@pytest.mark.parametrize(
    ("platform", "status"),
    [
        (PLATFORM, TcbStatus.UP_TO_DATE),
        (replace(PLATFORM, pcesvn=9), TcbStatus.OUT_OF_DATE),
        (replace(PLATFORM, components=(*(5,) * 15, 4)), TcbStatus.OUT_OF_DATE),
        (replace(PLATFORM, components=(4, *(255,) * 15)), TcbStatus.OUT_OF_DATE),
    ],
    ids=["reached", "PCE too old", "last component too old", "first component too old"],
)
def test_every_component_and_the_pce_must_reach_a_level(platform: PckExtension, status: TcbStatus) -> None:
    assert verdict(level(5, 10, "UpToDate"), level(0, 0, "OutOfDate"), platform=platform).status is status


def test_no_level_is_refused() -> None:
    with pytest.raises(AttestationError, match="the platform") as caught:
        verdict(level(6, 0, "UpToDate"))
    assert caught.value.code == "attestation.tcb.level"
    with pytest.raises(AttestationError, match="the quoting enclave"):
        verdict(level(0, 0, "UpToDate"), qe=identity((9, "UpToDate")))


@pytest.mark.parametrize(
    ("platform", "qe", "status", "causes"),
    [
        ("UpToDate", "UpToDate", "UpToDate", set()),
        ("SWHardeningNeeded", "UpToDate", "SWHardeningNeeded", {"software-hardening-needed"}),
        ("ConfigurationNeeded", "UpToDate", "ConfigurationNeeded", {"insecure-configuration"}),
        (
            "ConfigurationAndSWHardeningNeeded",
            "UpToDate",
            "ConfigurationAndSWHardeningNeeded",
            {"insecure-configuration", "software-hardening-needed"},
        ),
        ("UpToDate", "OutOfDate", "OutOfDate", {"outdated-tcb"}),
        ("SWHardeningNeeded", "OutOfDate", "OutOfDate", {"outdated-tcb", "software-hardening-needed"}),
        (
            "OutOfDateConfigurationNeeded",
            "UpToDate",
            "OutOfDateConfigurationNeeded",
            {"outdated-tcb", "insecure-configuration"},
        ),
        (
            "ConfigurationNeeded",
            "OutOfDate",
            "OutOfDateConfigurationNeeded",
            {"outdated-tcb", "insecure-configuration"},
        ),
        (
            "ConfigurationAndSWHardeningNeeded",
            "OutOfDate",
            "OutOfDateConfigurationNeeded",
            {"outdated-tcb", "insecure-configuration", "software-hardening-needed"},
        ),
        ("UpToDate", "Revoked", "Revoked", set()),
        ("Revoked", "UpToDate", "Revoked", set()),
    ],
)
def test_the_worse_status_wins_and_causes_unite(platform: str, qe: str, status: str, causes: set[str]) -> None:
    result = verdict(level(5, 10, platform), qe=identity((8, qe)))
    assert result.status == status
    assert result.causes == causes


# What Intel's Quote Verification Library makes of a platform's status and its quoting enclave's.
JOINED = {
    # platform: with an enclave that is UpToDate, OutOfDate, Revoked
    "UpToDate": ("UpToDate", "OutOfDate", "Revoked"),
    "SWHardeningNeeded": ("SWHardeningNeeded", "OutOfDate", "Revoked"),
    "ConfigurationNeeded": ("ConfigurationNeeded", "OutOfDateConfigurationNeeded", "Revoked"),
    "ConfigurationAndSWHardeningNeeded": (
        "ConfigurationAndSWHardeningNeeded",
        "OutOfDateConfigurationNeeded",
        "Revoked",
    ),
    "OutOfDate": ("OutOfDate", "OutOfDate", "Revoked"),
    "OutOfDateConfigurationNeeded": ("OutOfDateConfigurationNeeded", "OutOfDateConfigurationNeeded", "Revoked"),
    "Revoked": ("Revoked", "Revoked", "Revoked"),
}


@pytest.mark.parametrize("position", range(3), ids=["QE UpToDate", "QE OutOfDate", "QE Revoked"])
@pytest.mark.parametrize("platform", JOINED)
def test_every_pair_of_platform_and_quoting_enclave(platform: str, position: int) -> None:
    qe = ("UpToDate", "OutOfDate", "Revoked")[position]
    result = verdict(level(5, 10, platform), qe=identity((8, qe)))
    assert result.status == JOINED[platform][position]
    excused = [CAUSES.get(TcbStatus(status), frozenset()) for status in (platform, qe, result.status)]
    assert result.causes == excused[0] | excused[1] | excused[2]


def test_every_status_but_revoked_has_its_causes() -> None:
    assert set(TcbStatus) - set(CAUSES) == {TcbStatus.REVOKED}


def test_hyperthreading_of_the_certificate_is_a_cause() -> None:
    assert verdict(level(5, 10, "UpToDate"), platform=replace(PLATFORM, smt=True)).causes == {Weakness.HYPERTHREADING}
    assert not verdict(level(5, 10, "UpToDate"), platform=replace(PLATFORM, smt=False)).causes


def test_only_advisories_of_levels_that_are_not_up_to_date_are_open() -> None:
    fine = verdict(level(5, 10, "UpToDate", "INTEL-SA-00001"))
    assert (fine.advisories, fine.open_advisories) == (("INTEL-SA-00001",), ())
    weak = verdict(level(5, 10, "SWHardeningNeeded", "INTEL-SA-00002", "INTEL-SA-00001"))
    assert weak.open_advisories == ("INTEL-SA-00001", "INTEL-SA-00002")


@pytest.mark.parametrize(
    "change",
    [
        {"id": "TDX"},
        {"version": 2},
        {"version": "3"},
        {"issueDate": "2025-06-19"},
        {"issueDate": 1750000000},
        {"nextUpdate": "2025-06-18T10:56:11Z"},
        {"fmspc": "00A06711"},
        {"fmspc": "zz" * 6},
        {"tcbType": 1},
        {"tcbEvaluationDataNumber": -1},
        {"tcbLevels": []},
        {"tcbLevels": [level(256, 0, "UpToDate")]},
        {"tcbLevels": [level(0, 0, "Fine")]},
        {"tcbLevels": [{**level(0, 0, "UpToDate"), "tcb": {"sgxtcbcomponents": [{"svn": 0}] * 15, "pcesvn": 0}}]},
    ],
    ids=lambda change: "{}={:.40}".format(*(str(part) for part in next(iter(change.items())))),
)
def test_malformed_tcb_info_is_refused(change: dict[str, Any]) -> None:
    with pytest.raises(AttestationError) as caught:
        parse_tcb_info(json.dumps(info_document(level(0, 0, "UpToDate")) | change))
    assert caught.value.code == "attestation.collateral.format"


@pytest.mark.parametrize("missing", sorted(info_document()))
def test_every_member_of_tcb_info_is_required(missing: str) -> None:
    document = info_document(level(0, 0, "UpToDate"))
    del document[missing]
    with pytest.raises(AttestationError):
        parse_tcb_info(json.dumps(document))


@pytest.mark.parametrize("missing", sorted(qe_document()))
def test_every_member_of_a_qe_identity_is_required(missing: str) -> None:
    document = qe_document((8, "UpToDate"))
    del document[missing]
    with pytest.raises(AttestationError):
        parse_qe_identity(json.dumps(document))


@pytest.mark.parametrize("status", ["SWHardeningNeeded", "ConfigurationNeeded", "OutOfDateConfigurationNeeded"])
def test_a_quoting_enclave_has_no_such_status(status: str) -> None:
    with pytest.raises(AttestationError) as caught:
        identity((8, status))
    assert caught.value.code == "attestation.collateral.format"


@pytest.mark.parametrize("text", ["", "[]", "null", "{", "NaN"])
def test_other_json_is_refused(text: str) -> None:
    with pytest.raises(AttestationError):
        parse_tcb_info(text)


def test_tcb_info_of_another_platform_is_refused() -> None:
    document = info(level(0, 0, "UpToDate"))
    check_platform(document, EvidenceKind.SGX, PLATFORM)
    for other in (replace(PLATFORM, fmspc=bytes(6)), replace(PLATFORM, pceid=b"\0\1")):
        with pytest.raises(AttestationError) as caught:
            check_platform(document, EvidenceKind.SGX, other)
        assert caught.value.code == "attestation.tcb.platform"


@pytest.mark.parametrize(
    ("report", "named"),
    [
        (replace(QE, mrsigner=bytes(32)), "MRSIGNER"),
        (replace(QE, isvprodid=2), "ISVPRODID"),
        (replace(QE, miscselect=1), "MISCSELECT"),
        (replace(QE, attributes=Attributes(0x14)), "ATTRIBUTES"),
        (replace(QE, attributes=Attributes(0x17)), "ATTRIBUTES, DEBUG"),
    ],
)
def test_another_quoting_enclave_is_refused(report: ReportBody, named: str) -> None:
    check_qe(GOOD_QE, EvidenceKind.SGX, QE)
    with pytest.raises(AttestationError, match=named) as caught:
        check_qe(GOOD_QE, EvidenceKind.SGX, report)
    assert caught.value.code == "attestation.qe.identity"


def test_a_debug_quoting_enclave_is_refused_even_where_the_mask_ignores_it() -> None:
    loose = identity((8, "UpToDate"), attributesMask="00" * 16)
    with pytest.raises(AttestationError, match="DEBUG"):
        check_qe(loose, EvidenceKind.SGX, replace(QE, attributes=Attributes(0x17)))


@pytest.mark.parametrize(
    "text",
    [
        json.dumps(info_document(level(0, 0, "UpToDate"))).replace('"version": 3', '"version": 3, "version": 3'),
        json.dumps(info_document(level(0, 0, "UpToDate"))).replace('"pcesvn": 0', '"pcesvn": 0, "pcesvn": 9'),
        json.dumps(info_document(level(0, 0, "UpToDate"))).replace('"version"', '"other": {"a": 1, "a": 2}, "version"'),
    ],
    ids=["outermost", "in a level", "in a member that is passed over"],
)
def test_a_name_that_occurs_twice_is_refused(text: str) -> None:
    with pytest.raises(AttestationError, match="twice") as caught:
        parse_tcb_info(text)
    assert caught.value.code == "attestation.collateral.format"


def with_member(member: str) -> str:
    return json.dumps(info_document(level(0, 0, "UpToDate"))).replace('"version"', member + ', "version"')


@pytest.mark.parametrize(
    "member",
    ['"x": NaN', '"x": ' + "[" * 5000 + "]" * 5000, '"x": ' + "9" * 5000, '"x": "\\ud800"'],
    ids=["no number", "deep nesting", "huge number", "half a character"],
)
def test_hostile_json_even_in_a_member_that_is_passed_over_is_refused(member: str) -> None:
    with pytest.raises(AttestationError) as caught:
        parse_tcb_info(with_member(member))
    assert caught.value.code == "attestation.collateral.format"


def test_other_members_are_passed_over() -> None:
    assert parse_tcb_info(with_member('"x": {"y": [1, 2.5, null, "é"]}')).fmspc == PLATFORM.fmspc


@pytest.mark.parametrize(
    "change",
    [
        {"tcbEvaluationDataNumber": 1 << 64},
        {"tcbEvaluationDataNumber": 17.0},
        {"issueDate": "2025-06-19T10:56:11+02:00"},
        {"issueDate": "2025-6-19T10:56:11Z"},
        {"issueDate": "2025-06-19T10:56:60Z"},
        {"issueDate": "\uff12\uff10\uff12\uff15-06-19T10:56:11Z"},
        {"fmspc": "00 A0 67 11 0"},
        {"fmspc": "00A067  1100"},
        {"tcbLevels": [level(0, 0, "UpToDate"), level(0, 0, "OutOfDate")]},
    ],
    ids=[
        "huge",
        "no integer",
        "time zone",
        "one digit",
        "no such second",
        "other digits",
        "spaces",
        "gap",
        "two levels",
    ],
)
def test_values_that_readers_may_take_differently_are_refused(change: dict[str, Any]) -> None:
    with pytest.raises(AttestationError) as caught:
        parse_tcb_info(json.dumps(info_document(level(0, 0, "UpToDate")) | change))
    assert caught.value.code == "attestation.collateral.format"


def test_documents_are_about_one_technology() -> None:
    assert info(level(0, 0, "UpToDate")).kind is EvidenceKind.SGX
    with pytest.raises(AttestationError, match="TDX") as caught:
        check_platform(info(level(0, 0, "UpToDate")), EvidenceKind.TDX, PLATFORM)
    assert caught.value.code == "attestation.tcb.platform"
    with pytest.raises(AttestationError, match="kind") as caught:
        check_qe(GOOD_QE, EvidenceKind.TDX, QE)
    assert caught.value.code == "attestation.qe.identity"


def test_documents_have_a_bounded_number_of_levels() -> None:
    levels = [level(number % 256, number // 256, "UpToDate") for number in range(MAX_LEVELS + 1)]
    assert len(info(*levels[:-1]).tcb_levels) == MAX_LEVELS
    with pytest.raises(AttestationError, match="tcbLevels") as caught:
        info(*levels)
    assert caught.value.code == "attestation.collateral.format"
    with pytest.raises(AttestationError, match="tcbLevels"):
        identity(*((number, "UpToDate") for number in range(MAX_LEVELS, -1, -1)))
