"""The checks of quote verification, kind by kind in their order, and the recorder that makes them fail closed.

The order is that of the *SGX ECDSA Quote Verification* flow of Intel's Quote Verification Library reference: documents
before what they describe, signatures before contents, identity last. Enclaves and trust domains take the same steps
but for the TDX module and the program itself. Codes are stable; the text is for audit records.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from types import MappingProxyType
from typing import Any, Final, TypeVar

from adyton.attestation.chain import LIBRARY_ERRORS
from adyton.attestation.errors import AttestationError, Finding, Outcome
from adyton.attestation.verdict import EvidenceKind

T = TypeVar("T")

# Each line: code, what is proven, source. First what quotes of both kinds go through.
EVIDENCE_CHECKS: Final[dict[str, str]] = {
    "attestation.quote.format": "header, body and signature data have the layout of their version (QuoteGenReference)",
    "attestation.collateral.format": "chains, CRLs, TCB info and QE identity can be read (PCS API v4)",
    "attestation.chain.pck": "the quote carries a PCK chain with the SGX extension (PCK Certificate Profile 1.3)",
    "attestation.chain.path": "all chains: signatures, CA roles, path lengths, P-256 (RFC 5280 6.1)",
    "attestation.chain.anchor": "all chains end in one root that the policy names (fingerprint of the DER)",
    "attestation.crl.signature": "both CRLs are made by the right CAs, and are complete lists (RFC 5280 6.3)",
    "attestation.crl.revoked": "no certificate of any chain is revoked (RFC 5280 6.3)",
    "attestation.tcb.signature": "TCB info is signed by the TCB signer over its exact bytes (PCS API v4)",
    "attestation.qe_identity.signature": "QE identity is signed by the TCB signer over its exact bytes (PCS API v4)",
    "attestation.validity": "now is within every certificate, CRL and document (RFC 5280 6.1.3; PCS API v4 nextUpdate)",
    "attestation.tcb.platform": "TCB info is for the technology, FMSPC and PCEID of the platform (PCS API v4)",
    "attestation.tcb.evaluation": "the collateral's evaluation number is not below the policy's minimum",
    "attestation.qe.signature": "the QE report is signed by the PCK key (QuoteGenReference A.4)",
    "attestation.qe.binding": "QE report data is SHA-256(attestation key || auth) and zeros (QuoteGenReference A.4)",
    "attestation.qe.identity": "the QE report is of the vendor's quoting enclave (PCS API v4, enclave identity)",
    "attestation.quote.signature": "header and body are signed by the attestation key (QuoteGenReference A.4)",
}

# Then the module between the processor and a trust domain; enclaves have none.
MODULE_CHECKS: Final[dict[str, str]] = {
    "attestation.tdx.module": "signer and attributes of the TDX module are those of its version (PCS API v4)",
}

# Then the vendor's opinion of all that, and the policy's of the vendor's.
TCB_CHECKS: Final[dict[str, str]] = {
    "attestation.tcb.level": "a TCB level applies to platform, quoting enclave and TDX module (PCS API v4)",
    "attestation.tcb.status": "the TCB status is not Revoked and every cause of it is tolerated (PCS API v4)",
    "attestation.tcb.advisory": "every advisory of a level that is not UpToDate is ignored by the policy",
}

# Last the program: what it must be in any case, then what the policy pins.
ENCLAVE_CHECKS: Final[dict[str, str]] = {
    "attestation.attributes": "INIT and MODE64BIT set, PROVISIONKEY and EINITTOKENKEY clear (SDM vol. 3D, ATTRIBUTES)",
    "attestation.debug": "not a debug program, unless debug-mode is tolerated (ATTRIBUTES.DEBUG)",
    "attestation.pinned": "the policy names programs of this technology",
    "attestation.measurement": "MRENCLAVE is one of the policy's, where it pins any",
    "attestation.signer": "MRSIGNER is one of the policy's, where it pins any",
    "attestation.product": "ISVPRODID is the policy's, where it pins one",
    "attestation.svn": "ISVSVN is not below the policy's minimum, where it has one",
}
TD_CHECKS: Final[dict[str, str]] = {
    "attestation.tdx.attributes": "SEPT_VE_DISABLE; no profiling, migration, SERVTD_EXT, reserved bit (TDX Module ABI)",
    "attestation.tdx.service_td": "no service TD is bound, or one that the policy names (TD report 1.5 MRSERVICETD)",
    "attestation.debug": "not a debug program, unless debug-mode is tolerated (ATTRIBUTES.DEBUG)",
    "attestation.pinned": "the policy names programs of this technology",
    "attestation.mrtd": "MRTD is one of the policy's",
    "attestation.rtmr": "every RTMR that the policy pins has one of its values",
    "attestation.mrconfigid": "MRCONFIGID is one of the policy's, where it pins any",
}

# Beside them, about quotes that pass all of them: another implementation's opinion.
SECOND_OPINION: Final = "attestation.second_opinion"
OPINION_CHECKS: Final[dict[str, str]] = {
    "attestation.second_opinion": "dcap-qvl accepts the same quote, and sees the same status, advisories and program",
}

QUOTE_CHECKS: Final[Mapping[EvidenceKind, tuple[str, ...]]] = MappingProxyType(
    {
        EvidenceKind.SGX: (*EVIDENCE_CHECKS, *TCB_CHECKS, *ENCLAVE_CHECKS),
        EvidenceKind.TDX: (*EVIDENCE_CHECKS, *MODULE_CHECKS, *TCB_CHECKS, *TD_CHECKS),
    }
)

# A policy that pins a program may leave these out; that it pins one at all is a check of its own.
PINS: Final = frozenset(
    {
        "attestation.measurement",
        "attestation.signer",
        "attestation.product",
        "attestation.svn",
        "attestation.rtmr",
        "attestation.mrconfigid",
    }
)


# Codes of errors beside those of whole checks: a part that cannot be read, or what surrounds a verification.
OTHER_CODES: Final[dict[str, str]] = {
    "attestation.chain.format": "a certificate cannot be read, or a chain has another number of them",
    "attestation.crl.format": "a revocation list cannot be read, has no end, or has entries of other issuers",
    "attestation.incomplete": "a check was left out; nothing is accepted that was not checked",
    "attestation.kind": "genuine evidence of another technology than the one that something is granted to",
    "attestation.now": "the time of a verification has no time zone, so it could be any hour of a day",
    "attestation.collateral.expired": "the certificate service has no collateral that holds now",
    "attestation.collateral.platform": "the certificate service answered with collateral for another platform",
    "attestation.collateral.bundle": "a bundle of collateral contradicts itself: two copies, or not what an entry says",
    "attestation.collateral.rollback": "collateral is older than the genuine copy that is there already",
    "attestation.collateral.fmspc": "a platform is named by an FMSPC: 12 lowercase hex digits",
    "attestation.collateral.kind": "there is collateral for SGX and TDX only",
    "attestation.policy.anchors": "a policy without a trust anchor would accept no evidence, or any",
    "attestation.policy.unpinned": "a policy that pins no program would accept any program",
    "attestation.policy.measurement": "a pinned value has another length or range than what it is compared with",
    "attestation.policy.register": "a pinned register does not exist, or accepts no value",
    "attestation.policy.advisory": "an advisory to ignore is INTEL-SA-nnnnn, or * for all",
    "attestation.policy.tolerate": "a weakness to tolerate is not known",
}


class NotAskedError(AttestationError):
    """A policy names nothing to compare with."""

    code = "attestation.not_asked"


class Recorder:
    """Runs checks, remembers how each ended, and in the end lets through only what passed all of them."""

    def __init__(self) -> None:
        self._findings: list[Finding] = []
        self._errors: dict[str, AttestationError] = {}

    def run(
        self,
        check: str,
        judge: Callable[..., T],
        *inputs: Any,  # noqa: ANN401  # the judge's own
        tell: Callable[[T], str] | None = None,
    ) -> T | None:
        """Run ``judge(*inputs)``; None when it raises, or when an input is None because what makes it failed.

        Args:
            check: the check's code.
            judge: raises :class:`AttestationError` to refuse, :class:`NotAskedError` when there is nothing to judge by.
            inputs: its arguments.
            tell: makes the finding's detail of the result; only where somebody reads it.
        """
        for value in inputs:
            if value is None:
                self._findings.append(Finding(check, Outcome.NOT_RUN, "stands on a check that failed"))
                return None
        try:
            result = judge(*inputs)
            detail = "" if tell is None else tell(result)
        except NotAskedError as error:
            self._findings.append(Finding(check, Outcome.NOT_ASKED, error.message))
            return None
        except AttestationError as error:
            self._fail(check, error)
            return None
        except LIBRARY_ERRORS as error:  # hostile bytes that a parser accepted and a later step trips over
            self._fail(check, AttestationError(f"what is checked cannot be read: {error}", code=check))
            return None
        self._findings.append(Finding(check, Outcome.PASSED, detail))
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

    def in_order(self, expected: Sequence[str]) -> tuple[Finding, ...]:
        """The findings, in the order of ``expected``."""
        by_check = {finding.check: finding for finding in self._findings}
        if len(by_check) == len(self._findings) == len(expected) and all(check in by_check for check in expected):
            return tuple([by_check[check] for check in expected])
        order = {check: position for position, check in enumerate(expected)}
        return tuple(sorted(self._findings, key=lambda finding: order.get(finding.check, len(order))))

    def conclude(self, expected: Sequence[str], optional: Collection[str] = frozenset()) -> tuple[Finding, ...]:
        """The findings, in the order of ``expected``, when each expected check was made exactly once and passed.

        Args:
            expected: the checks that had to be made.
            optional: those of them that may also end ``not_asked``.

        Raises:
            AttestationError: with the code of the first failure and all findings.
        """
        findings = self.in_order(expected)
        unproven = [
            finding
            for finding in findings
            if finding.outcome is not Outcome.PASSED
            and not (finding.outcome is Outcome.NOT_ASKED and finding.check in optional)
        ]
        failed = [finding.check for finding in unproven if finding.outcome is Outcome.FAILED]
        if failed:
            first = self._errors[failed[0]]
            more = f" (and {len(failed) - 1} more)" if len(failed) > 1 else ""
            raise AttestationError(first.message + more, code=first.code, hint=first.hint, findings=findings) from first
        if unproven or [finding.check for finding in findings] != list(expected):
            raise AttestationError("not every check was made", code="attestation.incomplete", findings=findings)
        return findings
