"""The client's side of the SMS's proof: which enclave answers, before anything secret is said to it.

1. connect over TLS 1.3 (nobody vouches for the certificate yet) and send a fresh nonce: ``GET /attestation?nonce=``;
2. the answer is a certificate with evidence over a key and that nonce: the key must be the one that the server proved
   in the handshake of this very connection. A party in the middle can pass on an honest answer, but not with its own
   key in the connection;
3. the evidence is judged: quote, purpose, nonce, and the policy that says which enclave is meant;
4. what follows goes over connections that accept this one certificate and no other (:meth:`AttestedSms.context`), so
   a secret cannot go out to another key than the attested one.

Collateral comes from the SMS itself unless somebody else is named; its signatures and dates prove it, not who hands it
over.
"""

from __future__ import annotations

import hmac
import os
import ssl
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, Final

from cryptography import x509
from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from pydantic import ValidationError

from adyton.attestation.collateral.documents import Collateral, PlatformId
from adyton.attestation.dcap.verify import Verifier
from adyton.attestation.errors import Finding, Outcome
from adyton.attestation.evidence import VerifiedEnclave, require_enclave
from adyton.attestation.formats.report_data import SMS_ATTESTATION
from adyton.attestation.verdict import EvidenceKind
from adyton.base.clock import Clock, utc_now
from adyton.base.errors import AdytonError, UnavailableError
from adyton.sms.wire import AttestationAnswer
from adyton.web.client import AnswerError, HttpClient

if TYPE_CHECKING:
    from datetime import datetime

    from adyton.attestation.dcap.pck import CaKind
    from adyton.attestation.policy import QuotePolicy
    from adyton.attestation.verdict import Verdict

CHANNEL_CHECK: Final = "sms.identity.key"
NONCE_BYTES: Final = 32
_NOT_HERE: Final = "the SMS at {url} does not prove itself: it has no /attestation"
_OTHER_KEY: Final = "the evidence is over another key than the connection's: somebody is between you and the SMS"

Fetch = Callable[[PlatformId], Collateral]


class SmsIdentityError(AdytonError):
    """What answers does not prove to be the SMS that is meant; nothing secret was sent to it."""

    code = "sms.identity"


@dataclass(frozen=True, slots=True)
class Proof:
    """What a server showed of itself, unverified.

    Attributes:
        url: ``https://…``.
        certificate: DER with evidence over a key and the nonce.
        peer: DER of the certificate whose key the server proved in the handshake.
        nonce: what was asked with.
        collateral: what to judge by.
    """

    url: str
    certificate: bytes
    peer: bytes
    nonce: bytes
    collateral: Collateral

    def fetch(self, fmspc: str, ca: CaKind, kind: EvidenceKind = EvidenceKind.SGX) -> Collateral:
        """The proof as a CollateralSource."""
        del fmspc, ca, kind  # the verifier compares them with what the collateral says that it is for
        return self.collateral

    @property
    def one_key(self) -> bool:
        """Whether the evidence is over the key of the connection."""
        return hmac.compare_digest(_spki(self.certificate), _spki(self.peer))


@dataclass(frozen=True, slots=True)
class AttestedSms:
    """An SMS whose evidence was verified: where, what it is, and the certificate (DER) of its connection."""

    url: str
    evidence: VerifiedEnclave
    certificate: bytes

    def context(self) -> ssl.SSLContext:
        """TLS 1.3 that accepts the attested certificate and no other."""
        context = _context()
        context.verify_mode = ssl.CERT_REQUIRED
        context.load_verify_locations(cadata=self.certificate)
        return context


def ask(url: str, *, fetch: Fetch | None = None, timeout_s: float = 20) -> Proof:
    """Have a server prove itself for a fresh nonce.

    Args:
        url: ``https://host[:port]`` of the SMS's TLS port.
        fetch: gets collateral for a platform; None takes what the server hands out.
        timeout_s: seconds for connecting and for each read.

    Raises:
        SmsIdentityError: ``sms.identity.plain`` for another scheme; ``.absent``: the server has no proof of itself;
            ``.answer``: what it answered is none.
        UnavailableError: no answer, or no collateral.
        AttestationError: ``fetch`` has no collateral.
    """
    require_tls(url)
    nonce = os.urandom(NONCE_BYTES)
    client = HttpClient(url, "SMS", timeout_s=timeout_s, verify=_context())
    try:
        certificate, peer = _asked(client, nonce)
        collateral = _stapled(client) if fetch is None else fetch(_platform(certificate))
    finally:
        client.close()
    return Proof(url.rstrip("/"), certificate, peer, nonce, collateral)


def require_tls(url: str) -> None:
    """Refuse an address where nothing can be proven.

    Raises:
        SmsIdentityError: ``sms.identity.plain``.
    """
    if not url.startswith("https://"):
        raise SmsIdentityError(
            f"{url} is not https://: over plain HTTP anybody on the way can answer for the enclave, and read and change"
            " what is sent, whatever was proven before",
            code="sms.identity.plain",
            hint="name the SMS's TLS port, https://host:port",
        )


