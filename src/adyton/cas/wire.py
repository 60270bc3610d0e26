"""What crosses the network, beside session documents: strict models of requests and answers."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, StringConstraints

Measurement = Annotated[str, StringConstraints(pattern=r"^[0-9a-f]{64}$")]


class _Wire(BaseModel):
    model_config = ConfigDict(strict=True, frozen=True, extra="forbid", hide_input_in_errors=True)


class ConfigRequest(_Wire):
    """``POST /v1/config``: which service of which session the enclave asks to be.

    ``activation``: of an enclave that is this service already and renews its identity, what the last answer said.
    """

    session: Annotated[str, StringConstraints(min_length=1, max_length=128)]
    service: Annotated[str, StringConstraints(min_length=1, max_length=128)]
    activation: Annotated[str, StringConstraints(pattern=r"^(?:[0-9a-f]{64})?$")] = Field(default="", repr=False)


class KeyRequest(ConfigRequest):
    """``POST /v1/enclave-key``: one step of exchanging the asking enclave's key in an enclave-key secret.

    ``generation`` is what ``commit`` and ``abort`` name; the other steps take none.
    """

    secret: Annotated[str, StringConstraints(min_length=1, max_length=128)]
    step: Literal["show", "begin", "commit", "abort"]
    generation: Annotated[int, Field(ge=0, le=2**53)] = 0


class KeyEntry(_Wire):
    """A key of the asking enclave: hex of 32 bytes, and which one in the row of its keys it is."""

    generation: int
    key: str = Field(repr=False)


class UpgradePolicyAnswer(_Wire):
    """Section ``upgrade`` of the session."""

    approvers: tuple[str, ...]
    threshold: int


class KeyAnswer(_Wire):
    """``POST /v1/enclave-key``: the key that holds, the one that is pending, and the audit entry about the step.

    ``upgrade``: as in :class:`ConfigAnswer`; the session may be another one of the same name by now.
    """

    current: KeyEntry
    pending: KeyEntry | None
    entry: int
    hash: str
    upgrade: UpgradePolicyAnswer | None = None


class VolumeAnswer(_Wire):
    """A protected volume: mount path and 32-byte key in hex."""

    path: str
    key: str = Field(repr=False)


class FileAnswer(_Wire):
    """A file to inject: path and content in base64; ``bound``: an enclave-key and nothing else."""

    path: str
    content: str = Field(repr=False)
    bound: bool = False


class ConfigAnswer(_Wire):
    """A service's part of its session; ``ca`` and ``certificate`` are PEM.

    ``activation``: what the enclave shows when it renews its identity, so that it is not counted as a new activation.
    ``upgrade``: who may approve a successor, which a closed enclave compares with its own measured manifest.
    """

    command: str = Field(repr=False)
    pwd: str
    environment: dict[str, str] = Field(repr=False)
    volumes: dict[str, VolumeAnswer]
    files: tuple[FileAnswer, ...]
    ca: str
    certificate: str
    activation: str = Field(default="", repr=False)
    upgrade: UpgradePolicyAnswer | None = None


class NonceAnswer(_Wire):
    """``GET /v1/nonce``: 32 bytes in hex and for how many seconds they hold."""

    nonce: str
    lifetime_s: int


class ProposalEntry(_Wire):
    """A successor (MRENCLAVE, hex) and what becomes of the keys."""

    successor: Measurement
    choice: Literal["carry", "discard"]


class UpgradeRequest(ProposalEntry):
    """``POST /v1/session/<name>/upgrade``: a voice for a successor of the enclave that is current now."""

    predecessor: Measurement


class ApprovalEntry(ProposalEntry):
    """A standing approval, and whose."""

    approver: str


class UpgradeAnswer(_Wire):
    """What became of a session's enclaves: the first, those that took its place, and who stands for what comes next.

    ``allowed``: what has as many voices as ``threshold``, and happens at the successor's first release.
    """

    first: str
    current: str
    threshold: int
    steps: tuple[ProposalEntry, ...]
    approvals: tuple[ApprovalEntry, ...]
    allowed: ProposalEntry | None


class IdentityAnswer(_Wire):
    """``GET /attestation``: RA-TLS certificate over the connection's key, and the root of the CAS's authority, PEM."""

    certificate: str
    ca: str


class SessionAnswer(_Wire):
    """``POST /session``: what was stored; ``salt`` (hex) is what the hash was made with."""

    name: str
    hash: str
    salt: str
    version: int


class SessionEntry(_Wire):
    """One entry of ``GET /session``; ``expiry`` as the document has it."""

    name: str
    hash: str
    version: int
    expiry: str | None


class SessionListAnswer(_Wire):
    """``GET /session``: a page; ``next`` goes into ``after`` for the one that follows, and is empty after the last."""

    sessions: tuple[SessionEntry, ...]
    next: str


class SessionDocumentAnswer(SessionAnswer):
    """``GET /session/<name>``: also the document, without the values of its secrets, and what became of its line."""

    creator: str
    document: dict[str, Any] = Field(repr=False)
    upgrade: UpgradeAnswer | None = None
