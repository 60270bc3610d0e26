"""``ratls.mutual``: handshakes per second of RA-TLS in which both ends attest each other.

One handshake is a TCP connection and a full TLS 1.3 handshake (sessions are not resumed) in which each end shows a
certificate with a fresh quote over the other's nonce and verifies the other's: claims, quote signatures, collateral,
policy; the client's nonce is used up at the server. The simulated platform quotes in the process that needs the quote.
"""

from __future__ import annotations

import gc
import multiprocessing
import os
import socket
import statistics
import time
from collections.abc import Callable
from dataclasses import dataclass
from datetime import date
from multiprocessing.connection import Connection
from typing import Final

from bench.row import Row
from cryptography.hazmat.primitives.asymmetric import ec

from adyton.attestation.collateral.documents import Collateral
from adyton.attestation.dcap.verify import Verifier
from adyton.attestation.evidence import VerifiedEvidence
from adyton.attestation.formats.sgx import Attributes, Flag
from adyton.attestation.policy import QuotePolicy
from adyton.attestation.ratls.certificate import claimed_nonce, make_certificate
from adyton.attestation.ratls.handshake import AttestedClient, AttestedServer, Identity
from adyton.base.clock import utc_now
from adyton.base.errors import AdytonError
from adyton.base.secret import Secret
from adyton.cas.releasing.nonces import NONCE_BYTES, NonceBook
from adyton.enclave.sigstruct import new_signer, sign
from adyton.platform.simulated.cpu import FusedSecrets, SimulatedCpu
from adyton.platform.simulated.pki import SimulatedVendor
from adyton.platform.simulated.qe import LocalPlatform, QuotingEnclave

AIM: Final = 300.0
RUNS: Final = 3
SECONDS: Final = 4.0
SERVERS: Final = 2  # processes of one thread, each with a port and a nonce book: threads would wait for the interpreter
CLIENTS: Final = 2  # processes, one for each server
_CLIENT, _SERVER = b"\xc1" * 32, b"\x5e" * 32
_TO_SERVER, _TO_CLIENT = "bench-client", "bench-server"


class BenchError(AdytonError):
    """A measurement could not be made."""

    code = "bench.failed"


@dataclass(frozen=True, slots=True)
class World:
    """A vendor with one machine, and an enclave for each end."""

    vendor: SimulatedVendor
    client: LocalPlatform
    server: LocalPlatform

    @classmethod
    def create(cls) -> World:
        """Everything is real but the machine."""
        signer = new_signer()
        vendor = SimulatedVendor(Secret(os.urandom(32)), signer)
        cpu = SimulatedCpu(FusedSecrets.create())
        quoting = QuotingEnclave(cpu, vendor)
        platforms = []
        for measurement in (_CLIENT, _SERVER):
            sigstruct = sign(measurement, signer, debug=False, isvprodid=0, isvsvn=0, signed_on=date(2026, 1, 1))
            enclave = cpu.einit(measurement, sigstruct.to_bytes(), Attributes(Flag.MODE64BIT))
            platforms.append(LocalPlatform(cpu, quoting, enclave))
        return cls(vendor, *platforms)

    def fetch(self, *_platform: object) -> Collateral:
        """The world as a source of collateral; the same bytes each time, as from a cache."""
        return self.vendor.collateral(utc_now())

    def judge(self, measurement: bytes, purpose: str) -> Callable[[bytes, bytes], VerifiedEvidence]:
        """What verifies the certificate of one end, with the nonce that it must hold."""
        policy = QuotePolicy(anchors=(self.vendor.anchor,), mrenclaves=frozenset({measurement}))
        collateral = self.fetch()
        verifier = Verifier(_Fixed(collateral))

        def verify(der: bytes, nonce: bytes) -> VerifiedEvidence:
            return verifier.verify_certificate(der, purpose=purpose, nonce=nonce, policy=policy)

        return verify


@dataclass(frozen=True, slots=True)
class _Fixed:
    """Collateral that was fetched before."""

    collateral: Collateral

    def fetch(self, *_platform: object) -> Collateral:
        """The collateral, whichever platform asks."""
        return self.collateral


