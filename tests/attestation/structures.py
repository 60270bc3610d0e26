"""Every fixed-size structure of the attestation room, and hypothesis strategies for any value of each."""

from __future__ import annotations

from functools import cache
from typing import TypeVar

from hypothesis import strategies as st

from adyton.attestation.errors import FormatError
from adyton.attestation.formats.layout import Structure
from adyton.attestation.formats.quote import Body, BodyType, Quote, QuoteHeader, TeeType
from adyton.attestation.formats.sgx import Attributes, KeyRequest, Report, ReportBody, TargetInfo
from adyton.attestation.formats.tdx import TdReport, TdReport15

S = TypeVar("S", bound=Structure)

# Sizes of the specifications, apart from the tables of the package.
SIZES: dict[type[Structure], int] = {
    Attributes: 16,
    ReportBody: 384,
    Report: 432,
    TargetInfo: 512,
    KeyRequest: 512,
    QuoteHeader: 48,
    TdReport: 584,
    TdReport15: 648,
}
# What each version of a quote may hold.
CONTENTS: tuple[tuple[int, type[Body]], ...] = (
    (3, ReportBody),
    (4, ReportBody),
    (4, TdReport),
    (5, ReportBody),
    (5, TdReport),
    (5, TdReport15),
)


@cache
def covered(structure: type[Structure]) -> tuple[int, ...]:
    """Offsets that belong to a field: a set bit there is accepted."""
    found = []
    for offset in range(SIZES[structure]):
        data = bytearray(SIZES[structure])
        data[offset] = 1
        try:
            structure.parse(bytes(data))
        except FormatError:
            continue
        found.append(offset)
    return tuple(found)


def encodings(structure: type[Structure]) -> st.SearchStrategy[bytes]:
    """The bytes of any value of a structure: every field arbitrary, every reserved byte zero."""
    offsets = covered(structure)

    def place(content: bytes) -> bytes:
        data = bytearray(SIZES[structure])
        for offset, byte in zip(offsets, content, strict=True):
            data[offset] = byte
        return bytes(data)

    return st.binary(min_size=len(offsets), max_size=len(offsets)).map(place)


def values(structure: type[S]) -> st.SearchStrategy[S]:
    """Any value of a structure."""
    return encodings(structure).map(structure.parse)


@st.composite
def quotes(draw: st.DrawFn, version: int, body: type[Body]) -> Quote:
    """Any well-formed quote of one version with one kind of body; nothing in it is signed."""
    header = QuoteHeader(
        version=version,
        tee_type=TeeType.SGX if body is ReportBody else TeeType.TDX,
        qe_svn=draw(st.integers(0, 0xFFFF)) if version == 3 else 0,
        pce_svn=draw(st.integers(0, 0xFFFF)) if version == 3 else 0,
        user_data=draw(st.binary(min_size=20, max_size=20)),
    )
    return Quote(
        header=header,
        body=draw(values(body)),
        signature=draw(st.binary(min_size=64, max_size=64)),
        attestation_key=draw(st.binary(min_size=64, max_size=64)),
        qe_report=draw(values(ReportBody)),
        qe_report_signature=draw(st.binary(min_size=64, max_size=64)),
        auth=draw(st.binary(max_size=64)),
        certification_type=draw(st.integers(0, 0xFFFF)),
        certification=draw(st.binary(max_size=200)),
        padding=0 if version == 3 else draw(st.integers(0, 100)),
    )


def body_number(body: type[Body]) -> int:
    """The body type of version 5, from the specification."""
    return {ReportBody: BodyType.SGX, TdReport: BodyType.TD10, TdReport15: BodyType.TD15}[body]
