r"""An in-memory simulated world for tests: vendor, CPU, quoting enclave, enclaves and verifiers, without processes.

    world = World()                                     # 0.3 s for its RSA key; share one per module or session
    platform = world.platform(b"\x01" * 32)             # a Platform: report, quote, seal_key, identity
    other = world.platform(b"\x02" * 32, debug=True)
    verifier = world.verifier()                         # adyton.attestation.verify.Verifier on its own collateral
    policy = world.policy(b"\x01" * 32)                 # a QuotePolicy that trusts this world's root only

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
from adyton.attestation.collateral import Collateral
from adyton.attestation.pck import CaKind
from adyton.attestation.policy import QuotePolicy
from adyton.attestation.sgx import Attributes, Flag
from adyton.attestation.verify import Verifier
from adyton.base.secret import Secret
from adyton.enclave.sigstruct import mrsigner, new_signer, sign
from adyton.platform.simulated.cpu import DEFAULT_CPUSVN, EnclaveIdentity, FusedSecrets, SimulatedCpu
from adyton.platform.simulated.pki import SimulatedVendor
from adyton.platform.simulated.qe import LocalPlatform, QuotingEnclave

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

    def collateral(self) -> Collateral:
        """The vendor's collateral at the world's time."""
        return self.vendor.collateral(self.now)

    def fetch(self, fmspc: str, ca: CaKind) -> Collateral:
        """The world as a CollateralSource."""
        assert (fmspc, ca) == (self.vendor.fmspc, CaKind.PLATFORM)
        return self.collateral()

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

    def policy(self, *mrenclaves: bytes, **options: Any) -> QuotePolicy:  # noqa: ANN401  # those of QuotePolicy
        """A policy that accepts these measurements under this world's root."""
        return QuotePolicy(anchors=(self.anchor,), mrenclaves=frozenset(mrenclaves), **options)

    def verifier(self) -> Verifier:
        """A Verifier that runs on the world's collateral and time."""
        return Verifier(self, clock=self.clock)


def mrsigner_of(name: str = "developer") -> bytes:
    """MRSIGNER of a test signer."""
    return mrsigner(signer(name))
