"""A node that passes everything on to a real one, but for reads of one function, which it answers in its own way.

With real contracts some answers cannot be had honestly: a task whose deal cannot be read, say. A node that is broken,
or lies, gives them.
"""

from __future__ import annotations

import json
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import httpx2

from adyton.chain.abi import Function

Answer = dict[str, Any]
"""A JSON-RPC answer: ``result`` or ``error``."""
Meddle = Callable[[Answer], Answer]


def reverts(answer: Answer) -> Answer:
    """As a contract that does not know."""
    return {**_envelope(answer), "error": {"code": 3, "message": "execution reverted", "data": "0x"}}


def breaks(answer: Answer) -> Answer:
    """As a node that has a problem of its own."""
    return {**_envelope(answer), "error": {"code": -32603, "message": "header not found"}}


def words(changes: dict[int, int]) -> Meddle:
    """Other 32-byte words in what the contract answers, by number."""

    def change(answer: Answer) -> Answer:
        data = bytearray.fromhex(str(answer["result"])[2:])
        for number, value in changes.items():
            data[32 * number : 32 * number + 32] = value.to_bytes(32)
        return {**_envelope(answer), "result": "0x" + data.hex()}

    return change


@contextmanager
def meddling_node(url: str, function: Function, meddle: Meddle) -> Iterator[str]:
    """Serve until the block ends; the URL."""
    selector = "0x" + function.selector.hex()

    def one(request: dict[str, Any], answer: Answer) -> Answer:
        if request.get("method") != "eth_call":
            return answer
        call = request["params"][0]
        return meddle(answer) if str(call.get("data", call.get("input"))).startswith(selector) else answer

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["Content-Length"]))
            found = httpx2.post(url, content=body, headers={"Content-Type": "application/json"}, trust_env=False)
            asked, answered = json.loads(body), found.json()
            if isinstance(asked, list):
                by_id = {request["id"]: request for request in asked}
                said: Any = [one(by_id[answer["id"]], answer) for answer in answered]
            else:
                said = one(asked, answered)
            text = json.dumps(said).encode()
            self.send_response(200)
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", str(len(text)))
            self.end_headers()
            self.wfile.write(text)

        def log_message(self, *_arguments: object) -> None:
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        server.daemon_threads = True
        thread = threading.Thread(target=server.serve_forever, args=(0.01,))
        thread.start()
        try:
            yield f"http://127.0.0.1:{server.server_address[1]}"
        finally:
            server.shutdown()
            thread.join()


def _envelope(answer: Answer) -> Answer:
    return {name: answer[name] for name in ("jsonrpc", "id")}
