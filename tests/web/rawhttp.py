"""Bytes on a socket as no client library would send them, and what comes back."""

from __future__ import annotations

import contextlib
import socket
import ssl
from collections.abc import Iterable
from typing import Final

_READ_S: Final = 2.0
_HOST: Final = b"Host: service"


def exchange(port: int, pieces: Iterable[bytes], context: ssl.SSLContext | None = None) -> bytes:
    """Send ``pieces`` to 127.0.0.1 and read until the server ends or says nothing for seconds; b"" when it hung up."""
    received = b""
    with socket.create_connection(("127.0.0.1", port), _READ_S) as raw:
        stream = raw if context is None else context.wrap_socket(raw, server_hostname="x")
        with stream, contextlib.suppress(OSError):
            for piece in pieces:
                stream.sendall(piece)
            stream.settimeout(_READ_S)
            while data := stream.recv(65_536):
                received += data
    return received


def status_of(answer: bytes) -> int:
    """The status of an answer; 0 when the connection was closed without one."""
    first = answer.split(b"\r\n", 1)[0].split(b" ")
    return int(first[1]) if len(first) > 1 and first[0].startswith(b"HTTP/1.") else 0


def request(line: bytes, *headers: bytes, body: bytes = b"") -> bytes:
    """A request that asks for the connection to be closed, with exactly these lines."""
    return b"\r\n".join([line, *headers, b"Connection: close", b"", body])


def malformed(path: bytes, header: bytes) -> dict[str, bytes]:
    """Requests to ``path`` that are none, by what is the matter; ``header`` goes with most of them."""
    line = b"POST " + path + b" HTTP/1.1"

    def post(*headers: bytes, body: bytes = b"v", at: bytes = path) -> bytes:
        return request(b"POST " + at + b" HTTP/1.1", _HOST, *headers, body=body)

    return {
        "no length": post(header, body=b""),
        "two lengths": post(header, b"Content-Length: 1", b"Content-Length: 2"),
        "a negative length": post(header, b"Content-Length: -1"),
        "a length that is no number": post(header, b"Content-Length: 0x1"),
        "a length beyond numbers": post(header, b"Content-Length: " + b"9" * 300),
        "length and chunks": post(header, b"Content-Length: 1", b"Transfer-Encoding: chunked", body=b"0\r\n\r\n"),
        "an encoding of nobody": post(header, b"Transfer-Encoding: gzip, identity"),
        "chunks of no size": post(header, b"Transfer-Encoding: chunked", body=b"zz\r\nv\r\n0\r\n\r\n"),
        "a chunk of every size": post(header, b"Transfer-Encoding: chunked", body=b"f" * 40 + b"\r\nv"),
        "an extension without end": post(header, b"Transfer-Encoding: chunked", body=b"1;" + b"x" * 200_000),
        "NUL in a header": post(b"X-Header: 0x\x0000", b"Content-Length: 1"),
        "a header that is no ASCII": post(b"X-Header: \xff\xfe", b"Content-Length: 1"),
        "a header without colon": post(b"X-Header", b"Content-Length: 1"),
        "a folded header": post(b"X-Header: 0x\r\n 00", b"Content-Length: 1"),
        "a space before the colon": post(b"X-Header : 0x00", b"Content-Length: 1"),
        "a header twice": post(header, header, b"Content-Length: 1"),
        "many headers": post(*(b"X-%d: y" % number for number in range(5000)), b"Content-Length: 1"),
        "a huge header": post(b"X-Header: " + b"a" * 300_000, b"Content-Length: 1"),
        "a huge line": request(b"POST /" + b"a" * 300_000 + b" HTTP/1.1", _HOST),
        "no host": request(line, b"Content-Length: 1", body=b"v"),
        "two hosts": post(b"Host: other", header, b"Content-Length: 1"),
        "no method": request(b" " + path + b" HTTP/1.1", _HOST),
        "a method of nobody": request(b"FETCH " + path + b" HTTP/1.1", _HOST),
        "no version": request(b"POST " + path, _HOST),
        "another version": request(b"POST " + path + b" HTTP/9.9", _HOST),
        "TLS": b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03" + b"\0" * 500,
        "HTTP/2": b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
        "nothing": b"\r\n\r\n",
        "NUL in the path": request(b"POST /x\x00 HTTP/1.1", _HOST),
        "NUL in a name": post(header, b"Content-Length: 1", at=path + b"?x=%00"),
        "no UTF-8 in a name": post(header, b"Content-Length: 1", at=path + b"?x=%ff%fe"),
        "half an escape": post(header, b"Content-Length: 1", at=path + b"?x=%"),
        "a name twice": post(header, b"Content-Length: 1", at=path + b"?x=1&x=2"),
        "an absolute target": post(header, b"Content-Length: 1", at=b"http://other" + path),
        "dots": post(header, b"Content-Length: 1", at=b"/x/../admin/backup"),
        "smuggled": post(header, b"Content-Length: 1", body=b"vPOST /admin/backup HTTP/1.1\r\n\r\n"),
    }
