"""The simulated vendor's judgement of its platforms, as the signed documents have it (Intel, *PCS API v4*).

TCB info (version 3, of SGX and of TDX) and enclave identity (version 2, of the quoting enclave of SGX and of TDX) are
pure functions of a :class:`Catalogue` and the time of issue; :mod:`adyton.platform.simulated.pki` signs them.
"""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any, Final

from adyton.attestation.dcap.tcb import TcbStatus
from adyton.attestation.verdict import EvidenceKind
from adyton.platform.simulated.cpu import DEFAULT_CPUSVN

QE_ISVPRODID: Final = 1
QE_ISVSVN: Final = 8
TD_QE_ISVPRODID: Final = 2
TD_QE_ISVSVN: Final = 6
FMSPC: Final = b"SIM\x00\x00\x00"
PCEID: Final = b"\x00\x00"
PCESVN: Final = 13
# Minor SVN and major version of the TDX module, SVN of late-loaded microcode; the others are not in use.
DEFAULT_TEE_TCB_SVN: Final = bytes((6, 1, 3)) + bytes(13)

COLLATERAL_LIFETIME: Final = timedelta(days=30)

_TCB_DATE: Final = "2024-03-13T00:00:00Z"
_SEAM_ATTRIBUTES_MASK: Final = "FF" * 8


@dataclass(frozen=True, slots=True)
class Level:
    """A TCB level of the platform: reached when no SVN is above the platform's.

    Attributes:
        components: the 16 SVNs of SGX.
        tdx_components: the 16 SVNs of TDX, for levels of TDX only.
    """

    components: bytes
    pcesvn: int
    status: TcbStatus
    advisories: tuple[str, ...] = ()
    tdx_components: bytes = bytes(16)


@dataclass(frozen=True, slots=True)
class QeLevel:
    """A TCB level of what has a single SVN: a quoting enclave, or a TDX module."""

    isvsvn: int
    status: TcbStatus
    advisories: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class TdxModule:
    """A TDX module that the vendor released: one for each major version.

    Attributes:
        version: the major version, TEE_TCB_SVN[1] of the TDs that it runs.
        levels: judged by TEE_TCB_SVN[0].
        mrsigner: 48 bytes, zero for the vendor's own modules.
        attributes: SEAM_ATTRIBUTES (8 bytes, as they are in a TD report).
    """

    version: int
    levels: tuple[QeLevel, ...]
    mrsigner: bytes = bytes(48)
    attributes: bytes = bytes(8)


@dataclass(frozen=True, slots=True)
class Catalogue:
    """What the vendor says about its platforms; replace it to simulate an advisory, a new level or a revocation."""

    levels: tuple[Level, ...] = (
        Level(DEFAULT_CPUSVN, PCESVN, TcbStatus.UP_TO_DATE),
        Level(bytes(16), 0, TcbStatus.OUT_OF_DATE),
    )
    tdx_levels: tuple[Level, ...] = (
        Level(DEFAULT_CPUSVN, PCESVN, TcbStatus.UP_TO_DATE, tdx_components=bytes((5, 0, 3)) + bytes(13)),
        Level(bytes(16), 0, TcbStatus.OUT_OF_DATE),
    )
    tdx_modules: tuple[TdxModule, ...] = (
        TdxModule(3, (QeLevel(3, TcbStatus.UP_TO_DATE),)),
        TdxModule(1, (QeLevel(4, TcbStatus.UP_TO_DATE), QeLevel(2, TcbStatus.OUT_OF_DATE))),
    )
    qe_levels: tuple[QeLevel, ...] = (QeLevel(QE_ISVSVN, TcbStatus.UP_TO_DATE), QeLevel(0, TcbStatus.OUT_OF_DATE))
    td_qe_levels: tuple[QeLevel, ...] = (
        QeLevel(TD_QE_ISVSVN, TcbStatus.UP_TO_DATE),
        QeLevel(0, TcbStatus.OUT_OF_DATE),
    )
    evaluation_number: int = 17
    qe_mrsigner: bytes | None = None  # None: that of the vendor's own quoting enclaves
    smt: bool = False
    revoked_pcks: frozenset[int] = field(default=frozenset())  # serial numbers
    revoked_by_root: frozenset[int] = field(default=frozenset())


