"""Bytes that no HTTP client sends, at the service as a process: a 4xx or a closed connection, and it serves on."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from typing import Final

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from tests.conftest import Chain
from tests.sms.process import SmsProcess, sms_process
from tests.sms.support import REQUESTER, TASK_ID, authorization
from tests.web.rawhttp import exchange, malformed, request, status_of

from adyton.sms.access import recipes

HOST: Final = b"Host: sms"
ME: Final = REQUESTER.address.encode()
WEB2: Final = b"/secrets/web2?ownerAddress=" + ME + b"&secretName=n"
GOOD: Final = recipes.sign(recipes.web2_challenge(REQUESTER.address, "n", "v"), REQUESTER)
R, S, V = GOOD[2:66], GOOD[66:130], GOOD[130:]
ORDER: Final = 0xFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFEBAAEDCE6AF48A03BBFD25E8CD0364141
MEMBERS: Final = authorization("0x" + "ee" * 20).model_dump(by_alias=True)
GROWTH_KB: Final = 40_000


@pytest.fixture(scope="module")
def program(chain: Chain, tmp_path_factory: pytest.TempPathFactory) -> Iterator[SmsProcess]:
    """A service that must be alive, small and without a complaint of its own when all is over."""
    with sms_process(tmp_path_factory.mktemp("raw"), chain) as running:
        for _ in range(50):
            running.http.get("/tee/framework")
        before = running.memory_kb()
        yield running
        assert running.process.poll() is None
        assert running.http.get("/tee/framework").json() == "SCONE"
        assert "Traceback" not in running.log
        assert running.memory_kb() - before < GROWTH_KB


def asked(program: SmsProcess, data: bytes) -> int:
    """The status; whatever it is, it must not be a failure of the service."""
    answer = exchange(program.port, [data])
    status = status_of(answer)
    assert status < 500, answer[:300]
    if answer and b"application/json" in answer:
        json.loads(answer.split(b"\r\n\r\n", 1)[1] or b"null")
    return status


SIGNATURES: Final[dict[str, str]] = {
    "empty": "",
    "0x": "0x",
    "64 bytes": "0x" + R + S,
    "66 bytes": GOOD + "00",
    "an odd digit": GOOD[:-1],
    "no prefix twice": "0x0x" + GOOD[2:],
    "no hex": "0x" + "zz" * 65,
    "spaces": " ".join(GOOD),
    "v of 0": "0x" + R + S + "00",
    "v of 1": "0x" + R + S + "01",
    "v of 29": "0x" + R + S + "1d",
    "v of 255": "0x" + R + S + "ff",
    "v turned": "0x" + R + S + ("1c" if V == "1b" else "1b"),
    "s high": f"0x{R}{ORDER - int(S, 16):064x}{'1c' if V == '1b' else '1b'}",
    "s of 0": "0x" + R + "00" * 32 + V,
    "r of 0": "0x" + "00" * 32 + S + V,
    "s of the order": f"0x{R}{ORDER:064x}{V}",
    "r above the order": "0x" + "ff" * 32 + S + V,
    "all zeros": "0x" + "00" * 65,
    "compact (EIP-2098)": "0x" + R + f"{int(S, 16) | ((int(V, 16) - 27) << 255):064x}",
    "a scheme word": "Bearer " + GOOD,
    "a list": GOOD + "," + GOOD,
    "of 4 kB": "0x" + "ab" * 2049,
}


@pytest.mark.parametrize("signature", SIGNATURES.values(), ids=SIGNATURES)
def test_signatures_in_no_canonical_form(program: SmsProcess, signature: str) -> None:
    headers = (HOST, b"Content-Length: 1", b"Authorization: " + signature.encode())
    assert asked(program, request(b"POST " + WEB2 + b" HTTP/1.1", *headers, body=b"v")) == 401


def post(*headers: bytes, body: bytes = b"v", path: bytes = WEB2) -> bytes:
    return request(b"POST " + path + b" HTTP/1.1", HOST, *headers, body=body)


SIGNED: Final = b"Authorization: 0x00"
MALFORMED: Final[dict[str, bytes]] = {
    **malformed(WEB2, SIGNED),
    "two keys": request(b"POST /admin/backup HTTP/1.1", HOST, b"X-API-KEY: a", b"X-API-KEY: b"),
    "a key that is no ASCII": request(b"POST /admin/backup HTTP/1.1", HOST, b"X-API-KEY: \xc3\xbc\xff"),
    "a signature with NUL": post(b"Authorization: 0x\x0000", b"Content-Length: 1"),
    "a signature that is no ASCII": post(b"Authorization: \xff\xfe", b"Content-Length: 1"),
    "a huge signature": post(b"Authorization: " + b"a" * 300_000, b"Content-Length: 1"),
    "two signatures": post(SIGNED, SIGNED, b"Content-Length: 1"),
    "a name with NUL": post(SIGNED, b"Content-Length: 1", path=WEB2 + b"%00"),
    "a name that is no UTF-8": post(SIGNED, b"Content-Length: 1", path=WEB2 + b"%ff%fe"),
    "half an escape in a name": post(SIGNED, b"Content-Length: 1", path=WEB2 + b"%"),
    "two names": post(SIGNED, b"Content-Length: 1", path=WEB2 + b"&secretName=m"),
}


@pytest.mark.parametrize("data", MALFORMED.values(), ids=MALFORMED)
def test_requests_that_are_none(program: SmsProcess, data: bytes) -> None:
    assert asked(program, data) in {0, *range(400, 500)}


JSON_BODIES: Final[dict[str, bytes]] = {
    "a byte order mark": b"\xef\xbb\xbf" + json.dumps(MEMBERS).encode(),
    "UTF-16": json.dumps(MEMBERS).encode("utf-16"),
    "a key twice": json.dumps(MEMBERS).encode()[:-1] + b',"chainTaskId":"' + TASK_ID.encode() + b'"}',
    "NaN": json.dumps(MEMBERS | {"taskIndex": float("nan")}).encode(),
    "infinite": json.dumps(MEMBERS | {"taskIndex": float("inf")}).encode(),
    "a number of 5000 digits": json.dumps(MEMBERS)[:-1].encode() + b',"x":' + b"9" * 5000 + b"}",
    "an index of 400 digits": json.dumps(MEMBERS | {"taskIndex": 10**400}).encode(),
    "half of a pair": json.dumps(MEMBERS)[:-1].encode() + b',"x":"\\ud800"}',
    "NUL": json.dumps(MEMBERS | {"chainTaskId": "\0"}).encode(),
    "nested lists": b"[" * 200_000,
    "nested objects": b'{"a":' * 50_000,
    "nested in a member": json.dumps(MEMBERS)[:-1].encode() + b',"x":' + b"[" * 20_000 + b"]" * 20_000 + b"}",
    "comments": b"/* */" + json.dumps(MEMBERS).encode(),
    "a comma too many": json.dumps(MEMBERS)[:-1].encode() + b",}",
    "text after it": json.dumps(MEMBERS).encode() + b"x",
    "a signature that is a list": json.dumps(MEMBERS | {"signature": []}).encode(),
    "a wallet that is a number": json.dumps(MEMBERS | {"workerWallet": 1}).encode(),
    "null": b"null",
    "nothing": b"",
}


@pytest.mark.parametrize("body", JSON_BODIES.values(), ids=JSON_BODIES)
def test_bodies_that_are_no_authorization(program: SmsProcess, body: bytes) -> None:
    length = b"Content-Length: %d" % len(body)
    sent = post(b"Authorization: " + GOOD.encode(), length, body=body, path=b"/tee/sessions")
    assert asked(program, sent) in {400, 401, 413}  # 401: the signature is over another hash


def test_a_body_that_never_ends_is_cut_off(program: SmsProcess) -> None:
    """Chunks without end: the answer comes when the limit is reached, and then the server hangs up."""

    def chunks() -> Iterator[bytes]:
        yield post(SIGNED, b"Transfer-Encoding: chunked", body=b"")
        for _ in range(2_000):
            yield b"8000\r\n" + b"v" * 0x8000 + b"\r\n"

    before = program.memory_kb()
    assert status_of(exchange(program.port, chunks())) in {0, 413}
    assert program.memory_kb() - before < GROWTH_KB


def test_those_who_never_finish_do_not_keep_others_from_being_served(program: SmsProcess) -> None:
    """A hundred connections that send half a request and wait."""
    stop = threading.Event()

    def half() -> Iterator[bytes]:
        yield post(SIGNED, b"Content-Length: 100", body=b"v")
        stop.wait(20)

    waiting = [threading.Thread(target=exchange, args=(program.port, half())) for _ in range(100)]
    for each in waiting:
        each.start()
    try:
        assert program.http.get("/tee/framework").status_code == 200
        assert asked(program, post(SIGNED, b"Content-Length: 1")) == 401
    finally:
        stop.set()
        for each in waiting:
            each.join(30)


LINES: Final = st.binary(max_size=40) | st.sampled_from(
    [HOST, SIGNED, b"Content-Length: 1", b"Transfer-Encoding: chunked"]
)
STARTS: Final = st.sampled_from([b"POST " + WEB2 + b" HTTP/1.1", b"GET /tee/framework HTTP/1.1", b"HEAD * HTTP/1.0"])


@settings(max_examples=150, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(STARTS | st.binary(max_size=60), st.lists(LINES, max_size=5), st.binary(max_size=60))
def test_any_bytes(program: SmsProcess, start: bytes, lines: list[bytes], body: bytes) -> None:
    assert asked(program, request(start, *lines, body=body)) < 500
