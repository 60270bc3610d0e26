from __future__ import annotations

import json
from dataclasses import fields
from pathlib import Path

import pytest
from hypothesis import given
from tests.attestation.structures import values
from tests.platform.world import World

from adyton.attestation.errors import FormatError
from adyton.attestation.formats.quote import parse_quote
from adyton.attestation.formats.tdx import (
    RESERVED_MASK,
    UNTRUSTED_MASK,
    XFAM_FIXED1,
    TdFlag,
    TdReport,
    TdReport15,
    Xfam,
)
from adyton.attestation.verdict import EvidenceKind

# Offset and size of every field, from the structures of Intel's quote library, apart from the package's own.
OFFSETS = {
    "tee_tcb_svn": (0, 16),
    "mrseam": (16, 48),
    "mrsignerseam": (64, 48),
    "seam_attributes": (112, 8),
    "td_attributes": (120, 8),
    "xfam": (128, 8),
    "mrtd": (136, 48),
    "mrconfigid": (184, 48),
    "mrowner": (232, 48),
    "mrownerconfig": (280, 48),
    "rtmr0": (328, 48),
    "rtmr1": (376, 48),
    "rtmr2": (424, 48),
    "rtmr3": (472, 48),
    "report_data": (520, 64),
}
OFFSETS_15 = OFFSETS | {"tee_tcb_svn2": (584, 16), "mrservicetd": (600, 48)}


@pytest.mark.parametrize(
    ("structure", "offsets"), [(TdReport, OFFSETS), (TdReport15, OFFSETS_15)], ids=["TD 1.0", "TD 1.5"]
)
def test_every_field_is_where_the_specification_has_it(
    structure: type[TdReport], offsets: dict[str, tuple[int, int]]
) -> None:
    @given(values(structure))
    def check(report: TdReport) -> None:
        data = report.to_bytes()
        for name, (offset, size) in offsets.items():
            field = getattr(report, name)
            expected = field if isinstance(field, bytes) else field.to_bytes(size, "little")
            assert data[offset : offset + size] == expected, name

    check()
    assert [*offsets] == [field.name for field in fields(structure)]
    assert sum(size for _, size in offsets.values()) == structure.LAYOUT.size


@given(values(TdReport15))
def test_a_report_of_1_5_begins_with_one_of_1_0(report: TdReport15) -> None:
    first = TdReport.parse(report.to_bytes()[:584])
    assert all(getattr(first, name) == getattr(report, name) for name in OFFSETS)
    assert first != report
    with pytest.raises(FormatError):
        TdReport.parse(report.to_bytes())
    with pytest.raises(FormatError):
        TdReport15.parse(first.to_bytes())


@pytest.mark.parametrize(
    ("flag", "bit"),
    [
        (TdFlag.DEBUG, 0),
        (TdFlag.HGS_PLUS_PROF, 4),
        (TdFlag.PERF_PROF, 5),
        (TdFlag.PMT_PROF, 6),
        (TdFlag.ICSSD, 16),
        (TdFlag.SERVTD_EXT, 17),
        (TdFlag.LASS, 27),
        (TdFlag.SEPT_VE_DISABLE, 28),
        (TdFlag.MIGRATABLE, 29),
        (TdFlag.PKS, 30),
        (TdFlag.KL, 31),
        (TdFlag.TPA, 62),
        (TdFlag.PERFMON, 63),
    ],
    ids=lambda v: getattr(v, "name", v),
)
def test_td_attributes_are_the_bits_of_the_specification(world: World, flag: TdFlag, bit: int) -> None:
    report = parse_quote(world.td_quote(bytes(64), td_attributes=1 << bit)).td
    assert report.to_bytes()[120 + bit // 8] == 1 << bit % 8
    assert report.flags == flag
    assert report.debug is (bit == 0)
    assert bool(UNTRUSTED_MASK & flag) is (bit < 16)
    assert not RESERVED_MASK & flag


def test_every_bit_has_a_name_or_is_reserved_or_may_be_ignored() -> None:
    named = 0
    for flag in TdFlag:
        named |= flag
    ignored = sum(1 << bit for bit in range(18, 23))
    assert named | RESERVED_MASK | ignored == (1 << 64) - 1
    assert named & RESERVED_MASK == named & ignored == RESERVED_MASK & ignored == 0


def test_features_are_the_bits_of_xcr0_and_xss() -> None:
    assert XFAM_FIXED1 == 0x3
    assert Xfam.X87 | Xfam.SSE | Xfam.AVX | Xfam.PKRU == 0x207
    assert (Xfam.AMX_TILECFG | Xfam.AMX_TILEDATA, Xfam.CET_USER | Xfam.CET_SUPERVISOR) == (0x60000, 0x1800)


@given(values(TdReport))
def test_the_registers_come_in_order(report: TdReport) -> None:
    assert report.rtmrs == (report.rtmr0, report.rtmr1, report.rtmr2, report.rtmr3)


def test_the_real_report(evidence: Path) -> None:
    report = parse_quote((evidence / "tdx_quote").read_bytes()).td
    assert type(report) is TdReport
    assert report.tee_tcb_svn.hex() == "06010300000000000000000000000000"
    assert (report.flags, report.debug) == (TdFlag.SEPT_VE_DISABLE, False)
    assert Xfam(report.xfam) & XFAM_FIXED1 == XFAM_FIXED1
    assert (report.mrsignerseam, report.seam_attributes, report.mrconfigid) == (bytes(48), 0, bytes(48))
    assert report.mrtd.hex().startswith("91eb2b44d141d4ece09f")
    assert all(any(register) for register in report.rtmrs[:3])


def test_the_simulated_documents_have_the_shape_of_the_real_ones(evidence: Path, world: World) -> None:
    def shape(value: object) -> object:
        """Types and members; of a list, those of its first entry."""
        if isinstance(value, dict):
            return {key: shape(item) for key, item in value.items() if key not in {"category", "type"}}
        return [shape(value[0])] if isinstance(value, list) else type(value)

    real = json.loads((evidence / "tdx_quote_collateral.json").read_text())
    made = world.collateral(EvidenceKind.TDX)
    assert shape(json.loads(made.tcb_info)) == shape(json.loads(real["tcb_info"]))
    assert shape(json.loads(made.qe_identity)) == shape(json.loads(real["qe_identity"]))
