"""The simulated CPU: fused secrets, EINIT, EREPORT and EGETKEY as the SDM's pseudocode has them (vol. 3D, chapter 38).

The set of inputs of every key is the SDM's (``dependencies.py``). Whoever holds this object holds the secrets: it lives
in one process that measures enclaves itself, and nothing of it protects from that process's owner.
"""

from __future__ import annotations

import hmac
import os
from dataclasses import dataclass
from typing import Final

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
from adyton.base.errors import InputError
from adyton.base.secret import Secret
from adyton.platform.protocol import GENERAL_PROTECTION, SgxError
from adyton.platform.simulated.dependencies import FUSE_BYTES, KeyDependencies
from adyton.platform.simulated.einit import Creation, EnclaveIdentity, initialise
from adyton.platform.simulated.launch import (
    INVALID_ATTRIBUTE,
    INVALID_CPUSVN,
    TOKEN_BYTES,
    EinitToken,
    LaunchControl,
    cmac,
)

__all__ = ["DEFAULT_CPUSVN", "EnclaveIdentity", "FusedSecrets", "SimulatedCpu", "check_report"]

DEFAULT_CPUSVN: Final = bytes((11, 11, 2, 2, 255, 1)) + bytes(10)  # also the comparable components of its TCB

INVALID_ISVSVN: Final = 64
INVALID_KEYNAME: Final = 256

_SECS_BITS = Flag.INIT | Flag.DEBUG  # always part of sealing attributes
_KSS_POLICIES = KeyPolicy.NOISVPRODID | KeyPolicy.CONFIGID | KeyPolicy.ISVFAMILYID | KeyPolicy.ISVEXTPRODID
_ALL_POLICIES = KeyPolicy.MRENCLAVE | KeyPolicy.MRSIGNER | _KSS_POLICIES


@dataclass(frozen=True, slots=True)
class FusedSecrets:
    """What is burnt into one CPU: a key that its vendor knows too, and one that nobody else knows (16 bytes each)."""

    provisioning: Secret[bytes]
    sealing: Secret[bytes]

    @classmethod
    def create(cls) -> FusedSecrets:
        """Fresh secrets, for a new CPU."""
        return cls(Secret(os.urandom(FUSE_BYTES)), Secret(os.urandom(FUSE_BYTES)))

    @classmethod
    def from_bytes(cls, data: Secret[bytes]) -> FusedSecrets:
        """Read both from 32 bytes, as :meth:`to_bytes` makes them.

        Raises:
            InputError: another length.
        """
        value = data.reveal()
        if len(value) != 2 * FUSE_BYTES:
            raise InputError(f"fused secrets have {2 * FUSE_BYTES} bytes, not {len(value)}", code="platform.fuses")
        return cls(Secret(value[:FUSE_BYTES]), Secret(value[FUSE_BYTES:]))

    def to_bytes(self) -> Secret[bytes]:
        """Both, to keep in a private file."""
        return Secret(self.provisioning.reveal() + self.sealing.reveal())


