"""Certificates of a session: read as their owner gave them, or made over a key of the session."""

from __future__ import annotations

from datetime import datetime, timedelta
from itertools import pairwise
from typing import Any, Final

from cryptography import x509
from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric import ec, ed448, ed25519, rsa
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
    PublicFormat,
    load_pem_private_key,
)
from cryptography.x509.oid import NameOID

from adyton.cas.language.scalars import SessionError
from adyton.cas.language.secretkinds import CertificateDefinition, X509CaSecret

CERTIFICATE_DAYS: Final = 365
AUTHORITY_DAYS: Final = 2 * 365
MAX_CHAIN: Final = 8
_SIGNING_KEYS: Final = (ec.EllipticCurvePrivateKey, rsa.RSAPrivateKey, ed25519.Ed25519PrivateKey, ed448.Ed448PrivateKey)


def new_key() -> bytes:
    """A P-256 key, PKCS#8 PEM."""
    return _pem(ec.generate_private_key(ec.SECP256R1()))


def read_key(pem: str, path: str) -> bytes:
    """The given private key, PKCS#8 PEM: EC, RSA or Edwards.

    Raises:
        SessionError: at ``path``; it is not one.
    """
    try:
        key = load_pem_private_key(pem.encode(), None)
    except (ValueError, TypeError, UnsupportedAlgorithm):
        raise SessionError(path, "is not an unencrypted PEM private key") from None
    if not isinstance(key, _SIGNING_KEYS):
        raise SessionError(path, "is not an EC, RSA, Ed25519 or Ed448 key")
    return _pem(key)


def read_chain(pem: str, key_pem: bytes, path: str) -> tuple[bytes, bytes]:
    """The given certificate and the issuers that follow it, both PEM.

    Args:
        pem: as given, the certificate first.
        key_pem: the key that it must be over; empty when none was named.
        path: of the value.

    Raises:
        SessionError: no certificates, one that is not issued by the next, or over another key.
    """
    try:
        chain = x509.load_pem_x509_certificates(pem.encode())
        certified = _spki(chain[0].public_key())
        for certificate, issuer in pairwise(chain):
            certificate.verify_directly_issued_by(issuer)
    except Exception as error:  # noqa: BLE001  # the parser names a dozen types for what strangers write
        raise SessionError(
            path, f"is not a PEM certificate with its issuers in order ({type(error).__name__})"
        ) from None
    if len(chain) > MAX_CHAIN:
        raise SessionError(path, f"holds more than {MAX_CHAIN} certificates")
    if key_pem and certified != _spki(_load(key_pem).public_key()):
        raise SessionError(path, "is over another key than private_key names")
    first, *issuers = (certificate.public_bytes(Encoding.PEM) for certificate in chain)
    return first, b"".join(issuers)


def read_authority(pem: str, key_pem: bytes, path: str) -> bytes:
    """The given certificate of an authority, PEM.

    Raises:
        SessionError: as :func:`read_chain`, more than one, or its basic constraints do not say that it is one.
    """
    certificate, issuers = read_chain(pem, key_pem, path)
    try:
        extensions = x509.load_pem_x509_certificate(certificate).extensions
        is_authority = extensions.get_extension_for_class(x509.BasicConstraints).value.ca
    except (ValueError, x509.ExtensionNotFound, x509.DuplicateExtension, UnsupportedAlgorithm):
        is_authority = False
    if issuers or not is_authority:
        raise SessionError(path, "is not one certificate of an authority (basic constraints, CA)")
    return certificate


def make_certificate(
    definition: CertificateDefinition, key_pem: bytes, path: str, now: datetime, issuer: tuple[bytes, bytes] | None
) -> bytes:
    """A certificate as ``definition`` says, PEM; valid from now for a year, an authority's for two.

    Args:
        definition: of the secret.
        key_pem: the key that it is over.
        path: of the definition.
        now: the time.
        issuer: certificate and key of the session's authority that signs it, PEM; None: it signs itself.

    Raises:
        SessionError: the issuer's certificate has expired, or does not fit.
    """
    key = _load(key_pem)
    authority = isinstance(definition, X509CaSecret)
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, definition.common_name or definition.name[:64])])
    end = now + timedelta(days=AUTHORITY_DAYS if authority else CERTIFICATE_DAYS)
    issuer_name, signer = name, key
    if issuer is not None:
        above = x509.load_pem_x509_certificate(issuer[0])
        issuer_name, signer = above.subject, _load(issuer[1])
        end = min(end, above.not_valid_after_utc)
        if end <= now:
            raise SessionError(path, "the certificate of its issuer has expired")
    builder = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(issuer_name)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - timedelta(minutes=5))
        .not_valid_after(end)
        .add_extension(x509.BasicConstraints(ca=authority, path_length=0 if authority else None), critical=True)
        .add_extension(_usage(authority=authority), critical=True)
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(key.public_key()), critical=False)
        .add_extension(_authority_key(issuer, signer), critical=False)
    )
    if not isinstance(definition, X509CaSecret) and definition.dns:
        names = x509.SubjectAlternativeName([x509.DNSName(dns) for dns in definition.dns])
        builder = builder.add_extension(names, critical=False)
    edwards = isinstance(signer, ed25519.Ed25519PrivateKey | ed448.Ed448PrivateKey)
    return builder.sign(signer, None if edwards else SHA256()).public_bytes(Encoding.PEM)


def certificate_der(pem: bytes) -> bytes:
    """DER of a PEM certificate."""
    return x509.load_pem_x509_certificate(pem).public_bytes(Encoding.DER)


def key_der(pem: bytes) -> bytes:
    """PKCS#8 DER of a PEM key."""
    return bytes(_load(pem).private_bytes(Encoding.DER, PrivateFormat.PKCS8, NoEncryption()))


def _usage(*, authority: bool) -> x509.KeyUsage:
    return x509.KeyUsage(
        digital_signature=not authority,
        content_commitment=False,
        key_encipherment=False,
        data_encipherment=False,
        key_agreement=False,
        key_cert_sign=authority,
        crl_sign=authority,
        encipher_only=False,
        decipher_only=False,
    )


def _authority_key(issuer: tuple[bytes, bytes] | None, signer: Any) -> x509.AuthorityKeyIdentifier:  # noqa: ANN401  # any key
    """RFC 5280, 4.2.1.1: the identifier as the issuer's own certificate has it."""
    if issuer is not None:
        extensions = x509.load_pem_x509_certificate(issuer[0]).extensions
        try:
            own = extensions.get_extension_for_class(x509.SubjectKeyIdentifier).value
        except x509.ExtensionNotFound:
            pass
        else:
            return x509.AuthorityKeyIdentifier.from_issuer_subject_key_identifier(own)
    return x509.AuthorityKeyIdentifier.from_issuer_public_key(signer.public_key())


def _load(pem: bytes) -> Any:  # noqa: ANN401  # one of _SIGNING_KEYS
    # checked when it was given; the check of an RSA key costs a quarter of a second each time
    return load_pem_private_key(pem, None, unsafe_skip_rsa_key_validation=True)


def _pem(key: Any) -> bytes:  # noqa: ANN401  # one of _SIGNING_KEYS
    return bytes(key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()))


def _spki(key: Any) -> bytes:  # noqa: ANN401  # any public key
    return bytes(key.public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo))
