from __future__ import annotations

import json
import os
import select
import signal
import socket
import struct
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from adyton.platform import framing
from adyton.platform.framing import MAX_MESSAGE_BYTES, FramingError, Receiver, Sender

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
    receiver = Receiver(right, max_descriptors=1)
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


@given(st.binary(max_size=64))
def test_any_bytes_are_a_message_or_refused(data: bytes) -> None:
    left, right = socket.socketpair()
    with left, right:
        left.sendall(data)
        left.shutdown(socket.SHUT_WR)
        try:
            message = Receiver(right).receive()
        except FramingError:
            return
        assert message is None or isinstance(message, dict)


_JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=8,
)


@given(st.dictionaries(st.text(), _JSON, max_size=4))
def test_every_json_object_arrives_as_it_was_sent(message: dict[str, object]) -> None:
    left, right = socket.socketpair()
    with left, right:
        framing.send(left, message)
        assert repr(Receiver(right).receive()) == repr(json.loads(json.dumps(message)))  # nan is not equal to itself


@pytest.mark.parametrize(("allowed", "sent"), [(0, 1), (2, 3), (4, 30)])
def test_too_many_descriptors_are_refused_and_closed(pair: Pair, allowed: int, sent: int) -> None:
    left, right = pair
    body = json.dumps({}).encode()
    before = open_descriptors()
    socket.send_fds(left, [struct.pack(">I", len(body)) + body], [left.fileno()] * sent)
    with pytest.raises(FramingError, match=f"than the {allowed}"):
        Receiver(right, max_descriptors=allowed).receive()
    assert open_descriptors() == before


def test_descriptors_of_several_pieces_are_counted_together(pair: Pair) -> None:
    left, right = pair
    receiver = Receiver(right, max_descriptors=2)
    framing.send(left, {}, (left.fileno(), left.fileno()))
    assert receiver.receive() == {}
    framing.send(left, {}, (left.fileno(),))
    with pytest.raises(FramingError):
        receiver.receive()
    assert receiver.take_descriptors() == []


def test_descriptors_that_nobody_takes_are_closed(pair: Pair) -> None:
    before = open_descriptors()
    receiver = Receiver(pair[1], max_descriptors=4)
    framing.send(pair[0], {}, (0, 1, 2))
    receiver.receive()
    assert open_descriptors() == before + 3
    receiver.close_descriptors()
    assert open_descriptors() == before


def test_a_sender_who_must_say_who_it_is_may_send_no_descriptors(pair: Pair) -> None:
    left, right = pair
    framing.ask_for_senders(right)
    before = open_descriptors()
    framing.send(left, {}, (left.fileno(),))
    with pytest.raises(FramingError):
        Receiver(right, lambda _sender: None).receive()
    assert open_descriptors() == before


def test_a_message_has_a_time_limit_however_slowly_it_comes(pair: Pair) -> None:
    left, right = pair
    right.settimeout(20)
    stop = threading.Event()

    def drip() -> None:
        data = struct.pack(">I", 1000) + b" " * 1000
        for byte in data:
            if stop.wait(0.02):
                return
            left.send(bytes([byte]))

    dripping = threading.Thread(target=drip)
    dripping.start()
    started = time.monotonic()
    try:
        with pytest.raises(FramingError, match="slow"):
            Receiver(right).receive(0.3)
    finally:
        stop.set()
        dripping.join()
    assert time.monotonic() - started < 15  # all of it would take 20 s
    assert right.gettimeout() == 20  # the limit was the message's, not the connection's


def test_own_messages_are_bounded_too(pair: Pair) -> None:
    with pytest.raises(FramingError):
        framing.send(pair[0], {"a": "x" * MAX_MESSAGE_BYTES})


def test_the_kernel_names_the_sender(pair: Pair) -> None:
    left, right = pair
    senders: list[tuple[int, int]] = []
    framing.ask_for_senders(right)
    receiver = Receiver(right, lambda sender: senders.append((sender.pid, sender.uid)))
    framing.send(left, {})
    receiver.receive()
    assert set(senders) == {(os.getpid(), os.getuid())}
    child = os.fork()
    if child == 0:
        framing.send(left, {"from": "child"})
        os._exit(0)
    os.waitpid(child, 0)
    receiver.receive()
    assert set(senders) == {(os.getpid(), os.getuid()), (child, os.getuid())}


def test_a_sender_is_held_so_that_its_number_cannot_change_hands(pair: Pair) -> None:
    left, right = pair
    framing.ask_for_senders(right)
    ended: list[bool | None] = []

    def look(sender: Sender) -> None:
        ended.append(None if sender.pidfd is None else _readable(sender.pidfd))

    before = open_descriptors()
    for exits_first in (False, True):
        child = os.fork()
        if child == 0:
            framing.send(left, {})
            if not exits_first:
                time.sleep(30)
            os._exit(0)
        if exits_first:
            os.waitpid(child, 0)
        Receiver(right, look).receive()
        if not exits_first:
            os.kill(child, signal.SIGKILL)
            os.waitpid(child, 0)
    if None in ended:
        pytest.skip("this kernel is older than 6.5 and has no SO_PASSPIDFD")
    assert ended == [False, False, True, True]
    assert open_descriptors() == before


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


def test_a_link_in_the_sockets_place_is_refused_and_left_alone(tmp_path: Path) -> None:
    target, path = tmp_path / "target.sock", tmp_path / "x.sock"
    with framing.listen(target):
        path.symlink_to(target)
        with pytest.raises(OSError, match="symbolic link"):
            framing.listen(path)
    assert path.is_symlink()
    path.unlink()
    path.symlink_to(tmp_path / "absent.sock")
    with pytest.raises(OSError, match="symbolic link"):
        framing.listen(path)
    assert not (tmp_path / "absent.sock").exists()


@pytest.mark.parametrize("kind", ["file", "folder"])
def test_what_is_no_socket_is_never_replaced(tmp_path: Path, kind: str) -> None:
    path = tmp_path / "x.sock"
    path.write_text("mine") if kind == "file" else path.mkdir()
    with pytest.raises(OSError, match="no socket"):
        framing.listen(path)
    assert path.exists()


def test_the_socket_is_private_whatever_the_umask(tmp_path: Path) -> None:
    before = os.umask(0)
    try:
        with framing.listen(tmp_path / "x.sock"):
            assert (tmp_path / "x.sock").stat().st_mode & 0o777 == 0o600
    finally:
        os.umask(before)


def open_descriptors() -> int:
    """How many descriptors this process has."""
    return len(os.listdir("/proc/self/fd"))  # noqa: PTH208  # a count


def _readable(descriptor: int) -> bool:
    poller = select.poll()
    poller.register(descriptor, select.POLLIN)
    return bool(poller.poll(0))
