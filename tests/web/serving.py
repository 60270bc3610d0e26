"""Applications on real sockets, in this process."""

from __future__ import annotations

import asyncio
import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import uvicorn
from tests.waiting import PATIENCE_S

from adyton.web.server import listen

_GRACE_S = 1.0  # for requests that are being answered when a server is to end


class _Server(uvicorn.Server):
    """Ends when it is told to, and when nothing is left to do: uvicorn waits for tenths of a second in both places.

    There are hundreds of starts and ends in a run of the tests.
    """

    def __init__(self, config: uvicorn.Config) -> None:
        super().__init__(config)
        self._told: asyncio.Event
        self._loop: asyncio.AbstractEventLoop

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        self._told, self._loop = asyncio.Event(), asyncio.get_running_loop()
        await super().startup(sockets)

    async def main_loop(self) -> None:
        await self.on_tick(0)
        await self._told.wait()

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        for opened in (*self.servers, *(sockets or ())):
            opened.close()
        for connection in list(self.server_state.connections):
            connection.shutdown()
        end = self._loop.time() + _GRACE_S
        state = self.server_state
        while (state.connections or state.tasks) and self._loop.time() < end:  # noqa: ASYNC110  # it has no events
            await asyncio.sleep(0.002)
        for task in state.tasks:
            task.cancel()
        await self.lifespan.shutdown()

    def end(self) -> None:
        """From another thread."""
        self.should_exit = True
        self._loop.call_soon_threadsafe(self._told.set)


@contextmanager
def listening(app: Any, *, port: int = 0, **options: Any) -> Iterator[int]:  # noqa: ANN401  # ASGI; of uvicorn.Config
    """Serve an application until the block ends; gives the port, a free one unless one is named."""
    listener = listen("127.0.0.1", port)
    server = _Server(uvicorn.Config(app, **{"log_level": "error", "access_log": False} | options))
    thread = threading.Thread(target=server.run, kwargs={"sockets": [listener]})
    thread.start()
    try:
        while not server.started:
            thread.join(0.002)
            assert thread.is_alive(), "the server ended at once"
        yield int(listener.getsockname()[1])
    finally:
        if thread.is_alive():
            server.end()
        thread.join(PATIENCE_S)
        listener.close()


@contextmanager
def serving(app: Any, **options: Any) -> Iterator[str]:  # noqa: ANN401  # as above
    """The same; gives the URL."""
    with listening(app, **options) as port:
        yield f"http://127.0.0.1:{port}"
