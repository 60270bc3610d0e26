"""SEV-SNP attestation reports, one field table for each version.

Source: AMD publication 56860, *SEV Secure Nested Paging Firmware ABI Specification*, "ATTESTATION_REPORT".

A report says which guest runs, on which chip and firmware, and 64 bytes of the guest's choice; the chip's or the
provider's endorsement key signs it. All integers are little-endian; measurements are SHA-384. Parsing keeps every bit:
what the verifier must require of them is its matter.
"""

from __future__ import annotations

import struct
from dataclasses import dataclass
from enum import Enum, IntEnum, IntFlag
from typing import ClassVar, Final

from adyton.attestation.errors import AttestationError, FormatError
from adyton.attestation.formats.layout import Layout, Structure

REPORT_BYTES: Final = 0x4A0
SIGNED_BYTES: Final = 0x2A0
ECDSA_P384_SHA384: Final = 1  # SIGNATURE_ALGO, chapter "Digital Signatures"
NO_MIGRATION_AGENT: Final = b"\xff" * 32  # REPORT_ID_MA where the guest has none


class KeyKind(IntEnum):
    """SIGNING_KEY: which key signed the report."""

    VCEK = 0  # derived from the chip's secrets and the reported TCB
    VLEK = 1  # given to a cloud provider by the vendor, loaded into the provider's chips
    NONE = 7


class GuestPolicy(IntFlag):
    """POLICY: what the guest's owner demands of every platform; bits 7:0 and 15:8 are the lowest ABI version."""

    SMT = 1 << 16  # hyperthreading is allowed
    RESERVED_ONE = 1 << 17  # must be 1
    MIGRATE_MA = 1 << 18  # may be bound to a migration agent, which may then export it
    DEBUG = 1 << 19  # the host may read and write the guest's memory
    SINGLE_SOCKET = 1 << 20
    CXL_ALLOW = 1 << 21
    MEM_AES_256_XTS = 1 << 22
    RAPL_DIS = 1 << 23  # power metering must be off
    CIPHERTEXT_HIDING_DRAM = 1 << 24  # the host must not see ciphertext
    PAGE_SWAP_DISABLE = 1 << 25


POLICY_RESERVED: Final = ~((1 << 26) - 1) & (1 << 64) - 1


class PlatformInfo(IntFlag):
    """PLATFORM_INFO: how the platform that made the report is set up."""

    SMT_EN = 1 << 0
    TSME_EN = 1 << 1
    ECC_EN = 1 << 2
    RAPL_DIS = 1 << 3
    CIPHERTEXT_HIDING_DRAM_EN = 1 << 4
    ALIAS_CHECK_COMPLETE = 1 << 5  # no memory aliases (BadRAM) since the last reset
    TIO_EN = 1 << 7


PLATFORM_RESERVED: Final = ~0xBF & (1 << 64) - 1
_KEY_INFO_RESERVED: Final = 0xFFFF_FFE0


class Generation(Enum):
    """Processor generations that make reports: the product's name, and CPUID family with its models."""

    MILAN = ("Milan", 0x19, frozenset(range(0x10)))
    GENOA = ("Genoa", 0x19, frozenset({*range(0x10, 0x20), *range(0xA0, 0xB0)}))  # with Bergamo and Siena
    TURIN = ("Turin", 0x1A, frozenset(range(0x12)))

    def __init__(self, product: str, family: int, models: frozenset[int]) -> None:
        self.product = product
        self.family = family
        self.models = models

    @property
    def chip_id_bytes(self) -> int:
        """How much of CHIP_ID is used; the rest is zero."""
        return 8 if self is Generation.TURIN else 64

    @property
    def has_fmc(self) -> bool:
        """Whether TCB_VERSION starts with the security version of the FMC firmware."""
        return self is Generation.TURIN


