"""The SGX extension of PCK certificates, ``1.2.840.113741.1.13.1``: parse and build.

*SGX PCK Certificate and CRL Profile*, section "SGX Extensions": a SEQUENCE of {OID, value} pairs. Both directions
share one table of what there is; anything missing, doubled or of another type is refused.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from enum import StrEnum
from typing import Final

from cryptography import x509

from adyton.attestation.chain import common_name
from adyton.attestation.errors import AttestationError
from adyton.attestation.formats import der

SGX_EXTENSION: Final = x509.ObjectIdentifier("1.2.840.113741.1.13.1")
MAX_EXTENSION_BYTES: Final = 4 << 10  # real ones have about 550 bytes

_BASE = "1.2.840.113741.1.13.1"
_PPID, _TCB, _PCEID, _FMSPC, _TYPE, _INSTANCE, _CONFIGURATION = (f"{_BASE}.{n}" for n in range(1, 8))
_COMPONENTS = tuple(f"{_TCB}.{n}" for n in range(1, 17))
_PCESVN, _CPUSVN = f"{_TCB}.17", f"{_TCB}.18"
_DYNAMIC, _CACHED, _SMT = (f"{_CONFIGURATION}.{n}" for n in range(1, 4))


class CaKind(StrEnum):
    """Which intermediate issued a PCK certificate; also the ``ca`` parameter of the certificate service."""

    PROCESSOR = "processor"
    PLATFORM = "platform"


@dataclass(frozen=True, slots=True)
class PckExtension:
    """What a PCK certificate says about its platform.

    Attributes:
        ppid: provisioning id of the platform (16 bytes).
        components: the 16 comparable TCB component SVNs.
        cpusvn: the opaque CPUSVN (16 bytes) that the components stand for.
        fmspc: family, model, stepping, platform, custom SKU (6 bytes).
        sgx_type: 0 standard, 1 scalable, 2 scalable with integrity.
        instance_id: of multi-package platforms (Platform CA only).
        dynamic_platform, cached_keys, smt: configuration flags (Platform CA only).
    """

    ppid: bytes
    components: tuple[int, ...]
    pcesvn: int
    cpusvn: bytes
    pceid: bytes
    fmspc: bytes
    sgx_type: int = 0
    instance_id: bytes | None = None
    dynamic_platform: bool | None = None
    cached_keys: bool | None = None
    smt: bool | None = None

    @classmethod
    def parse(cls, data: bytes) -> PckExtension:
        """Read the extension's value.

        Raises:
            AttestationError: ``attestation.chain.pck``.
        """
        if len(data) > MAX_EXTENSION_BYTES:
            raise _error(f"the SGX extension has {len(data)} bytes")
        try:
            found = _pairs(data)
            tcb = _pairs_in(found.pop(_TCB))
            configuration = _pairs_in(found.pop(_CONFIGURATION)) if _CONFIGURATION in found else {}
            extension = cls(
                ppid=_octets(found.pop(_PPID), 16),
                components=tuple(_integer(tcb.pop(oid), 255) for oid in _COMPONENTS),
                pcesvn=_integer(tcb.pop(_PCESVN), 0xFFFF),
                cpusvn=_octets(tcb.pop(_CPUSVN), 16),
                pceid=_octets(found.pop(_PCEID), 2),
                fmspc=_octets(found.pop(_FMSPC), 6),
                sgx_type=_integer(found.pop(_TYPE), 2, der.ENUMERATED),
                instance_id=_octets(found.pop(_INSTANCE), 16) if _INSTANCE in found else None,
                dynamic_platform=_flag(configuration.pop(_DYNAMIC, None)),
                cached_keys=_flag(configuration.pop(_CACHED, None)),
                smt=_flag(configuration.pop(_SMT, None)),
            )
        except KeyError as error:
            raise _error(f"the SGX extension has no {error.args[0]}") from error
        except der.DerError as error:
            raise _error(f"the SGX extension: {error}") from error
        if found or tcb or configuration:
            raise _error(f"the SGX extension has the unknown member {next(iter({**found, **tcb, **configuration}))}")
        return extension

    def to_der(self) -> bytes:
        """The extension's value."""
        tcb = [(oid, der.integer(svn)) for oid, svn in zip(_COMPONENTS, self.components, strict=True)]
        tcb += [(_PCESVN, der.integer(self.pcesvn)), (_CPUSVN, der.octets(self.cpusvn))]
        members = [
            (_PPID, der.octets(self.ppid)),
            (_TCB, _build(tcb)),
            (_PCEID, der.octets(self.pceid)),
            (_FMSPC, der.octets(self.fmspc)),
            (_TYPE, der.integer(self.sgx_type, der.ENUMERATED)),
        ]
        if self.instance_id is not None:
            members.append((_INSTANCE, der.octets(self.instance_id)))
        flags = ((_DYNAMIC, self.dynamic_platform), (_CACHED, self.cached_keys), (_SMT, self.smt))
        configuration = [(oid, der.boolean(value)) for oid, value in flags if value is not None]
        if configuration:
            members.append((_CONFIGURATION, _build(configuration)))
        return _build(members)


