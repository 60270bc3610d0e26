"""Judging evidence of any technology for a person: one call from an opened envelope to a verdict.

Pure, like the verifiers that it stands on: :func:`appraise` is for reports and records, and grants nothing.
"""

from __future__ import annotations

import hashlib
import hmac
from dataclasses import replace
from datetime import datetime
from typing import Final

from adyton.attestation.chain import fingerprint
from adyton.attestation.dcap.quote_verdict import appraise_quote
from adyton.attestation.envelope import Envelope
from adyton.attestation.errors import AttestationError, Finding, Outcome
from adyton.attestation.material import Material, QuotePlatform, tier_of
from adyton.attestation.nitro import appraise as nitro
from adyton.attestation.nitro.document import parse_document
from adyton.attestation.policyfile import REPORT_DATA_BYTES, Acceptance
from adyton.attestation.ratls.verdict import appraise_certificate
from adyton.attestation.snp import appraise as snp
from adyton.attestation.snp import chain as snp_chain
from adyton.attestation.snp.report import KeyKind
from adyton.attestation.verdict import EvidenceKind, Verdict
from adyton.base.errors import AdytonError

EXPECTED_REPORT_DATA: Final = "attestation.report_data.expected"  # made only where a policy file asks for it


def appraise(envelope: Envelope, material: Material, acceptance: Acceptance, now: datetime) -> Verdict:
    """Judge evidence at ``now``; bad evidence makes a verdict that says so, not an error.

    Args:
        envelope: as :func:`~adyton.attestation.envelope.open_envelope` found it. Where it came in a certificate, the
            verdict includes that the evidence belongs to that certificate's key.
        material: what vendors publish for it.
        acceptance: what the person accepts.
        now: timezone-aware.

    Raises:
        AttestationError: ``attestation.collateral.absent``: the material has nothing for this technology; for
            certificates the codes of :func:`adyton.attestation.ratls.certificate.read_certificate`.
    """
    verdict = _verdict(envelope, material, acceptance, now)
    if acceptance.report_data is None:
        return verdict
    return _with_report_data(verdict, acceptance.report_data)


def claimed_tier(envelope: Envelope, material: Material) -> str:
    """The tier of the root that evidence itself names, accepted or not; empty where none can be made out.

    For the words of a report only: anybody can write any root into evidence.
    """
    try:
        if envelope.kind in {EvidenceKind.SGX, EvidenceKind.TDX}:
            return QuotePlatform.of(envelope.evidence).tier
        if envelope.kind is EvidenceKind.SNP:
            return tier_of(fingerprint(snp_chain.read_chain(material.certificates, KeyKind.VCEK).root))
        return tier_of(hashlib.sha256(parse_document(envelope.evidence).cabundle[0]).hexdigest())
    except AdytonError:
        return ""


def _verdict(envelope: Envelope, material: Material, acceptance: Acceptance, now: datetime) -> Verdict:
    policy = acceptance.policy
    if envelope.kind is EvidenceKind.NITRO:
        return nitro.appraise_document(envelope.evidence, policy, now)
    if envelope.kind is EvidenceKind.SNP:
        if not material.certificates:
            raise AttestationError("no certificates are given for the report", code="attestation.collateral.absent")
        return snp.appraise_report(envelope.evidence, material.certificates, policy, now, crl=material.crl)
    collateral = material.for_quote(envelope.evidence)
    if collateral is None:
        raise AttestationError("no collateral is given for the evidence", code="attestation.collateral.absent")
    if envelope.certificate is not None:
        return appraise_certificate(envelope.certificate, collateral, policy, now)
    return appraise_quote(envelope.evidence, collateral, policy, now)


def _with_report_data(verdict: Verdict, expected: bytes) -> Verdict:
    """Add the check that the evidence is over the bytes that the policy file names."""
    if not verdict.identity:  # the evidence could not be read, and the verdict says so
        return replace(verdict, checks=(*verdict.checks, Finding(EXPECTED_REPORT_DATA, Outcome.NOT_RUN)))
    name = "user_data" if verdict.kind is EvidenceKind.NITRO else "report_data"
    wanted = expected if verdict.kind is EvidenceKind.NITRO else expected.ljust(REPORT_DATA_BYTES, b"\0")
    if hmac.compare_digest(verdict.identity.get(name, ""), wanted.hex()):
        return replace(verdict, checks=(*verdict.checks, Finding(EXPECTED_REPORT_DATA, Outcome.PASSED)))
    message = f"the evidence is over another {name} than the policy names"
    return replace(
        verdict,
        trusted=False,
        checks=(*verdict.checks, Finding(EXPECTED_REPORT_DATA, Outcome.FAILED, message)),
        code=verdict.code or EXPECTED_REPORT_DATA,
        message=verdict.message or message,
        needed=(*verdict.needed, f"evidence over the {name} of the policy: ask for it anew with these bytes"),
    )
