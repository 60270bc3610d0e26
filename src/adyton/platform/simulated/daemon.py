"""The simulated platform's daemon: it alone holds the fused secrets, measures what it starts, and gives evidence.

One connection is one request. Messages from a host program (``platform/framing.py``):

``{"op": "info"}`` → ``{"info": {...}}``.

``{"op": "prepare", "layout"}`` → ``{"prepared": {mrenclave}}``: the image is unpacked, verified and measured once, so
that its first launch has less to do. It is a hint: a launch measures again and decides alone.

``{"op": "launch", ...}`` with the descriptors of standard output and error → ``{"started": {mrenclave, mrsigner,
debug}}``, and at the end ``{"exit": {code, signal, timed_out}}``. Meanwhile ``{"op": "signal", "number": n}`` and
``{"op": "kill"}`` are taken; a closed connection ends the enclave. A refusal is ``{"error": {code, message, hint}}``.

A message has 30 seconds to arrive, and a running enclave's caller 5 for each; more requests than can be attended to are
refused at once with ``platform.busy``.

Order of a launch: (1) the caller is this user; (2) the image is unpacked and its blobs verified, once; (3) every file
is hashed and held against the manifest, at every launch; (4) the manifest allows what the host passes; (5) EINIT
judges SIGSTRUCT against the measurement made here; (6) the process starts, tied to that identity.
"""

from __future__ import annotations

import contextlib
import os
import select
import signal
import socket
import threading
import time
from dataclasses import asdict
from pathlib import Path
from typing import Any, Final, Protocol

from adyton.attestation.formats.sgx import Attributes
from adyton.base.errors import AdytonError
from adyton.base.log import get_logger, short_hash
from adyton.platform import framing
from adyton.platform.client import PlatformInfo, error_message
from adyton.platform.framing import FramingError, Receiver
from adyton.platform.protocol import Platform, PlatformError
from adyton.platform.simulated import request as requests
from adyton.platform.simulated.instance import running
from adyton.platform.simulated.store import ImageStore
from adyton.runner.profile import Runner, RunningProcess

_log = get_logger("platform.daemon")
_REQUEST_TIMEOUT_S: Final = 30.0
_ORDER_TIMEOUT_S: Final = 5.0  # for a message to a running enclave, whose time limit waits meanwhile
_MOST_WAIT_MS: Final = 3_600_000  # poll(2) takes an int
_REQUESTS: Final = 64  # attended to at one time, beside the running enclaves
_ACCEPT_PAUSE_S: Final = 0.1
_DESCRIPTORS: Final = 4  # as many as a mistaken caller may send and still be told so
_SIGNALS: Final = frozenset({signal.SIGTERM, signal.SIGINT, signal.SIGHUP, signal.SIGUSR1, signal.SIGUSR2})


class Machine(Protocol):
    """The CPU as the daemon needs it."""

    def initialise(self, mrenclave: bytes, sigstruct: bytes, attributes: Attributes) -> Platform:
        """EINIT.

        Raises:
            SgxError: with the CPU's code.
        """

    def info(self) -> PlatformInfo:
        """What this machine is."""


