"""What one running enclave may ask of the platform, over the descriptor it was started with.

Identity is the descriptor *and* the sender: every piece of a message carries its sender from the kernel
(SCM_CREDENTIALS, SCM_PIDFD), who must be a process of this enclave. A descriptor that leaks to another process of the
host is worth nothing there.
"""

from __future__ import annotations

import socket
from collections.abc import Callable, Mapping
from typing import Any

from adyton.attestation.formats.sgx import KeyRequest
from adyton.base.errors import AdytonError
from adyton.base.log import get_logger
from adyton.platform import framing
from adyton.platform.client import error_message
from adyton.platform.framing import FramingError, Receiver
from adyton.platform.protocol import Platform
from adyton.platform.requests import answer_evidence, read_hex
from adyton.platform.simulated.membership import Enclosure, StrangerError, TracedError

_log = get_logger("platform.channel")


def serve(
    connection: socket.socket,
    enclave: Platform,
    startup: Mapping[str, Any],
    enclosure: Enclosure,
    end_enclave: Callable[[], None],
) -> None:
    """Answer until the enclave closes its end; a stranger or a malformed message ends the service.

    Args:
        connection: the platform's end.
        enclave: who asks.
        startup: answer to ``startup``: what the host passed and the manifest allows.
        enclosure: who belongs to it.
        end_enclave: called where the enclave is traced and must not be.
    """
    receiver = Receiver(connection, enclosure.require)
    with connection:
        try:
            while (request := receiver.receive()) is not None:
                enclosure.require_untraced()
                framing.send(connection, _answer(enclave, startup, request))
        except TracedError as error:
            _log.warning("enclave ended: it is traced", code=error.code, detail=error.message)
            end_enclave()
        except (FramingError, StrangerError) as error:
            _log.warning("enclave channel closed", code=error.code, detail=error.message)


def _answer(enclave: Platform, startup: Mapping[str, Any], request: Mapping[str, Any]) -> dict[str, Any]:
    try:
        match request:
            case {"op": "startup", **rest} if not rest:
                return {"startup": dict(startup)}
            case {"op": "seal_key", "request": str(key), **rest} if not rest:
                return {"value": enclave.seal_key(KeyRequest.parse(read_hex(key))).reveal().hex()}
        return answer_evidence(enclave, request)
    except AdytonError as error:
        _log.info("request refused", code=error.code, detail=error.message)
        return error_message(error)
