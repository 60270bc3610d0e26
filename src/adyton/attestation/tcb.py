"""TCB info (version 3) and QE identity (version 2): the signed JSON documents, and matching a platform against them.

Intel, *PCS API v4*, "Get TCB Info" and "Get Quoting Enclave Identity". Signatures are over the exact bytes of the
document, so the text is kept and never written again. Unknown members are passed over: the documents are signed, and
their publisher adds members without a new version; members that decide are required and typed.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import UTC, datetime
from enum import StrEnum
from typing import Annotated, Any, Final, Literal

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, ValidationError, field_validator, model_validator
from pydantic.alias_generators import to_camel

from adyton.attestation.errors import AttestationError
from adyton.attestation.pck import PckExtension
from adyton.attestation.policy import Weakness
from adyton.attestation.sgx import Attributes, ReportBody

MAX_LEVELS: Final = 512  # real documents have about 20


class TcbStatus(StrEnum):
    """How a TCB level is judged by its vendor, in rising severity."""

    UP_TO_DATE = "UpToDate"
    SW_HARDENING_NEEDED = "SWHardeningNeeded"
    CONFIGURATION_NEEDED = "ConfigurationNeeded"
    CONFIGURATION_AND_SW_HARDENING_NEEDED = "ConfigurationAndSWHardeningNeeded"
    OUT_OF_DATE = "OutOfDate"
    OUT_OF_DATE_CONFIGURATION_NEEDED = "OutOfDateConfigurationNeeded"
    REVOKED = "Revoked"

    @property
    def severity(self) -> int:
        """Position in the rising order."""
        return list(TcbStatus).index(self)


# What must be tolerated for a status to be accepted; Revoked is absent: nothing excuses it.
CAUSES: Final[dict[TcbStatus, frozenset[Weakness]]] = {
    TcbStatus.UP_TO_DATE: frozenset(),
    TcbStatus.SW_HARDENING_NEEDED: frozenset({Weakness.SOFTWARE_HARDENING_NEEDED}),
    TcbStatus.CONFIGURATION_NEEDED: frozenset({Weakness.INSECURE_CONFIGURATION}),
    TcbStatus.CONFIGURATION_AND_SW_HARDENING_NEEDED: frozenset(
        {Weakness.INSECURE_CONFIGURATION, Weakness.SOFTWARE_HARDENING_NEEDED}
    ),
    TcbStatus.OUT_OF_DATE: frozenset({Weakness.OUTDATED_TCB}),
    TcbStatus.OUT_OF_DATE_CONFIGURATION_NEEDED: frozenset({Weakness.OUTDATED_TCB, Weakness.INSECURE_CONFIGURATION}),
}


def _utc(text: Any) -> datetime:  # noqa: ANN401  # whatever the JSON holds
    if not isinstance(text, str):
        raise ValueError("a date is text")  # noqa: TRY004  # pydantic turns ValueError into its own error
    return datetime.strptime(text, "%Y-%m-%dT%H:%M:%SZ").replace(tzinfo=UTC)


def _hex(size: int) -> BeforeValidator:
    def decode(text: Any) -> bytes:  # noqa: ANN401
        if not isinstance(text, str) or len(text) != 2 * size:
            raise ValueError(f"not {size} bytes in hex")
        return bytes.fromhex(text)

    return BeforeValidator(decode)


Utc = Annotated[datetime, BeforeValidator(_utc)]
Svn = Annotated[int, Field(ge=0, le=255)]
Svn16 = Annotated[int, Field(ge=0, le=0xFFFF)]
Status = Annotated[TcbStatus, BeforeValidator(TcbStatus)]


class _Document(BaseModel):
    model_config = ConfigDict(strict=True, frozen=True, extra="ignore", alias_generator=to_camel)


class Component(_Document):
    """One of the 16 component SVNs."""

    svn: Svn


class PlatformTcb(_Document):
    """The SVNs a platform must reach for a level."""

    sgxtcbcomponents: Annotated[tuple[Component, ...], Field(min_length=16, max_length=16, strict=False)]
    pcesvn: Svn16


class QeTcb(_Document):
    """The SVN a quoting enclave must reach for a level."""

    isvsvn: Svn16


class _Level(_Document):
    tcb_date: Utc
    tcb_status: Status
    advisory_ids: Annotated[
        tuple[Annotated[str, Field(max_length=64)], ...], Field(max_length=256, strict=False, alias="advisoryIDs")
    ] = ()


class PlatformLevel(_Level):
    """One level of TCB info."""

    tcb: PlatformTcb


class QeLevel(_Level):
    """One level of a QE identity."""

    tcb: QeTcb

    @field_validator("tcb_status")
    @classmethod
    def _possible(cls, status: TcbStatus) -> TcbStatus:
        if status not in {TcbStatus.UP_TO_DATE, TcbStatus.OUT_OF_DATE, TcbStatus.REVOKED}:
            raise ValueError(f"{status} is no status of a quoting enclave")
        return status


class _Dated(_Document):
    issue_date: Utc
    next_update: Utc
    tcb_evaluation_data_number: Annotated[int, Field(ge=0)]

    @model_validator(mode="after")
    def _ordered(self) -> _Dated:
        if self.next_update < self.issue_date:
            raise ValueError("nextUpdate is before issueDate")
        return self


class TcbInfo(_Dated):
    """TCB info of one FMSPC."""

    id: Literal["SGX"]
    version: Literal[3]
    fmspc: Annotated[bytes, _hex(6)]
    pce_id: Annotated[bytes, _hex(2)]
    tcb_type: Literal[0]
    tcb_levels: Annotated[tuple[PlatformLevel, ...], Field(min_length=1, max_length=MAX_LEVELS, strict=False)]


class QeIdentity(_Dated):
    """What a genuine quoting enclave looks like."""

    id: Literal["QE"]
    version: Literal[2]
    miscselect: Annotated[bytes, _hex(4)]
    miscselect_mask: Annotated[bytes, _hex(4)]
    attributes: Annotated[bytes, _hex(16)]
    attributes_mask: Annotated[bytes, _hex(16)]
    mrsigner: Annotated[bytes, _hex(32)]
    isvprodid: Svn16
    tcb_levels: Annotated[tuple[QeLevel, ...], Field(min_length=1, max_length=MAX_LEVELS, strict=False)]


@dataclass(frozen=True, slots=True)
class TcbVerdict:
    """A platform's and its quoting enclave's levels together.

    Attributes:
        status: of both together, as Intel's verification library joins them.
        causes: what must be tolerated, of both levels and the platform's configuration.
        advisories: all that apply, sorted.
        open_advisories: those on a level that is not UpToDate: each must be ignored by the policy.
    """

    status: TcbStatus
    causes: frozenset[Weakness]
    advisories: tuple[str, ...]
    open_advisories: tuple[str, ...]


def parse_tcb_info(text: str) -> TcbInfo:
    """Read TCB info.

    Raises:
        AttestationError: ``attestation.collateral.format``.
    """
    try:
        return TcbInfo.model_validate_json(text)
    except ValidationError as error:
        raise _format_error("TCB info", error) from error


def parse_qe_identity(text: str) -> QeIdentity:
    """Read a QE identity.

    Raises:
        AttestationError: ``attestation.collateral.format``.
    """
    try:
        return QeIdentity.model_validate_json(text)
    except ValidationError as error:
        raise _format_error("QE identity", error) from error


def check_platform(info: TcbInfo, platform: PckExtension) -> None:
    """Raise ``attestation.tcb.platform`` when the TCB info is about another kind of platform."""
    if (info.fmspc, info.pce_id) != (platform.fmspc, platform.pceid):
        raise AttestationError(
            f"TCB info is for FMSPC {info.fmspc.hex()} PCEID {info.pce_id.hex()}, "
            f"the platform has {platform.fmspc.hex()} {platform.pceid.hex()}",
            code="attestation.tcb.platform",
        )


def check_qe(identity: QeIdentity, qe: ReportBody) -> None:
    """Raise ``attestation.qe.identity`` when the report is not of the quoting enclave that the identity describes."""
    attributes_mask = Attributes.parse(identity.attributes_mask)
    misc_mask = int.from_bytes(identity.miscselect_mask, "little")
    expected_misc = int.from_bytes(identity.miscselect, "little") & misc_mask
    faults = (
        ("MRSIGNER", qe.mrsigner != identity.mrsigner),
        ("ISVPRODID", qe.isvprodid != identity.isvprodid),
        (
            "ATTRIBUTES",
            qe.attributes.masked(attributes_mask) != Attributes.parse(identity.attributes).masked(attributes_mask),
        ),
        ("MISCSELECT", qe.miscselect & misc_mask != expected_misc),
        ("DEBUG", qe.attributes.debug),
    )
    wrong = [name for name, fault in faults if fault]
    if wrong:
        raise AttestationError(
            f"the quoting enclave's {', '.join(wrong)} is not that of the QE identity", code="attestation.qe.identity"
        )


def match(info: TcbInfo, identity: QeIdentity, platform: PckExtension, qe: ReportBody) -> TcbVerdict:
    """Find the levels of the platform and of its quoting enclave, and join them.

    A level applies when none of its SVNs is above the platform's; the highest such level counts (PCS API v4,
    "Determining the TCB status"). Levels are sorted here, so their order in the document decides nothing.

    Raises:
        AttestationError: ``attestation.tcb.status``: no level applies.
    """
    platform_level = next((level for level in _descending(info) if _reached(level.tcb, platform)), None)
    qe_levels = sorted(identity.tcb_levels, key=lambda level: level.tcb.isvsvn, reverse=True)
    qe_level = next((level for level in qe_levels if level.tcb.isvsvn <= qe.isvsvn), None)
    if platform_level is None or qe_level is None:
        who = "the platform" if platform_level is None else "the quoting enclave"
        raise AttestationError(f"no TCB level applies to {who}", code="attestation.tcb.status")
    levels: tuple[_Level, ...] = (platform_level, qe_level)
    status = _join(platform_level.tcb_status, qe_level.tcb_status)
    causes = frozenset[Weakness]().union(*(CAUSES.get(level.tcb_status, frozenset()) for level in levels))
    if platform.smt:
        causes |= {Weakness.HYPERTHREADING}
    return TcbVerdict(
        status,
        causes,
        _union(level.advisory_ids for level in levels),
        _union(level.advisory_ids for level in levels if level.tcb_status is not TcbStatus.UP_TO_DATE),
    )


def _join(platform: TcbStatus, qe: TcbStatus) -> TcbStatus:
    """The worse status; an outdated quoting enclave on a badly configured platform is both (Intel's QVL likewise)."""
    configuration = {TcbStatus.CONFIGURATION_NEEDED, TcbStatus.CONFIGURATION_AND_SW_HARDENING_NEEDED}
    if qe is TcbStatus.OUT_OF_DATE and platform in configuration:
        return TcbStatus.OUT_OF_DATE_CONFIGURATION_NEEDED
    return max(platform, qe, key=lambda status: status.severity)


def _descending(info: TcbInfo) -> list[PlatformLevel]:
    def key(level: PlatformLevel) -> tuple[tuple[int, ...], int]:
        return tuple(component.svn for component in level.tcb.sgxtcbcomponents), level.tcb.pcesvn

    return sorted(info.tcb_levels, key=key, reverse=True)


def _reached(tcb: PlatformTcb, platform: PckExtension) -> bool:
    pairs = zip(tcb.sgxtcbcomponents, platform.components, strict=True)
    return tcb.pcesvn <= platform.pcesvn and all(component.svn <= svn for component, svn in pairs)


def _union(lists: Iterable[Iterable[str]]) -> tuple[str, ...]:
    return tuple(sorted({name for names in lists for name in names}))


def _format_error(what: str, error: ValidationError) -> AttestationError:
    first = error.errors(include_input=False, include_url=False)[0]
    place = ".".join(map(str, first["loc"])) or "document"
    return AttestationError(f"{what}: {place}: {first['msg']}", code="attestation.collateral.format")
