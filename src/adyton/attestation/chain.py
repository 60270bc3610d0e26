"""Certificate chains and revocation lists (RFC 5280), by the rules of one vendor's PKI.

The default is that of SGX (*SGX PCK Certificate and CRL Profile*): everything is P-256 with SHA-256. What a PKI does
not use is refused. Functions here check what does not depend on the time; validity windows are collected as values
and compared with ``now`` by the caller.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any, Final, TypeVar

from cryptography import x509
from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.asymmetric.utils import encode_dss_signature
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from cryptography.x509.oid import ExtensionOID, NameOID, SignatureAlgorithmOID

from adyton.attestation.errors import AttestationError

MAX_CHAIN_BYTES: Final = 16 << 10  # three certificates of this PKI have under 5 kB
MAX_CRL_BYTES: Final = 4 << 20

_PEM = re.compile(rb"-----BEGIN CERTIFICATE-----\n(?:[A-Za-z0-9+/=]{1,76}\n)+-----END CERTIFICATE-----\n?")
# Marks of lists that do not name every revoked certificate of their issuer, or name those of others.
_PARTIAL_LIST = {ExtensionOID.DELTA_CRL_INDICATOR, ExtensionOID.ISSUING_DISTRIBUTION_POINT, ExtensionOID.FRESHEST_CRL}
_LIST_MUST_HAVE = {ExtensionOID.CRL_NUMBER, ExtensionOID.AUTHORITY_KEY_IDENTIFIER}  # RFC 5280 5.2
_KNOWN_CRITICAL = {ExtensionOID.BASIC_CONSTRAINTS, ExtensionOID.KEY_USAGE}

# What the library raises for bytes it cannot read or does not know; it has no common base class for them.
LIBRARY_ERRORS: Final = (
    ValueError,
    TypeError,
    OverflowError,
    NotImplementedError,
    UnsupportedAlgorithm,
    UserWarning,  # where warnings are errors: a form that it will refuse soon, or that RFC 5280 does not allow
    x509.DuplicateExtension,
    x509.InvalidVersion,
    x509.UnsupportedGeneralNameType,
)

E = TypeVar("E", bound=x509.ExtensionType)


@dataclass(frozen=True, slots=True)
class Window:
    """From when to when a certificate, list or document holds, both ends included."""

    what: str
    start: datetime
    end: datetime

    def holds(self, now: datetime) -> bool:
        """Whether ``now`` is inside."""
        return self.start <= now <= self.end


def parse_chain(pem: bytes, count: int, what: str) -> list[x509.Certificate]:
    """Read exactly ``count`` PEM certificates with nothing between, before or after (one final NUL is allowed).

    Raises:
        AttestationError: ``attestation.chain.format``.
    """
    text = pem.removesuffix(b"\0").replace(b"\r\n", b"\n")
    blocks = [match.group() for match in _PEM.finditer(text)] if len(text) <= MAX_CHAIN_BYTES else []
    if len(blocks) != count or b"".join(blocks) != text:
        raise AttestationError(f"{what} is not {count} certificates in PEM", code="attestation.chain.format")
    return [load_certificate(block, what) for block in blocks]


def load_certificate(data: bytes, what: str) -> x509.Certificate:
    """Read one certificate, PEM or DER, completely.

    The library reads a certificate's parts when they are asked for, so they are all asked for here: a part that cannot
    be read must be this error, not one that surfaces in the middle of a check.

    Raises:
        AttestationError: ``attestation.chain.format``.
    """
    load = x509.load_pem_x509_certificate if data.startswith(b"-----") else x509.load_der_x509_certificate
    try:
        certificate = load(data)
        _ = (certificate.subject, certificate.issuer, certificate.serial_number, certificate.public_key())
        _ = (certificate.not_valid_before_utc, certificate.not_valid_after_utc, certificate.signature_algorithm_oid)
        _ = [extension.value.public_bytes() for extension in certificate.extensions]
    except LIBRARY_ERRORS as error:
        raise AttestationError(f"{what} cannot be read: {error}", code="attestation.chain.format") from error
    if certificate.serial_number <= 0:  # RFC 5280 4.1.2.2; the library only warns, and revocation lists cannot name it
        raise AttestationError(f"{what} has a serial number that is not positive", code="attestation.chain.format")
    return certificate


def parse_crl(der: bytes, what: str) -> x509.CertificateRevocationList:
    """Read a CRL in DER.

    Raises:
        AttestationError: ``attestation.crl.format``.
    """
    if len(der) > MAX_CRL_BYTES:
        raise AttestationError(f"{what} of {len(der)} bytes is over the limit", code="attestation.crl.format")
    try:
        crl = x509.load_der_x509_crl(der)
        _ = (crl.issuer, crl.last_update_utc, crl.next_update_utc, crl.signature_algorithm_oid, list(crl.extensions))
        # an entry may name another issuer for itself and all that follow (RFC 5280 5.3.3), always in a critical part
        odd = next((entry.serial_number for entry in crl if any(part.critical for part in entry.extensions)), None)
    except LIBRARY_ERRORS as error:
        raise AttestationError(f"{what} cannot be read: {error}", code="attestation.crl.format") from error
    if odd is not None:
        raise AttestationError(f"{what}: the entry {odd:x} has a critical extension", code="attestation.crl.format")
    return crl


def common_name(name: x509.Name) -> str:
    """The first common name, or empty text."""
    return next((str(a.value) for a in name.get_attributes_for_oid(NameOID.COMMON_NAME)), "")


def fingerprint(certificate: x509.Certificate) -> str:
    """SHA-256 of the DER, hex."""
    return hashlib.sha256(certificate.public_bytes(Encoding.DER)).hexdigest()


def spki(certificate: x509.Certificate) -> bytes:
    """The SubjectPublicKeyInfo in DER."""
    return certificate.public_key().public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)


def p256_key(certificate: x509.Certificate, label: str) -> ec.EllipticCurvePublicKey:
    """The certificate's P-256 key.

    Raises:
        AttestationError: ``attestation.chain.path``: another kind of key.
    """
    key = certificate.public_key()
    if not isinstance(key, ec.EllipticCurvePublicKey) or not isinstance(key.curve, ec.SECP256R1):
        raise _path_error(f"{label} does not hold a P-256 key")
    return key


@dataclass(frozen=True, slots=True)
class Pki:
    """The rules of one vendor's certificates.

    Attributes:
        signature: what certificates and lists are signed with, for messages.
        key: gives a certificate's public key, or raises ``attestation.chain.path`` where it is of another kind.
        is_signed: whether a certificate or list names that signature algorithm.
        cas_sign_lists: whether every CA must be allowed to sign revocation lists.
        list_extensions: what every list must have.
    """

    signature: str
    key: Callable[[x509.Certificate, str], Any]
    is_signed: Callable[[x509.Certificate | x509.CertificateRevocationList], bool]
    cas_sign_lists: bool
    list_extensions: frozenset[x509.ObjectIdentifier] = frozenset()


SGX_PKI: Final = Pki(
    signature="ECDSA and SHA-256",
    key=p256_key,
    is_signed=lambda signed: signed.signature_algorithm_oid == SignatureAlgorithmOID.ECDSA_WITH_SHA256,
    cas_sign_lists=True,
    list_extensions=frozenset({ExtensionOID.CRL_NUMBER, ExtensionOID.AUTHORITY_KEY_IDENTIFIER}),  # RFC 5280 5.2
)


def check_path(chain: Sequence[x509.Certificate], what: str, *, pki: Pki = SGX_PKI, below: int = 0) -> None:
    """Check names, signatures, keys and constraints from the leaf (first) to the self-signed root (last).

    Args:
        chain: the certificates.
        what: names the chain in errors.
        pki: the vendor's rules.
        below: how many certificates, checked by the caller, lie below the first one.

    Raises:
        AttestationError: ``attestation.chain.path``.
    """
    for depth, (child, parent) in enumerate(zip(chain, [*chain[1:], chain[-1]], strict=True), start=below):
        label = f"{what}: {common_name(child.subject)!r}"
        pki.key(child, label)
        _check_critical(child, label)
        if not pki.is_signed(child):
            raise _path_error(f"{label} is not signed with {pki.signature}")
        try:
            child.verify_directly_issued_by(parent)
        except (InvalidSignature, *LIBRARY_ERRORS) as error:
            raise _path_error(f"{label} is not issued by {common_name(parent.subject)!r}") from error
        _check_role(child, depth, label, pki)


def _check_role(certificate: x509.Certificate, depth: int, label: str, pki: Pki) -> None:
    """RFC 5280 6.1.4 (k)-(n): a CA above the leaf, with a path length that allows what lies below; the leaf is none."""
    constraints = _extension(certificate, x509.BasicConstraints, label)
    usage = _extension(certificate, x509.KeyUsage, label)
    if depth == 0:
        if constraints.ca or not usage.digital_signature:
            raise _path_error(f"{label} is not an end-entity certificate for signing")
        return
    if not constraints.ca or not usage.key_cert_sign or (pki.cas_sign_lists and not usage.crl_sign):
        raise _path_error(f"{label} is not a certificate authority")
    if constraints.path_length is not None and constraints.path_length < depth - 1:
        raise _path_error(f"{label} does not allow a chain this long")


def _check_critical(certificate: x509.Certificate, label: str) -> None:
    for extension in certificate.extensions:
        if extension.critical and extension.oid not in _KNOWN_CRITICAL:
            raise _path_error(f"{label} has the unknown critical extension {extension.oid.dotted_string}")


def _extension(certificate: x509.Certificate, kind: type[E], label: str) -> E:
    try:
        return certificate.extensions.get_extension_for_class(kind).value
    except x509.ExtensionNotFound as error:
        raise _path_error(f"{label} has no {kind.__name__}") from error


def check_crl(crl: x509.CertificateRevocationList, issuer: x509.Certificate, what: str, *, pki: Pki = SGX_PKI) -> None:
    """Check that ``issuer`` made the list, and that it can be understood completely.

    Raises:
        AttestationError: ``attestation.crl.signature``.
    """
    try:
        made = crl.issuer == issuer.subject and crl.is_signature_valid(pki.key(issuer, what))
        partial = [each.oid.dotted_string for each in crl.extensions if each.critical or each.oid in _PARTIAL_LIST]
        missing = pki.list_extensions - {each.oid for each in crl.extensions}
    except LIBRARY_ERRORS as error:
        raise AttestationError(f"{what}: {error}", code="attestation.crl.signature") from error
    if not made or not pki.is_signed(crl):
        raise AttestationError(
            f"{what} is not signed by {common_name(issuer.subject)!r}", code="attestation.crl.signature"
        )
    if partial:
        raise AttestationError(f"{what} is not a complete list: {partial[0]}", code="attestation.crl.signature")
    if missing:
        raise AttestationError(f"{what} has no number or no authority key id", code="attestation.crl.signature")


def check_not_revoked(crl: x509.CertificateRevocationList, certificate: x509.Certificate) -> None:
    """Raise ``attestation.crl.revoked`` when the list names the certificate."""
    if crl.get_revoked_certificate_by_serial_number(certificate.serial_number) is not None:
        raise AttestationError(
            f"{common_name(certificate.subject)!r} (serial {certificate.serial_number:x}) is revoked",
            code="attestation.crl.revoked",
        )


def window_of(certificate: x509.Certificate) -> Window:
    """The validity of a certificate."""
    what = common_name(certificate.subject) or "certificate"
    return Window(what, certificate.not_valid_before_utc, certificate.not_valid_after_utc)


def crl_window(crl: x509.CertificateRevocationList, what: str) -> Window:
    """The validity of a CRL, which is over at nextUpdate: by then there is another. Without an end it is refused.

    Raises:
        AttestationError: ``attestation.crl.format``.
    """
    if crl.next_update_utc is None:
        raise AttestationError(f"{what} has no nextUpdate", code="attestation.crl.format")
    return Window(what, crl.last_update_utc, crl.next_update_utc - timedelta(seconds=1))


def verify_raw(key: ec.EllipticCurvePublicKey, signature: bytes, message: bytes) -> bool:
    """Whether ``signature`` (r||s, 64 bytes big-endian) over ``message`` with SHA-256 is by ``key``."""
    if len(signature) != 64:
        return False
    der = encode_dss_signature(int.from_bytes(signature[:32], "big"), int.from_bytes(signature[32:], "big"))
    try:
        key.verify(der, message, ec.ECDSA(SHA256()))
    except InvalidSignature:
        return False
    return True


def point_key(point: bytes) -> ec.EllipticCurvePublicKey | None:
    """The P-256 key of x||y (64 bytes), or None when that is no point of the curve."""
    try:
        return ec.EllipticCurvePublicKey.from_encoded_point(ec.SECP256R1(), b"\x04" + point)
    except ValueError:
        return None


def _path_error(message: str) -> AttestationError:
    return AttestationError(message, code="attestation.chain.path")
