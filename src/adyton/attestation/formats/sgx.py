"""The SGX structures that software exchanges, one field table each (Intel SDM vol. 3D, chapter "SGX Data Structures").

All integers are little-endian. Parsing is strict: exact size, reserved bytes zero.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import IntEnum, IntFlag
from typing import ClassVar

from adyton.attestation.formats.layout import Layout, Structure

KEY_BYTES = 16  # every key that EGETKEY gives is an AES-128 key
REPORT_DATA_BYTES = 64


class Flag(IntFlag):
    """ATTRIBUTES.FLAGS (chapter "SGX Data Structures", ATTRIBUTES); bits without a name are reserved, zero."""

    INIT = 0x01  # EINIT has run
    DEBUG = 0x02  # the host may read and write the enclave
    MODE64BIT = 0x04
    PROVISIONKEY = 0x10  # may derive keys that name the platform
    EINITTOKENKEY = 0x20  # may decide which enclaves start
    CET = 0x40  # control-flow enforcement
    KSS = 0x80  # key separation and sharing: CONFIGID, ISVFAMILYID, ISVEXTPRODID
    AEXNOTIFY = 0x400  # threads learn of interrupts by the host


XFRM_LEGACY = 0x3  # x87 and SSE: always set


class KeyName(IntEnum):
    """KEYREQUEST.KEYNAME."""

    EINITTOKEN = 0
    PROVISION = 1
    PROVISION_SEAL = 2
    REPORT = 3
    SEAL = 4


class KeyPolicy(IntFlag):
    """KEYREQUEST.KEYPOLICY; all but the first two need an enclave with KSS."""

    MRENCLAVE = 0x01
    MRSIGNER = 0x02
    NOISVPRODID = 0x04
    CONFIGID = 0x08
    ISVFAMILYID = 0x10
    ISVEXTPRODID = 0x20


@dataclass(frozen=True, slots=True)
class Attributes(Structure):
    """ATTRIBUTES (16 bytes): what an enclave may do, and how it was started."""

    LAYOUT: ClassVar[Layout] = Layout("ATTRIBUTES", 16, (("flags", 0, "Q"), ("xfrm", 8, "Q")))

    flags: int
    xfrm: int = XFRM_LEGACY

    def has(self, flag: Flag) -> bool:
        """Whether all bits of ``flag`` are set."""
        return self.flags & flag == flag

    @property
    def debug(self) -> bool:
        """Whether the host may read and write the enclave's memory."""
        return self.has(Flag.DEBUG)

    def masked(self, mask: Attributes) -> Attributes:
        """Bitwise and."""
        return Attributes(self.flags & mask.flags, self.xfrm & mask.xfrm)


@dataclass(frozen=True, slots=True)
class ReportBody(Structure):
    """The first 384 bytes of a REPORT: an enclave's identity and 64 bytes of its choice; also the body of a quote."""

    LAYOUT: ClassVar[Layout] = Layout(
        "REPORT body",
        384,
        (
            ("cpusvn", 0, "16s"),
            ("miscselect", 16, "I"),
            ("cet_attributes", 20, "B"),
            ("isvextprodid", 32, "16s"),
            ("attributes", 48, Attributes),
            ("mrenclave", 64, "32s"),
            ("mrsigner", 128, "32s"),
            ("configid", 192, "64s"),
            ("isvprodid", 256, "H"),
            ("isvsvn", 258, "H"),
            ("configsvn", 260, "H"),
            ("isvfamilyid", 304, "16s"),
            ("report_data", 320, "64s"),
        ),
    )

    cpusvn: bytes
    attributes: Attributes
    mrenclave: bytes
    mrsigner: bytes
    isvprodid: int
    isvsvn: int
    report_data: bytes
    miscselect: int = 0
    cet_attributes: int = 0
    configid: bytes = bytes(64)
    configsvn: int = 0
    isvextprodid: bytes = bytes(16)
    isvfamilyid: bytes = bytes(16)


@dataclass(frozen=True, slots=True)
class Report(Structure):
    """REPORT (432 bytes) as EREPORT makes it: the body, and a MAC that only the target enclave can check."""

    LAYOUT: ClassVar[Layout] = Layout(
        "REPORT", 432, (("body", 0, ReportBody), ("keyid", 384, "32s"), ("mac", 416, "16s"))
    )

    body: ReportBody
    keyid: bytes
    mac: bytes


@dataclass(frozen=True, slots=True)
class TargetInfo(Structure):
    """TARGETINFO (512 bytes): which enclave a REPORT is meant for."""

    LAYOUT: ClassVar[Layout] = Layout(
        "TARGETINFO",
        512,
        (
            ("mrenclave", 0, "32s"),
            ("attributes", 32, Attributes),
            ("cet_attributes", 48, "B"),
            ("configsvn", 50, "H"),
            ("miscselect", 52, "I"),
            ("configid", 64, "64s"),
        ),
    )

    mrenclave: bytes
    attributes: Attributes
    cet_attributes: int = 0
    configsvn: int = 0
    miscselect: int = 0
    configid: bytes = bytes(64)

    @classmethod
    def of(cls, body: ReportBody) -> TargetInfo:
        """The TARGETINFO that names the enclave of ``body``."""
        return cls(body.mrenclave, body.attributes, body.cet_attributes, body.configsvn, body.miscselect, body.configid)


@dataclass(frozen=True, slots=True)
class KeyRequest(Structure):
    """KEYREQUEST (512 bytes): which key EGETKEY shall derive; the default mask binds every attribute flag."""

    LAYOUT: ClassVar[Layout] = Layout(
        "KEYREQUEST",
        512,
        (
            ("keyname", 0, "H"),
            ("keypolicy", 2, "H"),
            ("isvsvn", 4, "H"),
            ("cpusvn", 8, "16s"),
            ("attributemask", 24, Attributes),
            ("keyid", 40, "32s"),
            ("miscmask", 72, "I"),
            ("configsvn", 76, "H"),
        ),
    )

    keyname: int
    keypolicy: int = 0
    isvsvn: int = 0
    cpusvn: bytes = bytes(16)
    attributemask: Attributes = field(default=Attributes((1 << 64) - 1, 0))
    keyid: bytes = bytes(32)
    miscmask: int = 0
    configsvn: int = 0
