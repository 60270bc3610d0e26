"""The CAS's own certificate authority: a P-256 root that never leaves the CAS, and short-lived certificates under it.

Two kinds of leaf, told apart by what only one of them has: the REST server's certificate carries DNS names, among them
:data:`adyton.cas.face.identity.SERVER_NAME`; an attested service's carries the URI ``adyton:<session>/<service>`` and
no DNS name, so a service can never pass for the CAS. :mod:`adyton.cas.client.peers` reads the latter.

When an authority is succeeded by another one, the old key's last act is to sign the new root (NewWithOld of RFC 4210,
4.4), so that who keeps the old root goes on; :mod:`adyton.cas.face.handover` says what such a certificate must look
like.
"""

from __future__ import annotations

import hashlib
import ipaddress
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime, timedelta
from itertools import takewhile
from typing import Any, Final, Self

from cryptography import x509
from cryptography.exceptions import InvalidSignature
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
from adyton.cas.client.peers import TIER_OID, ServiceIdentity
from adyton.cas.face.handover import HANDOVER_DAYS, MAX_HANDOVERS
from adyton.cas.face.identity import SERVER_NAME

ROOT_DAYS: Final = 5 * 365
SERVER_HOURS: Final = 24
IDENTITY_HOURS: Final = 4  # the verdict of an attestation: as long as it may stand without a new one
_SKEW: Final = timedelta(minutes=5)  # a verifier's clock may be behind ours
_NAME: Final = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "Adyton CAS root")])


@dataclass(frozen=True, slots=True)
class Handover:
    """The way from a root that went to the one that came after it.

    Attributes:
        former: the root that went.
        cross: name and key of the root that followed, signed by the former's key before that was destroyed.
    """

    former: x509.Certificate
    cross: x509.Certificate

    def is_valid(self, now: datetime) -> bool:
        """Whether who keeps the former root still gets across."""
        return now < self.cross.not_valid_after_utc

    def has_identities(self, now: datetime) -> bool:
        """Whether identities that were issued under the former root may still be valid."""
        return now < self.cross.not_valid_before_utc + 2 * _SKEW + timedelta(hours=IDENTITY_HOURS)


