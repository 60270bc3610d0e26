"""The simulated certificate service over a real socket, read by the same client that reads real ones."""

from __future__ import annotations

import socket
import threading
import time
from collections.abc import Iterator

import pytest
import uvicorn
from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding
from tests.platform.world import World

from adyton.attestation.collateral import CollateralCache, PccsClient
from adyton.attestation.pck import CaKind
from adyton.attestation.verify import Verifier
from adyton.base.errors import UnavailableError
from adyton.platform.simulated.pccs import PREFIX, build_router
from adyton.web.app import new_app
from adyton.web.client import HttpClient

M1 = b"\x01" * 32


@pytest.fixture(scope="module")
def world() -> World:
    return World()


@pytest.fixture(scope="module")
def url(world: World) -> Iterator[str]:
    app = new_app("simulated certificate service", "test")
    app.include_router(build_router(world.vendor, clock=world.clock))
    listener = socket.create_server(("127.0.0.1", 0))
    server = uvicorn.Server(uvicorn.Config(app, log_level="warning", lifespan="off"))
    thread = threading.Thread(target=server.run, kwargs={"sockets": [listener]})
    thread.start()
    while not server.started:
        time.sleep(0.01)
    yield f"http://127.0.0.1:{listener.getsockname()[1]}"
    server.should_exit = True
    thread.join()
    listener.close()


@pytest.fixture
def client(url: str) -> Iterator[PccsClient]:
    pccs = PccsClient(url)
    yield pccs
    pccs.close()


def test_the_client_reads_exactly_what_the_vendor_issues(world: World, client: PccsClient) -> None:
    assert client.fetch(world.vendor.fmspc, CaKind.PLATFORM) == world.collateral()


def test_a_quote_is_verified_with_collateral_from_the_service(world: World, client: PccsClient) -> None:
    verifier = Verifier(CollateralCache(client, clock=world.clock), clock=world.clock)
    evidence = verifier.verify(world.platform(M1).quote(bytes(64)), world.policy(M1))
    assert evidence.tier == world.anchor.tier


@pytest.mark.parametrize(("fmspc", "ca"), [("00a067110000", CaKind.PLATFORM), ("53494d000000", CaKind.PROCESSOR)])
def test_there_is_no_collateral_for_other_platforms(client: PccsClient, fmspc: str, ca: CaKind) -> None:
    with pytest.raises(UnavailableError):
        client.fetch(fmspc, ca)


@pytest.mark.parametrize(
    ("path", "status"),
    [
        ("/tcb", 422),
        ("/tcb?fmspc=", 400),
        ("/tcb?fmspc=zzzzzzzzzzzz", 400),
        ("/tcb?fmspc=00a067110000", 404),
        ("/pckcrl?ca=other", 422),
        ("/pckcrl?ca=processor", 404),
        ("/pckcert", 404),
    ],
)
def test_wrong_requests(url: str, path: str, status: int) -> None:
    http = HttpClient(url, "certificate service")
    assert http.request("GET", PREFIX + path, expect=(status,)).status_code == status
    http.close()


def test_lists_come_in_the_forms_of_the_real_service(world: World, url: str) -> None:
    http = HttpClient(url, "certificate service")
    der = world.collateral().pck_crl
    pem = http.request("GET", f"{PREFIX}/pckcrl?ca=platform").content
    assert x509.load_pem_x509_crl(pem).public_bytes(Encoding.DER) == der
    assert http.request("GET", f"{PREFIX}/pckcrl?ca=platform&encoding=der").content == der
    root = http.request("GET", f"{PREFIX}/rootcacrl")
    assert bytes.fromhex(root.text) == world.collateral().root_ca_crl
    certificate = x509.load_pem_x509_certificate(http.request("GET", f"{PREFIX}/rootca").content)
    assert certificate.public_bytes(Encoding.DER) == world.vendor.root_der
    http.close()
