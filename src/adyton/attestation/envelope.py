"""Evidence in whatever form a person has it: finds out what a file holds, and takes the evidence out of it.

Understood are SGX and TDX quotes, SEV-SNP reports and Nitro documents: as they are, in hex, in base64, in PEM, or in an
RA-TLS certificate (PEM or DER). What it is follows from the structure of the bytes, never from a file's name. Nothing
here judges: what comes out is unverified, and only :mod:`adyton.attestation.appraise` says what it is worth.

Rules: bounded input; every reading of the bytes is tried, and input that can be read in two ways is refused; errors
describe the input and never repeat it, because people give private keys by mistake.
"""

from __future__ import annotations

import base64
import binascii
import re
import struct
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final

from adyton.attestation.chain import load_certificate
from adyton.attestation.errors import AttestationError, FormatError
from adyton.attestation.formats.quote import QE_VENDOR_INTEL
from adyton.attestation.ratls import certificate as ratls
from adyton.attestation.verdict import EvidenceKind

MAX_ENVELOPE_BYTES: Final = 256 << 10  # a certificate with the largest quote, in hex with line breaks, is below 100 kB
SNP_REPORT_BYTES: Final = 0x4A0  # SEV-SNP ABI (AMD 56860), table "ATTESTATION_REPORT structure"

_TEE_TYPES = {0x00: EvidenceKind.SGX, 0x81: EvidenceKind.TDX}
_SNP_VERSIONS = range(2, 6)
_PEM = re.compile(r"-----BEGIN ([A-Z0-9 ]{1,64})-----([A-Za-z0-9+/=\s]*)-----END \1-----")
_HEX = re.compile(r"(?:0[xX])?[0-9a-fA-F]+")
_BASE64 = re.compile(r"[A-Za-z0-9+/]+={0,2}|[A-Za-z0-9_-]+={0,2}")  # one alphabet or the other, never both
_JSON = "{["
_PACKED = {b"\x1f\x8b": "gzip", b"PK\x03\x04": "zip", b"\xfd7zXZ": "xz", b"\x28\xb5\x2f\xfd": "zstd"}
_UNDERSTOOD = (
    "understood are SGX and TDX quotes (versions 3 to 5), SEV-SNP reports and Nitro documents: binary, hex, base64, "
    "PEM, or in an RA-TLS certificate"
)


@dataclass(frozen=True, slots=True)
class Envelope:
    """Evidence that was found, unverified.

    Attributes:
        kind: the technology, by the structure of the bytes.
        evidence: the quote, report or document itself.
        form: how it came, in words for people.
        certificate: the RA-TLS certificate (DER) that it came in, None when it came alone.
    """

    kind: EvidenceKind
    evidence: bytes
    form: str
    certificate: bytes | None = None


def open_envelope(data: bytes) -> Envelope:
    """Find the one piece of evidence that ``data`` holds.

    Raises:
        AttestationError: ``attestation.envelope.size``, ``.empty``, ``.encoding`` (broken hex, base64 or PEM),
            ``.private_key``, ``.ambiguous`` or ``.unknown``; for certificates the codes of
            :func:`adyton.attestation.ratls.certificate.extract`.
        FormatError: ``attestation.quote.version`` or ``attestation.quote.tee_type``: a quote, but of no known kind.
    """
    if len(data) > MAX_ENVELOPE_BYTES:
        raise AttestationError(
            f"the input has more than {MAX_ENVELOPE_BYTES} bytes: that is no evidence",
            code="attestation.envelope.size",
            hint=_UNDERSTOOD,
        )
    text = _text(data)
    if not data or text == "":
        raise AttestationError("the input is empty", code="attestation.envelope.empty", hint=_UNDERSTOOD)
    found: dict[bytes, Envelope] = {}
    refused: list[AttestationError] = []
    for content, form in _readings(data, text):
        try:
            envelope = _recognise(content, form)
        except AttestationError as error:
            refused.append(error)
            continue
        if envelope is not None:
            found.setdefault(envelope.certificate or envelope.evidence, envelope)
    if len(found) > 1:
        names = ", ".join(f"{each.kind.value} as {each.form}" for each in found.values())
        raise AttestationError(
            f"the input holds {len(found)} different pieces of evidence: {names}",
            code="attestation.envelope.ambiguous",
            hint="give one at a time",
        )
    if found:
        return next(iter(found.values()))
    raise refused[0] if refused else _unknown(data, text)


def kind_of(data: bytes) -> EvidenceKind | None:
    """Which evidence ``data`` is, by its structure; None when it is none that is known.

    Raises:
        FormatError: ``attestation.quote.version`` or ``attestation.quote.tee_type``.
        AttestationError: ``attestation.envelope.ambiguous``: it has the marks of two technologies.
    """
    kinds = [kind for kind in (_quote_kind(data), _snp_kind(data), _nitro_kind(data)) if kind is not None]
    if len(kinds) > 1:
        raise AttestationError(
            f"the input has the marks of both {kinds[0].value} and {kinds[1].value} evidence",
            code="attestation.envelope.ambiguous",
        )
    return kinds[0] if kinds else None


def _quote_kind(data: bytes) -> EvidenceKind | None:
    """Intel, *SGX ECDSA QuoteGenReference* A.4 and *TDX DCAP QuoteGenReference* A.3: version, key type, TEE, vendor."""
    if len(data) < 28:
        return None
    version, key_type, tee_type = struct.unpack_from("<HHI", data)
    if data[12:28] != QE_VENDOR_INTEL and not (3 <= version <= 5 and key_type in {2, 3}):
        return None
    if not 3 <= version <= 5:
        raise FormatError(f"quote version {version} is not supported", offset=0, code="attestation.quote.version")
    if version == 3:
        return EvidenceKind.SGX
    if tee_type not in _TEE_TYPES:
        raise FormatError(f"TEE type {tee_type:#x} is not supported", offset=4, code="attestation.quote.tee_type")
    return _TEE_TYPES[tee_type]


