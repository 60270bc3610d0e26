"""Bytes that no client sends, at both ports of a CAS process: a 4xx or a closed connection, and it serves on."""

from __future__ import annotations

import json
import socket
import ssl
from collections.abc import Iterator
from typing import Any, Final

import pytest
import yaml
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from tests.cas.documents import small_document, to_yaml
from tests.cas.house import House
from tests.cas.process import CasProcess, cas_process, owner_files
from tests.cas.test_refused import LIMITS
from tests.platform.world import World
from tests.sms.process import resident_kb
from tests.web.rawhttp import exchange, malformed, request, status_of

from adyton.cas.client.tls import tls_context

HOST: Final = b"Host: cas"
GROWTH_KB: Final = 60_000
REST: Final = malformed(b"/session", b"X-Header: y")
ATTESTED: Final = malformed(b"/v1/config", b"X-Header: y")


@pytest.fixture(scope="module")
def program(services: tuple[World, str], tmp_path_factory: pytest.TempPathFactory) -> Iterator[CasProcess]:
    """A CAS that must be alive, small and without a complaint of its own when all is over."""
    world, url = services
    with cas_process(House(world, url, tmp_path_factory.mktemp("raw")), **LIMITS) as running:
        owner = running.cas.owner()
        for number in range(20):
            owner.create(to_yaml(small_document(name=f"before-{number}")))
        before = resident_kb(running.process.pid)
        yield running
        assert running.process.poll() is None
        assert owner.create(to_yaml(small_document(name="after"))).version == 1
        assert "Traceback" not in running.log
        assert resident_kb(running.process.pid) - before < GROWTH_KB


def client(program: CasProcess) -> ssl.SSLContext:
    """TLS with an owner's certificate."""
    context = tls_context()
    certificate, key, _root = owner_files(program.cas)
    context.load_cert_chain(certificate, key)
    return context


def asked(program: CasProcess, port: int, data: bytes) -> int:
    answer = exchange(port, [data], client(program))
    status = status_of(answer)
    assert status < 500, answer[:300]
    if b"json" in answer.split(b"\r\n\r\n", 1)[0]:
        assert json.loads(answer.split(b"\r\n\r\n", 1)[1])["code"]
    return status


@pytest.mark.parametrize("data", REST.values(), ids=REST)
def test_requests_that_are_none_at_the_rest_port(program: CasProcess, data: bytes) -> None:
    assert asked(program, program.cas.rest_port, data) in {0, *range(400, 500)}


@pytest.mark.parametrize("data", ATTESTED.values(), ids=ATTESTED)
def test_requests_that_are_none_at_the_attested_port(program: CasProcess, data: bytes) -> None:
    assert asked(program, program.cas.attested_port, data) in {0, *range(400, 500)}


def post(path: bytes, body: bytes) -> bytes:
    return request(b"POST " + path + b" HTTP/1.1", HOST, b"Content-Length: %d" % len(body), body=body)


GOOD: Final = to_yaml(small_document(name="good"))
BOMB: Final = b"a: &a [x]\n" + b"".join(b"b%d: &b%d [*a, *a]\n" % (n, n) for n in range(30))
SESSIONS: Final[dict[str, bytes]] = {
    "a byte order mark and a tab": b"\xef\xbb\xbf\t" + GOOD,
    "UTF-16": GOOD.decode().encode("utf-16"),
    "no text": GOOD + b"\xff\xfe",
    "NUL": GOOD + b"x: \0",
    "a key twice": GOOD + b"name: again\n",
    "aliases": BOMB,
    "merged keys": GOOD + b"<<: {a: b}\n",
    "a tag": b"!!python/object/apply:os.system ['true']",
    "two documents": GOOD + b"---\n" + GOOD,
    "lists in lists": b"[" * 100_000,
    "maps in maps": b"{a: " * 50_000,
    "indented without end": b"".join(b" " * n + b"a:\n" for n in range(900)),
    "a number beyond all": GOOD + b"x: " + b"9" * 100_000,
    "not a number": GOOD + b"x: .nan\n",
    "a number in the base of 60": GOOD + b"x: " + b":".join([b"59"] * 5000),
    "a date of no calendar": GOOD + b"expiry: 2026-02-30T00:00:00Z\n",
    "half of a pair": GOOD + b'x: "\\ud800"\n',
    "a name of 100 kB": to_yaml(small_document(name="n" * 100_000)),
    "100,000 services": to_yaml(small_document(services=[{"name": "a", "mrenclaves": []}] * 100_000))[: 1 << 20],
    "templates in templates": to_yaml(small_document(services=[{"name": "a", "command": "$$SCONE::" * 5000}])),
}


@pytest.mark.parametrize("body", SESSIONS.values(), ids=SESSIONS)
def test_sessions_that_are_none(program: CasProcess, body: bytes) -> None:
    assert asked(program, program.cas.rest_port, post(b"/session", body)) in {400, 413}


REQUESTS: Final[dict[str, bytes]] = {
    "a byte order mark": b'\xef\xbb\xbf{"session":"a","service":"b"}',
    "a key twice, the second wrong": b'{"session":"a","service":"b","session":1}',
    "NaN": b'{"session":NaN,"service":"b"}',
    "a number beyond all": b'{"session":"a","service":"b","generation":' + b"9" * 3000 + b"}",
    "half of a pair": b'{"session":"\\ud800","service":"b"}',
    "lists in lists": b"[" * 4000,
    "objects in objects": b'{"a":' * 800,
    "no text": b'{"session":"\xff","service":"b"}',
    "text after it": b'{"session":"a","service":"b"}x',
    "names that are empty": b'{"session":"","service":""}',
}


@pytest.mark.parametrize("path", [b"/v1/config", b"/v1/enclave-key"])
@pytest.mark.parametrize("body", REQUESTS.values(), ids=REQUESTS)
def test_requests_for_a_part_that_are_none(program: CasProcess, path: bytes, body: bytes) -> None:
    assert asked(program, program.cas.attested_port, post(path, body)) == 400


@pytest.mark.parametrize("port", ["rest_port", "attested_port"])
def test_those_who_speak_no_tls_are_left(program: CasProcess, port: str) -> None:
    for data in (b"GET / HTTP/1.1\r\n\r\n", b"\x16\x03\x01\xff\xff" + b"\0" * 500, bytes(2000)):
        with socket.create_connection(("127.0.0.1", getattr(program.cas, port)), 10) as raw:
            raw.sendall(data)
            raw.shutdown(socket.SHUT_WR)
            try:
                while raw.recv(4096):
                    pass
            except ConnectionError:
                continue


KEYS: Final = st.sampled_from(["name", "version", "services", "images", "volumes", "secrets", "security", "expiry"])
VALUES: Final = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=9),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=6), inner, max_size=3),
    max_leaves=6,
)


def _yaml(value: Any) -> bytes:  # noqa: ANN401  # any value
    return yaml.safe_dump(value, allow_unicode=False).encode()


@settings(max_examples=40, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.dictionaries(KEYS, VALUES, min_size=1, max_size=3).map(_yaml) | st.binary(max_size=80))
def test_sessions_of_anything(program: CasProcess, body: bytes) -> None:
    assert asked(program, program.cas.rest_port, post(b"/session", body)) == 400
