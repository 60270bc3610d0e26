"""Real TLS servers for tests: an ASGI application behind the pyOpenSSL protocol on a free port."""

from __future__ import annotations

import contextlib
import threading
import time
from collections.abc import Callable, Iterator
from typing import Any

import uvicorn

from adyton.web.server import listen


@contextlib.contextmanager
def serving(app: Any, http: Callable[..., Any]) -> Iterator[int]:  # noqa: ANN401  # an ASGI application
    """Serve ``app`` until the block ends; gives the port."""
    listener = listen("127.0.0.1", 0)
    config = uvicorn.Config(
        app,
        http=http,  # type: ignore[arg-type]  # typed as a class, used as a factory
        ws="none",
        log_level="error",
        access_log=False,
        timeout_graceful_shutdown=1,
    )
    server = uvicorn.Server(config)
    thread = threading.Thread(target=server.run, kwargs={"sockets": [listener]})
    thread.start()
    deadline = time.monotonic() + 10
    while not server.started and time.monotonic() < deadline:
        time.sleep(0.01)
    try:
        yield int(listener.getsockname()[1])
    finally:
        server.should_exit = True
        thread.join(10)
        listener.close()
