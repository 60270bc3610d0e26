"""TLS for uvicorn that takes any client certificate and tells the application which one it was.

Python's ``ssl`` refuses a client certificate whose issuer it does not know, so neither self-signed keys of session
owners nor RA-TLS certificates (evidence inside a self-signed certificate) get through it. Here OpenSSL runs on memory
buffers in front of one of uvicorn's own HTTP protocols. TLS 1.3 only: its CertificateVerify proves that the client
holds the key; nothing else about the certificate is judged here. Each request finds the DER in
``scope["extensions"]["tls"]["client_cert"]`` (None without a certificate).

Session resumption is off, since a resumed connection would skip the proof. OpenSSL's session tickets cannot be turned
off by number from here: with ``OP_NO_TICKET`` the two that TLS 1.3 sends name sessions of a cache that is off, so they
open nothing.
"""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Callable, Iterable
from typing import Any, Final, cast

from cryptography.hazmat.primitives.asymmetric.ec import EllipticCurvePrivateKey
from cryptography.x509 import Certificate
from OpenSSL import SSL, crypto
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

HANDSHAKE_TIMEOUT_S: Final = 10.0
REQUEST_TIMEOUT_S: Final = 30.0  # from the handshake, or the last answer, to the last byte of the next request
MAX_HANDSHAKE_BYTES: Final = 128 << 10  # a chain with a quote inside is below 10 kB
_CHUNK: Final = 64 << 10

Context = SSL.Context


def server_context(
    certificate: Certificate, key: EllipticCurvePrivateKey, intermediates: Iterable[Certificate] = ()
) -> Context:
    """A server context that shows ``certificate`` and asks for, but does not require, a client's.

    Args:
        certificate: over ``key``.
        key: its key.
        intermediates: shown behind the certificate: what leads from its issuer to roots that clients keep.
    """
    context = strict_context(SSL.TLS_SERVER_METHOD)
    context.use_certificate(certificate)
    for intermediate in intermediates:
        context.add_extra_chain_cert(intermediate)
    context.use_privatekey(key)
    context.check_privatekey()
    context.set_verify(SSL.VERIFY_PEER, _any_certificate)
    return context


def strict_context(method: int) -> Context:
    """A context of TLS 1.3 only, without session resumption, compression or renegotiation."""
    context = SSL.Context(method)
    context.set_min_proto_version(SSL.TLS1_3_VERSION)
    context.set_session_cache_mode(SSL.SESS_CACHE_OFF)
    context.set_options(SSL.OP_NO_TICKET | SSL.OP_NO_COMPRESSION | SSL.OP_NO_RENEGOTIATION)
    return context


def tls_protocol(
    context: Callable[[], Context], http: type[asyncio.Protocol] = HttpToolsProtocol
) -> Callable[..., asyncio.Protocol]:
    """What to give ``uvicorn.Config`` as ``http`` (with ``ws="none"``).

    Args:
        context: called for every connection, so that a renewed certificate is taken up.
        http: uvicorn's ``HttpToolsProtocol`` or ``H11Protocol``.
    """

    def create(**options: Any) -> asyncio.Protocol:  # noqa: ANN401  # uvicorn's own
        return _TlsProtocol(http(**options), context())

    return create


def client_certificate(scope: dict[str, Any]) -> bytes | None:
    """The DER of the certificate that the client of a request proved, or None."""
    certificate: bytes | None = scope.get("extensions", {}).get("tls", {}).get("client_cert")
    return certificate


def _any_certificate(
    _connection: SSL.Connection, _certificate: crypto.X509, _error: int, _depth: int, _ok: int
) -> bool:
    return True


