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

import base64
import binascii
import hmac
import json
import os
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final
from urllib.parse import quote as url_quote
from urllib.parse import urlsplit

from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat

from adyton.base.clock import Clock, utc_now
from adyton.base.errors import InputError, UnavailableError
from adyton.base.secret import Secret
from adyton.cas.identity import (
    SERVER_NAME,
    CasIdentityError,
    IdentityProof,
    spki_of,
    verify_identity,
)
from adyton.cas.tlsclient import CasRefusedError, Connect, TlsConnection, load_identity, tcp, tls_context

if TYPE_CHECKING:
    from adyton.attestation.evidence import VerifiedEnclave
    from adyton.attestation.policy import QuotePolicy
    from adyton.attestation.ratls import EvidenceSource

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
NONCE_BYTES: Final = 32
_VOLUME_KEY_BYTES: Final = 32


class AttestationRefusedError(CasRefusedError):
    """The CAS refuses this enclave the part it asked for; ``code`` says why, trying again does not help."""

    code = "cas.release.refused"


@dataclass(frozen=True, slots=True)
class Volume:
    """A protected volume of the service: where it is mounted and the key that encrypts it."""

    path: str
    key: Secret[bytes]


@dataclass(frozen=True, slots=True)
class InjectedFile:
    """A file to put into the enclave before the command starts.

    ``bound``: the CAS says that only this measurement can get this content, and that the session's owner cannot.
    """

    path: str
    content: Secret[bytes]
    bound: bool = False


@dataclass(frozen=True, slots=True)
class ServiceConfig:
    """What a service of a session gets after attestation.

    Attributes:
        command: command line, to be split as a POSIX shell would, never given to a shell.
        pwd: working directory.
        environment: the whole environment of the session for this service.
        volumes: name to mount path and key.
        files: files to inject.
        ca: PEM of the CAS's root certificate.
        certificate: PEM of the short-lived identity certificate over ``private_key``.
        private_key: PKCS#8 PEM of the key that was attested.
    """

    command: str = field(repr=False)
    pwd: str
    environment: Mapping[str, str] = field(repr=False)
    volumes: Mapping[str, Volume]
    files: tuple[InjectedFile, ...]
    ca: str
    certificate: str
    private_key: Secret[bytes]


@dataclass(frozen=True, slots=True)
class SessionInfo:
    """A stored session: its name and its hash, which an update names as ``predecessor``."""

    name: str
    hash: str
    document: Mapping[str, Any] | None = field(default=None, repr=False)


@dataclass(frozen=True, slots=True)
class AttestedCas:
    """A CAS whose evidence was verified: what it is, the key of its connection and its root certificate (PEM)."""

    evidence: VerifiedEnclave
    server_spki: bytes
    authority_pem: str


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
            return _session_info(connection.json("POST", "/session", body, "application/octet-stream"))

    def show(self, name: str) -> SessionInfo:
        """Read a session back, without the values of its secrets.

        Raises:
            CasRefusedError: unknown, or this owner may not read it.
            UnavailableError: the CAS cannot be reached or cannot answer now.
        """
        with self._open() as connection:
            return _session_info(connection.json("GET", f"/session/{url_quote(name, safe='')}"))

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
        config: ServiceConfig = _decode(_service_config, answer, key)
        return config

    def _begin(self) -> tuple[bytes, bytes]:
        with TlsConnection(self._connect, tls_context(), SERVER_NAME, self._timeout_s) as connection:
            if self._policy is not None:
                server_spki = _attest(connection, self._policy, self._clock).server_spki
            else:
                server_spki = spki_of(connection.peer_certificate)
            return _decode(_nonce, connection.json("GET", "/v1/nonce")), server_spki

    def _certificate(self, key: ec.EllipticCurvePrivateKey, nonce: bytes) -> bytes:
        from cryptography.x509 import load_der_x509_certificate  # noqa: PLC0415

        # here, so that importing SessionClient stays light
        from adyton.attestation.ratls import make_certificate  # noqa: PLC0415
        from adyton.attestation.report_data import CAS_CONFIG  # noqa: PLC0415

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

    from adyton.attestation.collateral import Collateral  # noqa: PLC0415  # keeps SessionClient's import light

    nonce = os.urandom(NONCE_BYTES)
    proof = _decode(_identity_proof, connection.json("GET", f"/attestation?nonce={nonce.hex()}"))
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


# What follows decodes answers. The CAS is attested, but an answer is still bytes from outside.


def _decode(decoder: Callable[..., Any], answer: Any, *more: Any) -> Any:  # noqa: ANN401  # JSON is any
    try:
        return decoder(answer, *more)
    except (KeyError, TypeError, ValueError, AttributeError, binascii.Error) as error:
        name = decoder.__name__.strip("_").replace("_", " ")
        raise UnavailableError(
            f"the CAS's {name} cannot be understood: {type(error).__name__}", code="cas.answer"
        ) from None


def _nonce(answer: Any) -> bytes:  # noqa: ANN401
    nonce = bytes.fromhex(answer["nonce"])
    if len(nonce) != NONCE_BYTES:
        raise ValueError("length of the nonce")
    return nonce


def _identity_proof(answer: Any) -> IdentityProof:  # noqa: ANN401
    from cryptography.x509 import load_pem_x509_certificate  # noqa: PLC0415

    certificate, authority = (
        load_pem_x509_certificate(answer[name].encode()).public_bytes(Encoding.DER) for name in ("certificate", "ca")
    )
    return IdentityProof(certificate, authority)


def _session_info(answer: Any) -> SessionInfo:  # noqa: ANN401
    def decode(value: Any) -> SessionInfo:  # noqa: ANN401
        return SessionInfo(_text(value["name"]), _text(value["hash"]), value.get("document"))

    info: SessionInfo = _decode(decode, answer)
    return info


def _service_config(answer: Any, key: ec.EllipticCurvePrivateKey) -> ServiceConfig:  # noqa: ANN401
    return ServiceConfig(
        command=_text(answer["command"]),
        pwd=_text(answer["pwd"]),
        environment={_text(name): _text(value) for name, value in answer["environment"].items()},
        volumes={
            _text(name): Volume(_text(entry["path"]), _volume_key(entry["key"]))
            for name, entry in answer["volumes"].items()
        },
        files=tuple(
            InjectedFile(
                _text(entry["path"]),
                Secret(base64.b64decode(entry["content"], validate=True)),
                bound=entry.get("bound") is True,
            )
            for entry in _list(answer["files"])
        ),
        ca=_text(answer["ca"]),
        certificate=_text(answer["certificate"]),
        private_key=Secret(key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())),
    )


def _text(value: Any) -> str:  # noqa: ANN401
    if not isinstance(value, str):
        raise TypeError("text expected")
    return value


def _list(value: Any) -> list[Any]:  # noqa: ANN401
    if not isinstance(value, list):
        raise TypeError("list expected")
    return value


def _volume_key(text: str) -> Secret[bytes]:
    key = bytes.fromhex(text)
    if len(key) != _VOLUME_KEY_BYTES:
        raise ValueError("length of a volume key")
    return Secret(key)
