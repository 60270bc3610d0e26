"""RA-TLS: self-signed certificates that carry a quote over their own key, a nonce and a purpose.

The evidence is the TCG DICE tagged evidence extension 2.23.133.5.4.9: CBOR tag 60000 over [quote, claims], claims as
in :mod:`adyton.attestation.report_data`. The older extension with a bare quote is not read: it has no nonce and no
purpose. TLS proves that the peer holds the certificate's key; everything else is proven here.

A nonce is used once: who issues nonces forgets one when it is presented, before verifying. OpenSSL may call a verify
callback more than once for one certificate, and not at all for a resumed session, so verify after the handshake, and
switch tickets off.
"""

from __future__ import annotations

import hashlib
import hmac
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Final, Protocol

import cbor2
from cryptography import x509
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from cryptography.x509.oid import NameOID

from adyton.attestation.chain import LIBRARY_ERRORS, load_certificate
from adyton.attestation.checks import Recorder
from adyton.attestation.errors import AttestationError, Finding, Outcome
from adyton.attestation.quote import MAX_QUOTE_BYTES
from adyton.attestation.report_data import MAX_CLAIMS_BYTES, Claims, claims_bytes, decode_cbor, report_data
from adyton.base.clock import utc_now

if TYPE_CHECKING:
    from adyton.attestation.collateral import Collateral
    from adyton.attestation.evidence import VerifiedEvidence
    from adyton.attestation.policy import QuotePolicy

TAGGED_EVIDENCE: Final = x509.ObjectIdentifier("2.23.133.5.4.9")
MAX_CERTIFICATE_BYTES: Final = MAX_QUOTE_BYTES + (8 << 10)
LIFETIME: Final = timedelta(hours=1)  # freshness comes from the nonce; the dates only bound an accident
CLOCK_SKEW: Final = timedelta(minutes=5)

_TAG = 60000

# Codes of the checks on the certificate, before those on its quote (adyton.attestation.checks).
CERTIFICATE_CHECKS: Final[dict[str, str]] = {
    "attestation.certificate.format": "one self-signed certificate on P-256 or P-384 with one evidence extension",
    "attestation.certificate.validity": "now is within the certificate's dates",
    "attestation.claims": "the evidence is a quote and claims with key hash, nonce and purpose, and nothing else",
    "attestation.key": "the claims name the certificate's own key",
    "attestation.purpose": "the claims name the purpose that is expected here",
    "attestation.freshness": "the claims hold the nonce that was issued for this handshake",
}
BINDING_CHECK: Final = "attestation.report_data"  # the quote is over these claims, and the rest of it is zero


class EvidenceSource(Protocol):
    """What quotes for the enclave that makes a certificate: its platform."""

    def quote(self, report_data: bytes) -> bytes:
        """A quote over 64 bytes of report data."""


@dataclass(frozen=True, slots=True)
class CertificateEvidence:
    """A certificate's evidence whose claims were checked; the quote is still unverified."""

    quote: bytes
    claims: bytes
    findings: tuple[Finding, ...]


def make_certificate(
    private_key: ec.EllipticCurvePrivateKey,
    source: EvidenceSource,
    purpose: str,
    nonce: bytes,
    *,
    now: datetime | None = None,
) -> bytes:
    """Make a self-signed certificate of ``private_key`` with fresh evidence.

    Args:
        private_key: P-256 or P-384, made inside the enclave for this connection.
        source: quotes for this enclave.
        purpose: the protocol the certificate is for.
        nonce: as issued by the verifier.
        now: start of the certificate's hour; the current time by default.

    Returns:
        The certificate in DER.

    Raises:
        InputError: a purpose or nonce out of bounds.
    """
    start = now or utc_now()
    public = private_key.public_key()
    claims = claims_bytes(purpose, public.public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo), nonce)
    evidence = cbor2.dumps(cbor2.CBORTag(_TAG, [source.quote(report_data(claims)), claims]), canonical=True)
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "Adyton RA-TLS")])
    builder = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(public)
        .serial_number(x509.random_serial_number())
        .not_valid_before(start - CLOCK_SKEW)
        .not_valid_after(start + LIFETIME)
        .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
        .add_extension(x509.UnrecognizedExtension(TAGGED_EVIDENCE, evidence), critical=False)
    )
    return builder.sign(private_key, SHA256()).public_bytes(Encoding.DER)


def extract(der: bytes) -> tuple[bytes, bytes]:
    """Take quote and claims out of a certificate, unverified.

    Raises:
        AttestationError: ``attestation.certificate.format`` or ``attestation.claims``.
    """
    return _evidence(_certificate(der))


def open_certificate(der: bytes, *, purpose: str, nonce: bytes, now: datetime) -> CertificateEvidence:
    """Check everything about a certificate but its quote; who calls this verifies the quote and its report data next.

    Raises:
        AttestationError: the code of the first failed check of :data:`CERTIFICATE_CHECKS`, and all findings.
    """
    record = Recorder()
    certificate = record.run("attestation.certificate.format", _certificate, der)
    record.run("attestation.certificate.validity", _check_dates, certificate, now)
    evidence = record.run("attestation.claims", _evidence_and_claims, certificate)
    claims = None if evidence is None else evidence[2]
    record.run("attestation.key", _check_key, claims, certificate)
    record.run("attestation.purpose", _check_purpose, claims, purpose)
    record.run("attestation.freshness", _check_nonce, claims, nonce)
    findings = record.conclude(tuple(CERTIFICATE_CHECKS))
    if evidence is None:
        raise AttestationError("not every check was made", code="attestation.incomplete", findings=findings)
    return CertificateEvidence(evidence[0], evidence[1], findings)


