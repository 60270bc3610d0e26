from __future__ import annotations

import struct

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.attestation.snp_vendor import VERSIONS, Machine

from adyton.attestation.errors import AttestationError, FormatError
from adyton.attestation.snp.report import (
    PLATFORM_RESERVED,
    POLICY_RESERVED,
    Generation,
    GuestPolicy,
    PlatformInfo,
    SnpReport3,
    TcbVersion,
    parse_report,
)

# Offset and size of every field, from AMD's specification as public verifiers have it, apart from the package's own.
OFFSETS = {
    "version": (0x00, 4),
    "guest_svn": (0x04, 4),
    "policy": (0x08, 8),
    "family_id": (0x10, 16),
    "image_id": (0x20, 16),
    "vmpl": (0x30, 4),
    "signature_algorithm": (0x34, 4),
    "current_tcb": (0x38, 8),
    "platform_info": (0x40, 8),
    "key_info": (0x48, 4),
    "report_data": (0x50, 64),
    "measurement": (0x90, 48),
    "host_data": (0xC0, 32),
    "id_key_digest": (0xE0, 48),
    "author_key_digest": (0x110, 48),
    "report_id": (0x140, 32),
    "report_id_ma": (0x160, 32),
    "reported_tcb": (0x180, 8),
    "chip_id": (0x1A0, 64),
    "committed_tcb": (0x1E0, 8),
    "current_build": (0x1E8, 1),
    "current_minor": (0x1E9, 1),
    "current_major": (0x1EA, 1),
    "committed_build": (0x1EC, 1),
    "committed_minor": (0x1ED, 1),
    "committed_major": (0x1EE, 1),
    "launch_tcb": (0x1F0, 8),
    "signature_r": (0x2A0, 48),
    "signature_s": (0x2E8, 48),
}
OFFSETS_3 = OFFSETS | {"cpuid_family": (0x188, 1), "cpuid_model": (0x189, 1), "cpuid_stepping": (0x18A, 1)}
OFFSETS_5 = OFFSETS_3 | {"launch_mit_vector": (0x1F8, 8), "current_mit_vector": (0x200, 8)}
BY_VERSION = {2: OFFSETS, 3: OFFSETS_3, 5: OFFSETS_5}
FIXED = {"version", "signature_algorithm", "key_info"}  # not every value of them is a report

every_version = pytest.mark.parametrize("version", sorted(BY_VERSION))


def blank(version: int) -> bytearray:
    data = bytearray(0x4A0)
    struct.pack_into("<I", data, 0, version)
    struct.pack_into("<I", data, 0x34, 1)
    struct.pack_into("<I", data, 0x48, 1)  # with an author key
    return data


def covered(version: int) -> list[int]:
    """Offsets of bytes that may hold anything."""
    fields = [place for name, place in BY_VERSION[version].items() if name not in FIXED]
    return [offset for start, size in fields for offset in range(start, start + size)]


@st.composite
def reports(draw: st.DrawFn, version: int) -> bytes:
    data = blank(version)
    for offset, byte in zip(
        covered(version), draw(st.binary(min_size=(n := len(covered(version))), max_size=n)), strict=True
    ):
        data[offset] = byte
    struct.pack_into("<I", data, 0x48, draw(st.integers(0, 15)) << 1 | 1)
    return bytes(data)


@every_version
def test_every_report_is_written_back_as_it_was(version: int) -> None:
    @given(reports(version))
    def check(data: bytes) -> None:
        report = parse_report(data)
        assert type(report) is VERSIONS[version]
        assert report.to_bytes() == data
        assert report.signed_bytes == data[:0x2A0]
        for name, (offset, size) in BY_VERSION[version].items():
            value = getattr(report, name)
            assert (value if isinstance(value, bytes) else value.to_bytes(size, "little")) == data[
                offset : offset + size
            ]

    check()


@every_version
def test_a_byte_that_no_field_covers_is_refused_where_it_is(version: int) -> None:
    known = {offset for start, size in BY_VERSION[version].values() for offset in range(start, start + size)}
    for offset in sorted(set(range(0x4A0)) - known):
        data = blank(version)
        data[offset] = 0x80
        with pytest.raises(FormatError) as caught:
            parse_report(bytes(data))
        assert caught.value.code == "attestation.snp.format"
        assert caught.value.offset == offset


def test_a_report_that_is_cut_or_longer_is_refused() -> None:
    data = Machine().report()
    for size in range(len(data)):
        with pytest.raises(FormatError, match=f"not {size}") as caught:
            parse_report(data[:size])
        assert (caught.value.code, caught.value.offset) == ("attestation.snp.format", size)
    with pytest.raises(FormatError):
        parse_report(data + b"\0")


