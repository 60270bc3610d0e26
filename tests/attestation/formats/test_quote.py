from __future__ import annotations

import struct
from dataclasses import replace
from pathlib import Path
from typing import Any

import dcap_qvl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.attestation.structures import CONTENTS, SIZES, body_number, quotes
from tests.platform.world import World

from adyton.attestation.errors import AttestationError, FormatError
from adyton.attestation.formats.quote import (
    MAX_AUTH_BYTES,
    MAX_CERTIFICATION_BYTES,
    MAX_QUOTE_BYTES,
    Body,
    Quote,
    parse_quote,
)
from adyton.attestation.formats.sgx import Attributes, ReportBody
from adyton.attestation.formats.tdx import TdReport, TdReport15
from adyton.attestation.verdict import EvidenceKind

M1, DATA = b"\x01" * 32, b"\x07" * 64
NAMES = {ReportBody: "enclave", TdReport: "TD 1.0", TdReport15: "TD 1.5"}
KINDS = pytest.mark.parametrize(
    ("version", "body"), CONTENTS, ids=[f"version {version}, {NAMES[body]}" for version, body in CONTENTS]
)


def made(world: World, version: int, body: type[Body]) -> bytes:
    if issubclass(body, TdReport):
        return world.td_quote(DATA, version=version, body=body)
    return world.enclave_quote(M1, DATA, version=version)


def patch(data: bytes, offset: int, content: bytes) -> bytes:
    return data[:offset] + content + data[offset + len(content) :]


def refused(data: bytes) -> FormatError:
    with pytest.raises(FormatError) as caught:
        parse_quote(data)
    return caught.value


class Offsets:
    """Where the parts of a quote begin, by the specifications: 32 bytes of authentication data."""

    def __init__(self, version: int, body: type[Body]) -> None:
        self.body = 54 if version == 5 else 48
        self.length = self.body + SIZES[body]
        self.signature = self.length + 4
        self.outer = self.signature + 128
        self.qe_report = self.outer + (0 if version == 3 else 6)
        self.auth = self.qe_report + 384 + 64
        self.certification = self.auth + 2 + 32

    def piece(self, version: int, size: int) -> int:
        """Where the part begins that a quote cut to ``size`` bytes ends in; the length is checked before the rest."""
        starts = [0, 48, 50, 54, self.length] if version == 5 else [0, 48, self.length]
        return max(start for start in starts if start <= size)


@KINDS
def test_what_the_simulated_machine_makes_is_read_and_written_back(
    world: World, version: int, body: type[Body]
) -> None:
    data = made(world, version, body)
    parsed = parse_quote(data)
    assert parsed.to_bytes() == data
    assert (parsed.version, type(parsed.body), parsed.certification_type, parsed.padding) == (version, body, 5, 0)
    assert parsed.body.report_data == DATA
    offsets = Offsets(version, body)
    assert parsed.signed_bytes == data[: offsets.length]
    assert parsed.signature == data[offsets.signature : offsets.signature + 64]
    assert parsed.qe_report.to_bytes() == data[offsets.qe_report : offsets.qe_report + 384]
    assert parsed.certification == data[offsets.certification + 6 :]


@KINDS
def test_a_quote_has_the_body_of_its_technology_only(world: World, version: int, body: type[Body]) -> None:
    parsed = parse_quote(made(world, version, body))
    if body is ReportBody:
        assert (parsed.kind, parsed.enclave) == (EvidenceKind.SGX, parsed.body)
        with pytest.raises(AttestationError, match="not of a trust domain") as caught:
            _ = parsed.td
    else:
        assert (parsed.kind, parsed.td) == (EvidenceKind.TDX, parsed.body)
        with pytest.raises(AttestationError, match="not of an SGX enclave") as caught:
            _ = parsed.enclave
    assert caught.value.code == "attestation.quote.tee"


@KINDS
def test_any_quote_is_read_back(version: int, body: type[Body]) -> None:
    @given(quotes(version, body))
    @settings(max_examples=40)
    def check(quote: Quote) -> None:
        data = quote.to_bytes()
        assert parse_quote(data) == quote
        assert data.startswith(quote.signed_bytes)

    check()


