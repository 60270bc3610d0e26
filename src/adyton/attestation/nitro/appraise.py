"""Judging AWS Nitro attestation documents: pure functions of bytes, policy and time.

:func:`appraise_document` explains, for people and records; :func:`verify_document` is for who grants something. Both
make the checks of :data:`NITRO_CHECKS`. Source: AWS, *Nitro Enclaves Attestation Process*, chapter 3.

The signing certificate lives for three hours: a document is to be verified when it is received. AWS publishes no
judgement of its platforms and has verifiers ignore its revocation lists (3.2.4), so there is neither a status nor a
check of revocation: what limits a stolen key is how short its certificate lives.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import ClassVar, Final

from cryptography import x509
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.asymmetric.utils import encode_dss_signature
from cryptography.hazmat.primitives.hashes import SHA384
from cryptography.hazmat.primitives.serialization import Encoding
from cryptography.x509.oid import SignatureAlgorithmOID

from adyton.attestation import anchors, chain
from adyton.attestation.anchors import TrustAnchor
from adyton.attestation.chain import Pki, Window
from adyton.attestation.checks import Recorder
from adyton.attestation.conclusion import check_windows, require_time_zone, verdict_of
from adyton.attestation.dcap.program import check_debug, check_pinned, pins_of
from adyton.attestation.errors import AttestationError, Finding
from adyton.attestation.nitro.document import IMAGE_REGISTERS, NitroDocument, parse_document
from adyton.attestation.policy import HealthPolicy, QuotePolicy
from adyton.attestation.verdict import EvidenceKind, Verdict

# Each line: code, what is proven, source (sections of the AWS text).
NITRO_CHECKS: Final[Mapping[str, str]] = {
    "attestation.nitro.format": "a COSE_Sign1 message with ES384 over a document as specified (3.1, 3.2.2)",
    "attestation.chain.format": "certificate and cabundle can be read (3.2.3)",
    "attestation.chain.path": "signatures, P-384 keys, CA roles, path lengths, key usage up to the root (3.2.3)",
    "attestation.chain.anchor": "the bundle starts with a root that the policy names (fingerprint of the DER)",
    "attestation.validity": "now is within every certificate (3.2.3.1)",
    "attestation.nitro.time": "the timestamp is within the signing certificate and not after now",
    "attestation.nitro.signature": "header and document are signed by the certificate's key (3.2.1; RFC 9052 4.4)",
    "attestation.debug": "PCR0 to PCR2 are not zero, unless debug-mode is tolerated",
    "attestation.pinned": "the policy names programs of this technology",
    "attestation.nitro.pcr": "every register that the policy pins has one of its values",
}

CLOCK_SKEW: Final = timedelta(minutes=1)  # how far a document's clock may be ahead of ours

_PROGRAM: Final = frozenset({"attestation.pinned", "attestation.nitro.pcr"})
_VALIDITY_HINT = "documents are worth three hours: verify at receipt, or judge one as of its own time with --at"


def _p384_key(certificate: x509.Certificate, label: str) -> ec.EllipticCurvePublicKey:
    key = certificate.public_key()
    if not isinstance(key, ec.EllipticCurvePublicKey) or not isinstance(key.curve, ec.SECP384R1):
        raise AttestationError(f"{label} does not hold a P-384 key", code="attestation.chain.path")
    return key


AWS_PKI: Final = Pki(
    signature="ECDSA and SHA-384",
    key=_p384_key,
    is_signed=lambda signed: signed.signature_algorithm_oid == SignatureAlgorithmOID.ECDSA_WITH_SHA384,
    cas_sign_lists=False,  # instance CAs sign nothing but enclave certificates
)


@dataclass(frozen=True, slots=True, kw_only=True)
class VerifiedNitro:
    """What a document proves, after every check passed; only :func:`verify_document` makes it.

    Attributes:
        document: the whole document.
        tier: ``aws`` or ``sim:<root fingerprint>``.
        valid_until: when the first certificate of this verification ends.
        root_der: the root certificate that the evidence chains to.
        checks: what was checked.
    """

    kind: ClassVar[EvidenceKind] = EvidenceKind.NITRO

    document: NitroDocument
    tier: str
    valid_until: datetime
    root_der: bytes
    checks: tuple[Finding, ...]

    @property
    def debug(self) -> bool:
        """Whether the host can read the enclave's memory."""
        return self.document.debug

    @property
    def simulated(self) -> bool:
        """Whether the evidence proves formats and policy only."""
        return TrustAnchor(self.tier).simulated