@dataclass(frozen=True, slots=True)
class Authority:
    """The root key and its certificate.

    Attributes:
        key, root: the current ones.
        handovers: from the roots before, the last one first.
    """

    key: ec.EllipticCurvePrivateKey
    root: x509.Certificate
    handovers: tuple[Handover, ...] = ()

    @classmethod
    def create(cls, now: datetime) -> Self:
        """A new root."""
        key = ec.generate_private_key(ec.SECP256R1())
        builder = _builder(_NAME, _NAME, key.public_key(), now, now + timedelta(days=ROOT_DAYS))
        return cls(key, _as_root(builder, key.public_key()).sign(key, SHA256()))

    def succeed(self, now: datetime) -> Authority:
        """A new authority, whose root this one's key has signed. Who drops ``self`` has destroyed the old key."""
        new = Authority.create(now)
        end = min(now + timedelta(days=HANDOVER_DAYS), self.root.not_valid_after_utc)
        builder = _as_root(_builder(_NAME, _NAME, new.key.public_key(), now, end), new.key.public_key())
        cross = builder.add_extension(_issued_by(self.key), critical=False).sign(self.key, SHA256())
        kept = takewhile(lambda handover: handover.is_valid(now), (Handover(self.root, cross), *self.handovers))
        return Authority(new.key, new.root, tuple(kept)[:MAX_HANDOVERS])

    @classmethod
    def from_plain(cls, plain: dict[str, Any]) -> Self:
        """The inverse of :meth:`to_plain`; the input was authenticated by decryption."""
        key = load_der_private_key(bytes.fromhex(plain["key"]), None)
        if not isinstance(key, ec.EllipticCurvePrivateKey):
            raise TypeError("the authority's key is not an elliptic curve key")
        handovers = (
            Handover(_certificate(entry["former"]), _certificate(entry["cross"]))
            for entry in plain.get("handovers", ())  # a database from before authorities were exchanged has none
        )
        return cls(key, _certificate(plain["root"]), tuple(handovers))

    def to_plain(self) -> dict[str, Any]:
        """As JSON values, for encryption only."""
        key = Secret(self.key.private_bytes(Encoding.DER, PrivateFormat.PKCS8, NoEncryption()))
        handovers = [
            {"former": _der(handover.former).hex(), "cross": _der(handover.cross).hex()} for handover in self.handovers
        ]
        return {"key": key.reveal().hex(), "root": self.root_der.hex(), "handovers": handovers}

    @property
    def fingerprint(self) -> str:
        """SHA-256 of the root certificate, hex."""
        return hashlib.sha256(self.root_der).hexdigest()

    @property
    def root_der(self) -> bytes:
        """The root certificate, DER."""
        return _der(self.root)

    @property
    def root_pem(self) -> str:
        """The root certificate, PEM."""
        return _pem([self.root]).decode()

    def roots_pem(self, now: datetime) -> str:
        """What services verify each other by, PEM: the root, then former ones until their last identities have ended.

        Only the first is the root that the CAS itself is to be verified by.
        """
        return _pem([self.root, *(handover.former for handover in self._fresh(now))]).decode()

    def has_issued(self, certificate: bytes, now: datetime) -> bool:
        """Whether a certificate (DER) is one of this authority's own making that is valid now."""
        try:
            parsed = x509.load_der_x509_certificate(certificate)
            parsed.verify_directly_issued_by(self.root)
        except (ValueError, TypeError, InvalidSignature):
            return False
        return parsed.not_valid_before_utc <= now <= parsed.not_valid_after_utc

    def issue_server(self, key: ec.EllipticCurvePublicKey, names: Iterable[str], now: datetime) -> bytes:
        """The REST server's certificate (24 h) for :data:`SERVER_NAME` and ``names`` (host names or addresses).

        PEM; behind it the certificates that lead to former roots, for clients that keep one of those.
        """
        others = [_general_name(name) for name in names]
        alternative = x509.SubjectAlternativeName([x509.DNSName(SERVER_NAME), *others])
        usages = (ExtendedKeyUsageOID.SERVER_AUTH,)
        leaf = self._issue(
            key, "Adyton CAS", alternative, usages=usages, tier=None, now=now, end=now + timedelta(hours=SERVER_HOURS)
        )
        return _pem([leaf, *(handover.cross for handover in self.handovers if handover.is_valid(now))])

    def issue_identity(
        self, spki: bytes, identity: ServiceIdentity, now: datetime, *, until: datetime | None = None
    ) -> bytes:
        """An attested service's certificate (4 h, or less where its session ends ``until`` then).

        PEM; in the hours after an exchange of the authority with the certificate that leads to the former root, for
        peers that have not renewed theirs yet.

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
        leaf = self._issue(key, identity.service[:64], alternative, usages=usages, tier=identity.tier, now=now, end=end)
        return _pem([leaf, *(handover.cross for handover in self._fresh(now))])

    def _fresh(self, now: datetime) -> list[Handover]:
        return [handover for handover in self.handovers if handover.has_identities(now)]

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
    ) -> x509.Certificate:
        subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, common_name)])
        builder = (
            _builder(subject, self.root.subject, key, now, min(end, self.root.not_valid_after_utc))
            .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
            .add_extension(_key_usage(certificates=False), critical=True)
            .add_extension(x509.ExtendedKeyUsage(usages), critical=False)
            .add_extension(alternative, critical=False)
            .add_extension(_issued_by(self.key), critical=False)
        )
        if tier is not None:
            builder = builder.add_extension(x509.UnrecognizedExtension(TIER_OID, _utf8_string(tier)), critical=False)
        return builder.sign(self.key, SHA256())


def _as_root(builder: x509.CertificateBuilder, key: ec.EllipticCurvePublicKey) -> x509.CertificateBuilder:
    return (
        builder.add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
        .add_extension(_key_usage(certificates=True), critical=True)
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(key), critical=False)
    )


def _issued_by(key: ec.EllipticCurvePrivateKey) -> x509.AuthorityKeyIdentifier:
    return x509.AuthorityKeyIdentifier.from_issuer_public_key(key.public_key())


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


def _certificate(text: str) -> x509.Certificate:
    return x509.load_der_x509_certificate(bytes.fromhex(text))


def _der(certificate: x509.Certificate) -> bytes:
    return certificate.public_bytes(Encoding.DER)


def _pem(certificates: Iterable[x509.Certificate]) -> bytes:
    return b"".join(certificate.public_bytes(Encoding.PEM) for certificate in certificates)


def _utf8_string(text: str) -> bytes:
    """DER UTF8String; a tier is at most 68 characters, so the short length form holds."""
    data = text.encode()
    if len(data) > 127:
        raise ValueError("too long for the short length form")
    return bytes([0x0C, len(data)]) + data
