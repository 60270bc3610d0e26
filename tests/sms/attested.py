"""SMS that prove themselves, on real TLS sockets with the simulated world's quotes, and servers that pretend to."""

from __future__ import annotations

import ssl
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import httpx2
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding
from cryptography.x509 import load_der_x509_certificate
from fastapi import FastAPI, Request, Response
from fastapi.responses import JSONResponse
from tests.platform.world import World
from tests.sms.support import RecordingStore, bought_task, make_settings
from tests.web.serving import listening

from adyton.attestation.collateral.documents import CollateralSource
from adyton.attestation.formats.report_data import SMS_ATTESTATION, SMS_SERVER
from adyton.attestation.ratls.certificate import make_certificate
from adyton.sms.http.api import build_app
from adyton.sms.prover import Prover
from adyton.sms.store.keyexchange import KeyExchange
from adyton.web.peercert import server_context, tls_protocol

SMS = b"\x5a" * 32
OTHER = b"\x66" * 32
WORLD = World(now=datetime.now(UTC))  # the SMS of these tests lives now, as clients of the command line do


def unverified() -> ssl.SSLContext:
    """TLS that accepts anybody."""
    context = ssl.create_default_context()
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    return context


def prover(world: World = WORLD, mrenclave: bytes = SMS, *, collateral: CollateralSource | None = None) -> Prover:
    """The prover of an SMS in an enclave of that world."""
    return Prover(world.platform(mrenclave), collateral=collateral or world, anchors=(world.anchor,), clock=world.clock)


@contextmanager
def sms_over_tls(
    folder: Path,
    proof: Prover | None = None,
    *,
    exchange: KeyExchange | None = None,
    **changes: Any,  # noqa: ANN401  # settings
) -> Iterator[str]:
    """A whole SMS on a TLS socket; gives its URL."""
    WORLD.now = datetime.now(UTC)
    proof = proof or prover()
    chain = bought_task()
    chain.head_timestamp = int(WORLD.now.timestamp())
    app = build_app(
        make_settings(folder, **changes),
        view=chain,
        store=RecordingStore(),
        prover=proof,
        exchange=exchange,
        measurement=SMS.hex(),
    )
    with listening(app, http=tls_protocol(proof.context), ws="none") as port:
        yield f"https://127.0.0.1:{port}"


@dataclass
class Recorded:
    """What a server that pretends to be an SMS was sent: every body, and the paths of its requests."""

    url: str = ""
    bodies: list[bytes] = field(default_factory=list)
    paths: list[str] = field(default_factory=list)

    @property
    def got_nothing(self) -> bool:
        """Whether nothing but questions for its proof reached it."""
        return not any(self.bodies) and set(self.paths) <= {"/attestation", "/v1/collateral"}


@dataclass(frozen=True)
class Pretender:
    """A server with a TLS key of its own that answers as it likes.

    Attributes:
        world, mrenclave: of the enclave it runs in, if any: its evidence is genuine.
        relay: an honest SMS (URL) whose proof it passes on instead of its own.
        stale: answers with evidence over another nonce than the asked one.
        purpose: what its evidence is for.
        collateral: what it hands out; by default its world's.
    """

    world: World = WORLD
    mrenclave: bytes = OTHER
    relay: str = ""
    stale: bool = False
    purpose: str = SMS_ATTESTATION
    collateral: Callable[[], str] | None = None

    @contextmanager
    def serving(self) -> Iterator[Recorded]:
        """Serve until the block ends."""
        key, seen = ec.generate_private_key(ec.SECP256R1()), Recorded()
        platform = self.world.platform(self.mrenclave)

        def certificate(purpose: str, nonce: bytes) -> bytes:
            return make_certificate(key, platform, purpose, nonce, now=self.world.now)

        app = FastAPI()

        @app.api_route("/{path:path}", methods=["GET", "HEAD", "POST", "PUT"])
        async def any_path(path: str, request: Request) -> Response:
            seen.paths.append(f"/{path}")
            seen.bodies.append(await request.body())
            if path == "attestation":
                if self.relay:
                    answer = httpx2.get(f"{self.relay}/attestation?{request.query_params}", verify=unverified())
                    return Response(answer.content, media_type="application/json")
                nonce = bytes(32) if self.stale else bytes.fromhex(request.query_params["nonce"])
                pem = load_der_x509_certificate(certificate(self.purpose, nonce)).public_bytes(Encoding.PEM).decode()
                return JSONResponse({"certificate": pem})
            if path == "v1/collateral":
                given = self.collateral or (lambda: self.world.collateral().to_json())
                return Response(given(), media_type="application/json")
            return Response(status_code=204)

        shown = load_der_x509_certificate(certificate(SMS_SERVER, bytes(32)))
        context = server_context(shown, key)
        with listening(app, http=tls_protocol(lambda: context), ws="none") as port:
            seen.url = f"https://127.0.0.1:{port}"
            yield seen