def bind(evidence: VerifiedEvidence, opened: CertificateEvidence) -> VerifiedEvidence:
    """Check that the verified quote is over the certificate's claims, and join the findings.

    Raises:
        AttestationError: ``attestation.report_data``.
    """
    if not hmac.compare_digest(evidence.report_data, report_data(opened.claims)):
        failed = Finding(BINDING_CHECK, Outcome.FAILED)
        raise AttestationError(
            "the quote is not over the claims of the certificate, or its report data does not end in zeros",
            code=BINDING_CHECK,
            findings=(*opened.findings, *evidence.checks, failed),
        )
    passed = Finding(BINDING_CHECK, Outcome.PASSED)
    return replace(evidence, checks=(*opened.findings, *evidence.checks, passed))


def verify_certificate(
    der: bytes, *, purpose: str, nonce: bytes, collateral: Collateral, policy: QuotePolicy, now: datetime
) -> VerifiedEvidence:
    """Verify an RA-TLS certificate: its claims, its quote, and that one is over the other.

    Raises:
        AttestationError: a code of :data:`CERTIFICATE_CHECKS`, of
            :data:`~adyton.attestation.checks.QUOTE_CHECKS`, or ``attestation.report_data``.
    """
    opened = open_certificate(der, purpose=purpose, nonce=nonce, now=now)
    from adyton.attestation.steps import verify_quote  # noqa: PLC0415  # every enclave makes, only few judge evidence

    return bind(verify_quote(opened.quote, collateral, policy, now), opened)


def _certificate(der: bytes) -> x509.Certificate:
    if len(der) > MAX_CERTIFICATE_BYTES:
        raise _format_error(f"a certificate of {len(der)} bytes is over the limit")
    try:
        certificate = load_certificate(der, "the certificate")
        certificate.verify_directly_issued_by(certificate)
    except (AttestationError, InvalidSignature, *LIBRARY_ERRORS) as error:
        raise _format_error("not a self-signed certificate") from error
    key = certificate.public_key()
    critical = {extension.oid for extension in certificate.extensions if extension.critical}
    if not isinstance(key, ec.EllipticCurvePublicKey) or not isinstance(key.curve, (ec.SECP256R1, ec.SECP384R1)):
        raise _format_error("the certificate's key is neither P-256 nor P-384")
    if critical - {x509.BasicConstraints.oid, x509.KeyUsage.oid}:
        raise _format_error("the certificate has an unknown critical extension")
    return certificate


def _evidence(certificate: x509.Certificate) -> tuple[bytes, bytes]:
    try:
        value = certificate.extensions.get_extension_for_oid(TAGGED_EVIDENCE).value
    except x509.ExtensionNotFound as error:
        raise _format_error(f"the certificate has no evidence extension {TAGGED_EVIDENCE.dotted_string}") from error
    data = value.public_bytes()
    tagged = decode_cbor(data, MAX_CERTIFICATE_BYTES, "evidence")
    if not isinstance(tagged, cbor2.CBORTag) or tagged.tag != _TAG:
        raise AttestationError(f"the evidence does not have CBOR tag {_TAG}", code="attestation.claims")
    pair = tagged.value
    if not (isinstance(pair, (list, tuple)) and len(pair) == 2 and all(isinstance(item, bytes) for item in pair)):
        raise AttestationError("the evidence is not a quote and claims", code="attestation.claims")
    quote, claims = pair
    if len(claims) > MAX_CLAIMS_BYTES or cbor2.dumps(cbor2.CBORTag(_TAG, [quote, claims]), canonical=True) != data:
        raise AttestationError("the evidence is not in deterministic CBOR", code="attestation.claims")
    return quote, claims


def _evidence_and_claims(certificate: x509.Certificate) -> tuple[bytes, bytes, Claims]:
    quote, claims = _evidence(certificate)
    return quote, claims, Claims.parse(claims)


def _check_dates(certificate: x509.Certificate, now: datetime) -> None:
    if not certificate.not_valid_before_utc <= now <= certificate.not_valid_after_utc:
        raise AttestationError(
            f"the certificate is valid to {certificate.not_valid_after_utc.isoformat()}, it is {now.isoformat()}",
            code="attestation.certificate.validity",
            hint="check the clocks of both ends",
        )


def _check_key(claims: Claims, certificate: x509.Certificate) -> None:
    spki = certificate.public_key().public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
    if not hmac.compare_digest(claims.spki_sha256, hashlib.sha256(spki).digest()):
        raise AttestationError("the evidence is for another key than the certificate's", code="attestation.key")


def _check_purpose(claims: Claims, purpose: str) -> None:
    if not hmac.compare_digest(claims.purpose.encode(), purpose.encode()):
        raise AttestationError(
            f"the evidence is for {claims.purpose!r}, not for {purpose!r}", code="attestation.purpose"
        )


def _check_nonce(claims: Claims, nonce: bytes) -> None:
    if not hmac.compare_digest(claims.nonce, nonce):
        raise AttestationError(
            "the evidence does not hold the nonce that was issued",
            code="attestation.freshness",
            hint="ask for a new nonce and make new evidence with it",
        )


def _format_error(message: str) -> AttestationError:
    return AttestationError(message, code="attestation.certificate.format")
