"""Judging a quote for people: a :class:`~adyton.attestation.verdict.Verdict`, never an error, and never a grant.

Pure, like :func:`~adyton.attestation.dcap.assessment.verify_quote`, and of the same checks; what passes them is put
before a second verifier too. No enclave imports this: the second verifier is a library that none of them needs.
"""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass, field
from datetime import datetime
from types import MappingProxyType

from adyton.attestation.checks import EVIDENCE_CHECKS, SECOND_OPINION
from adyton.attestation.collateral.documents import Collateral
from adyton.attestation.conclusion import needed_for
from adyton.attestation.dcap.assessment import Assessment, assess_quote
from adyton.attestation.dcap.levels import TcbVerdict
from adyton.attestation.dcap.opinion import second_opinion
from adyton.attestation.dcap.tcb import TcbStatus
from adyton.attestation.errors import AttestationError, Finding, Outcome
from adyton.attestation.evidence import measurements_of
from adyton.attestation.formats.quote import Body
from adyton.attestation.policy import HealthPolicy
from adyton.attestation.verdict import Verdict


@dataclass(frozen=True, slots=True)
class _Seen:
    """What the second verifier must see too."""

    body: Body
    status: TcbStatus
    advisories: tuple[str, ...]
    root_der: bytes = field(repr=False)


def appraise_quote(quote: bytes, collateral: Collateral, policy: HealthPolicy, now: datetime) -> Verdict:
    """Judge a quote of an SGX enclave or TDX trust domain, and have a second verifier judge what passes.

    A plain :class:`HealthPolicy` asks for a genuine and healthy platform; what runs on it is reported, not compared. A
    :class:`~adyton.attestation.policy.QuotePolicy` compares it too.

    Raises:
        InputError: ``now`` has no time zone. Evidence is never the cause of an error: the verdict says what is wrong.
    """
    assessment = assess_quote(quote, collateral, policy, now, explain=True)
    errors = dict(assessment.errors)
    try:
        opinion = _opinion(quote, collateral, assessment, now)
    except AttestationError as error:
        opinion = Finding(SECOND_OPINION, Outcome.FAILED, f"{error.code}: {error.message}")
        errors[SECOND_OPINION] = error
    checks = (*assessment.findings, opinion)
    failed = [errors[check.check] for check in checks if check.outcome is Outcome.FAILED]
    tcb = _levels(assessment)
    code, message = _reason(assessment, failed)
    return Verdict(
        kind=assessment.kind,
        trusted=not failed and assessment.passed,
        checks=checks,
        code=code,
        message=message,
        tier=_tier(assessment),
        status="" if tcb is None else tcb.status.value,
        advisories=() if tcb is None else tcb.advisories,
        needed=needed_for(failed),
        identity=MappingProxyType({} if assessment.quote is None else measurements_of(assessment.quote.body)),
        valid_until=assessment.valid_until,
    )


def _reason(assessment: Assessment, failed: list[AttestationError]) -> tuple[str, str]:
    if failed:
        return failed[0].code, failed[0].message
    return ("", "") if assessment.passed else ("attestation.incomplete", "not every check was made")


def _opinion(quote: bytes, collateral: Collateral, assessment: Assessment, now: datetime) -> Finding:
    parsed, pck, tcb = assessment.quote, assessment.pck, assessment.tcb
    if not assessment.passed or parsed is None or pck is None or tcb is None:
        return Finding(SECOND_OPINION, Outcome.NOT_RUN, "asked only about quotes that pass every other check")
    return second_opinion(quote, collateral, _Seen(parsed.body, tcb.status, tcb.advisories, pck.root_der), now)


def _tier(assessment: Assessment) -> str:
    """The tier, where the evidence does chain to the policy's root: a root in a forged chain proves nothing."""
    anchor = assessment.anchor
    return anchor.tier if anchor is not None and _passed(assessment, {"attestation.chain.path"}) else ""


def _levels(assessment: Assessment) -> TcbVerdict | None:
    """The TCB levels, where they are the vendor's opinion of this platform: forged documents say nothing."""
    return assessment.tcb if _passed(assessment, _VENDOR_CHECKS) else None


# What makes a status the vendor's: all that comes before it, but for how old the documents are and who is revoked.
_VENDOR_CHECKS = frozenset(EVIDENCE_CHECKS) - {
    "attestation.validity",
    "attestation.tcb.evaluation",
    "attestation.crl.revoked",
}


def _passed(assessment: Assessment, checks: Collection[str]) -> bool:
    return all(f.outcome is Outcome.PASSED for f in assessment.findings if f.check in checks)