def verify(proof: Proof, policy: QuotePolicy, *, clock: Clock = utc_now) -> AttestedSms:
    """Check that what proved itself is an SMS that ``policy`` accepts, at the other end of this connection.

    Raises:
        SmsIdentityError: ``sms.identity.key``: the evidence is over another key than the connection's.
        AttestationError: the evidence does not hold; ``attestation.measurement`` names both values.
    """
    if not proof.one_key:
        raise SmsIdentityError(
            _OTHER_KEY, code="sms.identity.key", hint="do not send anything there; find out who answers at this address"
        )
    verifier = Verifier(proof, clock=clock)
    verified = verifier.verify_certificate(proof.certificate, purpose=SMS_ATTESTATION, nonce=proof.nonce, policy=policy)
    return AttestedSms(proof.url, require_enclave(verified), proof.peer)


def appraise(proof: Proof, policy: QuotePolicy, now: datetime) -> Verdict:
    """Judge a proof for a person: every check of :func:`verify`, the connection's first, each with its outcome.

    Raises:
        AttestationError: the certificate carries nothing that could be judged.
    """
    from adyton.attestation.ratls.verdict import appraise_fresh_certificate  # noqa: PLC0415  # pushing needs none

    verdict = appraise_fresh_certificate(
        proof.certificate, proof.collateral, policy, now, purpose=SMS_ATTESTATION, nonce=proof.nonce
    )
    if proof.one_key:
        return replace(verdict, checks=(Finding(CHANNEL_CHECK, Outcome.PASSED), *verdict.checks))
    return replace(
        verdict,
        trusted=False,
        checks=(Finding(CHANNEL_CHECK, Outcome.FAILED, _OTHER_KEY), *verdict.checks),
        code=CHANNEL_CHECK,
        message=_OTHER_KEY,
        needed=("A connection to the SMS itself: find out who answers at this address.", *verdict.needed),
    )


def attest_sms(
    url: str, policy: QuotePolicy, *, fetch: Fetch | None = None, clock: Clock = utc_now, timeout_s: float = 20
) -> AttestedSms:
    """Verify that the SMS at ``url`` is one that ``policy`` accepts.

    Raises:
        SmsIdentityError, AttestationError: it is not.
        UnavailableError: it cannot be reached or cannot answer now.
    """
    return verify(ask(url, fetch=fetch, timeout_s=timeout_s), policy, clock=clock)


def _context() -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.minimum_version = ssl.TLSVersion.TLSv1_3
    context.check_hostname = False  # an enclave is named by its measurement
    context.verify_mode = ssl.CERT_NONE  # judged after the handshake, by the evidence
    return context


def _asked(client: HttpClient, nonce: bytes) -> tuple[bytes, bytes]:
    """The certificate with the evidence, and that of the connection it came over (both DER)."""
    try:
        response = client.request("GET", "/attestation", expect=(200,), params={"nonce": nonce.hex()})
    except AnswerError as error:
        if error.status >= 500:
            raise UnavailableError(
                f"the SMS at {client.base_url} cannot prove itself now", code="sms.identity.unavailable"
            ) from error
        raise SmsIdentityError(
            _NOT_HERE.format(url=client.base_url),
            code="sms.identity.absent",
            hint="is this the address of an SMS's TLS port?",
        ) from error
    peer = _peer(response)
    try:
        pem = AttestationAnswer.model_validate_json(response.content).certificate
        return x509.load_pem_x509_certificate(pem.encode()).public_bytes(Encoding.DER), peer
    except (ValidationError, ValueError) as error:
        raise _no_proof(client.base_url) from error


def _peer(response: Any) -> bytes:  # noqa: ANN401  # an httpx2.Response, whose import is not light
    connection = response.extensions["network_stream"].get_extra_info("socket")
    try:
        certificate = connection.getpeercert(binary_form=True)
    except (OSError, ValueError, AttributeError) as error:  # how a socket that is closed already says so, by its state
        raise UnavailableError("the SMS hung up after its proof", code="sms.identity.unavailable") from error
    if not isinstance(certificate, bytes):
        raise SmsIdentityError("the server showed no certificate", code="sms.identity.answer")
    return certificate


def _stapled(client: HttpClient) -> Collateral:
    try:
        content = client.request("GET", "/v1/collateral", expect=(200,)).content
    except AnswerError as error:
        raise UnavailableError(
            f"the SMS at {client.base_url} hands out no collateral now",
            code="sms.collateral.absent",
            hint="name a certificate service of its platform with --pccs",
        ) from error
    return Collateral.from_json(content)


def _platform(certificate: bytes) -> PlatformId:
    from adyton.attestation.material import QuotePlatform  # noqa: PLC0415  # only where a certificate service is named
    from adyton.attestation.ratls.certificate import extract  # noqa: PLC0415

    return QuotePlatform.of(extract(certificate)[0]).platform


def _no_proof(url: str) -> SmsIdentityError:
    return SmsIdentityError(f"what {url} answered is no proof of what it is", code="sms.identity.answer")


def _spki(der: bytes) -> bytes:
    try:
        key = x509.load_der_x509_certificate(der).public_key()
        return key.public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
    except (ValueError, UnsupportedAlgorithm) as error:
        raise SmsIdentityError("a certificate of the server cannot be read", code="sms.identity.answer") from error
