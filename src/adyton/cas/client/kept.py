"""A session client for services that create many sessions: its connections stay open for the next one.

A new connection costs both ends more than storing a session does. One is used again only while the files that it was
opened with are unchanged, for a minute at most, and not after a pause in which the CAS may have closed it; so a renewed
identity is taken up at once and none outlives its certificate for long.
"""

from __future__ import annotations

import select
import ssl
import threading
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from adyton.base.errors import InputError, UnavailableError
from adyton.cas.client.answers import SessionInfo, read_session_info
from adyton.cas.client.tls import Connect, TlsConnection, tls_context
from adyton.cas.face.identity import SERVER_NAME

_IDLE_S: Final = 2.0  # the CAS closes after five
_AGE_S: Final = 60.0

Stamp = tuple[tuple[int, int, int], ...]


@dataclass(slots=True)
class _Kept:
    connection: TlsConnection
    opened: float
    used: float

    def is_good(self, now: float) -> bool:
        """Whether it can carry another request; what waits on it unasked is its end."""
        if now - self.opened > _AGE_S or now - self.used > _IDLE_S:
            return False
        poll = select.poll()
        poll.register(self.connection.fileno(), select.POLLIN)
        return not poll.poll(0)


class KeptSessionClient:
    """Creates sessions as one owner; may be used by several threads.

    Args:
        connect: opens a stream socket to the REST endpoint.
        cert_file: PEM client certificate.
        key_file: PEM private key; may be the same file.
        ca_file: PEM root of the CAS.
        timeout_s: seconds for each read.
    """

    def __init__(
        self, connect: Connect, cert_file: Path, key_file: Path, ca_file: Path, *, timeout_s: float = 20
    ) -> None:
        self._connect = connect
        self._files = (cert_file, key_file, ca_file)
        self._timeout_s = timeout_s
        self._lock = threading.Lock()
        self._stamp: Stamp = ()
        self._context: ssl.SSLContext | None = None
        self._idle: list[_Kept] = []

    def create(self, document: str) -> SessionInfo:
        """Post a session document (YAML).

        Raises:
            CasRefusedError: the document or the caller is refused; the code says why.
            UnavailableError: the CAS cannot be reached or cannot answer now.
            InputError: the files cannot be read.
        """
        body = document.encode()
        stamp, context = self._current()
        kept = self._take()
        if kept is not None:
            try:
                return self._post(kept, stamp, body)
            except UnavailableError as error:
                if error.code != "cas.unreachable":
                    raise
                # It broke: maybe closed just then. The CAS answers the same document again like the first time.
        connection, now = TlsConnection(self._connect, context, SERVER_NAME, self._timeout_s), time.monotonic()
        return self._post(_Kept(connection, now, now), stamp, body)

    def close(self) -> None:
        """Close the connections that are idle."""
        with self._lock:
            idle, self._idle = self._idle, []
        for kept in idle:
            kept.connection.close()

    def __del__(self) -> None:
        if hasattr(self, "_idle"):  # not where the constructor refused its arguments
            self.close()

    def _post(self, kept: _Kept, stamp: Stamp, body: bytes) -> SessionInfo:
        try:
            answer = kept.connection.json("POST", "/session", body, "application/octet-stream")
        except BaseException:
            kept.connection.close()
            raise
        kept.used = time.monotonic()
        with self._lock:
            if stamp == self._stamp:
                self._idle.append(kept)
                return read_session_info(answer)
        kept.connection.close()
        return read_session_info(answer)

    def _take(self) -> _Kept | None:
        now = time.monotonic()
        while True:
            with self._lock:
                if not self._idle:
                    return None
                kept = self._idle.pop()
            if kept.is_good(now):
                return kept
            kept.connection.close()

    def _current(self) -> tuple[Stamp, ssl.SSLContext]:
        """The TLS context of the files as they are now, and what tells these from others."""
        try:
            stamp = tuple((each.st_mtime_ns, each.st_ino, each.st_size) for each in (f.stat() for f in self._files))
            with self._lock:
                if self._context is not None and stamp == self._stamp:
                    return stamp, self._context
            context = tls_context(self._files[2])
            context.load_cert_chain(self._files[0], self._files[1])
        except OSError as error:
            names = ", ".join(map(str, self._files))
            raise InputError(
                f"cannot load the client certificate, its key and the root: {names}: {error.strerror or error}",
                code="cas.client.identity",
            ) from error
        with self._lock:
            self._stamp, self._context = stamp, context
        self.close()
        return stamp, context
