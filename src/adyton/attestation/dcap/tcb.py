"""TCB info (version 3) and QE identity (version 2) of SGX and TDX: the signed JSON documents, and whom they are about.

Intel, *PCS API v4*, "Get TCB Info" and "Get Quoting Enclave Identity". Signatures are over the exact bytes of the
document, so the text is kept and never written again. Unknown members are passed over: the documents are signed, and
their publisher adds members without a new version; members that decide are required and typed. A name that occurs
twice in an object is refused: readers differ about which one counts. Levels are sorted here, highest first, so that
their order in the document decides nothing; which level applies is decided in :mod:`adyton.attestation.dcap.levels`.
"""

from __future__ import annotations

import json
import re
from datetime import datetime
from enum import StrEnum
from typing import Annotated, Any, Final, Literal, Self, TypeVar

from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    ValidationError,
    field_validator,
    model_validator,
)
from pydantic.alias_generators import to_camel

from adyton.attestation.dcap.pck import PckExtension
from adyton.attestation.errors import AttestationError
from adyton.attestation.formats.sgx import Attributes, ReportBody
from adyton.attestation.policy import Weakness
from adyton.attestation.verdict import EvidenceKind

MAX_LEVELS: Final = 512  # real documents have about 20
MAX_MODULES: Final = 256  # one for each major version that a byte can name

_DATE = re.compile(r"[0-9]{4}-[0-9]{2}-[0-9]{2}T[0-9]{2}:[0-9]{2}:[0-9]{2}Z")
_HEX = re.compile(r"[0-9a-fA-F]*")


class TcbStatus(StrEnum):
    """How a TCB is judged by its vendor, in rising severity.

    The two of relaunching are of verification only, never of a level: a TD was started under an old module on a
    platform that was updated since without ending it.
    """

    UP_TO_DATE = "UpToDate"
    SW_HARDENING_NEEDED = "SWHardeningNeeded"
    CONFIGURATION_NEEDED = "ConfigurationNeeded"
    CONFIGURATION_AND_SW_HARDENING_NEEDED = "ConfigurationAndSWHardeningNeeded"
    TD_RELAUNCH_ADVISED = "TDRelaunchAdvised"
    TD_RELAUNCH_ADVISED_CONFIGURATION_NEEDED = "TDRelaunchAdvisedConfigurationNeeded"
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
    TcbStatus.TD_RELAUNCH_ADVISED: frozenset({Weakness.OUTDATED_TCB}),
    TcbStatus.TD_RELAUNCH_ADVISED_CONFIGURATION_NEEDED: frozenset(
        {Weakness.OUTDATED_TCB, Weakness.INSECURE_CONFIGURATION}
    ),
    TcbStatus.OUT_OF_DATE: frozenset({Weakness.OUTDATED_TCB}),
    TcbStatus.OUT_OF_DATE_CONFIGURATION_NEEDED: frozenset({Weakness.OUTDATED_TCB, Weakness.INSECURE_CONFIGURATION}),
}


_NO_LEVEL_HAS = frozenset({TcbStatus.TD_RELAUNCH_ADVISED, TcbStatus.TD_RELAUNCH_ADVISED_CONFIGURATION_NEEDED})


def _utc(text: Any) -> datetime:  # noqa: ANN401  # whatever the JSON holds
    if not isinstance(text, str) or not _DATE.fullmatch(text):
        raise ValueError("a date is YYYY-MM-DDThh:mm:ssZ")
    return datetime.fromisoformat(text)


def _hex(size: int) -> BeforeValidator:
    def decode(text: Any) -> bytes:  # noqa: ANN401
        if not isinstance(text, str) or len(text) != 2 * size or not _HEX.fullmatch(text):
            raise ValueError(f"not {size} bytes in hex")
        return bytes.fromhex(text)

    return BeforeValidator(decode)


def _whole(value: Any) -> Any:  # noqa: ANN401
    if type(value) is not int:  # 3.0 is equal to 3, and not what signed documents hold
        raise ValueError("not an integer")
    return value


def _level_status(value: Any) -> TcbStatus:  # noqa: ANN401
    status = TcbStatus(value)
    if status in _NO_LEVEL_HAS:
        raise ValueError(f"{status} is no status of a level")
    return status


Utc = Annotated[datetime, BeforeValidator(_utc)]
Svn = Annotated[int, Field(ge=0, le=255)]
Svn16 = Annotated[int, Field(ge=0, le=0xFFFF)]
Status = Annotated[TcbStatus, BeforeValidator(_level_status)]


class _Document(BaseModel):
    model_config = ConfigDict(strict=True, frozen=True, extra="ignore", alias_generator=to_camel)


class Component(_Document):
    """One of the 16 component SVNs."""

    svn: Svn


