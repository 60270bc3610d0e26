"""The simulated quoting enclave: turns a REPORT made for it on its own CPU into a quote (Intel, *QuoteGenReference*).

It is an enclave like others, started by EINIT under the vendor's key. Its attestation key and the PCK key follow from
its seal key, so they are the same after a restart and different on every CPU; the provisioning certification enclave,
which holds the PCK key on real platforms, is folded into it, and certifies the quoting enclave of TDX likewise.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, replace
from datetime import UTC, date, datetime
from functools import lru_cache
from typing import Final

from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from adyton.attestation.errors import FormatError
from adyton.attestation.formats.quote import Body, CertificationType, Quote, QuoteHeader
from adyton.attestation.formats.sgx import (
    REPORT_DATA_BYTES,
    Attributes,
    Flag,
    KeyName,
    KeyPolicy,
    KeyRequest,
    Report,
    ReportBody,
    TargetInfo,
)
from adyton.base.aead import derive_key
from adyton.base.clock import Clock, utc_now
from adyton.base.secret import Secret
from adyton.enclave.sigstruct import sign
from adyton.platform.protocol import PlatformError
from adyton.platform.simulated.cpu import EnclaveIdentity, SimulatedCpu, check_report
from adyton.platform.simulated.derive import derive_p256, sign_raw
from adyton.platform.simulated.documents import PCESVN, QE_ISVPRODID, QE_ISVSVN, TD_QE_ISVPRODID
from adyton.platform.simulated.pki import SimulatedVendor

# It has no enclave file: this name stands in for its pages. Verifiers pin its signer and product, as for the real one.
QE_MRENCLAVE: Final = hashlib.sha256(b"adyton/simulated-quoting-enclave/1").digest()
QE_AUTH: Final = bytes(range(32))  # as the real one's

_SIGNED_ON = date(2026, 1, 1)


@dataclass(frozen=True, slots=True)
class Certified:
    """A quoting enclave's report, its signature by the PCK key (r||s, 64 bytes) and the PCK chain (PEM)."""

    report: ReportBody
    signature: bytes
    chain: bytes


def binding(key: ec.EllipticCurvePrivateKey) -> bytes:
    """The report data (64 bytes) by which a quoting enclave vouches for its attestation key."""
    return hashlib.sha256(_point(key) + QE_AUTH).digest() + bytes(REPORT_DATA_BYTES - 32)


def signed_quote(header: QuoteHeader, body: Body, key: ec.EllipticCurvePrivateKey, certified: Certified) -> Quote:
    """The quote of ``body`` by an attestation key whose quoting enclave is certified."""
    quote = Quote(
        header=header,
        body=body,
        signature=bytes(64),
        attestation_key=_point(key),
        qe_report=certified.report,
        qe_report_signature=certified.signature,
        auth=QE_AUTH,
        certification_type=CertificationType.PCK_CHAIN,
        certification=certified.chain,
    )
    return replace(quote, signature=sign_raw(key, quote.signed_bytes))


def _point(key: ec.EllipticCurvePrivateKey) -> bytes:
    return key.public_key().public_bytes(Encoding.X962, PublicFormat.UncompressedPoint)[1:]