@dataclass(frozen=True, slots=True)
class _Examined:
    """Every check made, and what they were made of; None is what could not be had."""

    record: Recorder
    document: NitroDocument | None
    certificates: tuple[x509.Certificate, ...] | None  # from the signing one to the root
    anchor: TrustAnchor | None

    @property
    def windows(self) -> tuple[Window, ...]:
        return tuple(chain.window_of(each) for each in self.certificates or ())


def appraise_document(document: bytes, policy: HealthPolicy, now: datetime) -> Verdict:
    """Judge a document at ``now``; bad evidence makes a verdict that says so, not an error.

    Args:
        document: the COSE_Sign1 message as the Nitro security module gave it.
        policy: what is accepted; a plain :class:`HealthPolicy` compares no register.
        now: timezone-aware.

    Raises:
        InputError: ``now`` has no time zone.
    """
    examined = _examine(document, policy, now)
    return verdict_of(
        EvidenceKind.NITRO,
        examined.record,
        tuple(NITRO_CHECKS),
        frozenset() if isinstance(policy, QuotePolicy) else _PROGRAM,
        tier="" if examined.anchor is None else examined.anchor.tier,
        identity={} if examined.document is None else _identity(examined.document),
        windows=examined.windows,
    )


def verify_document(document: bytes, policy: QuotePolicy, now: datetime) -> VerifiedNitro:
    """Verify a document at ``now``; arguments as for :func:`appraise_document`.

    That it answers a question is for the caller to compare: nonce, user data and public key are in the result.

    Raises:
        AttestationError: with the code of the first failed check, as in :data:`NITRO_CHECKS`, and all findings.
        InputError: ``now`` has no time zone.
    """
    examined = _examine(document, policy, now)
    findings = examined.record.conclude(tuple(NITRO_CHECKS))
    parsed, certificates, anchor = examined.document, examined.certificates, examined.anchor
    if parsed is None or certificates is None or anchor is None:
        raise AttestationError("not every check was made", code="attestation.incomplete", findings=findings)
    return VerifiedNitro(
        document=parsed,
        tier=anchor.tier,
        valid_until=min(window.end for window in examined.windows),
        root_der=certificates[-1].public_bytes(Encoding.DER),
        checks=findings,
    )


def _examine(data: bytes, policy: HealthPolicy, now: datetime) -> _Examined:
    require_time_zone(now)
    record = Recorder()
    document = record.run("attestation.nitro.format", parse_document, data, tell=lambda d: d.module_id)
    certificates = record.run("attestation.chain.format", _read_chain, document)
    path = record.run("attestation.chain.path", _check_path, certificates)
    anchor = record.run("attestation.chain.anchor", _check_anchor, path, policy, tell=lambda a: a.tier)
    examined = _Examined(record, document, certificates, anchor)
    record.run("attestation.validity", check_windows, examined.windows or None, now, _VALIDITY_HINT, tell=str)
    record.run("attestation.nitro.time", _check_time, document, certificates, now, tell=str)
    record.run("attestation.nitro.signature", _check_signature, document, certificates, tell=str)
    record.run("attestation.debug", _check_debug, document, policy, tell=str)
    record.run("attestation.pinned", _check_pinned, document, policy, tell=str)
    record.run("attestation.nitro.pcr", _check_registers, document, policy, tell=str)
    return examined


