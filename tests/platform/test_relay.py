"""The byte relay from an enclave to the CAS."""

from __future__ import annotations

import socket
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest
from tests.waiting import until

from adyton.platform import framing
from adyton.platform.simulated.relay import SOCKET_NAME, CasRelay


@pytest.fixture
def cas() -> Iterator[socket.socket]:
    with socket.create_server(("127.0.0.1", 0)) as server:
        server.settimeout(10)
        yield server


@pytest.fixture
def relay(cas: socket.socket, tmp_path: Path) -> Iterator[Path]:
    running = CasRelay(tmp_path, cas.getsockname())
    yield tmp_path / SOCKET_NAME
    running.close()


def _all(connection: socket.socket) -> bytes:
    data = b""
    while block := connection.recv(1 << 16):
        data += block
    return data


def test_bytes_go_both_ways_and_each_end_may_finish_first(relay: Path, cas: socket.socket) -> None:
    question, answer = b"q" * 300_000, b"a" * 300_000
    with framing.connect(relay, 10) as inner, cas.accept()[0] as outer:
        outer.settimeout(10)
        sending = threading.Thread(target=lambda: (inner.sendall(question), inner.shutdown(socket.SHUT_WR)))
        sending.start()
        assert _all(outer) == question
        sending.join()
        answering = threading.Thread(target=lambda: (outer.sendall(answer), outer.shutdown(socket.SHUT_WR)))
        answering.start()
        assert _all(inner) == answer
        answering.join()


def test_a_cas_that_is_not_there_ends_the_connection(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        address = server.getsockname()
    relay = CasRelay(tmp_path, address)
    with framing.connect(tmp_path / SOCKET_NAME, 10) as inner:
        assert inner.recv(1) == b""
    relay.close()


def test_an_enclave_cannot_open_connections_without_end(relay: Path, cas: socket.socket) -> None:
    kept = [(framing.connect(relay, 10), cas.accept()[0]) for _number in range(16)]
    with framing.connect(relay, 10) as one_more:
        assert one_more.recv(1) == b""
    for inner, outer in kept[:1]:
        inner.close()
        outer.close()

    def again() -> bool:
        with framing.connect(relay, 10) as inner:
            try:
                inner.sendall(b"x")
                cas.settimeout(0.2)
                with cas.accept()[0] as outer:
                    return outer.recv(1) == b"x"
            except (TimeoutError, ConnectionError):  # still one too many: closed before or after the byte
                return False

    until(again)
    for inner, outer in kept[1:]:
        inner.close()
        outer.close()


def test_a_closed_relay_listens_no_more(cas: socket.socket, tmp_path: Path) -> None:
    running = CasRelay(tmp_path, cas.getsockname())
    before = threading.active_count()
    running.close()
    with pytest.raises(ConnectionRefusedError):
        framing.connect(tmp_path / SOCKET_NAME, 1)
    until(lambda: threading.active_count() < before)
