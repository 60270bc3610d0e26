"""A service behind a bad connection: requests are passed on, refused, or hung up on, as the test says."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import httpx2


@dataclass
class Fickle:
    """The connection.

    Attributes:
        url: where it listens.
        patience: how many more requests are passed on before it hangs up.
        refusals: how many POST requests are answered with 401 first.
    """

    url: str
    patience: int = 10**9
    refusals: int = 0


@contextmanager
def fickle(target: str) -> Iterator[Fickle]:
    """Stand before ``target`` until the block ends."""

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers.get("Content-Length", "0")))
            if state.refusals > 0 and self.command == "POST":
                state.refusals -= 1
                self.answer(401, b"")
                return
            state.patience -= 1
            if state.patience < 0:
                self.close_connection = True
                return
            kept = {
                name: value for name, value in self.headers.items() if name.lower() in {"authorization", "content-type"}
            }
            found = httpx2.request(self.command, target + self.path.rstrip("/"), content=body, headers=kept)
            self.answer(found.status_code, found.content)

        do_GET = do_HEAD = do_POST  # noqa: N815  # the library's names

        def answer(self, status: int, content: bytes) -> None:
            self.send_response(status)
            self.send_header("Content-Length", str(len(content)))
            self.end_headers()
            self.wfile.write(content)

        def log_message(self, *_arguments: object) -> None:
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        server.daemon_threads = True
        state = Fickle(f"http://127.0.0.1:{server.server_address[1]}")
        thread = threading.Thread(target=server.serve_forever, args=(0.01,))
        thread.start()
        yield state
        server.shutdown()
        thread.join()
