"""Files through which a kernel or library OS offers attestation: each read or write is one exchange with it.

What such a file gives back is made when it is read, so it is read whole in one go, and a write is one system call.
"""

from __future__ import annotations

import errno
import os
from pathlib import Path
from typing import Final, Protocol

MAX_READ_BYTES: Final = 64 << 10  # quotes have under 16 kB; bounds what a wrong file can give


class DeviceFiles(Protocol):
    """The files of one interface, by their path below its folder; failures are ``OSError`` with the kernel's code."""

    def read(self, path: str) -> bytes:
        """The whole of a file, at most :data:`MAX_READ_BYTES`."""

    def write(self, path: str, data: bytes) -> None:
        """Write ``data`` to an existing file in one call."""

    def make_folder(self, path: str) -> None:
        """Make a folder; the interface may fill it with files."""

    def remove_folder(self, path: str) -> None:
        """Remove a folder of :meth:`make_folder`, with the interface's files in it."""


class OsDeviceFiles:
    """The files below a folder of this system.

    Args:
        folder: where the interface is mounted.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def read(self, path: str) -> bytes:
        """See :class:`DeviceFiles`.

        Raises:
            OSError: as the kernel says, or EFBIG over the limit.
        """
        with (self._folder / path).open("rb", buffering=0) as stream:
            data = b""
            while piece := stream.read(MAX_READ_BYTES + 1 - len(data)):
                data += piece
                if len(data) > MAX_READ_BYTES:
                    raise OSError(errno.EFBIG, "more bytes than any report or quote has", str(self._folder / path))
        return data

    def write(self, path: str, data: bytes) -> None:
        """See :class:`DeviceFiles`.

        Raises:
            OSError: as the kernel says, or EIO where it takes only a part.
        """
        descriptor = os.open(self._folder / path, os.O_WRONLY | os.O_CLOEXEC)
        try:
            if os.write(descriptor, data) != len(data):
                raise OSError(errno.EIO, "took only a part of what was written", str(self._folder / path))
        finally:
            os.close(descriptor)

    def make_folder(self, path: str) -> None:
        """See :class:`DeviceFiles`.

        Raises:
            OSError: as the kernel says.
        """
        (self._folder / path).mkdir()

    def remove_folder(self, path: str) -> None:
        """See :class:`DeviceFiles`.

        Raises:
            OSError: as the kernel says.
        """
        (self._folder / path).rmdir()
