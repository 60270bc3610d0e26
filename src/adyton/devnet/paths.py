"""Where a local network keeps everything: one folder that survives a restart."""

from __future__ import annotations

import hashlib
import os
import tempfile
from dataclasses import dataclass
from pathlib import Path

_SOCKET_PATH_LIMIT = 90  # bytes; Linux allows 107, sub-folders and names need the rest


@dataclass(frozen=True, slots=True)
class NetworkPaths:
    """The folders and files of one local network."""

    root: Path

    @classmethod
    def of(cls, root: Path | None = None) -> NetworkPaths:
        """The folder given, else ``ADYTON_HOME``, else ``~/.adyton``; made private to its owner."""
        chosen = root or Path(os.environ.get("ADYTON_HOME") or Path.home() / ".adyton")
        chosen = chosen.expanduser().resolve()
        chosen.mkdir(parents=True, exist_ok=True, mode=0o700)
        return cls(chosen)

    def data(self, service: str) -> Path:
        """A service's own data folder."""
        return self._folder(service)

    @property
    def config(self) -> Path:
        """Generated service settings."""
        return self._folder("config")

    @property
    def logs(self) -> Path:
        """One log file per service."""
        return self._folder("logs")

    @property
    def images(self) -> Path:
        """Enclave images of this network's services."""
        return self._folder("images")

    @property
    def wallets(self) -> Path:
        """Throw-away wallets of the network's operators."""
        return self._folder("wallets")

    @property
    def network_file(self) -> Path:
        """What clients need to find the network."""
        return self.root / "network.json"

    @property
    def status_file(self) -> Path:
        """The supervisor's last word on its services."""
        return self.root / "status.json"

    @property
    def supervisor_log(self) -> Path:
        """What a detached supervisor prints."""
        return self.logs / "supervisor.log"

    @property
    def platform_socket(self) -> Path:
        """The simulated platform's socket; in a short temporary folder when this one's name is too long for one."""
        inside = self.root / "run"
        if len(bytes(inside)) > _SOCKET_PATH_LIMIT:
            digest = hashlib.sha256(bytes(self.root)).hexdigest()[:12]
            inside = Path(tempfile.gettempdir()) / f"adyton-{os.getuid()}-{digest}"
        inside.mkdir(mode=0o700, parents=True, exist_ok=True)
        return inside / "platform.sock"

    def _folder(self, name: str) -> Path:
        folder = self.root / name
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        return folder
