r"""An in-memory simulated world for tests: vendor, CPU, quoting enclave, enclaves and verifiers, without processes.

    world = World()                                     # 0.3 s for its RSA key; share one per module or session
    platform = world.platform(b"\x01" * 32)             # a Platform: report, quote, seal_key, identity
    other = world.platform(b"\x02" * 32, debug=True)
    verifier = world.verifier()                         # adyton.attestation.dcap.verify.Verifier on its own collateral
    policy = world.policy(b"\x01" * 32)                 # a QuotePolicy that trusts this world's root only
    quote = world.td_quote(bytes(64))                   # of a trust domain, version 4; see below for the other kinds

Quotes of every kind, with the collateral that they are judged by::

    world.platform(M).quote(data)                       # enclave, version 3; all below: world.collateral()
    world.enclave_quote(M, data, version=4)             # enclave, version 3, 4 or 5; options as for enclave()
    world.td_quote(data)                                # TD 1.0, version 4; below: world.collateral(EvidenceKind.TDX)
    world.td_quote(data, version=5)                     # TD 1.0, version 5
    world.td_quote(data, version=5, body=TdReport15)    # TD 1.5, version 5
    world.td_quote(data, mrtd=…, rtmrs=(…, …, …, …), td_attributes=…, tee_tcb_svn=…)  # any field of TrustDomain

Everything is real but the machine: EINIT runs on a SIGSTRUCT, quotes are signed, collateral expires. Move the time
with ``world.now = …``; change what the vendor says with ``world.vendor.catalogue = replace(…)``; ``world.other_cpu()``
is another machine of the same vendor. The import path is ``tests.platform.world``, or through the ``world`` fixture.
"""

from __future__ import annotations

from datetime import UTC, date, datetime
from functools import lru_cache
from typing import Any

from cryptography.hazmat.primitives.asymmetric import rsa

from adyton.attestation.anchors import TrustAnchor
from adyton.attestation.collateral.documents import Collateral
from adyton.attestation.dcap.pck import CaKind
from adyton.attestation.dcap.verify import Verifier
from adyton.attestation.formats.sgx import Attributes, Flag
from adyton.attestation.formats.tdx import TdReport
from adyton.attestation.policy import QuotePolicy
from adyton.attestation.verdict import EvidenceKind
from adyton.base.secret import Secret
from adyton.enclave.sigstruct import mrsigner, new_signer, sign
from adyton.platform.simulated.cpu import DEFAULT_CPUSVN, EnclaveIdentity, FusedSecrets, SimulatedCpu
from adyton.platform.simulated.pki import SimulatedVendor
from adyton.platform.simulated.qe import LocalPlatform, QuotingEnclave
from adyton.platform.simulated.td import TdQuotingEnclave, TrustDomain

NOW = datetime(2026, 11, 22, 12, 0, tzinfo=UTC)


@lru_cache(maxsize=8)
def signer(_name: str) -> rsa.RSAPrivateKey:
    """An enclave signer's key; the same for one name in one test process."""
    return new_signer()


class World:
    """One vendor, one CPU with its quoting enclave, and a clock that tests set."""

    def __init__(
        self,
        vendor: SimulatedVendor | None = None,
        *,
        now: datetime = NOW,
        fuses: FusedSecrets | None = None,
        cpusvn: bytes = DEFAULT_CPUSVN,
    ) -> None:
        self.now = now
        self.vendor = vendor or SimulatedVendor(Secret(b"adyton tests: simulated vendor.."), signer("vendor"))
        self.cpu = SimulatedCpu(fuses or FusedSecrets.create(), cpusvn=cpusvn)
        self.qe = QuotingEnclave(self.cpu, self.vendor, clock=self.clock)
        self.td_qe = TdQuotingEnclave(self.cpu, self.vendor, self.qe)

    def clock(self) -> datetime:
        """The world's time."""
        return self.now

    def other_cpu(self) -> World:
        """Another machine of the same vendor."""
        return World(self.vendor, now=self.now)

    @property
    def anchor(self) -> TrustAnchor:
        """The vendor's root as a trust anchor."""
        return self.vendor.anchor

    def collateral(self, kind: EvidenceKind = EvidenceKind.SGX) -> Collateral:
        """The vendor's collateral at the world's time, for evidence of SGX or of TDX."""
        return self.vendor.collateral(self.now, kind)

    def fetch(self, fmspc: str, ca: CaKind, kind: EvidenceKind = EvidenceKind.SGX) -> Collateral:
        """The world as a CollateralSource."""
        assert (fmspc, ca) == (self.vendor.fmspc, CaKind.PLATFORM)
        return self.collateral(kind)

    def enclave(
        self,
        mrenclave: bytes,
        *,
        debug: bool = False,
        isvprodid: int = 0,
        isvsvn: int = 0,
        key: rsa.RSAPrivateKey | None = None,
    ) -> EnclaveIdentity:
        """Start an enclave: sign its measurement and run EINIT."""
        sigstruct = sign(
            mrenclave,
            key or signer("developer"),
            debug=debug,
            isvprodid=isvprodid,
            isvsvn=isvsvn,
            signed_on=date(2026, 1, 1),
        )
        flags = Flag.MODE64BIT | (Flag.DEBUG if debug else Flag(0))
        return self.cpu.einit(mrenclave, sigstruct.to_bytes(), Attributes(flags))

    def platform(self, mrenclave: bytes, **options: Any) -> LocalPlatform:  # noqa: ANN401  # those of enclave()
        """The Platform of a started enclave; options as for :meth:`enclave`."""
        return LocalPlatform(self.cpu, self.qe, self.enclave(mrenclave, **options))

    def enclave_quote(
        self,
        mrenclave: bytes,
        report_data: bytes,
        *,
        version: int = 3,
        **options: Any,  # noqa: ANN401  # those of enclave()
    ) -> bytes:
        """A quote of a started enclave, in version 3, 4 or 5; options as for :meth:`enclave`."""
        report = self.cpu.ereport(self.enclave(mrenclave, **options), self.qe.target_info, report_data)
        return self.qe.quote(report.to_bytes(), version=version)

    def td_quote(
        self,
        report_data: bytes,
        *,
        version: int = 4,
        body: type[TdReport] = TdReport,
        **measurements: Any,  # noqa: ANN401  # those of TrustDomain
    ) -> bytes:
        """A quote of a trust domain, in version 4 or 5.

        Args:
            report_data: 64 bytes.
            version: of the quote.
            body: TdReport (584 bytes), or TdReport15 (648 bytes, version 5 only).
            measurements: fields of :class:`~adyton.platform.simulated.td.TrustDomain`; the rest has its defaults.
        """
        return self.td_qe.quote(TrustDomain(**measurements).report(report_data, body), version=version)

    def policy(self, *mrenclaves: bytes, **options: Any) -> QuotePolicy:  # noqa: ANN401  # those of QuotePolicy
        """A policy that accepts these measurements under this world's root."""
        return QuotePolicy(anchors=(self.anchor,), mrenclaves=frozenset(mrenclaves), **options)

    def verifier(self) -> Verifier:
        """A Verifier that runs on the world's collateral and time."""
        return Verifier(self, clock=self.clock)


def mrsigner_of(name: str = "developer") -> bytes:
    """MRSIGNER of a test signer."""
    return mrsigner(signer(name))
