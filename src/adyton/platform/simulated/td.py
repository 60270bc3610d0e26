"""Simulated evidence of trust domains: TD reports, and the quoting enclave of TDX that turns them into quotes.

No trust domain runs here. A :class:`TrustDomain` is the measurements that a TDX module would have taken, so that
whoever judges evidence of TDX can be proven against every kind of it; the quotes chain to the simulated root, and say
no more than that whoever made them holds the simulated machine.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, replace
from datetime import date
from typing import Final

from adyton.attestation.formats.quote import QuoteHeader, TeeType
from adyton.attestation.formats.sgx import REPORT_DATA_BYTES, Attributes, Flag, KeyName, KeyPolicy, KeyRequest
from adyton.attestation.formats.tdx import MEASUREMENT_BYTES, TdFlag, TdReport, TdReport15, Xfam
from adyton.base.aead import derive_key
from adyton.enclave.sigstruct import sign
from adyton.platform.protocol import PlatformError
from adyton.platform.simulated.cpu import SimulatedCpu
from adyton.platform.simulated.derive import derive_p256
from adyton.platform.simulated.documents import DEFAULT_TEE_TCB_SVN, TD_QE_ISVPRODID, TD_QE_ISVSVN
from adyton.platform.simulated.pki import SimulatedVendor
from adyton.platform.simulated.qe import QuotingEnclave, binding, signed_quote

# Neither has a file: these names stand in for what would be measured.
TD_QE_MRENCLAVE: Final = hashlib.sha256(b"adyton/simulated-td-quoting-enclave/1").digest()
MRSEAM: Final = hashlib.sha384(b"adyton/simulated-tdx-module/1").digest()
MRTD: Final = hashlib.sha384(b"adyton/simulated-trust-domain/1").digest()

_SIGNED_ON = date(2026, 1, 1)
_ZERO: Final = bytes(MEASUREMENT_BYTES)


@dataclass(frozen=True, slots=True, kw_only=True)
class TrustDomain:
    """What a TDX module measured of one TD, and of itself; the fields are those of :class:`TdReport15`.

    Attributes:
        tee_tcb_svn2: SVNs of the module that runs now; None: those that the TD was started under.
    """

    tee_tcb_svn: bytes = DEFAULT_TEE_TCB_SVN
    mrseam: bytes = MRSEAM
    mrsignerseam: bytes = _ZERO
    seam_attributes: int = 0
    td_attributes: int = TdFlag.SEPT_VE_DISABLE
    xfam: int = Xfam.X87 | Xfam.SSE | Xfam.AVX
    mrtd: bytes = MRTD
    mrconfigid: bytes = _ZERO
    mrowner: bytes = _ZERO
    mrownerconfig: bytes = _ZERO
    rtmrs: tuple[bytes, bytes, bytes, bytes] = (_ZERO, _ZERO, _ZERO, _ZERO)
    tee_tcb_svn2: bytes | None = None
    mrservicetd: bytes = _ZERO

    def extend(self, index: int, digest: bytes) -> TrustDomain:
        """The TD after it extended RTMR ``index`` by a SHA-384 digest (TDG.MR.RTMR.EXTEND)."""
        rtmrs = list(self.rtmrs)
        rtmrs[index] = hashlib.sha384(rtmrs[index] + digest).digest()
        first, second, third, fourth = rtmrs
        return replace(self, rtmrs=(first, second, third, fourth))

    def report(self, report_data: bytes, body: type[TdReport] = TdReport) -> TdReport:
        """The TD report with 64 bytes of the TD's choice, in the form of TDX 1.0 or of 1.5.

        Raises:
            PlatformError: ``platform.report.data``: other than 64 bytes.
        """
        if len(report_data) != REPORT_DATA_BYTES:
            raise PlatformError(
                f"report data has {REPORT_DATA_BYTES} bytes, not {len(report_data)}", code="platform.report.data"
            )
        report = TdReport(
            tee_tcb_svn=self.tee_tcb_svn,
            mrseam=self.mrseam,
            mrsignerseam=self.mrsignerseam,
            seam_attributes=self.seam_attributes,
            td_attributes=self.td_attributes,
            xfam=self.xfam,
            mrtd=self.mrtd,
            mrconfigid=self.mrconfigid,
            mrowner=self.mrowner,
            mrownerconfig=self.mrownerconfig,
            rtmr0=self.rtmrs[0],
            rtmr1=self.rtmrs[1],
            rtmr2=self.rtmrs[2],
            rtmr3=self.rtmrs[3],
            report_data=report_data,
        )
        if body is not TdReport15:
            return report
        tail = (self.tee_tcb_svn if self.tee_tcb_svn2 is None else self.tee_tcb_svn2) + self.mrservicetd
        return TdReport15.parse(report.to_bytes() + tail)


class TdQuotingEnclave:
    """Quotes for all trust domains of one machine.

    Args:
        cpu: the CPU it runs on.
        vendor: signs it.
        qe: the machine's quoting enclave of SGX, which holds the PCK key.
    """

    def __init__(self, cpu: SimulatedCpu, vendor: SimulatedVendor, qe: QuotingEnclave) -> None:
        self._cpu = cpu
        self._qe = qe
        sigstruct = sign(
            TD_QE_MRENCLAVE,
            vendor.qe_signer,
            debug=False,
            isvprodid=TD_QE_ISVPRODID,
            isvsvn=TD_QE_ISVSVN,
            signed_on=_SIGNED_ON,
        )
        self.identity = cpu.einit(TD_QE_MRENCLAVE, sigstruct.to_bytes(), Attributes(Flag.MODE64BIT))
        request = KeyRequest(KeyName.SEAL, keypolicy=KeyPolicy.MRSIGNER, isvsvn=TD_QE_ISVSVN, cpusvn=cpu.cpusvn)
        seal_key = cpu.egetkey(self.identity, request)
        self._attestation_key = derive_p256(seal_key, "simulated-td-qe/attestation")
        self._id = derive_key(seal_key, "simulated-td-qe/id").reveal()[:16]

    def quote(self, report: TdReport, *, version: int = 4) -> bytes:
        """Quote a TD report.

        Args:
            report: of TDX 1.0, or of 1.5 for version 5.
            version: 4 or 5.

        Raises:
            PlatformError: ``platform.quote.version``: there is no such version, or it cannot hold the report.
        """
        if version not in {4, 5} or (version == 4 and isinstance(report, TdReport15)):
            raise PlatformError(
                f"no quote of version {version} holds a {report.LAYOUT.name}", code="platform.quote.version"
            )
        qe_report = self._cpu.ereport(self.identity, self._qe.target_info, binding(self._attestation_key))
        certified = self._qe.certify(qe_report.to_bytes())
        header = QuoteHeader(version=version, tee_type=TeeType.TDX, user_data=self._id + bytes(4))
        return signed_quote(header, report, self._attestation_key, certified).to_bytes()
