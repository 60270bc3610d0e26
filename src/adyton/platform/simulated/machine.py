"""One simulated machine: a CPU with its fused secrets, its quoting enclave and the vendor that certifies it.

Everything secret lies below one private folder: ``fuses`` (32 bytes, made once) and the vendor's files. Whoever loses
the folder loses what enclaves sealed on this machine.
"""

from __future__ import annotations

import hashlib
from pathlib import Path

from adyton.attestation.sgx import Attributes
from adyton.base.files import write_private
from adyton.base.secret import Secret
from adyton.platform.client import PlatformInfo
from adyton.platform.protocol import Platform
from adyton.platform.simulated.cpu import FusedSecrets, SimulatedCpu
from adyton.platform.simulated.pki import SimulatedVendor
from adyton.platform.simulated.qe import LocalPlatform, QuotingEnclave


class SimulatedMachine:
    """The CPU as the daemon needs it.

    Args:
        cpu: with its fused secrets.
        vendor: certifies it.
        pccs_url: where its collateral is served.
    """

    def __init__(self, cpu: SimulatedCpu, vendor: SimulatedVendor, pccs_url: str) -> None:
        self._cpu = cpu
        self._qe = QuotingEnclave(cpu, vendor)
        self._vendor = vendor
        self._pccs_url = pccs_url

    @classmethod
    def in_folder(cls, folder: Path, vendor: SimulatedVendor, pccs_url: str) -> SimulatedMachine:
        """The machine whose secrets are in ``folder``; made on first use.

        Raises:
            InputError: the file of fused secrets is damaged.
        """
        folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        file = folder / "fuses"
        if not file.exists():
            write_private(file, FusedSecrets.create().to_bytes().reveal())
        return cls(SimulatedCpu(FusedSecrets.from_bytes(Secret(file.read_bytes()))), vendor, pccs_url)

    def initialise(self, mrenclave: bytes, sigstruct: bytes, attributes: Attributes) -> Platform:
        """EINIT of an enclave that was measured here.

        Raises:
            SgxError: with EINIT's code.
        """
        return LocalPlatform(self._cpu, self._qe, self._cpu.einit(mrenclave, sigstruct, attributes))

    def info(self) -> PlatformInfo:
        """What this machine is."""
        root = hashlib.sha256(self._vendor.root_der).hexdigest()
        return PlatformInfo(self._vendor.anchor.tier, self._vendor.fmspc, root, self._pccs_url)
