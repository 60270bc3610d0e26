"""Settings of the results service."""

from __future__ import annotations

from pathlib import Path
from typing import ClassVar

from pydantic import Field

from adyton.base.settings import Settings

GIB = 1 << 30
MIB = 1 << 20


class ResultsSettings(Settings):
    """All settings; ``ADYTON_RESULTS_<NAME>`` in the environment.

    Attributes:
        host: address to listen on.
        port: TCP port.
        data: folder of everything that is kept.
        rpc_url: JSON-RPC of the chain.
        chain_id: its id, which login challenges name.
        hub: address of the PoCo hub.
        max_result_bytes: largest request of a result upload (JSON, so about three quarters of it are the archive).
        max_file_bytes: largest upload through the IPFS node API.
        max_blob_bytes: largest layer of an image.
        allow_remote_push: accept images from other machines; without it only from this one.
    """

    env_prefix: ClassVar[str] = "ADYTON_RESULTS_"

    host: str = "127.0.0.1"
    port: int = Field(default=13200, ge=0, le=65535)
    data: Path
    rpc_url: str
    chain_id: int = Field(default=134, gt=0)
    hub: str
    max_result_bytes: int = Field(default=256 * MIB, ge=1024, le=GIB)
    max_file_bytes: int = Field(default=GIB, ge=1024, le=64 * GIB)
    max_blob_bytes: int = Field(default=4 * GIB, ge=1024, le=64 * GIB)
    allow_remote_push: bool = False
