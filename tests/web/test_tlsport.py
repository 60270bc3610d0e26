"""One application on two ports, plain and TLS: the same state, client certificates seen, and one orderly end."""

from __future__ import annotations

import hashlib
import signal
import ssl
import subprocess
import sys
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import httpx2
import pytest
from tests.ports import free_port
from tests.waiting import PATIENCE_S, until
from tests.web.test_peercert import self_signed

from adyton.web.server import PortInUseError, TlsPort, listen, serve

_PROGRAM = """
import asyncio, hashlib, sys
from contextlib import asynccontextmanager
from fastapi import FastAPI, Request
from tests.web.test_peercert import self_signed
from adyton.web.peercert import client_certificate, server_context
from adyton.web.server import TlsPort, serve

@asynccontextmanager
async def lifespan(app):
    print("begun", flush=True)
    yield
    print("ended", flush=True)

app = FastAPI(lifespan=lifespan)
seen = []

@app.get("/")
def root(request: Request):
    certificate = client_certificate(dict(request.scope))
    seen.append(request.url.scheme)
    return {"client": certificate and hashlib.sha256(certificate).hexdigest(), "seen": seen}

@app.get("/slow")
async def slow():
    print("asked", flush=True)
    await asyncio.sleep(0.5)
    return "answered"

shown = self_signed()
context = server_context(shown.certificate, shown.key)
serve(app, "127.0.0.1", int(sys.argv[1]), tls=TlsPort(int(sys.argv[2]), lambda: context), ws="none")
"""


@dataclass
class Running:
    """The program."""

    process: subprocess.Popen[str]
    plain: str
    tls: str
    log: Path


def unverified() -> ssl.SSLContext:
    context = ssl.create_default_context()
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    return context


@pytest.fixture
def running(tmp_path: Path) -> Iterator[Running]:
    plain, tls, log = free_port(), free_port(), tmp_path / "log"
    with (
        log.open("w") as stream,
        subprocess.Popen(
            [sys.executable, "-c", _PROGRAM, str(plain), str(tls)],
            stdout=stream,
            stderr=stream,
            text=True,
            cwd=Path(__file__).parents[2],
        ) as process,
    ):
        try:
            found = Running(process, f"http://127.0.0.1:{plain}", f"https://127.0.0.1:{tls}", log)
            until(lambda: process.poll() is not None or answers(found), what="the start")
            assert process.poll() is None, log.read_text()
            yield found
        finally:
            process.kill()


def answers(found: Running) -> bool:
    try:
        return httpx2.get(found.tls, verify=unverified(), trust_env=False).status_code == 200
    except httpx2.HTTPError:
        return False


def test_both_ports_are_one_application(running: Running, tmp_path: Path) -> None:
    pair = self_signed()
    known = unverified()
    known.load_cert_chain(pair.write(tmp_path))
    assert httpx2.get(running.plain).json()["client"] is None
    assert httpx2.get(running.tls, verify=unverified()).json()["client"] is None
    answer = httpx2.get(running.tls, verify=known).json()
    assert answer["client"] == hashlib.sha256(pair.der).hexdigest()
    assert answer["seen"][-3:] == ["http", "https", "https"]


def test_an_end_waits_for_the_requests_of_both(running: Running) -> None:
    with ThreadPoolExecutor() as hands:
        slow = [
            hands.submit(httpx2.get, f"{url}/slow", verify=unverified(), timeout=PATIENCE_S)
            for url in (running.plain, running.tls)
        ]
        until(lambda: running.log.read_text().count("asked") == 2)
        running.process.send_signal(signal.SIGTERM)
        assert [each.result().text for each in slow] == ['"answered"'] * 2
    running.process.wait(PATIENCE_S)
    assert running.log.read_text().split() == ["begun", "asked", "asked", "ended"]


def test_a_taken_tls_port_stops_the_start() -> None:
    taken = listen("127.0.0.1", 0)
    port = taken.getsockname()[1]

    def never() -> None:
        raise AssertionError("nobody connects")

    with pytest.raises(PortInUseError, match=str(port)):
        serve(None, "127.0.0.1", free_port(), tls=TlsPort(port, never), ws="none")  # type: ignore[arg-type]  # makes none
    taken.close()