@dataclass(frozen=True, slots=True)
class TcbVersion:
    """TCB_VERSION: security patch levels of firmware and microcode; each may only be compared with its own kind."""

    bootloader: int
    tee: int
    snp: int
    microcode: int
    fmc: int = 0

    @classmethod
    def read(cls, raw: bytes, generation: Generation) -> TcbVersion:
        """Read the 8 bytes as ``generation`` lays them out ("TCB_VERSION").

        Raises:
            AttestationError: ``attestation.snp.tcb``: a reserved byte is not zero.
        """
        if generation.has_fmc:
            reserved, version = raw[4:7], cls(raw[1], raw[2], raw[3], raw[7], raw[0])
        else:
            reserved, version = raw[2:6], cls(raw[0], raw[1], raw[6], raw[7])
        if any(reserved):
            raise AttestationError(
                f"TCB_VERSION {raw.hex()} is not of a {generation.product}", code="attestation.snp.tcb"
            )
        return version

    def to_bytes(self, generation: Generation) -> bytes:
        """The 8 bytes as ``generation`` lays them out."""
        if generation.has_fmc:
            return bytes((self.fmc, self.bootloader, self.tee, self.snp, 0, 0, 0, self.microcode))
        return bytes((self.bootloader, self.tee, 0, 0, 0, 0, self.snp, self.microcode))

    def covers(self, other: TcbVersion) -> bool:
        """Whether no part is below the same part of ``other``."""
        return all(getattr(self, name) >= getattr(other, name) for name in self.__slots__)

    def __str__(self) -> str:
        fmc = f"fmc {self.fmc}, " if self.fmc else ""
        return f"{fmc}bootloader {self.bootloader}, tee {self.tee}, snp {self.snp}, ucode {self.microcode}"


_HEAD: Final = (
    ("version", 0x000, "I"),
    ("guest_svn", 0x004, "I"),
    ("policy", 0x008, "Q"),
    ("family_id", 0x010, "16s"),
    ("image_id", 0x020, "16s"),
    ("vmpl", 0x030, "I"),
    ("signature_algorithm", 0x034, "I"),
    ("current_tcb", 0x038, "8s"),
    ("platform_info", 0x040, "Q"),
    ("key_info", 0x048, "I"),
    ("report_data", 0x050, "64s"),
    ("measurement", 0x090, "48s"),
    ("host_data", 0x0C0, "32s"),
    ("id_key_digest", 0x0E0, "48s"),
    ("author_key_digest", 0x110, "48s"),
    ("report_id", 0x140, "32s"),
    ("report_id_ma", 0x160, "32s"),
    ("reported_tcb", 0x180, "8s"),
)
_CPUID: Final = (("cpuid_family", 0x188, "B"), ("cpuid_model", 0x189, "B"), ("cpuid_stepping", 0x18A, "B"))
_PLATFORM: Final = (
    ("chip_id", 0x1A0, "64s"),
    ("committed_tcb", 0x1E0, "8s"),
    ("current_build", 0x1E8, "B"),
    ("current_minor", 0x1E9, "B"),
    ("current_major", 0x1EA, "B"),
    ("committed_build", 0x1EC, "B"),
    ("committed_minor", 0x1ED, "B"),
    ("committed_major", 0x1EE, "B"),
    ("launch_tcb", 0x1F0, "8s"),
)
_VECTORS: Final = (("launch_mit_vector", 0x1F8, "Q"), ("current_mit_vector", 0x200, "Q"))
# r and s have 72 bytes each, little-endian; those of P-384 fill 48 and the rest is zero.
_SIGNATURE: Final = (("signature_r", 0x2A0, "48s"), ("signature_s", 0x2E8, "48s"))


