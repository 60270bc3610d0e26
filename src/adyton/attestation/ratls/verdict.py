"""Judging an RA-TLS certificate of any form for people: the quote's verdict, and that it is the certificate's."""

from __future__ import annotations

import hmac
from collections.abc import Callable
from dataclasses import replace
from datetime import datetime

from adyton.attestation.collateral.documents import Collateral
from adyton.attestation.dcap.quote_verdict import appraise_quote
from adyton.attestation.errors import AttestationError, Finding, Outcome
from adyton.attestation.formats.quote import parse_quote
from adyton.attestation.policy import HealthPolicy
from adyton.attestation.ratls.certificate import (
    BINDING_CHECK,
    UNBOUND,
    OpenedCertificate,
    open_certificate,
    open_key_bound_certificate,
)
from adyton.attestation.ratls.forms import CertificateEvidence, read_certificate
from adyton.attestation.verdict import Verdict


def appraise_certificate(der: bytes, collateral: Collateral, policy: HealthPolicy, now: datetime) -> Verdict:
    """Judge a certificate of any form for a person: the quote's verdict with the certificate's checks before it.

    Raises:
        AttestationError: the certificate carries nothing that could be judged; as :func:`read_certificate`.
    """
    return _appraise(der, lambda: open_key_bound_certificate(der, now=now), collateral, policy, now)


def appraise_fresh_certificate(
    der: bytes, collateral: Collateral, policy: HealthPolicy, now: datetime, *, purpose: str, nonce: bytes
) -> Verdict:
    """Judge for a person what was made for this purpose and nonce: a protocol of this project's asks for all three.

    Raises:
        AttestationError: as :func:`appraise_certificate`.
    """
    return _appraise(der, lambda: open_certificate(der, purpose=purpose, nonce=nonce, now=now), collateral, policy, now)


def _appraise(
    der: bytes, opened: Callable[[], OpenedCertificate], collateral: Collateral, policy: HealthPolicy, now: datetime
) -> Verdict:
    carried = read_certificate(der)
    try:
        findings, error = opened().findings, None
    except AttestationError as failure:
        findings, error = failure.findings, failure
    quoted = appraise_quote(carried.quote, collateral, policy, now)
    bound = _bound(carried)
    unbound = None if bound.outcome is Outcome.PASSED else AttestationError(UNBOUND, code=BINDING_CHECK)
    first = error or (AttestationError(quoted.message, code=quoted.code) if quoted.code else unbound)
    needed = tuple(_sentence(each) for each in (error, unbound) if each is not None)
    return replace(
        quoted,
        trusted=quoted.trusted and first is None,
        checks=(*findings, *quoted.checks, bound),
        code="" if first is None else first.code,
        message="" if first is None else first.message,
        needed=(*needed, *quoted.needed),
    )


def _bound(carried: CertificateEvidence) -> Finding:
    try:
        found = parse_quote(carried.quote).body.report_data
    except AttestationError:
        return Finding(BINDING_CHECK, Outcome.NOT_RUN)
    same = hmac.compare_digest(found, carried.report_data)
    return Finding(BINDING_CHECK, Outcome.PASSED if same else Outcome.FAILED)


def _sentence(error: AttestationError) -> str:
    return error.hint or f"that this does not hold: {error.message}"