# Where the independent parser has another name for a field.
TD_NAMES = {
    "tee_tcb_svn": "tee_tcb_svn",
    "mrseam": "mr_seam",
    "mrsignerseam": "mr_signer_seam",
    "seam_attributes": "seam_attributes",
    "td_attributes": "td_attributes",
    "xfam": "xfam",
    "mrtd": "mr_td",
    "mrconfigid": "mr_config_id",
    "mrowner": "mr_owner",
    "mrownerconfig": "mr_owner_config",
    **{f"rtmr{number}": f"rt_mr{number}" for number in range(4)},
    "report_data": "report_data",
}
TD15_NAMES = TD_NAMES | {"tee_tcb_svn2": "tee_tcb_svn2", "mrservicetd": "mr_service_td"}
ENCLAVE_NAMES = {
    "cpusvn": "cpu_svn",
    "attributes": "attributes",
    "mrenclave": "mr_enclave",
    "mrsigner": "mr_signer",
    "report_data": "report_data",
}


@KINDS
def test_an_independent_parser_reads_the_same(version: int, body: type[Body]) -> None:
    names = {ReportBody: ENCLAVE_NAMES, TdReport: TD_NAMES, TdReport15: TD15_NAMES}[body]

    @given(quotes(version, body))
    @settings(max_examples=40)
    def check(quote: Quote) -> None:
        other = dcap_qvl.parse_quote(quote.to_bytes())
        assert (other.is_sgx(), other.is_tdx()) == (body is ReportBody, body is not ReportBody)
        assert (other.header.version, other.header.tee_type) == (version, quote.header.tee_type)
        assert (other.header.qe_svn, other.header.pce_svn) == (quote.header.qe_svn, quote.header.pce_svn)
        assert (other.header.qe_vendor_id, other.header.user_data) == (quote.header.qe_vendor, quote.header.user_data)
        for ours, theirs in names.items():
            value, found = getattr(quote.body, ours), getattr(other.report, theirs)
            if isinstance(value, Attributes):
                value = value.to_bytes()
            elif isinstance(value, int) and isinstance(found, bytes):
                value = value.to_bytes(len(found), "little")
            assert value == found, ours

    check()


def test_version_5_signs_the_type_and_size_of_its_body(world: World) -> None:
    for body in (ReportBody, TdReport, TdReport15):
        parsed = parse_quote(made(world, 5, body))
        assert parsed.signed_bytes[48:54] == struct.pack("<HI", body_number(body), SIZES[body])
        assert len(parsed.signed_bytes) == 54 + SIZES[body]


def test_the_real_sgx_quote_is_written_back_unchanged(real_quote: bytes) -> None:
    parsed = parse_quote(real_quote)
    assert parsed.to_bytes() == real_quote
    assert (parsed.version, parsed.kind, parsed.certification_type) == (3, EvidenceKind.SGX, 5)
    assert parsed.certification.endswith(b"-----END CERTIFICATE-----\n\x00")


def test_the_real_tdx_quote_is_written_back_unchanged_with_its_padding(evidence: Path) -> None:
    data = (evidence / "tdx_quote").read_bytes()
    parsed = parse_quote(data)
    assert parsed.to_bytes() == data
    assert (parsed.version, parsed.kind, parsed.certification_type, parsed.padding) == (4, EvidenceKind.TDX, 5, 70)
    assert (parsed.header.qe_svn, parsed.header.pce_svn) == (0, 0)
    assert (parsed.qe_report.isvprodid, parsed.qe_report.isvsvn) == (2, 6)


@pytest.mark.parametrize(
    ("version", "body"),
    [(3, ReportBody), (4, TdReport), (5, TdReport15)],
    ids=["version 3, enclave", "version 4, TD 1.0", "version 5, TD 1.5"],
)
def test_a_quote_cut_at_any_byte_is_refused_where_it_ends(world: World, version: int, body: type[Body]) -> None:
    data, offsets = made(world, version, body), Offsets(version, body)
    for size in range(len(data)):
        error = refused(data[:size])
        assert error.code == "attestation.quote.format"
        assert error.offset == offsets.piece(version, size), size


