"""The CAS's own face: one TLS key for the life of the process, evidence over it, and the certificates of both ports.

The key never leaves memory. Its evidence is what makes the CAS trustworthy to enclaves; the authority's signature is
what makes the REST port convenient for owners who verified the authority once.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Final

from cryptography import x509

from adyton.attestation.anchors import TrustAnchor
from adyton.attestation.collateral.documents import Collateral, CollateralSource
from adyton.attestation.formats.report_data import CAS_ATTESTATION, CAS_SERVER
from adyton.attestation.ratls.certificate import EvidenceSource
from adyton.attestation.ratls.provenkey import ProvenKey, Renewing, require_nonce
from adyton.base.clock import Clock, utc_now
from adyton.base.errors import InputError
from adyton.cas.face.authority import Authority
from adyton.cas.face.identity import identity_nonce
from adyton.cas.wire import IdentityAnswer

if TYPE_CHECKING:
    from adyton.web.peercert import Context

_RENEW_SERVER: Final = timedelta(hours=12)  # of the 24 that the authority gives


class Prover:
    """Proves the CAS to its callers.

    Args:
        source: quotes for the CAS's enclave.
        authority: gives the CAS's own, which may be exchanged meanwhile.
        collateral: where the collateral of the CAS's own platform comes from.
        anchors: accepted roots; the CAS's own platform is under one of them.
        names: host names and addresses beside the fixed one in the REST server's certificate.
        clock: time.
    """

    def __init__(
        self,
        source: EvidenceSource,
        authority: Callable[[], Authority],
        collateral: CollateralSource,
        *,
        anchors: Iterable[TrustAnchor],
        names: Iterable[str] = (),
        clock: Clock = utc_now,
    ) -> None:
        self._key = ProvenKey(source, CAS_SERVER, clock=clock)
        self._authority = authority
        self._collateral = collateral
        self._anchors = tuple(anchors)
        self._names = tuple(names)
        self._clock = clock
        self._rest = self._rest_under(authority())

    def identity(self, nonce: bytes) -> IdentityAnswer:
        """Fresh evidence over this process's TLS key and the authority, for the caller's ``nonce``.

        Raises:
            InputError: the nonce is too short or too long.
            PlatformError: the platform does not quote.
        """
        authority = self._authority()
        refusal = InputError(f"a nonce of {len(nonce)} bytes; it must have 16 to 64", code="cas.request.nonce")
        claim = identity_nonce(require_nonce(nonce, refusal), authority.root_der)
        certificate = self._key.evidence(CAS_ATTESTATION, claim)
        return IdentityAnswer(certificate=certificate, ca=authority.root_pem)

    def collateral(self) -> Collateral:
        """What a caller needs to judge :meth:`identity`; proven by its signatures, not by who hands it over.

        Raises:
            UnavailableError: there is none that is valid now.
            AttestationError: the CAS runs on a platform that it would not accept itself.
        """
        platform = self._key.platform(self._anchors)
        return self._collateral.fetch(platform.fmspc, platform.ca, platform.kind)

    def rest_context(self) -> Context:
        """TLS of the REST port: a certificate by the authority, another one when that was exchanged."""
        authority = self._authority()
        if self._rest[0] is not authority:
            self._rest = self._rest_under(authority)
        return self._rest[1]()

    def attested_context(self) -> Context:
        """TLS of the attested port: an RA-TLS certificate."""
        return self._key.server_context()

    def _rest_under(self, authority: Authority) -> tuple[Authority, Renewing[Context]]:
        return authority, Renewing(lambda now: self._make_rest_context(authority, now), _RENEW_SERVER, self._clock)

    def _make_rest_context(self, authority: Authority, now: datetime) -> Context:
        from adyton.web.peercert import server_context  # noqa: PLC0415  # OpenSSL only where a port is opened

        pem = authority.issue_server(self._key.private_key.public_key(), self._names, now)
        certificate, *crosses = x509.load_pem_x509_certificates(pem)
        return server_context(certificate, self._key.private_key, crosses)
