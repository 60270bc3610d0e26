"""The simulated certificate service over a real socket, read by the same client that reads real ones."""

from __future__ import annotations

import json
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from datetime import timedelta
from urllib.parse import unquote

import dcap_qvl
import pytest
import uvicorn
from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding
from tests.platform.world import World

from adyton.attestation.collateral.cache import CollateralCache
from adyton.attestation.collateral.pccs import PccsClient
from adyton.attestation.dcap.assessment import verify_quote
from adyton.attestation.dcap.judge import read_pck
from adyton.attestation.dcap.pck import CaKind
from adyton.attestation.dcap.verify import Verifier
from adyton.attestation.errors import AttestationError
from adyton.attestation.formats.quote import parse_quote
from adyton.attestation.verdict import EvidenceKind
from adyton.base.errors import UnavailableError
from adyton.platform.simulated.pccs import PREFIX, TDX_PREFIX, build_router
from adyton.web.app import new_app
from adyton.web.client import HttpClient

M1 = b"\x01" * 32


@pytest.fixture(scope="module")
def world() -> World:
    return World()


@contextmanager
def serving(world: World) -> Iterator[str]:
    app = new_app("simulated certificate service", "test")
    app.include_router(build_router(world.vendor, clock=world.clock))
    listener = socket.create_server(("127.0.0.1", 0))
    server = uvicorn.Server(uvicorn.Config(app, log_level="warning", lifespan="off"))
    thread = threading.Thread(target=server.run, kwargs={"sockets": [listener]})
    thread.start()
    while not server.started:
        time.sleep(0.01)
    try:
        yield f"http://127.0.0.1:{listener.getsockname()[1]}"
    finally:
        server.should_exit = True
        thread.join()
        listener.close()


@pytest.fixture(scope="module")
def url(world: World) -> Iterator[str]:
    with serving(world) as address:
        yield address


@pytest.fixture(scope="module")
def http(url: str) -> Iterator[HttpClient]:
    client = HttpClient(url, "certificate service")
    yield client
    client.close()


@pytest.fixture
def client(url: str) -> Iterator[PccsClient]:
    pccs = PccsClient(url)
    yield pccs
    pccs.close()


@pytest.mark.parametrize("kind", [EvidenceKind.SGX, EvidenceKind.TDX])
def test_the_client_reads_exactly_what_the_vendor_issues(world: World, client: PccsClient, kind: EvidenceKind) -> None:
    assert client.fetch(world.vendor.fmspc, CaKind.PLATFORM, kind) == world.collateral(kind)


# In a process of its own, left without the interpreter's shutdown, which this library's runtime does not survive.
_FETCH = """
import asyncio, os, sys
import dcap_qvl

async def fetch():
    return await dcap_qvl.get_collateral(sys.argv[1], bytes.fromhex(sys.argv[2]))

sys.stdout.write(asyncio.run(fetch()).to_json())
sys.stdout.flush()
os._exit(0)
"""


@pytest.mark.parametrize("kind", [EvidenceKind.SGX, EvidenceKind.TDX])
def test_an_independent_client_reads_it_too(world: World, url: str, kind: EvidenceKind) -> None:
    quote = world.td_quote(bytes(64)) if kind is EvidenceKind.TDX else world.enclave_quote(M1, bytes(64))
    command = [sys.executable, "-c", _FETCH, url, quote.hex()]
    answer = subprocess.run(command, capture_output=True, text=True, timeout=20, check=True)
    fetched = json.loads(answer.stdout)
    expected = json.loads(world.collateral(kind).to_json())
    assert {name: fetched[name] for name in expected} == expected
    collateral = dcap_qvl.QuoteCollateralV3.from_json(answer.stdout)
    now = int(world.now.timestamp())
    assert dcap_qvl.verify_with_root_ca(quote, collateral, world.vendor.root_der, now).status == "UpToDate"


def test_a_quote_is_verified_with_collateral_from_the_service(world: World, client: PccsClient) -> None:
    verifier = Verifier(CollateralCache(client, [world.anchor], clock=world.clock), clock=world.clock)
    evidence = verifier.verify(world.platform(M1).quote(bytes(64)), world.policy(M1))
    assert evidence.tier == world.anchor.tier