def tcb_info(catalogue: Catalogue, issued: datetime, kind: EvidenceKind) -> str:
    """The text of the TCB info of all simulated platforms, for evidence of ``kind`` (SGX or TDX)."""
    tdx = kind is EvidenceKind.TDX
    levels = catalogue.tdx_levels if tdx else catalogue.levels
    return _text(
        {
            **_dated("TDX" if tdx else "SGX", 3, catalogue, issued),
            "fmspc": FMSPC.hex().upper(),
            "pceId": PCEID.hex(),
            "tcbType": 0,
            **(_modules(catalogue) if tdx else {}),
            "tcbLevels": [{"tcb": _tcb(level, tdx=tdx), **_judgement(level)} for level in levels],
        }
    )


def qe_identity(catalogue: Catalogue, issued: datetime, kind: EvidenceKind, signer: bytes) -> str:
    """The text of the identity of the quoting enclave for ``kind`` (SGX or TDX), signed by MRSIGNER ``signer``."""
    tdx = kind is EvidenceKind.TDX
    return _text(
        {
            **_dated("TD_QE" if tdx else "QE", 2, catalogue, issued),
            "miscselect": "00000000",
            "miscselectMask": "FFFFFFFF",
            # INIT set and DEBUG clear; MODE64BIT and XFRM do not matter, as in the real document.
            "attributes": "01000000000000000000000000000000",
            "attributesMask": "FBFFFFFFFFFFFFFF0000000000000000",
            "mrsigner": signer.hex().upper(),
            "isvprodid": TD_QE_ISVPRODID if tdx else QE_ISVPRODID,
            "tcbLevels": _svn_levels(catalogue.td_qe_levels if tdx else catalogue.qe_levels),
        }
    )


def _dated(kind: str, version: int, catalogue: Catalogue, issued: datetime) -> dict[str, Any]:
    return {
        "id": kind,
        "version": version,
        "issueDate": _date(issued),
        "nextUpdate": _date(issued + COLLATERAL_LIFETIME),
        "tcbEvaluationDataNumber": catalogue.evaluation_number,
    }


def _modules(catalogue: Catalogue) -> dict[str, Any]:
    """``tdxModule`` judges modules of major version 0; all others must be one of ``tdxModuleIdentities``."""
    first = {"mrsigner": "00" * 48, "attributes": "00" * 8, "attributesMask": _SEAM_ATTRIBUTES_MASK}
    identities = [
        {
            "id": f"TDX_{module.version:02X}",
            "mrsigner": module.mrsigner.hex().upper(),
            "attributes": module.attributes.hex().upper(),
            "attributesMask": _SEAM_ATTRIBUTES_MASK,
            "tcbLevels": _svn_levels(module.levels),
        }
        for module in catalogue.tdx_modules
    ]
    return {"tdxModule": first, "tdxModuleIdentities": identities}


def _tcb(level: Level, *, tdx: bool) -> dict[str, Any]:
    tcb: dict[str, Any] = {"sgxtcbcomponents": _components(level.components), "pcesvn": level.pcesvn}
    return tcb | ({"tdxtcbcomponents": _components(level.tdx_components)} if tdx else {})


def _components(svns: bytes) -> list[dict[str, int]]:
    return [{"svn": svn} for svn in svns]


def _svn_levels(levels: tuple[QeLevel, ...]) -> list[dict[str, Any]]:
    return [{"tcb": {"isvsvn": level.isvsvn}, **_judgement(level)} for level in levels]


def _judgement(level: Level | QeLevel) -> dict[str, Any]:
    document: dict[str, Any] = {"tcbDate": _TCB_DATE, "tcbStatus": level.status.value}
    return document | ({"advisoryIDs": list(level.advisories)} if level.advisories else {})


def _text(document: dict[str, Any]) -> str:
    return json.dumps(document, separators=(",", ":"))


def _date(moment: datetime) -> str:
    return moment.strftime("%Y-%m-%dT%H:%M:%SZ")
