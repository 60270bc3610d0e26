"""Judging AMD SEV-SNP attestation reports: pure functions of bytes, policy and time.

:func:`appraise_report` explains, for people and records; :func:`verify_report` is for who grants something. Both make
the checks of :data:`SNP_CHECKS`. Sources: AMD publications 56860 (*SEV Secure Nested Paging Firmware ABI*) and 57230
(*VCEK Certificate and KDS Interface Specification*); RFC 5280.

The vendor publishes no list of what is out of date, so there is no status: the security levels are in the findings, and
who needs a minimum gives one. Hyperthreading is no weakness of its own here: the guest's owner forbids it in the guest
policy, and a platform that has it on where that forbids it is refused.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import ClassVar, Final

from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding

from adyton.attestation import anchors, chain
from adyton.attestation.anchors import TrustAnchor
from adyton.attestation.chain import Window
from adyton.attestation.checks import NotAskedError, Recorder
from adyton.attestation.conclusion import check_windows, require_time_zone, verdict_of
from adyton.attestation.errors import AttestationError, Finding
from adyton.attestation.policy import HealthPolicy, QuotePolicy
from adyton.attestation.snp import chain as snp_chain
from adyton.attestation.snp.chain import AmdChain
from adyton.attestation.snp.report import KeyKind, SnpReport, TcbVersion, parse_report
from adyton.attestation.snp.rules import CHAIN_RULES, GUEST_RULES, Demands
from adyton.attestation.verdict import EvidenceKind, Verdict
from adyton.base.errors import InputError

# Each line: code, what is proven, source.
SNP_CHECKS: Final[Mapping[str, str]] = {
    "attestation.snp.format": "the report has the layout of version 2, 3 or 5 (56860, ATTESTATION_REPORT)",
    "attestation.chain.format": "one endorsement certificate and what issued it are given and can be read (57230)",
    "attestation.chain.path": "signatures, keys, CA roles, path lengths and names up to the root (RFC 5280 6.1; 57230)",
    "attestation.chain.anchor": "the chain ends in a root that the policy names (fingerprint of the DER)",
    "attestation.crl.signature": "the revocation list is made by the root, and is complete (RFC 5280 6.3)",
    "attestation.crl.revoked": "the list does not name the ASK or ASVK (RFC 5280 6.3; VCEKs have no serial number)",
    "attestation.validity": "now is within every certificate and the list (RFC 5280 6.1.3)",
    "attestation.snp.key": "the certificate is of the kind of key that SIGNING_KEY names (56860)",
    "attestation.snp.signature": "bytes 0 to 0x29F are signed by the endorsement key (56860)",
    "attestation.snp.chip": "CHIP_ID and CPUID are those of the certificate's chip and product (57230, hwID)",
    "attestation.snp.tcb": "REPORTED_TCB is the certificate's, and neither it nor COMMITTED_TCB is above CURRENT_TCB",
    "attestation.snp.minimum": "no part of REPORTED_TCB is below the minimum, where one is given",
    "attestation.snp.policy": "guest policy: reserved bits as specified; no migration agent (56860, GUEST_POLICY)",
    "attestation.snp.platform": "the platform keeps to the guest policy, and has no unknown features (PLATFORM_INFO)",
    "attestation.snp.vmpl": "the report speaks for a privilege level that is accepted (56860, VMPL)",
    "attestation.debug": "not a debug guest, unless debug-mode is tolerated (56860, GUEST_POLICY.DEBUG)",
    "attestation.pinned": "the policy names programs of this technology",
    "attestation.measurement": "MEASUREMENT is one of the policy's",
}

_EXTRAS: Final = frozenset({"attestation.crl.signature", "attestation.crl.revoked", "attestation.snp.minimum"})
_PROGRAM: Final = frozenset({"attestation.pinned", "attestation.measurement"})
_VALIDITY_HINT = "check the clock; fetch the certificates and the revocation list anew from the key service (KDS)"


@dataclass(frozen=True, slots=True, kw_only=True)
class VerifiedSnp:
    """What a report proves, after every check passed; only :func:`verify_report` makes it.

    Attributes:
        report: the whole report.
        tier: ``amd`` or ``sim:<root fingerprint>``.
        platform_id: SHA-256 over root and chip, hex: the same for all reports of one chip; for reports under a
            provider's key over root, provider and CHIP_ID, which the provider may mask.
        tcb: the security levels that the report is worth.
        provider: whose key signed (VLEK); empty for the chip's own (VCEK).
        valid_until: when the first certificate or list of this verification ends.
        root_der: the root certificate that the evidence chains to.
        checks: what was checked.
    """

    kind: ClassVar[EvidenceKind] = EvidenceKind.SNP

    report: SnpReport
    tier: str
    platform_id: str
    tcb: TcbVersion
    provider: str
    valid_until: datetime
    root_der: bytes
    checks: tuple[Finding, ...]

    @property
    def measurement(self) -> bytes:
        """Launch measurement of the guest (48 bytes)."""
        return self.report.measurement

    @property
    def debug(self) -> bool:
        """Whether the host can read the guest's memory."""
        return self.report.debug

    @property
    def report_data(self) -> bytes:
        """The 64 bytes that the guest chose."""
        return self.report.report_data

    @property
    def simulated(self) -> bool:
        """Whether the evidence proves formats and policy only."""
        return TrustAnchor(self.tier).simulated


