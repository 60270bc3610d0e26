"""SIGSTRUCT: the developer's signature over an enclave's measurement (Intel SDM vol. 3D, table 38-21; 1808 bytes).

All integers are little-endian, also modulus and signature. Q1 and Q2 are the quotients that let the CPU verify with
two multiplications. Keys are in ``signer.py``; this module is the door to both.
"""

from __future__ import annotations

import datetime as dt
import hashlib
import re
import struct
from dataclasses import dataclass, replace
from typing import Final

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric import padding, rsa
from cryptography.hazmat.primitives.hashes import SHA256

from adyton.enclave.errors import SigStructError
from adyton.enclave.signer import (
    EXPONENT,
    KEY_BITS,
    KEY_BYTES,
    SignerFile,
    load_signer,
    mrsigner,
    new_signer,
    new_signer_pem,
    require_signer,
)

__all__ = [
    "DEBUG",
    "EXPONENT",
    "FLAGS_MASK",
    "KEY_BITS",
    "MISC_MASK",
    "MODE64",
    "SIGSTRUCT_BYTES",
    "XFRM_LEGACY",
    "XFRM_MASK",
    "SigStruct",
    "SignerFile",
    "load_signer",
    "mrsigner",
    "new_signer",
    "new_signer_pem",
    "sign",
]

SIGSTRUCT_BYTES: Final = 1808

_HEADER: Final = bytes.fromhex("06000000E10000000000010000000000")
_HEADER2: Final = bytes.fromhex("01010000600000006000000001000000")

MODE64: Final = 0x4
DEBUG: Final = 0x2
XFRM_LEGACY: Final = 0x3
FLAGS_MASK: Final = 0xFFFF_FFFF_FFFF_FFFF  # every flag must match: a debug build needs another SIGSTRUCT
XFRM_MASK: Final = 0xFFFF_FFFF_FFF9_FF1B  # AVX, AVX-512 and AMX are the host's choice
MISC_MASK: Final = 0xFFFF_FFFF

# name, offset, struct format
_FIELDS: Final = (
    ("header", 0, "16s"), ("vendor", 16, "I"), ("date", 20, "4s"), ("header2", 24, "16s"), ("swdefined", 40, "I"),
    ("reserved1", 44, "84s"), ("modulus", 128, "384s"), ("exponent", 512, "I"), ("signature", 516, "384s"),
    ("miscselect", 900, "I"), ("miscmask", 904, "I"), ("cet", 908, "B"), ("cetmask", 909, "B"),
    ("reserved2", 910, "2s"), ("isvfamilyid", 912, "16s"), ("flags", 928, "Q"), ("xfrm", 936, "Q"),
    ("flagsmask", 944, "Q"), ("xfrmmask", 952, "Q"), ("enclavehash", 960, "32s"), ("reserved3", 992, "16s"),
    ("isvextprodid", 1008, "16s"), ("isvprodid", 1024, "H"), ("isvsvn", 1026, "H"), ("reserved4", 1028, "12s"),
    ("q1", 1040, "384s"), ("q2", 1424, "384s"),
)  # fmt: skip
_DATE = re.compile(r"[0-9]{8}")
_STRUCT: Final = struct.Struct("<" + "".join(form for _name, _offset, form in _FIELDS))
_SIGNED: Final = ((0, 128), (900, 1028))  # the two ranges that the signature covers


