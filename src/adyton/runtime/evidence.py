"""Evidence for the command: the agent asks the platform for it, over a channel that no other process can use.

The command proves to others what it is (an SMS to who is about to give it a secret), so it needs quotes over data of
its own. It does not get the agent's connection to the platform: two processes would read from one stream, and whoever
holds it can have seal keys, too. It gets one end of a socket pair of its own, which speaks the platform's protocol, so
that :class:`adyton.platform.client.EnclavePlatform` works in it as it would in an agent. The agent answers requests for
quotes, reports and the identity, and nothing else, and only when the kernel names that very process as the sender:
what it starts itself, or leaks the descriptor to, has the channel closed.
"""

from __future__ import annotations

import contextlib
import socket
import threading
from types import TracebackType
from typing import Final, Self

from adyton.base.errors import AdytonError
from adyton.platform import framing
from adyton.platform.client import error_message
from adyton.platform.framing import FramingError, Receiver, Sender
from adyton.platform.protocol import Platform, PlatformError
from adyton.platform.requests import answer_evidence

_JOIN_S: Final = 1.0


class EvidenceChannel:
    """Serves the evidence of this enclave to one process; used around starting and running it.

    Args:
        platform: what makes the evidence.
    """

    def __init__(self, platform: Platform) -> None:
        self._platform = platform
        self._ours, self._theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_STREAM)
        framing.ask_for_senders(self._ours)
        self._thread: threading.Thread | None = None

    @property
    def descriptor(self) -> int:
        """The process's end, to be passed on to it."""
        return self._theirs.fileno()

    def serve(self, pid: int) -> None:
        """Answer the process ``pid``, which has its end by now, in a thread until it ends."""
        self._theirs.close()
        self._thread = threading.Thread(target=self._loop, args=(pid,), name="evidence", daemon=True)
        self._thread.start()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, _kind: type[BaseException] | None, _error: BaseException | None, _trace: TracebackType | None
    ) -> None:
        self._theirs.close()
        if self._thread is None:
            self._ours.close()
            return
        with contextlib.suppress(OSError):  # it has closed already
            self._ours.shutdown(socket.SHUT_RDWR)  # wakes the thread, which closes
        self._thread.join(_JOIN_S)

    def _loop(self, pid: int) -> None:
        def require(sender: Sender) -> None:
            if sender.pid != pid:
                raise PlatformError("another process than the command asks", code="runtime.evidence.stranger")

        receiver = Receiver(self._ours, require)
        with self._ours:
            try:
                while (request := receiver.receive()) is not None:
                    framing.send(self._ours, self._answer(request))
            except (FramingError, PlatformError):
                return  # no more evidence: fail closed

    def _answer(self, request: dict[str, object]) -> dict[str, object]:
        try:
            return answer_evidence(self._platform, request)
        except AdytonError as error:
            return error_message(error)
