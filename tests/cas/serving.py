"""Real TLS servers for tests: an ASGI application behind the pyOpenSSL protocol on a free port."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator
from typing import Any

from tests.web.serving import listening


@contextlib.contextmanager
def serving(app: Any, http: Callable[..., Any]) -> Iterator[int]:  # noqa: ANN401  # an ASGI application
    """Serve ``app`` until the block ends; gives the port."""
    with listening(app, http=http, ws="none") as port:
        yield port