@KINDS
def test_bytes_after_the_quote_are_refused(world: World, version: int, body: type[Body]) -> None:
    data, offsets = made(world, version, body), Offsets(version, body)
    assert refused(data + b"\x01").offset == (offsets.length if version == 3 else len(data))
    assert refused(data + bytes(9) + b"\xff").offset == (offsets.length if version == 3 else len(data) + 9)
    assert refused(data + data).code == "attestation.quote.format"


@KINDS
def test_zero_bytes_after_the_quote_are_its_padding_from_version_4_on(
    world: World, version: int, body: type[Body]
) -> None:
    data = made(world, version, body) + bytes(70)
    if version == 3:
        assert refused(data).code == "attestation.quote.format"
        return
    parsed = parse_quote(data)
    assert parsed.padding == 70
    assert parsed.to_bytes() == data
    assert replace(parsed, padding=0) == parse_quote(data[:-70])


@KINDS
def test_every_length_that_is_wrong_is_refused(world: World, version: int, body: type[Body]) -> None:
    data, offsets = made(world, version, body), Offsets(version, body)
    lengths = {"signature data": (offsets.length, "I"), "auth": (offsets.auth, "H")}
    lengths["certification"] = (offsets.certification + 2, "I")
    if version != 3:
        lengths["outer certification"] = (offsets.outer + 2, "I")
    if version == 5:
        lengths["body"] = (50, "I")
    for name, (offset, code) in lengths.items():
        (right,) = struct.unpack_from("<" + code, data, offset)
        top = (1 << 8 * struct.calcsize(code)) - 1
        for wrong in {0, 1, right - 1, right + 1, right ^ 0x100, right * 2, top // 2, top} - {right}:
            error = refused(patch(data, offset, struct.pack("<" + code, wrong)))
            assert error.code == "attestation.quote.format", name
            assert offset <= error.offset < len(data), name


@KINDS
@pytest.mark.parametrize(
    ("offset", "content", "code"),
    [
        (0, b"\x00\x00", "attestation.quote.version"),
        (0, b"\x01\x00", "attestation.quote.version"),
        (0, b"\x02\x00", "attestation.quote.version"),
        (0, b"\x06\x00", "attestation.quote.version"),
        (0, b"\xff\xff", "attestation.quote.version"),
        (2, b"\x00\x00", "attestation.quote.key_type"),
        (2, b"\x03\x00", "attestation.quote.key_type"),
        (4, b"\x01\x00\x00\x00", "attestation.quote.tee"),
        (4, b"\x80\x00\x00\x00", "attestation.quote.tee"),
        (4, b"\x81\x00\x00\x80", "attestation.quote.tee"),
        (12, bytes(16), "attestation.quote.format"),
        (12, b"\x94", "attestation.quote.format"),
    ],
    ids=[
        "version 0",
        "version 1",
        "version 2",
        "version 6",
        "version 65535",
        "key type 0",
        "key type 3: P-384",
        "TEE type 1",
        "TEE type 0x80",
        "TEE type 0x80000081",
        "no vendor",
        "another vendor",
    ],
)
def test_a_header_that_is_not_understood_is_refused_by_its_own_code(  # noqa: PLR0917  # a table's columns
    world: World, version: int, body: type[Body], offset: int, content: bytes, code: str
) -> None:
    error = refused(patch(made(world, version, body), offset, content))
    assert (error.code, error.offset) == (code, offset)


@KINDS
def test_the_tee_type_must_agree_with_version_and_body(world: World, version: int, body: type[Body]) -> None:
    data = made(world, version, body)
    other = patch(data, 4, b"\x81" if body is ReportBody else b"\x00")
    error = refused(other)
    if version == 4:  # the body has another size then, so what follows it is read as lengths
        assert error.code == "attestation.quote.format"
    else:
        assert (error.code, error.offset) == ("attestation.quote.tee", 4 if version == 3 else 48)


@pytest.mark.parametrize("version", [4, 5])
@pytest.mark.parametrize("offset", [8, 9, 10, 11])
def test_reserved_header_bytes_are_zero_from_version_4_on(world: World, version: int, offset: int) -> None:
    error = refused(patch(world.td_quote(DATA, version=version), offset, b"\x01"))
    assert (error.code, error.offset) == ("attestation.quote.format", offset & ~1)


@pytest.mark.parametrize("number", [0, 4, 5, 0xFFFF])
def test_a_body_type_that_is_not_supported_is_refused_by_its_own_code(world: World, number: int) -> None:
    error = refused(patch(world.td_quote(DATA, version=5), 48, struct.pack("<H", number)))
    assert (error.code, error.offset) == ("attestation.quote.body", 48)
    assert ("TD report 1.5ex" in error.message) == (number == 4)


@pytest.mark.parametrize("size", [0, 583, 585, 648, 0xFFFFFFFF])
def test_a_body_of_another_size_than_its_type_is_refused(world: World, size: int) -> None:
    error = refused(patch(world.td_quote(DATA, version=5), 50, struct.pack("<I", size)))
    assert (error.code, error.offset) == ("attestation.quote.format", 50)


@pytest.mark.parametrize("number", [0, 5, 7, 0xFFFF])
def test_the_outer_certification_data_is_the_report_of_the_quoting_enclave(world: World, number: int) -> None:
    for version, body in ((4, TdReport), (5, TdReport15), (4, ReportBody)):
        offset = Offsets(version, body).outer
        error = refused(patch(made(world, version, body), offset, struct.pack("<H", number)))
        assert (error.code, error.offset) == ("attestation.quote.format", offset)


@KINDS
def test_reserved_bytes_of_the_reports_are_refused_with_their_offset(
    world: World, version: int, body: type[Body]
) -> None:
    data, offsets = made(world, version, body), Offsets(version, body)
    places = [offsets.qe_report + 21, offsets.qe_report + 96, offsets.qe_report + 303]
    if body is ReportBody:
        places.append(offsets.body + 21)
    for place in places:
        assert refused(patch(data, place, b"\x01")).offset == place


@KINDS
def test_a_quote_is_malleable_in_nothing_but_its_contents(world: World, version: int, body: type[Body]) -> None:
    """Whatever edit of a quote is still read is written back as it is: no two byte strings are one quote."""
    data = made(world, version, body)

    @given(
        st.lists(st.tuples(st.integers(0, len(data) - 1), st.binary(max_size=6), st.integers(0, 6)), max_size=4),
        st.binary(max_size=4),
    )
    @settings(max_examples=150)
    def check(edits: list[tuple[int, bytes, int]], tail: bytes) -> None:
        edited = data
        for offset, content, removed in edits:
            edited = edited[:offset] + content + edited[offset + removed :]
        edited += tail
        fault, written = None, None
        try:
            written = parse_quote(edited).to_bytes()
        except FormatError as error:
            fault = error.offset
        if fault is None:
            assert written == edited
            dcap_qvl.parse_quote(edited)  # never more lenient than another parser
        else:
            assert 0 <= fault <= len(edited)

    check()


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"auth": bytes(MAX_AUTH_BYTES + 1)}, "authentication data of 1025 bytes is over the limit"),
        ({"certification": bytes(MAX_CERTIFICATION_BYTES + 1)}, "certification data of 16385 bytes is over the limit"),
        ({"certification": bytes(MAX_QUOTE_BYTES)}, "over the limit of 32768"),
    ],
    ids=["authentication data", "certification data", "the whole quote"],
)
@KINDS
def test_parts_over_their_limits_are_refused(
    world: World, version: int, body: type[Body], change: dict[str, Any], message: str
) -> None:
    parsed = parse_quote(made(world, version, body))
    assert message in refused(replace(parsed, **change).to_bytes()).message


def test_parts_at_their_limits_are_read(world: World) -> None:
    parsed = replace(
        parse_quote(made(world, 4, TdReport)), auth=bytes(MAX_AUTH_BYTES), certification=bytes(MAX_CERTIFICATION_BYTES)
    )
    assert parse_quote(parsed.to_bytes()) == parsed
    full = replace(parsed, padding=MAX_QUOTE_BYTES - len(parsed.to_bytes()))
    assert parse_quote(full.to_bytes()) == full


@pytest.mark.parametrize("size", [0, 1, 47, 48, 53])
def test_what_is_too_short_for_a_body_is_refused(world: World, size: int) -> None:
    for version, body in CONTENTS:
        assert refused(made(world, version, body)[:size]).code == "attestation.quote.format"


def test_an_oversized_quote_is_refused_before_it_is_read() -> None:
    assert "limit" in refused(bytes(MAX_QUOTE_BYTES + 1)).message