@pytest.mark.parametrize(("fmspc", "ca"), [("00a067110000", CaKind.PLATFORM), ("53494d000000", CaKind.PROCESSOR)])
def test_there_is_no_collateral_for_other_platforms(client: PccsClient, fmspc: str, ca: CaKind) -> None:
    with pytest.raises(UnavailableError):
        client.fetch(fmspc, ca)


@pytest.mark.parametrize("prefix", [PREFIX, TDX_PREFIX], ids=["SGX", "TDX"])
@pytest.mark.parametrize(
    ("path", "status"),
    [
        ("/tcb", 400),
        ("/tcb?fmspc=", 400),
        ("/tcb?fmspc=53494d00000", 400),
        ("/tcb?fmspc=53494d0000000", 400),
        ("/tcb?fmspc=zzzzzzzzzzzz", 400),
        ("/tcb?fmspc=" + "0" * 4000, 400),
        ("/tcb?fmspc=00a067110000", 404),
        ("/tcb?fmspc=53494d000000&update=later", 400),
        ("/tcb?fmspc=53494d000000&update=", 400),
        ("/tcb?fmspc=53494d000000&update=early&tcbEvaluationDataNumber=17", 400),
        ("/tcb?fmspc=53494d000000&tcbEvaluationDataNumber=x", 400),
        ("/tcb?fmspc=53494d000000&tcbEvaluationDataNumber=-1", 400),
        ("/tcb?fmspc=53494d000000&tcbEvaluationDataNumber=99999999999999999999", 400),
        ("/tcb?fmspc=53494d000000&tcbEvaluationDataNumber=18", 404),
        ("/tcb?fmspc=53494d000000&tcbEvaluationDataNumber=16", 410),
        ("/qe/identity?update=later", 400),
        ("/qe/identity?update=standard&tcbEvaluationDataNumber=17", 400),
        ("/qe/identity?tcbEvaluationDataNumber=18", 404),
        ("/qe/identity?tcbEvaluationDataNumber=16", 410),
        ("/qve/identity", 404),
    ],
)
def test_wrong_requests_for_documents(http: HttpClient, prefix: str, path: str, status: int) -> None:
    assert http.request("GET", prefix + path, expect=(status,)).status_code == status


@pytest.mark.parametrize(
    ("path", "status"),
    [
        ("/pckcrl", 400),
        ("/pckcrl?ca=", 400),
        ("/pckcrl?ca=other", 400),
        ("/pckcrl?ca=platform&encoding=json", 400),
        ("/pckcrl?ca=processor", 404),
        ("/pckcert", 404),
    ],
)
def test_wrong_requests_for_certificates(http: HttpClient, path: str, status: int) -> None:
    assert http.request("GET", PREFIX + path, expect=(status,)).status_code == status


def test_a_refusal_says_why_in_its_headers(http: HttpClient) -> None:
    answer = http.request("GET", f"{PREFIX}/tcb?fmspc=x", expect=(400,))
    assert (answer.content, answer.headers["Error-Code"]) == (b"", "InvalidRequestSyntax")
    assert "fmspc" in answer.headers["Error-Message"]


def test_every_answer_has_its_own_request_id(http: HttpClient) -> None:
    paths = ["/rootca", "/rootcacrl", "/pckcrl?ca=platform", "/pckcrl?ca=processor", "/qe/identity"]
    answers = [http.request("GET", PREFIX + path, expect=(200, 404)) for path in paths * 2]
    assert len({answer.headers["Request-ID"] for answer in answers}) == 10


@pytest.mark.parametrize(
    ("prefix", "kind"), [(PREFIX, EvidenceKind.SGX), (TDX_PREFIX, EvidenceKind.TDX)], ids=["SGX", "TDX"]
)
def test_documents_come_signed_with_their_issuer_chain_in_a_header(
    world: World, http: HttpClient, prefix: str, kind: EvidenceKind
) -> None:
    expected = world.collateral(kind)
    answer = http.request("GET", f"{prefix}/tcb?fmspc={world.vendor.fmspc.upper()}")
    assert answer.headers["Content-Type"] == "application/json"
    assert answer.content == signed("tcbInfo", expected.tcb_info, expected.tcb_info_signature)
    raw = answer.headers["TCB-Info-Issuer-Chain"]
    assert "\n" not in raw
    assert " " not in raw
    assert unquote(raw) == expected.tcb_info_issuer_chain
    answer = http.request("GET", f"{prefix}/qe/identity")
    assert answer.content == signed("enclaveIdentity", expected.qe_identity, expected.qe_identity_signature)
    assert unquote(answer.headers["SGX-Enclave-Identity-Issuer-Chain"]) == expected.qe_identity_issuer_chain


