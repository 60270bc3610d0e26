"""Messages over a Unix stream socket: u32 big-endian length, then one JSON object; descriptors ride along.

Used between daemon and host programs, and between daemon and enclave. Both ends bound what they read: the size of a
message, the number of descriptors, and, where a time is given, how long one whole message may take.
"""

from __future__ import annotations

import array
import contextlib
import errno
import json
import os
import socket
import struct
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from adyton.base.jsontext import parse_json
from adyton.platform.protocol import PlatformError

MAX_MESSAGE_BYTES: Final = 1 << 20
_CONNECT_PAUSE_S: Final = 0.01
_LENGTH: Final = struct.Struct(">I")
_DESCRIPTOR: Final = struct.Struct("i")
_CREDENTIALS: Final = struct.Struct("3i")  # pid, uid, gid
# of <sys/socket.h>; Python has no names for them
_SO_PASSCRED: Final = 16
_SO_PASSPIDFD: Final = 76  # Linux 6.5
_SCM_CREDENTIALS: Final = 2
_SCM_PIDFD: Final = 4


class FramingError(PlatformError):
    """The other end does not speak this protocol, or broke off in the middle of a message."""

    code = "platform.message"


@dataclass(frozen=True, slots=True)
class Sender:
    """Who sent a piece of a message, as the kernel states it.

    Attributes:
        pid: process; 0 where the kernel named none.
        uid: its user.
        pidfd: the very process, however often its number was used again; valid only while the check runs. None on
            kernels before 6.5.
    """

    pid: int
    uid: int
    pidfd: int | None


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
        raise FramingError(f"the other end is gone: {error.strerror or error}") from error


def ask_for_senders(connection: socket.socket) -> None:
    """Have the kernel attach who sent it to what is sent to ``connection`` from now on."""
    connection.setsockopt(socket.SOL_SOCKET, _SO_PASSCRED, 1)
    with contextlib.suppress(OSError):  # a kernel before 6.5
        connection.setsockopt(socket.SOL_SOCKET, _SO_PASSPIDFD, 1)


class Receiver:
    """Reads messages from one connection.

    Args:
        connection: stream socket.
        check_sender: called with the sender of every piece; raises to refuse. Needs :func:`ask_for_senders` before
            anything is sent.
        max_descriptors: how many may come with one message; more are refused, and all are closed.
    """

    def __init__(
        self,
        connection: socket.socket,
        check_sender: Callable[[Sender], None] | None = None,
        *,
        max_descriptors: int = 0,
    ) -> None:
        self._connection = connection
        self._check_sender = check_sender
        self._max_descriptors = max_descriptors
        self._descriptors: list[int] = []

    def receive(self, timeout_s: float | None = None) -> dict[str, Any] | None:
        """The next message, or None when the other end closed between two messages; descriptors are collected.

        Args:
            timeout_s: for the whole message, so that a slow sender holds nothing up by sending byte by byte.

        Raises:
            FramingError: not a message, too long, cut short, or too slow.
        """
        if timeout_s is None:
            return self._receive(None)
        before = self._connection.gettimeout()
        try:
            return self._receive(time.monotonic() + timeout_s)
        finally:
            with contextlib.suppress(OSError):  # it may be closed meanwhile
                self._connection.settimeout(before)

    def take_descriptors(self) -> list[int]:
        """The descriptors received so far; the caller closes them."""
        taken, self._descriptors = self._descriptors, []
        return taken

    def close_descriptors(self) -> None:
        """Close what nobody took."""
        for descriptor in self.take_descriptors():
            os.close(descriptor)

    def _receive(self, deadline: float | None) -> dict[str, Any] | None:
        head = self._exactly(_LENGTH.size, deadline, may_end=True)
        if not head:
            return None
        (length,) = _LENGTH.unpack(head)
        if length > MAX_MESSAGE_BYTES:
            raise FramingError(f"a message of {length} bytes is announced; the limit is {MAX_MESSAGE_BYTES}")
        try:
            message = parse_json(self._exactly(length, deadline))
        except (ValueError, RecursionError) as error:
            raise FramingError("a message is not JSON") from error
        if not isinstance(message, dict):
            raise FramingError("a message is not a JSON object")
        return message

    def _exactly(self, count: int, deadline: float | None, *, may_end: bool = False) -> bytes:
        data = bytearray()
        while len(data) < count:
            if deadline is not None:
                self._connection.settimeout(max(0.001, deadline - time.monotonic()))
            block = self._piece(count - len(data))
            if not block:
                if may_end and not data:
                    return b""
                raise FramingError("the other end broke off in the middle of a message")
            data += block
        return bytes(data)

    def _piece(self, count: int) -> bytes:
        space = socket.CMSG_SPACE(_DESCRIPTOR.size * self._max_descriptors) if self._max_descriptors else 0
        if self._check_sender is not None:
            space += socket.CMSG_SPACE(_CREDENTIALS.size) + socket.CMSG_SPACE(_DESCRIPTOR.size)
        try:
            block, ancillary, flags, _address = self._connection.recvmsg(count, space, socket.MSG_CMSG_CLOEXEC)
        except TimeoutError as error:
            raise FramingError("the other end is too slow") from error
        except OSError as error:
            raise FramingError(f"the other end is gone: {error.strerror or error}") from error
        with _sender(self._collect(ancillary)) as sender:
            if flags & socket.MSG_CTRUNC or len(self._descriptors) > self._max_descriptors:
                self.close_descriptors()
                raise FramingError(f"more descriptors than the {self._max_descriptors} that a message may carry")
            if block and self._check_sender is not None:
                self._check_sender(sender)
        return block

    def _collect(self, ancillary: Sequence[tuple[int, int, bytes]]) -> Mapping[int, bytes]:
        """Keep received descriptors; return what else came, by kind."""
        kinds = {}
        for level, kind, data in ancillary:
            if level == socket.SOL_SOCKET and kind == socket.SCM_RIGHTS:
                received = array.array("i")
                received.frombytes(data[: len(data) - len(data) % received.itemsize])
                self._descriptors.extend(received)
            elif level == socket.SOL_SOCKET:
                kinds[kind] = data
        return kinds


