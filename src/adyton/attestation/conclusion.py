"""From recorded checks to a verdict, for technologies whose evidence brings, or is given, all that it is judged by."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from datetime import datetime
from types import MappingProxyType

from adyton.attestation.chain import Window
from adyton.attestation.checks import Recorder
from adyton.attestation.errors import AttestationError, Outcome
from adyton.attestation.verdict import EvidenceKind, Verdict
from adyton.base.errors import InputError


def require_time_zone(now: datetime) -> None:
    """Refuse a time that could be any hour of a day.

    Raises:
        InputError: ``now`` has no time zone.
    """
    if now.tzinfo is None:
        raise InputError("the time of verification has no time zone", code="attestation.now")


def check_windows(windows: Sequence[Window], now: datetime, hint: str) -> str:
    """Refuse what does not hold at ``now``; tells until when all of it does.

    Raises:
        AttestationError: ``attestation.validity``.
    """
    outside = [window for window in windows if not window.holds(now)]
    if outside:
        listed = "; ".join(f"{w.what} holds {w.start.isoformat()} to {w.end.isoformat()}" for w in outside)
        raise AttestationError(f"at {now.isoformat()}: {listed}", code="attestation.validity", hint=hint)
    return f"until {min(window.end for window in windows).isoformat()}"


def needed_for(failed: Iterable[AttestationError]) -> tuple[str, ...]:
    """What would have to be otherwise, one sentence for each failure."""
    return tuple(dict.fromkeys(e.hint or f"evidence of which this is not true: {e.message}" for e in failed))


def verdict_of(
    kind: EvidenceKind,
    record: Recorder,
    expected: Sequence[str],
    optional: Collection[str],
    *,
    tier: str,
    identity: Mapping[str, str],
    windows: Sequence[Window],
) -> Verdict:
    """The verdict that follows from the recorded checks.

    Args:
        kind: the technology.
        record: holds the outcome of every check of ``expected``.
        expected: codes of the technology's checks, in order.
        optional: those of them that may end ``not_asked``.
        tier: what the evidence chains to, where its chain and anchor passed.
        identity: what the evidence claims.
        windows: of certificates, lists and documents behind the verdict.
    """
    code = message = ""
    try:
        findings = record.conclude(expected, optional)
    except AttestationError as error:
        findings, code, message = error.findings, error.code, error.message
    errors = record.outcome[1]
    failed = [errors[finding.check] for finding in findings if finding.outcome is Outcome.FAILED]
    return Verdict(
        kind=kind,
        trusted=not code,
        checks=findings,
        code=code,
        message=message,
        tier=tier,
        needed=needed_for(failed),
        identity=MappingProxyType(dict(identity)),
        valid_until=min((window.end for window in windows), default=None),
    )