@dataclass(frozen=True, slots=True, kw_only=True)
class SigStruct:
    """The fields in the order of the structure; see the SDM for each."""

    header: bytes
    vendor: int
    date: bytes
    header2: bytes
    swdefined: int
    reserved1: bytes
    modulus: bytes
    exponent: int
    signature: bytes
    miscselect: int
    miscmask: int
    cet: int
    cetmask: int
    reserved2: bytes
    isvfamilyid: bytes
    flags: int
    xfrm: int
    flagsmask: int
    xfrmmask: int
    enclavehash: bytes
    reserved3: bytes
    isvextprodid: bytes
    isvprodid: int
    isvsvn: int
    reserved4: bytes
    q1: bytes
    q2: bytes

    @classmethod
    def parse(cls, data: bytes) -> SigStruct:
        """Split the 1808 bytes; checks nothing but the length.

        Raises:
            SigStructError: another length.
        """
        if len(data) != SIGSTRUCT_BYTES:
            raise SigStructError(f"a SIGSTRUCT has {SIGSTRUCT_BYTES} bytes, not {len(data)}")
        values = _STRUCT.unpack(data)
        return cls(**{name: value for (name, _offset, _form), value in zip(_FIELDS, values, strict=True)})

    def to_bytes(self) -> bytes:
        """The 1808 bytes."""
        return _STRUCT.pack(*(getattr(self, name) for name, _offset, _form in _FIELDS))

    @property
    def mrsigner(self) -> bytes:
        """SHA-256 of the modulus as it stands in the structure."""
        return hashlib.sha256(self.modulus).digest()

    @property
    def debug(self) -> bool:
        """Whether this signature is for a debug enclave."""
        return bool(self.flags & DEBUG)

    @property
    def signed_on(self) -> dt.date | None:
        """The day recorded in DATE; None if the bytes are no day in BCD (the CPU does not look at them)."""
        text = self.date[::-1].hex()
        try:
            return dt.date(int(text[:4]), int(text[4:6]), int(text[6:])) if _DATE.fullmatch(text) else None
        except ValueError:
            return None

    def verify(self) -> None:
        """Check constants, reserved bytes, signature, Q1 and Q2, as EINIT does first.

        Raises:
            SigStructError: with the field that is wrong.
        """
        constants = (
            ("header", self.header, _HEADER),
            ("header2", self.header2, _HEADER2),
            ("exponent", self.exponent, EXPONENT),
            ("vendor", self.vendor in (0, 0x8086), True),
            ("reserved bytes", any(self.reserved1 + self.reserved2 + self.reserved3 + self.reserved4), False),
        )
        for name, value, expected in constants:
            if value != expected:
                raise SigStructError(f"the SIGSTRUCT's {name} is not as specified")
        modulus = int.from_bytes(self.modulus, "little")
        signature = int.from_bytes(self.signature, "little")
        if modulus.bit_length() != KEY_BITS or signature >= modulus:
            raise SigStructError("the SIGSTRUCT's modulus is not of 3072 bits, or its signature is beyond it")
        if (self.q1, self.q2) != _quotients(signature, modulus):
            raise SigStructError(
                "the SIGSTRUCT's Q1 and Q2 do not belong to its signature", code="enclave.sigstruct.quotients"
            )
        try:
            rsa.RSAPublicNumbers(EXPONENT, modulus).public_key().verify(
                signature.to_bytes(KEY_BYTES, "big"), _message(self.to_bytes()), padding.PKCS1v15(), SHA256()
            )
        except (InvalidSignature, ValueError) as error:
            raise SigStructError(
                "the SIGSTRUCT's signature does not verify", code="enclave.sigstruct.signature"
            ) from error


def sign(
    mrenclave: bytes,
    key: rsa.RSAPrivateKey,
    *,
    debug: bool,
    isvprodid: int,
    isvsvn: int,
    signed_on: dt.date,
    xfrm: int = XFRM_LEGACY,
) -> SigStruct:
    """Sign a measurement; equal inputs give equal bytes (PKCS#1 v1.5 is deterministic).

    Args:
        mrenclave: 32 bytes.
        key: RSA-3072 with exponent 3; see :func:`load_signer`.
        debug: allow the enclave to run as debug enclave, and only so.
        isvprodid: product, u16.
        isvsvn: security version, u16.
        signed_on: day recorded in the structure.
        xfrm: extended features the enclave asks for.

    Raises:
        SignerKeyError: a key of another size or exponent.
        SigStructError: ``mrenclave`` is not 32 bytes, or a number is out of range.
    """
    require_signer(key)
    if len(mrenclave) != 32:
        raise SigStructError(f"an MRENCLAVE has 32 bytes, not {len(mrenclave)}")
    for name, number in (("ISVPRODID", isvprodid), ("ISVSVN", isvsvn)):
        if not 0 <= number <= 0xFFFF:
            raise SigStructError(f"{name} {number} is not within 0..65535", hint="it is an unsigned 16-bit number")
    modulus = key.public_key().public_numbers().n
    blank = bytes(KEY_BYTES)
    unsigned = SigStruct(
        header=_HEADER,
        vendor=0,
        date=_bcd(signed_on),
        header2=_HEADER2,
        swdefined=0,
        reserved1=bytes(84),
        modulus=modulus.to_bytes(KEY_BYTES, "little"),
        exponent=EXPONENT,
        signature=blank,
        miscselect=0,
        miscmask=MISC_MASK,
        cet=0,
        cetmask=0,
        reserved2=bytes(2),
        isvfamilyid=bytes(16),
        flags=MODE64 | (DEBUG if debug else 0),
        xfrm=xfrm,
        flagsmask=FLAGS_MASK,
        xfrmmask=XFRM_MASK,
        enclavehash=mrenclave,
        reserved3=bytes(16),
        isvextprodid=bytes(16),
        isvprodid=isvprodid,
        isvsvn=isvsvn,
        reserved4=bytes(12),
        q1=blank,
        q2=blank,
    )
    signature = int.from_bytes(key.sign(_message(unsigned.to_bytes()), padding.PKCS1v15(), SHA256()), "big")
    q1, q2 = _quotients(signature, modulus)
    return replace(unsigned, signature=signature.to_bytes(KEY_BYTES, "little"), q1=q1, q2=q2)


def _message(data: bytes) -> bytes:
    return b"".join(data[start:end] for start, end in _SIGNED)


def _quotients(signature: int, modulus: int) -> tuple[bytes, bytes]:
    q1, remainder = divmod(signature * signature, modulus)
    q2 = remainder * signature // modulus
    return q1.to_bytes(KEY_BYTES, "little"), q2.to_bytes(KEY_BYTES, "little")


def _bcd(day: dt.date) -> bytes:
    """DATE is yyyymmdd in binary-coded decimal, little-endian: 2026-11-22 is 22 11 26 20."""
    return bytes.fromhex(f"{day.year:04d}{day.month:02d}{day.day:02d}")[::-1]
