"""Policy files: what a person accepts as evidence, in YAML or JSON, read strictly into a policy.

Every member may be left out; an unknown one is an error, because a misspelt restriction would restrict nothing::

    anchors: [intel]                       # accepted roots; every vendor's when absent
    mrenclaves: [<64 hex digits>]          # SGX: accepted measurements
    mrsigners: [<64 hex digits>]           # SGX: accepted signers, with
    isvprodid: 1                           #      their product, and
    min_isvsvn: 3                          #      its lowest security version
    mrtds: [<96 hex digits>]               # TDX: accepted build-time measurements, and
    rtmrs: {0: [<96 hex digits>]}          #      run-time measurements by register,
    mrconfigids: [<96 hex digits>]         #      configurations, and
    mrservicetds: [<96 hex digits>]        #      service TDs
    snp_measurements: [<96 hex digits>]    # SEV-SNP: accepted launch measurements
    pcrs: {0: [<96 hex digits>]}           # Nitro: accepted measurements by register
    tolerate: [software-hardening-needed]  # weaknesses accepted, all others refused
    ignore_advisories: [INTEL-SA-00615]    # advisories that do not matter here, "*" for all
    min_evaluation_number: 17              # lowest tcbEvaluationDataNumber of the collateral
    report_data: <2 to 128 hex digits>     # what the evidence must be over; shorter values end in zeros

A file that names a program makes a :class:`~adyton.attestation.policy.QuotePolicy`; one that names none makes a
:class:`~adyton.attestation.policy.HealthPolicy`, under which a verdict says that nobody compared the measurement.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Annotated, Any, Final, TypeVar

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, ValidationError

from adyton.attestation.anchors import ROOTS, TrustAnchor
from adyton.attestation.errors import AttestationError
from adyton.attestation.policy import HealthPolicy, QuotePolicy, parse_tolerate
from adyton.base.yamltree import YamlError, load_tree

MAX_POLICY_BYTES: Final = 256 << 10
MAX_VALUES: Final = 1024  # of each list
REPORT_DATA_BYTES: Final = 64

_HEX = re.compile(r"(?:0[xX])?((?:[0-9a-fA-F]{2})+)")
T = TypeVar("T")


def _hex_of(smallest: int, largest: int) -> Callable[[str], str]:
    def check(text: str) -> str:
        match = _HEX.fullmatch(text)
        if match is None or not smallest <= len(match[1]) // 2 <= largest:
            digits = f"{2 * smallest}" if smallest == largest else f"{2 * smallest} to {2 * largest}"
            raise ValueError(f"is not {digits} hex digits (it has {len(text.removeprefix('0x'))} characters)")
        return match[1].lower()

    return check


def _register_below(limit: int) -> Callable[[str], str]:
    def check(text: str) -> str:
        if not re.fullmatch(r"0|[1-9][0-9]?", text) or int(text) >= limit:
            raise ValueError(f"the registers are 0 to {limit - 1}")
        return text

    return check


Hash32 = Annotated[str, AfterValidator(_hex_of(32, 32))]
Hash48 = Annotated[str, AfterValidator(_hex_of(48, 48))]
Some = Annotated[list[T], Field(min_length=1, max_length=MAX_VALUES)]
Names = Annotated[list[str], Field(max_length=MAX_VALUES)]
Rtmrs = dict[Annotated[str, AfterValidator(_register_below(4))], Some[Hash48]]
Pcrs = dict[Annotated[str, AfterValidator(_register_below(32))], Some[Hash48]]
Number = Annotated[int, Field(ge=0, le=0xFFFF)]


class _Wire(BaseModel):
    """The document."""

    model_config = ConfigDict(strict=True, extra="forbid")

    anchors: Some[str] = sorted(ROOTS)
    mrenclaves: Some[Hash32] | None = None
    mrsigners: Some[Hash32] | None = None
    isvprodid: Number | None = None
    min_isvsvn: Number | None = None
    mrtds: Some[Hash48] | None = None
    rtmrs: Annotated[Rtmrs, Field(min_length=1)] | None = None
    mrconfigids: Some[Hash48] | None = None
    mrservicetds: Some[Hash48] | None = None
    snp_measurements: Some[Hash48] | None = None
    pcrs: Annotated[Pcrs, Field(min_length=1)] | None = None
    tolerate: Names = []
    ignore_advisories: Names = []
    min_evaluation_number: Annotated[int, Field(ge=0, le=0xFFFFFFFF)] = 0
    report_data: Annotated[str, AfterValidator(_hex_of(1, REPORT_DATA_BYTES))] | None = None


_PROBLEMS = {
    "extra_forbidden": "there is no such member",
    "model_type": "is not a mapping of members",
    "too_short": "is empty and so names nothing: leave it out",
    "string_type": "is not text: put it in quotes",
    "list_type": "is not a list: write [value, ...]",
    "dict_type": "is not a mapping of registers: write {0: [value, ...]}",
}
_PINS = (
    *("mrenclaves", "mrsigners", "isvprodid", "min_isvsvn"),
    *("mrtds", "rtmrs", "mrconfigids", "mrservicetds"),
    *("snp_measurements", "pcrs"),
)


@dataclass(frozen=True, slots=True)
class Acceptance:
    """What a person accepts.

    Attributes:
        policy: what the evidence is judged by; a ``QuotePolicy`` exactly when a program is named.
        report_data: what the evidence must be over, without the zeros that fill it up; None when that does not matter.
    """

    policy: HealthPolicy
    report_data: bytes | None = None

    @property
    def names_a_program(self) -> bool:
        """Whether the measurement is compared with anything."""
        return isinstance(self.policy, QuotePolicy)


def default_acceptance(anchors: Iterable[str] = ()) -> Acceptance:
    """What holds without a policy file: every vendor's genuine, healthy platform, and the given anchors beside them.

    Raises:
        InputError: ``attestation.anchor.name``.
    """
    return Acceptance(HealthPolicy(anchors=_anchors([*sorted(ROOTS), *anchors])))


def read_policy(data: bytes, *, anchors: Iterable[str] = ()) -> Acceptance:
    """Read a policy file.

    Args:
        data: YAML or JSON.
        anchors: tiers to accept beside those of the file.

    Raises:
        AttestationError: ``attestation.policy.format``, naming the member.
        InputError: another ``attestation.policy…`` code, or ``attestation.anchor.name``: a member's value makes no
            sense, or the program is only half named.
    """
    wire = _parse(data)
    pinned = [name for name in _PINS if getattr(wire, name) is not None]
    health: dict[str, Any] = {
        "anchors": _anchors([*wire.anchors, *anchors]),
        "tolerate": parse_tolerate(wire.tolerate),
        "ignore_advisories": frozenset(wire.ignore_advisories),
        "min_evaluation_number": wire.min_evaluation_number,
    }
    policy = QuotePolicy(**health, **{name: _value(getattr(wire, name)) for name in pinned}) if pinned else None
    report_data = None if wire.report_data is None else bytes.fromhex(wire.report_data)
    return Acceptance(policy or HealthPolicy(**health), report_data)


def _parse(data: bytes) -> _Wire:
    if len(data) > MAX_POLICY_BYTES:
        raise AttestationError(
            f"a policy of more than {MAX_POLICY_BYTES} bytes is over the limit", code="attestation.policy.format"
        )
    try:
        tree = load_tree(data.removeprefix(b"\xef\xbb\xbf"), number_keys=True)
    except YamlError as error:
        raise AttestationError(
            f"the policy is neither YAML nor JSON: {error.message}", code="attestation.policy.format"
        ) from error
    try:
        return _Wire.model_validate(tree)
    except ValidationError as error:
        first = error.errors(include_input=False, include_url=False, include_context=False)[0]
        place = ".".join(str(part) for part in first["loc"] if part != "[key]")
        problem = _PROBLEMS.get(first["type"]) or first["msg"].removeprefix("Value error, ")
        raise AttestationError(
            f"policy: {place or 'the document'}: {problem}",
            code="attestation.policy.format",
            hint="the members are: " + ", ".join(_Wire.model_fields),
        ) from error


def _anchors(tiers: Iterable[str]) -> tuple[TrustAnchor, ...]:
    return tuple(TrustAnchor(tier) for tier in dict.fromkeys(tiers))


def _value(given: Any) -> Any:  # noqa: ANN401  # a member of the document: a number, a list, or lists by register
    if isinstance(given, Mapping):
        return MappingProxyType({int(register): _value(values) for register, values in given.items()})
    return given if isinstance(given, int) else frozenset(bytes.fromhex(text) for text in given)
