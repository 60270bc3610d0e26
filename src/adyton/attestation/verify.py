"""Verification for services: :class:`Verifier` joins the pure steps with collateral, memory and a second opinion."""

from __future__ import annotations

import hashlib
import threading
from collections import OrderedDict
from collections.abc import Hashable
from dataclasses import replace
from datetime import datetime
from typing import Final, Generic, TypeVar

from adyton.attestation.assessment import Judgements, OpenedQuote, assess
from adyton.attestation.checks import Recorder
from adyton.attestation.collateral import Collateral, CollateralSource, PlatformId
from adyton.attestation.errors import AttestationError, Outcome
from adyton.attestation.evidence import VerifiedEnclave, VerifiedEvidence, VerifiedTd, require_enclave
from adyton.attestation.judge import (
    JudgedCollateral,
    JudgedPck,
    judge_collateral,
    judge_pck,
    platform_of,
)
from adyton.attestation.opinion import second_opinion
from adyton.attestation.policy import QuotePolicy
from adyton.attestation.quote import Quote, parse_quote
from adyton.attestation.ratls import bind, open_certificate
from adyton.attestation.signer import JudgedSigner, judge_signer, signer_bytes
from adyton.attestation.steps import appraise_quote, verify_quote
from adyton.base.clock import Clock, utc_now

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

V = TypeVar("V")


class Verifier:
    """Verifies quotes and RA-TLS certificates; thread-safe, one for a whole service.

    It fetches the collateral that a quote needs, keeps the judgements of collateral, PCK chains and attestation keys
    (named by all bytes that they are of), and asks a second verifier on the first appearance of an attestation key of
    a platform under each copy of collateral.

    Args:
        source: where collateral comes from, usually a :class:`~adyton.attestation.collateral.CollateralCache`.
        clock: the time of verification.
    """

    def __init__(self, source: CollateralSource, *, clock: Clock = utc_now) -> None:
        self._source = source
        self._clock = clock
        self._platforms: _Memory[PlatformId] = _Memory()
        self._collateral: _Memory[JudgedCollateral] = _Memory()
        self._pck: _Memory[JudgedPck] = _Memory()
        self._signers: _Memory[JudgedSigner] = _Memory()
        self._seen: _Memory[bool] = _Memory()

    def verify(self, quote: bytes, policy: QuotePolicy) -> VerifiedEvidence:
        """Verify a quote now.

        Raises:
            AttestationError: as :func:`verify_quote`, or ``attestation.second_opinion``.
            UnavailableError: there is no valid collateral; never taken for acceptance.
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
        collateral = self._source.fetch(platform.fmspc, platform.ca, platform.kind)
        judgements, signer_key = self._judged(parsed, quote, chain_digest, collateral)
        evidence = assess(record, OpenedQuote.of(parsed, quote), judgements, policy=policy, now=now).conclude()
        return self._with_second_opinion(quote, collateral, evidence, signer_key, now)

    def _judged(
        self, quote: Quote, data: bytes, chain_digest: bytes, collateral: Collateral
    ) -> tuple[Judgements, Hashable]:
        """What is remembered of exactly these bytes, or judged now; and the name of the signer's judgement."""
        digest = collateral.digest
        pck_key = (digest, chain_digest, quote.certification_type)
        signer_key = (*pck_key, signer_bytes(quote, data))
        judged = self._collateral.get(digest) or self._collateral.put(digest, judge_collateral(collateral))
        pck = self._pck.get(pck_key) or self._pck.put(pck_key, judge_pck(quote, judged.documents))
        signer = self._signers.get(signer_key) or self._signers.put(
            signer_key, judge_signer(quote, judged.documents, pck.pck)
        )
        return Judgements(judged, pck, signer), signer_key

    def verify_certificate(self, der: bytes, *, purpose: str, nonce: bytes, policy: QuotePolicy) -> VerifiedEvidence:
        """Verify an RA-TLS certificate now.

        Raises:
            AttestationError: as :func:`adyton.attestation.ratls.verify_certificate`, or
                ``attestation.second_opinion``.
            UnavailableError: there is no valid collateral; never taken for acceptance.
        """
        opened = open_certificate(der, purpose=purpose, nonce=nonce, now=self._clock())
        return bind(self.verify(opened.quote, policy), opened)

    def _with_second_opinion(
        self, quote: bytes, collateral: Collateral, evidence: VerifiedEvidence, signer_key: Hashable, now: datetime
    ) -> VerifiedEvidence:
        if self._seen.get(signer_key):
            return evidence
        finding = second_opinion(quote, collateral, evidence, now)
        if finding.outcome is Outcome.PASSED:  # where it is not asked, the platform still counts as unseen
            self._seen.put(signer_key, value=True)
        return replace(evidence, checks=(*evidence.checks, finding))


class _Memory(Generic[V]):
    """The most recently used entries, up to a bound, by a name that holds every byte that decides."""

    def __init__(self) -> None:
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
            while len(self._entries) > MAX_REMEMBERED:
                self._entries.popitem(last=False)
        return value
