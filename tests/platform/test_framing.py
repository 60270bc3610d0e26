from __future__ import annotations

import json
import os
import socket
import struct
from collections.abc import Iterator
from pathlib import Path

import pytest

from adyton.platform import framing
from adyton.platform.framing import MAX_MESSAGE_BYTES, FramingError, Receiver

Pair = tuple[socket.socket, socket.socket]


@pytest.fixture
def pair() -> Iterator[Pair]:
    left, right = socket.socketpair()
    with left, right:
        yield left, right


def test_messages_and_descriptors_arrive(pair: Pair) -> None:
    left, right = pair
    read_end, write_end = os.pipe()
    framing.send(left, {"a": [1, "ü"]}, (write_end,))
    framing.send(left, {"b": 2})
    os.close(write_end)
    receiver = Receiver(right)
    assert receiver.receive() == {"a": [1, "ü"]}
    assert receiver.receive() == {"b": 2}
    (received,) = receiver.take_descriptors()
    assert not os.get_inheritable(received)
    os.write(received, b"through")
    os.close(received)
    assert os.read(read_end, 100) == b"through"
    os.close(read_end)


def test_the_end_between_two_messages_is_no_error(pair: Pair) -> None:
    left, right = pair
    left.close()
    assert Receiver(right).receive() is None


@pytest.mark.parametrize(
    "data",
    [
        pytest.param(b"\0\0", id="cut in the length"),
        pytest.param(struct.pack(">I", 10) + b"{}", id="cut in the body"),
        pytest.param(struct.pack(">I", MAX_MESSAGE_BYTES + 1), id="too long"),
        pytest.param(struct.pack(">I", 1) + b"{", id="not JSON"),
        pytest.param(struct.pack(">I", 2) + b"[]", id="not an object"),
        pytest.param(struct.pack(">I", 2) + b"\xff\xff", id="not text"),
        pytest.param(struct.pack(">I", 60000) + b"[" * 60000, id="nested deeply"),
    ],
)
def test_malformed_messages_are_refused(pair: Pair, data: bytes) -> None:
    left, right = pair
    left.sendall(data)
    left.close()
    with pytest.raises(FramingError):
        Receiver(right).receive()


def test_too_many_descriptors_are_refused_and_closed(pair: Pair) -> None:
    left, right = pair
    body = json.dumps({}).encode()
    socket.send_fds(left, [struct.pack(">I", len(body)) + body], [left.fileno()] * 30)
    receiver = Receiver(right)
    with pytest.raises(FramingError):
        receiver.receive()
    for descriptor in receiver.take_descriptors():
        os.close(descriptor)


def test_own_messages_are_bounded_too(pair: Pair) -> None:
    with pytest.raises(FramingError):
        framing.send(pair[0], {"a": "x" * MAX_MESSAGE_BYTES})


def test_the_kernel_names_the_sender(pair: Pair) -> None:
    left, right = pair
    senders: list[int] = []
    receiver = Receiver(right, senders.append)
    framing.send(left, {})
    receiver.receive()
    assert set(senders) == {os.getpid()}
    child = os.fork()
    if child == 0:
        framing.send(left, {"from": "child"})
        os._exit(0)
    os.waitpid(child, 0)
    receiver.receive()
    assert set(senders) == {os.getpid(), child}


def test_long_paths_private_sockets_and_takeover(tmp_path: Path) -> None:
    folder = tmp_path / ("d" * 120)
    folder.mkdir()
    path = folder / "x.sock"
    with framing.listen(path) as server:
        assert path.stat().st_mode & 0o777 == 0o600
        with framing.connect(path, 5) as client, server.accept()[0] as accepted:
            assert framing.peer_uid(accepted) == os.geteuid()
            framing.send(client, {"a": 1})
            assert Receiver(accepted).receive() == {"a": 1}
        with pytest.raises(OSError, match="in use"):
            framing.listen(path)
    with framing.listen(path):  # the first one is dead: its socket file is taken over
        pass
