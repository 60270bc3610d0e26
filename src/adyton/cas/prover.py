"""The CAS's own face: one TLS key for the life of the process, evidence over it, and the certificates of both ports.

The key never leaves memory. Its evidence is what makes the CAS trustworthy to enclaves; the authority's signature is
what makes the REST port convenient for owners who verified the authority once.
"""

from __future__ import annotations

import os
import threading
from collections.abc import Callable, Iterable
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Final, Generic, TypeVar

from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding

from adyton.attestation.anchors import TrustAnchor
from adyton.attestation.collateral.documents import Collateral, CollateralSource, PlatformId
from adyton.attestation.dcap.judge import platform_of
from adyton.attestation.formats.quote import parse_quote
from adyton.attestation.formats.report_data import CAS_ATTESTATION, CAS_SERVER, MAX_NONCE_BYTES, MIN_NONCE_BYTES
from adyton.attestation.ratls.certificate import EvidenceSource, extract, make_certificate
from adyton.base.clock import Clock, utc_now
from adyton.base.errors import InputError
from adyton.cas.authority import Authority
from adyton.cas.identity import identity_nonce
from adyton.cas.wire import IdentityAnswer

if TYPE_CHECKING:
    from adyton.web.peercert import Context

T = TypeVar("T")

_RENEW_SERVER: Final = timedelta(hours=12)  # of the 24 that the authority gives
_RENEW_EVIDENCE: Final = timedelta(minutes=30)  # of the hour that an RA-TLS certificate has


class Prover:
    """Proves the CAS to its callers.

    Args:
        source: quotes for the CAS's enclave.
        authority: the CAS's own.
        collateral: where the collateral of the CAS's own platform comes from.
        anchors: accepted roots; the CAS's own platform is under one of them.
        names: host names and addresses beside the fixed one in the REST server's certificate.
        clock: time.
    """

    def __init__(
        self,
        source: EvidenceSource,
        authority: Authority,
        collateral: CollateralSource,
        *,
        anchors: Iterable[TrustAnchor],
        names: Iterable[str] = (),
        clock: Clock = utc_now,
    ) -> None:
        self._key = ec.generate_private_key(ec.SECP256R1())
        self._source = source
        self._authority = authority
        self._collateral = collateral
        self._anchors = tuple(anchors)
        self._names = tuple(names)
        self._clock = clock
        self._platform: PlatformId | None = None
        self._rest = _Renewing(self._make_rest_context, _RENEW_SERVER, clock)
        self._attested = _Renewing(self._make_attested_context, _RENEW_EVIDENCE, clock)

    def identity(self, nonce: bytes) -> IdentityAnswer:
        """Fresh evidence over this process's TLS key and the authority, for the caller's ``nonce``.

        Raises:
            InputError: the nonce is too short or too long.
            PlatformError: the platform does not quote.
        """
        if not MIN_NONCE_BYTES <= len(nonce) <= MAX_NONCE_BYTES:
            raise InputError(
                f"a nonce of {len(nonce)} bytes; it must have {MIN_NONCE_BYTES} to {MAX_NONCE_BYTES}",
                code="cas.request.nonce",
            )
        claim = identity_nonce(nonce, self._authority.root_der)
        certificate = make_certificate(self._key, self._source, CAS_ATTESTATION, claim, now=self._clock())
        pem = x509.load_der_x509_certificate(certificate).public_bytes(Encoding.PEM).decode()
        return IdentityAnswer(certificate=pem, ca=self._authority.root_pem)

    def collateral(self) -> Collateral:
        """What a caller needs to judge :meth:`identity`; proven by its signatures, not by who hands it over.

        Raises:
            UnavailableError: there is none that is valid now.
            AttestationError: the CAS runs on a platform that it would not accept itself.
        """
        if self._platform is None:
            certificate = make_certificate(self._key, self._source, CAS_SERVER, os.urandom(32), now=self._clock())
            self._platform = platform_of(parse_quote(extract(certificate)[0]), self._anchors)
        return self._collateral.fetch(self._platform.fmspc, self._platform.ca, self._platform.kind)

    def rest_context(self) -> Context:
        """TLS of the REST port: a certificate by the authority."""
        return self._rest()

    def attested_context(self) -> Context:
        """TLS of the attested port: an RA-TLS certificate."""
        return self._attested()

    def _make_rest_context(self, now: datetime) -> Context:
        from adyton.web.peercert import server_context  # noqa: PLC0415  # OpenSSL only where a port is opened

        pem = self._authority.issue_server(self._key.public_key(), self._names, now)
        return server_context(x509.load_pem_x509_certificate(pem), self._key)

    def _make_attested_context(self, now: datetime) -> Context:
        from adyton.web.peercert import server_context  # noqa: PLC0415

        der = make_certificate(self._key, self._source, CAS_SERVER, os.urandom(32), now=now)
        return server_context(x509.load_der_x509_certificate(der), self._key)


class _Renewing(Generic[T]):
    """A value that is made anew when it is older than ``after``."""

    def __init__(self, make: Callable[[datetime], T], after: timedelta, clock: Clock) -> None:
        self._make = make
        self._after = after
        self._clock = clock
        self._lock = threading.Lock()
        self._made: tuple[datetime, T] | None = None

    def __call__(self) -> T:
        with self._lock:
            now = self._clock()
            if self._made is None or not self._made[0] <= now < self._made[0] + self._after:
                self._made = (now, self._make(now))
            return self._made[1]
