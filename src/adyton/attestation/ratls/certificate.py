"""RA-TLS: self-signed certificates that carry a quote over their own key, a nonce and a purpose.

Written is one form, read are those of :mod:`adyton.attestation.ratls.forms`. This project's protocols accept only what
binds all three (:func:`open_certificate`); who deals with other implementations may accept a binding to the key, and is
told that nothing else was asked (:func:`open_key_bound_certificate`). TLS proves that the peer holds the certificate's
key; everything else is proven here.

A nonce is used once: who issues nonces forgets one when it is presented, before verifying. OpenSSL may call a verify
callback more than once for one certificate, and not at all for a resumed session: :mod:`adyton.web.peercert` sees to
both.
"""

from __future__ import annotations

import hmac
from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Final, Protocol

from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from cryptography.x509.oid import NameOID

from adyton.attestation.checks import Recorder
from adyton.attestation.errors import AttestationError, Finding, Outcome
from adyton.attestation.formats.report_data import claims_bytes, report_data
from adyton.attestation.ratls.forms import (
    MAX_CERTIFICATE_BYTES,
    TAGGED_EVIDENCE,
    Binding,
    CertificateEvidence,
    Form,
    claimed_nonce,
    encode_tagged_evidence,
    load_self_signed,
    read_certificate,
    read_evidence,
)
from adyton.base.clock import utc_now

if TYPE_CHECKING:
    from adyton.attestation.collateral.documents import Collateral
    from adyton.attestation.evidence import VerifiedEvidence
    from adyton.attestation.policy import QuotePolicy

__all__ = [
    "BINDING_CHECK",
    "CERTIFICATE_CHECKS",
    "MAX_CERTIFICATE_BYTES",
    "Binding",
    "CertificateEvidence",
    "EvidenceSource",
    "Form",
    "OpenedCertificate",
    "bind",
    "claimed_nonce",
    "extract",
    "make_certificate",
    "open_certificate",
    "open_key_bound_certificate",
    "read_certificate",
    "verify_certificate",
    "verify_key_bound_certificate",
]

LIFETIME: Final = timedelta(hours=1)  # freshness comes from the nonce; the dates only bound an accident
CLOCK_SKEW: Final = timedelta(minutes=5)

# Codes of the checks on the certificate, before those on its quote (adyton.attestation.checks).
CERTIFICATE_CHECKS: Final[dict[str, str]] = {
    "attestation.certificate.format": "one self-signed certificate on P-256 or P-384 with evidence in one extension",
    "attestation.certificate.validity": "now is within the certificate's dates",
    "attestation.claims": "the evidence is a quote and claims that bind what the relying party asks for",
    "attestation.key": "the claims name the certificate's own key",
    "attestation.purpose": "the claims name the purpose that is expected here",
    "attestation.freshness": "the claims hold the nonce that was issued for this handshake",
}
BINDING_CHECK: Final = "attestation.report_data"  # the quote is over these claims, and the rest of it is zero

UNBOUND = "the quote is not over the claims of the certificate, or its report data does not end in zeros"


class EvidenceSource(Protocol):
    """What quotes for the enclave that makes a certificate: its platform."""

    def quote(self, report_data: bytes) -> bytes:
        """A quote over 64 bytes of report data."""


@dataclass(frozen=True, slots=True)
class OpenedCertificate:
    """A certificate that passed every check but those on its quote."""

    evidence: CertificateEvidence
    findings: tuple[Finding, ...]

    @property
    def quote(self) -> bytes:
        """The quote, still unverified."""
        return self.evidence.quote


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
    evidence = encode_tagged_evidence(source.quote(report_data(claims)), claims)
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
    """Take quote and encoded claims (none in the legacy form) out of a certificate, unverified.

    Raises:
        AttestationError: as :func:`read_certificate`.
    """
    carried = read_certificate(der)
    return carried.quote, carried.claims


def open_certificate(der: bytes, *, purpose: str, nonce: bytes, now: datetime) -> OpenedCertificate:
    """Check everything about a certificate but its quote; who calls this verifies the quote and its report data next.

    Raises:
        AttestationError: the code of the first failed check of :data:`CERTIFICATE_CHECKS`, and all findings;
            ``attestation.certificate.legacy`` for evidence of the form that binds neither nonce nor purpose.
    """
    record = Recorder()
    certificate = record.run("attestation.certificate.format", load_self_signed, der)
    carried = record.run("attestation.claims", _fully_bound, certificate)
    record.run("attestation.certificate.validity", _check_dates, carried, now)
    record.run("attestation.key", _check_key, carried)
    record.run("attestation.purpose", _check_purpose, carried, purpose)
    record.run("attestation.freshness", _check_nonce, carried, nonce)
    return _opened(carried, record.conclude(tuple(CERTIFICATE_CHECKS)))