Components = Annotated[tuple[Component, ...], Field(min_length=16, max_length=16, strict=False)]


class PlatformTcb(_Document):
    """The SVNs a platform must reach for a level."""

    sgxtcbcomponents: Components
    pcesvn: Svn16
    tdxtcbcomponents: Components | None = None

    @property
    def order(self) -> tuple[tuple[int, ...], int, tuple[int, ...]]:
        """What levels are sorted by."""
        tdx = () if self.tdxtcbcomponents is None else tuple(each.svn for each in self.tdxtcbcomponents)
        return tuple(each.svn for each in self.sgxtcbcomponents), self.pcesvn, tdx


class EnclaveTcb(_Document):
    """The SVN a quoting enclave, or a TDX module, must reach for a level."""

    isvsvn: Svn16

    @property
    def order(self) -> int:
        """What levels are sorted by."""
        return self.isvsvn


class Level(_Document):
    """What the vendor says about everything that reaches some SVNs."""

    tcb_date: Utc
    tcb_status: Status
    advisory_ids: Annotated[
        tuple[Annotated[str, Field(max_length=64)], ...], Field(max_length=256, strict=False, alias="advisoryIDs")
    ] = ()


class PlatformLevel(Level):
    """One level of TCB info."""

    tcb: PlatformTcb


class EnclaveLevel(Level):
    """One level of a QE identity, or of a TDX module identity."""

    tcb: EnclaveTcb

    @field_validator("tcb_status")
    @classmethod
    def _possible(cls, status: TcbStatus) -> TcbStatus:
        if status not in {TcbStatus.UP_TO_DATE, TcbStatus.OUT_OF_DATE, TcbStatus.REVOKED}:
            raise ValueError(f"{status} is no status of a quoting enclave or TDX module")
        return status


L = TypeVar("L", PlatformLevel, EnclaveLevel)


def _descending(levels: tuple[L, ...]) -> tuple[L, ...]:
    if len({level.tcb.order for level in levels}) != len(levels):
        raise ValueError("two levels have the same SVNs")
    return tuple(sorted(levels, key=lambda level: level.tcb.order, reverse=True))


def _sorted(levels: tuple[EnclaveLevel, ...]) -> tuple[EnclaveLevel, ...]:
    """As the vendor publishes them: readers differ about what another order means."""
    if _descending(levels) != levels:
        raise ValueError("the levels do not come highest first")
    return levels


PlatformLevels = Annotated[
    tuple[PlatformLevel, ...], Field(min_length=1, max_length=MAX_LEVELS, strict=False), AfterValidator(_descending)
]
EnclaveLevels = Annotated[
    tuple[EnclaveLevel, ...], Field(min_length=1, max_length=MAX_LEVELS, strict=False), AfterValidator(_sorted)
]


class TdxModule(_Document):
    """What a genuine TDX module looks like, where no module identity says otherwise."""

    mrsigner: Annotated[bytes, _hex(48)]
    attributes: Annotated[bytes, _hex(8)]
    attributes_mask: Annotated[bytes, _hex(8)]


class TdxModuleIdentity(TdxModule):
    """What a genuine TDX module of one major version looks like; ``id`` is ``TDX_`` and the version in hex."""

    id: Annotated[str, Field(max_length=64), AfterValidator(str.upper)]
    tcb_levels: EnclaveLevels

    @field_validator("tcb_levels")
    @classmethod
    def _bytes(cls, levels: tuple[EnclaveLevel, ...]) -> tuple[EnclaveLevel, ...]:
        if any(level.tcb.isvsvn > 0xFF for level in levels):
            raise ValueError("the SVN of a TDX module is one byte")
        return levels


class _Dated(_Document):
    issue_date: Utc
    next_update: Utc
    tcb_evaluation_data_number: Annotated[int, Field(ge=0, le=0xFFFFFFFF)]

    @model_validator(mode="after")
    def _ordered(self) -> Self:
        if self.next_update < self.issue_date:
            raise ValueError("nextUpdate is before issueDate")
        return self


