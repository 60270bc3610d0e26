"""The result of judging evidence, in one form for every technology: what was checked, what it says, what is missing.

A :class:`Verdict` is for people and records. It grants nothing: code that hands out secrets takes
:class:`~adyton.attestation.evidence.VerifiedEvidence`, which exists only for evidence whose identity was pinned.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum
from types import MappingProxyType
from typing import Any

from adyton.attestation.errors import Finding, Outcome


class EvidenceKind(StrEnum):
    """Technologies whose evidence is understood."""

    SGX = "sgx"
    TDX = "tdx"
    SNP = "snp"
    NITRO = "nitro"


@dataclass(frozen=True, slots=True, kw_only=True)
class Verdict:
    """How evidence was judged.

    Attributes:
        kind: the technology.
        trusted: whether every check that the policy asks for passed.
        checks: every check in order, with its outcome.
        code: of the first check that failed; empty when trusted.
        message: why it is refused; empty when trusted.
        tier: the trust anchor that the evidence chains to; empty when it chains to none that the policy names.
        status: the vendor's judgement of the platform (``UpToDate``, …); empty when it could not be determined, or
            where a technology has none.
        advisories: all vendor advisories that apply, sorted.
        needed: what would have to be otherwise for the evidence to pass, one sentence for each failed check.
        identity: names and values of what was measured, in reading order, bytes in lowercase hex and numbers in
            decimal: claims of the evidence, and worth as much as the checks on it.
        valid_until: when the first certificate, list or document behind the verdict ends.
    """

    kind: EvidenceKind
    trusted: bool
    checks: tuple[Finding, ...]
    code: str = ""
    message: str = ""
    tier: str = ""
    status: str = ""
    advisories: tuple[str, ...] = ()
    needed: tuple[str, ...] = ()
    identity: Mapping[str, str] = field(default_factory=lambda: MappingProxyType({}))
    valid_until: datetime | None = None

    def __post_init__(self) -> None:
        """Refuse a verdict that contradicts its own checks.

        Raises:
            ValueError: trusted with a failed or missing check, or refused without a code.
        """
        sound = bool(self.checks) and all(c.outcome in {Outcome.PASSED, Outcome.NOT_ASKED} for c in self.checks)
        if self.trusted != (sound and not self.code):
            raise ValueError("a verdict must follow from its checks")

    def to_json(self) -> dict[str, Any]:
        """The members of ``adyton evidence verify --json``."""
        return {
            "kind": self.kind.value,
            "trusted": self.trusted,
            "tier": self.tier or None,
            "status": self.status or None,
            "advisories": list(self.advisories),
            "checks": [
                {"check": each.check, "outcome": each.outcome.value, "detail": each.detail} for each in self.checks
            ],
            "code": self.code or None,
            "message": self.message or None,
            "needed": list(self.needed),
            "identity": dict(self.identity),
            "valid_until": None if self.valid_until is None else self.valid_until.isoformat(),
        }