def open_key_bound_certificate(der: bytes, *, now: datetime, nonce: bytes | None = None) -> OpenedCertificate:
    """Check a certificate of any form, for a relying party that asks for a binding to the key only.

    What this accepts proves that an enclave once made this key. Without ``nonce`` it says nothing about now, and never
    anything about the protocol that the evidence was made for; the findings say ``not_asked``. Not for handing out
    secrets of this project: that takes :func:`open_certificate`.

    Args:
        der: the certificate.
        now: time of the check.
        nonce: the nonce that the evidence must hold, where the implementation at the other end takes one.

    Raises:
        AttestationError: the code of the first failed check of :data:`CERTIFICATE_CHECKS`, and all findings.
    """
    record = Recorder()
    certificate = record.run("attestation.certificate.format", load_self_signed, der)
    carried = record.run("attestation.claims", read_evidence, certificate)
    record.run("attestation.certificate.validity", _check_dates, carried, now)
    record.run("attestation.key", _check_key, carried)
    unasked = ["attestation.purpose"]
    if nonce is None:
        unasked.append("attestation.freshness")
    else:
        record.run("attestation.freshness", _check_nonce, carried, nonce)
    findings = record.conclude([check for check in CERTIFICATE_CHECKS if check not in unasked])
    return _opened(carried, _in_order((*findings, *(Finding(check, Outcome.NOT_ASKED) for check in unasked))))


def bind(evidence: VerifiedEvidence, opened: OpenedCertificate) -> VerifiedEvidence:
    """Check that the verified quote is over the certificate's claims, and join the findings.

    Raises:
        AttestationError: ``attestation.report_data``.
    """
    if not hmac.compare_digest(evidence.report_data, opened.evidence.report_data):
        failed = Finding(BINDING_CHECK, Outcome.FAILED)
        raise AttestationError(UNBOUND, code=BINDING_CHECK, findings=(*opened.findings, *evidence.checks, failed))
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
    return _verify(open_certificate(der, purpose=purpose, nonce=nonce, now=now), collateral, policy, now)


def verify_key_bound_certificate(
    der: bytes, *, collateral: Collateral, policy: QuotePolicy, now: datetime, nonce: bytes | None = None
) -> VerifiedEvidence:
    """Verify a certificate of any form, asking for no more than :func:`open_key_bound_certificate` does.

    Raises:
        AttestationError: as :func:`verify_certificate`.
    """
    return _verify(open_key_bound_certificate(der, now=now, nonce=nonce), collateral, policy, now)


def _verify(opened: OpenedCertificate, collateral: Collateral, policy: QuotePolicy, now: datetime) -> VerifiedEvidence:
    from adyton.attestation.dcap.assessment import verify_quote  # noqa: PLC0415  # every enclave makes, only few judge evidence

    return bind(verify_quote(opened.quote, collateral, policy, now), opened)


def _opened(carried: CertificateEvidence | None, findings: tuple[Finding, ...]) -> OpenedCertificate:
    if carried is None:
        raise AttestationError("not every check was made", code="attestation.incomplete", findings=findings)
    return OpenedCertificate(carried, findings)


def _in_order(findings: Sequence[Finding]) -> tuple[Finding, ...]:
    order = list(CERTIFICATE_CHECKS)
    return tuple(sorted(findings, key=lambda finding: order.index(finding.check)))


def _fully_bound(certificate: x509.Certificate) -> CertificateEvidence:
    carried = read_evidence(certificate)
    if carried.form is Form.LEGACY:
        raise AttestationError(
            "the evidence is a bare quote over the key: it binds neither nonce nor purpose",
            code="attestation.certificate.legacy",
            hint="make the certificate with tagged evidence over key, nonce and purpose",
        )
    if carried.form is not Form.DICE:
        raise AttestationError(
            "the claims have no purpose, so the evidence may have been made for another protocol",
            code="attestation.claims",
        )
    return carried


def _check_dates(carried: CertificateEvidence, now: datetime) -> None:
    if not carried.window.holds(now):
        raise AttestationError(
            f"the certificate is valid from {carried.window.start.isoformat()} to {carried.window.end.isoformat()},"
            f" it is {now.isoformat()}",
            code="attestation.certificate.validity",
            hint="check the clocks of both ends",
        )


def _check_key(carried: CertificateEvidence) -> None:
    if not carried.names_key:
        raise AttestationError("the evidence is for another key than the certificate's", code="attestation.key")


def _check_purpose(carried: CertificateEvidence, purpose: str) -> None:
    if not hmac.compare_digest(carried.purpose.encode(), purpose.encode()):
        raise AttestationError(
            f"the evidence is for {carried.purpose!r}, not for {purpose!r}", code="attestation.purpose"
        )


def _check_nonce(carried: CertificateEvidence, nonce: bytes) -> None:
    if not nonce or not hmac.compare_digest(carried.nonce, nonce):
        raise AttestationError(
            "the evidence does not hold the nonce that was issued",
            code="attestation.freshness",
            hint="ask for a new nonce and make new evidence with it",
        )
