"""Verification for services: :class:`Verifier` joins the pure steps with collateral, memory and a second opinion."""

from __future__ import annotations

import hashlib
import threading
from collections import OrderedDict
from collections.abc import Hashable
from dataclasses import replace
from datetime import datetime
from typing import Final, Generic, TypeVar

from adyton.attestation.checks import Recorder
from adyton.attestation.collateral.documents import Collateral, CollateralSource, PlatformId
from adyton.attestation.dcap.assessment import Judgements, OpenedQuote, assess, verify_quote
from adyton.attestation.dcap.judge import (
    JudgedCollateral,
    JudgedPck,
    judge_collateral,
    judge_pck,
    platform_of,
)
from adyton.attestation.dcap.opinion import second_opinion
from adyton.attestation.dcap.quote_verdict import appraise_quote
from adyton.attestation.dcap.signer import JudgedSigner, judge_signer, program_bytes, signer_bytes
from adyton.attestation.errors import AttestationError, Outcome
from adyton.attestation.evidence import VerifiedEnclave, VerifiedEvidence, VerifiedTd, require_enclave
from adyton.attestation.formats.quote import Quote, parse_quote
from adyton.attestation.policy import QuotePolicy
from adyton.attestation.ratls.certificate import bind, open_certificate
from adyton.base.clock import Clock, utc_now
from adyton.base.errors import UnavailableError

__all__ = [
    "VerifiedEnclave",
    "VerifiedEvidence",
    "VerifiedTd",
    "Verifier",
    "appraise_quote",
    "require_enclave",
    "verify_quote",
]

MAX_REMEMBERED: Final = 1024  # entries of each memory: bounds what a stream of hostile quotes can occupy
MAX_COLLATERAL: Final = 128  # copies of collateral, which are larger: one for each kind of platform and refresh

V = TypeVar("V")


class Verifier:
    """Verifies quotes and RA-TLS certificates; thread-safe, one for a whole service.

    It fetches the collateral that a quote needs, keeps the judgements of collateral, PCK chains and attestation keys
    (named by all bytes that they are of), and asks a second verifier on the first appearance of a program under an
    attestation key and a copy of collateral: a later quote that it was not asked about differs from one that it
    accepted in nothing but the report data and the signature. Only what no check refuses is kept, so that quotes of
    strangers push nothing out that cost work.

    Args:
        source: of collateral, usually a :class:`~adyton.attestation.collateral.documents.CollateralCache`.
        clock: the time of verification.
    """

    def __init__(self, source: CollateralSource, *, clock: Clock = utc_now) -> None:
        self._source = source
        self._clock = clock
        self._platforms: _Memory[PlatformId] = _Memory(MAX_REMEMBERED)
        self._collateral: _Memory[JudgedCollateral] = _Memory(MAX_COLLATERAL)
        self._pck: _Memory[JudgedPck] = _Memory(MAX_REMEMBERED)
        self._signers: _Memory[JudgedSigner] = _Memory(MAX_REMEMBERED)
        self._seen: _Memory[bool] = _Memory(MAX_REMEMBERED)

    def verify(self, quote: bytes, policy: QuotePolicy) -> VerifiedEvidence:
        """Verify a quote now.

        Raises:
            AttestationError: as :func:`verify_quote`, or ``attestation.second_opinion``.
            UnavailableError: there is no valid collateral, whatever is wrong with what the source has: that is not
                the quote's fault, and never taken for acceptance.
        """
        now = self._clock()
        record = Recorder()
        parsed = record.run("attestation.quote.format", parse_quote, quote)
        if parsed is None:
            record.conclude(())
            raise AttestationError("the quote cannot be read", code="attestation.quote.format")
        chain_digest = hashlib.sha256(parsed.certification).digest()
        platform_key = (chain_digest, parsed.certification_type, parsed.kind, policy.anchors)
        platform = self._platforms.get(platform_key) or self._platforms.put(
            platform_key, platform_of(parsed, policy.anchors)
        )
        collateral = self._collateral_for(platform)
        judgements, signer_key = self._judged(parsed, quote, chain_digest, collateral)
        evidence = assess(record, OpenedQuote.of(parsed, quote), judgements, policy=policy, now=now).conclude()
        return self._with_second_opinion(quote, collateral, evidence, (signer_key, program_bytes(parsed, quote)), now)

    def _collateral_for(self, platform: PlatformId) -> Collateral:
        try:
            return self._source.fetch(platform.fmspc, platform.ca, platform.kind)
        except AttestationError as error:
            raise UnavailableError(
                f"the certificate service has no usable collateral for {platform}: {error.message}",
                code=error.code,
                hint=error.hint,
            ) from error

    def _judged(
        self, quote: Quote, data: bytes, chain_digest: bytes, collateral: Collateral
    ) -> tuple[Judgements, Hashable]:
        """What is remembered of exactly these bytes, or judged now; and the name of the signer's judgement."""
        digest = collateral.digest
        pck_key = (digest, chain_digest, quote.certification_type)
        signer_key = (*pck_key, signer_bytes(quote, data))
        judged = self._collateral.get(digest) or _kept(self._collateral, digest, judge_collateral(collateral))
        pck = self._pck.get(pck_key) or _kept(self._pck, pck_key, judge_pck(quote, judged.documents))
        signer = self._signers.get(signer_key) or _kept(
            self._signers, signer_key, judge_signer(quote, judged.documents, pck.pck)
        )
        return Judgements(judged, pck, signer), signer_key

    def verify_certificate(self, der: bytes, *, purpose: str, nonce: bytes, policy: QuotePolicy) -> VerifiedEvidence:
        """Verify an RA-TLS certificate now.

        Raises:
            AttestationError: as :func:`adyton.attestation.ratls.certificate.verify_certificate`, or
                ``attestation.second_opinion``.
            UnavailableError: there is no valid collateral; never taken for acceptance.
        """
        opened = open_certificate(der, purpose=purpose, nonce=nonce, now=self._clock())
        return bind(self.verify(opened.quote, policy), opened)

    def _with_second_opinion(
        self, quote: bytes, collateral: Collateral, evidence: VerifiedEvidence, key: Hashable, now: datetime
    ) -> VerifiedEvidence:
        if self._seen.get(key):
            return evidence
        finding = second_opinion(quote, collateral, evidence, now)
        if finding.outcome is Outcome.PASSED:  # where it is not asked, the program still counts as unseen
            self._seen.put(key, value=True)
        return replace(evidence, checks=(*evidence.checks, finding))


J = TypeVar("J", JudgedCollateral, JudgedPck, JudgedSigner)


def _kept(memory: _Memory[J], key: Hashable, judged: J) -> J:
    """The judgement, remembered where it may serve for a quote that is accepted."""
    passed = all(finding.outcome is Outcome.PASSED for finding in judged.findings)
    return memory.put(key, judged) if passed else judged


class _Memory(Generic[V]):
    """The most recently used entries, up to a bound, by a name that holds every byte that decides."""

    def __init__(self, bound: int) -> None:
        self._bound = bound
        self._entries: OrderedDict[Hashable, V] = OrderedDict()
        self._lock = threading.Lock()

    def get(self, key: Hashable) -> V | None:
        with self._lock:
            value = self._entries.get(key)
            if value is not None:
                self._entries.move_to_end(key)
            return value

    def put(self, key: Hashable, value: V) -> V:
        with self._lock:
            self._entries[key] = value
            self._entries.move_to_end(key)
            while len(self._entries) > self._bound:
                self._entries.popitem(last=False)
        return value
