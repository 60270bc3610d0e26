"""HTTP over TLS 1.3 with the standard library only: what the CAS's clients stand on.

One connection object per exchange of a few requests; bounded time, bounded answers, typed errors. The standard
library is used because this runs inside enclaves, where every import is measured weight.
"""

from __future__ import annotations

import http.client
import os
import socket
import ssl
from collections.abc import Callable
from pathlib import Path
from typing import Any, Final, Self
from urllib.parse import urlsplit

from cryptography.hazmat.primitives.asymmetric.ec import EllipticCurvePrivateKey
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat

from adyton.base.errors import AdytonError, InputError, UnavailableError
from adyton.base.jsontext import parse_json
from adyton.base.secret import Secret
from adyton.cas.face.handover import check_chain, verified_chain
from adyton.cas.face.identity import CasIdentityError

MAX_ANSWER_BYTES: Final = 8 << 20  # a session is at most 1 MiB of text; base64 and collateral stay far below this
TIMEOUT_S: Final = 20.0

Connect = Callable[[], socket.socket]


class CasRefusedError(AdytonError):
    """The CAS answered, and said no.

    Attributes:
        status: HTTP status.
        code: the CAS's stable code, for example ``cas.session.unknown``.
    """

    code = "cas.refused"

    def __init__(self, message: str, *, status: int, code: str | None = None, hint: str | None = None) -> None:
        super().__init__(message, code=code, hint=hint)
        self.status = status


def host_port(url: str, default_port: int) -> tuple[str, int]:
    """Host and port of ``https://host[:port]`` (the scheme may be left out).

    Raises:
        InputError: it is not.
    """
    parts = urlsplit(url if "://" in url else f"https://{url}")
    try:
        port = parts.port or default_port
    except ValueError as error:
        raise InputError(f"{url!r} has no valid port", code="cas.client.url") from error
    if parts.scheme != "https" or not parts.hostname:
        raise InputError(f"{url!r} is not https://host[:port]", code="cas.client.url")
    return parts.hostname, port


def tcp(host: str, port: int, timeout_s: float = TIMEOUT_S) -> Connect:
    """A connector to ``host:port``.

    Raises (when called):
        UnavailableError: no connection in time.
    """

    def connect() -> socket.socket:
        try:
            return socket.create_connection((host, port), timeout_s)
        except OSError as error:
            raise UnavailableError(
                f"the CAS at {host}:{port} cannot be reached: {error.strerror or error}",
                code="cas.unreachable",
                hint="is the CAS running, and is this its address?",
            ) from error

    return connect


def tls_context(ca_file: Path | None = None) -> ssl.SSLContext:
    """A TLS 1.3 client context; without ``ca_file`` the caller judges the peer's certificate itself.

    Args:
        ca_file: PEM root of the CAS. What else is in the file is not a root of the CAS but, as the agent writes it, of
            services whose certificates have hours left; see :mod:`adyton.cas.client.peers`.

    Raises:
        OSError: it cannot be read, or holds no certificate.
    """
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.minimum_version = ssl.TLSVersion.TLSv1_3
    if ca_file is None:
        context.check_hostname = False
        context.verify_mode = ssl.CERT_NONE
    else:
        context.verify_flags |= ssl.VERIFY_X509_STRICT
        context.load_verify_locations(cadata=_first_certificate(ca_file))
    return context


def load_identity(context: ssl.SSLContext, certificate_pem: bytes, key: EllipticCurvePrivateKey) -> None:
    """Give ``context`` a client key that exists in memory only.

    The standard library reads keys from files alone, so the key passes through an anonymous file in memory
    (memfd_create(2)), which has no name in any folder and is gone when it is closed.
    """
    plain = Secret(key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()))
    with os.fdopen(os.memfd_create("adyton-identity", os.MFD_CLOEXEC), "wb") as stream:
        stream.write(plain.reveal() + certificate_pem)
        stream.flush()
        context.load_cert_chain(f"/proc/self/fd/{stream.fileno()}")


