"""What verification returns: a type of its own, so that forgetting to verify does not type-check."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime

from adyton.attestation.errors import Finding
from adyton.attestation.sgx import ReportBody
from adyton.attestation.tcb import TcbStatus


@dataclass(frozen=True, slots=True)
class VerifiedEvidence:
    """What a quote proves, after every check passed.

    Attributes:
        body: the enclave's whole report body; the fields below are its parts that decide.
        tier: ``intel`` or ``sim:<root fingerprint>``.
        status: the vendor's judgement of platform and quoting enclave together.
        advisories: all advisories that apply, ignored or not.
        platform_id: SHA-256 over root and PPID, hex: the same for all quotes of one platform. (A quote's own hash
            identifies nothing: quotes are malleable.)
        evaluation_number: of the collateral that was judged by.
        valid_until: when the first certificate, CRL or document of this verification ends.
        root_der: the root certificate that the evidence chains to.
        checks: what was checked.
    """

    body: ReportBody
    tier: str
    status: TcbStatus
    advisories: tuple[str, ...]
    platform_id: str
    fmspc: str
    evaluation_number: int
    valid_until: datetime
    root_der: bytes
    checks: tuple[Finding, ...]

    @property
    def mrenclave(self) -> bytes:
        """Measurement of the enclave (32 bytes)."""
        return self.body.mrenclave

    @property
    def mrsigner(self) -> bytes:
        """Hash of the key that signed the enclave (32 bytes)."""
        return self.body.mrsigner

    @property
    def isvprodid(self) -> int:
        """Product of the signer."""
        return self.body.isvprodid

    @property
    def isvsvn(self) -> int:
        """Security version of the product."""
        return self.body.isvsvn

    @property
    def debug(self) -> bool:
        """Whether the host can read the enclave's memory."""
        return self.body.attributes.debug

    @property
    def report_data(self) -> bytes:
        """The 64 bytes that the enclave chose."""
        return self.body.report_data

    @property
    def simulated(self) -> bool:
        """Whether the evidence proves formats and policy only."""
        return self.tier != "intel"
