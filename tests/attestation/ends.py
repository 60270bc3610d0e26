"""Both ends of an attested connection over real sockets: what the tests of handshakes change one thing of."""

from __future__ import annotations

import contextlib
import secrets
import socket
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any, Final

import pytest
from cryptography.hazmat.primitives.asymmetric import ec
from tests.platform.world import World

from adyton.attestation.collateral.documents import Collateral
from adyton.attestation.errors import AttestationError
from adyton.attestation.evidence import VerifiedEvidence
from adyton.attestation.formats.report_data import CAS_CONFIG, CAS_SERVER
from adyton.attestation.policy import QuotePolicy
from adyton.attestation.ratls.certificate import claimed_nonce, make_certificate, verify_certificate
from adyton.attestation.ratls.handshake import AttestedClient, AttestedServer, HandshakeError, Identity
from adyton.base.errors import AdytonError
from adyton.cas.releasing.nonces import NonceBook

CLIENT: Final = b"\x0c" * 32
SERVER: Final = b"\x05" * 32


def new_key() -> ec.EllipticCurvePrivateKey:
    return ec.generate_private_key(ec.SECP256R1())


@dataclass
class Ends:
    """A server and what a client brings; a test changes one thing of it and connects."""

    world: World
    client_world: World
    book: NonceBook = field(default_factory=NonceBook)
    client: dict[str, Any] = field(default_factory=dict)  # options of the client's enclave
    server: dict[str, Any] = field(default_factory=dict)
    client_mrenclave: bytes = CLIENT
    server_mrenclave: bytes = SERVER
    audit: list[str] = field(default_factory=list)  # what the server's judge refused, as a service records it
    seen: list[str] = field(default_factory=list)  # what the client's judge refused
    judged: int = 0
    outcome: str = ""
    server_nodelay: int = 0

    def __post_init__(self) -> None:
        self.client_policy = self.world.policy(CLIENT)
        self.server_policy = self.world.policy(SERVER)
        self.key = new_key()
        self.server_nonce: Callable[[bytes], bytes] = lambda nonce: nonce
        self.server_key = new_key()
        self.show = self.certify
        self.accepting = AttestedServer(self.server_key, self._show, self.judge_client)

    def _show(self, nonce: bytes) -> bytes:
        return self.show(nonce)

    def nonce(self) -> bytes:
        return self.book.issue(self.world.now)

    def evidence(self, nonce: bytes, key: ec.EllipticCurvePrivateKey | None = None, purpose: str = CAS_CONFIG) -> bytes:
        platform = self.client_world.platform(self.client_mrenclave, **self.client)
        return make_certificate(key or self.key, platform, purpose, nonce, now=self.world.now)

    def certify(self, nonce: bytes) -> bytes:
        platform = self.world.platform(self.server_mrenclave, **self.server)
        return make_certificate(self.server_key, platform, CAS_SERVER, self.server_nonce(nonce), now=self.world.now)

    def judge_client(self, der: bytes) -> VerifiedEvidence:
        """As a service does it: the nonce is used up by being presented, refusals are recorded."""
        self.judged += 1
        try:
            nonce = claimed_nonce(der)
            if nonce:
                self.book.spend(nonce, self.world.now)
            return self.verify(der, CAS_CONFIG, nonce, self.client_policy, self.client_world.collateral())
        except AdytonError as error:
            self.audit.append(error.code)
            raise

    def judge_server(self, nonce: bytes) -> Callable[[bytes], VerifiedEvidence]:
        def judge(der: bytes) -> VerifiedEvidence:
            try:
                return self.verify(der, CAS_SERVER, nonce, self.server_policy, self.world.collateral())
            except AdytonError as error:
                self.seen.append(error.code)
                raise

        return judge

    def verify(
        self, der: bytes, purpose: str, nonce: bytes, policy: QuotePolicy, collateral: Collateral
    ) -> VerifiedEvidence:
        return verify_certificate(
            der, purpose=purpose, nonce=nonce, collateral=collateral, policy=policy, now=self.world.now
        )

    @contextlib.contextmanager
    def listening(self) -> Iterator[int]:
        """The server, for one connection; it answers with what it took the client for."""
        with socket.create_server(("127.0.0.1", 0)) as listener:
            listener.settimeout(10)
            thread = threading.Thread(target=self._serve, args=(listener,))
            thread.start()
            try:
                yield int(listener.getsockname()[1])
            finally:
                thread.join(10)

    def _serve(self, listener: socket.socket) -> None:
        sock, _address = listener.accept()
        try:
            with self.accepting.accept(sock) as connection:
                self.server_nodelay = sock.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY)
                connection.send(b"welcome")
                self.outcome = "served"
        except AdytonError as error:
            self.outcome = error.code

    def connect(self, identity: Identity | None = None) -> bytes:
        """What the client gets from the server, or what it raises."""
        identity = identity or Identity(self.evidence(self.nonce()), self.key)
        nonce = secrets.token_bytes(32)
        with self.listening() as port:
            sock = socket.create_connection(("127.0.0.1", port), 10)
            with AttestedClient().connect(sock, identity, nonce, self.judge_server(nonce)) as connection:
                assert sock.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY)
                return connection.receive()

    def refused(self, identity: Identity | None = None) -> str:
        """The code in the server's audit log of a client that got nothing but an alert."""
        with pytest.raises(HandshakeError) as caught:
            self.connect(identity)
        assert caught.value.code == "attestation.handshake.refused"
        assert not self.seen
        (code,) = self.audit
        assert self.outcome == code
        assert code not in caught.value.message
        return code

    def refuses(self) -> str:
        """The code with which the client refused the server, which got nothing but an alert."""
        with pytest.raises(AttestationError) as caught:
            self.connect()
        assert self.outcome == "attestation.handshake.refused"
        assert self.seen == [caught.value.code]
        return caught.value.code
