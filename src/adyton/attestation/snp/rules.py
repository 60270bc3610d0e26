"""The rules about an SEV-SNP report itself: against its endorsement certificate, and what its guest must be.

A rule returns what it found, for the verdict's text, or raises. Sources as in :mod:`adyton.attestation.snp.appraise`.
"""

from __future__ import annotations

import hmac
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final, TypeAlias

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.asymmetric.utils import encode_dss_signature
from cryptography.hazmat.primitives.hashes import SHA384

from adyton.attestation.checks import NotAskedError
from adyton.attestation.dcap.program import check_debug, check_pinned, pins_of
from adyton.attestation.errors import AttestationError
from adyton.attestation.policy import HealthPolicy
from adyton.attestation.snp.chain import AmdChain
from adyton.attestation.snp.report import (
    NO_MIGRATION_AGENT,
    PLATFORM_RESERVED,
    POLICY_RESERVED,
    GuestPolicy,
    KeyKind,
    PlatformInfo,
    SnpReport,
    TcbVersion,
)


@dataclass(frozen=True, slots=True)
class Demands:
    """What a caller asks for beside the policy.

    Attributes:
        crl: the vendor's revocation list (DER), None where revocation is not asked.
        vmpl: the least privileged level that may have asked for the report.
        minimum: the lowest security levels that are accepted, None where any are.
    """

    crl: bytes | None
    vmpl: int
    minimum: TcbVersion | None


ChainRule: TypeAlias = Callable[[SnpReport, AmdChain, Demands], str]
GuestRule: TypeAlias = Callable[[SnpReport, HealthPolicy, Demands], str]


def _key(report: SnpReport, found: AmdChain, _demands: Demands) -> str:
    kind = found.endorsement.kind
    if report.signing_key != kind:
        named = {each.value: each.name for each in KeyKind}.get(report.signing_key, "a reserved kind")
        raise AttestationError(
            f"the report is signed by {named} ({report.signing_key}), the certificate is of a {kind.name}",
            code="attestation.snp.key",
            hint="give the certificate of the key that signed the report",
        )
    if kind is KeyKind.VCEK and report.chip_key_masked:
        raise AttestationError("the report says that its chip's key is not in use", code="attestation.snp.key")
    return kind.name


def _signature(report: SnpReport, found: AmdChain, _demands: Demands) -> str:
    r, s = (int.from_bytes(part, "little") for part in (report.signature_r, report.signature_s))
    try:
        found.endorsement.key.verify(encode_dss_signature(r, s), report.signed_bytes, ec.ECDSA(SHA384()))
    except InvalidSignature as error:
        raise AttestationError(
            f"the report is not signed by the {found.endorsement.kind.name}",
            code="attestation.snp.signature",
            hint="give the certificate for the report's CHIP_ID and REPORTED_TCB; each TCB has a key of its own",
        ) from error
    return "ECDSA P-384, SHA-384"


def _chip(report: SnpReport, found: AmdChain, _demands: Demands) -> str:
    key = found.endorsement
    if not report.is_of(key.generation):
        raise AttestationError(
            f"the report is not of a {key.generation.product} processor", code="attestation.snp.chip"
        )
    if key.kind is KeyKind.VLEK:
        return f"a chip of {key.csp}"
    if not hmac.compare_digest(key.hwid.ljust(64, b"\0"), report.chip_id):
        masked = not any(report.chip_id)
        raise AttestationError(
            "the host masks CHIP_ID" if masked else f"CHIP_ID {report.chip_id.hex()} is not the certificate's",
            code="attestation.snp.chip",
            hint="set MASK_CHIP_ID to 0 on the host" if masked else "give the VCEK certificate of this chip",
        )
    return key.hwid.hex()


def _tcb(report: SnpReport, found: AmdChain, _demands: Demands) -> str:
    key = found.endorsement
    reported, committed, current, launch = (
        TcbVersion.read(raw, key.generation)
        for raw in (report.reported_tcb, report.committed_tcb, report.current_tcb, report.launch_tcb)
    )
    if reported != key.tcb:
        raise AttestationError(
            f"REPORTED_TCB ({reported}) is not the certificate's ({key.tcb})",
            code="attestation.snp.tcb",
            hint="give the certificate for this REPORTED_TCB",
        )
    wrong = [n for n, tcb in (("REPORTED", reported), ("COMMITTED", committed)) if not current.covers(tcb)]
    if wrong or report.committed_version > report.current_version:
        raise AttestationError(
            f"{wrong[0] + '_TCB' if wrong else 'the committed firmware'} is above the current one ({current})",
            code="attestation.snp.tcb",
        )
    return f"reported {reported}; committed {committed}; current {current}; launch {launch}"


