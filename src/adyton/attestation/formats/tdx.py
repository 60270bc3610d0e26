"""TDX structures inside quotes, one field table each (Intel, *TDX Module ABI Specification* and *TDX DCAP Quoting*).

A TD report says which trust domain (TD) runs, which TDX module isolates it, and 64 bytes of the TD's choice. All
integers are little-endian; measurements are SHA-384. What the verifier must require of the attributes is its matter:
parsing keeps every bit.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import IntFlag
from typing import ClassVar, Final

from adyton.attestation.formats.layout import Layout, Structure

MEASUREMENT_BYTES: Final = 48
RTMR_COUNT: Final = 4


class TdFlag(IntFlag):
    """TD ATTRIBUTES (*TDX Module ABI Specification*, "ATTRIBUTES").

    Bits 3:0 put a TD under debug and bits 15:4 under profiling: it is untrusted where any is set. Bits 31:16 may
    change its security, bits 63:32 do not. What has no name here is reserved; zero but for bits 22:18, which later
    modules may set without harm.
    """

    DEBUG = 1 << 0  # the host reads and writes the TD's memory and registers
    HGS_PLUS_PROF = 1 << 4  # hardware-guided scheduling of the whole system observes the TD
    PERF_PROF = 1 << 5  # the host may profile the TD with performance counters
    PMT_PROF = 1 << 6  # the host may profile the TD with core telemetry
    ICSSD = 1 << 16  # the module counts instructions to stop single-stepping by the host
    SERVTD_EXT = 1 << 17  # MRSERVICETD covers more of the bound service TDs
    LASS = 1 << 27  # linear address space separation
    SEPT_VE_DISABLE = 1 << 28  # the host cannot inject #VE by unmapping a page
    MIGRATABLE = 1 << 29  # the TD may be moved to another machine by a migration TD
    PKS = 1 << 30  # supervisor protection keys
    KL = 1 << 31  # Key Locker
    TPA = 1 << 62  # the TD is a provisioning agent of TDX Connect
    PERFMON = 1 << 63  # performance counters inside the TD


UNTRUSTED_MASK: Final = 0xFFFF  # a TD with any of these bits is under debug or profiling
RESERVED_MASK: Final = 0x3FFF_FFFF_0780_FF8E  # must be zero


class Xfam(IntFlag):
    """Extended features that a TD may use: the bits of XCR0 and IA32_XSS (Intel SDM vol. 1, chapter 13)."""

    X87 = 1 << 0
    SSE = 1 << 1
    AVX = 1 << 2
    AVX512_OPMASK = 1 << 5
    AVX512_ZMM_HI256 = 1 << 6
    AVX512_HI16_ZMM = 1 << 7
    PT = 1 << 8
    PKRU = 1 << 9
    PASID = 1 << 10
    CET_USER = 1 << 11
    CET_SUPERVISOR = 1 << 12
    UINTR = 1 << 14
    LBR = 1 << 15
    AMX_TILECFG = 1 << 17
    AMX_TILEDATA = 1 << 18
    APX = 1 << 19


XFAM_FIXED1: Final = Xfam.X87 | Xfam.SSE  # set in every TD

_TD10_FIELDS: Final = (
    ("tee_tcb_svn", 0, "16s"),
    ("mrseam", 16, "48s"),
    ("mrsignerseam", 64, "48s"),
    ("seam_attributes", 112, "Q"),
    ("td_attributes", 120, "Q"),
    ("xfam", 128, "Q"),
    ("mrtd", 136, "48s"),
    ("mrconfigid", 184, "48s"),
    ("mrowner", 232, "48s"),
    ("mrownerconfig", 280, "48s"),
    ("rtmr0", 328, "48s"),
    ("rtmr1", 376, "48s"),
    ("rtmr2", 424, "48s"),
    ("rtmr3", 472, "48s"),
    ("report_data", 520, "64s"),
)


@dataclass(frozen=True, slots=True)
class TdReport(Structure):
    """TD report of TDX 1.0 as quotes carry it (584 bytes).

    Attributes:
        tee_tcb_svn: SVNs of the TDX module and its loaders; [0] is the module's minor SVN, [1] its major version.
        mrseam, mrsignerseam: measurement and signer of the TDX module; the signer is zero for the vendor's own.
        seam_attributes: attributes of the module; zero for the vendor's own.
        td_attributes, xfam: as :class:`TdFlag` and :class:`Xfam`.
        mrtd: measurement of the TD's initial memory.
        mrconfigid, mrowner, mrownerconfig: chosen by who starts the TD, and fixed from then on.
        rtmr0, rtmr1, rtmr2, rtmr3: what the TD's software extended at run time.
        report_data: what the TD chose for this report.
    """

    LAYOUT: ClassVar[Layout] = Layout("TD report 1.0", 584, _TD10_FIELDS)

    tee_tcb_svn: bytes
    mrseam: bytes
    mrsignerseam: bytes
    seam_attributes: int
    td_attributes: int
    xfam: int
    mrtd: bytes
    mrconfigid: bytes
    mrowner: bytes
    mrownerconfig: bytes
    rtmr0: bytes
    rtmr1: bytes
    rtmr2: bytes
    rtmr3: bytes
    report_data: bytes

    @property
    def rtmrs(self) -> tuple[bytes, bytes, bytes, bytes]:
        """The four run-time measurement registers."""
        return self.rtmr0, self.rtmr1, self.rtmr2, self.rtmr3

    @property
    def flags(self) -> TdFlag:
        """The TD's attributes by name."""
        return TdFlag(self.td_attributes)

    @property
    def debug(self) -> bool:
        """Whether the host may read and write the TD's memory."""
        return bool(self.td_attributes & TdFlag.DEBUG)


@dataclass(frozen=True, slots=True)
class TdReport15(TdReport):
    """TD report of TDX 1.5 as quotes carry it (648 bytes): that of 1.0 and two fields.

    Attributes:
        tee_tcb_svn2: SVNs of the module that runs now; differs from ``tee_tcb_svn`` after an update that kept TDs.
        mrservicetd: hash over the service TDs bound to this one; zero when there are none.
    """

    LAYOUT: ClassVar[Layout] = Layout(
        "TD report 1.5", 648, (*_TD10_FIELDS, ("tee_tcb_svn2", 584, "16s"), ("mrservicetd", 600, "48s"))
    )

    tee_tcb_svn2: bytes
    mrservicetd: bytes