class TlsConnection:
    """One TLS connection that carries HTTP requests, used as a context manager."""

    def __init__(
        self, connect: Connect, context: ssl.SSLContext, server_name: str, timeout_s: float = TIMEOUT_S
    ) -> None:
        try:
            raw = connect()
        except OSError as error:
            raise _unavailable("the CAS cannot be reached", error) from error
        try:
            raw.settimeout(timeout_s)
            if raw.family in (socket.AF_INET, socket.AF_INET6):
                # a large client certificate in several segments would otherwise wait for a delayed ACK, 40 ms each
                raw.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            self._socket = context.wrap_socket(raw, server_hostname=server_name)
            if context.verify_mode is not ssl.CERT_NONE:
                _check_chain(self._socket)
        except ssl.SSLCertVerificationError as error:
            raw.close()
            raise CasIdentityError(
                f"the server's certificate is not the CAS's: {error.verify_message}",
                code="cas.identity.certificate",
                hint="check the address; if the CAS's authority was exchanged since its root was kept, verify the CAS"
                " again ('adyton cas attest') and keep the new root",
            ) from error
        except OSError as error:
            raw.close()
            raise _unavailable("the TLS handshake with the CAS failed", error) from error
        self._http = http.client.HTTPConnection(server_name, timeout=timeout_s)
        self._http.sock = self._socket

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_exception: object) -> None:
        self.close()

    def close(self) -> None:
        """Close the connection."""
        self._http.close()
        self._socket.close()

    def fileno(self) -> int:
        """The socket's descriptor, to wait on."""
        return self._socket.fileno()

    @property
    def peer_certificate(self) -> bytes:
        """DER of the certificate whose key the server proved."""
        certificate = self._socket.getpeercert(binary_form=True)
        if not certificate:
            raise UnavailableError("the CAS showed no certificate", code="cas.unreachable")
        return certificate

    def json(self, method: str, path: str, body: bytes | None = None, content_type: str = "application/json") -> Any:  # noqa: ANN401  # JSON is any
        """Send one request and decode the JSON answer of a 2xx status.

        Raises:
            UnavailableError: the connection broke, the CAS is overloaded (5xx) or wants to be asked later (429), or the
                answer is not JSON.
            CasRefusedError: any other status, with the code of its problem+json body.
        """
        status, data = self._exchange(method, path, body, content_type)
        try:
            answer = parse_json(data)
        except (ValueError, RecursionError) as error:
            raise UnavailableError(
                f"the CAS answered {status} with something that is not JSON", code="cas.answer"
            ) from error
        if 200 <= status < 300:
            return answer
        raise _refusal(status, answer)

    def text(self, path: str) -> str:
        """GET ``path`` as ASCII text.

        Raises:
            UnavailableError: as :meth:`json`, or a status other than 200.
        """
        status, data = self._exchange("GET", path, None, "text/plain")
        if status != 200 or not data.isascii():
            raise UnavailableError(f"the CAS answered {status} to GET {path}", code="cas.answer")
        return data.decode("ascii")

    def _exchange(self, method: str, path: str, body: bytes | None, content_type: str) -> tuple[int, bytes]:
        headers = {"Content-Type": content_type} if body is not None else {}
        try:
            self._http.request(method, path, body=body, headers=headers)
            response = self._http.getresponse()
            data = response.read(MAX_ANSWER_BYTES + 1)
        except (OSError, http.client.HTTPException) as error:
            raise _unavailable(f"the CAS broke off {method} {path}", error) from error
        if len(data) > MAX_ANSWER_BYTES:
            raise UnavailableError(f"the answer to {path} exceeds {MAX_ANSWER_BYTES} bytes", code="cas.answer")
        return response.status, data


def _first_certificate(ca_file: Path) -> str:
    text = ca_file.read_text(encoding="ascii", errors="replace")
    end = text.find(ssl.PEM_FOOTER)
    if end < 0:
        raise OSError(None, "holds no PEM certificate", str(ca_file))
    return text[: end + len(ssl.PEM_FOOTER)] + "\n"


def _check_chain(connection: ssl.SSLSocket) -> None:
    try:
        check_chain(verified_chain(connection))
    except AdytonError:
        connection.close()
        raise


def _unavailable(message: str, error: Exception) -> UnavailableError:
    return UnavailableError(
        f"{message}: {type(error).__name__}",
        code="cas.unreachable",
        hint="is the CAS running, and is this its address?",
    )


def _refusal(status: int, answer: Any) -> AdytonError:  # noqa: ANN401  # what a peer sent
    problem = answer if isinstance(answer, dict) else {}
    code, detail, hint = (problem.get(name) for name in ("code", "detail", "hint"))
    message = detail if isinstance(detail, str) else f"the CAS answered {status}"
    if status >= 500 or status == http.HTTPStatus.TOO_MANY_REQUESTS:
        return UnavailableError(message, code=code if isinstance(code, str) else "cas.answer")
    return CasRefusedError(
        message,
        status=status,
        code=code if isinstance(code, str) else None,
        hint=hint if isinstance(hint, str) else None,
    )
