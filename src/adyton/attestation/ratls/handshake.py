"""Mutually attested TLS: both ends prove themselves within one TLS 1.3 handshake, each over the other's nonce.

    server                                                      client
    a nonce of its own, sent before: an answer, a file  ──────▶ evidence over it, in the client certificate
    evidence over it, in the server certificate  ◀──────────── a nonce of its own, in the server name (SNI)

Whoever refuses says so with a TLS alert and nothing else; its judge knows why, and its audit log is the place for it.
The server name is sent in the clear, which is fine for a nonce and for nothing secret. A server that can only decide
after it has read a request (the CAS: each session has its own policy) judges after the handshake instead, see
:mod:`adyton.web.peercert`.

Every connection judges anew: sessions are not resumed, since a resumed one shows no certificate. OpenSSL calls a verify
callback twice for a self-signed certificate that nobody vouches for; the verdict of the first call stands, so that a
nonce is not spent by the first call and found spent by the second.
"""

from __future__ import annotations

import base64
import binascii
import socket
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final, Self

from cryptography import x509
from cryptography.hazmat.primitives.asymmetric.ec import EllipticCurvePrivateKey
from OpenSSL import SSL, crypto

from adyton.base.errors import AdytonError
from adyton.web.peercert import MAX_HANDSHAKE_BYTES, strict_context

if TYPE_CHECKING:
    from adyton.attestation.evidence import VerifiedEvidence

NONCE_SUFFIX: Final = ".nonce.ra-tls.invalid"  # RFC 2606: a name that no resolver knows
TIMEOUT_S: Final = 10.0
_CHUNK: Final = 16 << 10
_LINGER_S: Final = 0.5

Judge = Callable[[bytes], "VerifiedEvidence"]
"""Verifies a certificate (DER), nonce included, or raises; records what it refuses."""


class HandshakeError(AdytonError):
    """No connection; ``attestation.handshake.refused`` when the peer ended it with an alert."""

    code = "attestation.handshake"
    hint = "the end that refused has the reason in its log; the other learns only that it was refused"


@dataclass(frozen=True, slots=True)
class Identity:
    """A client's RA-TLS certificate (DER) and its key."""

    certificate: bytes
    key: EllipticCurvePrivateKey


def server_name(nonce: bytes) -> str:
    """The server name that carries a client's nonce of 16 to 32 bytes; base32, since names have no case."""
    return base64.b32encode(nonce).decode().rstrip("=").lower() + NONCE_SUFFIX


def nonce_of(name: bytes | None) -> bytes | None:
    """The nonce in a server name; None when there is none."""
    suffix = NONCE_SUFFIX.encode()
    if name is None or not name.lower().endswith(suffix):
        return None
    text = name.lower().removesuffix(suffix).upper()
    try:
        nonce = base64.b32decode(text + b"=" * (-len(text) % 8))
    except binascii.Error:
        return None
    return nonce if 16 <= len(nonce) <= 32 else None


class AttestedConnection:
    """A connection whose two ends judged each other; plain bytes in both directions, used as a context manager.

    Attributes:
        peer: what the other end is.
    """

    def __init__(self, tls: SSL.Connection, sock: socket.socket, peer: VerifiedEvidence) -> None:
        self._tls = tls
        self._socket = sock
        self.peer = peer

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_exception: object) -> None:
        self.close()

    def close(self) -> None:
        """Say goodbye and close; the peer may be gone."""
        try:
            self._tls.shutdown()
            _flush(self._tls, self._socket)
        except (SSL.Error, OSError):
            pass  # there is nobody left to say it to
        finally:
            self._socket.close()

    def flush(self) -> None:
        """Send what TLS itself has to say; otherwise it goes out with the next bytes, or before waiting for the peer's.

        Raises:
            HandshakeError: the connection is broken.
        """
        try:
            _flush(self._tls, self._socket)
        except OSError as error:
            self._socket.close()
            raise _broken(error) from error

    def send(self, data: bytes) -> None:
        """Send all of ``data``.

        Raises:
            HandshakeError: the connection is broken.
        """
        try:
            for start in range(0, len(data), _CHUNK):
                self._tls.sendall(data[start : start + _CHUNK])
                _flush(self._tls, self._socket)
        except (SSL.Error, OSError) as error:
            raise _broken(error) from error

    def receive(self, limit: int = _CHUNK) -> bytes:
        """At most ``limit`` bytes; empty when the peer has ended the connection in order.

        Raises:
            HandshakeError: the connection is broken, or the peer refused this end after its own handshake was done,
                which in TLS 1.3 a client learns only here.
        """
        while True:
            try:
                return bytes(self._tls.recv(limit))
            except SSL.WantReadError:
                pass
            except SSL.ZeroReturnError:
                return b""
            except SSL.Error as error:
                raise _broken(error) from error
            try:
                _flush(self._tls, self._socket)
                _feed(self._tls, self._socket)
            except (SSL.Error, OSError) as error:
                raise _broken(error) from error


