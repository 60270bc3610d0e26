"""The chain from a CAS's server certificate to the root that a client keeps, after the authority was exchanged or not.

An exchange of the authority leaves one certificate made by the old key: name and key of the new root, signed by the old
root (NewWithOld of RFC 4210, 4.4). It is self-issued, so it does not count against the roots' path length of 0 (RFC
5280, 6.1.4 (l)), and several exchanges make a chain of them. OpenSSL checks signatures, dates, purpose and host name;
:func:`check_chain` then lets through nothing but that chain: no other intermediate authority, whoever signed it.

Light on purpose: standard library and ``cryptography``, for use inside enclaves.
"""

from __future__ import annotations

import ssl
from collections.abc import Sequence
from itertools import pairwise
from typing import Any, Final, TypeVar

from cryptography import x509
from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import ExtensionOID, SignatureAlgorithmOID

from adyton.base.errors import UnavailableError
from adyton.cas.face.identity import CasIdentityError

T = TypeVar("T", bound=x509.ExtensionType)

HANDOVER_DAYS: Final = 90
"""How long who keeps the old root gets across. A bound, so that nobody keeps a root for years that may be a thief's."""

MAX_HANDOVERS: Final = 16
"""Exchanges within those days that a kept root survives; each adds 500 bytes and one signature to a handshake."""

_EXTENSIONS: Final = {
    ExtensionOID.BASIC_CONSTRAINTS: True,  # critical
    ExtensionOID.KEY_USAGE: True,
    ExtensionOID.SUBJECT_KEY_IDENTIFIER: False,
    ExtensionOID.AUTHORITY_KEY_IDENTIFIER: False,
}


def verified_chain(connection: ssl.SSLSocket) -> list[bytes]:
    """The chain that OpenSSL verified for the peer of a connection, DER: its certificate first, the root last.

    Raises:
        UnavailableError: this Python does not say.
    """
    public: Any = getattr(connection, "get_verified_chain", None)  # Python 3.13
    if public is not None:
        return list(public())
    inner: Any = getattr(connection, "_sslobj", None)  # since Python 3.10, without a public name
    if not hasattr(inner, "get_verified_chain"):
        raise UnavailableError("this Python does not tell which chain was verified", code="cas.client.python")
    return [ssl.PEM_cert_to_DER_cert(certificate.public_bytes()) for certificate in inner.get_verified_chain()]


def check_chain(chain: Sequence[bytes]) -> None:
    """Check that between a server's certificate and the root there are only certificates of an exchanged authority.

    1. at most :data:`MAX_HANDOVERS` of them;
    2. each has the root's name as subject and as issuer, a P-256 key, and is signed with ECDSA and SHA-256;
    3. its extensions are exactly: basic constraints of an authority with path length 0 and key usage for certificates
       and revocation lists, both critical, its own key identifier, and that of the certificate above it.

    Args:
        chain: as :func:`verified_chain` gives it; signatures and dates hold.

    Raises:
        CasIdentityError: ``cas.identity.chain``.
    """
    try:
        certificates = [x509.load_der_x509_certificate(der) for der in chain]
        if len(certificates) < 2:
            raise _refusal(f"{len(certificates)} certificates, at least two are needed")
        if len(certificates) - 2 > MAX_HANDOVERS:  # 1
            raise _refusal(f"{len(certificates) - 2} authorities above the server, at most {MAX_HANDOVERS}")
        root = certificates[-1]
        for cross, above in pairwise(certificates[1:]):
            if problem := _problem(cross, above, root.subject):
                raise _refusal(problem)
    except (ValueError, UnsupportedAlgorithm, x509.ExtensionNotFound, x509.DuplicateExtension) as error:
        raise _refusal(f"a certificate cannot be read ({type(error).__name__})") from error


def _problem(cross: x509.Certificate, above: x509.Certificate, name: x509.Name) -> str:
    """What is wrong with a certificate of an exchanged authority; empty: nothing."""
    key, oid = cross.public_key(), cross.signature_algorithm_oid
    if {extension.oid: extension.critical for extension in cross.extensions} != _EXTENSIONS:  # 3, so that 2 can be read
        return "an authority with other extensions"
    on_p256 = isinstance(key, ec.EllipticCurvePublicKey) and isinstance(key.curve, ec.SECP256R1)
    above_it = _extension(above, x509.SubjectKeyIdentifier)
    is_so = {
        "name": cross.subject == name and cross.issuer == name,  # 2
        "kind of key": on_p256,
        "kind of signature": oid == SignatureAlgorithmOID.ECDSA_WITH_SHA256,
        "path length": _extension(cross, x509.BasicConstraints) == x509.BasicConstraints(ca=True, path_length=0),  # 3
        "key usage": _extension(cross, x509.KeyUsage) == _signs_certificates(),
        "key identifier": _extension(cross, x509.SubjectKeyIdentifier)
        == (x509.SubjectKeyIdentifier.from_public_key(key) if on_p256 else None),
        "key identifier of its issuer": _extension(cross, x509.AuthorityKeyIdentifier)
        == x509.AuthorityKeyIdentifier.from_issuer_subject_key_identifier(above_it),
    }
    return next((f"an authority with another {what}" for what, holds in is_so.items() if not holds), "")


def _extension(certificate: x509.Certificate, kind: type[T]) -> T:
    return certificate.extensions.get_extension_for_class(kind).value


def _signs_certificates() -> x509.KeyUsage:
    return x509.KeyUsage(
        digital_signature=False,
        content_commitment=False,
        key_encipherment=False,
        data_encipherment=False,
        key_agreement=False,
        key_cert_sign=True,
        crl_sign=True,
        encipher_only=False,
        decipher_only=False,
    )


def _refusal(reason: str) -> CasIdentityError:
    return CasIdentityError(
        f"the server's certificate does not lead to the kept root as a CAS's does: {reason}",
        code="cas.identity.chain",
        hint="verify the CAS again ('adyton cas attest') and keep the root that it names then",
    )
