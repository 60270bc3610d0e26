"""ECDSA quotes of SGX enclaves and trust domains, versions 3, 4 and 5: strict parse and build.

Sources: Intel, *SGX ECDSA QuoteGenReference*, appendix A.4 (version 3), *TDX DCAP Quoting Library API*, appendix A.3
(versions 4 and 5), and the structures of ``sgx_quote_4.h`` and ``sgx_quote_5.h``.

==========  =======================================================================================================
bytes       meaning
==========  =======================================================================================================
0-47        :class:`QuoteHeader`
(48-53)     version 5 only: body type u16, body size u32; they are signed
body        384 bytes of an enclave, 584 of a TD 1.0, 648 of a TD 1.5 (version 5 only)
u32         length of the signature data
64 + 64     signature over all before the length, attestation key
(u16, u32)  versions 4 and 5 only: type 6, length of all that follows in the signature data
384 + 64    report of the quoting enclave, its signature by the PCK key
u16 + n     QE authentication data
u16, u32+n  certification data
==========  =======================================================================================================

Accepted are exactly the bytes that :meth:`Quote.to_bytes` makes, every length consistent. Nothing follows the
signature data of version 3. In versions 4 and 5 zero bytes may: quote services of TDX answer in a buffer of the
largest size a quote can have, and real quotes carry its rest; :attr:`Quote.padding` counts them, any other byte is
refused. A quote stays malleable all the same (ECDSA signatures are), so its hash is never an identity or a replay key.
"""

from __future__ import annotations

import struct
from dataclasses import dataclass
from enum import IntEnum
from typing import ClassVar, Final, TypeAlias

from adyton.attestation.errors import AttestationError, FormatError
from adyton.attestation.formats.layout import Layout, Structure
from adyton.attestation.formats.sgx import ReportBody
from adyton.attestation.formats.tdx import TdReport, TdReport15
from adyton.attestation.verdict import EvidenceKind

MAX_QUOTE_BYTES: Final = 32 << 10  # real quotes have under 6 kB; the bound stops length bombs
MAX_AUTH_BYTES: Final = 1 << 10  # every quoting enclave in use puts 32 bytes
MAX_CERTIFICATION_BYTES: Final = 16 << 10  # three certificates have under 4 kB
QE_VENDOR_INTEL: Final = bytes.fromhex("939A7233F79C4CA9940A0DB3957F0607")

_HEADER_BYTES: Final = 48
_SIGNATURE_BYTES: Final = 64
_KEY_BYTES: Final = 64

Body: TypeAlias = ReportBody | TdReport


class KeyType(IntEnum):
    """Attestation key types."""

    ECDSA_P256 = 2


class TeeType(IntEnum):
    """What a quote is of; version 3 knows SGX only."""

    SGX = 0x00
    TDX = 0x81


class BodyType(IntEnum):
    """Body types of version 5."""

    SGX = 1
    TD10 = 2
    TD15 = 3
    TD15_EX = 4  # recognised, to be refused by its name


class CertificationType(IntEnum):
    """Certification data types."""

    PPID_CLEAR = 1
    PPID_RSA2048 = 2
    PPID_RSA3072 = 3
    PCK_LEAF = 4
    PCK_CHAIN = 5
    QE_REPORT = 6  # the outer one of versions 4 and 5
    PLATFORM_MANIFEST = 7


@dataclass(frozen=True, slots=True)
class QuoteHeader(Structure):
    """The first 48 bytes of a quote.

    Attributes:
        tee_type: as :class:`TeeType`; reserved, zero, in version 3.
        qe_svn, pce_svn: SVNs of the quoting and the certification enclave, version 3 only: reserved, zero, later.
        user_data: the quoting enclave's id (16 bytes) and four zero bytes, in the quotes of today.
    """

    LAYOUT: ClassVar[Layout] = Layout(
        "quote header",
        _HEADER_BYTES,
        (
            ("version", 0, "H"),
            ("key_type", 2, "H"),
            ("tee_type", 4, "I"),
            ("qe_svn", 8, "H"),
            ("pce_svn", 10, "H"),
            ("qe_vendor", 12, "16s"),
            ("user_data", 28, "20s"),
        ),
    )

    qe_svn: int = 0
    pce_svn: int = 0
    version: int = 3
    key_type: int = KeyType.ECDSA_P256
    tee_type: int = TeeType.SGX
    qe_vendor: bytes = QE_VENDOR_INTEL
    user_data: bytes = bytes(20)


_BODY_TYPES: Final[dict[type[Body], BodyType]] = {
    ReportBody: BodyType.SGX,
    TdReport: BodyType.TD10,
    TdReport15: BodyType.TD15,
}
_BODIES: Final[dict[int, type[Body]]] = {number: kind for kind, number in _BODY_TYPES.items()}


