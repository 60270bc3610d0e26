"""Successors: how an enclave of another measurement comes to stand in the place of an approved one. Pure rules.

A session with a section ``upgrade`` is one line of enclaves. It starts with the one MRENCLAVE that the document lists;
its *current* enclave is the last one that took a place. The section is fixed when the session is created, and the
enclaves consent to it by their own measurement: a closed enclave runs only where the session names the approvers that
its manifest names.

Of the key holders that the section names, each has one voice at a time, for one successor of the current enclave and
one choice: ``carry``, the successor gets the keys that the current one got, or ``discard``, it gets keys of its own
and nobody can have the old ones made again. Voices for different successors or choices do not add up. Once enough of
them agree the successor is *allowed*; with its first release it takes the place, in the transaction that records it,
and all earlier enclaves of the line are refused from then on, for good: they cannot be approved again either.

Keys: every enclave-key is derived for an *effective* measurement (:func:`effective_measurement`), which is the
enclave's own, or for one that took its place by ``carry`` that of its predecessor's.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from enum import StrEnum
from types import MappingProxyType
from typing import Annotated, Any, ClassVar, Final, Self

from pydantic import AfterValidator, Field, StringConstraints, model_validator

from adyton.base.aead import bind
from adyton.cas.errors import ConflictError
from adyton.cas.language.scalars import Part, unique
from adyton.enclave.successors import MAX_APPROVERS

_DEBUG_DOMAIN: Final = b"adyton/cas/debug-enclave/1"

KeyHash = Annotated[str, StringConstraints(pattern=r"^[0-9a-f]{64}$")]


class UpgradeError(ConflictError):
    """The approval does not fit the line of enclaves as it is now (409)."""

    code = "cas.upgrade.refused"


class Upgrade(Part):
    """Section ``upgrade`` of a session: the keys (SHA-256 of SPKI, hex) of which ``threshold`` must approve."""

    later: ClassVar[frozenset[str]] = frozenset()

    approvers: Annotated[tuple[KeyHash, ...], Field(min_length=1, max_length=MAX_APPROVERS), AfterValidator(unique)]
    threshold: Annotated[int, Field(ge=1, le=MAX_APPROVERS)]

    @model_validator(mode="after")
    def _reachable(self) -> Upgrade:
        if self.threshold > len(self.approvers):
            raise ValueError(f"threshold {self.threshold} can never be reached by {len(self.approvers)} approvers")
        return self


class Choice(StrEnum):
    """What becomes of the keys that the predecessor got."""

    CARRY = "carry"
    DISCARD = "discard"


@dataclass(frozen=True, slots=True)
class Proposal:
    """A successor of the current enclave (MRENCLAVE, hex), and what becomes of the keys."""

    successor: str
    choice: Choice

    def to_plain(self) -> dict[str, str]:
        """As JSON values."""
        return {"successor": self.successor, "choice": self.choice.value}

    @classmethod
    def from_plain(cls, plain: Mapping[str, str]) -> Self:
        """The inverse of :meth:`to_plain`."""
        return cls(plain["successor"], Choice(plain["choice"]))


@dataclass(frozen=True, slots=True)
class Line:
    """What became of a session's first enclave.

    Attributes:
        steps: the successors that took the place, in order.
        voices: the standing approvals, by key hash; all are for a successor of the current enclave.
    """

    steps: tuple[Proposal, ...] = ()
    voices: Mapping[str, Proposal] = field(default_factory=lambda: MappingProxyType({}))

    def to_plain(self) -> dict[str, Any]:
        """As JSON values."""
        return {
            "steps": [step.to_plain() for step in self.steps],
            "voices": {key: voice.to_plain() for key, voice in self.voices.items()},
        }

    @classmethod
    def from_plain(cls, plain: Mapping[str, Any]) -> Self:
        """The inverse of :meth:`to_plain`; sessions of the first edition have none."""
        return cls(
            tuple(Proposal.from_plain(step) for step in plain.get("steps", ())),
            {key: Proposal.from_plain(voice) for key, voice in plain.get("voices", {}).items()},
        )

    def current(self, first: str) -> str:
        """The enclave that has the place, of the line that began with ``first``; all MRENCLAVEs are hex."""
        return self.steps[-1].successor if self.steps else first

    def retired(self, first: str) -> frozenset[str]:
        """The enclaves that had it before."""
        return frozenset({first, *(step.successor for step in self.steps)}) - {self.current(first)}

    def origin(self, first: str) -> str:
        """Whose keys the current enclave gets: its own, or those of the first one that handed them on to it."""
        owner = first
        for step in self.steps:
            if step.choice is Choice.DISCARD:
                owner = step.successor
        return owner

    def count(self, proposal: Proposal, policy: Upgrade) -> int:
        """How many of the approvers stand for ``proposal``."""
        return sum(self.voices.get(key) == proposal for key in policy.approvers)

    def allowed(self, policy: Upgrade) -> Proposal | None:
        """The proposal that has enough voices; there is never a second one."""
        enough = (voice for voice in self.voices.values() if self.count(voice, policy) >= policy.threshold)
        return next(enough, None)

    def approved(self, client: str, proposal: Proposal, first: str, policy: Upgrade) -> Line:
        """The line after ``client``, one of the approvers, gave its voice to ``proposal``.

        Raises:
            UpgradeError: ``cas.upgrade.successor``: it is or was in the place; ``cas.upgrade.contested``: enough
                others stand for another proposal.
        """
        if proposal.successor == self.current(first):
            raise UpgradeError("the successor is the current enclave already", code="cas.upgrade.successor")
        if proposal.successor in self.retired(first):
            raise UpgradeError(
                "the successor was in this place before; there is no way back",
                code="cas.upgrade.successor",
                hint="build it anew with a higher --isvsvn, which gives it another measurement, and approve that one",
            )
        after = replace(self, voices={**self.voices, client: proposal})
        if len({voice for voice in after.voices.values() if after.count(voice, policy) >= policy.threshold}) > 1:
            raise UpgradeError(
                "another successor or choice is approved already, and waits for its first start",
                code="cas.upgrade.contested",
                hint="have its approvers revoke it first, so that there is one answer to what comes next",
            )
        return after

    def revoked(self, client: str) -> Line:
        """The line after ``client`` took its voice back.

        Raises:
            UpgradeError: ``cas.upgrade.no_approval``: it has none.
        """
        if client not in self.voices:
            raise UpgradeError("this key has no approval that could be revoked", code="cas.upgrade.no_approval")
        return replace(self, voices={key: voice for key, voice in self.voices.items() if key != client})

    def moved(self, proposal: Proposal) -> Line:
        """The line after the successor took the place; every voice is used up."""
        return Line((*self.steps, proposal))


def effective_measurement(line: Line, first: str, mrenclave: bytes, *, debug: bool = False) -> bytes:
    """The measurement (32 bytes) that the enclave-keys of an enclave are derived for.

    Its own, unless it has its place by ``carry``. A debug enclave's memory can be read by its host, so it never gets
    the keys of the same measurement in production, whatever weaknesses the session tolerates.
    """
    if debug:
        return hashlib.sha256(bind(_DEBUG_DOMAIN, mrenclave)).digest()
    if mrenclave.hex() == line.current(first):
        return bytes.fromhex(line.origin(first))
    return mrenclave