class _TlsProtocol(asyncio.Protocol):
    """Decrypts for, and encrypts from, an HTTP protocol that believes it is on a plain transport."""

    def __init__(self, inner: Any, context: Context) -> None:  # noqa: ANN401  # either of uvicorn's protocols
        self._inner = inner
        self._context = context
        self._tls = SSL.Connection(context, None)
        self._tls.set_accept_state()
        self._transport: asyncio.Transport | None = None
        self._timer: asyncio.TimerHandle | None = None
        self._established = False
        self._received = 0

    # asyncio's side

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast("asyncio.Transport", transport)  # uvloop's are no subclass
        sock = transport.get_extra_info("socket")
        if sock is not None and sock.family in (socket.AF_INET, socket.AF_INET6):
            sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self._wait(HANDSHAKE_TIMEOUT_S)

    def data_received(self, data: bytes) -> None:
        self._tls.bio_write(data)
        try:
            if not self._established and not self._handshake(len(data)):
                return
            self._deliver()
        except SSL.ZeroReturnError:
            self.close()  # the peer said it is done
        except SSL.Error:
            self._flush()  # the alert that says why
            self.abort()

    def eof_received(self) -> bool:
        return False

    def connection_lost(self, exc: Exception | None) -> None:
        self.heard()
        if self._established:
            self._inner.connection_lost(exc)

    def pause_writing(self) -> None:
        if self._established:
            self._inner.pause_writing()

    def resume_writing(self) -> None:
        if self._established:
            self._inner.resume_writing()

    # the inner transport's side

    @property
    def transport(self) -> asyncio.Transport:
        """The real transport."""
        assert self._transport is not None  # noqa: S101  # set by connection_made, before anything else
        return self._transport

    @property
    def context(self) -> Context:
        """The TLS context of this connection."""
        return self._context

    def write(self, data: bytes) -> None:
        """Encrypt and send."""
        if self.transport.is_closing():
            return
        try:
            for start in range(0, len(data), _CHUNK):
                self._tls.sendall(data[start : start + _CHUNK])
        except SSL.Error:
            self.abort()
            return
        self._flush()

    def close(self) -> None:
        """Say goodbye, send what is left, close."""
        if self.transport.is_closing():
            return
        if self._established:
            try:
                self._tls.shutdown()
            except SSL.Error:
                self.abort()
                return
            self._flush()
        self.transport.close()

    def abort(self) -> None:
        """Close; what OpenSSL already produced is still sent."""
        if not self.transport.is_closing():
            self.transport.close()

    # how long the peer may take

    def listen(self) -> None:
        """A request is due: who holds a connection without asking, or asks a byte at a time, loses it."""
        if not self.transport.is_closing():
            self._wait(REQUEST_TIMEOUT_S)

    def heard(self) -> None:
        """The request is here as a whole; answering it takes as long as it takes."""
        if self._timer is not None:
            self._timer.cancel()

    def _wait(self, seconds: float) -> None:
        self.heard()
        self._timer = asyncio.get_running_loop().call_later(seconds, self.transport.abort)

    # TLS

    def _handshake(self, received: int) -> bool:
        self._received += received
        if self._received > MAX_HANDSHAKE_BYTES:
            self.transport.abort()
            return False
        try:
            self._tls.do_handshake()
        except SSL.WantReadError:
            self._flush()
            return False
        self._flush()
        self._established = True
        self.listen()
        peer = self._tls.get_peer_certificate()
        # as bytes: whether the certificate makes sense is for the application to judge
        der = None if peer is None else crypto.dump_certificate(crypto.FILETYPE_ASN1, peer)
        self._inner.app = _with_certificate(self._inner.app, der, self)
        self._inner.connection_made(_InnerTransport(self))
        return True

    def _deliver(self) -> None:
        while not self.transport.is_closing():
            try:
                plain = self._tls.recv(_CHUNK)
            except SSL.WantReadError:
                break
            self._inner.data_received(plain)
        self._flush()

    def _flush(self) -> None:
        while True:
            try:
                self.transport.write(self._tls.bio_read(_CHUNK))
            except SSL.WantReadError:
                return


class _InnerTransport(asyncio.Transport):
    """The transport that the HTTP protocol sees."""

    def __init__(self, protocol: _TlsProtocol) -> None:
        super().__init__()
        self._protocol = protocol

    def get_extra_info(self, name: str, default: Any = None) -> Any:  # noqa: ANN401  # asyncio's signature
        if name == "sslcontext":
            return self._protocol.context  # uvicorn takes the scheme "https" from its presence
        return self._protocol.transport.get_extra_info(name, default)

    def write(self, data: bytes | bytearray | memoryview) -> None:
        self._protocol.write(bytes(data))

    def close(self) -> None:
        self._protocol.close()

    def abort(self) -> None:
        self._protocol.abort()

    def is_closing(self) -> bool:
        return self._protocol.transport.is_closing()

    def is_reading(self) -> bool:
        return self._protocol.transport.is_reading()

    def pause_reading(self) -> None:
        self._protocol.transport.pause_reading()

    def resume_reading(self) -> None:
        self._protocol.transport.resume_reading()

    def get_write_buffer_size(self) -> int:
        return self._protocol.transport.get_write_buffer_size()


def _with_certificate(app: Any, der: bytes | None, protocol: _TlsProtocol) -> Any:  # noqa: ANN401  # ASGI
    async def wrapped(scope: dict[str, Any], receive: Any, send: Any) -> None:  # noqa: ANN401
        async def received() -> Any:  # noqa: ANN401
            message = await receive()
            if not message.get("more_body"):
                protocol.heard()
            return message

        if not _has_body(scope):
            protocol.heard()
        extensions = {**scope.get("extensions", {}), "tls": {"client_cert": der}}
        try:
            await app({**scope, "extensions": extensions}, received, send)
        finally:
            protocol.listen()

    return wrapped


def _has_body(scope: dict[str, Any]) -> bool:
    headers = dict(scope.get("headers", ()))
    return b"transfer-encoding" in headers or headers.get(b"content-length", b"0").strip(b"0") != b""
