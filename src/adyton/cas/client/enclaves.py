"""Enclaves: their part of a session, and the exchange of their keys, for evidence that is fresh for every question.

Each step over TLS 1.3:

1. with a policy for the CAS: ask ``GET /attestation`` with a fresh nonce and verify the evidence over the very key of
   the connection, before anything about the session is said;
2. ``GET /v1/nonce``;
3. make a key, quote over claims {purpose ``cas-config``, digest of the key, nonce}, put it into a certificate;
4. connect again showing that certificate, to the same server key as in step 1, and ``POST /v1/config``.

Light on purpose: no server framework, no database, no YAML is imported here.
"""

from __future__ import annotations

import hmac
import json
import socket
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, Self

from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding

from adyton.base.clock import Clock, utc_now
from adyton.base.errors import InputError
from adyton.base.secret import Secret
from adyton.cas.client.answers import (
    EnclaveKeys,
    ServiceConfig,
    decode,
    read_enclave_keys,
    read_nonce,
    read_service_config,
)
from adyton.cas.client.proof import attest_over
from adyton.cas.client.tls import CasRefusedError, Connect, TlsConnection, load_identity, tls_context
from adyton.cas.face.identity import SERVER_NAME, CasIdentityError, spki_of

if TYPE_CHECKING:
    from adyton.attestation.policy import QuotePolicy
    from adyton.attestation.ratls.certificate import EvidenceSource
    from adyton.enclave.manifest import Manifest
    from adyton.enclave.successors import UpgradePolicy

_RELAY_TIMEOUT_S: Final = 20.0


class AttestationRefusedError(CasRefusedError):
    """The CAS refuses this enclave the part it asked for; ``code`` says why, trying again does not help."""

    code = "cas.release.refused"


class OtherApproversError(AttestationRefusedError):
    """The session lets others approve a successor of this enclave than its own manifest names: no key of it is used."""

    code = "cas.session.approvers"
    hint = "make the session anew with the 'upgrade' of the enclave's manifest; the one that it started under is gone"


