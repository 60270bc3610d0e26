"""The numbered checks of quote verification, and the recorder that makes them fail closed.

The order is that of the *SGX ECDSA Quote Verification* flow of Intel's Quote Verification Library reference: documents
before what they describe, signatures before contents, identity last. Codes are stable; the text is for audit records.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from types import MappingProxyType
from typing import Any, Final, TypeVar

from adyton.attestation.chain import LIBRARY_ERRORS
from adyton.attestation.errors import AttestationError, Finding, Outcome

T = TypeVar("T")

# Step number = position, from 1. Each line: code, what is proven, source.
QUOTE_CHECKS: Final[dict[str, str]] = {
    "attestation.quote.format": "header, body and signature data have the v3 layout (QuoteGenReference A.4)",
    "attestation.collateral.format": "chains, CRLs, TCB info and QE identity can be read (PCS API v4)",
    "attestation.chain.pck": "the quote carries a PCK chain with the SGX extension (PCK Certificate Profile 1.3)",
    "attestation.chain.path": "all chains: signatures, CA roles, path lengths, P-256 (RFC 5280 6.1)",
    "attestation.chain.anchor": "all chains end in one root that the policy names (fingerprint of the DER)",
    "attestation.crl.signature": "both CRLs are made by the right CAs (RFC 5280 6.3)",
    "attestation.crl.revoked": "no certificate of any chain is revoked (RFC 5280 6.3)",
    "attestation.tcb.signature": "TCB info is signed by the TCB signer over its exact bytes (PCS API v4)",
    "attestation.qe_identity.signature": "QE identity is signed by the TCB signer over its exact bytes (PCS API v4)",
    "attestation.validity": "now is within every certificate, CRL and document (RFC 5280 6.1.3; PCS API v4 nextUpdate)",
    "attestation.tcb.platform": "TCB info is for the FMSPC and PCEID of the PCK certificate (PCS API v4)",
    "attestation.tcb.evaluation": "the collateral's evaluation number is not below the policy's minimum",
    "attestation.qe.signature": "the QE report is signed by the PCK key (QuoteGenReference A.4)",
    "attestation.qe.binding": "QE report data is SHA-256(attestation key || auth) and zeros (QuoteGenReference A.4)",
    "attestation.qe.identity": "the QE report is of the vendor's quoting enclave (PCS API v4, enclave identity)",
    "attestation.quote.signature": "header and body are signed by the attestation key (QuoteGenReference A.4)",
    "attestation.tcb.status": "the TCB level is not Revoked and every cause of its status is tolerated (PCS API v4)",
    "attestation.tcb.advisory": "every advisory of a level that is not UpToDate is ignored by the policy",
    "attestation.attributes": "INIT and MODE64BIT set, PROVISIONKEY and EINITTOKENKEY clear (SDM vol. 3D, ATTRIBUTES)",
    "attestation.debug": "not a debug enclave, unless debug-mode is tolerated (SDM vol. 3D, ATTRIBUTES.DEBUG)",
    "attestation.measurement": "MRENCLAVE is one of the policy's, where it pins any",
    "attestation.signer": "MRSIGNER is one of the policy's, where it pins any",
    "attestation.product": "ISVPRODID is the policy's, where it pins one",
    "attestation.svn": "ISVSVN is not below the policy's minimum",
}


class Recorder:
    """Runs checks, remembers how each ended, and in the end lets through only what passed all of them."""

    def __init__(self) -> None:
        self._findings: list[Finding] = []
        self._errors: dict[str, AttestationError] = {}

    def run(self, check: str, judge: Callable[..., T], *inputs: Any) -> T | None:  # noqa: ANN401  # the judge's own
        """Run ``judge(*inputs)``; None when it raises, or when an input is None because what makes it failed."""
        if any(value is None for value in inputs):
            self._findings.append(Finding(check, Outcome.NOT_RUN))
            return None
        try:
            result = judge(*inputs)
        except AttestationError as error:
            self._fail(check, error)
            return None
        except LIBRARY_ERRORS as error:  # hostile bytes that a parser accepted and a later step trips over
            self._fail(check, AttestationError(f"what is checked cannot be read: {error}", code=check))
            return None
        self._findings.append(Finding(check, Outcome.PASSED))
        return result

    def _fail(self, check: str, error: AttestationError) -> None:
        self._findings.append(Finding(check, Outcome.FAILED, f"{error.code}: {error.message}"))
        self._errors[check] = error

    def adopt(self, findings: Sequence[Finding], errors: Mapping[str, AttestationError]) -> None:
        """Take over the outcome of checks made before."""
        self._findings.extend(findings)
        self._errors.update(errors)

    @property
    def outcome(self) -> tuple[tuple[Finding, ...], Mapping[str, AttestationError]]:
        """All findings, and the errors of the failed checks."""
        return tuple(self._findings), MappingProxyType(dict(self._errors))

    def conclude(self, expected: Sequence[str]) -> tuple[Finding, ...]:
        """The findings, in the order of ``expected``, when each expected check was made exactly once and passed.

        Raises:
            AttestationError: with the code of the first failure and all findings.
        """
        order = {check: position for position, check in enumerate(expected)}
        findings = tuple(sorted(self._findings, key=lambda finding: order.get(finding.check, len(order))))
        failed = [finding.check for finding in findings if finding.outcome is Outcome.FAILED]
        if failed:
            first = self._errors[failed[0]]
            more = f" (and {len(failed) - 1} more)" if len(failed) > 1 else ""
            raise AttestationError(first.message + more, code=first.code, hint=first.hint, findings=findings) from first
        if [finding.check for finding in findings] != list(expected) or any(
            finding.outcome is not Outcome.PASSED for finding in findings
        ):
            raise AttestationError("not every check was made", code="attestation.incomplete", findings=findings)
        return findings
