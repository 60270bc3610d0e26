from __future__ import annotations

import struct
from pathlib import Path

import pytest
from tests.platform.world import World

from adyton.attestation.errors import FormatError
from adyton.attestation.quote import MAX_QUOTE_BYTES, parse_quote

CERTIFICATION = 436 + 64 + 64 + 384 + 64 + 2 + 32  # offset of the certification data type for 32 bytes of auth


@pytest.fixture(scope="module")
def quote(world: World) -> bytes:
    return world.platform(b"\x01" * 32).quote(b"\x07" * 64)


def patch(data: bytes, offset: int, content: bytes) -> bytes:
    return data[:offset] + content + data[offset + len(content) :]


def test_a_quote_is_written_back_unchanged(quote: bytes) -> None:
    assert parse_quote(quote).to_bytes() == quote


def test_the_real_quote_is_written_back_unchanged(real_quote: bytes) -> None:
    parsed = parse_quote(real_quote)
    assert parsed.to_bytes() == real_quote
    assert parsed.certification_type == 5
    assert parsed.certification.endswith(b"-----END CERTIFICATE-----\n\x00")


@pytest.mark.parametrize(
    ("offset", "content", "fault", "code"),
    [
        (0, b"\x04\x00", 0, "attestation.quote.version"),
        (0, b"\x05\x00", 0, "attestation.quote.version"),
        (0, b"\x00\x00", 0, "attestation.quote.version"),
        (2, b"\x03\x00", 2, "attestation.quote.key_type"),
        (4, b"\x81\x00\x00\x00", 4, "attestation.quote.format"),
        (12, bytes(16), 12, "attestation.quote.format"),
        (48 + 21, b"\x01", 48 + 21, "attestation.quote.format"),
        (432, struct.pack("<I", 0), 432, "attestation.quote.format"),
        (432, struct.pack("<I", 0xFFFFFFFF), 432, "attestation.quote.format"),
        (564 + 96, b"\x01", 564 + 96, "attestation.quote.format"),
        (1012, struct.pack("<H", 0xFFFF), 1012, "attestation.quote.format"),
        (CERTIFICATION + 2, struct.pack("<I", 1), CERTIFICATION + 2, "attestation.quote.format"),
        (CERTIFICATION + 2, struct.pack("<I", 0xFFFFFFFF), CERTIFICATION + 2, "attestation.quote.format"),
    ],
    ids=[
        "version 4",
        "version 5",
        "version 0",
        "another key type",
        "reserved header word",
        "unknown vendor",
        "reserved body byte",
        "signature data too short",
        "signature data length bomb",
        "reserved QE report byte",
        "auth length bomb",
        "certification data too short",
        "certification data length bomb",
    ],
)
def test_a_malformed_quote_is_refused_with_offset(
    quote: bytes, offset: int, content: bytes, fault: int, code: str
) -> None:
    with pytest.raises(FormatError) as caught:
        parse_quote(patch(quote, offset, content))
    assert (caught.value.code, caught.value.offset) == (code, fault)


def test_every_shorter_quote_is_refused(quote: bytes) -> None:
    for size in [*range(0, 1100, 13), len(quote) - 1]:
        with pytest.raises(FormatError):
            parse_quote(quote[:size])


def test_bytes_after_the_quote_are_refused(quote: bytes) -> None:
    with pytest.raises(FormatError):
        parse_quote(quote + b"\x00")


def test_an_oversized_quote_is_refused_before_it_is_read() -> None:
    with pytest.raises(FormatError, match="limit"):
        parse_quote(bytes(MAX_QUOTE_BYTES + 1))


def test_the_real_tdx_quote_is_refused_as_another_version(evidence: Path) -> None:
    with pytest.raises(FormatError) as caught:
        parse_quote((evidence / "tdx_quote").read_bytes())
    assert caught.value.code == "attestation.quote.version"