def signed(member: str, text: str, signature: bytes) -> bytes:
    return f'{{"{member}":{text},"signature":"{signature.hex()}"}}'.encode()


def test_lists_come_in_the_forms_of_the_real_service(world: World, http: HttpClient) -> None:
    collateral = world.collateral()
    pem = http.request("GET", f"{PREFIX}/pckcrl?ca=platform")
    assert x509.load_pem_x509_crl(pem.content).public_bytes(Encoding.DER) == collateral.pck_crl
    assert pem.headers["Content-Type"] == "application/x-pem-file"
    assert unquote(pem.headers["SGX-PCK-CRL-Issuer-Chain"]) == collateral.pck_crl_issuer_chain
    assert http.request("GET", f"{PREFIX}/pckcrl?ca=platform&encoding=pem").content == pem.content
    der = http.request("GET", f"{PREFIX}/pckcrl?ca=platform&encoding=der")
    assert (der.content, der.headers["Content-Type"]) == (collateral.pck_crl, "application/pkix-crl")
    root = http.request("GET", f"{PREFIX}/rootcacrl")
    assert bytes.fromhex(root.text) == collateral.root_ca_crl
    certificate = x509.load_pem_x509_certificate(http.request("GET", f"{PREFIX}/rootca").content)
    assert certificate.public_bytes(Encoding.DER) == world.vendor.root_der


@pytest.mark.parametrize("prefix", [PREFIX, TDX_PREFIX], ids=["SGX", "TDX"])
def test_early_documents_are_for_those_who_ask(prefix: str) -> None:
    def number(path: str, member: str) -> int:
        found = client.request("GET", prefix + path).json()[member]["tcbEvaluationDataNumber"]
        assert isinstance(found, int)
        return found

    world = World()
    world.vendor.early = replace(world.vendor.catalogue, evaluation_number=19)
    with serving(world) as url:
        client = HttpClient(url, "certificate service")
        for path, member in ((f"/tcb?fmspc={world.vendor.fmspc}&", "tcbInfo"), ("/qe/identity?", "enclaveIdentity")):
            assert number(path, member) == number(path + "update=standard", member) == 17
            assert number(path + "update=early", member) == 19
            assert number(path + "tcbEvaluationDataNumber=17", member) == 17
            assert number(path + "tcbEvaluationDataNumber=19", member) == 19
            for unknown, status in ((16, 410), (18, 404), (20, 404)):
                client.request("GET", f"{prefix}{path}tcbEvaluationDataNumber={unknown}", expect=(status,))
        client.close()


def test_documents_are_renewed_long_before_they_expire() -> None:
    world = World()
    with serving(world) as url:
        pccs = PccsClient(url)
        seen = []
        for _day in range(25):
            collateral = pccs.fetch(world.vendor.fmspc, CaKind.PLATFORM)
            start, end = collateral.window()
            assert start < world.now < end - timedelta(days=19)
            seen.append(collateral)
            world.now += timedelta(days=1)
        pccs.close()
    assert len(set(seen)) in {3, 4}
    old, new = seen[0], seen[-1]
    quote = world.platform(M1).quote(bytes(64))
    world.now = old.window()[1] + timedelta(seconds=1)
    with pytest.raises(AttestationError) as caught:
        verify_quote(quote, old, world.policy(M1), world.now)
    assert caught.value.code == "attestation.validity"
    assert verify_quote(quote, new, world.policy(M1), world.now).tier == world.anchor.tier


def test_what_the_vendor_says_anew_is_served_at_once() -> None:
    world = World()
    with serving(world) as url:
        pccs = PccsClient(url)
        leaf = read_pck(parse_quote(world.platform(M1).quote(bytes(64)))).chain[0]
        before = pccs.fetch(world.vendor.fmspc, CaKind.PLATFORM)
        world.vendor.catalogue = replace(world.vendor.catalogue, revoked_pcks=frozenset({leaf.serial_number}))
        after = pccs.fetch(world.vendor.fmspc, CaKind.PLATFORM)
        pccs.close()
    lists = [x509.load_der_x509_crl(collateral.pck_crl) for collateral in (before, after)]
    found = [crl.get_revoked_certificate_by_serial_number(leaf.serial_number) for crl in lists]
    assert [entry is not None for entry in found] == [False, True]
