"""Settings of the simulated platform's daemon."""

from __future__ import annotations

from pathlib import Path
from typing import ClassVar

from pydantic import Field

from adyton.base.settings import Settings


class PlatformSettings(Settings):
    """One simulated machine.

    Attributes:
        state: folder of the fused secrets, the certificate authority and unpacked images; private, kept over restarts.
        layers: folder of unpacked layers that images share; may serve several machines of this user, best on the file
            system of the state folder; by default ``layers`` in the state folder.
        socket: Unix socket for programs of this host; by default ``platform.sock`` in the state folder.
        host: address of the collateral service.
        port: its TCP port; 0 takes a free one.
        max_enclaves: enclaves that may run at one time.
        log_level: ``debug``, ``info``, ``warning`` or ``error``.
    """

    env_prefix: ClassVar[str] = "ADYTON_PLATFORM_"

    state: Path
    layers: Path | None = None
    socket: Path | None = None
    host: str = "127.0.0.1"
    port: int = Field(8042, ge=0, le=65535)
    max_enclaves: int = Field(64, ge=1, le=4096)
    log_level: str = "info"

    @property
    def layers_path(self) -> Path:
        """Where unpacked layers are kept."""
        return self.layers or self.state / "layers"

    @property
    def socket_path(self) -> Path:
        """Where the daemon listens."""
        return self.socket or self.state / "platform.sock"
