"""The forms in which a TLS certificate carries evidence, read without judging it.

==============  ==========================================================  =====================================
form            extension                                                   the quote is over
==============  ==========================================================  =====================================
``dice``        TCG DICE tagged evidence 2.23.133.5.4.9: CBOR tag 60000     the claims: key, nonce and purpose
                over [quote, claims]; what this project writes
``gramine-dice``  the same, as Gramine writes it                            the claims: key, sometimes a nonce
``legacy``      1.2.840.113741.1337.6, or 0.6.9.42.840.113741.1337.6: the   the hash of the key
                bare quote (the second OID is the first one's DER, tag and
                length included, taken for content; Gramine keeps it)
==============  ==========================================================  =====================================

What a form binds decides what it is good for (:class:`Binding`): without a nonce it proves nothing about now, and
without a purpose it may have been made for another protocol. Gramine writes both extensions, with two quotes; they
must be of one enclave, or two readers of one certificate would see two peers. Extensions are found by parsing, never
by searching for the bytes of an OID.
"""

from __future__ import annotations

import hmac
from dataclasses import dataclass, replace
from enum import Flag, StrEnum, auto
from typing import Final

import cbor2
from cryptography import x509
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.hashes import SHA256, SHA384, SHA512

from adyton.attestation.chain import LIBRARY_ERRORS, Window, load_certificate, spki
from adyton.attestation.errors import AttestationError
from adyton.attestation.formats.quote import MAX_QUOTE_BYTES, parse_quote
from adyton.attestation.formats.report_data import (
    MAX_CLAIMS_BYTES,
    Claims,
    ForeignClaims,
    decode_cbor,
    legacy_report_data,
    read_claims,
    report_data,
)
from adyton.attestation.formats.sgx import REPORT_DATA_BYTES

TAGGED_EVIDENCE: Final = x509.ObjectIdentifier("2.23.133.5.4.9")
LEGACY_QUOTES: Final = (
    x509.ObjectIdentifier("1.2.840.113741.1337.6"),
    x509.ObjectIdentifier("0.6.9.42.840.113741.1337.6"),
)
EVIDENCE_TAG: Final = 60000
_HASHES: Final = (SHA256, SHA384, SHA512)
MAX_CERTIFICATE_BYTES: Final = 2 * MAX_QUOTE_BYTES + (8 << 10)  # Gramine's carries two quotes


class Form(StrEnum):
    """How a certificate carries evidence."""

    DICE = "dice"
    GRAMINE_DICE = "gramine-dice"
    LEGACY = "legacy"


class Binding(Flag):
    """What evidence is tied to by its quote."""

    KEY = auto()
    NONCE = auto()
    PURPOSE = auto()
    ALL = KEY | NONCE | PURPOSE


@dataclass(frozen=True, slots=True, kw_only=True)
class CertificateEvidence:
    """What a self-signed certificate carries. Its own signature holds; nothing about the quote is verified.

    Attributes:
        form: how it is carried.
        quote: the quote's bytes.
        claims: the encoded claims; empty in the legacy form.
        report_data: what the quote must be over (64 bytes) to belong to these claims or this key.
        spki: the certificate's key (SubjectPublicKeyInfo, DER).
        names_key: whether the claims name that key.
        nonce: as claimed; empty where the form has none.
        purpose: as claimed; empty where the form has none.
        window: the certificate's dates, which say nothing about freshness: some implementations write 2001 to 2030.
    """

    form: Form
    quote: bytes
    claims: bytes
    report_data: bytes
    spki: bytes
    names_key: bool
    nonce: bytes
    purpose: str
    window: Window

    @property
    def binding(self) -> Binding:
        """What the evidence is tied to, if its quote holds and is over :attr:`report_data`."""
        found = Binding(0)
        for part, present in (
            (Binding.KEY, self.names_key),
            (Binding.NONCE, bool(self.nonce)),
            (Binding.PURPOSE, bool(self.purpose)),
        ):
            found |= part if present else Binding(0)
        return found


def read_certificate(der: bytes) -> CertificateEvidence:
    """Read the evidence of a self-signed certificate, in whichever form.

    Raises:
        AttestationError: ``attestation.certificate.format``: no such certificate, or one without evidence;
            ``attestation.certificate.disagree``: two extensions with evidence of different enclaves;
            ``attestation.claims``: the evidence is not a quote and claims about a key.
    """
    return read_evidence(load_self_signed(der))


def claimed_nonce(der: bytes) -> bytes:
    """The nonce that a certificate's claims hold, empty where they hold none; nothing is judged, not even who signed.

    For who issues nonces and uses one up before judging what it came with.

    Raises:
        AttestationError: as :func:`read_certificate`.
    """
    return read_evidence(_load(der)[0]).nonce


def load_self_signed(der: bytes) -> x509.Certificate:
    """A certificate on P-256 or P-384 that its own key signed.

    Raises:
        AttestationError: ``attestation.certificate.format``.
    """
    certificate, key = _load(der)
    try:
        digest = certificate.signature_hash_algorithm
        if certificate.issuer != certificate.subject or not isinstance(digest, _HASHES):
            raise _format_error("not a certificate that its own key signed with ECDSA and SHA-256, 384 or 512")
        key.verify(certificate.signature, certificate.tbs_certificate_bytes, ec.ECDSA(digest))
    except InvalidSignature as error:
        raise _format_error("the certificate is not signed by its own key") from error
    except LIBRARY_ERRORS as error:
        raise _format_error("not a self-signed certificate") from error
    return certificate


