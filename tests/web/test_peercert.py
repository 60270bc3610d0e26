"""The TLS front: who gets through, what the application is told, and that a connection is never resumed."""

from __future__ import annotations

import asyncio
import base64
import contextlib
import http.client
import json
import socket
import ssl
import threading
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat, PublicFormat
from cryptography.x509.oid import NameOID, ObjectIdentifier
from tests.cas.serving import serving
from uvicorn.protocols.http.h11_impl import H11Protocol
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

from adyton.web import peercert
from adyton.web.peercert import client_certificate, server_context, tls_protocol


@dataclass(frozen=True, slots=True)
class Pair:
    key: ec.EllipticCurvePrivateKey
    certificate: x509.Certificate

    @property
    def der(self) -> bytes:
        return self.certificate.public_bytes(Encoding.DER)

    def write(self, folder: Path) -> Path:
        path = folder / "pair.pem"
        key = self.key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
        path.write_bytes(key + self.certificate.public_bytes(Encoding.PEM))
        return path


def self_signed(extension_bytes: int = 0) -> Pair:
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "self")])
    now = datetime.now(UTC)
    builder = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - timedelta(hours=1))
        .not_valid_after(now + timedelta(hours=1))
    )
    if extension_bytes:
        oid = ObjectIdentifier("2.23.133.5.4.9")
        builder = builder.add_extension(x509.UnrecognizedExtension(oid, bytes(extension_bytes)), critical=False)
    return Pair(key, builder.sign(key, SHA256()))


async def echo(scope: dict[str, Any], receive: Any, send: Any) -> None:  # noqa: ANN401  # ASGI
    """Answers with what it saw: scheme, certificate, body."""
    if scope["type"] != "http":
        return
    body, more = b"", True
    while more:
        message = await receive()
        body, more = body + message.get("body", b""), message.get("more_body", False)
    der = client_certificate(scope)
    answer = {"scheme": scope["scheme"], "certificate": der.hex() if der else None, "size": len(body)}
    data = json.dumps(answer).encode() + b"\n" + body
    await send({"type": "http.response.start", "status": 200, "headers": [(b"content-length", b"%d" % len(data))]})
    await send({"type": "http.response.body", "body": data})


@pytest.fixture(params=[HttpToolsProtocol, H11Protocol], ids=["httptools", "h11"])
def port(request: pytest.FixtureRequest) -> Iterator[int]:
    server = self_signed()
    context = server_context(server.certificate, server.key)
    with serving(echo, tls_protocol(lambda: context, request.param)) as number:
        yield number


def client_context(certificate: Path | None = None) -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    if certificate is not None:
        context.load_cert_chain(certificate)
    return context


def connect(port: int, context: ssl.SSLContext, session: ssl.SSLSession | None = None) -> ssl.SSLSocket:
    raw = socket.create_connection(("127.0.0.1", port), 5)
    try:
        return context.wrap_socket(raw, server_hostname="any", session=session)
    except BaseException:
        raw.close()
        raise


def ask(tls: ssl.SSLSocket, body: bytes = b"") -> tuple[dict[str, Any], bytes]:
    connection = http.client.HTTPConnection("any")
    connection.sock = tls
    connection.request("POST", "/", body=body)
    data = connection.getresponse().read()
    head, _, rest = data.partition(b"\n")
    return json.loads(head), rest


@pytest.mark.parametrize("extension_bytes", [0, 4_800, 20_000], ids=["plain", "with a quote", "larger than a record"])
def test_self_signed_client_certificate_reaches_the_application(
    port: int, tmp_path: Path, extension_bytes: int
) -> None:
    pair = self_signed(extension_bytes)
    with connect(port, client_context(pair.write(tmp_path))) as tls:
        seen, _ = ask(tls)
    assert seen == {"scheme": "https", "certificate": pair.der.hex(), "size": 0}


def test_no_client_certificate_is_none(port: int) -> None:
    with connect(port, client_context()) as tls:
        seen, _ = ask(tls)
    assert seen["certificate"] is None


def test_keep_alive_requests_and_large_bodies_both_ways(port: int, tmp_path: Path) -> None:
    pair = self_signed()
    body = bytes(range(256)) * 4_000  # more than a TLS record, a BIO chunk and the flow control limit
    with connect(port, client_context(pair.write(tmp_path))) as tls:
        for _ in range(3):
            seen, rest = ask(tls, body)
            assert (seen["size"], rest, seen["certificate"]) == (len(body), body, pair.der.hex())


def test_each_connection_has_its_own_certificate(port: int, tmp_path: Path) -> None:
    first, second = self_signed(), self_signed()
    (tmp_path / "a").mkdir()
    (tmp_path / "b").mkdir()
    with (
        connect(port, client_context(first.write(tmp_path / "a"))) as one,
        connect(port, client_context(second.write(tmp_path / "b"))) as two,
    ):
        assert ask(two)[0]["certificate"] == second.der.hex()
        assert ask(one)[0]["certificate"] == first.der.hex()


def test_certificate_without_its_key_is_refused(port: int, tmp_path: Path) -> None:
    victim, thief = self_signed(), self_signed()
    path = tmp_path / "key.pem"
    path.write_bytes(_forged_key(victim, victim) + victim.certificate.public_bytes(Encoding.PEM))
    with connect(port, client_context(path)) as tls:
        assert ask(tls)[0]["certificate"] == victim.der.hex()  # the same file with the right scalar passes
    path.write_bytes(_forged_key(victim, thief) + victim.certificate.public_bytes(Encoding.PEM))
    with pytest.raises((ssl.SSLError, ConnectionError)), connect(port, client_context(path)) as tls:
        ask(tls)  # in TLS 1.3 the client learns it at its first read


