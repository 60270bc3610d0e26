"""Requests over connections that stay open: as many as needed, never one that the service has closed."""

from __future__ import annotations

import base64
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest

from adyton.base.errors import UnavailableError
from adyton.web import keepalive
from adyton.web.keepalive import KeepAlive


class Echo(BaseHTTPRequestHandler):
    """Answers with the body; the path says how."""

    protocol_version = "HTTP/1.1"
    connections: set[tuple[str, int]] = set()  # noqa: RUF012  # emptied for each test
    headers_seen: list[dict[str, str]] = []  # noqa: RUF012  # likewise

    def do_POST(self) -> None:
        self.connections.add(self.client_address)
        self.headers_seen.append(dict(self.headers))
        body = self.rfile.read(int(self.headers["Content-Length"]))
        self.send_response(503 if self.path == "/down" else 200)
        if self.path == "/broken":
            self.send_header("Content-Length", str(len(body) + 1))
            self.close_connection = True
        else:
            self.send_header("Content-Length", str(len(body)))
        if self.path == "/closing":
            self.send_header("Connection", "close")
        self.end_headers()
        self.wfile.write(body)
        if self.path == "/silent-close":
            self.close_connection = True

    def log_message(self, *_arguments: object) -> None:
        pass


@pytest.fixture
def url() -> Iterator[str]:
    Echo.connections.clear()
    Echo.headers_seen.clear()
    with ThreadingHTTPServer(("127.0.0.1", 0), Echo) as server:
        server.daemon_threads = True
        thread = threading.Thread(target=server.serve_forever, args=(0.01,))
        thread.start()
        yield f"http://127.0.0.1:{server.server_address[1]}"
        server.shutdown()
        thread.join()


def test_one_connection_for_calls_one_after_the_other(url: str) -> None:
    service = KeepAlive(url, "echo")
    assert [service.post(b"%d" % number) for number in range(5)] == [(200, b"%d" % number) for number in range(5)]
    assert len(Echo.connections) == 1
    service.close()


def test_threads_have_connections_of_their_own(url: str) -> None:
    service = KeepAlive(url, "echo")
    with ThreadPoolExecutor(4) as threads:
        found = list(threads.map(lambda number: service.post(b"%d" % number), range(200)))
    assert found == [(200, b"%d" % number) for number in range(200)]
    assert 1 <= len(Echo.connections) <= 4
    service.close()


@pytest.mark.parametrize("path", ["/closing", "/silent-close"])
def test_a_connection_that_was_closed_is_not_used_again(url: str, path: str) -> None:
    service = KeepAlive(url + path, "echo")
    for number in range(3):
        assert service.post(b"%d" % number) == (200, b"%d" % number)
        threading.Event().wait(0.05)  # for the end of the connection to arrive
    assert len(Echo.connections) == 3
    service.close()


def test_the_status_is_the_callers_to_judge(url: str) -> None:
    service = KeepAlive(url + "/down", "echo")
    assert service.post(b"{}") == (503, b"{}")
    service.close()


def test_user_and_password_of_the_url_are_sent(url: str) -> None:
    service = KeepAlive(url.replace("//", "//us%20er:pa%3Ass@"), "echo")
    service.post(b"")
    sent = base64.b64decode(Echo.headers_seen[0]["Authorization"].removeprefix("Basic "))
    assert sent == b"us er:pa:ss"
    service.close()


def test_an_answer_that_breaks_off(url: str) -> None:
    service = KeepAlive(url + "/broken", "echo", timeout_s=2)
    with pytest.raises(UnavailableError, match=r"echo at .* does not answer: IncompleteRead"):
        service.post(b"body")


def test_an_answer_that_is_too_long(url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(keepalive, "MAX_ANSWER_BYTES", 3)
    service = KeepAlive(url, "echo")
    assert service.post(b"123") == (200, b"123")
    with pytest.raises(UnavailableError, match="more than 3 bytes"):
        service.post(b"1234")
    service.close()


@pytest.mark.parametrize("wrong", ["http://127.0.0.1:1", "http://127.0.0.1:99999", "https://127.0.0.1:1"])
def test_nobody_there(wrong: str) -> None:
    with pytest.raises(UnavailableError, match=r"nobody at .* does not answer"):
        KeepAlive(wrong, "nobody", timeout_s=1).post(b"")
