"""ECDSA quotes, version 3 (Intel, *SGX ECDSA QuoteGenReference*, appendix A.4): strict parse and build.

Accepted are exactly the bytes that :meth:`QuoteV3.to_bytes` makes: nothing after the signature data, every length
consistent. A quote stays malleable (ECDSA signatures are), so its hash is never an identity or a replay key.
Versions 4 and 5 (TDX) are recognised and refused with ``attestation.quote.version``.
"""

from __future__ import annotations

import struct
from dataclasses import dataclass
from enum import IntEnum
from typing import ClassVar, Final

from adyton.attestation.errors import FormatError
from adyton.attestation.layout import Layout, Structure
from adyton.attestation.sgx import ReportBody

MAX_QUOTE_BYTES: Final = 32 << 10  # real quotes have under 5 kB; the bound stops length bombs
MAX_AUTH_BYTES: Final = 1 << 10  # every quoting enclave in use puts 32 bytes
QE_VENDOR_INTEL: Final = bytes.fromhex("939A7233F79C4CA9940A0DB3957F0607")

_HEADER_BYTES = 48
_BODY_END = _HEADER_BYTES + ReportBody.LAYOUT.size  # 432: what the attestation key signs


class KeyType(IntEnum):
    """Attestation key types."""

    ECDSA_P256 = 2


class CertificationType(IntEnum):
    """Certification data types that a quote of version 3 may carry."""

    PPID_CLEAR = 1
    PPID_RSA2048 = 2
    PPID_RSA3072 = 3
    PCK_LEAF = 4
    PCK_CHAIN = 5


@dataclass(frozen=True, slots=True)
class QuoteHeader(Structure):
    """The first 48 bytes of a quote of version 3."""

    LAYOUT: ClassVar[Layout] = Layout(
        "quote header",
        _HEADER_BYTES,
        (
            ("version", 0, "H"),
            ("key_type", 2, "H"),
            ("qe_svn", 8, "H"),
            ("pce_svn", 10, "H"),
            ("qe_vendor", 12, "16s"),
            ("user_data", 28, "20s"),
        ),
    )

    qe_svn: int
    pce_svn: int
    version: int = 3
    key_type: int = KeyType.ECDSA_P256
    qe_vendor: bytes = QE_VENDOR_INTEL
    user_data: bytes = bytes(20)


@dataclass(frozen=True, slots=True)
class QuoteV3:
    """A parsed, unverified quote.

    Attributes:
        signature: of header and body by the attestation key, r||s big-endian (64 bytes).
        attestation_key: P-256 point x||y (64 bytes).
        qe_report: report of the quoting enclave, signed by the PCK key in ``qe_report_signature``.
        auth: bytes bound, with the attestation key, into the report data of ``qe_report``.
        certification_type: what ``certification`` holds; 5 is the PCK chain in PEM, with or without a final NUL.
    """

    header: QuoteHeader
    body: ReportBody
    signature: bytes
    attestation_key: bytes
    qe_report: ReportBody
    qe_report_signature: bytes
    auth: bytes
    certification_type: int
    certification: bytes

    @property
    def signed_bytes(self) -> bytes:
        """The 432 bytes that the attestation key signs."""
        return self.header.to_bytes() + self.body.to_bytes()

    def to_bytes(self) -> bytes:
        """The quote's bytes."""
        data = b"".join(
            (
                self.signature,
                self.attestation_key,
                self.qe_report.to_bytes(),
                self.qe_report_signature,
                struct.pack("<H", len(self.auth)),
                self.auth,
                struct.pack("<HI", self.certification_type, len(self.certification)),
                self.certification,
            )
        )
        return self.signed_bytes + struct.pack("<I", len(data)) + data


class _Reader:
    """Takes consecutive pieces of a byte string and knows where it is."""

    def __init__(self, data: bytes) -> None:
        self._data = data
        self.offset = 0

    def take(self, size: int, what: str) -> bytes:
        if size > len(self._data) - self.offset:
            raise FormatError(f"the quote ends inside {what}", offset=self.offset)
        piece = self._data[self.offset : self.offset + size]
        self.offset += size
        return piece

    def number(self, code: str, what: str) -> int:
        (value,) = struct.unpack("<" + code, self.take(struct.calcsize(code), what))
        return int(value)

    def remaining(self) -> int:
        return len(self._data) - self.offset


def parse_quote(data: bytes) -> QuoteV3:
    """Read a quote of version 3.

    Raises:
        FormatError: ``attestation.quote.format`` with the offset of the fault; ``attestation.quote.version`` for
            other versions; ``attestation.quote.key_type`` for other attestation keys than ECDSA P-256.
    """
    if len(data) > MAX_QUOTE_BYTES:
        raise FormatError(f"a quote of {len(data)} bytes is over the limit of {MAX_QUOTE_BYTES}", offset=0)
    reader = _Reader(data)
    header = _header(reader.take(_HEADER_BYTES, "the header"))
    body = ReportBody.parse(reader.take(ReportBody.LAYOUT.size, "the report body"), base=_HEADER_BYTES)
    size = reader.number("I", "the length of the signature data")
    if size != reader.remaining():
        raise FormatError(f"signature data of {reader.remaining()} bytes says it has {size}", offset=_BODY_END)
    signature = reader.take(64, "the signature")
    key = reader.take(64, "the attestation key")
    position = reader.offset
    qe_report = ReportBody.parse(reader.take(ReportBody.LAYOUT.size, "the QE report"), base=position)
    qe_signature = reader.take(64, "the signature of the QE report")
    auth_size = reader.number("H", "the length of the QE authentication data")
    if auth_size > MAX_AUTH_BYTES:
        raise FormatError(f"QE authentication data of {auth_size} bytes is over the limit", offset=reader.offset - 2)
    auth = reader.take(auth_size, "the QE authentication data")
    certification_type = reader.number("H", "the certification data type")
    certification_size = reader.number("I", "the length of the certification data")
    if certification_size != reader.remaining():
        raise FormatError(
            f"certification data of {reader.remaining()} bytes says it has {certification_size}",
            offset=reader.offset - 4,
        )
    certification = reader.take(certification_size, "the certification data")
    return QuoteV3(header, body, signature, key, qe_report, qe_signature, auth, certification_type, certification)


def _header(data: bytes) -> QuoteHeader:
    version, key_type = struct.unpack_from("<HH", data)
    if version != 3:
        raise FormatError(f"quote version {version} is not supported", offset=0, code="attestation.quote.version")
    if key_type != KeyType.ECDSA_P256:
        raise FormatError(
            f"attestation key type {key_type} is not supported", offset=2, code="attestation.quote.key_type"
        )
    header = QuoteHeader.parse(data)
    if header.qe_vendor != QE_VENDOR_INTEL:
        raise FormatError("the quoting enclave's vendor is unknown", offset=12)
    return header
