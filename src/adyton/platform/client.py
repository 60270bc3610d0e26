"""Typed calls to a platform: :class:`EnclavePlatform` from inside an enclave, :class:`PlatformClient` from the host.

Light on purpose: every enclave's agent imports this.
"""

from __future__ import annotations

import os
import select
import socket
import threading
import time
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from types import MappingProxyType
from typing import Any, Final, Self

from adyton.attestation.formats.sgx import KeyRequest, ReportBody, TargetInfo
from adyton.base.errors import AdytonError, UnavailableError
from adyton.base.secret import Secret
from adyton.platform import framing
from adyton.platform.framing import FramingError, Receiver
from adyton.platform.protocol import PlatformError, SgxError
from adyton.runner.profile import ExitStatus, Limits

PLATFORM_FD: Final = "ADYTON_PLATFORM_FD"
_LAUNCH_TIMEOUT_S: Final = 300.0  # a first launch unpacks the image
_KILL_TIMEOUT_S: Final = 15.0


class LaunchRefusedError(PlatformError):
    """The platform does not start this enclave; ``code`` says which rule it breaks."""

    code = "platform.launch.refused"


@dataclass(frozen=True, slots=True)
class Startup:
    """What the host passed to this enclave, as far as the manifest allows: none of it is to be trusted.

    Attributes:
        environment: variables.
        config_id: ``session/service``, or empty.
        args: arguments.
        volumes: names of the protected volumes whose encrypted file the host keeps.
    """

    environment: Mapping[str, str]
    config_id: str
    args: tuple[str, ...]
    volumes: frozenset[str]


class EnclavePlatform:
    """The :class:`adyton.platform.protocol.Platform` of the enclave this process belongs to.

    Args:
        connection: the descriptor that the platform gave to this enclave when it started it.
    """

    def __init__(self, connection: socket.socket) -> None:
        self._connection = connection
        self._receiver = Receiver(connection)
        self._lock = threading.Lock()

    @classmethod
    def from_environment(cls, environment: Mapping[str, str] = os.environ) -> EnclavePlatform:
        """Use the descriptor that ``ADYTON_PLATFORM_FD`` names, and keep it from programs started later.

        Raises:
            PlatformError: this process was not started as an enclave.
        """
        text = environment.get(PLATFORM_FD, "")
        hint = "start this program through a platform daemon (adyton.platform.client.PlatformClient.launch)"
        if not text.isdecimal():
            raise PlatformError("this process is not in an enclave", code="platform.absent", hint=hint)
        try:
            connection = socket.socket(fileno=int(text))
        except OSError as error:
            raise PlatformError(f"{PLATFORM_FD}={text} is not a socket", code="platform.absent", hint=hint) from error
        connection.set_inheritable(False)
        return cls(connection)

    def report(self, target_info: TargetInfo, report_data: bytes) -> bytes:
        """See :class:`adyton.platform.protocol.Platform`."""
        request = {"op": "report", "target_info": target_info.to_bytes().hex(), "report_data": report_data.hex()}
        return self._call(request)

    def quote(self, report_data: bytes) -> bytes:
        """See :class:`adyton.platform.protocol.Platform`."""
        return self._call({"op": "quote", "report_data": report_data.hex()})

    def seal_key(self, request: KeyRequest) -> Secret[bytes]:
        """See :class:`adyton.platform.protocol.Platform`."""
        return Secret(self._call({"op": "seal_key", "request": request.to_bytes().hex()}))

    def identity(self) -> ReportBody:
        """See :class:`adyton.platform.protocol.Platform`."""
        return ReportBody.parse(self._call({"op": "identity"}))

    def startup(self) -> Startup:
        """What the host passed in.

        Raises:
            PlatformError: the platform cannot be reached.
        """
        given = self._ask({"op": "startup"})["startup"]
        return Startup(
            dict(given["environment"]), str(given["config_id"]), tuple(given["args"]), frozenset(given["volumes"])
        )

    def hand_on(self) -> int:
        """Let programs that this process starts or becomes use the descriptor; return its number."""
        self._connection.set_inheritable(True)
        return self._connection.fileno()

    def _call(self, request: dict[str, str]) -> bytes:
        answer = self._ask(request)
        try:
            return bytes.fromhex(answer["value"])
        except (KeyError, TypeError, ValueError) as error:
            raise FramingError("the platform's answer has no value") from error

    def _ask(self, request: dict[str, str]) -> Mapping[str, Any]:
        with self._lock:
            framing.send(self._connection, request)
            return _answer(self._receiver.receive(), PlatformError)