def _minimum(_report: SnpReport, found: AmdChain, demands: Demands) -> str:
    if demands.minimum is None:
        raise NotAskedError("no minimum is given")
    if not found.endorsement.tcb.covers(demands.minimum):
        raise AttestationError(
            f"the TCB ({found.endorsement.tcb}) is below the minimum ({demands.minimum})",
            code="attestation.snp.minimum",
            hint="update the platform's firmware and microcode",
        )
    return f"at least {demands.minimum}"


def _policy(report: SnpReport, _policy: HealthPolicy, _demands: Demands) -> str:
    if report.policy & POLICY_RESERVED or not report.policy & GuestPolicy.RESERVED_ONE:
        raise AttestationError(
            f"the guest policy {report.policy:#x} has reserved bits that are not as specified",
            code="attestation.snp.policy",
        )
    if report.report_id_ma != NO_MIGRATION_AGENT:
        raise AttestationError(
            f"the guest is bound to the migration agent {report.report_id_ma.hex()}, which may export its memory",
            code="attestation.snp.policy",
            hint="launch the guest without a migration agent",
        )
    return f"{report.policy:#x}"


def _platform(report: SnpReport, _policy: HealthPolicy, _demands: Demands) -> str:
    info, policy = PlatformInfo(report.platform_info), GuestPolicy(report.policy)
    if info & PLATFORM_RESERVED:
        raise AttestationError(
            f"PLATFORM_INFO {report.platform_info:#x} has bits that are not known", code="attestation.snp.platform"
        )
    broken = (
        ("hyperthreading is on", PlatformInfo.SMT_EN in info and GuestPolicy.SMT not in policy),
        ("power metering is on", GuestPolicy.RAPL_DIS in policy and PlatformInfo.RAPL_DIS not in info),
        (
            "ciphertext is not hidden",
            GuestPolicy.CIPHERTEXT_HIDING_DRAM in policy and PlatformInfo.CIPHERTEXT_HIDING_DRAM_EN not in info,
        ),
    )
    wrong = [what for what, found in broken if found]
    if wrong:
        raise AttestationError(f"against the guest policy: {', '.join(wrong)}", code="attestation.snp.platform")
    return info.name or "nothing is on"


def _vmpl(report: SnpReport, _policy: HealthPolicy, demands: Demands) -> str:
    if report.vmpl > demands.vmpl:
        speaker = f"VMPL {report.vmpl}" if report.vmpl <= 3 else "the host"
        raise AttestationError(
            f"the report was asked for by {speaker}, not by VMPL {demands.vmpl} or below",
            code="attestation.snp.vmpl",
            hint="ask for the report at VMPL 0, or accept the level if you know what runs below it",
        )
    return f"VMPL {report.vmpl}"


def _debug(report: SnpReport, policy: HealthPolicy, _demands: Demands) -> str:
    return check_debug("guest", report.debug, policy)


def _pinned(_report: SnpReport, policy: HealthPolicy, _demands: Demands) -> str:
    return check_pinned("SEV-SNP guests", bool(pins_of(policy).snp_measurements))


def _measurement(report: SnpReport, policy: HealthPolicy, _demands: Demands) -> str:
    if report.measurement not in pins_of(policy).snp_measurements:
        raise AttestationError(
            f"MEASUREMENT {report.measurement.hex()} is not accepted",
            code="attestation.measurement",
            hint="accept this MEASUREMENT in the policy, if it is the guest that is meant",
        )
    return report.measurement.hex()


CHAIN_RULES: Final[tuple[tuple[str, ChainRule], ...]] = (
    ("attestation.snp.key", _key),
    ("attestation.snp.signature", _signature),
    ("attestation.snp.chip", _chip),
    ("attestation.snp.tcb", _tcb),
    ("attestation.snp.minimum", _minimum),
)
GUEST_RULES: Final[tuple[tuple[str, GuestRule], ...]] = (
    ("attestation.snp.policy", _policy),
    ("attestation.snp.platform", _platform),
    ("attestation.snp.vmpl", _vmpl),
    ("attestation.debug", _debug),
    ("attestation.pinned", _pinned),
    ("attestation.measurement", _measurement),
)