@dataclass(frozen=True, slots=True)
class _Examined:
    """Every check made, and what they were made of; None is what could not be had."""

    record: Recorder
    report: SnpReport | None
    found: AmdChain | None
    anchor: TrustAnchor | None
    windows: tuple[Window, ...]


def appraise_report(
    report: bytes,
    certificates: bytes,
    policy: HealthPolicy,
    now: datetime,
    *,
    crl: bytes | None = None,
    vmpl: int = 0,
    minimum: TcbVersion | None = None,
) -> Verdict:
    """Judge a report at ``now``; bad evidence makes a verdict that says so, not an error.

    Args:
        report: the 1184 bytes as the firmware made them.
        certificates: VCEK or VLEK, ASK or ASVK, and ARK: PEM or DER, any number, in any order.
        policy: what is accepted; a plain :class:`HealthPolicy` compares no measurement.
        now: timezone-aware.
        crl: the key service's revocation list (DER); without it revocation is not asked.
        vmpl: the least privileged level that may have asked for the report, 0 to 3. Software at a level is at the
            mercy of all below that number, and only what starts at level 0 is covered by the measurement alone; a
            report of level 1 and above is worth something only where what runs below is known to hand it out rightly.
        minimum: the lowest security levels that are accepted.

    Raises:
        InputError: ``now`` has no time zone, or ``vmpl`` is none.
    """
    examined = _examine(report, certificates, policy, now, Demands(crl, vmpl, minimum))
    optional = _EXTRAS if isinstance(policy, QuotePolicy) else _EXTRAS | _PROGRAM
    return verdict_of(
        EvidenceKind.SNP,
        examined.record,
        tuple(SNP_CHECKS),
        optional,
        tier="" if examined.anchor is None else examined.anchor.tier,
        identity={} if examined.report is None else _identity(examined.report),
        windows=examined.windows,
    )


def verify_report(
    report: bytes,
    certificates: bytes,
    policy: QuotePolicy,
    now: datetime,
    *,
    crl: bytes | None = None,
    vmpl: int = 0,
    minimum: TcbVersion | None = None,
) -> VerifiedSnp:
    """Verify a report at ``now``; arguments as for :func:`appraise_report`.

    Raises:
        AttestationError: with the code of the first failed check, as in :data:`SNP_CHECKS`, and all findings.
        InputError: ``now`` has no time zone, or ``vmpl`` is none.
    """
    examined = _examine(report, certificates, policy, now, Demands(crl, vmpl, minimum))
    findings = examined.record.conclude(tuple(SNP_CHECKS), _EXTRAS)
    parsed, found, anchor = examined.report, examined.found, examined.anchor
    if parsed is None or found is None or anchor is None:
        raise AttestationError("not every check was made", code="attestation.incomplete", findings=findings)
    root_der = found.root.public_bytes(Encoding.DER)
    return VerifiedSnp(
        report=parsed,
        tier=anchor.tier,
        platform_id=_platform_id(root_der, parsed, found),
        tcb=found.endorsement.tcb,
        provider=found.endorsement.csp,
        valid_until=min(window.end for window in examined.windows),
        root_der=root_der,
        checks=findings,
    )


