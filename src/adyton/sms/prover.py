"""How the service proves itself: evidence over the key of its TLS port, fresh for who asks.

Not in the official API. The certificate of the TLS port says what its holder is; the answer to a nonce says that it is
so now. Both are over one key, which is made at start and is in memory only.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from fastapi import APIRouter, Response

from adyton.attestation.anchors import TrustAnchor
from adyton.attestation.formats.report_data import SMS_ATTESTATION, SMS_SERVER
from adyton.attestation.ratls.provenkey import ProvenKey, read_nonce
from adyton.base.clock import Clock, utc_now
from adyton.base.errors import InputError, NotFoundError
from adyton.sms.wire import AttestationAnswer

if TYPE_CHECKING:
    from adyton.attestation.collateral.documents import Collateral, CollateralSource
    from adyton.attestation.ratls.certificate import EvidenceSource
    from adyton.sms.settings import SmsSettings
    from adyton.web.peercert import Context


class Prover:
    """Proves the SMS to its callers.

    Args:
        source: quotes for the SMS's enclave.
        collateral: where the collateral of the SMS's own platform comes from; None: clients find it themselves.
        anchors: roots; the SMS's own platform is under one of them.
        clock: time.
    """

    def __init__(
        self,
        source: EvidenceSource,
        *,
        collateral: CollateralSource | None = None,
        anchors: tuple[TrustAnchor, ...] = (),
        clock: Clock = utc_now,
    ) -> None:
        self._key = ProvenKey(source, SMS_SERVER, clock=clock)
        self._collateral = collateral
        self._anchors = anchors

    @classmethod
    def of(cls, settings: SmsSettings, source: EvidenceSource, *, clock: Clock = utc_now) -> Prover:
        """The prover that the settings describe."""
        anchors = tuple(TrustAnchor(text) for text in settings.anchors)
        collateral = None
        if settings.pccs_url is not None:
            from adyton.attestation.collateral.cache import CollateralCache  # noqa: PLC0415  # megabytes that not every SMS needs
            from adyton.attestation.collateral.pccs import PccsClient  # noqa: PLC0415

            collateral = CollateralCache(PccsClient(settings.pccs_url), anchors, clock=clock)
        return cls(source, collateral=collateral, anchors=anchors, clock=clock)

    def attestation(self, nonce: str) -> AttestationAnswer:
        """Fresh evidence over this process's TLS key, for the caller's nonce (hex).

        Raises:
            InputError: the nonce is not hex, too short or too long.
            PlatformError: the platform does not quote.
        """
        refusal = InputError("the nonce is not 16 to 64 bytes in hex", code="sms.request.nonce")
        return AttestationAnswer(certificate=self._key.evidence(SMS_ATTESTATION, read_nonce(nonce, refusal)))

    def collateral(self) -> Collateral:
        """What a caller needs to judge :meth:`attestation`; proven by its signatures, not by who hands it over.

        Raises:
            NotFoundError: this SMS hands out none.
            UnavailableError: there is none that is valid now.
            AttestationError: the SMS runs on a platform under none of its roots.
        """
        if self._collateral is None:
            raise NotFoundError(
                "this SMS hands out no collateral",
                code="sms.collateral.absent",
                hint="name a certificate service of the platform with --pccs",
            )
        platform = self._key.platform(self._anchors)
        return self._collateral.fetch(platform.fmspc, platform.ca, platform.kind)

    def context(self) -> Context:
        """TLS with an RA-TLS certificate, renewed well before it ends.

        Raises:
            PlatformError: the platform does not quote.
        """
        return self._key.server_context()


def proof_routes(prover: Prover) -> APIRouter:
    """The routes by which the service proves itself."""
    router = APIRouter(
        tags=["attestation"],
        responses={
            400: {"description": "The nonce is not 16 to 64 bytes in hex"},
            429: {"description": "Too many requests; `Retry-After` says when to come back"},
            503: {"description": "The platform does not quote, or there is no valid collateral now"},
        },
    )

    @router.get("/attestation")
    def attestation(nonce: str) -> AttestationAnswer:
        """Evidence over the key of the TLS port, for the caller's nonce."""
        return prover.attestation(nonce)

    @router.get("/v1/collateral", responses={404: {"description": "This service hands out none"}})
    def collateral() -> Response:
        """Collateral of this service's platform."""
        return Response(prover.collateral().to_json(), media_type="application/json")

    return router
