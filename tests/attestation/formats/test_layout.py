from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from tests.attestation.structures import SIZES, covered, encodings, values

from adyton.attestation.errors import FormatError
from adyton.attestation.formats.layout import Structure
from adyton.attestation.formats.sgx import Attributes, KeyRequest, ReportBody, TargetInfo
from adyton.attestation.formats.tdx import TdReport, TdReport15
from adyton.base.errors import InputError

EACH = pytest.mark.parametrize("structure", SIZES, ids=lambda s: s.__name__)


@EACH
def test_every_accepted_byte_string_is_written_back_unchanged(structure: type[Structure]) -> None:
    @given(encodings(structure))
    def check(data: bytes) -> None:
        assert structure.parse(data).to_bytes() == data

    check()


@EACH
def test_every_value_is_read_back(structure: type[Structure]) -> None:
    @given(values(structure))
    def check(value: Structure) -> None:
        assert structure.parse(value.to_bytes()) == value

    check()


@EACH
def test_every_shorter_and_longer_string_is_refused_at_its_start(structure: type[Structure]) -> None:
    for size in (*range(SIZES[structure]), SIZES[structure] + 1, 2 * SIZES[structure]):
        with pytest.raises(FormatError, match="bytes, not") as caught:
            structure.parse(bytes(size), base=500)
        assert caught.value.offset == 500


@EACH
def test_every_reserved_byte_that_is_set_is_refused_with_its_offset(structure: type[Structure]) -> None:
    for offset in set(range(SIZES[structure])) - set(covered(structure)):
        data = bytearray(SIZES[structure])
        data[offset] = 0x80
        with pytest.raises(FormatError, match="reserved") as caught:
            structure.parse(bytes(data), base=1000)
        assert caught.value.offset == 1000 + offset


@pytest.mark.parametrize(
    ("structure", "reserved"),
    [
        (Attributes, 0),
        (ReportBody, 11 + 32 + 32 + 42),
        (TargetInfo, 1 + 8 + 384),
        (KeyRequest, 2 + 434),
        (TdReport, 0),
        (TdReport15, 0),
    ],
    ids=lambda v: v if isinstance(v, int) else v.__name__,
)
def test_there_are_as_many_reserved_bytes_as_the_specification_has(structure: type[Structure], reserved: int) -> None:
    assert SIZES[structure] - len(covered(structure)) == reserved


@pytest.mark.parametrize(
    "change",
    [{"cpusvn": bytes(15)}, {"keyid": bytes(33)}, {"isvsvn": 1 << 16}, {"keyname": -1}],
    ids=["short bytes", "long bytes", "number too large", "negative number"],
)
def test_a_value_that_does_not_fit_is_refused(change: dict[str, Any]) -> None:
    with pytest.raises(InputError):
        KeyRequest(**({"keyname": 4} | change)).to_bytes()
