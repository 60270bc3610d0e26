"""Verification for services: :class:`Verifier` joins the pure steps with collateral, memory and a second opinion."""

from __future__ import annotations

import hashlib
import threading
from collections import OrderedDict
from dataclasses import replace
from datetime import datetime
from typing import Final, Generic, TypeVar

from adyton.attestation.checks import Recorder
from adyton.attestation.collateral import Collateral, CollateralSource
from adyton.attestation.errors import AttestationError, Outcome
from adyton.attestation.evidence import VerifiedEvidence
from adyton.attestation.judge import JudgedCollateral, JudgedPck, PlatformId, judge_collateral, judge_pck, platform_of
from adyton.attestation.opinion import second_opinion
from adyton.attestation.policy import QuotePolicy
from adyton.attestation.quote import parse_quote
from adyton.attestation.ratls import bind, open_certificate
from adyton.attestation.steps import assess, verify_quote
from adyton.base.clock import Clock, utc_now

__all__ = ["VerifiedEvidence", "Verifier", "verify_quote"]

MAX_REMEMBERED: Final = 1024  # entries of each memory: bounds what a stream of hostile quotes can occupy

K = TypeVar("K")
V = TypeVar("V")


class Verifier:
    """Verifies quotes and RA-TLS certificates; thread-safe, one for a whole service.

    It fetches the collateral that a quote needs, keeps the judgements of collateral and PCK chains (keyed by all of
    their bytes), and asks a second verifier on the first appearance of a platform under each copy of collateral.

    Args:
        source: where collateral comes from, usually a :class:`~adyton.attestation.collateral.CollateralCache`.
        clock: the time of verification.
    """

    def __init__(self, source: CollateralSource, *, clock: Clock = utc_now) -> None:
        self._source = source
        self._clock = clock
        self._platforms: _Memory[bytes, PlatformId] = _Memory()
        self._collateral: _Memory[bytes, JudgedCollateral] = _Memory()
        self._pck: _Memory[bytes, JudgedPck] = _Memory()
        self._seen: _Memory[bytes, bool] = _Memory()

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
        platform_key = hashlib.sha256(parsed.certification + repr(policy.anchors).encode()).digest()
        platform = self._platforms.get(platform_key) or self._platforms.put(
            platform_key, platform_of(parsed, policy.anchors)
        )
        collateral = self._source.fetch(platform.fmspc, platform.ca)
        digest = collateral.digest
        judged = self._collateral.get(digest) or self._collateral.put(digest, judge_collateral(collateral))
        chain_key = hashlib.sha256(digest + parsed.certification).digest()
        pck = self._pck.get(chain_key) or self._pck.put(chain_key, judge_pck(parsed, judged.documents))
        evidence = assess(record, parsed, judged, pck, policy=policy, now=now)
        return self._with_second_opinion(quote, collateral, evidence, chain_key, now)

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
        self, quote: bytes, collateral: Collateral, evidence: VerifiedEvidence, chain_key: bytes, now: datetime
    ) -> VerifiedEvidence:
        if self._seen.get(chain_key):
            return evidence
        finding = second_opinion(quote, collateral, evidence, now)
        if finding is None:
            return evidence  # debug evidence: the platform still counts as unseen
        if finding.outcome is Outcome.PASSED:
            self._seen.put(chain_key, value=True)
        return replace(evidence, checks=(*evidence.checks, finding))


class _Memory(Generic[K, V]):
    """The most recently used entries, up to a bound."""

    def __init__(self) -> None:
        self._entries: OrderedDict[K, V] = OrderedDict()
        self._lock = threading.Lock()

    def get(self, key: K) -> V | None:
        with self._lock:
            if key not in self._entries:
                return None
            self._entries.move_to_end(key)
            return self._entries[key]

    def put(self, key: K, value: V) -> V:
        with self._lock:
            self._entries[key] = value
            self._entries.move_to_end(key)
            while len(self._entries) > MAX_REMEMBERED:
                self._entries.popitem(last=False)
        return value