@dataclass(frozen=True, slots=True)
class Quote:
    """A parsed, unverified quote; :func:`parse_quote` is what makes sure that its parts agree.

    Attributes:
        body: of an enclave, or of a TD.
        signature: of :attr:`signed_bytes` by the attestation key, r||s big-endian (64 bytes).
        attestation_key: P-256 point x||y (64 bytes).
        qe_report: report of the quoting enclave, signed by the PCK key in ``qe_report_signature``.
        auth: bytes bound, with the attestation key, into the report data of ``qe_report``.
        certification_type: what ``certification`` holds; 5 is the PCK chain in PEM, with or without a final NUL. In
            versions 4 and 5 that of the inner certification data; the outer one is always type 6.
        padding: number of zero bytes after the signature data, versions 4 and 5 only.
    """

    header: QuoteHeader
    body: Body
    signature: bytes
    attestation_key: bytes
    qe_report: ReportBody
    qe_report_signature: bytes
    auth: bytes
    certification_type: int
    certification: bytes
    padding: int = 0

    @property
    def version(self) -> int:
        """3, 4 or 5."""
        return self.header.version

    @property
    def kind(self) -> EvidenceKind:
        """What the quote is of."""
        return EvidenceKind.SGX if isinstance(self.body, ReportBody) else EvidenceKind.TDX

    @property
    def enclave(self) -> ReportBody:
        """The body of a quote of an enclave.

        Raises:
            AttestationError: ``attestation.quote.tee``: the quote is of a trust domain.
        """
        if isinstance(self.body, ReportBody):
            return self.body
        raise AttestationError("the quote is of a trust domain, not of an SGX enclave", code="attestation.quote.tee")

    @property
    def td(self) -> TdReport:
        """The body of a quote of a trust domain.

        Raises:
            AttestationError: ``attestation.quote.tee``: the quote is of an enclave.
        """
        if isinstance(self.body, TdReport):
            return self.body
        raise AttestationError("the quote is of an SGX enclave, not of a trust domain", code="attestation.quote.tee")

    @property
    def signed_bytes(self) -> bytes:
        """What the attestation key signs: header and body, in version 5 with the body's type and size between."""
        body = self.body.to_bytes()
        return self.header.to_bytes() + self._descriptor(len(body)) + body

    def to_bytes(self) -> bytes:
        """The quote's bytes."""
        signed = self.signed_bytes
        head = self.signature + self.attestation_key
        data = b"".join(
            (
                self.qe_report.to_bytes(),
                self.qe_report_signature,
                struct.pack("<H", len(self.auth)),
                self.auth,
                struct.pack("<HI", self.certification_type, len(self.certification)),
                self.certification,
            )
        )
        if self.version != 3:
            data = struct.pack("<HI", CertificationType.QE_REPORT, len(data)) + data
        return signed + struct.pack("<I", len(head) + len(data)) + head + data + bytes(self.padding)

    def _descriptor(self, size: int) -> bytes:
        return struct.pack("<HI", _BODY_TYPES[type(self.body)], size) if self.version == 5 else b""


class _Reader:
    """Takes consecutive pieces of a byte string and knows where it is."""

    def __init__(self, data: bytes) -> None:
        self._data = data
        self._end = len(data)
        self.offset = 0

    def take(self, size: int, what: str) -> bytes:
        if size > self.remaining():
            raise FormatError(f"the quote ends inside {what}", offset=self.offset)
        piece = self._data[self.offset : self.offset + size]
        self.offset += size
        return piece

    def number(self, code: str, what: str) -> int:
        (value,) = struct.unpack("<" + code, self.take(struct.calcsize(code), what))
        return int(value)

    def remaining(self) -> int:
        return self._end - self.offset

    def rest(self, size: int, what: str) -> None:
        """Refuse a size, read just before from four bytes, that is not of all that remains."""
        if size != self.remaining():
            raise FormatError(f"{what} of {self.remaining()} bytes says it has {size}", offset=self.offset - 4)

    def cut(self, size: int, what: str) -> int:
        """Let the data end ``size`` bytes from here; the number of bytes cut off, which must all be zero."""
        if size > self.remaining():
            self.rest(size, what)
        end = self.offset + size
        cut = self._data[end : self._end]
        if cut.count(0) != len(cut):
            fault = next(i for i, byte in enumerate(cut) if byte)
            raise FormatError(f"bytes follow {what} that are not zero padding", offset=end + fault)
        self._end = end
        return len(cut)