class TcbInfo(_Dated):
    """TCB info of one FMSPC, for SGX or TDX."""

    id: Literal["SGX", "TDX"]
    version: Annotated[Literal[3], BeforeValidator(_whole)]
    fmspc: Annotated[bytes, _hex(6)]
    pce_id: Annotated[bytes, _hex(2)]
    tcb_type: Annotated[Literal[0], BeforeValidator(_whole)]
    tcb_levels: PlatformLevels
    tdx_module: TdxModule | None = None
    tdx_module_identities: Annotated[tuple[TdxModuleIdentity, ...], Field(max_length=MAX_MODULES, strict=False)] = ()

    @property
    def kind(self) -> EvidenceKind:
        """The technology that it is about."""
        return EvidenceKind(self.id.lower())

    @model_validator(mode="after")
    def _of_its_kind(self) -> Self:
        tdx = self.id == "TDX"
        if any((level.tcb.tdxtcbcomponents is not None) != tdx for level in self.tcb_levels):
            raise ValueError("tdxtcbcomponents belong to every level of TDX, and to none of SGX")
        if (self.tdx_module is not None) != tdx or (self.tdx_module_identities and not tdx):
            raise ValueError("tdxModule belongs to TDX, and to TDX only")
        if len({module.id for module in self.tdx_module_identities}) != len(self.tdx_module_identities):
            raise ValueError("two TDX module identities have the same id")
        return self


class QeIdentity(_Dated):
    """What a genuine quoting enclave looks like: ``QE`` quotes SGX enclaves, ``TD_QE`` trust domains."""

    id: Literal["QE", "TD_QE"]
    version: Annotated[Literal[2], BeforeValidator(_whole)]
    miscselect: Annotated[bytes, _hex(4)]
    miscselect_mask: Annotated[bytes, _hex(4)]
    attributes: Annotated[bytes, _hex(16)]
    attributes_mask: Annotated[bytes, _hex(16)]
    mrsigner: Annotated[bytes, _hex(32)]
    isvprodid: Svn16
    tcb_levels: EnclaveLevels

    @property
    def kind(self) -> EvidenceKind:
        """The technology whose quotes such an enclave signs."""
        return EvidenceKind.TDX if self.id == "TD_QE" else EvidenceKind.SGX


def parse_tcb_info(text: str) -> TcbInfo:
    """Read TCB info.

    Raises:
        AttestationError: ``attestation.collateral.format``.
    """
    return _parse(TcbInfo, text, "TCB info")


def parse_qe_identity(text: str) -> QeIdentity:
    """Read a QE identity.

    Raises:
        AttestationError: ``attestation.collateral.format``.
    """
    return _parse(QeIdentity, text, "QE identity")


D = TypeVar("D", bound=_Document)


def _parse(model: type[D], text: str, what: str) -> D:
    try:
        document = model.model_validate_json(text)
        # the model's reader takes the last of two equal names, and NaN for a number
        json.loads(text, object_pairs_hook=_unique, parse_constant=_no_number)
    except ValidationError as error:
        raise _format_error(what, error) from error
    except (ValueError, RecursionError) as error:
        raise AttestationError(f"{what}: {error}", code="attestation.collateral.format") from error
    return document


def _no_number(name: str) -> None:
    raise ValueError(f"{name} is no JSON")


def _unique(pairs: list[tuple[str, Any]]) -> None:
    names = [name for name, _value in pairs]
    if len(set(names)) != len(names):
        doubled = next(name for name in names if names.count(name) > 1)
        raise ValueError(f"{doubled[:64]!r} occurs twice in one object")


def check_platform(info: TcbInfo, kind: EvidenceKind, platform: PckExtension) -> None:
    """Raise ``attestation.tcb.platform`` when the TCB info is about another technology or kind of platform."""
    if info.kind is not kind:
        raise AttestationError(
            f"TCB info is for {info.id}, the quote is of {kind.value.upper()}",
            code="attestation.tcb.platform",
            hint=f"fetch the collateral of {kind.value.upper()} for this platform",
        )
    if (info.fmspc, info.pce_id) != (platform.fmspc, platform.pceid):
        raise AttestationError(
            f"TCB info is for FMSPC {info.fmspc.hex()} PCEID {info.pce_id.hex()}, "
            f"the platform has {platform.fmspc.hex()} {platform.pceid.hex()}",
            code="attestation.tcb.platform",
            hint=f"fetch the collateral of FMSPC {platform.fmspc.hex()}",
        )


def check_qe(identity: QeIdentity, kind: EvidenceKind, qe: ReportBody) -> None:
    """Raise ``attestation.qe.identity`` when the report is not of the enclave that quotes ``kind``, as described."""
    attributes_mask = Attributes.parse(identity.attributes_mask)
    misc_mask = int.from_bytes(identity.miscselect_mask, "little")
    expected_misc = int.from_bytes(identity.miscselect, "little") & misc_mask
    faults = (
        ("kind", identity.kind is not kind),
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
            f"the quoting enclave's {', '.join(wrong)} is not that of the identity {identity.id}",
            code="attestation.qe.identity",
        )


def _format_error(what: str, error: ValidationError) -> AttestationError:
    first = error.errors(include_input=False, include_url=False)[0]
    place = ".".join(map(str, first["loc"])) or "document"
    return AttestationError(f"{what}: {place}: {first['msg']}", code="attestation.collateral.format")
