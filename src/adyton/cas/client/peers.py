"""Plain mTLS between services that the CAS attested: stock TLS contexts, and a check of who the other end is.

Attestation happens once, with the CAS; the identity certificate that it gives stands for the verdict afterwards: which
service of which session the key belongs to (the URI ``adyton:<session>/<service>``), and by which kind of evidence (the
tier). OpenSSL checks chain, dates and extended key usage; the name is not a host's, so :func:`check_peer` compares it
after the handshake and before the first byte, which TLS 1.3 allows: the peer has proven its key by then.

Certificates live for hours and are renewed, with a new attestation, at half of that, so withdrawing a service means
not attesting it again. A service gets its certificate and the root that it is under together, each time; a file with
several roots is accepted too, so that an authority can be replaced by handing out both while the last certificates of
the old one run out.

Light on purpose: standard library and ``cryptography``, for use inside enclaves.
"""

from __future__ import annotations

import ssl
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from cryptography import x509
from cryptography.exceptions import UnsupportedAlgorithm

from adyton.base.errors import AdytonError

TIER_OID: Final = x509.ObjectIdentifier("2.25.245353832141234729002175228261516267723")
"""Extension with the evidence's trust tier (UTF8String): ``intel`` or ``sim:<fingerprint>``. A UUID arc (X.667)."""

SCHEME: Final = "adyton:"


class PeerError(AdytonError):
    """The other end of a connection is not the service that is meant."""

    code = "cas.peer.refused"
    hint = "both ends must be services that the policy names, attested by the same CAS"


@dataclass(frozen=True, slots=True)
class ServiceIdentity:
    """What an identity certificate says its holder was attested as."""

    session: str
    service: str
    tier: str

    @property
    def uri(self) -> str:
        """Its name in the certificate."""
        return f"{SCHEME}{self.session}/{self.service}"


def mutual_context(identity: Path, authority: Path, *, server: bool) -> ssl.SSLContext:
    """A TLS 1.3 context of one end that shows its identity and requires the other's.

    Args:
        identity: PEM file with the identity certificate and its key, as the agent writes it.
        authority: PEM file with the root of the CAS, or with several.
        server: which end.

    Raises:
        OSError, ssl.SSLError: a file cannot be read, or its parts do not belong together.
    """
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER if server else ssl.PROTOCOL_TLS_CLIENT)
    context.minimum_version = ssl.TLSVersion.TLSv1_3
    context.check_hostname = False  # services are named by URI; check_peer compares it
    context.verify_mode = ssl.CERT_REQUIRED
    context.verify_flags |= ssl.VERIFY_X509_STRICT
    if server:
        context.num_tickets = 0  # a resumed connection would outlive the certificate that it was opened with
    context.load_verify_locations(authority)
    context.load_cert_chain(identity)
    return context


def service_identity(certificate_der: bytes) -> ServiceIdentity:
    """Who an identity certificate is for; its chain was verified by TLS.

    Raises:
        PeerError: ``cas.peer.certificate``: it is not one, as the REST server's certificate of the same authority.
    """
    try:
        certificate = x509.load_der_x509_certificate(certificate_der)
        names = certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
        tier = tier_of(certificate)
    except (ValueError, UnsupportedAlgorithm, x509.ExtensionNotFound, x509.DuplicateExtension) as error:
        raise PeerError("the peer's certificate is no identity certificate", code="cas.peer.certificate") from error
    uris = [name.value for name in names if isinstance(name, x509.UniformResourceIdentifier)]
    if len(uris) != 1 or len(list(names)) != 1 or not uris[0].startswith(SCHEME) or uris[0].count("/") != 1:
        raise PeerError("the peer's certificate names no service", code="cas.peer.certificate")
    session, service = uris[0].removeprefix(SCHEME).split("/")
    return ServiceIdentity(session, service, tier)


def check_peer(
    certificate_der: bytes | None, *, session: str, services: Iterable[str], tiers: Iterable[str]
) -> ServiceIdentity:
    """Check that the other end is one of ``services`` of ``session``, attested under one of ``tiers``.

    Args:
        certificate_der: of the peer, as ``getpeercert(binary_form=True)`` gives it.
        session: name of the session.
        services: names of services.
        tiers: ``intel``, ``sim:<fingerprint>``.

    Raises:
        PeerError: ``cas.peer.certificate``, ``cas.peer.session``, ``cas.peer.service`` or ``cas.peer.tier``.
    """
    if not certificate_der:
        raise PeerError("the peer showed no certificate", code="cas.peer.certificate")
    found = service_identity(certificate_der)
    if found.session != session:
        raise PeerError("the peer belongs to another session", code="cas.peer.session")
    if found.service not in set(services):
        raise PeerError(f"the peer is the service {found.service!r}", code="cas.peer.service")
    if found.tier not in set(tiers):
        raise PeerError(f"the peer was attested under {found.tier}", code="cas.peer.tier")
    return found


def tier_of(certificate: x509.Certificate) -> str:
    """The tier in an identity certificate.

    Raises:
        x509.ExtensionNotFound: it has none.
        ValueError: it is not a UTF8String of less than 128 bytes.
    """
    value = certificate.extensions.get_extension_for_oid(TIER_OID).value.public_bytes()
    if value[:1] != b"\x0c" or len(value) < 2 or value[1] != len(value) - 2 or value[1] > 127:
        raise ValueError("the tier is not a short UTF8String")
    return value[2:].decode()
