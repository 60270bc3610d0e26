"""ECREATE and EINIT: from a measurement and the developer's signature to an enclave's identity (SDM vol. 3D).

The checks are made here independently of the code that signs, in the SDM's order and with its numeric codes. What
software cannot violate here (alignment, page state, concurrency, pending interrupts) has no counterpart. This CPU has
KSS, but no CET for enclaves: CET's fields are reserved on it, as on every CPU without.
"""

from __future__ import annotations

import hashlib
import hmac
from dataclasses import dataclass
from typing import Final

from adyton.attestation.formats.sgx import XFRM_LEGACY, Attributes, Flag, TargetInfo
from adyton.enclave.errors import SigStructError
from adyton.enclave.sigstruct import SigStruct
from adyton.platform.protocol import GENERAL_PROTECTION, SgxError
from adyton.platform.simulated.launch import INVALID_ATTRIBUTE, INVALID_MEASUREMENT, LaunchControl

INVALID_SIG_STRUCT: Final = 1
INVALID_SIGNATURE: Final = 8

# What CPUID reports (leaf 12H): ATTRIBUTES that enclaves may ask for, MISCSELECT (EXINFO), and XCR0's features
SUPPORTED_FLAGS: Final = Flag.DEBUG | Flag.MODE64BIT | Flag.PROVISIONKEY | Flag.EINITTOKENKEY | Flag.KSS
SUPPORTED_MISCSELECT: Final = 0x1
_AVX: Final = 0x4
_AVX512: Final = 0xE0
_PKRU: Final = 0x200
_AMX: Final = 0x60000
SUPPORTED_XFRM: Final = XFRM_LEGACY | _AVX | _AVX512 | _PKRU | _AMX

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


def initialise(created: Creation, sigstruct: bytes, launch: LaunchControl) -> EnclaveIdentity:
    """Check ``sigstruct`` (1808 bytes) against what was created.

    Args:
        created: the enclave before EINIT.
        sigstruct: the developer's signature.
        launch: who may start enclaves here.

    Raises:
        SgxError: with the code of the first check that fails; ECREATE's faults come first.
    """
    check_creation(created)
    sig = _parse_sigstruct(sigstruct)
    _check_constants(sig)  # (1)
    _check_signature(sig, sigstruct)  # (2)
    if any(sig.isvfamilyid) and not created.attributes.has(Flag.KSS):  # (3)
        raise _einit(INVALID_SIG_STRUCT, "ISVFAMILYID needs KSS")
    if not hmac.compare_digest(sig.enclavehash, created.mrenclave):  # (4)
        raise _einit(INVALID_MEASUREMENT, f"signed is {sig.enclavehash.hex()}, measured {created.mrenclave.hex()}")
    if created.attributes.has(Flag.EINITTOKENKEY) and sig.mrsigner != launch.le_pubkey_hash:  # (5)
        raise _einit(INVALID_ATTRIBUTE, "EINITTOKENKEY is for the launch enclave only")
    mask = Attributes(sig.flagsmask, sig.xfrmmask)
    if created.attributes.masked(mask) != Attributes(sig.flags, sig.xfrm).masked(mask):  # (6)
        raise _einit(INVALID_ATTRIBUTE, f"signed are flags {sig.flags:#x}, asked for {created.attributes.flags:#x}")
    if created.miscselect & sig.miscmask != sig.miscselect & sig.miscmask:  # (7)
        raise _einit(INVALID_ATTRIBUTE, "MISCSELECT is not as signed")
    launch.check(created.mrenclave, sig.mrsigner, created.attributes)  # (8)
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


def check_creation(created: Creation) -> None:
    """What ECREATE demands of the SECS.

    Raises:
        SgxError: ``sgx_code`` GENERAL_PROTECTION: ECREATE faults.
    """
    attributes = created.attributes
    wrong = [
        name
        for name, right in (
            ("INIT is set", not attributes.has(Flag.INIT)),
            ("ATTRIBUTES that this CPU does not have", not attributes.flags & ~int(SUPPORTED_FLAGS | Flag.INIT)),
            ("XFRM", _is_legal_xfrm(attributes.xfrm)),
            ("MISCSELECT that this CPU does not have", not created.miscselect & ~SUPPORTED_MISCSELECT),
            ("CONFIGID or CONFIGSVN without KSS", attributes.has(Flag.KSS) or not _has_configuration(created)),
        )
        if not right
    ]
    if wrong:
        raise SgxError("ECREATE", GENERAL_PROTECTION, ", ".join(wrong))


def _has_configuration(created: Creation) -> bool:
    return any(created.configid) or created.configsvn != 0


def _is_legal_xfrm(xfrm: int) -> bool:
    """As XSETBV would take it (SDM vol. 1, 13.3): x87 and SSE always; AVX-512 and AMX whole, AVX-512 with AVX."""
    whole = all(xfrm & feature in {0, feature} for feature in (_AVX512, _AMX))
    return (
        xfrm & XFRM_LEGACY == XFRM_LEGACY
        and not xfrm & ~SUPPORTED_XFRM
        and whole
        and (not xfrm & _AVX512 or bool(xfrm & _AVX))
    )


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
            ("CET_ATTRIBUTES", not sig.cet and not sig.cetmask),
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
    whole = n.bit_length() == 8 * len(sig.modulus) and s < n and 0 <= remainder < n
    if not whole or block != int.from_bytes(expected, "big"):
        raise _einit(INVALID_SIGNATURE, "the signature of SIGSTRUCT does not verify")


def _einit(code: int, detail: str) -> SgxError:
    return SgxError("EINIT", code, detail)