@dataclass(frozen=True, slots=True, kw_only=True)
class LaunchRequest:
    """What to start, and what of the host to let in.

    Attributes:
        layout: OCI layout folder or archive with an enclave image.
        environment: variables from the host: names the manifest allows, and ``SCONE_CONFIG_ID``.
        volumes: protected volume name to the host folder that keeps its encrypted file.
        host_paths: path inside to host folder or file; only paths the manifest allows.
        args: appended to the manifest's command; only for enclaves that are not configured by a CAS.
        cas_address: ``host:port`` of the CAS's attested endpoint; ``SCONE_CAS_ADDR`` where empty.
        limits: what the enclave may use.
    """

    layout: Path
    environment: Mapping[str, str] = field(default_factory=lambda: MappingProxyType({}))
    volumes: Mapping[str, Path] = field(default_factory=lambda: MappingProxyType({}))
    host_paths: Mapping[str, Path] = field(default_factory=lambda: MappingProxyType({}))
    args: tuple[str, ...] = ()
    cas_address: str = ""
    limits: Limits = field(default_factory=Limits)

    def to_message(self) -> dict[str, Any]:
        """The request as it goes to the daemon."""
        return {
            "op": "launch",
            "layout": str(self.layout.absolute()),
            "environment": dict(self.environment),
            "volumes": {name: str(path.absolute()) for name, path in self.volumes.items()},
            "host_paths": {name: str(path.absolute()) for name, path in self.host_paths.items()},
            "args": list(self.args),
            "cas_address": self.cas_address,
            "limits": asdict(self.limits),
        }


@dataclass(frozen=True, slots=True)
class PlatformInfo:
    """What a platform is: trust tier, FMSPC (hex), SHA-256 of its root certificate (hex), URL of its collateral."""

    tier: str
    fmspc: str
    root_sha256: str
    pccs_url: str


class LaunchedEnclave:
    """A running enclave; it ends when this object's connection is closed.

    Attributes:
        mrenclave: lowercase hex, as the platform measured it.
        mrsigner: lowercase hex.
        debug: whether it runs as a debug enclave.
    """

    def __init__(self, connection: socket.socket, receiver: Receiver, started: Mapping[str, Any]) -> None:
        self._connection = connection
        self._receiver = receiver
        self._lock = threading.Lock()
        self._status: ExitStatus | None = None
        self.mrenclave = str(started["mrenclave"])
        self.mrsigner = str(started["mrsigner"])
        self.debug = bool(started["debug"])

    def wait(self, timeout_s: float | None = None) -> ExitStatus:
        """Wait for the end; when ``timeout_s`` passes first, end the enclave and say so.

        Raises:
            UnavailableError: the platform died; with it died the enclave.
        """
        deadline = None if timeout_s is None else time.monotonic() + timeout_s
        with self._lock:
            if self._status is None and not self._readable(deadline):
                self.kill()
                if not self._readable(time.monotonic() + _KILL_TIMEOUT_S):
                    raise UnavailableError("the platform does not end the enclave", code="platform.gone")
                ended = self._end()
                self._status = ExitStatus(ended.code, timed_out=True, signal=ended.signal)
            elif self._status is None:
                self._status = self._end()
            return self._status

    def poll(self) -> ExitStatus | None:
        """The exit status if the enclave has ended."""
        return self.wait() if self._status is not None or self._readable(time.monotonic()) else None

    def signal(self, number: int) -> None:
        """Send a signal to the program inside, for example SIGTERM to let it finish in order."""
        self._tell({"op": "signal", "number": number})

    def kill(self) -> None:
        """End the enclave at once; :meth:`wait` then returns."""
        self._tell({"op": "kill"})

    def close(self) -> None:
        """Let go of the connection, which ends the enclave if it still runs."""
        self._connection.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_error: object) -> None:
        self.close()

    def _tell(self, message: dict[str, Any]) -> None:
        try:
            framing.send(self._connection, message)
        except FramingError:
            if self._status is None and not self._readable(time.monotonic()):
                raise

    def _readable(self, deadline: float | None) -> bool:
        poller = select.poll()
        poller.register(self._connection, select.POLLIN)
        return bool(poller.poll(None if deadline is None else max(0.0, deadline - time.monotonic()) * 1000))

    def _end(self) -> ExitStatus:
        answer = self._receiver.receive()
        if answer is None or "exit" not in answer:
            raise UnavailableError("the platform ended while the enclave ran", code="platform.gone")
        ended = answer["exit"]
        return ExitStatus(int(ended["code"]), bool(ended["timed_out"]), ended["signal"])


