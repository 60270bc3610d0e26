"""One simulated machine: a CPU with its fused secrets, its quoting enclave and the vendor that certifies it.

Everything secret lies below one private folder: the files of :mod:`~adyton.platform.simulated.state` and the vendor's.
Whoever loses the folder loses what enclaves sealed on this machine.
"""

from __future__ import annotations

import hashlib
from pathlib import Path

from adyton.attestation.formats.sgx import Attributes
from adyton.platform.client import PlatformInfo
from adyton.platform.protocol import Platform
from adyton.platform.simulated.cpu import SimulatedCpu
from adyton.platform.simulated.pki import SimulatedVendor
from adyton.platform.simulated.qe import LocalPlatform, QuotingEnclave
from adyton.platform.simulated.state import MachineState


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
            InputError: a file of its state is damaged.
        """
        state = MachineState.load(folder)
        return cls(SimulatedCpu(state.fuses, owner_epoch=state.owner_epoch, cpusvn=state.cpusvn), vendor, pccs_url)

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