@contextlib.contextmanager
def _sender(kinds: Mapping[int, bytes]) -> Iterator[Sender]:
    pid, uid, _gid = _CREDENTIALS.unpack(kinds.get(_SCM_CREDENTIALS, bytes(_CREDENTIALS.size)))
    (pidfd,) = _DESCRIPTOR.unpack(kinds[_SCM_PIDFD]) if _SCM_PIDFD in kinds else (None,)
    if pidfd is not None and pidfd < 0:  # kernels before 6.16, for a sender that is gone already
        pid, pidfd = 0, None
    try:
        yield Sender(pid, uid, pidfd)
    finally:
        if pidfd is not None:
            os.close(pidfd)


def connect(path: Path, timeout_s: float | None = None) -> socket.socket:
    """Connect to a Unix socket; its path may be longer than the 108 bytes of ``sockaddr_un``.

    Raises:
        OSError: nobody listens there.
    """
    connection = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    deadline = time.monotonic() + (timeout_s or 0)
    try:
        connection.settimeout(timeout_s)
        while True:
            try:
                _with_short_path(path, connection.connect)
            except BlockingIOError:  # many callers wait to be accepted; a Unix socket does not wait with a time limit
                if time.monotonic() > deadline:
                    raise
                time.sleep(_CONNECT_PAUSE_S)
            else:
                return connection
    except BaseException:
        connection.close()
        raise


def listen(path: Path) -> socket.socket:
    """Listen on a Unix socket that only this user may connect to; replaces what a dead process left there.

    The socket gets its name when it listens already, so that whoever sees it can connect.

    Raises:
        OSError: the place cannot be used (ELOOP: a link is there, EEXIST: something that is no socket), or somebody
            answers there already (EADDRINUSE).
    """
    _require_free(path)
    server = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    draft = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        os.fchmod(server.fileno(), 0o600)  # bind gives the file the socket's own mode: private from its first moment
        draft.unlink(missing_ok=True)
        _with_short_path(draft, server.bind)
        server.listen(64)
        draft.rename(path)
    except BaseException:
        server.close()
        raise
    return server


def _require_free(path: Path) -> None:
    if path.is_symlink():
        raise OSError(errno.ELOOP, "a symbolic link is in the socket's place", str(path))
    if not path.is_socket():
        if path.exists():
            raise OSError(errno.EEXIST, "something that is no socket is in the socket's place", str(path))
        return
    try:
        connect(path, 1).close()
    except BlockingIOError:  # somebody does, and has much to do
        pass
    except OSError:
        return
    raise OSError(errno.EADDRINUSE, os.strerror(errno.EADDRINUSE), str(path))


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