def _read_chain(document: NitroDocument) -> tuple[x509.Certificate, ...]:
    """From the signing certificate to the root: the bundle is written the other way round (3.2.3)."""
    return tuple(
        chain.load_certificate(each, "a certificate of the document")
        for each in (document.certificate, *reversed(document.cabundle))
    )


def _check_path(certificates: tuple[x509.Certificate, ...]) -> tuple[x509.Certificate, ...]:
    chain.check_path(certificates, "the Nitro chain", pki=AWS_PKI)
    return certificates


def _check_anchor(certificates: tuple[x509.Certificate, ...], policy: HealthPolicy) -> TrustAnchor:
    root = certificates[-1]
    name = chain.common_name(root.subject)
    return anchors.find(policy.anchors, chain.fingerprint(root), name, vendor="aws")


def _check_time(document: NitroDocument, certificates: tuple[x509.Certificate, ...], now: datetime) -> str:
    made = _time(document)
    if not chain.window_of(certificates[0]).holds(made):
        raise AttestationError(
            f"the document of {made.isoformat()} was not made while its certificate held", code="attestation.nitro.time"
        )
    if made > now + CLOCK_SKEW:
        raise AttestationError(
            f"the document of {made.isoformat()} was not yet made at {now.isoformat()}",
            code="attestation.nitro.time",
            hint="check the clock",
        )
    return made.isoformat()


def _check_signature(document: NitroDocument, certificates: tuple[x509.Certificate, ...]) -> str:
    message = document.message
    half = len(message.signature) // 2
    r, s = (int.from_bytes(part, "big") for part in (message.signature[:half], message.signature[half:]))
    key = _p384_key(certificates[0], "the signing certificate")
    try:
        key.verify(encode_dss_signature(r, s), message.signed_bytes, ec.ECDSA(SHA384()))
    except InvalidSignature as error:
        raise AttestationError(
            "the document is not signed by its certificate", code="attestation.nitro.signature"
        ) from error
    return "ES384"


def _check_debug(document: NitroDocument, policy: HealthPolicy) -> str:
    return check_debug("enclave", document.debug, policy)


def _check_pinned(_document: NitroDocument, policy: HealthPolicy) -> str:
    """PCR0 is the image, PCR1 with PCR2 are its parts, PCR8 its signer; the others say nothing about what runs."""
    pinned = pins_of(policy).pcrs.keys()
    return check_pinned("Nitro enclaves (PCR0, PCR1 with PCR2, or PCR8)", bool({0, 8} & pinned or {1, 2} <= pinned))


def _check_registers(document: NitroDocument, policy: HealthPolicy) -> str:
    pinned = pins_of(policy).pcrs
    wrong = [number for number, accepted in sorted(pinned.items()) if document.pcrs.get(number) not in accepted]
    if wrong:
        listed = ", ".join(f"PCR{n} {document.pcrs[n].hex() if n in document.pcrs else '(missing)'}" for n in wrong)
        raise AttestationError(
            f"{listed} not accepted",
            code="attestation.nitro.pcr",
            hint="accept these registers in the policy, if it is the enclave that is meant",
        )
    return ", ".join(f"PCR{number}" for number in sorted(pinned))


def _time(document: NitroDocument) -> datetime:
    return datetime(1970, 1, 1, tzinfo=UTC) + timedelta(milliseconds=document.timestamp)


def _identity(document: NitroDocument) -> dict[str, str]:
    """Every register that is not zero, and those of the image."""
    told = {n: value for n, value in document.pcrs.items() if any(value) or n in IMAGE_REGISTERS}
    chosen = {"user_data": document.user_data, "public_key": document.public_key, "nonce": document.nonce}
    return {
        "module_id": document.module_id,
        "timestamp": _time(document).isoformat(),
        **{f"pcr{number}": value.hex() for number, value in told.items()},
        "debug": "true" if document.debug else "false",
        **{name: value.hex() for name, value in chosen.items() if value is not None},
    }
