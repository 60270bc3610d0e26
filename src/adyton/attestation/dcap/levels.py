"""Which TCB levels a platform, its quoting enclave and its TDX module are at, and what they amount to together.

Intel, *PCS API v4*, "Determining the TCB status of a platform": a level applies when none of its SVNs is above what is
there, and the highest that applies counts. Statuses are joined as in Intel's Quote Verification Library: worst wins.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Final

from adyton.attestation.dcap.pck import PckExtension
from adyton.attestation.dcap.tcb import (
    CAUSES,
    EnclaveLevel,
    Level,
    PlatformLevel,
    PlatformTcb,
    QeIdentity,
    TcbInfo,
    TcbStatus,
    TdxModule,
    TdxModuleIdentity,
)
from adyton.attestation.errors import AttestationError
from adyton.attestation.formats.sgx import ReportBody
from adyton.attestation.formats.tdx import TdReport, TdReport15
from adyton.attestation.policy import Weakness

_CONFIGURATION = frozenset(
    {
        TcbStatus.CONFIGURATION_NEEDED,
        TcbStatus.CONFIGURATION_AND_SW_HARDENING_NEEDED,
        TcbStatus.OUT_OF_DATE_CONFIGURATION_NEEDED,
    }
)
_MODULE: Final = "attestation.tdx.module"
_BEHIND = frozenset({TcbStatus.OUT_OF_DATE, TcbStatus.OUT_OF_DATE_CONFIGURATION_NEEDED})


@dataclass(frozen=True, slots=True)
class TcbVerdict:
    """The levels of a platform, of its quoting enclave and, for a TD, of its TDX module together.

    Attributes:
        status: of all together, as Intel's verification library joins them.
        causes: what must be tolerated, of all levels, of the status and of the platform's configuration.
        advisories: of the levels that the TD was started under, or that the enclave runs under, sorted.
        open_advisories: those on a level that is not UpToDate, also of what a TD runs under since an update: each must
            be ignored by the policy.
    """

    status: TcbStatus
    causes: frozenset[Weakness]
    advisories: tuple[str, ...]
    open_advisories: tuple[str, ...]


def match(
    info: TcbInfo, identity: QeIdentity, platform: PckExtension, qe: ReportBody, td: TdReport | None = None
) -> TcbVerdict:
    """Find the levels that apply, and join them.

    Args:
        info: TCB info of the platform and technology.
        identity: of the quoting enclave.
        platform: the SVNs that the PCK certificate states.
        qe: the quoting enclave's report.
        td: the report of a TD, whose TEE_TCB_SVN counts too; None for an enclave.

    Raises:
        AttestationError: ``attestation.tcb.level``: no level applies; ``attestation.tdx.module``: no identity is
            published for the TDX module's version.
    """
    reached = [level for level in info.tcb_levels if _reached(level.tcb, platform)]
    qe_level = _enclave_level(identity.tcb_levels, qe.isvsvn, "the quoting enclave")
    if td is None:
        levels: tuple[Level, ...] = (_first(reached, "the platform"),)
        now: tuple[Level, ...] = ()
        status = levels[0].tcb_status
    else:
        levels, now, status = _match_td(info, reached, td, relaunch=qe_level.tcb_status is TcbStatus.UP_TO_DATE)
    status = _join(status, qe_level.tcb_status)
    levels = (*levels, qe_level)
    behind = [level for level in (*levels, *now) if level.tcb_status is not TcbStatus.UP_TO_DATE]
    causes = CAUSES.get(status, frozenset()).union(*(CAUSES.get(level.tcb_status, frozenset()) for level in behind))
    if platform.smt and td is None:  # our judgement, not the vendor's: see Weakness.HYPERTHREADING
        causes |= {Weakness.HYPERTHREADING}
    return TcbVerdict(
        status,
        causes,
        _union(level.advisory_ids for level in levels),
        _union(level.advisory_ids for level in behind),
    )


def expected_module(info: TcbInfo, tee_tcb_svn: bytes) -> TdxModule:
    """What the TDX module must look like: of version 0 the general description, above it that of its version.

    Raises:
        AttestationError: ``attestation.tdx.module``: nothing is published for that version.
    """
    version = tee_tcb_svn[1]
    if version == 0 and info.tdx_module is not None:
        return info.tdx_module
    name = f"TDX_{version:02X}"
    for module in info.tdx_module_identities:
        if module.id == name:
            return module
    raise AttestationError(f"TCB info does not describe the TDX module {name}", code=_MODULE)


def check_module(info: TcbInfo, td: TdReport) -> str:
    """Refuse a TDX module that is not the vendor's: the module reads and writes every TD's memory.

    Raises:
        AttestationError: ``attestation.tdx.module``.
    """
    module = expected_module(info, td.tee_tcb_svn)
    mask = int.from_bytes(module.attributes_mask, "little")
    expected = int.from_bytes(module.attributes, "little") & mask
    if td.mrsignerseam != module.mrsigner:
        raise AttestationError(f"MRSIGNERSEAM {td.mrsignerseam.hex()} is not the vendor's", code=_MODULE)
    if td.seam_attributes != expected:  # bits outside the mask must be zero
        raise AttestationError(f"SEAMATTRIBUTES {td.seam_attributes:#x} are not {expected:#x}", code=_MODULE)
    return f"version {td.tee_tcb_svn[1]}, SVN {td.tee_tcb_svn[0]}, MRSEAM {td.mrseam.hex()}"


def _match_td(
    info: TcbInfo, reached: list[PlatformLevel], td: TdReport, *, relaunch: bool
) -> tuple[tuple[Level, ...], tuple[Level, ...], TcbStatus]:
    """Levels of platform and TDX module when the TD was started, those that hold now, and the joint status.

    A platform may have been updated since without ending its TDs. Where that left no fault but the TD's start, the
    status says so; what runs now must never be judged worse than what the TD was started under. Levels that hold now
    are given where the quote speaks of them: what is wrong with them must be tolerated, too.
    """
    levels, status = _td_levels(info, reached, td.tee_tcb_svn)
    if not isinstance(td, TdReport15):
        return levels, (), status
    levels_now, status_now = _td_levels(info, reached, td.tee_tcb_svn2)
    if status_now.severity > status.severity:
        raise AttestationError(
            f"what runs now is {status_now}, what the TD was started under is {status}",
            code="attestation.tcb.level",
            hint=_LEVEL_HINT,
        )
    if relaunch and status in _BEHIND and status_now not in _BEHIND:
        configure = bool({status, status_now} & _CONFIGURATION)
        status = TcbStatus.TD_RELAUNCH_ADVISED_CONFIGURATION_NEEDED if configure else TcbStatus.TD_RELAUNCH_ADVISED
    return levels, levels_now, status


def _td_levels(info: TcbInfo, reached: list[PlatformLevel], tee_tcb_svn: bytes) -> tuple[tuple[Level, ...], TcbStatus]:
    level = _first([level for level in reached if _tdx_reached(level.tcb, tee_tcb_svn)], "the TD's platform")
    module = expected_module(info, tee_tcb_svn)
    if not isinstance(module, TdxModuleIdentity):
        return (level,), level.tcb_status
    module_level = _enclave_level(module.tcb_levels, tee_tcb_svn[0], f"the TDX module {module.id}")
    return (level, module_level), _join(level.tcb_status, module_level.tcb_status)


def _reached(tcb: PlatformTcb, platform: PckExtension) -> bool:
    pairs = zip(tcb.sgxtcbcomponents, platform.components, strict=True)
    return tcb.pcesvn <= platform.pcesvn and all(component.svn <= svn for component, svn in pairs)


def _tdx_reached(tcb: PlatformTcb, tee_tcb_svn: bytes) -> bool:
    """From component 0 on, or from 2 where the module has a major version: its own levels judge it then."""
    if tcb.tdxtcbcomponents is None:
        return False
    first = 2 if tee_tcb_svn[1] > 0 else 0
    pairs = zip(tcb.tdxtcbcomponents[first:], tee_tcb_svn[first:], strict=True)
    return all(component.svn <= svn for component, svn in pairs)


def _first(levels: list[PlatformLevel], who: str) -> PlatformLevel:
    if not levels:
        raise AttestationError(f"no TCB level applies to {who}", code="attestation.tcb.level", hint=_LEVEL_HINT)
    return levels[0]


def _enclave_level(levels: tuple[EnclaveLevel, ...], isvsvn: int, who: str) -> EnclaveLevel:
    for level in levels:
        if level.tcb.isvsvn <= isvsvn:
            return level
    raise AttestationError(f"no TCB level applies to {who}", code="attestation.tcb.level", hint=_LEVEL_HINT)


_LEVEL_HINT = "update the platform's microcode, firmware and attestation software"


def _join(platform: TcbStatus, part: TcbStatus) -> TcbStatus:
    """The worse status; an outdated enclave or module on a badly configured platform is both."""
    if part is TcbStatus.OUT_OF_DATE and platform in _CONFIGURATION:
        return TcbStatus.OUT_OF_DATE_CONFIGURATION_NEEDED
    return max(platform, part, key=lambda status: status.severity)


def _union(lists: Iterable[Iterable[str]]) -> tuple[str, ...]:
    return tuple(sorted({name for names in lists for name in names}))
