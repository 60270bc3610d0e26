"""What crosses the network, beside session documents: strict models of requests and answers."""

from __future__ import annotations

from typing import Annotated, Any

from pydantic import BaseModel, ConfigDict, Field, StringConstraints


class _Wire(BaseModel):
    model_config = ConfigDict(strict=True, frozen=True, extra="forbid", hide_input_in_errors=True)


class ConfigRequest(_Wire):
    """``POST /v1/config``: which service of which session the enclave asks to be."""

    session: Annotated[str, StringConstraints(min_length=1, max_length=128)]
    service: Annotated[str, StringConstraints(min_length=1, max_length=128)]


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
    """A service's part of its session; ``ca`` and ``certificate`` are PEM."""

    command: str = Field(repr=False)
    pwd: str
    environment: dict[str, str] = Field(repr=False)
    volumes: dict[str, VolumeAnswer]
    files: tuple[FileAnswer, ...]
    ca: str
    certificate: str


class NonceAnswer(_Wire):
    """``GET /v1/nonce``: 32 bytes in hex and for how many seconds they hold."""

    nonce: str
    lifetime_s: int


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
    """``GET /session/<name>``: also the document, without the values of its secrets."""

    creator: str
    document: dict[str, Any] = Field(repr=False)
