"""Running an ASGI application as a service process: sockets, signals, graceful shutdown."""

from __future__ import annotations

import errno
import socket
import threading
from collections.abc import Callable
from types import FrameType
from typing import Any

import uvicorn

from adyton.base.errors import AdytonError


class PortInUseError(AdytonError):
    """Another program listens where this service wants to."""

    code = "service.port_in_use"


def listen(host: str, port: int) -> socket.socket:
    """Bind and listen before anything else starts, so that a taken port fails first and clearly.

    Raises:
        PortInUseError: the address is taken.
    """
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    server = socket.socket(family, socket.SOCK_STREAM)
    server.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        server.bind((host, port))
    except OSError as error:
        server.close()
        if error.errno != errno.EADDRINUSE:
            raise
        raise PortInUseError(
            f"port {port} on {host} is taken by another program",
            hint=f"see who holds it with 'ss -ltnp sport = :{port}', stop it, or choose another port",
        ) from error
    server.listen(1024)
    return server


class _Server(uvicorn.Server):
    """A server that says that it is about to stop, so that long-polls can be answered."""

    on_exit: Callable[[], None] | None = None

    def handle_exit(self, sig: int, frame: FrameType | None) -> None:
        if self.on_exit is not None:
            # In a thread: what it wakes may hold locks that the interrupted main thread holds, too.
            threading.Thread(target=self.on_exit, daemon=True).start()
        super().handle_exit(sig, frame)


def serve(
    app: Any,  # noqa: ANN401  # any ASGI application
    host: str,
    port: int,
    *,
    on_exit: Callable[[], None] | None = None,
    **options: Any,  # noqa: ANN401
) -> None:
    """Serve until SIGTERM or SIGINT; open requests get five seconds to finish.

    Args:
        app: ASGI application.
        host: address to listen on.
        port: TCP port.
        on_exit: called when the signal comes, before open requests are waited for.
        options: passed on to ``uvicorn.Config`` (``http`` protocol class, ``ssl_*``, …).
    """
    listener = listen(host, port)
    config = uvicorn.Config(
        app, log_level="warning", access_log=False, timeout_graceful_shutdown=5, server_header=False, **options
    )
    server = _Server(config)
    server.on_exit = on_exit
    server.run(sockets=[listener])
