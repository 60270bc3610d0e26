"""A CAS that runs for days, and services that keep their identities over an exchange of its authority."""

from __future__ import annotations

import ssl
from datetime import timedelta
from pathlib import Path

import pytest
from cryptography import x509
from structlog.testing import capture_logs
from tests.cas.client.test_peers import talk
from tests.cas.documents import APP, POST, iexec_document, small_document, to_yaml
from tests.cas.house import CAS, House, Running, real_time
from tests.cas.test_rotation import AdminHouse

from adyton.cas.client.answers import ServiceConfig
from adyton.cas.client.kept import KeptSessionClient
from adyton.cas.client.operator import OperatorFiles, open_client
from adyton.cas.client.peers import check_peer, mutual_context
from adyton.cas.client.tls import tcp
from adyton.cas.face.identity import CasIdentityError
from adyton.cas.operation import rotate_keys
from adyton.runtime.identity import next_renewal_s


def shown(port: int) -> x509.Certificate:
    return x509.load_pem_x509_certificate(ssl.get_server_certificate(("127.0.0.1", port)).encode())


def test_both_ports_have_valid_certificates_for_days(house: House) -> None:
    """It starts three days ago and nothing is done to it; the clients' own clock is the real one at the end."""
    world = house.world
    world.now = real_time() - timedelta(days=3)
    with house.open() as cas:
        first = shown(cas.rest_port)
        for hours in (11, 25, 49, 72):
            world.now = real_time() - timedelta(days=3) + timedelta(hours=hours)
            for port in (cas.rest_port, cas.attested_port):
                certificate = shown(port)
                assert certificate.not_valid_before_utc <= world.now
                assert certificate.not_valid_after_utc - world.now >= timedelta(minutes=30)
        assert first.not_valid_after_utc < world.now
        owner = cas.owner()  # both ports are verified as a client does, at its time
        owner.create(to_yaml(small_document(name="example")))
        assert cas.enclave(world.platform(bytes.fromhex(APP))).fetch("example", "app").certificate


def test_identities_are_renewed_before_they_end(cas: Running) -> None:
    """What a long-running enclave, as the SMS, waits: :mod:`adyton.runtime.identity` does it with what it gets here."""
    cas.owner().create(to_yaml(small_document(name="long")))
    part = cas.enclave(cas.world.platform(bytes.fromhex(APP))).fetch("long", "app")
    certificate = x509.load_pem_x509_certificate(part.certificate.encode())
    wait = next_renewal_s(part.certificate, cas.world.now)
    end = certificate.not_valid_after_utc - cas.world.now
    assert timedelta(hours=1) < timedelta(seconds=wait) < end - timedelta(hours=1)


@pytest.fixture
def administered(house: House) -> AdminHouse:
    return AdminHouse(house.world, house.pccs_url, house.folder)


def files(part: ServiceConfig, folder: Path) -> tuple[Path, Path]:
    """As the agent writes them."""
    folder.mkdir()
    identity, root = folder / "identity.pem", folder / "cas-ca.pem"
    identity.write_bytes(part.private_key.reveal() + part.certificate.encode())
    root.write_text(part.ca)
    return identity, root


def test_services_go_on_over_an_exchange_of_the_authority(administered: AdminHouse, tmp_path: Path) -> None:
    """One has not renewed its identity and root yet, the other one has; each believes the other, and both the CAS."""
    document = iexec_document()
    name = document["name"]
    with administered.open() as cas:
        cas.owner().create(to_yaml(document))
        app, post = (cas.enclave(cas.world.platform(bytes.fromhex(measured))) for measured in (APP, POST))
        before = files(app.fetch(name, "app"), tmp_path / "before")
        cas.owner("operator")
        rotate_keys(cas.url, cas.folder / "operator")
        renewed = post.fetch(name, "post-compute")
        after = files(renewed, tmp_path / "after")
        at_client, at_server = talk(mutual_context(*before, server=False), mutual_context(*after, server=True))
        tiers = {cas.world.anchor.tier}
        assert check_peer(at_client, session=name, services={"post-compute"}, tiers=tiers)
        assert check_peer(at_server, session=name, services={"app"}, tiers=tiers)
        talk(mutual_context(*after, server=False), mutual_context(*before, server=True))
        for identity, root in (before, after):  # as the SMS is a client of the CAS
            client = KeptSessionClient(tcp("127.0.0.1", cas.rest_port), identity, identity, root)
            assert client.create(to_yaml(small_document(name=f"of-{identity.parent.name}")).decode()).name
            client.close()
        assert len(x509.load_pem_x509_certificates(renewed.ca.encode())) == 2
        assert len(x509.load_pem_x509_certificates(renewed.certificate.encode())) == 2


def test_hours_after_an_exchange_the_former_root_is_forgotten(administered: AdminHouse) -> None:
    world = administered.world
    world.now = real_time() - timedelta(hours=5)
    exchange_now(administered)
    world.now = real_time()
    with administered.open() as cas:
        cas.owner().create(to_yaml(small_document(name="example")))
        part = cas.enclave(world.platform(bytes.fromhex(APP))).fetch("example", "app")
    assert len(x509.load_pem_x509_certificates(part.ca.encode())) == 1
    assert len(x509.load_pem_x509_certificates(part.certificate.encode())) == 1


def test_a_root_that_was_kept_for_too_long_is_named_and_attesting_again_helps(administered: AdminHouse) -> None:
    world = administered.world
    world.now = real_time() - timedelta(days=91)
    with administered.open() as cas:
        cas.owner()
        cas.owner("operator")
        kept = OperatorFiles(cas.folder / "owner").root.read_bytes()
    exchange_now(administered)
    world.now = real_time()
    with administered.open() as cas:
        client = open_client(cas.url, cas.folder / "owner")
        with pytest.raises(CasIdentityError) as caught:
            client.create(to_yaml(small_document(name="example")))
        assert caught.value.code == "cas.identity.certificate"
        assert "adyton cas attest" in (caught.value.hint or "")
        cas.owner().create(to_yaml(small_document(name="example")))
        assert OperatorFiles(cas.folder / "owner").root.read_bytes() != kept


def test_a_root_that_ends_soon_is_told_until_it_is_exchanged(house: House) -> None:
    world = house.world
    world.now = real_time() - timedelta(days=5 * 365 - 179)
    assert not warned_at_start(house)
    world.now = real_time()
    assert warned_at_start(house)
    exchange_now(house)
    assert not warned_at_start(house)


def warned_at_start(house: House) -> bool:
    """Whether a start says that the root ends soon."""
    with capture_logs() as lines:
        house.build().close()
    return any("ends soon" in line["event"] for line in lines)


def exchange_now(house: House) -> None:
    """Exchange the keys at the world's time, without a client, whose TLS knows only the real one."""
    cas = house.build(platform=house.world.platform(CAS))
    cas.state.rotate_keys("00" * 32)
    cas.close()
