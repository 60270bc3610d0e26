"""Collateral in one file, for hosts without a network: ``adyton collateral export`` and ``import``.

A bundle is JSON::

    {"format": "adyton-collateral/1", "entries": [
        {"kind": "sgx", "fmspc": "00a067110000", "ca": "platform", "collateral": {<the JSON form of collateral>}}]}

It needs no protection of its own: every part is signed by its vendor, and an import takes only what verifies under an
accepted root, is valid now, and is not older than what is there. The JSON form of a single copy of collateral, as other
tools write it, is taken like a bundle of one.
"""

from __future__ import annotations

import json
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from pathlib import Path
from typing import Annotated, Final, Literal

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, ValidationError

from adyton.attestation.anchors import TrustAnchor
from adyton.attestation.collateral.cache import CollateralFolder, check_not_older
from adyton.attestation.collateral.documents import Collateral, PlatformId, Wire, collateral_error
from adyton.attestation.conclusion import require_time_zone
from adyton.attestation.dcap.judge import vouch
from adyton.attestation.dcap.pck import CaKind
from adyton.attestation.errors import AttestationError
from adyton.attestation.verdict import EvidenceKind
from adyton.base.errors import InputError

FORMAT: Final = "adyton-collateral/1"
MAX_BUNDLE_BYTES: Final = 64 << 20
MAX_ENTRIES: Final = 4096


class _Entry(BaseModel):
    model_config = ConfigDict(strict=True, extra="forbid")

    kind: Annotated[EvidenceKind, BeforeValidator(EvidenceKind)]
    fmspc: Annotated[str, Field(pattern=r"^[0-9a-f]{12}$")]
    ca: Annotated[CaKind, BeforeValidator(CaKind)]
    collateral: Wire


class _Bundle(BaseModel):
    model_config = ConfigDict(strict=True, extra="forbid")

    format: Literal["adyton-collateral/1"]
    entries: Annotated[list[_Entry], Field(max_length=MAX_ENTRIES)]


class Taken(StrEnum):
    """What became of an entry."""

    TAKEN = "taken"
    UNCHANGED = "unchanged"  # the very same copy is there
    REFUSED = "refused"


@dataclass(frozen=True, slots=True)
class ImportedEntry:
    """One entry of an import.

    Attributes:
        platform: which platforms it is for.
        outcome: what became of it.
        valid_until: when its first part ends; None when it could not be read.
        code, message, hint: why it is refused; empty otherwise.
    """

    platform: PlatformId
    outcome: Taken
    valid_until: datetime | None = None
    code: str = ""
    message: str = ""
    hint: str = ""


def read_folder(folder: Path) -> tuple[Collateral, ...]:
    """Every copy in the folder of a :class:`~adyton.attestation.collateral.cache.CollateralCache`, unverified."""
    kept = CollateralFolder(folder)
    return tuple(copy for copy in map(kept.load, kept.platforms()) if copy is not None)


def export_bundle(entries: Iterable[Collateral]) -> bytes:
    """A bundle of copies of collateral; of several for the same platforms, the last.

    Raises:
        AttestationError: ``attestation.collateral.format``: a copy does not say what it is for.
    """
    by_platform = {collateral.platform: collateral for collateral in entries}
    documents = [
        {
            "kind": platform.kind.value,
            "fmspc": platform.fmspc,
            "ca": platform.ca.value,
            "collateral": by_platform[platform].to_document(),
        }
        for platform in sorted(by_platform, key=str)
    ]
    return json.dumps({"format": FORMAT, "entries": documents}, indent=1).encode() + b"\n"


def read_bundle(data: bytes) -> tuple[tuple[PlatformId, Collateral], ...]:
    """The entries of a bundle, or of a single copy of collateral, unverified.

    Raises:
        AttestationError: ``attestation.collateral.format``; ``attestation.collateral.bundle`` when entries contradict
            themselves or each other.
    """
    if len(data) > MAX_BUNDLE_BYTES:
        raise collateral_error(f"a bundle of {len(data)} bytes is over the limit")
    if b'"entries"' not in data:
        collateral = Collateral.from_json(data)
        return ((collateral.platform, collateral),)
    try:
        bundle = _Bundle.model_validate_json(data)
    except ValidationError as error:
        first = error.errors(include_input=False, include_url=False)[0]
        place = ".".join(map(str, first["loc"])) or "document"
        raise collateral_error(f"bundle: {place}: {first['msg']}") from error
    try:
        entries = tuple(
            (PlatformId(each.fmspc, each.ca, each.kind), Collateral.of_wire(each.collateral)) for each in bundle.entries
        )
    except InputError as error:
        raise collateral_error(f"bundle: {error.message}") from error
    if len({platform for platform, _collateral in entries}) != len(entries):
        raise AttestationError("the bundle has two entries for one platform", code="attestation.collateral.bundle")
    return entries


def import_bundle(
    data: bytes, folder: Path, anchors: Iterable[TrustAnchor], now: datetime
) -> tuple[ImportedEntry, ...]:
    """Take the entries of a bundle, or a single copy of collateral, into a cache's folder.

    Every entry is verified before the first is stored. One that does not verify, is not valid now or is older than the
    genuine copy that is there is refused and reported; the others are taken.

    Args:
        data: the bundle.
        folder: of a :class:`~adyton.attestation.collateral.cache.CollateralCache`; made where it does not exist.
        anchors: accepted roots.
        now: timezone-aware time of the import.

    Raises:
        AttestationError: as :func:`read_bundle`; nothing is taken then.
        InputError: ``now`` has no time zone.
    """
    require_time_zone(now)
    kept, accepted = CollateralFolder(folder), tuple(anchors)
    entries = read_bundle(data)
    report = tuple(_judge(platform, collateral, kept, accepted, now) for platform, collateral in entries)
    for (_platform, collateral), entry in zip(entries, report, strict=True):
        if entry.outcome is Taken.TAKEN:
            kept.store(collateral)
    return report


def _judge(
    platform: PlatformId,
    collateral: Collateral,
    kept: CollateralFolder,
    anchors: tuple[TrustAnchor, ...],
    now: datetime,
) -> ImportedEntry:
    there = kept.load(platform)
    try:
        _check_platform(platform, collateral)
        vouch(collateral, anchors, now)
        if there is not None and there != collateral and _genuine(there, anchors):
            check_not_older(collateral, there)
    except AttestationError as error:
        return ImportedEntry(platform, Taken.REFUSED, code=error.code, message=error.message, hint=error.hint)
    return ImportedEntry(platform, Taken.UNCHANGED if there == collateral else Taken.TAKEN, collateral.window()[1])


def _check_platform(platform: PlatformId, collateral: Collateral) -> None:
    if collateral.platform != platform:
        raise AttestationError(
            f"the entry for {platform} holds collateral for {collateral.platform}",
            code="attestation.collateral.bundle",
        )


def _genuine(collateral: Collateral, anchors: tuple[TrustAnchor, ...]) -> bool:
    """Whether a kept copy may stand in the way of another: it may have expired, but it must be the vendor's."""
    try:
        vouch(collateral, anchors, collateral.window()[0])
    except AttestationError:
        return False
    return True
