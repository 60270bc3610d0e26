"""The CAS's own certificate authority: a P-256 root that never leaves the CAS, and short-lived certificates under it.

Two kinds of leaf, told apart by what only one of them has: the REST server's certificate carries DNS names, among them
:data:`adyton.cas.identity.SERVER_NAME`; an attested service's carries the URI ``adyton:<session>/<service>`` and no DNS
name, so a service can never pass for the CAS. :mod:`adyton.cas.peers` reads the latter.
"""

from __future__ import annotations

import ipaddress
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Final, Self

from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
    load_der_private_key,
    load_der_public_key,
)
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID, ObjectIdentifier

from adyton.base.secret import Secret
from adyton.cas.identity import SERVER_NAME
from adyton.cas.peers import TIER_OID, ServiceIdentity

ROOT_DAYS: Final = 5 * 365
SERVER_HOURS: Final = 24
IDENTITY_HOURS: Final = 4  # the verdict of an attestation: as long as it may stand without a new one
_SKEW: Final = timedelta(minutes=5)  # a verifier's clock may be behind ours


@dataclass(frozen=True, slots=True)
class Authority:
    """The root key and its certificate."""

    key: ec.EllipticCurvePrivateKey
    root: x509.Certificate

    @classmethod
    def create(cls, now: datetime) -> Self:
        """A new root."""
        key = ec.generate_private_key(ec.SECP256R1())
        name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "Adyton CAS root")])
        builder = _builder(name, name, key.public_key(), now, now + timedelta(days=ROOT_DAYS))
        root = (
            builder.add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
            .add_extension(_key_usage(certificates=True), critical=True)
            .add_extension(x509.SubjectKeyIdentifier.from_public_key(key.public_key()), critical=False)
            .sign(key, SHA256())
        )
        return cls(key, root)

    @classmethod
    def from_plain(cls, plain: dict[str, str]) -> Self:
        """The inverse of :meth:`to_plain`; the input was authenticated by decryption."""
        key = load_der_private_key(bytes.fromhex(plain["key"]), None)
        if not isinstance(key, ec.EllipticCurvePrivateKey):
            raise TypeError("the authority's key is not an elliptic curve key")
        return cls(key, x509.load_der_x509_certificate(bytes.fromhex(plain["root"])))

    def to_plain(self) -> dict[str, str]:
        """As JSON values, for encryption only."""
        key = Secret(self.key.private_bytes(Encoding.DER, PrivateFormat.PKCS8, NoEncryption()))
        return {"key": key.reveal().hex(), "root": self.root_der.hex()}

    @property
    def root_der(self) -> bytes:
        """The root certificate, DER."""
        return self.root.public_bytes(Encoding.DER)

    @property
    def root_pem(self) -> str:
        """The root certificate, PEM."""
        return self.root.public_bytes(Encoding.PEM).decode()

    def issue_server(self, key: ec.EllipticCurvePublicKey, names: Iterable[str], now: datetime) -> bytes:
        """The REST server's certificate (PEM, 24 h) for :data:`SERVER_NAME` and ``names`` (host names or addresses)."""
        others = [_general_name(name) for name in names]
        alternative = x509.SubjectAlternativeName([x509.DNSName(SERVER_NAME), *others])
        usages = (ExtendedKeyUsageOID.SERVER_AUTH,)
        return self._issue(
            key, "Adyton CAS", alternative, usages=usages, tier=None, now=now, end=now + timedelta(hours=SERVER_HOURS)
        )

    def issue_identity(
        self, spki: bytes, identity: ServiceIdentity, now: datetime, *, until: datetime | None = None
    ) -> bytes:
        """An attested service's certificate (PEM, 4 h, or less where its session ends ``until`` then).

        Args:
            spki: the key that was attested (DER).
            identity: what it was attested as.
            now: start.
            until: when its session ends.
        """
        key = load_der_public_key(spki)
        if not isinstance(key, ec.EllipticCurvePublicKey):
            raise TypeError("identity certificates are made over elliptic curve keys")
        alternative = x509.SubjectAlternativeName([x509.UniformResourceIdentifier(identity.uri)])
        usages = (ExtendedKeyUsageOID.CLIENT_AUTH, ExtendedKeyUsageOID.SERVER_AUTH)
        end = now + timedelta(hours=IDENTITY_HOURS)
        end = end if until is None else min(end, until)
        return self._issue(key, identity.service[:64], alternative, usages=usages, tier=identity.tier, now=now, end=end)

    def _issue(
        self,
        key: ec.EllipticCurvePublicKey,
        common_name: str,
        alternative: x509.SubjectAlternativeName,
        *,
        usages: tuple[ObjectIdentifier, ...],
        tier: str | None,
        now: datetime,
        end: datetime,
    ) -> bytes:
        subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, common_name)])
        builder = (
            _builder(subject, self.root.subject, key, now, end)
            .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
            .add_extension(_key_usage(certificates=False), critical=True)
            .add_extension(x509.ExtendedKeyUsage(usages), critical=False)
            .add_extension(alternative, critical=False)
            .add_extension(x509.AuthorityKeyIdentifier.from_issuer_public_key(self.key.public_key()), critical=False)
        )
        if tier is not None:
            builder = builder.add_extension(x509.UnrecognizedExtension(TIER_OID, _utf8_string(tier)), critical=False)
        return builder.sign(self.key, SHA256()).public_bytes(Encoding.PEM)


def _builder(
    subject: x509.Name, issuer: x509.Name, key: ec.EllipticCurvePublicKey, now: datetime, end: datetime
) -> x509.CertificateBuilder:
    return (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(issuer)
        .public_key(key)
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - _SKEW)
        .not_valid_after(end)
    )


def _key_usage(*, certificates: bool) -> x509.KeyUsage:
    return x509.KeyUsage(
        digital_signature=not certificates,
        key_cert_sign=certificates,
        crl_sign=certificates,
        content_commitment=False,
        key_encipherment=False,
        data_encipherment=False,
        key_agreement=False,
        encipher_only=False,
        decipher_only=False,
    )


def _general_name(name: str) -> x509.GeneralName:
    try:
        return x509.IPAddress(ipaddress.ip_address(name))
    except ValueError:
        return x509.DNSName(name)


def _utf8_string(text: str) -> bytes:
    """DER UTF8String; a tier is at most 68 characters, so the short length form holds."""
    data = text.encode()
    if len(data) > 127:
        raise ValueError("too long for the short length form")
    return bytes([0x0C, len(data)]) + data
