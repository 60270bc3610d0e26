"""Quote verification, step by step: pure functions of bytes, policy and time.

:func:`verify_quote` makes the numbered checks of :data:`adyton.attestation.checks.QUOTE_CHECKS`, all of them that can
be made, and returns :class:`~adyton.attestation.evidence.VerifiedEvidence` or raises with every outcome.
"""

from __future__ import annotations

import hashlib
import hmac
from collections.abc import Iterable
from datetime import datetime

from adyton.attestation import chain
from adyton.attestation.anchors import TrustAnchor
from adyton.attestation.chain import Window
from adyton.attestation.checks import QUOTE_CHECKS, Recorder
from adyton.attestation.collateral import Collateral
from adyton.attestation.errors import AttestationError
from adyton.attestation.evidence import VerifiedEvidence
from adyton.attestation.judge import Documents, JudgedCollateral, JudgedPck, Pck, judge_collateral, judge_pck
from adyton.attestation.policy import QuotePolicy, Weakness
from adyton.attestation.quote import QuoteV3, parse_quote
from adyton.attestation.sgx import Flag, ReportBody
from adyton.attestation.tcb import CAUSES, TcbVerdict, check_platform, check_qe, match

_REFRESH_HINT = "check the clock; fetch current collateral from the certificate service"


def verify_quote(quote: bytes, collateral: Collateral, policy: QuotePolicy, now: datetime) -> VerifiedEvidence:
    """Verify a quote against collateral and policy at ``now``.

    Raises:
        AttestationError: with the code of the first failed check (``attestation.quote.format``,
            ``attestation.chain.anchor``, … as in :data:`~adyton.attestation.checks.QUOTE_CHECKS`; a part may have a
            code of its own: ``attestation.quote.version``, ``attestation.chain.format``, …) and all findings.
    """
    record = Recorder()
    parsed = record.run("attestation.quote.format", parse_quote, quote)
    judged = judge_collateral(collateral)
    return assess(record, parsed, judged, judge_pck(parsed, judged.documents), policy=policy, now=now)


def assess(
    record: Recorder,
    quote: QuoteV3 | None,
    collateral: JudgedCollateral,
    judged: JudgedPck,
    *,
    policy: QuotePolicy,
    now: datetime,
) -> VerifiedEvidence:
    """Join judgements that may be kept with the checks that depend on the quote, the policy and the time.

    Args:
        record: holds the outcome of step 1.
        quote: as parsed in step 1.
        collateral: judgement of the collateral.
        judged: judgement of the quote's PCK chain under that collateral.
        policy: what is accepted.
        now: timezone-aware time of verification.

    Raises:
        AttestationError: as :func:`verify_quote`.
    """
    documents, pck = collateral.documents, judged.pck
    record.adopt(collateral.findings, collateral.errors)  # steps 2, 8, 9
    record.adopt(judged.findings, judged.errors)  # steps 3, 4, 6, 7
    anchor = record.run("attestation.chain.anchor", _check_anchor, pck, judged.roots, policy)  # step 5
    windows = None if pck is None or documents is None else (*documents.windows, *pck.windows)
    record.run("attestation.validity", _check_windows, windows, now)  # step 10
    record.run("attestation.tcb.platform", _check_platform, documents, pck)  # step 11
    record.run("attestation.tcb.evaluation", _check_evaluation, documents, policy)  # step 12
    record.run("attestation.qe.signature", _check_qe_report, quote, pck)  # step 13
    record.run("attestation.qe.binding", _check_binding, quote)  # step 14
    record.run("attestation.qe.identity", _check_qe_identity, documents, quote)  # step 15
    record.run("attestation.quote.signature", _check_signature, quote)  # step 16
    verdict = record.run("attestation.tcb.status", _check_status, documents, pck, quote, policy)  # step 17
    record.run("attestation.tcb.advisory", _check_advisories, verdict, policy)  # step 18
    for check, rule in _IDENTITY_RULES:  # steps 19 to 24
        record.run(check, rule, None if quote is None else quote.body, policy)
    findings = record.conclude(tuple(QUOTE_CHECKS))
    if quote is None or pck is None or documents is None or anchor is None or verdict is None or windows is None:
        raise AttestationError("not every check was made", code="attestation.incomplete", findings=findings)
    return VerifiedEvidence(
        body=quote.body,
        tier=anchor.tier,
        status=verdict.status,
        advisories=verdict.advisories,
        platform_id=_platform_id(pck),
        fmspc=pck.extension.fmspc.hex(),
        evaluation_number=min(
            documents.tcb_info.tcb_evaluation_data_number, documents.qe_identity.tcb_evaluation_data_number
        ),
        valid_until=min(window.end for window in windows),
        root_der=pck.root_der,
        checks=findings,
    )


def _platform_id(pck: Pck) -> str:
    label = b"adyton/platform-id\0"
    return hashlib.sha256(label + hashlib.sha256(pck.root_der).digest() + pck.extension.ppid).hexdigest()


def _check_anchor(pck: Pck, roots: frozenset[str], policy: QuotePolicy) -> TrustAnchor:
    if len(roots) != 1:
        raise AttestationError("the chains end in different roots", code="attestation.chain.anchor")
    (root,) = roots
    for anchor in policy.anchors:
        if anchor.accepts(root):
            break
    else:
        names = ", ".join(anchor.tier for anchor in policy.anchors)
        raise AttestationError(
            f"the evidence chains to the root {root}, which is not one of: {names}", code="attestation.chain.anchor"
        )
    name = chain.common_name(pck.chain[2].subject)
    if anchor.simulated and "Simulated" not in name:
        raise AttestationError(
            f"the simulated root {name!r} does not say that it is Simulated", code="attestation.chain.anchor"
        )
    return anchor


