"""Typed calls to a CAS: :class:`SessionClient` for owners of sessions, :class:`AttestedClient` for enclaves.

An enclave's exchange, each step over TLS 1.3:

1. with a policy for the CAS: ask ``GET /attestation`` with a fresh nonce and verify the evidence over the very key of
   the connection, before anything about the session is said;
2. ``GET /v1/nonce``;
3. make a key, quote over claims {purpose ``cas-config``, digest of the key, nonce}, put it into a certificate;
4. connect again showing that certificate, to the same server key as in step 1, and ``POST /v1/config``.

Light on purpose: no server framework, no database, no YAML is imported here.
"""

from __future__ import annotations

import hashlib
import hmac
import json
import os
import ssl
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Final
from urllib.parse import quote as url_quote
from urllib.parse import urlsplit

from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding

from adyton.base.clock import Clock, utc_now
from adyton.base.errors import InputError
from adyton.cas.answers import (
    NONCE_BYTES,
    InjectedFile,
    ServiceConfig,
    SessionInfo,
    Volume,
    decode,
    read_identity_proof,
    read_nonce,
    read_page,
    read_service_config,
    read_session_info,
)
from adyton.cas.identity import (
    SERVER_NAME,
    CasIdentityError,
    spki_of,
    verify_identity,
)
from adyton.cas.tlsclient import CasRefusedError, Connect, TlsConnection, load_identity, tcp, tls_context

if TYPE_CHECKING:
    from adyton.attestation.evidence import VerifiedEnclave
    from adyton.attestation.policy import QuotePolicy
    from adyton.attestation.ratls.certificate import EvidenceSource

__all__ = [
    "AttestationRefusedError",
    "AttestedCas",
    "AttestedClient",
    "CasRefusedError",
    "InjectedFile",
    "ServiceConfig",
    "SessionClient",
    "SessionInfo",
    "Volume",
    "attest_cas",
    "tcp",
]

DEFAULT_REST_PORT: Final = 8081
DEFAULT_ATTESTED_PORT: Final = 18765


class AttestationRefusedError(CasRefusedError):
    """The CAS refuses this enclave the part it asked for; ``code`` says why, trying again does not help."""

    code = "cas.release.refused"


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


class SessionClient:
    """Creates and reads sessions as one owner, whose identity is the key of its client certificate.

    Args:
        url: ``https://host[:port]`` of the REST endpoint.
        cert_file: PEM client certificate; read anew for each call, so a renewed one is taken up.
        key_file: PEM private key; may be the same file.
        ca_file: PEM root of the CAS, obtained by :func:`attest_cas` or from an attested service's configuration.
        timeout_s: seconds for connecting and for each read.
    """

    def __init__(self, url: str, cert_file: Path, key_file: Path, ca_file: Path, *, timeout_s: float = 20) -> None:
        self._connect = tcp(*host_port(url, DEFAULT_REST_PORT), timeout_s)
        self._cert_file = cert_file
        self._key_file = key_file
        self._ca_file = ca_file
        self._timeout_s = timeout_s

    def create(self, document: str | bytes) -> SessionInfo:
        """Post a session document (YAML); creating, or updating when it names its predecessor.

        Raises:
            CasRefusedError: the document or the caller is refused; the code says why.
            UnavailableError: the CAS cannot be reached or cannot answer now.
        """
        body = document.encode() if isinstance(document, str) else document
        with self._open() as connection:
            return read_session_info(connection.json("POST", "/session", body, "application/octet-stream"))

    def show(self, name: str) -> SessionInfo:
        """Read a session back, without the values of its secrets.

        Raises:
            CasRefusedError: unknown, or this owner may not read it.
            UnavailableError: the CAS cannot be reached or cannot answer now.
        """
        with self._open() as connection:
            return read_session_info(connection.json("GET", f"/session/{url_quote(name, safe='')}"))

    def list(self) -> Iterator[SessionInfo]:
        """The sessions that this owner created and may read, in no particular order.

        Raises:
            CasRefusedError: the caller is refused.
            UnavailableError: the CAS cannot be reached or cannot answer now.
        """
        after = ""
        with self._open() as connection:
            while True:
                entries, following = decode(read_page, connection.json("GET", f"/session?after={after}"))
                yield from entries
                if not following or following == after:
                    return
                after = following

    def _open(self) -> TlsConnection:
        try:
            context = tls_context(self._ca_file)
            context.load_cert_chain(self._cert_file, self._key_file)
        except OSError as error:
            raise InputError(
                f"cannot load the client certificate {self._cert_file}, its key or the root {self._ca_file}:"
                f" {error.strerror or error}",
                code="cas.client.identity",
            ) from error
        return TlsConnection(self._connect, context, SERVER_NAME, self._timeout_s)