def _forged_key(victim: Pair, thief: Pair) -> bytes:
    """An EC private key file (RFC 5915) with the thief's scalar under the victim's point, which OpenSSL believes."""
    scalar = thief.key.private_numbers().private_value.to_bytes(32, "big")
    point = victim.key.public_key().public_bytes(Encoding.X962, PublicFormat.UncompressedPoint)
    der = bytes.fromhex("30770201010420") + scalar
    der += bytes.fromhex("a00a06082a8648ce3d030107") + bytes.fromhex("a144034200") + point
    text = base64.encodebytes(der).decode()
    return f"-----BEGIN EC PRIVATE KEY-----\n{text}-----END EC PRIVATE KEY-----\n".encode()


def test_tls_1_2_is_refused(port: int) -> None:
    context = client_context()
    context.maximum_version = ssl.TLSVersion.TLSv1_2
    with pytest.raises(ssl.SSLError):
        connect(port, context)


def test_sessions_are_not_resumed(port: int, tmp_path: Path) -> None:
    context = client_context(self_signed().write(tmp_path))
    with connect(port, context) as first:
        ask(first)
        session = first.session
    with connect(port, context, session) as second:
        seen, _ = ask(second)
        assert not second.session_reused
    assert seen["certificate"] is not None


@pytest.mark.parametrize(
    "garbage",
    [b"GET / HTTP/1.1\r\nHost: any\r\n\r\n", b"\x16\x03\x01\x40\x00" + b"\xff" * 0x4000, b"\x00" * 200_000],
    ids=["plain http", "broken hello", "endless handshake"],
)
def test_what_is_not_tls_is_closed_and_the_server_goes_on(port: int, garbage: bytes) -> None:
    with socket.create_connection(("127.0.0.1", port), 5) as raw, contextlib.suppress(ConnectionError):
        raw.sendall(garbage)  # closed while we still write is as good as closed after
        while raw.recv(4096):
            pass
    with connect(port, client_context()) as tls:
        assert ask(tls)[0]["scheme"] == "https"


def test_a_silent_client_is_dropped(monkeypatch: pytest.MonkeyPatch, port: int) -> None:
    monkeypatch.setattr(peercert, "HANDSHAKE_TIMEOUT_S", 0.2)
    with socket.create_connection(("127.0.0.1", port), 5) as raw:
        assert raw.recv(1) == b""


def test_a_renewed_certificate_is_taken_up() -> None:
    first, second = self_signed(), self_signed()
    contexts = iter([server_context(p.certificate, p.key) for p in (first, second)])
    with serving(echo, tls_protocol(lambda: next(contexts))) as number:
        for expected in (first, second):
            with connect(number, client_context()) as tls:
                assert tls.getpeercert(binary_form=True) == expected.der


def test_a_client_that_vanishes_ends_its_request() -> None:
    ended = threading.Event()

    async def wait(scope: dict[str, Any], receive: Any, send: Any) -> None:  # noqa: ANN401, ARG001
        if scope["type"] == "http":
            while (await asyncio.wait_for(receive(), 5))["type"] != "http.disconnect":
                pass
            ended.set()

    pair = self_signed()
    context = server_context(pair.certificate, pair.key)
    with serving(wait, tls_protocol(lambda: context)) as number:
        tls = connect(number, client_context())
        tls.sendall(b"GET / HTTP/1.1\r\nHost: any\r\n\r\n")
        tls.close()
        assert ended.wait(5)


_HEAD = b"POST / HTTP/1.1\r\nHost: any\r\n"


@pytest.mark.parametrize(
    "sent",
    [b"", _HEAD, _HEAD + b"Content-Length: 9\r\n\r\nhalf", _HEAD + b"Transfer-Encoding: chunked\r\n\r\n4\r\nhalf\r\n"],
    ids=["nothing", "half a header", "half a body", "chunks without end"],
)
@pytest.mark.parametrize("asked_before", [False, True], ids=["first", "after an answer"])
def test_who_does_not_finish_a_request_is_dropped(
    monkeypatch: pytest.MonkeyPatch, port: int, sent: bytes, *, asked_before: bool
) -> None:
    monkeypatch.setattr(peercert, "REQUEST_TIMEOUT_S", 0.3)
    with connect(port, client_context()) as tls:
        if asked_before:
            ask(tls)
        tls.sendall(sent)
        while tls.recv(4096):  # what the server answers to half a body, if anything; then the end
            pass


def test_an_answer_may_take_its_time(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(peercert, "REQUEST_TIMEOUT_S", 0.2)

    async def slow(scope: dict[str, Any], receive: Any, send: Any) -> None:  # noqa: ANN401
        async def later(message: Any) -> None:  # noqa: ANN401
            await asyncio.sleep(0.4)
            await send(message)

        await echo(scope, receive, later)

    pair = self_signed()
    context = server_context(pair.certificate, pair.key)
    with serving(slow, tls_protocol(lambda: context)) as number, connect(number, client_context()) as tls:
        tls.sendall(_HEAD + b"Content-Length: 4\r\n\r\nbody")
        assert tls.recv(15) == b"HTTP/1.1 200 OK"