class PlatformClient:
    """Calls to the platform daemon of this host.

    Args:
        socket_path: the daemon's Unix socket.
    """

    def __init__(self, socket_path: Path) -> None:
        self._socket_path = socket_path

    def launch(self, request: LaunchRequest, stdout: int, stderr: int) -> LaunchedEnclave:
        """Start an enclave with the given descriptors as its standard output and error.

        Raises:
            LaunchRefusedError: the platform refuses; the code says why (``platform.launch.*``, ``platform.einit.*``,
                ``enclave.*``, ``content.*``, ``runner.*``).
            UnavailableError: no daemon.
        """
        connection = self._connect()
        try:
            receiver = Receiver(connection)
            message = request.to_message()
            started = _exchange(connection, receiver, message, LaunchRefusedError, (stdout, stderr))["started"]
            connection.settimeout(None)
            return LaunchedEnclave(connection, receiver, started)
        except BaseException:
            connection.close()
            raise

    def prepare(self, layout: Path) -> str:
        """Have an image unpacked and measured now, so that launching it later takes less time; returns its MRENCLAVE.

        Raises:
            LaunchRefusedError: no launch of this image would be accepted; the code says why.
            UnavailableError: no daemon.
        """
        with self._connect() as connection:
            message = {"op": "prepare", "layout": str(layout.absolute())}
            answer = _exchange(connection, Receiver(connection), message, LaunchRefusedError)
            return str(answer["prepared"]["mrenclave"])

    def info(self) -> PlatformInfo:
        """What platform this is.

        Raises:
            UnavailableError: no daemon.
        """
        with self._connect() as connection:
            answer = _exchange(connection, Receiver(connection), {"op": "info"}, PlatformError)
            return PlatformInfo(**answer["info"])

    def _connect(self) -> socket.socket:
        try:
            return framing.connect(self._socket_path, _LAUNCH_TIMEOUT_S)
        except OSError as error:
            raise UnavailableError(
                f"no platform daemon listens on {self._socket_path}: {error.strerror}",
                code="platform.unavailable",
                hint="start one with: python -m adyton.platform.simulated.main --config FILE",
            ) from error


def _exchange(
    connection: socket.socket,
    receiver: Receiver,
    message: Mapping[str, Any],
    kind: type[AdytonError],
    descriptors: tuple[int, ...] = (),
) -> Mapping[str, Any]:
    """Send a request and take its answer; a daemon that refuses without listening has said why before it hung up."""
    try:
        framing.send(connection, message, descriptors)
    except FramingError as error:
        try:
            return _answer(receiver.receive(), kind)
        except (FramingError, UnavailableError):
            raise error from None
    return _answer(receiver.receive(), kind)


def _answer(answer: Mapping[str, Any] | None, kind: type[AdytonError]) -> Mapping[str, Any]:
    """The answer, or the error it carries as ``kind``."""
    if answer is None:
        raise UnavailableError("the platform is gone", code="platform.gone")
    error = answer.get("error")
    if error is None:
        return answer
    if not isinstance(error, dict):
        raise FramingError("the platform's answer cannot be understood")
    if "sgx_code" in error and kind is PlatformError:
        raise SgxError(str(error["instruction"]), int(error["sgx_code"]), str(error["detail"]))
    raise kind(str(error.get("message")), code=str(error.get("code")), hint=str(error.get("hint", "")))


def error_message(error: AdytonError) -> dict[str, Any]:
    """How an error travels; the daemon's side of :func:`_answer`."""
    body: dict[str, Any] = {"code": error.code, "message": error.message, "hint": error.hint}
    if isinstance(error, SgxError):
        body |= {"instruction": error.instruction, "sgx_code": error.sgx_code, "detail": error.detail}
    return {"error": body}
