"""Every check of one quote, in order: pure functions of bytes, policy and time, the same for enclaves and for TDs.

:func:`assess` makes every check of :data:`adyton.attestation.checks.QUOTE_CHECKS` that can be made and says what it
found; :func:`verify_quote` lets through what passes. For a report to people see
:mod:`adyton.attestation.dcap.quote_verdict`.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from adyton.attestation import chain
from adyton.attestation.anchors import TrustAnchor
from adyton.attestation.chain import Window
from adyton.attestation.checks import PINS, QUOTE_CHECKS, Recorder
from adyton.attestation.collateral.documents import Collateral
from adyton.attestation.conclusion import check_windows, require_time_zone
from adyton.attestation.dcap.judge import (
    REFRESH_HINT,
    Documents,
    JudgedCollateral,
    JudgedPck,
    Pck,
    accepted_anchor,
    judge_collateral,
    judge_pck,
)
from adyton.attestation.dcap.levels import TcbVerdict
from adyton.attestation.dcap.program import PROGRAM_RULES
from adyton.attestation.dcap.signer import JudgedSigner, judge_signer, signed_size
from adyton.attestation.dcap.tcb import CAUSES
from adyton.attestation.errors import AttestationError, Finding, Outcome
from adyton.attestation.evidence import VerifiedEnclave, VerifiedEvidence, VerifiedTd
from adyton.attestation.formats.quote import Quote, TeeType, parse_quote
from adyton.attestation.formats.sgx import ReportBody
from adyton.attestation.policy import HealthPolicy, QuotePolicy
from adyton.attestation.verdict import EvidenceKind

Tell = Callable[[Any], str]


@dataclass(frozen=True, slots=True)
class OpenedQuote:
    """A quote, parsed.

    Attributes:
        kind: the technology; of bytes that are no quote, what their header looks like.
        signed: what the attestation key signs, as it came.
        quote: None where the bytes are no quote.
    """

    kind: EvidenceKind
    signed: bytes
    quote: Quote | None

    @classmethod
    def of(cls, quote: Quote, data: bytes) -> OpenedQuote:
        """The quote that was parsed from ``data``.

        Parsing is strict, so the signed part of ``data`` is ``quote.signed_bytes`` without writing it anew.
        """
        return cls(quote.kind, data[: signed_size(quote)], quote)


@dataclass(frozen=True, slots=True)
class Judgements:
    """What depends on neither the time, nor the policy, nor the program; each may be kept by the bytes it is of."""

    collateral: JudgedCollateral
    pck: JudgedPck
    signer: JudgedSigner


@dataclass(frozen=True, slots=True)
class Assessment:
    """What all checks of one quote found; whether that is good enough is :meth:`conclude`'s to say.

    Attributes:
        kind: the technology; of bytes that are no quote, what their header looks like.
        quote, documents, pck, windows, anchor, tcb: what the steps made; None where they failed.
        record: the outcomes.
    """

    kind: EvidenceKind
    quote: Quote | None
    documents: Documents | None
    pck: Pck | None
    anchor: TrustAnchor | None
    tcb: TcbVerdict | None
    windows: tuple[Window, ...] | None
    record: Recorder

    @property
    def findings(self) -> tuple[Finding, ...]:
        """Every check with its outcome, in order."""
        return self.record.in_order(QUOTE_CHECKS[self.kind])

    @property
    def errors(self) -> Mapping[str, AttestationError]:
        """Why checks failed, by check."""
        return self.record.outcome[1]

    @property
    def passed(self) -> bool:
        """Whether nothing failed or was left out, whatever the policy did not ask for."""
        findings = self.findings
        return tuple(finding.check for finding in findings) == QUOTE_CHECKS[self.kind] and all(
            finding.outcome in {Outcome.PASSED, Outcome.NOT_ASKED} for finding in findings
        )

    @property
    def valid_until(self) -> datetime | None:
        """When the first certificate, CRL or document ends."""
        return None if self.windows is None else min(window.end for window in self.windows)

    def conclude(self) -> VerifiedEvidence:
        """The evidence, when every check passed and the policy pinned a program.

        Raises:
            AttestationError: as :func:`verify_quote`.
        """
        findings = self.record.conclude(QUOTE_CHECKS[self.kind], PINS)
        quote, documents, pck, anchor, tcb = self.quote, self.documents, self.pck, self.anchor, self.tcb
        if quote is None or documents is None or pck is None or anchor is None or tcb is None or not self.windows:
            raise AttestationError("not every check was made", code="attestation.incomplete", findings=findings)
        common: dict[str, Any] = {
            "tier": anchor.tier,
            "status": tcb.status,
            "advisories": tcb.advisories,
            "platform_id": pck.platform_id,
            "fmspc": pck.extension.fmspc.hex(),
            "evaluation_number": _evaluation_number(documents),
            "valid_until": min(window.end for window in self.windows),
            "root_der": pck.root_der,
            "checks": findings,
        }
        if isinstance(quote.body, ReportBody):
            return VerifiedEnclave(body=quote.body, **common)
        return VerifiedTd(body=quote.body, **common)


def assess_quote(
    quote: bytes, collateral: Collateral, policy: HealthPolicy, now: datetime, *, explain: bool = False
) -> Assessment:
    """Make every check of a quote; ``explain`` adds the values found to the findings.

    Raises:
        InputError: ``now`` has no time zone.
    """
    record = Recorder()
    parsed = record.run("attestation.quote.format", parse_quote, quote, tell=_tell_quote if explain else None)
    collateral_judged = judge_collateral(collateral)
    documents = collateral_judged.documents
    pck = judge_pck(parsed, documents)
    judgements = Judgements(collateral_judged, pck, judge_signer(parsed, documents, pck.pck))
    opened = OpenedQuote(_kind_claimed(quote), quote, None) if parsed is None else OpenedQuote.of(parsed, quote)
    return assess(record, opened, judgements, policy=policy, now=now, explain=explain)


def assess(
    record: Recorder,
    opened: OpenedQuote,
    judged: Judgements,
    *,
    policy: HealthPolicy,
    now: datetime,
    explain: bool = False,
) -> Assessment:
    """Join judgements that may be kept with the checks that depend on the program, the policy and the time.

    Args:
        record: holds the outcome of parsing the quote.
        opened: the quote.
        judged: judgements of the collateral, the PCK chain and the signer of this very quote.
        policy: what is accepted.
        now: timezone-aware time of verification.
        explain: whether findings say what was found.

    Raises:
        InputError: ``now`` has no time zone.
    """
    require_time_zone(now)
    tell: Callable[[Tell], Tell | None] = (lambda text: text) if explain else _silent
    for each in (judged.collateral, judged.pck, judged.signer):
        record.adopt(each.findings, each.errors)
    documents, pck, tcb, run = judged.collateral.documents, judged.pck.pck, judged.signer.tcb, record.run
    anchor = run("attestation.chain.anchor", _check_anchor, pck, judged.pck.roots, policy, tell=tell(_tell_anchor))
    windows = None if pck is None or documents is None else (*documents.windows, *pck.windows)
    run("attestation.validity", check_windows, windows, now, REFRESH_HINT, tell=tell(str))
    run("attestation.tcb.evaluation", _check_evaluation, documents, policy, tell=tell(str))
    run("attestation.quote.signature", _check_signature, opened.quote, opened.signed, judged.signer)
    run("attestation.tcb.status", _check_status, tcb, policy, tell=tell(str))
    run("attestation.tcb.advisory", _check_advisories, tcb, policy, tell=tell(str))
    body = None if opened.quote is None else opened.quote.body
    if body is None and opened.kind is EvidenceKind.TDX:
        run("attestation.tdx.module", str, None)
    for check, rule in PROGRAM_RULES[opened.kind]:
        run(check, rule, body, policy, tell=tell(str))
    return Assessment(opened.kind, opened.quote, documents, pck, anchor, tcb, windows, record)


def _silent(_text: Tell) -> None:
    """Who nobody asks does not tell."""


def _kind_claimed(data: bytes) -> EvidenceKind:
    """What bytes that are no quote say they are: the TEE type of their header."""
    return EvidenceKind.TDX if data[4:8] == int(TeeType.TDX).to_bytes(4, "little") else EvidenceKind.SGX


def _tell_quote(quote: Quote) -> str:
    return f"version {quote.version}, {quote.kind.value.upper()}, {type(quote.body).LAYOUT.name}"


def _tell_anchor(anchor: TrustAnchor) -> str:
    return anchor.tier


def _evaluation_number(documents: Documents) -> int:
    return min(documents.tcb_info.tcb_evaluation_data_number, documents.qe_identity.tcb_evaluation_data_number)


def _check_anchor(pck: Pck, roots: frozenset[str], policy: HealthPolicy) -> TrustAnchor:
    return accepted_anchor(roots, policy.anchors, pck.root_name)


def _check_evaluation(documents: Documents, policy: HealthPolicy) -> int:
    number = _evaluation_number(documents)
    if number < policy.min_evaluation_number:
        raise AttestationError(
            f"the collateral's evaluation number is {number}, below {policy.min_evaluation_number}",
            code="attestation.tcb.evaluation",
            hint=REFRESH_HINT,
        )
    return number


def _check_signature(quote: Quote, signed: bytes, signer: JudgedSigner) -> None:
    if signer.key is None or not chain.verify_raw(signer.key, quote.signature, signed):
        raise AttestationError("the quote is not signed by its attestation key", code="attestation.quote.signature")


def _check_status(tcb: TcbVerdict, policy: HealthPolicy) -> str:
    if tcb.status not in CAUSES:
        raise AttestationError(
            f"the TCB status is {tcb.status}",
            code="attestation.tcb.status",
            hint="use another platform: nothing excuses a revoked one",
        )
    missing = sorted(cause for cause in tcb.causes if not policy.tolerates(cause))
    if missing:
        raise AttestationError(
            f"the TCB status is {tcb.status}; not tolerated: {', '.join(missing)}",
            code="attestation.tcb.status",
            hint=f"update the platform, or tolerate {' and '.join(missing)} in the policy",
        )
    return f"{tcb.status}, tolerating {', '.join(sorted(tcb.causes))}" if tcb.causes else tcb.status.value


def _check_advisories(tcb: TcbVerdict, policy: HealthPolicy) -> str:
    remaining = [name for name in tcb.open_advisories if not policy.ignores(name)]
    if remaining:
        raise AttestationError(
            f"advisories apply that the policy does not ignore: {', '.join(remaining)}",
            code="attestation.tcb.advisory",
            hint=f"mitigate them, then ignore {', '.join(remaining)} in the policy (ignore_advisories)",
        )
    return f"ignoring {', '.join(tcb.open_advisories)}" if tcb.open_advisories else "none open"


def verify_quote(quote: bytes, collateral: Collateral, policy: QuotePolicy, now: datetime) -> VerifiedEvidence:
    """Verify a quote against collateral and policy at ``now``.

    Raises:
        AttestationError: with the code of the first failed check (``attestation.quote.format``,
            ``attestation.chain.anchor``, … as in :mod:`adyton.attestation.checks`; a part may have a code of its own:
            ``attestation.quote.version``, ``attestation.chain.format``, …) and all findings.
        InputError: ``now`` has no time zone.
    """
    return assess_quote(quote, collateral, policy, now).conclude()
