"""The service's own proof: what it is over, and the routes and the port that it is had from."""

from __future__ import annotations

import ssl
from datetime import UTC, datetime, timedelta
from pathlib import Path

import httpx2
import pytest
from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding
from tests.platform.world import World
from tests.sms.attested import SMS, prover, sms_over_tls, unverified
from tests.sms.support import running

from adyton.attestation.errors import AttestationError
from adyton.attestation.formats.report_data import CAS_ATTESTATION, SMS_ATTESTATION, SMS_SERVER
from adyton.base.errors import InputError, NotFoundError
from adyton.platform.protocol import PlatformError
from adyton.sms.prover import Prover

NOW = datetime(2026, 11, 22, 12, tzinfo=UTC)
NONCE = "01" * 32


class Silent:
    """A platform that does not quote."""

    def quote(self, report_data: bytes) -> bytes:
        del report_data
        raise PlatformError("the platform is gone", code="platform.gone")


def answered(of: Prover, nonce: str = NONCE) -> bytes:
    pem = of.attestation(nonce).certificate
    return x509.load_pem_x509_certificate(pem.encode()).public_bytes(Encoding.DER)


def test_an_answer_is_for_its_nonce_and_purpose_only() -> None:
    world = World(now=NOW)
    der = answered(prover(world))
    verify = world.verifier().verify_certificate
    evidence = verify(der, purpose=SMS_ATTESTATION, nonce=bytes.fromhex(NONCE), policy=world.policy(SMS))
    assert evidence.measurements["mrenclave"] == SMS.hex()
    for purpose, nonce in ((SMS_SERVER, NONCE), (CAS_ATTESTATION, NONCE), (SMS_ATTESTATION, "02" * 32)):
        with pytest.raises(AttestationError):
            verify(der, purpose=purpose, nonce=bytes.fromhex(nonce), policy=world.policy(SMS))


def test_the_certificate_of_the_port_is_renewed_and_its_key_stays() -> None:
    world = World(now=NOW)
    of = prover(world)
    first = of.context()
    world.now = NOW + timedelta(minutes=29)
    assert of.context() is first
    before = x509.load_der_x509_certificate(answered(of)).public_key()
    world.now = NOW + timedelta(minutes=30)
    assert of.context() is not first
    assert x509.load_der_x509_certificate(answered(of)).public_key() == before


@pytest.mark.parametrize("nonce", ["", "zz" * 32, "01" * 15, "01" * 65, "0"])
def test_nonces_have_bounds(nonce: str) -> None:
    with pytest.raises(InputError) as caught:
        prover().attestation(nonce)
    assert caught.value.code == "sms.request.nonce"


def test_collateral_is_of_the_own_platform() -> None:
    world = World(now=NOW)
    assert prover(world).collateral() == world.collateral()
    with pytest.raises(NotFoundError):
        Prover(world.platform(SMS), anchors=(world.anchor,)).collateral()


def test_the_routes_over_tls_only_1_3(tmp_path: Path) -> None:
    with sms_over_tls(tmp_path) as url, httpx2.Client(base_url=url, verify=unverified()) as http:
        assert http.get("/attestation", params={"nonce": NONCE}).status_code == 200
        assert http.get("/version").status_code == 200
        refused = http.get("/attestation", params={"nonce": "00"})
        assert (refused.status_code, refused.json()["code"]) == (400, "sms.request.nonce")
        assert http.get("/attestation").status_code == 400
        assert {"/attestation", "/v1/collateral"} <= set(http.get("/v3/api-docs").json()["paths"])
        old = unverified()
        old.maximum_version = ssl.TLSVersion.TLSv1_2
        with pytest.raises(httpx2.ConnectError):
            httpx2.get(f"{url}/version", verify=old)


def test_asking_is_limited(tmp_path: Path) -> None:
    with sms_over_tls(tmp_path, requests_per_s=1) as url, httpx2.Client(base_url=url, verify=unverified()) as http:
        for asked in (f"/attestation?nonce={NONCE}", "/v1/collateral"):
            assert 429 in {http.get(asked).status_code for _ in range(20)}, asked


def test_a_platform_that_does_not_quote(tmp_path: Path) -> None:
    of = prover()
    with sms_over_tls(tmp_path, of) as url, httpx2.Client(base_url=url, verify=unverified()) as http:
        assert http.get("/version").status_code == 200  # the certificate is made by now
        of._key._source = Silent()  # the platform dies under a running service
        answer = http.get("/attestation", params={"nonce": NONCE})
    assert (answer.status_code, answer.json()["code"]) == (503, "platform.gone")


def test_without_a_prover_there_are_no_such_routes(tmp_path: Path) -> None:
    with running(tmp_path) as service:
        assert service.send("GET", "/attestation", nonce=NONCE).status_code == 404
        assert "/attestation" not in service.http.get("/v3/api-docs").json()["paths"]
