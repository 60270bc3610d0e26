"""What the program itself must be: rules about the report of an SGX enclave or a TDX trust domain.

The first rules of each kind hold whatever the policy says but for debug mode; the later ones compare with what a
:class:`~adyton.attestation.policy.QuotePolicy` pins, and are not asked where it pins nothing, or where the policy is
about platforms only.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping
from types import MappingProxyType
from typing import Any, Final, TypeAlias

from adyton.attestation.checks import NotAskedError
from adyton.attestation.errors import AttestationError
from adyton.attestation.formats.sgx import Flag, ReportBody
from adyton.attestation.formats.tdx import RESERVED_MASK, UNTRUSTED_MASK, TdFlag, TdReport, TdReport15
from adyton.attestation.policy import HealthPolicy, QuotePolicy, Weakness
from adyton.attestation.verdict import EvidenceKind

# The value found, as text for the report; a rule that refuses raises.
Rule: TypeAlias = Callable[[Any, HealthPolicy], str]

_DEBUG_HINT: Final = "build it for production, or tolerate debug-mode in a development policy"
_NO_SERVICE_TD: Final = bytes(48)
_APPLICATION: Final = int(Flag.INIT | Flag.MODE64BIT)
_APPLICATION_MASK: Final = _APPLICATION | int(Flag.PROVISIONKEY | Flag.EINITTOKENKEY)


def _enclave_attributes(body: ReportBody, _policy: HealthPolicy) -> str:
    if body.attributes.flags & _APPLICATION_MASK != _APPLICATION:
        raise AttestationError(
            f"the attributes {Flag(body.attributes.flags)!r} are not those of an application enclave",
            code="attestation.attributes",
        )
    return f"flags {body.attributes.flags:#x}, XFRM {body.attributes.xfrm:#x}"


def _enclave_debug(body: ReportBody, policy: HealthPolicy) -> str:
    return check_debug("enclave", body.attributes.debug, policy)


def _td_debug(body: TdReport, policy: HealthPolicy) -> str:
    return check_debug("trust domain", body.debug, policy)


def check_debug(what: str, debug: bool, policy: HealthPolicy) -> str:  # the bit as it is
    """Refuse a program whose memory its host can read, unless ``debug-mode`` is tolerated.

    Raises:
        AttestationError: ``attestation.debug``.
    """
    if debug and not policy.tolerates(Weakness.DEBUG_MODE):
        raise AttestationError(
            f"the {what} runs in debug mode: its host can read its memory", code="attestation.debug", hint=_DEBUG_HINT
        )
    return "in debug mode, which is tolerated" if debug else "not in debug mode"


def _td_attributes(body: TdReport, _policy: HealthPolicy) -> str:
    flags = body.td_attributes
    refused = (
        ("profiling", flags & UNTRUSTED_MASK & ~TdFlag.DEBUG),
        ("reserved bits", flags & RESERVED_MASK),
        ("migration", flags & TdFlag.MIGRATABLE),
        ("extended service TDs", flags & TdFlag.SERVTD_EXT),
        ("no SEPT_VE_DISABLE", not flags & TdFlag.SEPT_VE_DISABLE),
    )
    wrong = [what for what, found in refused if found]
    if wrong:
        raise AttestationError(
            f"the TD attributes {flags:#018x} have {', '.join(wrong)}",
            code="attestation.tdx.attributes",
            hint="start the trust domain with other attributes",
        )
    return f"{flags:#018x}"


def _service_td(body: TdReport, policy: HealthPolicy) -> str:
    found = body.mrservicetd if isinstance(body, TdReport15) else _NO_SERVICE_TD
    accepted = policy.mrservicetds if isinstance(policy, QuotePolicy) else ()
    if found not in (accepted or (_NO_SERVICE_TD,)):
        raise AttestationError(
            f"MRSERVICETD {found.hex()} is not accepted", code="attestation.tdx.service_td", hint=_HINTS["MRSERVICETD"]
        )
    return "none" if found == _NO_SERVICE_TD else found.hex()


_HINTS: Final[Mapping[str, str]] = MappingProxyType(
    {
        name: f"accept this {name} in the policy, if it is the program that is meant"
        for name in ("MRENCLAVE", "MRSIGNER", "MRTD", "RTMR", "MRCONFIGID", "MRSERVICETD")
    }
)


def pins_of(policy: HealthPolicy) -> QuotePolicy:
    """The policy as one about programs.

    Raises:
        NotAskedError: it is about platforms only.
    """
    if not isinstance(policy, QuotePolicy):
        raise NotAskedError("the policy is about platforms, not about programs")
    return policy


def _one_of(name: str, value: bytes, accepted: Collection[bytes], code: str) -> str:
    if not accepted:
        raise NotAskedError(f"the policy pins no {name}")
    if value not in accepted:
        raise AttestationError(f"{name} {value.hex()} is not accepted", code=code, hint=_HINTS[name])
    return value.hex()


def _enclave_pinned(_body: ReportBody, policy: HealthPolicy) -> str:
    return check_pinned("SGX enclaves", pins_of(policy).pins_enclaves)


def _td_pinned(_body: TdReport, policy: HealthPolicy) -> str:
    return check_pinned("TDX trust domains", pins_of(policy).pins_tds)


def check_pinned(what: str, named: bool) -> str:  # as found
    """Refuse evidence of a technology for which a policy about programs names none.

    Raises:
        AttestationError: ``attestation.pinned``.
    """
    if not named:
        raise AttestationError(
            f"the policy names no {what}", code="attestation.pinned", hint=f"name the {what} that are meant"
        )
    return f"{what} are named"


def _measurement(body: ReportBody, policy: HealthPolicy) -> str:
    return _one_of("MRENCLAVE", body.mrenclave, pins_of(policy).mrenclaves, "attestation.measurement")


def _signer(body: ReportBody, policy: HealthPolicy) -> str:
    return _one_of("MRSIGNER", body.mrsigner, pins_of(policy).mrsigners, "attestation.signer")


def _product(body: ReportBody, policy: HealthPolicy) -> str:
    pinned = pins_of(policy).isvprodid
    if pinned is None:
        raise NotAskedError("the policy pins no ISVPRODID")
    if body.isvprodid != pinned:
        raise AttestationError(
            f"ISVPRODID {body.isvprodid} is not {pinned}",
            code="attestation.product",
            hint=f"sign the enclave with ISVPRODID {pinned}, or accept {body.isvprodid} in the policy",
        )
    return str(body.isvprodid)


def _svn(body: ReportBody, policy: HealthPolicy) -> str:
    minimum = pins_of(policy).min_isvsvn
    if body.isvsvn < minimum:
        raise AttestationError(
            f"ISVSVN {body.isvsvn} is below {minimum}",
            code="attestation.svn",
            hint=f"run a version of the enclave with ISVSVN {minimum} or above",
        )
    return str(body.isvsvn)


def _mrtd(body: TdReport, policy: HealthPolicy) -> str:
    return _one_of("MRTD", body.mrtd, pins_of(policy).mrtds, "attestation.mrtd")


def _mrconfigid(body: TdReport, policy: HealthPolicy) -> str:
    return _one_of("MRCONFIGID", body.mrconfigid, pins_of(policy).mrconfigids, "attestation.mrconfigid")


def _rtmr(body: TdReport, policy: HealthPolicy) -> str:
    pinned = pins_of(policy).rtmrs
    if not pinned:
        raise NotAskedError("the policy pins no RTMR")
    wrong = [number for number, accepted in pinned.items() if body.rtmrs[number] not in accepted]
    if wrong:
        listed = ", ".join(f"RTMR{number} {body.rtmrs[number].hex()}" for number in sorted(wrong))
        raise AttestationError(f"{listed} not accepted", code="attestation.rtmr", hint=_HINTS["RTMR"])
    return ", ".join(f"RTMR{number} {body.rtmrs[number].hex()}" for number in sorted(pinned))


PROGRAM_RULES: Final[Mapping[EvidenceKind, tuple[tuple[str, Rule], ...]]] = MappingProxyType(
    {
        EvidenceKind.SGX: (
            ("attestation.attributes", _enclave_attributes),
            ("attestation.debug", _enclave_debug),
            ("attestation.pinned", _enclave_pinned),
            ("attestation.measurement", _measurement),
            ("attestation.signer", _signer),
            ("attestation.product", _product),
            ("attestation.svn", _svn),
        ),
        EvidenceKind.TDX: (
            ("attestation.tdx.attributes", _td_attributes),
            ("attestation.tdx.service_td", _service_td),
            ("attestation.debug", _td_debug),
            ("attestation.pinned", _td_pinned),
            ("attestation.mrtd", _mrtd),
            ("attestation.rtmr", _rtmr),
            ("attestation.mrconfigid", _mrconfigid),
        ),
    }
)