def _snp_kind(data: bytes) -> EvidenceKind | None:
    if len(data) != SNP_REPORT_BYTES:
        return None
    return EvidenceKind.SNP if int.from_bytes(data[:4], "little") in _SNP_VERSIONS else None


def _nitro_kind(data: bytes) -> EvidenceKind | None:
    """COSE_Sign1 (RFC 9052 4.2): an array of four, tagged 18 or not, that begins with a byte string."""
    body = data.removeprefix(b"\xd2")
    return EvidenceKind.NITRO if len(body) > 2 and body[0] == 0x84 and body[1] >> 5 == 2 else None


def _recognise(content: bytes, form: str) -> Envelope | None:
    kind = kind_of(content)
    if kind is not None:
        return Envelope(kind, content, form)
    if not _is_certificate(content):
        return None
    evidence, _claims = ratls.extract(content)
    kind = kind_of(evidence)
    if kind not in {EvidenceKind.SGX, EvidenceKind.TDX}:
        raise AttestationError(
            "the evidence extension of the certificate holds no SGX or TDX quote", code="attestation.envelope.unknown"
        )
    return Envelope(kind, evidence, f"an RA-TLS certificate ({form})", content)


def _is_certificate(data: bytes) -> bool:
    if not data.startswith(b"\x30"):
        return False
    try:
        load_certificate(data, "the certificate")
    except AttestationError:
        return False
    return True


def _text(data: bytes) -> str | None:
    """The input as text without byte order mark and surrounding blanks; None when it is no text."""
    shell_of_windows = data[:2] in {b"\xff\xfe", b"\xfe\xff"}  # some of them write redirected text in UTF-16
    try:
        text = data.decode("utf-16" if shell_of_windows else "utf-8-sig")
    except UnicodeDecodeError:
        return None
    text = text.strip("\0 \t\r\n")
    return None if "\0" in text else text


def _readings(data: bytes, text: str | None) -> Iterator[tuple[bytes, str]]:
    """Everything that the input can be read as."""
    yield data, "binary"
    if text is None or text[0] in _JSON:
        return
    if "-----BEGIN" in text:
        yield from _pem_blocks(text)
        return
    digits = "".join(text.split())
    if _HEX.fullmatch(digits) and len(digits) % 2 == 0:
        yield bytes.fromhex(_bare(digits)), "hex"
    decoded = _from_base64(digits)
    if decoded:
        yield decoded, "base64"


def _bare(digits: str) -> str:
    return digits[2:] if digits[:2] in {"0x", "0X"} else digits


def _pem_blocks(text: str) -> Iterator[tuple[bytes, str]]:
    """RFC 7468 blocks; text around them, as openssl prints it, is not looked at."""
    if "PRIVATE KEY" in text:
        raise AttestationError(
            "the input holds a private key; nothing of it was kept or shown",
            code="attestation.envelope.private_key",
            hint="evidence holds no secrets: give the file with the quote or the certificate, without its key",
        )
    blocks = [(match[1], _from_base64("".join(match[2].split()))) for match in _PEM.finditer(text)]
    if len(blocks) != text.count("-----BEGIN") or not all(content for _, content in blocks):
        raise AttestationError(
            "the input begins PEM that is cut off or is not base64 inside",
            code="attestation.envelope.encoding",
            hint="copy it from '-----BEGIN' to the end of the line with '-----END'",
        )
    for label, content in blocks:
        yield content, f"PEM, {label.lower()}"


def _from_base64(text: str) -> bytes:
    """Both alphabets, with or without padding; empty when it is not what an encoder writes."""
    if not _BASE64.fullmatch(text):
        return b""
    plain = text.rstrip("=").replace("-", "+").replace("_", "/")
    try:
        decoded = base64.b64decode(plain + "=" * (-len(plain) % 4), validate=True)
    except binascii.Error:
        return b""
    padded = len(text) % 4 == 0 or "=" not in text
    exact = base64.b64encode(decoded).rstrip(b"=").decode() == plain
    return decoded if padded and exact else b""


def _unknown(data: bytes, text: str | None) -> AttestationError:
    """Why nothing was found, in the words of whoever gave the wrong file."""
    digits = "" if text is None else "".join(text.split())
    if text is not None and _HEX.fullmatch(digits) and len(digits) % 2:
        return AttestationError(
            f"the input is hex with an odd number of digits ({len(digits)}): one is missing",
            code="attestation.envelope.encoding",
            hint="copy the whole text again",
        )
    if text is not None and text[0] in _JSON:
        return AttestationError(
            "the input is JSON, not evidence",
            code="attestation.envelope.unknown",
            hint="collateral is given with --collateral, a policy with --policy; " + _UNDERSTOOD,
        )
    packed = next((name for magic, name in _PACKED.items() if data.startswith(magic)), None)
    if packed is not None:
        return AttestationError(
            f"the input is packed with {packed}", code="attestation.envelope.unknown", hint="unpack it first"
        )
    return AttestationError(
        f"the input is no evidence that is known: {_describe(data, text, digits)}",
        code="attestation.envelope.unknown",
        hint=_UNDERSTOOD,
    )


def _describe(data: bytes, text: str | None, digits: str) -> str:
    if text is None:
        return f"{len(data)} bytes of binary data"
    if "-----BEGIN" in text:
        return "something else in PEM"
    if _HEX.fullmatch(digits):
        return f"{len(_bare(digits)) // 2} other bytes in hex"
    decoded = _from_base64(digits)
    return f"{len(decoded)} other bytes in base64" if decoded else "text, neither hex nor base64 nor PEM"