class AttestedClient:
    """Gets a service's part of a session for the enclave it runs in.

    Args:
        connect: opens a stream socket to the CAS's attested endpoint.
        platform: makes the evidence of this enclave.
        policy: who may be the CAS; None takes the configuration from any CAS, for enclaves that hold nothing yet and
            have no measured opinion.
        approvers: who may approve a successor of this enclave, by its own measurement; None: nobody. Keys are exchanged
            only in a session that says the same.
        clock: time for judging the CAS's evidence.
        timeout_s: seconds for each read.
    """

    def __init__(
        self,
        connect: Connect,
        platform: EvidenceSource,
        policy: QuotePolicy | None,
        *,
        approvers: UpgradePolicy | None = None,
        clock: Clock = utc_now,
        timeout_s: float = 20,
    ) -> None:
        self._connect = connect
        self._platform = platform
        self._policy = policy
        self._approvers = approvers
        self._clock = clock
        self._timeout_s = timeout_s

    @classmethod
    def measured(cls, platform: EvidenceSource) -> Self:
        """The client of the enclave of this process: its own way to the CAS, and who that may be by its manifest.

        Raises:
            EnclaveError: the manifest cannot be read.
        """
        from adyton.enclave.manifest import MANIFEST_PATH, Manifest  # noqa: PLC0415  # only enclaves have one

        manifest = Manifest.from_json(Path(MANIFEST_PATH).read_bytes())
        return cls(relay, platform, measured_policy(manifest), approvers=manifest.upgrade)

    def fetch(self, session: str, service: str, activation: Secret[str] | None = None) -> ServiceConfig:
        """Attest and get the configuration of ``service``; each call makes a new key, so it also renews identity.

        Args:
            session: name of the session.
            service: what this enclave is in it.
            activation: of an enclave that renews its identity, ``activation`` of what it got before.

        Raises:
            AttestationRefusedError: the CAS refuses this enclave.
            CasIdentityError, AttestationError: what answers is not the CAS of the policy.
            UnavailableError: the CAS cannot be reached or cannot answer now.
        """
        from adyton.attestation.formats.report_data import CAS_CONFIG  # noqa: PLC0415

        request = {"session": session, "service": service}
        if activation is not None and activation.reveal():
            request["activation"] = activation.reveal()
        answer, key = self._ask("/v1/config", request, CAS_CONFIG)
        config: ServiceConfig = decode(read_service_config, answer, key)
        return config

    def exchange_key(self, session: str, service: str, secret: str, step: str, generation: int = 0) -> EnclaveKeys:
        """Attest and take one step of exchanging this enclave's own key in an enclave-key secret.

        Args:
            session: name of the session.
            service: what this enclave is in it.
            secret: name of the secret.
            step: ``show``, ``begin``, ``commit`` or ``abort``; see :mod:`adyton.cas.releasing.enclavekeys`.
            generation: what is committed or aborted.

        Raises:
            AttestationRefusedError: the CAS refuses this enclave, or the step.
            OtherApproversError: others may approve a successor there, who would get the keys.
            CasIdentityError, AttestationError: what answers is not the CAS of the policy.
            UnavailableError: the CAS cannot be reached or cannot answer now; asking again is safe.
        """
        from adyton.attestation.formats.report_data import CAS_KEYS  # noqa: PLC0415

        if self._policy is None:  # data would be put under a key that whoever answers knows
            raise CasIdentityError("this enclave does not say which CAS may give it keys", code="cas.identity.policy")
        request = {"session": session, "service": service, "secret": secret, "step": step, "generation": generation}
        keys: EnclaveKeys = decode(read_enclave_keys, self._ask("/v1/enclave-key", request, CAS_KEYS)[0])
        if keys.upgrade != self._approvers:
            # Names are free again once a session has ended, and its owner says when. So this may be another session
            # than the one that the agent compared with the manifest at the start.
            raise OtherApproversError(f"the session {session} names other approvers than this enclave", status=409)
        return keys

    def _ask(self, path: str, request: Mapping[str, object], purpose: str) -> tuple[Any, ec.EllipticCurvePrivateKey]:
        nonce, server_spki = self._begin()
        key = ec.generate_private_key(ec.SECP256R1())
        context = tls_context()
        load_identity(context, self._certificate(key, purpose, nonce), key)
        with TlsConnection(self._connect, context, SERVER_NAME, self._timeout_s) as connection:
            if not hmac.compare_digest(spki_of(connection.peer_certificate), server_spki):
                raise CasIdentityError("the CAS changed its key between two connections", code="cas.identity.key")
            try:
                return connection.json("POST", path, json.dumps(request).encode()), key
            except CasRefusedError as error:
                raise AttestationRefusedError(
                    error.message, status=error.status, code=error.code, hint=error.hint
                ) from error

    def _begin(self) -> tuple[bytes, bytes]:
        with TlsConnection(self._connect, tls_context(), SERVER_NAME, self._timeout_s) as connection:
            if self._policy is not None:
                server_spki = attest_over(connection, self._policy, self._clock).server_spki
            else:
                server_spki = spki_of(connection.peer_certificate)
            return decode(read_nonce, connection.json("GET", "/v1/nonce")), server_spki

    def _certificate(self, key: ec.EllipticCurvePrivateKey, purpose: str, nonce: bytes) -> bytes:
        from cryptography.x509 import load_der_x509_certificate  # noqa: PLC0415

        # enclaves start faster without it
        from adyton.attestation.ratls.certificate import make_certificate  # noqa: PLC0415

        der = make_certificate(key, self._platform, purpose, nonce)
        return load_der_x509_certificate(der).public_bytes(Encoding.PEM)


def relay() -> socket.socket:
    """A connection from inside an enclave to the attested port of the CAS that the host names.

    Raises:
        OSError: there is none.
    """
    from adyton.enclave.manifest import RUN_FOLDER  # noqa: PLC0415

    connection = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    connection.settimeout(_RELAY_TIMEOUT_S)
    try:
        connection.connect(f"{RUN_FOLDER}/cas.sock")
    except OSError:
        connection.close()
        raise
    return connection


def measured_policy(manifest: Manifest) -> QuotePolicy | None:
    """Who may configure an enclave, by its own measurement; None: anybody."""
    if manifest.cas is None:
        return None
    from adyton.attestation.anchors import TrustAnchor  # noqa: PLC0415  # only enclaves with an opinion need it
    from adyton.attestation.policy import QuotePolicy, Weakness  # noqa: PLC0415

    return QuotePolicy(
        anchors=(TrustAnchor(manifest.cas.anchor),),
        mrenclaves=frozenset(bytes.fromhex(value) for value in manifest.cas.mrenclaves),
        tolerate=frozenset({Weakness.DEBUG_MODE}) if manifest.debug else frozenset(),
    )


def own_place(identity_file: Path) -> tuple[str, str]:
    """Session and service that the CAS attested this process as, by its identity certificate.

    Raises:
        InputError: the file cannot be read, or holds no certificate.
        PeerError: it holds another certificate.
    """
    from cryptography.x509 import load_pem_x509_certificate  # noqa: PLC0415

    from adyton.cas.client.peers import service_identity  # noqa: PLC0415

    try:
        certificate = load_pem_x509_certificate(identity_file.read_bytes())
    except (OSError, ValueError) as error:
        raise InputError(f"{identity_file} holds no certificate", code="cas.client.identity") from error
    found = service_identity(certificate.public_bytes(Encoding.DER))
    return found.session, found.service