@dataclass(frozen=True, slots=True)
class SnpReport(Structure):
    """ATTESTATION_REPORT of version 2.

    Attributes:
        guest_svn, family_id, image_id: from the ID block, where the guest was launched with one.
        policy: as :class:`GuestPolicy`.
        vmpl: privilege level that the report speaks for: 0 to 3, or all ones where the host asked for it.
        current_tcb: TCB_VERSION of what runs now.
        platform_info: as :class:`PlatformInfo`.
        key_info: AUTHOR_KEY_EN, MASK_CHIP_KEY, SIGNING_KEY.
        report_data: what the guest chose for this report.
        measurement: of the guest's initial memory.
        host_data: what the host chose at launch.
        id_key_digest, author_key_digest: of the keys that signed the ID block; zero without.
        report_id, report_id_ma: of this guest, and of its migration agent.
        reported_tcb: the TCB_VERSION that the signing key is derived for or limited to.
        chip_id: of the chip; zero where the host masks it.
        committed_tcb: below which the firmware cannot be rolled back.
        current_*, committed_*: version of the firmware.
        launch_tcb: CURRENT_TCB when the guest was launched or imported.
        signature_r, signature_s: little-endian.
    """

    LAYOUT: ClassVar[Layout] = Layout("SNP report v2", REPORT_BYTES, (*_HEAD, *_PLATFORM, *_SIGNATURE))

    version: int
    guest_svn: int
    policy: int
    family_id: bytes
    image_id: bytes
    vmpl: int
    signature_algorithm: int
    current_tcb: bytes
    platform_info: int
    key_info: int
    report_data: bytes
    measurement: bytes
    host_data: bytes
    id_key_digest: bytes
    author_key_digest: bytes
    report_id: bytes
    report_id_ma: bytes
    reported_tcb: bytes
    chip_id: bytes
    committed_tcb: bytes
    current_build: int
    current_minor: int
    current_major: int
    committed_build: int
    committed_minor: int
    committed_major: int
    launch_tcb: bytes
    signature_r: bytes
    signature_s: bytes

    @property
    def signed_bytes(self) -> bytes:
        """What the signature covers."""
        return self.to_bytes()[:SIGNED_BYTES]

    @property
    def signing_key(self) -> int:
        """SIGNING_KEY: a :class:`KeyKind`, or a reserved number."""
        return self.key_info >> 2 & 7

    @property
    def chip_key_masked(self) -> bool:
        """MASK_CHIP_KEY: the host has turned the chip's own key off."""
        return bool(self.key_info & 2)

    @property
    def author_key(self) -> bool:
        """AUTHOR_KEY_EN: ``author_key_digest`` is meant."""
        return bool(self.key_info & 1)

    @property
    def debug(self) -> bool:
        """Whether the host may read and write the guest's memory."""
        return bool(self.policy & GuestPolicy.DEBUG)

    @property
    def current_version(self) -> tuple[int, int, int]:
        """Firmware that runs now: major, minor, build."""
        return self.current_major, self.current_minor, self.current_build

    @property
    def committed_version(self) -> tuple[int, int, int]:
        """Firmware below which there is no way back: major, minor, build."""
        return self.committed_major, self.committed_minor, self.committed_build

    def is_of(self, _generation: Generation) -> bool:
        """Whether the report does not contradict that its processor is of this generation; version 2 is silent."""
        return True


@dataclass(frozen=True, slots=True)
class SnpReport3(SnpReport):
    """ATTESTATION_REPORT of version 3: adds the processor's CPUID family, model and stepping."""

    LAYOUT: ClassVar[Layout] = Layout("SNP report v3", REPORT_BYTES, (*_HEAD, *_CPUID, *_PLATFORM, *_SIGNATURE))

    cpuid_family: int
    cpuid_model: int
    cpuid_stepping: int

    def is_of(self, generation: Generation) -> bool:
        """Whether the processor is of this generation."""
        return self.cpuid_family == generation.family and self.cpuid_model in generation.models


@dataclass(frozen=True, slots=True)
class SnpReport5(SnpReport3):
    """ATTESTATION_REPORT of version 5: adds which vulnerabilities were mitigated at launch, and are now."""

    LAYOUT: ClassVar[Layout] = Layout(
        "SNP report v5", REPORT_BYTES, (*_HEAD, *_CPUID, *_PLATFORM, *_VECTORS, *_SIGNATURE)
    )

    launch_mit_vector: int
    current_mit_vector: int


_VERSIONS: Final[dict[int, type[SnpReport]]] = {2: SnpReport, 3: SnpReport3, 5: SnpReport5}


def parse_report(data: bytes) -> SnpReport:
    """Read a report of any known version from exactly its bytes.

    Raises:
        FormatError: ``attestation.snp.format``: another size or version, a reserved byte or bit that is set, or a
            signature algorithm other than ECDSA with P-384 and SHA-384.
    """
    if len(data) != REPORT_BYTES:
        raise _error(f"an SNP report has {REPORT_BYTES} bytes, not {len(data)}", min(len(data), REPORT_BYTES))
    (version,) = struct.unpack_from("<I", data)
    kind = _VERSIONS.get(version)
    if kind is None:
        raise _error(f"an SNP report of version {version} is not understood", 0)
    try:
        report = kind.parse(data)
    except FormatError as error:
        error.code = "attestation.snp.format"
        raise
    if report.signature_algorithm != ECDSA_P384_SHA384:
        raise _error(f"signature algorithm {report.signature_algorithm} is not 1 (ECDSA P-384, SHA-384)", 0x34)
    if report.key_info & _KEY_INFO_RESERVED:
        raise _error("a reserved bit beside SIGNING_KEY is not zero", 0x48)
    if any(report.author_key_digest) and not report.author_key:
        raise _error("an author key digest is given without AUTHOR_KEY_EN", 0x110)
    return report


def _error(message: str, offset: int) -> FormatError:
    return FormatError(message, offset=offset, code="attestation.snp.format")
