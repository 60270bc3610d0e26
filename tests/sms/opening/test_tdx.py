"""TDX (protocol, section 5.5): a service of its own framework, sessions posted to a storage over verified TLS."""

from __future__ import annotations

import json
import ssl
import threading
from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from ipaddress import ip_address
from pathlib import Path
from typing import Any

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from cryptography.x509.oid import NameOID
from tests.sms.http.test_tee_api import ask_challenge, ask_session, push_token
from tests.sms.support import MRENCLAVE, WORKER, authorization, bought_task, running

from adyton.base.secret import Secret
from adyton.base.types import parse_bytes32
from adyton.sms.opening.session_stores import SessionStoreError, TdxSessionStore
from adyton.sms.wire import Framework

TDX_TAG = parse_bytes32("0x" + "00" * 31 + "09")
REMOTE = "https://storage.example:9999/attest?x=1"
SETTINGS: dict[str, Any] = {
    "framework": Framework.TDX,
    "provisioner_post_url": "https://storage.example",
    "remote_attestation_url": REMOTE,
}


def test_a_session_of_a_trust_domain(tmp_path: Path) -> None:
    chain = bought_task()
    chain.change_deal(tag=TDX_TAG)
    chain.change_app(mrenclave="")  # current clients leave it empty
    with running(tmp_path, chain, **SETTINGS) as service:
        assert service.http.get("/tee/framework").json() == "TDX"
        properties = service.http.get("/tee/properties/tdx/v1").json()
        assert properties["teeFramework"] == "TDX"
        assert "lasImage" not in properties
        challenge = ask_challenge(service).text
        push_token(service)
        answer = ask_session(service, authorization(challenge))
        assert answer.json()["data"]["secretProvisioningUrl"] == REMOTE
        (document,) = service.store.documents
        assert [each["name"] for each in document["services"]] == ["app", "post-compute"]
        assert document["services"][0]["image_name"] == "registry/app:1"
        assert document["services"][0]["fingerprint"] == "0x" + "5a" * 32
        assert document["services"][1]["environment"]["SIGN_WORKER_ADDRESS"] == WORKER.address


@pytest.mark.parametrize("low", [0x03, 0x05, 0x01])
def test_deals_of_other_frameworks_are_not_its(tmp_path: Path, low: int) -> None:
    chain = bought_task()
    chain.change_deal(tag=parse_bytes32(f"0x{low:064x}"))
    chain.change_app(mrenclave=MRENCLAVE)
    with running(tmp_path, chain, **SETTINGS) as service:
        assert ask_challenge(service).status_code == 401
        answer = ask_session(service, authorization("0x" + "ee" * 20))
        assert answer.json() == {"error": "EXECUTION_NOT_AUTHORIZED_NO_MATCH_ONCHAIN_TYPE"}


# -- the storage --------------------------------------------------------------------------------------------------


@dataclass
class Storage:
    """A session storage on a real TLS socket."""

    url: str
    ca_file: Path
    identity_file: Path
    status: int = 200
    received: list[tuple[str, str, bytes, bool]] = field(default_factory=list)


def certificate(folder: Path, name: str) -> Path:
    """A PEM file with a fresh key and its self-signed certificate for 127.0.0.1."""
    key = ec.generate_private_key(ec.SECP256R1())
    subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
    now = datetime.now(UTC)
    made = (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(subject)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - timedelta(hours=1))
        .not_valid_after(now + timedelta(hours=1))
        .add_extension(x509.SubjectAlternativeName([x509.IPAddress(ip_address("127.0.0.1"))]), critical=False)
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(key.public_key()), critical=False)
        .add_extension(
            x509.KeyUsage(
                digital_signature=True,
                key_cert_sign=True,
                crl_sign=True,
                content_commitment=False,
                key_encipherment=False,
                data_encipherment=False,
                key_agreement=False,
                encipher_only=False,
                decipher_only=False,
            ),
            critical=True,
        )
        .sign(key, hashes.SHA256())
    )
    file = folder / f"{name}.pem"
    private = key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
    file.write_bytes(private + made.public_bytes(Encoding.PEM))
    return file


@pytest.fixture
def storage(tmp_path: Path) -> Iterator[Storage]:
    server_file, client_file = certificate(tmp_path, "server"), certificate(tmp_path, "client")
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(server_file)
    context.load_verify_locations(client_file)
    context.verify_mode = ssl.CERT_OPTIONAL
    started = Storage("", server_file, client_file)

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["Content-Length"]))
            shown = self.connection.getpeercert() is not None
            started.received.append((self.path, self.headers["Content-Type"], body, shown))
            self.send_response(started.status)
            self.end_headers()

        def log_message(self, *_arguments: object) -> None:
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        server.socket = context.wrap_socket(server.socket, server_side=True)
        started.url = f"https://127.0.0.1:{server.server_address[1]}"
        thread = threading.Thread(target=server.serve_forever, args=(0.01,))
        thread.start()
        yield started
        server.shutdown()
        thread.join()


DOCUMENT = Secret('{"name":"s","version":"0.1.0","services":[]}')


@pytest.mark.parametrize("status", [200, 201, 204])
def test_any_success_counts(storage: Storage, status: int) -> None:
    storage.status = status
    TdxSessionStore(storage.url, storage.identity_file, storage.ca_file).create(DOCUMENT)
    assert storage.received == [("/session", "application/json", DOCUMENT.reveal().encode(), True)]
    assert json.loads(storage.received[0][2])["version"] == "0.1.0"


def test_without_an_identity_none_is_shown(storage: Storage, tmp_path: Path) -> None:
    TdxSessionStore(storage.url, tmp_path / "none", storage.ca_file).create(DOCUMENT)
    assert [shown for *_, shown in storage.received] == [False]


@pytest.mark.parametrize("status", [301, 400, 401, 409, 500])
def test_anything_else_does_not(storage: Storage, status: int) -> None:
    storage.status = status
    with pytest.raises(SessionStoreError) as caught:
        TdxSessionStore(storage.url, storage.identity_file, storage.ca_file).create(DOCUMENT)
    assert "services" not in caught.value.message


def test_a_storage_that_nobody_vouches_for_gets_nothing(storage: Storage, tmp_path: Path) -> None:
    for ca_file in (certificate(tmp_path, "another"), tmp_path / "none"):
        with pytest.raises(SessionStoreError):
            TdxSessionStore(storage.url, storage.identity_file, ca_file).create(DOCUMENT)
    assert storage.received == []


def test_broken_files_are_a_store_error(storage: Storage, tmp_path: Path) -> None:
    broken = tmp_path / "broken.pem"
    broken.write_text("not a certificate")
    for identity, ca_file in ((broken, storage.ca_file), (storage.identity_file, broken)):
        with pytest.raises(SessionStoreError):
            TdxSessionStore(storage.url, identity, ca_file).create(DOCUMENT)
