from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from adyton.attestation.errors import FormatError
from adyton.attestation.layout import Structure
from adyton.attestation.quote import QuoteHeader
from adyton.attestation.sgx import Attributes, KeyRequest, Report, ReportBody, TargetInfo
from adyton.base.errors import InputError

STRUCTURES: dict[type[Structure], int] = {
    Attributes: 16,
    ReportBody: 384,
    Report: 432,
    TargetInfo: 512,
    KeyRequest: 512,
    QuoteHeader: 48,
}
# Offsets of the SDM, apart from the tables of the package.
OFFSETS = {"attributes": 48, "mrenclave": 64, "mrsigner": 128, "configid": 192, "isvprodid": 256, "isvsvn": 258}


def covered(structure: type[Structure]) -> list[int]:
    """Offsets that belong to a field: a set bit there is accepted."""
    found = []
    for offset in range(structure.LAYOUT.size):
        data = bytearray(structure.LAYOUT.size)
        data[offset] = 1
        try:
            structure.parse(bytes(data))
        except FormatError:
            continue
        found.append(offset)
    return found


@pytest.mark.parametrize("structure", STRUCTURES, ids=lambda s: s.__name__)
def test_every_accepted_byte_string_is_written_back_unchanged(structure: type[Structure]) -> None:
    offsets = covered(structure)

    @given(st.binary(min_size=len(offsets), max_size=len(offsets)))
    def check(content: bytes) -> None:
        data = bytearray(STRUCTURES[structure])
        for offset, byte in zip(offsets, content, strict=True):
            data[offset] = byte
        assert structure.parse(bytes(data)).to_bytes() == bytes(data)

    check()


@pytest.mark.parametrize("structure", STRUCTURES, ids=lambda s: s.__name__)
@pytest.mark.parametrize("change", [-1, 1])
def test_another_size_is_refused(structure: type[Structure], change: int) -> None:
    with pytest.raises(FormatError, match="bytes, not"):
        structure.parse(bytes(STRUCTURES[structure] + change))


@pytest.mark.parametrize(
    ("structure", "offset"),
    [(ReportBody, 21), (ReportBody, 96), (ReportBody, 303), (TargetInfo, 49), (TargetInfo, 511), (KeyRequest, 511)],
    ids=lambda v: v if isinstance(v, int) else v.__name__,
)
def test_a_reserved_byte_that_is_set_is_refused_with_its_offset(structure: type[Structure], offset: int) -> None:
    data = bytearray(structure.LAYOUT.size)
    data[offset] = 0x80
    with pytest.raises(FormatError, match="reserved") as caught:
        structure.parse(bytes(data), base=1000)
    assert caught.value.offset == 1000 + offset


def test_report_fields_are_where_the_sdm_has_them() -> None:
    data = bytearray(384)
    for number, offset in enumerate(OFFSETS.values(), 1):
        data[offset] = number
    body = ReportBody.parse(bytes(data))
    assert body.attributes.flags == 1
    assert (body.mrenclave[0], body.mrsigner[0], body.configid[0]) == (2, 3, 4)
    assert (body.isvprodid, body.isvsvn) == (5, 6)


@pytest.mark.parametrize(
    "change",
    [{"cpusvn": bytes(15)}, {"keyid": bytes(33)}, {"isvsvn": 1 << 16}, {"keyname": -1}],
    ids=["short bytes", "long bytes", "number too large", "negative number"],
)
def test_a_value_that_does_not_fit_is_refused(change: dict[str, Any]) -> None:
    with pytest.raises(InputError):
        KeyRequest(**({"keyname": 4} | change)).to_bytes()
