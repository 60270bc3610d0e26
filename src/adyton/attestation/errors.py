"""What this room raises: one error whose code names the check, carrying the outcome of every check made."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum

from adyton.base.errors import AdytonError


class Outcome(StrEnum):
    """How one check ended; only ``passed`` lets evidence through where its policy asks for the check."""

    PASSED = "passed"
    FAILED = "failed"
    NOT_RUN = "not_run"  # an earlier check that this one stands on failed
    NOT_ASKED = "not_asked"  # the policy of a verdict for people names nothing to compare with


@dataclass(frozen=True, slots=True)
class Finding:
    """One check of a verification and how it ended; ``detail`` holds public values only."""

    check: str
    outcome: Outcome
    detail: str = ""


class AttestationError(AdytonError):
    """Evidence is not accepted.

    Attributes:
        code: ``attestation.<check>`` of the first check that failed; the table is in :mod:`adyton.attestation.checks`.
        findings: every check with its outcome, in order; empty when a single step was called on its own.
    """

    code = "attestation.refused"

    def __init__(
        self, message: str, *, code: str | None = None, hint: str | None = None, findings: Sequence[Finding] = ()
    ) -> None:
        super().__init__(message, code=code, hint=hint)
        self.findings = tuple(findings)


class FormatError(AttestationError):
    """Bytes that do not have the layout they must have.

    Attributes:
        offset: position of the fault in bytes from the start of the outermost structure that was given.
    """

    code = "attestation.quote.format"

    def __init__(self, message: str, *, offset: int, code: str | None = None) -> None:
        super().__init__(f"{message} (offset {offset})", code=code)
        self.offset = offset
