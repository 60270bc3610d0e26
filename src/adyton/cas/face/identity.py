"""How a CAS proves what it is: one RA-TLS certificate over its TLS key, fresh for a nonce, naming its authority.

The evidence of a CAS binds three things: the key of the TLS connection it is fetched over, the caller's nonce, and the
root certificate of the CAS's own authority. The nonce that goes into the claims is the digest of the caller's nonce
and the root, so the claims format (TCG DICE tagged evidence) stays as it is and neither can be exchanged.

Light on purpose: this module runs in every enclave's agent.
"""

from __future__ import annotations

import hashlib
import hmac
from dataclasses import dataclass
from datetime import datetime
from typing import TYPE_CHECKING, Final

from cryptography import x509
from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from adyton.base.aead import bind
from adyton.base.errors import AdytonError

if TYPE_CHECKING:
    from adyton.attestation.collateral.documents import Collateral
    from adyton.attestation.evidence import VerifiedEnclave
    from adyton.attestation.policy import QuotePolicy

SERVER_NAME: Final = "cas.adyton.internal"
"""The DNS name in the REST server's certificate; clients check it whatever address they dial."""

_IDENTITY_DOMAIN: Final = b"adyton/cas/identity/1"


class CasIdentityError(AdytonError):
    """What answers is not the CAS that the policy names."""

    code = "cas.identity.mismatch"
    hint = "check the address of the CAS; if it was rebuilt, its new measurement must be put into the manifest"


@dataclass(frozen=True, slots=True)
class IdentityProof:
    """The answer of ``GET /attestation``: DER certificate with the evidence, DER root of the CAS's authority."""

    certificate: bytes
    authority: bytes


def identity_nonce(nonce: bytes, authority_der: bytes) -> bytes:
    """The nonce claim of a CAS's evidence: SHA-256 over domain, caller's nonce and root certificate."""
    return hashlib.sha256(bind(_IDENTITY_DOMAIN, nonce, authority_der)).digest()


def spki_of(certificate_der: bytes) -> bytes:
    """The DER SubjectPublicKeyInfo of a certificate.

    Raises:
        CasIdentityError: the bytes are no certificate with a readable key.
    """
    try:
        key = x509.load_der_x509_certificate(certificate_der).public_key()
        return key.public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
    except (ValueError, UnsupportedAlgorithm) as error:
        raise CasIdentityError("the peer's certificate cannot be read", code="cas.identity.certificate") from error


def verify_identity(
    proof: IdentityProof,
    *,
    peer_certificate: bytes,
    nonce: bytes,
    collateral: Collateral,
    policy: QuotePolicy,
    now: datetime,
) -> VerifiedEnclave:
    """Check that the peer of a TLS connection is a CAS that ``policy`` accepts.

    1. the evidence is over the very key that the connection proved (TLS 1.3 CertificateVerify);
    2. evidence, claims, nonce and root certificate belong together, and the policy holds.

    Args:
        proof: the peer's answer to ``nonce``.
        peer_certificate: DER certificate that the peer showed in the handshake.
        nonce: what was asked with; fresh random bytes.
        collateral: stapled by the CAS; proven by its signatures under the policy's anchors.
        policy: who may be the CAS.
        now: time of the check.

    Raises:
        CasIdentityError: another key than the connection's.
        AttestationError: the evidence does not hold.
    """
    # only who verifies pays the import
    from adyton.attestation.evidence import require_enclave  # noqa: PLC0415
    from adyton.attestation.formats.report_data import CAS_ATTESTATION  # noqa: PLC0415
    from adyton.attestation.ratls.certificate import verify_certificate  # noqa: PLC0415

    if not hmac.compare_digest(spki_of(proof.certificate), spki_of(peer_certificate)):
        raise CasIdentityError(
            "the evidence of the CAS is over another key than its connection", code="cas.identity.key"
        )
    return require_enclave(
        verify_certificate(
            proof.certificate,
            purpose=CAS_ATTESTATION,
            nonce=identity_nonce(nonce, proof.authority),
            collateral=collateral,
            policy=policy,
            now=now,
        )
    )
