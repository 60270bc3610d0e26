import os
import socket
from collections.abc import Iterator

import pytest

from adyton.devnet import ports
from adyton.devnet.network import Ports
from adyton.web.server import PortInUseError


@pytest.fixture
def taken() -> Iterator[int]:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        listener.listen()
        yield listener.getsockname()[1]


def test_a_taken_port_names_service_holder_and_remedy(taken: int) -> None:
    chosen = ports.private_ports().model_dump() | {"sms_debug": taken}
    with pytest.raises(PortInUseError) as caught:
        ports.require_free(Ports(**chosen))
    assert f"port {taken}" in caught.value.message
    assert "sms-debug" in caught.value.message
    assert f"process {os.getpid()}" in caught.value.message
    assert "--port sms-debug=" in caught.value.hint


def test_private_ports_are_free_and_differ() -> None:
    found = ports.private_ports()
    ports.require_free(found)
    assert len(set(found.model_dump().values())) == len(found.model_dump())
    assert found != ports.private_ports()