def read_evidence(certificate: x509.Certificate) -> CertificateEvidence:
    """Read the evidence of an already loaded certificate.

    Raises:
        AttestationError: as :func:`read_certificate`.
    """
    tagged = _extension(certificate, TAGGED_EVIDENCE)
    bare = {value for value in (_extension(certificate, oid) for oid in LEGACY_QUOTES) if value is not None}
    if tagged is None and not bare:
        names = ", ".join(oid.dotted_string for oid in (TAGGED_EVIDENCE, *LEGACY_QUOTES))
        raise _format_error(f"the certificate has no evidence extension ({names})")
    if len(bare) > 1:
        raise _disagreement("two different bare quotes")
    key = spki(certificate)
    window = Window("the certificate", certificate.not_valid_before_utc, certificate.not_valid_after_utc)
    legacy = next(iter(bare), None)
    if tagged is None:
        assert legacy is not None  # noqa: S101  # one of the two is there
        return CertificateEvidence(
            form=Form.LEGACY,
            quote=legacy,
            claims=b"",
            report_data=legacy_report_data(key),
            spki=key,
            names_key=True,  # the key is all that this form's report data is made of
            nonce=b"",
            purpose="",
            window=window,
        )
    evidence = _tagged_evidence(tagged, key, window)
    if legacy is not None:
        _check_same_enclave(evidence, legacy)
    return evidence


def _load(der: bytes) -> tuple[x509.Certificate, ec.EllipticCurvePublicKey]:
    if len(der) > MAX_CERTIFICATE_BYTES:
        raise _format_error(f"a certificate of {len(der)} bytes is over the limit of {MAX_CERTIFICATE_BYTES}")
    try:
        certificate = load_certificate(der, "the certificate")
    except AttestationError as error:
        raise _format_error(error.message) from error
    key = certificate.public_key()
    if not isinstance(key, ec.EllipticCurvePublicKey) or not isinstance(key.curve, (ec.SECP256R1, ec.SECP384R1)):
        raise _format_error("the certificate's key is neither P-256 nor P-384")
    critical = {extension.oid for extension in certificate.extensions if extension.critical}
    if critical - {x509.BasicConstraints.oid, x509.KeyUsage.oid}:
        raise _format_error("the certificate has an unknown critical extension")
    return certificate, key


def _tagged_evidence(data: bytes, key: bytes, window: Window) -> CertificateEvidence:
    quote, claims = split_tagged_evidence(data)
    read = read_claims(claims)
    if isinstance(read, Claims) and encode_tagged_evidence(quote, claims) != data:
        raise AttestationError("the evidence is not in deterministic CBOR", code="attestation.claims")
    return CertificateEvidence(
        form=Form.GRAMINE_DICE if isinstance(read, ForeignClaims) else Form.DICE,
        quote=quote,
        claims=claims,
        report_data=report_data(claims),
        spki=key,
        names_key=read.names(key),
        nonce=read.nonce,
        purpose="" if isinstance(read, ForeignClaims) else read.purpose,
        window=window,
    )


def encode_tagged_evidence(quote: bytes, claims: bytes) -> bytes:
    """The value of the tagged evidence extension, in deterministic CBOR."""
    return bytes(cbor2.dumps(cbor2.CBORTag(EVIDENCE_TAG, [quote, claims]), canonical=True))


def split_tagged_evidence(data: bytes) -> tuple[bytes, bytes]:
    """Quote and encoded claims of a tagged evidence extension's value.

    Raises:
        AttestationError: ``attestation.claims``.
    """
    tagged = decode_cbor(data, MAX_QUOTE_BYTES + 2 * MAX_CLAIMS_BYTES, "evidence")
    if not isinstance(tagged, cbor2.CBORTag) or tagged.tag != EVIDENCE_TAG:
        raise AttestationError(f"the evidence does not have CBOR tag {EVIDENCE_TAG}", code="attestation.claims")
    pair = tagged.value
    if not (isinstance(pair, (list, tuple)) and len(pair) == 2 and all(isinstance(item, bytes) for item in pair)):
        raise AttestationError("the evidence is not a quote and claims", code="attestation.claims")
    return pair[0], pair[1]


def _check_same_enclave(evidence: CertificateEvidence, legacy: bytes) -> None:
    """The bare quote beside tagged evidence: over the same key, and in all but report data of the same enclave."""
    try:
        first, second = parse_quote(evidence.quote), parse_quote(legacy)
    except AttestationError as error:
        raise _format_error(f"one of the certificate's two quotes cannot be read: {error.message}") from error
    if not hmac.compare_digest(second.body.report_data, legacy_report_data(evidence.spki)):
        raise _disagreement("the bare quote beside the tagged evidence is over another key")
    blank = bytes(REPORT_DATA_BYTES)
    if (first.header, replace(first.body, report_data=blank)) != (
        second.header,
        replace(second.body, report_data=blank),
    ):
        raise _disagreement("quotes of two enclaves")


def _extension(certificate: x509.Certificate, oid: x509.ObjectIdentifier) -> bytes | None:
    found = [extension.value for extension in certificate.extensions if extension.oid == oid]
    return found[0].public_bytes() if found else None  # an extension that is there twice does not load


def _disagreement(reason: str) -> AttestationError:
    return AttestationError(
        f"the certificate carries evidence twice, and not the same: {reason}", code="attestation.certificate.disagree"
    )


def _format_error(message: str) -> AttestationError:
    return AttestationError(message, code="attestation.certificate.format")