class AttestedServer:
    """Accepts mutually attested connections; thread-safe where ``certify`` and ``judge`` are.

    Args:
        key: the server's TLS key, for all connections: what is fresh for each is the evidence.
        certify: a certificate (DER) over this key, with evidence over a client's nonce, made anew.
        judge: of client certificates.
    """

    def __init__(self, key: EllipticCurvePrivateKey, certify: Callable[[bytes], bytes], judge: Judge) -> None:
        self._certify = certify
        self._context = _context(SSL.TLS_SERVER_METHOD)
        self._context.use_privatekey(key)
        self._context.set_tlsext_servername_callback(self._show)
        self._judge = judge

    def accept(self, sock: socket.socket, timeout_s: float = TIMEOUT_S) -> AttestedConnection:
        """The handshake on an accepted socket, which is closed unless it succeeds.

        Raises:
            AttestationError, AdytonError: what ``judge`` or ``certify`` raised.
            HandshakeError: the client refused this server, brought no nonce or no certificate, or is no TLS client.
        """
        tls = SSL.Connection(self._context, None)
        tls.set_app_data(_Attempt(self._judge))
        tls.set_accept_state()
        return _handshake(tls, sock, timeout_s)

    def _show(self, connection: SSL.Connection) -> None:
        """Called with the client's server name; without a certificate set here the handshake fails."""
        attempt = _attempt(connection)
        nonce = nonce_of(connection.get_servername())
        if nonce is None:
            attempt.error = HandshakeError("the client sent no nonce", code="attestation.handshake.nonce")
            return
        try:
            connection.use_certificate(x509.load_der_x509_certificate(self._certify(nonce)))
        except AdytonError as error:
            attempt.error = error


class AttestedClient:
    """Opens mutually attested connections; one for a whole process, thread-safe."""

    def __init__(self) -> None:
        self._context = _context(SSL.TLS_CLIENT_METHOD)

    def connect(
        self, sock: socket.socket, identity: Identity, nonce: bytes, judge: Judge, timeout_s: float = TIMEOUT_S
    ) -> AttestedConnection:
        """The handshake on a connected socket, which is closed unless it succeeds.

        Args:
            sock: connected to the server.
            identity: evidence over the server's nonce.
            nonce: fresh; the server's evidence must hold it, which ``judge`` checks.
            judge: of the server's certificate.
            timeout_s: seconds for the whole handshake.

        Raises:
            AttestationError, AdytonError: what ``judge`` raised.
            HandshakeError: the server refused, or is no TLS server.
        """
        tls = SSL.Connection(self._context, None)
        tls.set_app_data(_Attempt(judge))
        tls.set_tlsext_host_name(server_name(nonce).encode())
        tls.use_certificate(x509.load_der_x509_certificate(identity.certificate))
        tls.use_privatekey(identity.key)
        tls.set_connect_state()
        connection = _handshake(tls, sock, timeout_s)
        connection.flush()  # the client's certificate: the server waits for it
        return connection


class _Attempt:
    """What one handshake knows of its peer; remembers the verdict, since OpenSSL may ask more than once."""

    def __init__(self, judge: Judge) -> None:
        self._judge = judge
        self._judged: bytes | None = None
        self.evidence: VerifiedEvidence | None = None
        self.error: AdytonError | None = None

    def accepts(self, certificate: bytes) -> bool:
        if self._judged is None and self.error is None:
            self._judged = certificate
            try:
                self.evidence = self._judge(certificate)
            except AdytonError as error:
                self.error = error
        return self.evidence is not None and self._judged == certificate


