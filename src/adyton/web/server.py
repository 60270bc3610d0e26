"""Running an ASGI application as a service process: sockets, signals, graceful shutdown."""

from __future__ import annotations

import errno
import socket
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


def serve(app: Any, host: str, port: int, **options: Any) -> None:  # noqa: ANN401  # any ASGI application
    """Serve until SIGTERM or SIGINT; open requests get five seconds to finish.

    Args:
        app: ASGI application.
        host: address to listen on.
        port: TCP port.
        options: passed on to ``uvicorn.Config`` (``http`` protocol class, ``ssl_*``, …).
    """
    listener = listen(host, port)
    config = uvicorn.Config(
        app, log_level="warning", access_log=False, timeout_graceful_shutdown=5, server_header=False, **options
    )
    uvicorn.Server(config).run(sockets=[listener])