@pytest.mark.parametrize("version", [0, 1, 4, 6, 0xFFFF_FFFF])
def test_other_versions_are_refused(version: int) -> None:
    data = blank(3)
    struct.pack_into("<I", data, 0, version)
    with pytest.raises(FormatError, match=f"version {version} ") as caught:
        parse_report(bytes(data))
    assert caught.value.offset == 0


@pytest.mark.parametrize(
    ("offset", "value", "fault"),
    [(0x34, 0, 0x34), (0x34, 2, 0x34), (0x48, 0x20, 0x48), (0x48, 0x8000_0000, 0x48)],
    ids=["no signature", "another algorithm", "bit beside SIGNING_KEY", "highest bit beside it"],
)
def test_numbers_that_are_reserved_are_refused(offset: int, value: int, fault: int) -> None:
    data = blank(5)
    struct.pack_into("<I", data, offset, value)
    with pytest.raises(FormatError) as caught:
        parse_report(bytes(data))
    assert (caught.value.code, caught.value.offset) == ("attestation.snp.format", fault)


def test_a_digest_of_no_author_key_is_refused() -> None:
    with pytest.raises(FormatError, match="AUTHOR_KEY_EN"):
        parse_report(Machine().report(author_key_digest=b"\x01" * 48))
    report = parse_report(Machine().report(author_key_digest=b"\x01" * 48, key_info=1))
    assert report.author_key


@given(st.binary(max_size=0x500))
def test_hostile_bytes_raise_nothing_else(data: bytes) -> None:
    with pytest.raises(FormatError):
        parse_report(data)


levels = st.integers(0, 255)


@given(st.sampled_from(Generation), st.builds(TcbVersion, levels, levels, levels, levels, levels))
def test_security_levels_round_trip_in_each_generations_own_order(generation: Generation, tcb: TcbVersion) -> None:
    read = TcbVersion.read(tcb.to_bytes(generation), generation)
    assert (read.bootloader, read.tee, read.snp, read.microcode) == (tcb.bootloader, tcb.tee, tcb.snp, tcb.microcode)
    assert read.fmc == (tcb.fmc if generation is Generation.TURIN else 0)


def test_security_levels_of_known_bytes() -> None:
    assert TcbVersion.read(bytes.fromhex("04000000000018d9"), Generation.MILAN) == TcbVersion(4, 0, 24, 217)
    assert TcbVersion.read(bytes.fromhex("0102030400000009"), Generation.TURIN) == TcbVersion(2, 3, 4, 9, fmc=1)


@pytest.mark.parametrize(
    ("raw", "generation"),
    [
        ("0400010000001873", Generation.MILAN),
        ("0400000001001873", Generation.GENOA),
        ("0102030401000009", Generation.TURIN),
    ],
)
def test_security_levels_laid_out_for_another_processor_are_refused(raw: str, generation: Generation) -> None:
    with pytest.raises(AttestationError) as caught:
        TcbVersion.read(bytes.fromhex(raw), generation)
    assert caught.value.code == "attestation.snp.tcb"


def test_levels_are_compared_part_by_part() -> None:
    base = TcbVersion(4, 1, 24, 217)
    assert base.covers(base)
    assert TcbVersion(5, 1, 24, 217).covers(base)
    for less in (
        TcbVersion(3, 9, 99, 255),
        TcbVersion(9, 0, 99, 255),
        TcbVersion(9, 9, 23, 255),
        TcbVersion(9, 9, 99, 216),
    ):
        assert not less.covers(base)


@pytest.mark.parametrize(
    ("family", "model", "generation"),
    [
        (0x19, 0x01, Generation.MILAN),
        (0x19, 0x11, Generation.GENOA),
        (0x19, 0xA0, Generation.GENOA),
        (0x1A, 0x02, Generation.TURIN),
        (0x1A, 0x50, None),
        (0x19, 0x20, None),
        (0x17, 0x01, None),
    ],
)
def test_a_processor_is_of_one_generation_at_most(family: int, model: int, generation: Generation | None) -> None:
    report = parse_report(Machine().report(cpuid_family=family, cpuid_model=model))
    assert isinstance(report, SnpReport3)
    assert [each for each in Generation if report.is_of(each)] == ([] if generation is None else [generation])


def test_reserved_bits_are_those_that_have_no_name() -> None:
    named = sum(GuestPolicy)
    assert (named | 0xFFFF) ^ POLICY_RESERVED == (1 << 64) - 1
    assert sum(PlatformInfo) ^ PLATFORM_RESERVED == (1 << 64) - 1
