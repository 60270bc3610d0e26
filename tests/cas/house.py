"""A CAS on real ports in a simulated world: what the tests of this room talk to."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Final

from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding
from fastapi import FastAPI
from tests.cas.serving import serving
from tests.platform.world import World
from uvicorn.protocols.http.h11_impl import H11Protocol

from adyton.attestation.formats.report_data import CAS_CONFIG
from adyton.attestation.ratls.certificate import EvidenceSource, make_certificate
from adyton.cas.client.enclaves import AttestedClient
from adyton.cas.client.operator import make_identity, open_client, trust_cas
from adyton.cas.client.owners import SessionClient
from adyton.cas.client.tls import TlsConnection, load_identity, tcp, tls_context
from adyton.cas.face.identity import SERVER_NAME
from adyton.cas.main import Cas, build
from adyton.cas.settings import CasSettings
from adyton.enclave.successors import UpgradePolicy
from adyton.platform.protocol import Platform
from adyton.platform.simulated.pccs import build_router
from adyton.web.peercert import tls_protocol

CAS: Final = b"\xca" * 32


@dataclass(slots=True)
class House:
    """Starts CASes in one world, with one certificate service."""

    world: World
    pccs_url: str
    folder: Path

    def settings(self, database: str = "cas", **changes: Any) -> CasSettings:  # noqa: ANN401  # any settings
        values: dict[str, Any] = {
            "database": self.folder / database,
            "pccs_url": self.pccs_url,
            "anchors": (self.world.anchor.tier,),
            "rest_port": 0,
            "refusals_per_s": 1000,
            "audited_refusals_per_s": 1000,
        }
        return CasSettings(**values | changes)

    def build(self, database: str = "cas", platform: Platform | None = None, **changes: Any) -> Cas:  # noqa: ANN401
        return build(self.settings(database, **changes), platform or self.world.platform(CAS), self.world.clock)

    @contextlib.contextmanager
    def open(
        self,
        database: str = "cas",
        platform: Platform | None = None,
        **changes: Any,  # noqa: ANN401  # any settings
    ) -> Iterator[Running]:
        """A running CAS; leaving the block stops it, and its state stays in the folder."""
        cas = self.build(database, platform, **changes)
        with (
            serving(cas.rest, tls_protocol(cas.prover.rest_context)) as rest_port,
            serving(cas.attested, tls_protocol(cas.prover.attested_context, H11Protocol)) as attested_port,
        ):
            yield Running(self.world, self.folder / database, self.folder, rest_port, attested_port)
        cas.close()


@dataclass(frozen=True, slots=True)
class Running:
    """A CAS that answers."""

    world: World
    database: Path
    folder: Path
    rest_port: int
    attested_port: int

    @property
    def url(self) -> str:
        return f"https://127.0.0.1:{self.rest_port}"

    def owner(self, name: str = "owner") -> SessionClient:
        """A client of the REST port with a key of its own, made at the first call."""
        folder = self.folder / name
        make_identity(folder)
        trust_cas(self.url, folder, self.world.policy(CAS), clock=self.world.clock)
        return open_client(self.url, folder)

    def key_hash(self, name: str) -> str:
        return make_identity(self.folder / name)

    def enclave(
        self, platform: EvidenceSource, *, verified: bool = True, approvers: UpgradePolicy | None = None
    ) -> AttestedClient:
        """The client that runs in an enclave, whose manifest says ``approvers``."""
        policy = self.world.policy(CAS) if verified else None
        connect = tcp("127.0.0.1", self.attested_port)
        return AttestedClient(connect, platform, policy, approvers=approvers, clock=self.world.clock)

    def connect(self, certificate: bytes | None = None, key: ec.EllipticCurvePrivateKey | None = None) -> TlsConnection:
        """A connection to the attested port with any client certificate (DER)."""
        context = tls_context()
        if certificate is not None and key is not None:
            pem = x509.load_der_x509_certificate(certificate).public_bytes(Encoding.PEM)
            load_identity(context, pem, key)
        return TlsConnection(tcp("127.0.0.1", self.attested_port), context, SERVER_NAME)

    def nonce(self) -> bytes:
        with self.connect() as connection:
            return bytes.fromhex(connection.json("GET", "/v1/nonce")["nonce"])

    def evidence(self, platform: EvidenceSource, nonce: bytes, purpose: str = CAS_CONFIG) -> Evidence:
        key = ec.generate_private_key(ec.SECP256R1())
        return Evidence(key, make_certificate(key, platform, purpose, nonce, now=self.world.now))

    def post(self, evidence: Evidence, body: bytes) -> Any:  # noqa: ANN401  # JSON is any
        with self.connect(evidence.certificate, evidence.key) as connection:
            return connection.json("POST", "/v1/config", body)


@dataclass(frozen=True, slots=True)
class Evidence:
    """A client's key and the RA-TLS certificate that it shows."""

    key: ec.EllipticCurvePrivateKey
    certificate: bytes


@contextlib.contextmanager
def certificate_service(world: World) -> Iterator[str]:
    """The world's certificate service over HTTP; gives its URL."""
    app = FastAPI()
    app.include_router(build_router(world.vendor, clock=world.clock))
    with serving(app, H11Protocol) as port:
        yield f"http://127.0.0.1:{port}"


def real_time() -> datetime:
    """Now, in whole seconds: processes and the standard library's TLS cannot be given another time."""
    return datetime.now(UTC).replace(microsecond=0)


def new_world() -> World:
    """A world at the real time, which stands still until somebody sets it."""
    return World(now=real_time())
