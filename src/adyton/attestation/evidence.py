"""What a verified quote proves, as types that nothing else makes: forgetting to verify does not type-check."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import ClassVar

from adyton.attestation.dcap.tcb import TcbStatus
from adyton.attestation.errors import AttestationError, Finding
from adyton.attestation.formats.quote import Body
from adyton.attestation.formats.sgx import ReportBody
from adyton.attestation.formats.tdx import TdReport, TdReport15
from adyton.attestation.verdict import EvidenceKind


@dataclass(frozen=True, slots=True, kw_only=True)
class VerifiedEvidence:
    """What a quote proves, after every check passed: either a :class:`VerifiedEnclave` or a :class:`VerifiedTd`.

    Attributes:
        kind: the technology.
        body: the whole report of the enclave or TD.
        tier: ``intel`` or ``sim:<root fingerprint>``.
        status: the vendor's judgement of platform, quoting enclave and TDX module together.
        advisories: all advisories that apply, ignored or not.
        platform_id: SHA-256 over root and PPID, hex: the same for all quotes of one platform. (A quote's own hash
            identifies nothing: quotes are malleable.)
        evaluation_number: of the collateral that was judged by.
        valid_until: when the first certificate, CRL or document of this verification ends.
        root_der: the root certificate that the evidence chains to.
        checks: what was checked.
    """

    kind: ClassVar[EvidenceKind]

    body: Body
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
    def measurements(self) -> Mapping[str, str]:
        """Names and values of what was measured, in reading order: bytes in lowercase hex, numbers in decimal."""
        return measurements_of(self.body)

    @property
    def debug(self) -> bool:
        """Whether the host can read the memory of the enclave or TD."""
        return is_debug(self.body)

    @property
    def report_data(self) -> bytes:
        """The 64 bytes that the enclave or TD chose."""
        return self.body.report_data

    @property
    def simulated(self) -> bool:
        """Whether the evidence proves formats and policy only."""
        return self.tier != "intel"


@dataclass(frozen=True, slots=True, kw_only=True)
class VerifiedEnclave(VerifiedEvidence):
    """What the quote of an SGX enclave proves."""

    kind: ClassVar[EvidenceKind] = EvidenceKind.SGX

    body: ReportBody

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


@dataclass(frozen=True, slots=True, kw_only=True)
class VerifiedTd(VerifiedEvidence):
    """What the quote of a TDX trust domain proves."""

    kind: ClassVar[EvidenceKind] = EvidenceKind.TDX

    body: TdReport

    @property
    def mrtd(self) -> bytes:
        """Measurement of the TD's initial memory (48 bytes)."""
        return self.body.mrtd

    @property
    def rtmrs(self) -> tuple[bytes, bytes, bytes, bytes]:
        """The four run-time measurement registers (48 bytes each)."""
        return self.body.rtmrs


def require_enclave(evidence: VerifiedEvidence) -> VerifiedEnclave:
    """The evidence, where it is of an SGX enclave: for who grants something to enclaves only.

    Raises:
        AttestationError: ``attestation.kind``.
    """
    if not isinstance(evidence, VerifiedEnclave):
        raise AttestationError(
            f"the evidence is of {evidence.kind.value.upper()}, an SGX enclave is needed",
            code="attestation.kind",
            findings=evidence.checks,
        )
    return evidence


def is_debug(body: Body) -> bool:
    """Whether the host can read the memory of the enclave or TD."""
    return body.attributes.debug if isinstance(body, ReportBody) else body.debug


def measurements_of(body: Body) -> dict[str, str]:
    """Names and values of what a report says, in reading order: bytes in lowercase hex, numbers in decimal."""
    debug = "true" if is_debug(body) else "false"
    if isinstance(body, ReportBody):
        return {
            "mrenclave": body.mrenclave.hex(),
            "mrsigner": body.mrsigner.hex(),
            "isvprodid": str(body.isvprodid),
            "isvsvn": str(body.isvsvn),
            "attributes": body.attributes.to_bytes().hex(),
            "miscselect": body.miscselect.to_bytes(4, "little").hex(),
            "debug": debug,
            "configid": body.configid.hex(),
            "configsvn": str(body.configsvn),
            "cpusvn": body.cpusvn.hex(),
            "report_data": body.report_data.hex(),
        }
    values = {
        "mrtd": body.mrtd.hex(),
        **{f"rtmr{number}": value.hex() for number, value in enumerate(body.rtmrs)},
        "mrconfigid": body.mrconfigid.hex(),
        "mrowner": body.mrowner.hex(),
        "mrownerconfig": body.mrownerconfig.hex(),
        "td_attributes": body.td_attributes.to_bytes(8, "little").hex(),
        "xfam": body.xfam.to_bytes(8, "little").hex(),
        "debug": debug,
        "mrseam": body.mrseam.hex(),
        "mrsignerseam": body.mrsignerseam.hex(),
        "seam_attributes": body.seam_attributes.to_bytes(8, "little").hex(),
        "tee_tcb_svn": body.tee_tcb_svn.hex(),
    }
    if isinstance(body, TdReport15):
        values |= {"tee_tcb_svn2": body.tee_tcb_svn2.hex(), "mrservicetd": body.mrservicetd.hex()}
    return values | {"report_data": body.report_data.hex()}
