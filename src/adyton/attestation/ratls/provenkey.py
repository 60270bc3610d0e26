"""The TLS key of a service that proves itself: made once, kept in memory only, with fresh evidence over it on demand.

A service in an enclave is known to its clients by two things that must belong together: the key of the TLS connection,
and evidence over that very key for the client's own nonce. :class:`ProvenKey` makes both, and :class:`Renewing` keeps
what has dates in front of them.
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

from adyton.attestation.formats.report_data import MAX_NONCE_BYTES, MIN_NONCE_BYTES
from adyton.attestation.ratls.certificate import EvidenceSource, extract, make_certificate
from adyton.base.clock import Clock, utc_now
from adyton.base.errors import InputError

if TYPE_CHECKING:
    from adyton.attestation.anchors import TrustAnchor
    from adyton.attestation.collateral.documents import PlatformId
    from adyton.web.peercert import Context

T = TypeVar("T")

_RENEW_EVIDENCE: Final = timedelta(minutes=30)  # of the hour that an RA-TLS certificate has


class Renewing(Generic[T]):
    """A value that is made anew when it is older than ``after``, or when the clock was set back before it."""

    def __init__(self, make: Callable[[datetime], T], after: timedelta, clock: Clock) -> None:
        self._make = make
        self._after = after
        self._clock = clock
        self._lock = threading.Lock()
        self._made: tuple[datetime, T] | None = None

    def __call__(self) -> T:
        """The value."""
        with self._lock:
            now = self._clock()
            if self._made is None or not self._made[0] <= now < self._made[0] + self._after:
                self._made = (now, self._make(now))
            return self._made[1]


class ProvenKey:
    """A P-256 key for the life of the process, and evidence of this enclave over it.

    Args:
        source: quotes for this enclave.
        server_purpose: what the evidence in the certificate of its TLS port is for.
        clock: time.
    """

    def __init__(self, source: EvidenceSource, server_purpose: str, *, clock: Clock = utc_now) -> None:
        self._key = ec.generate_private_key(ec.SECP256R1())
        self._source = source
        self._server_purpose = server_purpose
        self._clock = clock
        self._platform: PlatformId | None = None
        self._context = Renewing(self._make_context, _RENEW_EVIDENCE, clock)

    @property
    def private_key(self) -> ec.EllipticCurvePrivateKey:
        """The key, for TLS contexts with other certificates over it."""
        return self._key

    def evidence(self, purpose: str, nonce: bytes) -> str:
        """A certificate (PEM) over the key, with fresh evidence for ``purpose`` and ``nonce``.

        Raises:
            InputError: a purpose or nonce out of bounds.
            PlatformError: the platform does not quote.
        """
        der = make_certificate(self._key, self._source, purpose, nonce, now=self._clock())
        return x509.load_der_x509_certificate(der).public_bytes(Encoding.PEM).decode()

    def server_context(self) -> Context:
        """TLS 1.3 with an RA-TLS certificate over the key; asks for, but does not require, a client's certificate.

        Raises:
            PlatformError: the platform does not quote.
        """
        return self._context()

    def platform(self, anchors: Iterable[TrustAnchor]) -> PlatformId:
        """Of which platforms the collateral is that this enclave's evidence is judged by.

        Raises:
            AttestationError: this platform is under none of the roots.
            PlatformError: the platform does not quote.
        """
        from adyton.attestation.dcap.judge import platform_of  # noqa: PLC0415  # only for who hands out collateral
        from adyton.attestation.formats.quote import parse_quote  # noqa: PLC0415

        if self._platform is None:
            quote = extract(self._make_certificate(self._clock()))[0]
            self._platform = platform_of(parse_quote(quote), tuple(anchors))
        return self._platform

    def _make_certificate(self, now: datetime) -> bytes:
        return make_certificate(self._key, self._source, self._server_purpose, os.urandom(32), now=now)

    def _make_context(self, now: datetime) -> Context:
        from adyton.web.peercert import server_context  # noqa: PLC0415  # OpenSSL only where a port is opened

        return server_context(x509.load_der_x509_certificate(self._make_certificate(now)), self._key)


def read_nonce(text: str, refusal: InputError) -> bytes:
    """A caller's nonce from hex.

    Args:
        text: what came.
        refusal: raised where it is no hex text, or not as long as evidence can hold: each protocol has a code of its
            own for that.

    Raises:
        InputError: ``refusal``.
    """
    try:
        nonce = bytes.fromhex(text)
    except ValueError:
        raise refusal from None
    return require_nonce(nonce, refusal)


def require_nonce(nonce: bytes, refusal: InputError) -> bytes:
    """``nonce``, where its length is one that evidence can hold.

    Raises:
        InputError: ``refusal``.
    """
    if not MIN_NONCE_BYTES <= len(nonce) <= MAX_NONCE_BYTES:
        raise refusal
    return nonce
