"""Load from processes of their own: closed loops that send the next request when the answer is there.

Answers count whose request was sent after the warming up and which came before the end. What the generators themselves
use of the processors is reported with the result, for on a machine of few it is part of what is measured.
"""

from __future__ import annotations

import gc
import multiprocessing
import selectors
import socket
import statistics
import time
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from multiprocessing.connection import Connection
from typing import Final

from bench.processes import BenchError, Service

_GRACE_S: Final = 60
_CHUNK: Final = 65_536

Request = Callable[[int], bytes]
"""The whole HTTP message number n of one connection's loop; empty when there are no more."""


@dataclass(frozen=True, slots=True)
class Span:
    """When a measurement begins to count and when it ends, seconds of the monotonic clock of all processes."""

    begin: float
    end: float


@dataclass(slots=True)
class Tally:
    """What one generator did: all requests, when those that count were sent and answered, and what was no success."""

    total: int = 0
    answered: list[tuple[float, float]] = field(default_factory=list)
    refused: Counter[str] = field(default_factory=Counter)
    cpu_s: float = 0.0


Generator = Callable[[Span], Tally]


@dataclass(frozen=True, slots=True)
class Load:
    """The result of all generators together.

    Attributes:
        rate: answers per second.
        median_ms, high_ms: p50 and p99 of the time from sending to the whole answer.
        cpu_ms: by name, milliseconds of processor per request, of each party and of the ``load`` itself.
        cores: processors that all of them together kept busy.
    """

    rate: float
    median_ms: float
    high_ms: float
    cpu_ms: dict[str, float]
    cores: float

    def __str__(self) -> str:
        parties = ", ".join(f"{name} {value:.2f}" for name, value in self.cpu_ms.items())
        return (
            f"p50 {self.median_ms:.0f} ms, p99 {self.high_ms:.0f} ms; processor per request, ms: {parties};"
            f" {self.cores:.1f} cores busy"
        )


def drive(
    generators: Sequence[Generator], parties: dict[str, Sequence[Service]], *, seconds: float, warm_s: float = 1.0
) -> Load:
    """Run the generators side by side, each in a process of its own.

    Args:
        generators: each a closed loop.
        parties: whose processor time is counted, by the name it is reported under.
        seconds: that count.
        warm_s: before that.

    Raises:
        BenchError: a generator died, got no answer, or one that is no success.
    """
    context = multiprocessing.get_context("fork")
    begun = time.monotonic()
    span = Span(begun + warm_s, begun + warm_s + seconds)
    before = _used(parties)
    pipes = [context.Pipe(duplex=False) for _ in generators]
    processes = [
        context.Process(target=_generate, args=(generator, span, theirs), daemon=True)
        for generator, (_ours, theirs) in zip(generators, pipes, strict=True)
    ]
    for process in processes:
        process.start()
    try:
        tallies = [_received(ours, seconds + warm_s) for ours, _theirs in pipes]
        whole = time.monotonic() - begun
    finally:
        for process in processes:
            process.terminate()
            process.join(5)
    refused = sum((tally.refused for tally in tallies), Counter[str]())
    if refused:
        raise BenchError(f"the load was refused: {dict(refused.most_common(3))}")
    used = {name: after - before[name] for name, after in _used(parties).items()}
    used["load"] = sum(tally.cpu_s for tally in tallies)
    return _load(tallies, used, span, whole)


def http_loop(port: int, requests: Sequence[Request]) -> Generator:
    """A generator with one connection to a plain HTTP service for each of ``requests``."""

    def run(span: Span) -> Tally:
        return _HttpLoop(port, requests, span).run()

    return run


def call_loop(call: Callable[[int], None]) -> Generator:
    """A generator that calls a function, with 0, 1, 2 …; what it raises is an answer that is no success."""

    def run(span: Span) -> Tally:
        tally = Tally()
        while (sent := time.monotonic()) < span.end:
            call(tally.total)
            done = time.monotonic()
            tally.total += 1
            if sent >= span.begin and done <= span.end:
                tally.answered.append((sent, done))
        return tally

    return run


