"""A byte relay from a Unix socket inside an enclave to the CAS, for enclaves without a network.

TLS runs end to end through it, so it sees and changes nothing that matters; it is the host's, and untrusted.
"""

from __future__ import annotations

import contextlib
import select
import socket
import threading
from pathlib import Path
from typing import Final

from adyton.base.log import get_logger
from adyton.platform import framing

_log = get_logger("platform.relay")
SOCKET_NAME: Final = "cas.sock"
_CONNECT_TIMEOUT_S: Final = 10.0
_IDLE_S: Final = 120.0
_ACCEPT_PAUSE_S: Final = 0.1
_MAX_CONNECTIONS: Final = 16
_BLOCK: Final = 1 << 16


class CasRelay:
    """Listens in ``folder`` until closed.

    Args:
        folder: host folder that is mounted in the enclave.
        target: host and port of the CAS.
    """

    def __init__(self, folder: Path, target: tuple[str, int]) -> None:
        self._target = target
        self._server = framing.listen(folder / SOCKET_NAME)
        self._slots = threading.BoundedSemaphore(_MAX_CONNECTIONS)
        self._closed = threading.Event()
        threading.Thread(target=self._accept, name="cas-relay", daemon=True).start()

    def close(self) -> None:
        """Stop listening; what is being relayed ends with its two ends."""
        self._closed.set()
        with contextlib.suppress(OSError):
            self._server.shutdown(socket.SHUT_RDWR)
        self._server.close()

    def _accept(self) -> None:
        while not self._closed.is_set():
            try:
                connection, _address = self._server.accept()
            except OSError as error:  # closed, or for the moment out of descriptors
                if not self._closed.wait(_ACCEPT_PAUSE_S):
                    _log.warning("cannot take a connection", detail=error.strerror)
                continue
            if not self._slots.acquire(blocking=False):
                connection.close()
                continue
            threading.Thread(target=self._relay, args=(connection,), name="cas-relay-pipe", daemon=True).start()

    def _relay(self, inner: socket.socket) -> None:
        try:
            with inner, socket.create_connection(self._target, _CONNECT_TIMEOUT_S) as outer:
                outer.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
                _pump(inner, outer)
        except OSError as error:
            _log.warning("CAS not reached", host=self._target[0], port=self._target[1], detail=str(error))
        finally:
            self._slots.release()


def _pump(inner: socket.socket, outer: socket.socket) -> None:
    """Copy both ways until both sides have ended or nothing moved for two minutes."""
    others = {inner.fileno(): (inner, outer), outer.fileno(): (outer, inner)}
    poller = select.poll()
    for descriptor in others:
        poller.register(descriptor, select.POLLIN)
    outer.settimeout(_IDLE_S)
    inner.settimeout(_IDLE_S)
    while others:
        ready = poller.poll(_IDLE_S * 1000)
        if not ready:
            return
        for descriptor, _events in ready:
            source, sink = others[descriptor]
            data = source.recv(_BLOCK)
            if data:
                sink.sendall(data)
            else:
                poller.unregister(descriptor)
                del others[descriptor]
                with contextlib.suppress(OSError):
                    sink.shutdown(socket.SHUT_WR)
