"""What vendors publish for judging evidence, read from the files that people have, in whatever form.

Collateral of SGX and TDX is JSON, one copy or a bundle (:mod:`adyton.attestation.collateral.bundle`); SEV-SNP needs
certificates and a list of revoked ones, in PEM or DER. All is unverified: a wrong one is refused by the judge that
gets it.
"""

from __future__ import annotations

import base64
import binascii
import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from adyton.attestation.anchors import ROOTS
from adyton.attestation.chain import fingerprint, parse_crl
from adyton.attestation.collateral.bundle import MAX_BUNDLE_BYTES, read_bundle
from adyton.attestation.collateral.documents import Collateral, PlatformId
from adyton.attestation.dcap.judge import read_pck
from adyton.attestation.envelope import kind_of
from adyton.attestation.errors import AttestationError
from adyton.attestation.formats import der
from adyton.attestation.formats.quote import parse_quote
from adyton.attestation.snp.report import Generation, KeyKind, TcbVersion, parse_report
from adyton.base.errors import AdytonError

MAX_CERTIFICATES: Final = 16  # of one file; a chain has three

_VERSION_TAG = 0xA0  # [0] EXPLICIT; certificates of version 1 have none, but neither have they extensions
_PEM = re.compile(rb"-----BEGIN ([A-Z0-9 ]{1,64})-----[A-Za-z0-9+/=\s]*-----END \1-----")
_HINT = (
    "understood are collateral in JSON, as 'adyton collateral export' writes it, and for SEV-SNP certificates and CRLs "
    "in PEM or DER"
)


@dataclass(frozen=True, slots=True)
class QuotePlatform:
    """Which platform a quote says that it is from, read from its unverified PCK certificate: tells what to fetch.

    Attributes:
        platform: names the collateral.
        root_sha256: fingerprint of the root that the quote itself carries.
    """

    platform: PlatformId
    root_sha256: str

    @classmethod
    def of(cls, quote: bytes) -> QuotePlatform:
        """Read it from a quote.

        Raises:
            AttestationError: ``attestation.quote…`` or ``attestation.chain…``: the quote or its PCK chain is malformed.
        """
        parsed = parse_quote(quote)
        pck = read_pck(parsed)
        platform = PlatformId(pck.extension.fmspc.hex(), pck.ca, parsed.kind)
        return cls(platform, fingerprint(pck.chain[2]))

    @property
    def tier(self) -> str:
        """The trust anchor that this root would need."""
        return tier_of(self.root_sha256)


def tier_of(root_sha256: str) -> str:
    """The trust anchor that a root would need: a vendor's name, or ``sim:<fingerprint>``."""
    vendors = [tier for tier, roots in ROOTS.items() if root_sha256 in roots]
    return vendors[0] if vendors else f"sim:{root_sha256}"


@dataclass(frozen=True, slots=True)
class Material:
    """Unverified material for any technology.

    Attributes:
        collateral: for SGX and TDX; one for each kind of platform.
        certificates: for SEV-SNP: VCEK or VLEK, ASK, ARK in DER, one after the other, in any order.
        crl: for SEV-SNP: the list of revoked certificates in DER.
    """

    collateral: tuple[Collateral, ...] = ()
    certificates: bytes = b""
    crl: bytes | None = None

    def __add__(self, other: Material) -> Material:
        return Material(
            self.collateral + other.collateral, self.certificates + other.certificates, self.crl or other.crl
        )

    def for_quote(self, quote: bytes) -> Collateral | None:
        """The collateral that is about a quote's platform; else the first, whose verdict says what does not fit."""
        fitting = [each for each in self.collateral if _fits(each, quote)]
        return next(iter(fitting or self.collateral), None)


