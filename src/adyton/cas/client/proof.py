"""The CAS's proof of itself, asked for and judged: fresh evidence over the key of the connection, and over its root."""

from __future__ import annotations

import hashlib
import os
import ssl
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from cryptography.hazmat.primitives.serialization import Encoding

from adyton.base.clock import Clock, utc_now
from adyton.cas.client.answers import NONCE_BYTES, decode, read_identity_proof
from adyton.cas.client.tls import Connect, TlsConnection, tls_context
from adyton.cas.face.identity import SERVER_NAME, spki_of, verify_identity

if TYPE_CHECKING:
    from adyton.attestation.evidence import VerifiedEnclave
    from adyton.attestation.policy import QuotePolicy

DEFAULT_ATTESTED_PORT: Final = 18765


@dataclass(frozen=True, slots=True)
class AttestedCas:
    """A CAS whose evidence was verified: what it is, the key of its connection and its root certificate (PEM)."""

    evidence: VerifiedEnclave
    server_spki: bytes
    authority_pem: str

    @property
    def authority_sha256(self) -> str:
        """Fingerprint of the root certificate: SHA-256 of its DER, hex."""
        return hashlib.sha256(ssl.PEM_cert_to_DER_cert(self.authority_pem)).hexdigest()


def attest_cas(connect: Connect, policy: QuotePolicy, *, clock: Clock = utc_now, timeout_s: float = 20) -> AttestedCas:
    """Verify that a CAS, asked on either of its endpoints, is one that ``policy`` accepts, and get its root.

    Raises:
        CasIdentityError, AttestationError: it is not.
        UnavailableError: it cannot be reached or cannot answer now.
    """
    with TlsConnection(connect, tls_context(), SERVER_NAME, timeout_s) as connection:
        return attest_over(connection, policy, clock)


def attest_over(connection: TlsConnection, policy: QuotePolicy, clock: Clock) -> AttestedCas:
    """Verify the CAS at the other end of an open connection; errors as :func:`attest_cas`."""
    from cryptography.x509 import load_der_x509_certificate  # noqa: PLC0415

    from adyton.attestation.collateral.documents import Collateral  # noqa: PLC0415  # keeps this import light

    nonce = os.urandom(NONCE_BYTES)
    proof = decode(read_identity_proof, connection.json("GET", f"/attestation?nonce={nonce.hex()}"))
    collateral = Collateral.from_json(connection.text("/v1/collateral"))
    peer = connection.peer_certificate
    evidence = verify_identity(
        proof, peer_certificate=peer, nonce=nonce, collateral=collateral, policy=policy, now=clock()
    )
    authority = load_der_x509_certificate(proof.authority).public_bytes(Encoding.PEM).decode()
    return AttestedCas(evidence, spki_of(peer), authority)
