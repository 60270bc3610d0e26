"""Which attestation server a session names: the first of a random order that answers, over real sockets."""

from __future__ import annotations

import threading
from collections.abc import Iterator, Sequence
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest
from tests.sms.opening.test_session_maker import description
from tests.sms.support import SettableClock, pipeline

from adyton.sms.errors import AttestationServerError
from adyton.sms.opening.attestation_servers import AttestationServers
from adyton.sms.opening.scone import SconeSessionMaker

DEAD = "http://127.0.0.1:1"


class _Handler(BaseHTTPRequestHandler):
    def do_GET(self) -> None:
        self.send_response(200 if self.path == "/.well-known/openid-configuration" else 404)
        self.end_headers()

    def log_message(self, *_arguments: object) -> None:
        pass


@pytest.fixture(scope="module")
def alive() -> Iterator[str]:
    with ThreadingHTTPServer(("127.0.0.1", 0), _Handler) as server:
        thread = threading.Thread(target=server.serve_forever, args=(0.01,))
        thread.start()
        yield f"http://127.0.0.1:{server.server_address[1]}"
        server.shutdown()
        thread.join()


def as_given(urls: Sequence[str]) -> Sequence[str]:
    return urls


def test_dead_servers_are_skipped(alive: str) -> None:
    assert AttestationServers([DEAD, f"{alive}/wrong", alive], shuffled=as_given).pick() == alive


def test_no_server_is_an_error_and_not_a_session_without_one() -> None:
    with pytest.raises(AttestationServerError):
        AttestationServers([DEAD, DEAD]).pick()
    maker = SconeSessionMaker(
        [pipeline()], tolerate=[], ignore_advisories=[], mode="maa", url=AttestationServers([DEAD]).pick
    )
    with pytest.raises(AttestationServerError):
        maker.plan(description("{}"))


def test_the_order_is_random_and_the_choice_is_kept_for_a_minute() -> None:
    urls, clock = [f"https://{number}" for number in range(50)], SettableClock()
    asked: list[str] = []

    def answers(url: str) -> bool:
        asked.append(url)
        return True

    servers = AttestationServers(urls, clock=clock, answers=answers)
    first = servers.pick()
    assert {servers.pick() for _ in range(10)} == {first}
    assert asked == [first]
    for _ in range(20):
        clock.advance(61)
        servers.pick()
    assert len(set(asked)) > 1
