"""Messages over a Unix stream socket: u32 big-endian length, then one JSON object; descriptors ride along.

Used between daemon and host programs, and between daemon and enclave. Both ends bound what they read.
"""

from __future__ import annotations

import array
import json
import os
import socket
import struct
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, Final

from adyton.base.jsontext import parse_json
from adyton.platform.protocol import PlatformError

MAX_MESSAGE_BYTES: Final = 1 << 20
_MAX_DESCRIPTORS: Final = 4
_LENGTH: Final = struct.Struct(">I")
_CREDENTIALS: Final = struct.Struct("3i")  # pid, uid, gid
_SO_PASSCRED: Final = 16
_SCM_CREDENTIALS: Final = 2


class FramingError(PlatformError):
    """The other end does not speak this protocol, or broke off in the middle of a message."""

    code = "platform.message"


def send(connection: socket.socket, message: Mapping[str, Any], descriptors: Sequence[int] = ()) -> None:
    """Send one message.

    Raises:
        FramingError: too long, or the other end is gone.
    """
    body = json.dumps(message, separators=(",", ":")).encode()
    if len(body) > MAX_MESSAGE_BYTES:
        raise FramingError(f"a message of {len(body)} bytes is over the limit of {MAX_MESSAGE_BYTES}")
    try:
        if descriptors:
            ancillary = [(socket.SOL_SOCKET, socket.SCM_RIGHTS, array.array("i", descriptors))]
            connection.sendmsg([_LENGTH.pack(len(body))], ancillary)
            connection.sendall(body)
        else:
            connection.sendall(_LENGTH.pack(len(body)) + body)
    except OSError as error:
        raise FramingError(f"the other end is gone: {error.strerror}") from error


class Receiver:
    """Reads messages from one connection.

    Args:
        connection: stream socket.
        check_sender: called with the pid of the sender of every piece, as the kernel states it; raises to refuse.
    """

    def __init__(self, connection: socket.socket, check_sender: Callable[[int], None] | None = None) -> None:
        self._connection = connection
        self._check_sender = check_sender
        if check_sender is not None:
            connection.setsockopt(socket.SOL_SOCKET, _SO_PASSCRED, 1)
        self.descriptors: list[int] = []

    def receive(self) -> dict[str, Any] | None:
        """The next message, or None when the other end closed between two messages; descriptors are collected.

        Raises:
            FramingError: not a message, too long, or cut short.
        """
        head = self._exactly(_LENGTH.size, may_end=True)
        if not head:
            return None
        (length,) = _LENGTH.unpack(head)
        if length > MAX_MESSAGE_BYTES:
            raise FramingError(f"a message of {length} bytes is announced; the limit is {MAX_MESSAGE_BYTES}")
        try:
            message = parse_json(self._exactly(length))
        except (ValueError, RecursionError) as error:
            raise FramingError("a message is not JSON") from error
        if not isinstance(message, dict):
            raise FramingError("a message is not a JSON object")
        return message

    def take_descriptors(self) -> list[int]:
        """The descriptors received so far; the caller closes them."""
        taken, self.descriptors = self.descriptors, []
        return taken

    def _exactly(self, count: int, *, may_end: bool = False) -> bytes:
        data = b""
        while len(data) < count:
            block = self._piece(count - len(data))
            if not block:
                if may_end and not data:
                    return b""
                raise FramingError("the other end broke off in the middle of a message")
            data += block
        return data

    def _piece(self, count: int) -> bytes:
        space = socket.CMSG_SPACE(4 * _MAX_DESCRIPTORS) + socket.CMSG_SPACE(_CREDENTIALS.size)
        try:
            block, ancillary, flags, _address = self._connection.recvmsg(count, space, socket.MSG_CMSG_CLOEXEC)
        except OSError as error:
            raise FramingError(f"the other end is gone: {error.strerror}") from error
        sender = None
        for level, kind, data in ancillary:
            if level == socket.SOL_SOCKET and kind == socket.SCM_RIGHTS:
                received = array.array("i")
                received.frombytes(data[: len(data) - len(data) % received.itemsize])
                self.descriptors.extend(received)
            elif level == socket.SOL_SOCKET and kind == _SCM_CREDENTIALS:
                sender = _CREDENTIALS.unpack(data)[0]
        if flags & socket.MSG_CTRUNC or len(self.descriptors) > _MAX_DESCRIPTORS:
            raise FramingError("more descriptors than a message may carry")
        if block and self._check_sender is not None:
            self._check_sender(sender or 0)
        return block


def connect(path: Path, timeout_s: float | None = None) -> socket.socket:
    """Connect to a Unix socket; its path may be longer than the 108 bytes of ``sockaddr_un``.

    Raises:
        OSError: nobody listens there.
    """
    connection = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    try:
        connection.settimeout(timeout_s)
        _with_short_path(path, connection.connect)
    except BaseException:
        connection.close()
        raise
    return connection


def listen(path: Path) -> socket.socket:
    """Listen on a Unix socket that only this user may connect to; replaces what a dead process left there.

    Raises:
        OSError: the place cannot be used, or somebody answers there already (EADDRINUSE).
    """
    if path.is_socket():
        try:
            connect(path, 1).close()
        except OSError:
            path.unlink()
    server = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    try:
        os.fchmod(server.fileno(), 0o600)  # bind gives the file the socket's own mode
        _with_short_path(path, server.bind)
        path.chmod(0o600)
        server.listen(64)
    except BaseException:
        server.close()
        raise
    return server


def _with_short_path(path: Path, use: Callable[[str], None]) -> None:
    folder = os.open(path.parent, os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        use(f"/proc/self/fd/{folder}/{path.name}")
    finally:
        os.close(folder)


def peer_uid(connection: socket.socket) -> int:
    """The user at the other end when it connected, as the kernel knows it."""
    data = connection.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, _CREDENTIALS.size)
    return int(_CREDENTIALS.unpack(data)[1])
