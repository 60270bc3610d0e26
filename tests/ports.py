"""Ports for programs that tests start and that must be told a port before they listen on it."""

from __future__ import annotations

import itertools
import os
import random
import socket

_RANGE = range(14_000, 18_000)  # below the ports that the system hands out, so nobody else gets one meanwhile
_SHARE = 500  # for each of the processes that run tests at the same time
_WORKER = int(os.environ.get("PYTEST_XDIST_WORKER", "gw0").removeprefix("gw"))
_START = random.SystemRandom().randrange(_SHARE)  # another run on this machine starts somewhere else
_numbers = itertools.count()


def free_port() -> int:
    """A TCP port of the loopback address that nobody listens on, and that no other call gives for a long time.

    A port that the system picks (bind to 0, look, close) may be somebody else's before the program has started.
    """
    first = _RANGE.start + _WORKER * _SHARE % len(_RANGE)
    for _try in range(_SHARE):
        port = first + (_START + next(_numbers)) % _SHARE
        with socket.socket() as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            try:
                probe.bind(("127.0.0.1", port))
            except OSError:
                continue
        return port
    raise AssertionError(f"no port from {first} on is free")