def extension_of(leaf: x509.Certificate) -> PckExtension:
    """The SGX extension of a PCK certificate.

    Raises:
        AttestationError: ``attestation.chain.pck``: it has none, or a malformed one.
    """
    try:
        value = leaf.extensions.get_extension_for_oid(SGX_EXTENSION).value
    except (x509.ExtensionNotFound, ValueError) as error:
        raise _error(f"{common_name(leaf.subject)!r} is not a PCK certificate: no SGX extension") from error
    if not isinstance(value, x509.UnrecognizedExtension):
        raise _error("the SGX extension cannot be read")
    return PckExtension.parse(value.value)


def ca_kind(leaf: x509.Certificate) -> CaKind:
    """Which intermediate issued ``leaf``, by its name.

    Raises:
        AttestationError: ``attestation.chain.pck``: neither Processor nor Platform CA.
    """
    return named_ca(common_name(leaf.issuer))


def named_ca(issuer: str) -> CaKind:
    """Which intermediate has this common name.

    Raises:
        AttestationError: ``attestation.chain.pck``: neither Processor nor Platform CA.
    """
    for kind in CaKind:
        if f"PCK {kind.value.capitalize()} CA" in issuer:
            return kind
    raise _error(f"{issuer!r} is neither a PCK Processor CA nor a PCK Platform CA")


def _pairs(data: bytes) -> dict[str, tuple[int, bytes]]:
    """The members of a SEQUENCE of SEQUENCE {OID, value}."""
    tag, content = der.single(data)
    return _pairs_in((tag, content))


def _pairs_in(element: tuple[int, bytes]) -> dict[str, tuple[int, bytes]]:
    found: dict[str, tuple[int, bytes]] = {}
    for oid, value in _members(der.expect(element, der.SEQUENCE)):
        if oid in found:
            raise _error(f"the SGX extension has {oid} twice")
        found[oid] = value
    return found


def _members(content: bytes) -> Iterator[tuple[str, tuple[int, bytes]]]:
    for element in der.elements(content):
        parts = der.elements(der.expect(element, der.SEQUENCE))
        if len(parts) != 2:
            raise _error("a member of the SGX extension is not a pair")
        yield der.read_oid(der.expect(parts[0], der.OID)), parts[1]


def _build(members: list[tuple[str, bytes]]) -> bytes:
    return der.sequence(*(der.sequence(der.oid(oid), value) for oid, value in members))


def _octets(element: tuple[int, bytes], size: int) -> bytes:
    content = der.expect(element, der.OCTET_STRING)
    if len(content) != size:
        raise _error(f"a member of the SGX extension has {len(content)} bytes, not {size}")
    return content


def _integer(element: tuple[int, bytes], limit: int, tag: int = 2) -> int:
    value = der.read_integer(der.expect(element, tag))
    if value > limit:
        raise _error(f"a number of the SGX extension is {value}, over {limit}")
    return value


def _flag(element: tuple[int, bytes] | None) -> bool | None:
    return None if element is None else der.read_boolean(der.expect(element, der.BOOLEAN))


def _error(message: str) -> AttestationError:
    return AttestationError(message, code="attestation.chain.pck")