class AttestedClient:
    """Gets a service's part of a session for the enclave it runs in.

    Args:
        connect: opens a stream socket to the CAS's attested endpoint.
        platform: makes the evidence of this enclave.
        policy: who may be the CAS; None takes the configuration from any CAS, for enclaves that hold nothing yet and
            have no measured opinion.
        clock: time for judging the CAS's evidence.
        timeout_s: seconds for each read.
    """

    def __init__(
        self,
        connect: Connect,
        platform: EvidenceSource,
        policy: QuotePolicy | None,
        *,
        clock: Clock = utc_now,
        timeout_s: float = 20,
    ) -> None:
        self._connect = connect
        self._platform = platform
        self._policy = policy
        self._clock = clock
        self._timeout_s = timeout_s

    def fetch(self, session: str, service: str) -> ServiceConfig:
        """Attest and get the configuration of ``service``; each call makes a new key, so it also renews identity.

        Raises:
            AttestationRefusedError: the CAS refuses this enclave.
            CasIdentityError, AttestationError: what answers is not the CAS of the policy.
            UnavailableError: the CAS cannot be reached or cannot answer now.
        """
        nonce, server_spki = self._begin()
        key = ec.generate_private_key(ec.SECP256R1())
        context = tls_context()
        load_identity(context, self._certificate(key, nonce), key)
        body = json.dumps({"session": session, "service": service}).encode()
        with TlsConnection(self._connect, context, SERVER_NAME, self._timeout_s) as connection:
            if not hmac.compare_digest(spki_of(connection.peer_certificate), server_spki):
                raise CasIdentityError("the CAS changed its key between two connections", code="cas.identity.key")
            try:
                answer = connection.json("POST", "/v1/config", body)
            except CasRefusedError as error:
                raise AttestationRefusedError(
                    error.message, status=error.status, code=error.code, hint=error.hint
                ) from error
        config: ServiceConfig = decode(read_service_config, answer, key)
        return config

    def _begin(self) -> tuple[bytes, bytes]:
        with TlsConnection(self._connect, tls_context(), SERVER_NAME, self._timeout_s) as connection:
            if self._policy is not None:
                server_spki = _attest(connection, self._policy, self._clock).server_spki
            else:
                server_spki = spki_of(connection.peer_certificate)
            return decode(read_nonce, connection.json("GET", "/v1/nonce")), server_spki

    def _certificate(self, key: ec.EllipticCurvePrivateKey, nonce: bytes) -> bytes:
        from cryptography.x509 import load_der_x509_certificate  # noqa: PLC0415

        from adyton.attestation.formats.report_data import CAS_CONFIG  # noqa: PLC0415

        # here, so that importing SessionClient stays light
        from adyton.attestation.ratls.certificate import make_certificate  # noqa: PLC0415

        der = make_certificate(key, self._platform, CAS_CONFIG, nonce)
        return load_der_x509_certificate(der).public_bytes(Encoding.PEM)


def attest_cas(connect: Connect, policy: QuotePolicy, *, clock: Clock = utc_now, timeout_s: float = 20) -> AttestedCas:
    """Verify that a CAS, asked on either of its endpoints, is one that ``policy`` accepts, and get its root.

    Raises:
        CasIdentityError, AttestationError: it is not.
        UnavailableError: it cannot be reached or cannot answer now.
    """
    with TlsConnection(connect, tls_context(), SERVER_NAME, timeout_s) as connection:
        return _attest(connection, policy, clock)


def _attest(connection: TlsConnection, policy: QuotePolicy, clock: Clock) -> AttestedCas:
    from cryptography.x509 import load_der_x509_certificate  # noqa: PLC0415

    from adyton.attestation.collateral.documents import Collateral  # noqa: PLC0415  # keeps SessionClient's import light

    nonce = os.urandom(NONCE_BYTES)
    proof = decode(read_identity_proof, connection.json("GET", f"/attestation?nonce={nonce.hex()}"))
    collateral = Collateral.from_json(connection.text("/v1/collateral"))
    peer = connection.peer_certificate
    evidence = verify_identity(
        proof, peer_certificate=peer, nonce=nonce, collateral=collateral, policy=policy, now=clock()
    )
    authority = load_der_x509_certificate(proof.authority).public_bytes(Encoding.PEM).decode()
    return AttestedCas(evidence, spki_of(peer), authority)


def host_port(url: str, default_port: int) -> tuple[str, int]:
    """Host and port of ``https://host[:port]`` (the scheme may be left out).

    Raises:
        InputError: it is not.
    """
    parts = urlsplit(url if "://" in url else f"https://{url}")
    try:
        port = parts.port or default_port
    except ValueError as error:
        raise InputError(f"{url!r} has no valid port", code="cas.client.url") from error
    if parts.scheme != "https" or not parts.hostname:
        raise InputError(f"{url!r} is not https://host[:port]", code="cas.client.url")
    return parts.hostname, port
