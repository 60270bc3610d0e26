"""AWS Nitro attestation documents: the payload that the Nitro hypervisor signs.

Source: AWS, *Nitro Enclaves Attestation Process* (2.2 for the fields, 3.2.2 for their limits). Optional fields that are
not given are written as null by the hypervisor, against that text; null there means absent.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Final

from adyton.attestation.errors import FormatError
from adyton.attestation.nitro.cose import Item, Sign1, decode, parse_sign1

MAX_CERTIFICATE_BYTES: Final = 1024
MAX_BUNDLE: Final = 8  # the commercial partition has 4: root, region, zone, instance
IMAGE_REGISTERS: Final = (0, 1, 2)  # whole image, kernel and boot file system, application
MAX_TIMESTAMP: Final = 253_402_300_799_999  # the end of the year 9999, in milliseconds

_REGISTER_BYTES = {32, 48, 64}
_OPTIONAL: Final[Mapping[str, range]] = {"public_key": range(1, 1025), "user_data": range(513), "nonce": range(513)}
_REQUIRED: Final = ("module_id", "digest", "timestamp", "pcrs", "certificate", "cabundle")


@dataclass(frozen=True, slots=True)
class NitroDocument:
    """An attestation document with its signature; nothing is verified.

    Attributes:
        module_id: of the enclave: its parent instance and itself.
        timestamp: when it was made, in milliseconds since 1970 (UTC).
        pcrs: number to value of every locked platform configuration register.
        certificate: of the key that signed, DER.
        cabundle: what is above it, from the root down, DER.
        public_key, user_data, nonce: what the enclave chose; None where it gave none.
        message: as signed.
    """

    module_id: str
    timestamp: int
    pcrs: Mapping[int, bytes]
    certificate: bytes
    cabundle: tuple[bytes, ...]
    public_key: bytes | None
    user_data: bytes | None
    nonce: bytes | None
    message: Sign1 = field(repr=False)

    @property
    def debug(self) -> bool:
        """Whether the host can read the enclave's memory: then the registers of the image are zero.

        A register that is missing counts as zero, and one is enough: no image measures to zero.
        """
        return not all(any(self.pcrs.get(number, b"")) for number in IMAGE_REGISTERS)


def parse_document(data: bytes) -> NitroDocument:
    """Read a document from exactly the bytes of its COSE_Sign1 message, tagged or not.

    Raises:
        FormatError: ``attestation.nitro.format``: anything that the specification does not allow.
    """
    message = parse_sign1(data)
    at = message.payload_offset
    fields = decode(message.payload, base=at)
    if not isinstance(fields, dict):
        raise _error("the payload is not a map", at)
    unknown = [name for name in fields if name not in _REQUIRED and name not in _OPTIONAL]
    missing = [name for name in _REQUIRED if fields.get(name) is None]
    if unknown or missing:
        raise _error(f"the document {'has the unknown field' if unknown else 'lacks'} {(unknown + missing)[0]!r}", at)
    module_id, timestamp = fields["module_id"], fields["timestamp"]
    if not isinstance(module_id, str) or not module_id or not module_id.isprintable():  # people read it in verdicts
        raise _error("module_id is not a text of printable characters", at)
    if fields["digest"] != "SHA384":
        raise _error("digest is not SHA384", at)
    if not isinstance(timestamp, int) or not 0 < timestamp <= MAX_TIMESTAMP:
        raise _error("timestamp is not a time in milliseconds", at)
    optional = {name: _optional(fields.get(name), name, sizes, at) for name, sizes in _OPTIONAL.items()}
    return NitroDocument(
        module_id=module_id,
        timestamp=timestamp,
        pcrs=_registers(fields["pcrs"], at),
        certificate=_certificate(fields["certificate"], "certificate", at),
        cabundle=_bundle(fields["cabundle"], at),
        message=message,
        **optional,
    )


def _registers(item: Item, at: int) -> Mapping[int, bytes]:
    if not isinstance(item, dict) or not 1 <= len(item) <= 32:
        raise _error("pcrs is not a map of 1 to 32 registers", at)
    registers: dict[int, bytes] = {}
    for number, value in item.items():
        if not isinstance(number, int) or not 0 <= number < 32:
            raise _error(f"{number!r} is not the number of a register", at)
        if not isinstance(value, bytes) or len(value) not in _REGISTER_BYTES:
            raise _error(f"PCR{number} does not have 32, 48 or 64 bytes", at)
        registers[number] = value
    return MappingProxyType(dict(sorted(registers.items())))


def _bundle(item: Item, at: int) -> tuple[bytes, ...]:
    if not isinstance(item, list) or not 1 <= len(item) <= MAX_BUNDLE:
        raise _error(f"cabundle is not an array of 1 to {MAX_BUNDLE} certificates", at)
    return tuple(_certificate(each, "cabundle", at) for each in item)


def _certificate(item: Item, name: str, at: int) -> bytes:
    if not isinstance(item, bytes) or not 1 <= len(item) <= MAX_CERTIFICATE_BYTES:
        raise _error(f"{name} does not hold certificates of 1 to {MAX_CERTIFICATE_BYTES} bytes", at)
    return item


def _optional(item: Item, name: str, sizes: range, at: int) -> bytes | None:
    if item is None:
        return None
    if not isinstance(item, bytes) or len(item) not in sizes:
        raise _error(f"{name} does not have {sizes.start} to {sizes.stop - 1} bytes", at)
    return item


def _error(message: str, offset: int) -> FormatError:
    return FormatError(message, offset=offset, code="attestation.nitro.format")
