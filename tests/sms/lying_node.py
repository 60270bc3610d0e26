"""A node that passes everything on to a real one and replaces one address by another in what it answers."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import httpx2

from adyton.base.types import Address


@contextmanager
def lying_node(url: str, truth: Address, lie: Address) -> Iterator[str]:
    """Serve until the block ends; the URL of the liar."""

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["Content-Length"]))
            found = httpx2.post(url, content=body, headers={"Content-Type": "application/json"}, trust_env=False)
            answer = found.text.replace(truth[2:].lower(), lie[2:].lower()).encode()
            self.send_response(found.status_code)
            self.send_header("Content-Length", str(len(answer)))
            self.end_headers()
            self.wfile.write(answer)

        def log_message(self, *_arguments: object) -> None:
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        server.daemon_threads = True
        thread = threading.Thread(target=server.serve_forever, args=(0.01,))
        thread.start()
        yield f"http://127.0.0.1:{server.server_address[1]}"
        server.shutdown()
        thread.join()