def _examine(report: bytes, certificates: bytes, policy: HealthPolicy, now: datetime, demands: Demands) -> _Examined:
    require_time_zone(now)
    if not 0 <= demands.vmpl <= 3:
        raise InputError(f"{demands.vmpl} is no VMPL: they are 0 to 3", code="attestation.policy.vmpl")
    record = Recorder()
    parsed = record.run("attestation.snp.format", parse_report, report, tell=lambda r: f"version {r.version}")
    wanted = KeyKind.VCEK if parsed is None else parsed.signing_key
    found = record.run("attestation.chain.format", snp_chain.read_chain, certificates, wanted, tell=_tell_chain)
    path = record.run("attestation.chain.path", _check_path, found)
    anchor = record.run("attestation.chain.anchor", _check_anchor, path, policy, tell=lambda a: a.tier)
    crl = record.run("attestation.crl.signature", _read_list, path, demands)
    record.run("attestation.crl.revoked", _check_revoked, path, crl if demands.crl is not None else demands)
    windows = _windows(found, crl)
    record.run("attestation.validity", check_windows, windows or None, now, _VALIDITY_HINT, tell=str)
    for check, chain_rule in CHAIN_RULES:
        record.run(check, chain_rule, parsed, found, demands, tell=str)
    for check, guest_rule in GUEST_RULES:
        record.run(check, guest_rule, parsed, policy, demands, tell=str)
    return _Examined(record, parsed, found, anchor, windows)


def _windows(found: AmdChain | None, crl: x509.CertificateRevocationList | None) -> tuple[Window, ...]:
    if found is None:
        return ()
    return found.windows if crl is None else (*found.windows, chain.crl_window(crl, "AMD CRL"))


def _tell_chain(found: AmdChain) -> str:
    key = found.endorsement
    return f"{key.kind.name} of a {key.generation.product}" + (f" for {key.csp}" if key.csp else "")


def _check_path(found: AmdChain) -> AmdChain:
    snp_chain.check_chain(found)
    return found


def _check_anchor(found: AmdChain, policy: HealthPolicy) -> TrustAnchor:
    name = chain.common_name(found.root.subject)
    return anchors.find(policy.anchors, chain.fingerprint(found.root), name, vendor="amd")


def _read_list(found: AmdChain, demands: Demands) -> x509.CertificateRevocationList:
    if demands.crl is None:
        raise NotAskedError("no revocation list is given")
    crl = chain.parse_crl(demands.crl, "the AMD CRL")
    chain.crl_window(crl, "the AMD CRL")
    snp_chain.check_list(crl, found)
    return crl


def _check_revoked(found: AmdChain, crl: x509.CertificateRevocationList | Demands) -> None:
    if isinstance(crl, Demands):
        raise NotAskedError("no revocation list is given")
    chain.check_not_revoked(crl, found.signer)


def _platform_id(root_der: bytes, report: SnpReport, found: AmdChain) -> str:
    key = found.endorsement
    chip = key.hwid if key.kind is KeyKind.VCEK else report.chip_id + key.csp.encode()
    label = f"adyton/platform-id/{key.kind.name}\0".encode()
    return hashlib.sha256(label + hashlib.sha256(root_der).digest() + chip).hexdigest()


def _identity(report: SnpReport) -> dict[str, str]:
    return {
        "measurement": report.measurement.hex(),
        "host_data": report.host_data.hex(),
        "guest_svn": str(report.guest_svn),
        "family_id": report.family_id.hex(),
        "image_id": report.image_id.hex(),
        "id_key_digest": report.id_key_digest.hex(),
        "author_key_digest": report.author_key_digest.hex(),
        "policy": report.policy.to_bytes(8, "little").hex(),
        "debug": "true" if report.debug else "false",
        "vmpl": str(report.vmpl),
        "report_id": report.report_id.hex(),
        "chip_id": report.chip_id.hex(),
        "platform_info": report.platform_info.to_bytes(8, "little").hex(),
        "reported_tcb": report.reported_tcb.hex(),
        "report_data": report.report_data.hex(),
    }