def key_service(report: bytes) -> tuple[str, ...]:
    """Where the vendor has the certificates of an SEV-SNP report, in words with addresses (AMD 57230, chapter 4).

    One for each generation of processors that the report may be of; older reports do not say.

    Raises:
        FormatError: ``attestation.snp.format``.
    """
    parsed = parse_report(report)
    found = []
    for generation in (each for each in Generation if parsed.is_of(each)):
        base = f"https://kdsintf.amd.com/{{}}/v1/{generation.product}"
        if parsed.signing_key == KeyKind.VLEK:
            found.append(f"the VLEK certificate of the cloud provider, and {base.format('vlek')}/cert_chain")
            continue
        try:
            tcb = TcbVersion.read(parsed.reported_tcb, generation)
        except AttestationError:
            continue
        levels = {"fmc": tcb.fmc} if generation.has_fmc else {}
        levels |= {"bl": tcb.bootloader, "tee": tcb.tee, "snp": tcb.snp, "ucode": tcb.microcode}
        query = "&".join(f"{name}SPL={level:02d}" for name, level in levels.items())
        chip, vcek = parsed.chip_id[: generation.chip_id_bytes].hex(), base.format("vcek")
        found.append(f"{vcek}/{chip}?{query} and {vcek}/cert_chain")
    return tuple(found)


def read_material(data: bytes) -> Material:
    """Read one file.

    Raises:
        AttestationError: ``attestation.collateral.format``: none of the forms, or over a limit;
            ``attestation.collateral.evidence``: the file holds evidence; ``attestation.collateral.private_key``.
    """
    if len(data) > MAX_BUNDLE_BYTES:
        raise _error(f"the file has more than {MAX_BUNDLE_BYTES} bytes")
    if kind_of(data) is not None:
        raise AttestationError(
            "the file holds evidence, not what evidence is judged with",
            code="attestation.collateral.evidence",
            hint="are the two files swapped? adyton evidence verify EVIDENCE --collateral COLLATERAL",
        )
    content = data.removeprefix(b"\xef\xbb\xbf")
    if content.lstrip()[:1] == b"{":
        return _from_json(content)
    if b"-----BEGIN" in content:
        return _from_pem(content)
    if content[:1] == b"\x30":
        return _from_der([content])
    raise _error("the file is empty" if not content.strip() else "the file is neither JSON nor PEM nor DER")


def _from_json(data: bytes) -> Material:
    return Material(collateral=tuple(collateral for _platform, collateral in read_bundle(data)))


def _from_pem(data: bytes) -> Material:
    if b"PRIVATE KEY" in data:
        raise AttestationError(
            "the file holds a private key; nothing of it was kept or shown",
            code="attestation.collateral.private_key",
            hint="collateral holds no secrets: give the vendor's certificates",
        )
    blocks = [(match[1], match.group()) for match in _PEM.finditer(data)]
    labels = sorted({label.decode() for label, _ in blocks} - {"CERTIFICATE", "X509 CRL"})
    if labels or len(blocks) != data.count(b"-----BEGIN"):
        raise _error(
            f"the file holds PEM of {labels[0].lower()!r}" if labels else "the file begins PEM that is cut off"
        )
    return _from_der([_decoded(block) for _, block in blocks])


def _decoded(block: bytes) -> bytes:
    lines = b"".join(block.split(b"-----")[2].split())
    try:
        return base64.b64decode(lines, validate=True)
    except binascii.Error as error:
        raise _error("a PEM block of the file is not base64") from error


def _from_der(items: Sequence[bytes]) -> Material:
    if len(items) > MAX_CERTIFICATES:
        raise _error(f"the file holds {len(items)} certificates and lists")
    certificates = [item for item in items if _is_certificate(item)]
    crls = {_list(item) for item in items if not _is_certificate(item)}
    if len(crls) > 1:
        raise _error("the file holds more than one CRL")
    return Material(certificates=b"".join(certificates), crl=next(iter(crls), None))


def _is_certificate(data: bytes) -> bool:
    """Whether it has the outline of a certificate (RFC 5280 4.1); AMD's have parts that no library reads."""
    try:
        parts = der.elements(der.expect(der.single(data), der.SEQUENCE))
        fields = der.elements(der.expect(parts[0], der.SEQUENCE)) if len(parts) == 3 else []
    except der.DerError:
        return False
    return len(fields) >= 7 and fields[0][0] == _VERSION_TAG


def _list(data: bytes) -> bytes:
    try:
        parse_crl(data, "a CRL")
    except AttestationError as error:
        raise _error("the file holds neither a certificate nor a CRL that can be read") from error
    return data


def _fits(collateral: Collateral, quote: bytes) -> bool:
    try:
        return collateral.platform == QuotePlatform.of(quote).platform
    except AdytonError:
        return False


def _error(message: str) -> AttestationError:
    return AttestationError(message, code="attestation.collateral.format", hint=_HINT)
