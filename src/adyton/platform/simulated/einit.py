"""EINIT: from a measurement and the developer's signature to an enclave's identity (SDM vol. 3D, EINIT operation).

The checks are made here independently of the code that signs, in the SDM's order and with its numeric codes.
"""

from __future__ import annotations

import hashlib
import hmac
from dataclasses import dataclass
from typing import Final

from adyton.attestation.sgx import XFRM_LEGACY, Attributes, Flag, TargetInfo
from adyton.enclave.errors import SigStructError
from adyton.enclave.sigstruct import SigStruct
from adyton.platform.protocol import GENERAL_PROTECTION, SgxError

INVALID_SIG_STRUCT: Final = 1
INVALID_ATTRIBUTE: Final = 2
INVALID_MEASUREMENT: Final = 4
INVALID_SIGNATURE: Final = 8
INVALID_EINITTOKEN: Final = 16

_HEADER = bytes.fromhex("06000000E10000000000010000000000")
_HEADER2 = bytes.fromhex("01010000600000006000000001000000")
_SHA256_INFO = bytes.fromhex("3031300d060960864801650304020105000420")  # DigestInfo of SHA-256 (RFC 8017 9.2)
# The top 352 bytes of every decoded PKCS#1 block of RSA-3072 with SHA-256; EINIT keeps them as SECS.PADDING.
PADDING: Final = b"\x00\x01" + b"\xff" * 330 + b"\x00" + _SHA256_INFO


@dataclass(frozen=True, slots=True)
class Creation:
    """What was fixed from ECREATE to the last EEXTEND: the measurement, and what the host chose."""

    mrenclave: bytes
    attributes: Attributes
    miscselect: int = 0
    configid: bytes = bytes(64)
    configsvn: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class EnclaveIdentity:
    """The SECS of an enclave after EINIT: who it is, to this CPU."""

    mrenclave: bytes
    mrsigner: bytes
    attributes: Attributes
    isvprodid: int
    isvsvn: int
    miscselect: int = 0
    cet_attributes: int = 0
    isvfamilyid: bytes = bytes(16)
    isvextprodid: bytes = bytes(16)
    configid: bytes = bytes(64)
    configsvn: int = 0

    def target_info(self) -> TargetInfo:
        """The TARGETINFO that names this enclave."""
        return TargetInfo(
            self.mrenclave, self.attributes, self.cet_attributes, self.configsvn, self.miscselect, self.configid
        )


def initialise(created: Creation, sigstruct: bytes, le_pubkey_hash: bytes | None) -> EnclaveIdentity:
    """Check ``sigstruct`` (1808 bytes) against what was created.

    Args:
        created: the enclave before EINIT.
        sigstruct: the developer's signature.
        le_pubkey_hash: IA32_SGXLEPUBKEYHASH; None: the driver sets it to each enclave's signer, and like that of
            Linux gives nobody the launch enclave's attribute.

    Raises:
        SgxError: with the code of the first check that fails.
    """
    _check_ecreate(created)
    sig = _parse_sigstruct(sigstruct)
    _check_constants(sig)
    _check_signature(sig, sigstruct)
    if any(sig.isvfamilyid) and not created.attributes.has(Flag.KSS):
        raise _einit(INVALID_SIG_STRUCT, "ISVFAMILYID needs KSS")
    if not hmac.compare_digest(sig.enclavehash, created.mrenclave):
        raise _einit(INVALID_MEASUREMENT, f"signed is {sig.enclavehash.hex()}, measured {created.mrenclave.hex()}")
    launch_hash = le_pubkey_hash if le_pubkey_hash is not None else sig.mrsigner
    if created.attributes.has(Flag.EINITTOKENKEY) and sig.mrsigner != le_pubkey_hash:
        raise _einit(INVALID_ATTRIBUTE, "EINITTOKENKEY is for the launch enclave only")
    mask = Attributes(sig.flagsmask, sig.xfrmmask)
    if created.attributes.masked(mask) != Attributes(sig.flags, sig.xfrm).masked(mask):
        raise _einit(INVALID_ATTRIBUTE, f"signed are flags {sig.flags:#x}, asked for {created.attributes.flags:#x}")
    if created.miscselect & sig.miscmask != sig.miscselect & sig.miscmask:
        raise _einit(INVALID_ATTRIBUTE, "MISCSELECT is not as signed")
    if sig.mrsigner != launch_hash:
        raise _einit(INVALID_EINITTOKEN, "launch control is locked to another signer, and there is no token")
    return EnclaveIdentity(
        mrenclave=created.mrenclave,
        mrsigner=sig.mrsigner,
        attributes=Attributes(created.attributes.flags | Flag.INIT, created.attributes.xfrm),
        isvprodid=sig.isvprodid,
        isvsvn=sig.isvsvn,
        miscselect=created.miscselect,
        isvfamilyid=sig.isvfamilyid,
        isvextprodid=sig.isvextprodid,
        configid=created.configid,
        configsvn=created.configsvn,
    )


def _check_ecreate(created: Creation) -> None:
    if created.attributes.has(Flag.INIT) or created.attributes.xfrm & XFRM_LEGACY != XFRM_LEGACY:
        raise SgxError("ECREATE", GENERAL_PROTECTION, "INIT must be clear, and x87 and SSE set")
    if (any(created.configid) or created.configsvn) and not created.attributes.has(Flag.KSS):
        raise SgxError("ECREATE", GENERAL_PROTECTION, "CONFIGID and CONFIGSVN need KSS")


def _parse_sigstruct(data: bytes) -> SigStruct:
    try:
        return SigStruct.parse(data)
    except SigStructError as error:
        raise _einit(INVALID_SIG_STRUCT, error.message) from error


def _check_constants(sig: SigStruct) -> None:
    wrong = [
        name
        for name, right in (
            ("HEADER", sig.header == _HEADER),
            ("VENDOR", sig.vendor in {0, 0x8086}),
            ("HEADER2", sig.header2 == _HEADER2),
            ("EXPONENT", sig.exponent == 3),
            ("RESERVED", not any(sig.reserved1 + sig.reserved2 + sig.reserved3 + sig.reserved4)),
        )
        if not right
    ]
    if wrong:
        raise _einit(INVALID_SIG_STRUCT, f"{', '.join(wrong)} of SIGSTRUCT")


def _check_signature(sig: SigStruct, data: bytes) -> None:
    """RSA with exponent 3 by two multiplications, as the CPU does: s*s = q1*n + r, r*s = q2*n + message."""
    s, n, q1, q2 = (int.from_bytes(part, "little") for part in (sig.signature, sig.modulus, sig.q1, sig.q2))
    remainder = s * s - q1 * n
    block = remainder * s - q2 * n
    expected = PADDING + hashlib.sha256(data[:128] + data[900:1028]).digest()
    if not (s < n and 0 <= remainder < n and block == int.from_bytes(expected, "big")):
        raise _einit(INVALID_SIGNATURE, "the signature of SIGSTRUCT does not verify")


def _einit(code: int, detail: str) -> SgxError:
    return SgxError("EINIT", code, detail)
