"""Catching what a program writes, without letting it fill the disk: a pipe of which only the end is kept."""

from __future__ import annotations

import os
import threading
from typing import Final, Self

from adyton.workerpool.wire import MAX_LOG_CHARS

_KEEP_BYTES: Final = 4 * MAX_LOG_CHARS  # a character has at most four bytes of UTF-8


class TailPipe:
    """The write end for a child, and the end of what came through.

    Use as a context manager: leaving it closes the write end and waits for what is still on its way.
    """

    def __init__(self) -> None:
        self._read_fd, self.write_fd = os.pipe()
        self._tail = bytearray()
        self._thread = threading.Thread(target=self._read, name="output", daemon=True)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_error: object) -> None:
        os.close(self.write_fd)
        # A descendant that survived may hold the pipe open; its output is not waited for.
        self._thread.join(timeout=2)

    def text(self) -> str:
        """At most the last 100,000 characters."""
        return bytes(self._tail).decode("utf-8", errors="replace")[-MAX_LOG_CHARS:]

    def _read(self) -> None:
        with os.fdopen(self._read_fd, "rb", buffering=0) as stream:
            while chunk := stream.read(1 << 16):
                self._tail += chunk
                if len(self._tail) > _KEEP_BYTES:
                    del self._tail[:-_KEEP_BYTES]