def _check_windows(windows: Iterable[Window], now: datetime) -> None:
    outside = [window for window in windows if not window.holds(now)]
    if outside:
        listed = "; ".join(f"{w.what} holds {w.start.isoformat()} to {w.end.isoformat()}" for w in outside)
        raise AttestationError(f"at {now.isoformat()}: {listed}", code="attestation.validity", hint=_REFRESH_HINT)


def _check_platform(documents: Documents, pck: Pck) -> None:
    check_platform(documents.tcb_info, pck.extension)


def _check_evaluation(documents: Documents, policy: QuotePolicy) -> None:
    number = min(documents.tcb_info.tcb_evaluation_data_number, documents.qe_identity.tcb_evaluation_data_number)
    if number < policy.min_evaluation_number:
        raise AttestationError(
            f"the collateral's evaluation number is {number}, below {policy.min_evaluation_number}",
            code="attestation.tcb.evaluation",
            hint=_REFRESH_HINT,
        )


def _check_qe_report(quote: QuoteV3, pck: Pck) -> None:
    if not chain.verify_raw(pck.key, quote.qe_report_signature, quote.qe_report.to_bytes()):
        raise AttestationError("the QE report is not signed by the PCK key", code="attestation.qe.signature")


def _check_binding(quote: QuoteV3) -> None:
    expected = hashlib.sha256(quote.attestation_key + quote.auth).digest() + bytes(32)
    if not hmac.compare_digest(quote.qe_report.report_data, expected):
        raise AttestationError("the QE report does not bind the attestation key", code="attestation.qe.binding")


def _check_qe_identity(documents: Documents, quote: QuoteV3) -> None:
    check_qe(documents.qe_identity, quote.qe_report)


def _check_signature(quote: QuoteV3) -> None:
    key = chain.point_key(quote.attestation_key)
    if key is None or not chain.verify_raw(key, quote.signature, quote.signed_bytes):
        raise AttestationError("the quote is not signed by its attestation key", code="attestation.quote.signature")


def _check_status(documents: Documents, pck: Pck, quote: QuoteV3, policy: QuotePolicy) -> TcbVerdict:
    verdict = match(documents.tcb_info, documents.qe_identity, pck.extension, quote.qe_report)
    if verdict.status not in CAUSES:
        raise AttestationError(f"the TCB status is {verdict.status}", code="attestation.tcb.status")
    missing = sorted(cause for cause in verdict.causes if not policy.tolerates(cause))
    if missing:
        raise AttestationError(
            f"the TCB status is {verdict.status}; not tolerated: {', '.join(missing)}",
            code="attestation.tcb.status",
            hint="update the platform, or tolerate these weaknesses by name in the policy",
        )
    return verdict


def _check_advisories(verdict: TcbVerdict, policy: QuotePolicy) -> None:
    remaining = [name for name in verdict.open_advisories if not policy.ignores(name)]
    if remaining:
        raise AttestationError(
            f"advisories apply that the policy does not ignore: {', '.join(remaining)}",
            code="attestation.tcb.advisory",
            hint="mitigate them, then list them in ignore_advisories",
        )


def _check_attributes(body: ReportBody, _policy: QuotePolicy) -> None:
    flags = Flag(body.attributes.flags)
    if not body.attributes.has(Flag.INIT | Flag.MODE64BIT) or flags & (Flag.PROVISIONKEY | Flag.EINITTOKENKEY):
        raise AttestationError(
            f"the attributes {flags!r} are not those of an application enclave", code="attestation.attributes"
        )


def _check_debug(body: ReportBody, policy: QuotePolicy) -> None:
    if body.attributes.debug and not policy.tolerates(Weakness.DEBUG_MODE):
        raise AttestationError(
            "the enclave runs in debug mode: its host can read its memory",
            code="attestation.debug",
            hint="build the enclave for production, or tolerate debug-mode in a development policy",
        )


def _check_measurement(body: ReportBody, policy: QuotePolicy) -> None:
    if policy.mrenclaves and body.mrenclave not in policy.mrenclaves:
        raise AttestationError(f"MRENCLAVE {body.mrenclave.hex()} is not accepted", code="attestation.measurement")


def _check_signer(body: ReportBody, policy: QuotePolicy) -> None:
    if policy.mrsigners and body.mrsigner not in policy.mrsigners:
        raise AttestationError(f"MRSIGNER {body.mrsigner.hex()} is not accepted", code="attestation.signer")


def _check_product(body: ReportBody, policy: QuotePolicy) -> None:
    if policy.isvprodid is not None and body.isvprodid != policy.isvprodid:
        raise AttestationError(f"ISVPRODID {body.isvprodid} is not {policy.isvprodid}", code="attestation.product")


def _check_svn(body: ReportBody, policy: QuotePolicy) -> None:
    if body.isvsvn < policy.min_isvsvn:
        raise AttestationError(f"ISVSVN {body.isvsvn} is below {policy.min_isvsvn}", code="attestation.svn")


_IDENTITY_RULES = (
    ("attestation.attributes", _check_attributes),
    ("attestation.debug", _check_debug),
    ("attestation.measurement", _check_measurement),
    ("attestation.signer", _check_signer),
    ("attestation.product", _check_product),
    ("attestation.svn", _check_svn),
)