def measure() -> Row:
    """Run the two ends three times."""
    world = World.create()
    rates = [_run(world) for _ in range(RUNS)]
    value = statistics.median(rates)
    told = ", ".join(f"{each:.0f}" for each in rates)
    note = (
        "TCP and full TLS 1.3 handshakes, no resumption; both ends make a fresh quote over the other's nonce for every"
        " one and verify the other's certificate and quote with cached collateral, nonces used once; the client's key"
        f" is fresh, the server's is reused; {SERVERS} server and {CLIENTS} client processes"
        f" of one thread, {os.cpu_count()} cores, quotes by an in-process simulated platform; median of {told}"
    )
    return Row(
        "ratls.mutual", round(value, 1), "handshakes/s", f"{AIM:g} handshakes/s aim", round(value / AIM, 2), note
    )


def _run(world: World) -> float:
    context = multiprocessing.get_context("fork")
    listeners = [socket.create_server(("127.0.0.1", 0), backlog=64) for _ in range(SERVERS)]
    servers = [context.Process(target=_serve, args=(world, listener), daemon=True) for listener in listeners]
    ports = [int(listener.getsockname()[1]) for listener in listeners]
    ends = [context.Pipe() for _ in range(CLIENTS)]
    clients = [
        context.Process(target=_ask, args=(world, ports[number % SERVERS], theirs), daemon=True)
        for number, (_ours, theirs) in enumerate(ends)
    ]
    try:
        for process in (*servers, *clients):
            process.start()
        answers = [_result(ours) for ours, _theirs in ends]
    finally:
        for process in (*clients, *servers):
            process.terminate()
            process.join(5)
        for listener in listeners:
            listener.close()
    seconds = max(end for _begin, end, _count in answers) - min(begin for begin, _end, _count in answers)
    rate = sum(count for _begin, _end, count in answers) / seconds
    print(f"ratls.mutual: {rate:.0f} handshakes/s", flush=True)
    return rate


def _result(pipe: Connection) -> tuple[float, float, int]:
    if not pipe.poll(SECONDS + 30):
        raise BenchError("a client of the handshake measurement did not answer")
    begin, end, count = pipe.recv()
    return float(begin), float(end), int(count)


def _serve(world: World, listener: socket.socket) -> None:
    """Accept until terminated; the first bytes on every connection are the nonce for the client's next one."""
    gc.freeze()  # what the start made is not searched for garbage again and again
    book, key, judge = NonceBook(), ec.generate_private_key(ec.SECP256R1()), world.judge(_CLIENT, _TO_SERVER)

    def certify(nonce: bytes) -> bytes:
        return make_certificate(key, world.server, _TO_CLIENT, nonce)

    def judge_client(der: bytes) -> VerifiedEvidence:
        nonce = claimed_nonce(der)
        book.spend(nonce, utc_now())
        return judge(der, nonce)

    end = AttestedServer(key, certify, judge_client)

    while True:
        sock, _address = listener.accept()
        if sock.recv(1, socket.MSG_PEEK) == b"N":  # a client's first nonce, before it can have evidence
            sock.sendall(book.issue(utc_now()))
            sock.close()
            continue
        with end.accept(sock) as connection:
            connection.send(book.issue(utc_now()))


def _ask(world: World, port: int, answer: Connection) -> None:
    """Connect again and again for :data:`SECONDS`, after a second of warming up; report begin, end and count."""
    gc.freeze()
    client, judge = AttestedClient(), world.judge(_SERVER, _TO_CLIENT)
    with socket.create_connection(("127.0.0.1", port)) as sock:
        sock.sendall(b"N")
        nonce = sock.recv(NONCE_BYTES)

    def once(nonce: bytes) -> bytes:
        key, own = ec.generate_private_key(ec.SECP256R1()), os.urandom(NONCE_BYTES)
        identity = Identity(make_certificate(key, world.client, _TO_SERVER, nonce), key)
        sock = socket.create_connection(("127.0.0.1", port))
        with client.connect(sock, identity, own, lambda der: judge(der, own)) as connection:
            return connection.receive(NONCE_BYTES)

    warm = time.monotonic() + 1
    while time.monotonic() < warm:
        nonce = once(nonce)
    begin, count = time.monotonic(), 0
    while (now := time.monotonic()) < begin + SECONDS:
        nonce = once(nonce)
        count += 1
    answer.send((begin, now, count))