class PlatformDaemon:
    """Serves host programs on a Unix socket.

    Args:
        machine: the CPU.
        store: unpacked images.
        runner: who confines enclaves.
        max_enclaves: how many may run at one time.
    """

    def __init__(self, machine: Machine, store: ImageStore, runner: Runner, *, max_enclaves: int = 64) -> None:
        self._machine = machine
        self._store = store
        self._runner = runner
        self._slots = threading.BoundedSemaphore(max_enclaves)
        self._requests = threading.BoundedSemaphore(max_enclaves + _REQUESTS)
        self._stop_read, self._stop_write = os.pipe()
        self._stopping = threading.Event()
        self._handlers: set[threading.Thread] = set()

    def serve(self, socket_path: Path) -> None:
        """Accept requests until :meth:`stop`; then end every enclave and return.

        Raises:
            PlatformError: ``platform.socket``: the socket's place cannot be used, or another daemon answers there.
        """
        with _listen(socket_path) as server:
            poller = select.poll()
            poller.register(server, select.POLLIN)
            poller.register(self._stop_read, select.POLLIN)
            while not self._stopping.is_set():
                if any(descriptor == server.fileno() for descriptor, _events in poller.poll()):
                    self._accept(server)
            socket_path.unlink(missing_ok=True)
        deadline = time.monotonic() + _REQUEST_TIMEOUT_S
        for handler in self._handlers:  # a tracer may keep a dead enclave in the process table for ever
            handler.join(max(0.0, deadline - time.monotonic()))

    def _accept(self, server: socket.socket) -> None:
        try:
            connection, _address = server.accept()
        except OSError as error:  # no descriptors are left, or the caller went away
            _log.warning("cannot take a request", detail=error.strerror)
            time.sleep(_ACCEPT_PAUSE_S)
            return
        if not self._requests.acquire(blocking=False):
            _refuse(connection, PlatformError("too many requests at one time", code="platform.busy"))
            return
        handler = threading.Thread(target=self._handle, args=(connection,), name="platform-request", daemon=True)
        try:
            handler.start()
        except RuntimeError:  # the system gives no more threads
            self._requests.release()
            _refuse(connection, PlatformError("this machine has no thread left", code="platform.busy"))
            return
        self._handlers = {thread for thread in self._handlers if thread.is_alive()} | {handler}

    def stop(self) -> None:
        """End :meth:`serve`; may be called from a signal handler."""
        self._stopping.set()
        os.write(self._stop_write, b"\0")

    def _handle(self, connection: socket.socket) -> None:
        receiver = Receiver(connection, max_descriptors=_DESCRIPTORS)
        try:
            self._dispatch(connection, receiver)
        except AdytonError as error:
            _log.warning("request refused", code=error.code, detail=error.message)
            _refuse(connection, error)
        except Exception as error:  # noqa: BLE001  # the border of the daemon: one request must not end it
            _log.error("request failed", kind=type(error).__name__, detail=str(error))
            _refuse(connection, PlatformError(f"the platform failed: {type(error).__name__}", code="platform.internal"))
        finally:
            connection.close()
            receiver.close_descriptors()
            self._requests.release()

    def _dispatch(self, connection: socket.socket, receiver: Receiver) -> None:
        if framing.peer_uid(connection) != os.geteuid():  # (1)
            raise PlatformError("this platform serves another user", code="platform.peer")
        connection.settimeout(_REQUEST_TIMEOUT_S)
        message = receiver.receive(_REQUEST_TIMEOUT_S)
        if message is None:
            return
        if message == {"op": "info"}:
            framing.send(connection, {"info": asdict(self._machine.info())})
        elif message.get("op") == "prepare":
            loaded = self._store.load(Path(requests.parse_prepare(message).layout))
            framing.send(connection, {"prepared": {"mrenclave": loaded.mrenclave.hex()}})
        elif not self._slots.acquire(blocking=False):
            raise PlatformError("no more enclaves fit on this machine", code="platform.launch.busy")
        else:
            try:
                self._launch(connection, receiver, message)
            finally:
                self._slots.release()

    def _launch(self, connection: socket.socket, receiver: Receiver, message: dict[str, Any]) -> None:
        request = requests.parse(message)
        output = receiver.take_descriptors()
        try:
            if len(output) != 2:
                raise requests.RequestError("a launch comes with two descriptors: standard output and error")
            loaded = self._store.load(Path(request.layout))  # (2), (3)
            grant = requests.judge(request, loaded.manifest)  # (4)
            enclave = self._machine.initialise(loaded.mrenclave, loaded.sigstruct, loaded.attributes)  # (5)
            with running(loaded, enclave, grant, self._runner, (output[0], output[1])) as process:  # (6)
                while output:
                    os.close(output.pop())  # the enclave has its own now; readers must see the end when it ends
                mrenclave = loaded.mrenclave.hex()
                log = _log.bind(enclave=loaded.manifest.name, mrenclave=mrenclave, session=short_hash(grant.config_id))
                log.info("enclave started", pid=process.pid, debug=loaded.manifest.debug)
                mrsigner = enclave.identity().mrsigner.hex()
                started = {"mrenclave": mrenclave, "mrsigner": mrsigner, "debug": loaded.manifest.debug}
                framing.send(connection, {"started": started})
                self._attend(connection, receiver, process, grant.limits.timeout_s)
                status = process.wait()
                log.info("enclave ended", code=status.code, timed_out=status.timed_out)
        finally:
            for descriptor in output:
                os.close(descriptor)
        with contextlib.suppress(FramingError):
            framing.send(connection, {"exit": asdict(status)})

    def _attend(
        self, connection: socket.socket, receiver: Receiver, process: RunningProcess, timeout_s: float | None
    ) -> None:
        """Take the caller's messages until the enclave ends, its time is over, the caller goes, or the daemon stops."""
        deadline = None if timeout_s is None else time.monotonic() + timeout_s
        poller = select.poll()
        for descriptor in (connection.fileno(), process.pidfd, self._stop_read):
            poller.register(descriptor, select.POLLIN)
        while True:
            remaining_ms = _MOST_WAIT_MS if deadline is None else max(0.0, deadline - time.monotonic()) * 1000
            ready = {descriptor for descriptor, _events in poller.poll(min(remaining_ms, _MOST_WAIT_MS))}
            if process.pidfd in ready or (deadline is not None and time.monotonic() >= deadline):
                return
            if self._stop_read in ready:
                process.kill()
                return
            if connection.fileno() in ready and not _obey(receiver.receive(_ORDER_TIMEOUT_S), process):
                return


def _obey(message: dict[str, Any] | None, process: RunningProcess) -> bool:
    """Do what the caller of a running enclave says; False: it has been told to end."""
    if message is None or message == {"op": "kill"}:
        process.kill()
        return False
    number = message.get("number")
    if message.get("op") != "signal" or type(number) is not int or number not in _SIGNALS:
        raise requests.RequestError("a running enclave takes only signal and kill")
    process.signal(number)
    return True


def _refuse(connection: socket.socket, error: AdytonError) -> None:
    """Tell the caller why, if it still listens, and never wait for it."""
    with contextlib.suppress(FramingError, OSError), connection:
        connection.settimeout(_ORDER_TIMEOUT_S)
        framing.send(connection, error_message(error))


def _listen(path: Path) -> socket.socket:
    try:
        return framing.listen(path)
    except OSError as error:
        raise PlatformError(
            f"the platform cannot listen on {path}: {error.strerror}",
            code="platform.socket",
            hint="stop the daemon that answers there, or name another place with the setting socket",
        ) from error