def parse_quote(data: bytes) -> Quote:
    """Read a quote of version 3, 4 or 5.

    Raises:
        FormatError: with the offset of the fault and the code ``attestation.quote.format``;
            ``attestation.quote.version`` for other versions; ``attestation.quote.key_type`` for other attestation
            keys than ECDSA P-256; ``attestation.quote.tee`` where the TEE type is unknown or does not agree with
            version or body; ``attestation.quote.body`` for body types of version 5 that are not supported.
    """
    if len(data) > MAX_QUOTE_BYTES:
        raise FormatError(f"a quote of {len(data)} bytes is over the limit of {MAX_QUOTE_BYTES}", offset=0)
    reader = _Reader(data)
    header = _header(reader.take(_HEADER_BYTES, "the header"))
    kind = _body_kind(reader, header)
    position = reader.offset
    body = kind.parse(reader.take(kind.LAYOUT.size, f"the {kind.LAYOUT.name}"), base=position)
    size = reader.number("I", "the length of the signature data")
    padding = 0
    if header.version == 3:
        reader.rest(size, "signature data")
    else:
        padding = reader.cut(size, "signature data")
    signature = reader.take(_SIGNATURE_BYTES, "the signature")
    key = reader.take(_KEY_BYTES, "the attestation key")
    if header.version != 3:
        _outer_certification(reader)
    position = reader.offset
    qe_report = ReportBody.parse(reader.take(ReportBody.LAYOUT.size, "the QE report"), base=position)
    qe_signature = reader.take(_SIGNATURE_BYTES, "the signature of the QE report")
    auth = _auth(reader)
    return Quote(header, body, signature, key, qe_report, qe_signature, auth, *_certification(reader), padding)


def _header(data: bytes) -> QuoteHeader:
    header = QuoteHeader.parse(data)
    if header.version not in {3, 4, 5}:
        raise FormatError(
            f"quote version {header.version} is not supported", offset=0, code="attestation.quote.version"
        )
    if header.key_type != KeyType.ECDSA_P256:
        raise FormatError(
            f"attestation key type {header.key_type} is not supported", offset=2, code="attestation.quote.key_type"
        )
    known = {TeeType.SGX} if header.version == 3 else set(TeeType)
    if header.tee_type not in known:
        raise FormatError(
            f"TEE type {header.tee_type:#x} is unknown in version {header.version}",
            offset=4,
            code="attestation.quote.tee",
        )
    if header.version != 3 and (header.qe_svn or header.pce_svn):
        offset = 8 if header.qe_svn else 10
        raise FormatError("reserved bytes of the quote header are not zero", offset=offset)
    if header.qe_vendor != QE_VENDOR_INTEL:
        raise FormatError("the quoting enclave's vendor is unknown", offset=12)
    return header


def _body_kind(reader: _Reader, header: QuoteHeader) -> type[Body]:
    if header.version != 5:
        return ReportBody if header.tee_type == TeeType.SGX else TdReport
    start = reader.offset
    number = reader.number("H", "the body type")
    size = reader.number("I", "the body size")
    kind = _BODIES.get(number)
    if kind is None:
        name = " (TD report 1.5ex)" if number == BodyType.TD15_EX else ""
        raise FormatError(f"body type {number}{name} is not supported", offset=start, code="attestation.quote.body")
    if (kind is ReportBody) != (header.tee_type == TeeType.SGX):
        raise FormatError(
            f"body type {number} is not of TEE type {header.tee_type:#x}", offset=start, code="attestation.quote.tee"
        )
    if size != kind.LAYOUT.size:
        raise FormatError(f"{kind.LAYOUT.name} has {kind.LAYOUT.size} bytes, not {size}", offset=start + 2)
    return kind


def _outer_certification(reader: _Reader) -> None:
    number = reader.number("H", "the outer certification data type")
    if number != CertificationType.QE_REPORT:
        raise FormatError(f"outer certification data has type {number}, not 6", offset=reader.offset - 2)
    reader.rest(reader.number("I", "the length of the outer certification data"), "outer certification data")


def _auth(reader: _Reader) -> bytes:
    size = reader.number("H", "the length of the QE authentication data")
    if size > MAX_AUTH_BYTES:
        raise FormatError(f"QE authentication data of {size} bytes is over the limit", offset=reader.offset - 2)
    return reader.take(size, "the QE authentication data")


def _certification(reader: _Reader) -> tuple[int, bytes]:
    number = reader.number("H", "the certification data type")
    size = reader.number("I", "the length of the certification data")
    if size > MAX_CERTIFICATION_BYTES:
        raise FormatError(f"certification data of {size} bytes is over the limit", offset=reader.offset - 4)
    reader.rest(size, "certification data")
    return number, reader.take(size, "the certification data")
