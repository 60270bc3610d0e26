"""Running an ASGI application as a service process: sockets, signals, graceful shutdown."""

from __future__ import annotations

import asyncio
import errno
import gc
import socket
import threading
from collections.abc import Callable
from dataclasses import dataclass
from types import FrameType
from typing import TYPE_CHECKING, Any

import uvicorn

from adyton.base.errors import AdytonError

if TYPE_CHECKING:
    from adyton.web.peercert import Context


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


@dataclass(frozen=True, slots=True)
class TlsPort:
    """A second port for the same application, over TLS 1.3 that asks for client certificates.

    Attributes:
        port: TCP port.
        context: called for every connection (:mod:`adyton.web.peercert`), so that a renewed certificate is taken up.
    """

    port: int
    context: Callable[[], Context]


class _Server(uvicorn.Server):
    """A server that says that it is about to stop, so that long-polls can be answered; and one with a TLS port."""

    on_exit: Callable[[], None] | None = None
    tls: tuple[socket.socket, Callable[[], Context]] | None = None

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        await super().startup(sockets)
        if self.tls is None:
            return
        from adyton.web.peercert import tls_protocol  # noqa: PLC0415  # OpenSSL only where a port needs it

        listener, context = self.tls
        create = tls_protocol(context)

        def connect() -> asyncio.Protocol:
            return create(config=self.config, server_state=self.server_state, app_state=self.lifespan.state)

        # among uvicorn's own: closed by its shutdown, which waits for the connections of both
        self.servers.append(await asyncio.get_running_loop().create_server(connect, sock=listener))

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
    tls: TlsPort | None = None,
    **options: Any,  # noqa: ANN401
) -> None:
    """Serve until SIGTERM or SIGINT; open requests get five seconds to finish.

    Args:
        app: ASGI application.
        host: address to listen on.
        port: TCP port.
        on_exit: called when the signal comes, before open requests are waited for.
        tls: a second port; needs ``ws="none"`` among the options.
        options: passed on to ``uvicorn.Config`` (``http`` protocol class, ``ssl_*``, …).

    Raises:
        PortInUseError: a port is taken.
    """
    listener = listen(host, port)
    try:
        tls_listener = None if tls is None else listen(host, tls.port)
    except BaseException:
        listener.close()
        raise
    config = uvicorn.Config(
        app, log_level="warning", access_log=False, timeout_graceful_shutdown=5, server_header=False, **options
    )
    server = _Server(config)
    server.on_exit = on_exit
    if tls is not None and tls_listener is not None:
        server.tls = tls_listener, tls.context
    gc.freeze()  # what the start made stays, and is not searched for garbage again and again
    server.run(sockets=[listener])