class SimulatedCpu:
    """One CPU package; holds no mutable state, so threads may share it.

    Args:
        fuses: its secrets.
        owner_epoch: 16 bytes that the machine's owner may change to lose all sealed data.
        cpusvn: current microcode level (16 comparable components).
        le_pubkey_hash: IA32_SGXLEPUBKEYHASH; None: the driver sets it to each enclave's signer, as Linux does.
    """

    def __init__(
        self,
        fuses: FusedSecrets,
        *,
        owner_epoch: bytes = bytes(16),
        cpusvn: bytes = DEFAULT_CPUSVN,
        le_pubkey_hash: bytes | None = None,
    ) -> None:
        if len(owner_epoch) != 16 or len(cpusvn) != 16:
            raise InputError("owner epoch and CPUSVN have 16 bytes", code="platform.cpu")
        self.cpusvn = cpusvn
        self._fuses = fuses
        self._owner_epoch = owner_epoch
        self._le_pubkey_hash = le_pubkey_hash
        self._report_keyid = os.urandom(32)  # CR_REPORT_KEYID: new at every boot

    @property
    def ppid(self) -> bytes:
        """The provisioning id (16 bytes): names the CPU to its vendor."""
        return cmac(self._fuses.provisioning.reveal(), b"adyton/simulated-ppid")

    def einit(
        self,
        mrenclave: bytes,
        sigstruct: bytes,
        attributes: Attributes,
        miscselect: int = 0,
        *,
        configid: bytes = bytes(64),
        configsvn: int = 0,
        token: bytes = bytes(TOKEN_BYTES),
    ) -> EnclaveIdentity:
        """Start an enclave: check the signature over what was measured, and fix its identity.

        Args:
            mrenclave: as measured by the caller from the enclave's pages.
            sigstruct: 1808 bytes.
            attributes: as chosen at ECREATE, INIT clear.
            miscselect: as chosen at ECREATE.
            configid: as chosen at ECREATE; needs KSS when not zero.
            configsvn: likewise.
            token: EINITTOKEN of a launch enclave, where launch control is locked; by default an invalid one.

        Raises:
            SgxError: with EINIT's code, in the order of the SDM's checks.
        """
        launch = LaunchControl(self._le_pubkey_hash, token, self.cpusvn, self._launch_key)
        return initialise(Creation(mrenclave, attributes, miscselect, configid, configsvn), sigstruct, launch)

    def body(self, identity: EnclaveIdentity, report_data: bytes = bytes(REPORT_DATA_BYTES)) -> ReportBody:
        """The report body of an enclave on this CPU."""
        return ReportBody(
            cpusvn=self.cpusvn,
            attributes=identity.attributes,
            mrenclave=identity.mrenclave,
            mrsigner=identity.mrsigner,
            isvprodid=identity.isvprodid,
            isvsvn=identity.isvsvn,
            report_data=report_data,
            miscselect=identity.miscselect,
            cet_attributes=identity.cet_attributes,
            configid=identity.configid,
            configsvn=identity.configsvn,
            isvextprodid=identity.isvextprodid,
            isvfamilyid=identity.isvfamilyid,
        )

    def ereport(self, identity: EnclaveIdentity, target: TargetInfo, report_data: bytes) -> Report:
        """EREPORT: a report of ``identity`` that only the enclave named by ``target`` can check.

        Raises:
            SgxError: the CPU would fault: report data of another length than 64 bytes, or a reserved byte of the
                target that is not zero (this CPU has no CET).
        """
        if len(report_data) != REPORT_DATA_BYTES:
            raise SgxError("EREPORT", GENERAL_PROTECTION, f"report data has {len(report_data)} bytes, not 64")
        if target.cet_attributes:
            raise SgxError("EREPORT", GENERAL_PROTECTION, "CET_ATTRIBUTES of TARGETINFO are reserved without CET")
        body = self.body(identity, report_data)
        dependencies = KeyDependencies(
            keyname=KeyName.REPORT,
            cpusvn=self.cpusvn,
            owner_epoch=self._owner_epoch,
            attributes=target.attributes,
            mrenclave=target.mrenclave,
            keyid=self._report_keyid,
            seal_fuses=self._seal_fuses(),
            miscselect=target.miscselect,
            configid=target.configid,
            configsvn=target.configsvn,
        )
        return Report(body, self._report_keyid, cmac(self._derive(dependencies), body.to_bytes()))

    def egetkey(self, identity: EnclaveIdentity, request: KeyRequest) -> Secret[bytes]:
        """EGETKEY: the 16-byte key that ``request`` names, for ``identity``.

        Raises:
            SgxError: with EGETKEY's code; :data:`~adyton.platform.protocol.GENERAL_PROTECTION` where it would fault.
        """
        _check_policy(identity, request)
        match request.keyname:
            case KeyName.SEAL:
                dependencies = self._seal(identity, request)
            case KeyName.REPORT:
                dependencies = self._report(identity, request)
            case KeyName.PROVISION | KeyName.PROVISION_SEAL:
                dependencies = self._provision(identity, request)
            case KeyName.EINITTOKEN:
                dependencies = self._einittoken(identity, request)
            case _:
                raise _egetkey(INVALID_KEYNAME, f"key name {request.keyname} does not exist")
        return Secret(self._derive(dependencies))

    def _seal(self, identity: EnclaveIdentity, request: KeyRequest) -> KeyDependencies:
        self._check_svns(identity, request)
        policy = KeyPolicy(request.keypolicy)
        return KeyDependencies(
            keyname=KeyName.SEAL,
            cpusvn=request.cpusvn,
            isvprodid=0 if policy & KeyPolicy.NOISVPRODID else identity.isvprodid,
            isvsvn=request.isvsvn,
            owner_epoch=self._owner_epoch,
            attributes=_sealing_attributes(identity, request),
            attributemask=request.attributemask,
            mrenclave=identity.mrenclave if policy & KeyPolicy.MRENCLAVE else bytes(32),
            mrsigner=identity.mrsigner if policy & KeyPolicy.MRSIGNER else bytes(32),
            keyid=request.keyid,
            seal_fuses=self._seal_fuses(),
            miscselect=identity.miscselect & request.miscmask,
            miscmask_inverted=~request.miscmask & 0xFFFFFFFF,
            keypolicy=request.keypolicy,
            isvfamilyid=identity.isvfamilyid if policy & KeyPolicy.ISVFAMILYID else bytes(16),
            isvextprodid=identity.isvextprodid if policy & KeyPolicy.ISVEXTPRODID else bytes(16),
            configid=identity.configid if policy & KeyPolicy.CONFIGID else bytes(64),
            configsvn=request.configsvn if policy & KeyPolicy.CONFIGID else 0,
        )

    def _report(self, identity: EnclaveIdentity, request: KeyRequest) -> KeyDependencies:
        return KeyDependencies(
            keyname=KeyName.REPORT,
            cpusvn=self.cpusvn,
            owner_epoch=self._owner_epoch,
            attributes=identity.attributes,
            mrenclave=identity.mrenclave,
            keyid=request.keyid,
            seal_fuses=self._seal_fuses(),
            miscselect=identity.miscselect,
            configid=identity.configid,
            configsvn=identity.configsvn,
        )

    def _provision(self, identity: EnclaveIdentity, request: KeyRequest) -> KeyDependencies:
        if not identity.attributes.has(Flag.PROVISIONKEY):
            raise _egetkey(INVALID_ATTRIBUTE, "provisioning keys need the PROVISIONKEY attribute")
        self._check_svns(identity, request)
        sealing = request.keyname == KeyName.PROVISION_SEAL
        policy = KeyPolicy(request.keypolicy) if sealing else KeyPolicy(0)
        return KeyDependencies(
            keyname=KeyName(request.keyname),
            cpusvn=request.cpusvn,
            isvprodid=0 if policy & KeyPolicy.NOISVPRODID else identity.isvprodid,
            isvsvn=request.isvsvn,
            attributes=_sealing_attributes(identity, request),
            attributemask=request.attributemask,
            mrsigner=identity.mrsigner,
            seal_fuses=self._seal_fuses() if sealing else bytes(FUSE_BYTES),
            miscselect=identity.miscselect & request.miscmask,
            miscmask_inverted=~request.miscmask & 0xFFFFFFFF,
            keypolicy=policy,
            isvfamilyid=identity.isvfamilyid if policy & KeyPolicy.ISVFAMILYID else bytes(16),
            isvextprodid=identity.isvextprodid if policy & KeyPolicy.ISVEXTPRODID else bytes(16),
            configid=identity.configid if policy & KeyPolicy.CONFIGID else bytes(64),
            configsvn=request.configsvn if policy & KeyPolicy.CONFIGID else 0,
        )

    def _einittoken(self, identity: EnclaveIdentity, request: KeyRequest) -> KeyDependencies:
        if not identity.attributes.has(Flag.EINITTOKENKEY):
            raise _egetkey(INVALID_ATTRIBUTE, "the launch key needs the EINITTOKENKEY attribute")
        self._check_svns(identity, request)
        return KeyDependencies(
            keyname=KeyName.EINITTOKEN,
            cpusvn=request.cpusvn,
            isvprodid=identity.isvprodid,
            isvsvn=request.isvsvn,
            owner_epoch=self._owner_epoch,
            attributes=_sealing_attributes(identity, request),
            mrsigner=identity.mrsigner,
            keyid=request.keyid,
            seal_fuses=self._seal_fuses(),
            miscselect=identity.miscselect & request.miscmask,
        )

    def _launch_key(self, token: EinitToken) -> Secret[bytes]:
        """The key that a launch enclave got from EGETKEY when it made ``token``."""
        return Secret(
            self._derive(
                KeyDependencies(
                    keyname=KeyName.EINITTOKEN,
                    cpusvn=token.cpusvn,
                    isvprodid=token.isvprodid,
                    isvsvn=token.isvsvn,
                    owner_epoch=self._owner_epoch,
                    attributes=token.masked_attributes,
                    mrsigner=self._le_pubkey_hash or bytes(32),
                    keyid=token.keyid,
                    seal_fuses=self._seal_fuses(),
                    miscselect=token.masked_miscselect,
                )
            )
        )

    def _check_svns(self, identity: EnclaveIdentity, request: KeyRequest) -> None:
        if any(asked > current for asked, current in zip(request.cpusvn, self.cpusvn, strict=True)):
            raise _egetkey(INVALID_CPUSVN, "the key of a newer microcode is not given to an older one")
        if request.isvsvn > identity.isvsvn:
            raise _egetkey(INVALID_ISVSVN, f"the key of ISVSVN {request.isvsvn} is not given to {identity.isvsvn}")
        # the SDM's pseudocode asks this for SEAL only; its text and table have CONFIGSVN in PROVISION_SEAL alike
        configured = request.keyname in {KeyName.SEAL, KeyName.PROVISION_SEAL}
        if configured and request.configsvn > identity.configsvn:
            raise _egetkey(INVALID_ISVSVN, f"the key of CONFIGSVN {request.configsvn} is not given to an older one")

    def _seal_fuses(self) -> bytes:
        return cmac(self._fuses.sealing.reveal(), b"adyton/simulated-seal-fuses")

    def _derive(self, dependencies: KeyDependencies) -> bytes:
        level_key = cmac(self._fuses.provisioning.reveal(), b"adyton/simulated-cpusvn" + dependencies.cpusvn)
        return cmac(level_key, dependencies.to_bytes())


def check_report(cpu: SimulatedCpu, target: EnclaveIdentity, report: Report) -> bool:
    """Whether ``report`` was made on this CPU for ``target``: what a target enclave does with EGETKEY and CMAC."""
    key = cpu.egetkey(target, KeyRequest(KeyName.REPORT, keyid=report.keyid))
    return hmac.compare_digest(cmac(key.reveal(), report.body.to_bytes()), report.mac)


def _sealing_attributes(identity: EnclaveIdentity, request: KeyRequest) -> Attributes:
    mask = Attributes(request.attributemask.flags | _SECS_BITS, request.attributemask.xfrm)
    return identity.attributes.masked(mask)


def _check_policy(identity: EnclaveIdentity, request: KeyRequest) -> None:
    if request.keypolicy & ~int(_ALL_POLICIES):
        raise _egetkey(GENERAL_PROTECTION, "reserved bits of KEYPOLICY are set")
    needs_kss = request.keypolicy & _KSS_POLICIES or request.configsvn
    if needs_kss and not identity.attributes.has(Flag.KSS):
        raise _egetkey(GENERAL_PROTECTION, "this key policy needs KSS")


def _egetkey(code: int, detail: str) -> SgxError:
    return SgxError("EGETKEY", code, detail)