class _HttpLoop:
    """One thread, many connections; HTTP/1.1 with answers that have a length."""

    def __init__(self, port: int, requests: Sequence[Request], span: Span) -> None:
        self._requests, self._span = requests, span
        self._sockets = [socket.create_connection(("127.0.0.1", port)) for _ in requests]
        self._sent = [0.0] * len(requests)
        self._number = [0] * len(requests)
        self._buffers = [b""] * len(requests)
        self._tally = Tally()

    def run(self) -> Tally:
        with selectors.DefaultSelector() as selector:
            for place, sock in enumerate(self._sockets):
                selector.register(sock, selectors.EVENT_READ, place)
                self._send(place)
            open_loops = len(self._sockets)
            while open_loops:
                for key, _events in selector.select(timeout=_GRACE_S):
                    if self._read(key.data) and not self._send(key.data):
                        selector.unregister(key.fileobj)
                        open_loops -= 1
        for sock in self._sockets:
            sock.close()
        return self._tally

    def _send(self, place: int) -> bool:
        """Send the connection's next request; False after the end."""
        message = self._requests[place](self._number[place])
        self._sent[place] = time.monotonic()
        if self._sent[place] >= self._span.end or not message:
            return False
        self._number[place] += 1
        self._sockets[place].sendall(message)
        return True

    def _read(self, place: int) -> bool:
        """Take what came; True when the answer is whole."""
        data = self._sockets[place].recv(_CHUNK)
        if not data:
            raise BenchError("the service closed a connection")
        answer = self._buffers[place] + data
        head, separator, body = answer.partition(b"\r\n\r\n")
        if not separator or len(body) < _length(head):
            self._buffers[place] = answer
            return False
        self._buffers[place] = b""
        now, tally = time.monotonic(), self._tally
        tally.total += 1
        status = head[9:12]
        if not status.startswith(b"2"):
            tally.refused[(status + b" " + body[:200]).decode(errors="replace")] += 1
        elif self._sent[place] >= self._span.begin and now <= self._span.end:
            tally.answered.append((self._sent[place], now))
        return True


def _length(head: bytes) -> int:
    for line in head.split(b"\r\n"):
        name, _, value = line.partition(b":")
        if name.lower() == b"content-length":
            return int(value)
    return 0


def _generate(generator: Generator, span: Span, answer: Connection) -> None:
    gc.freeze()  # what the parent made is not searched for garbage
    before = time.process_time()
    try:
        tally = generator(span)
    except Exception as error:  # noqa: BLE001  # the parent reports it
        tally = Tally(refused=Counter({f"{type(error).__name__}: {error}": 1}))
    tally.cpu_s = time.process_time() - before
    answer.send(tally)


def _received(pipe: Connection, seconds: float) -> Tally:
    try:
        if pipe.poll(seconds + _GRACE_S):
            tally: Tally = pipe.recv()
            return tally
    except EOFError:
        pass
    raise BenchError("a load generator did not answer")


def _used(parties: dict[str, Sequence[Service]]) -> dict[str, float]:
    return {name: sum(service.cpu_s() for service in services) for name, services in parties.items()}


def _load(tallies: Sequence[Tally], used: dict[str, float], span: Span, whole: float) -> Load:
    answered = [times for tally in tallies for times in tally.answered]
    if len(answered) < 2:
        raise BenchError("nothing was answered in time")
    lasted = sorted(done - sent for sent, done in answered)
    total = sum(tally.total for tally in tallies)
    return Load(
        rate=len(answered) / (max(done for _sent, done in answered) - span.begin),
        median_ms=statistics.median(lasted) * 1e3,
        high_ms=lasted[min(len(lasted) - 1, len(lasted) * 99 // 100)] * 1e3,
        cpu_ms={name: spent / total * 1e3 for name, spent in used.items()},
        cores=sum(used.values()) / whole,
    )