def _verify(connection: SSL.Connection, certificate: crypto.X509, _error: int, depth: int, _ok: int) -> bool:
    """OpenSSL's verify callback: what it thinks of a self-signed certificate does not matter, its evidence does."""
    if depth != 0:
        return False  # evidence is in the peer's own certificate; nobody vouches for it
    return _attempt(connection).accepts(crypto.dump_certificate(crypto.FILETYPE_ASN1, certificate))


def _attempt(connection: SSL.Connection) -> _Attempt:
    attempt = connection.get_app_data()
    assert isinstance(attempt, _Attempt)  # noqa: S101  # set before every handshake
    return attempt


def _context(method: int) -> SSL.Context:
    context = strict_context(method)
    context.set_verify(SSL.VERIFY_PEER | SSL.VERIFY_FAIL_IF_NO_PEER_CERT, _verify)
    return context


def _handshake(tls: SSL.Connection, sock: socket.socket, timeout_s: float) -> AttestedConnection:
    try:
        if sock.family in (socket.AF_INET, socket.AF_INET6):
            sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        evidence = _run(tls, sock, time.monotonic() + timeout_s)
        sock.settimeout(timeout_s)
    except SSL.Error as error:
        _farewell(tls, sock)
        raise _attempt(tls).error or _broken(error) from error
    except OSError as error:
        sock.close()
        raise _broken(error) from error
    except BaseException:
        sock.close()
        raise
    return AttestedConnection(tls, sock, evidence)


def _run(tls: SSL.Connection, sock: socket.socket, deadline: float) -> VerifiedEvidence:
    received = 0
    while True:
        try:
            tls.do_handshake()
        except SSL.WantReadError:
            _flush(tls, sock)
        else:
            evidence = _attempt(tls).evidence
            if evidence is None:
                raise HandshakeError("the handshake ended without a verdict over the peer")
            return evidence
        sock.settimeout(max(deadline - time.monotonic(), 0.001))
        received += _feed(tls, sock)
        if received > MAX_HANDSHAKE_BYTES:
            raise HandshakeError(f"a handshake of more than {MAX_HANDSHAKE_BYTES} bytes")


def _feed(tls: SSL.Connection, sock: socket.socket) -> int:
    data = sock.recv(_CHUNK)
    if not data:
        raise ConnectionResetError("the peer closed the connection")
    tls.bio_write(data)
    return len(data)


def _flush(tls: SSL.Connection, sock: socket.socket) -> None:
    while True:
        try:
            data = tls.bio_read(_CHUNK)
        except SSL.WantReadError:
            return
        sock.sendall(data)


def _farewell(tls: SSL.Connection, sock: socket.socket) -> None:
    """Send the alert that OpenSSL made, if anybody still listens, and close.

    What the peer has sent meanwhile is read and dropped: closing a socket with unread bytes resets the connection, and
    the alert would be lost.
    """
    try:
        _flush(tls, sock)
        sock.shutdown(socket.SHUT_WR)
        sock.settimeout(_LINGER_S)
        for _ in range(MAX_HANDSHAKE_BYTES // _CHUNK):
            if not sock.recv(_CHUNK):
                break
    except OSError:
        pass  # the peer is gone, and with it who could read the alert
    finally:
        sock.close()


def _broken(error: Exception) -> HandshakeError:
    reasons = [reason for _library, _function, reason in error.args[0]] if _has_queue(error) else []
    alert = next((reason for reason in reasons if "alert" in reason), None)
    if alert is not None:
        return HandshakeError(f"the peer refused: {alert}", code="attestation.handshake.refused")
    text = ", ".join(reasons) or str(error) or type(error).__name__
    return HandshakeError(f"the attested connection broke: {text}", code="attestation.handshake.broken")


def _has_queue(error: Exception) -> bool:
    """Whether an OpenSSL error carries its queue of (library, function, reason)."""
    return isinstance(error, SSL.Error) and bool(error.args) and isinstance(error.args[0], list)