class QuotingEnclave:
    """Quotes for all enclaves of one CPU.

    Args:
        cpu: the CPU it runs on.
        vendor: signs it, and certifies the platform.
        clock: time of certification; PCK certificates are made anew each year.
    """

    def __init__(self, cpu: SimulatedCpu, vendor: SimulatedVendor, *, clock: Clock = utc_now) -> None:
        self._cpu = cpu
        self._vendor = vendor
        self._clock = clock
        sigstruct = sign(
            QE_MRENCLAVE,
            vendor.qe_signer,
            debug=False,
            isvprodid=QE_ISVPRODID,
            isvsvn=QE_ISVSVN,
            signed_on=_SIGNED_ON,
        )
        self.identity = cpu.einit(QE_MRENCLAVE, sigstruct.to_bytes(), Attributes(Flag.MODE64BIT))
        request = KeyRequest(KeyName.SEAL, keypolicy=KeyPolicy.MRSIGNER, isvsvn=QE_ISVSVN, cpusvn=cpu.cpusvn)
        seal_key = cpu.egetkey(self.identity, request)
        self._attestation_key = derive_p256(seal_key, "simulated-qe/attestation")
        self._pck_key = derive_p256(seal_key, "simulated-qe/pck")
        self._id = derive_key(seal_key, "simulated-qe/id").reveal()[:16]
        self._report = cpu.body(self.identity, binding(self._attestation_key))
        self._signature = sign_raw(self._pck_key, self._report.to_bytes())  # once, as the key that it certifies is one
        self._chain = lru_cache(maxsize=4)(self._issue)

    @property
    def target_info(self) -> TargetInfo:
        """Whom a REPORT must name to be quoted."""
        return self.identity.target_info()

    def quote(self, report: bytes, *, version: int = 3) -> bytes:
        """Quote a REPORT (432 bytes) that was made for this enclave on this CPU.

        Args:
            report: what EREPORT made.
            version: of the quote, 3 to 5; enclaves have quotes of version 3 unless they ask otherwise.

        Raises:
            PlatformError: ``platform.quote.report``: malformed, for another target, or from another CPU;
                ``platform.quote.version``.
        """
        if version not in {3, 4, 5}:
            raise PlatformError(f"there are no quotes of version {version}", code="platform.quote.version")
        body = self._received(report)
        header = QuoteHeader(version=version, user_data=self._id + bytes(4))
        if version == 3:
            header = replace(header, qe_svn=QE_ISVSVN, pce_svn=PCESVN)
        certified = Certified(self._report, self._signature, self.pck_chain(self._clock()))
        return signed_quote(header, body, self._attestation_key, certified).to_bytes()

    def certify(self, report: bytes) -> Certified:
        """Certify the quoting enclave of TDX, as the provisioning certification enclave does on real platforms.

        Args:
            report: its REPORT for this enclave.

        Raises:
            PlatformError: ``platform.quote.report``: malformed, for another target, from another CPU, or of another
                enclave than the vendor's quoting enclave of TDX.
        """
        body = self._received(report)
        own = self._cpu.body(self.identity)
        if (body.mrsigner, body.isvprodid, body.attributes.debug) != (own.mrsigner, TD_QE_ISVPRODID, False):
            raise PlatformError("only the vendor's quoting enclaves are certified", code="platform.quote.report")
        return Certified(body, sign_raw(self._pck_key, body.to_bytes()), self.pck_chain(self._clock()))

    def pck_chain(self, now: datetime) -> bytes:
        """The platform's PCK chain (PEM)."""
        return self._chain(now.year, self._vendor.catalogue.smt)

    def _received(self, report: bytes) -> ReportBody:
        try:
            parsed = Report.parse(report)
        except FormatError as error:
            raise PlatformError(f"not a REPORT: {error.message}", code="platform.quote.report") from error
        if not check_report(self._cpu, self.identity, parsed):
            raise PlatformError("the REPORT was not made for the quoting enclave here", code="platform.quote.report")
        return parsed.body

    def _issue(self, year: int, _smt: bool) -> bytes:
        start = datetime(year, 1, 1, tzinfo=UTC)
        return self._vendor.certify(self._pck_key.public_key(), self._cpu.ppid, self._cpu.cpusvn, start)


class LocalPlatform:
    """The :class:`~adyton.platform.protocol.Platform` of one enclave, in the process that plays its CPU."""

    def __init__(self, cpu: SimulatedCpu, qe: QuotingEnclave, identity: EnclaveIdentity) -> None:
        self._cpu = cpu
        self._qe = qe
        self._identity = identity

    def report(self, target_info: TargetInfo, report_data: bytes) -> bytes:
        """EREPORT."""
        return self._cpu.ereport(self._identity, target_info, report_data).to_bytes()

    def quote(self, report_data: bytes) -> bytes:
        """EREPORT for the quoting enclave, and its quote."""
        return self._qe.quote(self.report(self._qe.target_info, report_data))

    def seal_key(self, request: KeyRequest) -> Secret[bytes]:
        """EGETKEY, for seal keys only: the others are the platform's own.

        Raises:
            PlatformError: ``platform.key``: another key than a seal key.
            SgxError: the CPU refuses.
        """
        if request.keyname != KeyName.SEAL:
            raise PlatformError(f"key name {request.keyname} is not a seal key", code="platform.key")
        return self._cpu.egetkey(self._identity, request)

    def identity(self) -> ReportBody:
        """The enclave's identity, with zero report data."""
        return self._cpu.body(self._identity)
