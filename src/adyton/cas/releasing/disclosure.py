"""What a peer is told of a refusal. Whether there is a session, and what it asks for, is for its own enclaves to know.

Anybody who has some genuine enclave can ask the attested port. The answer to one that a session does not take is
therefore made of its own evidence alone:

- evidence that no session could take, forged, stale or of another root: the code of the first such check;
- any other: ``cas.release.refused``, whether there is no such session, it has ended, it lists other measurements, or it
  does not tolerate a weakness of the platform. The text names the weaknesses that this evidence has.

Only an enclave that the session would take as one of its services is told what stands against it: that the session has
ended, that it has no service of this name, that the activations are used up. The work is the same in all cases: the
evidence is judged twice. The audit log always has the reason.
"""

from __future__ import annotations

import os
from collections.abc import Iterable
from dataclasses import replace
from typing import Final

from adyton.attestation.anchors import TrustAnchor
from adyton.attestation.checks import PINS, SECOND_OPINION
from adyton.attestation.dcap.verify import Verifier
from adyton.attestation.errors import AttestationError, Outcome
from adyton.attestation.policy import QuotePolicy
from adyton.attestation.ratls.certificate import claimed_nonce
from adyton.base.errors import AdytonError, NotFoundError
from adyton.cas.errors import ReleaseRefusedError
from adyton.cas.releasing.approvals import standing
from adyton.cas.releasing.release import MeasurementError, TierError, policy_of
from adyton.cas.store.repo import SessionRepo, StoredSession
from adyton.cas.wire import ConfigRequest

_WEAKNESSES: Final = frozenset(  # checks whose outcome a session may excuse
    {"attestation.debug", "attestation.tcb.status", "attestation.tcb.advisory"}
)
_OF_POLICY: Final = PINS | _WEAKNESSES | {"attestation.pinned", "attestation.mrtd", "attestation.tdx.service_td"}


class NotTakenError(ReleaseRefusedError):
    """No session of this name takes this enclave as this service; text and hint hold nothing of any session (403)."""

    code = "cas.release.refused"
    hint = (
        "compare the names of session and service, whether the session has ended, and the service's 'mrenclaves' with"
        " 'adyton enclave hash'; the audit log of the CAS has the reason"
    )


class Disclosure:
    """Says what a refused peer is told.

    Args:
        repo: the sessions.
        verifier: of evidence.
        anchors: the roots that this CAS accepts.
    """

    def __init__(self, repo: SessionRepo, verifier: Verifier, anchors: Iterable[TrustAnchor]) -> None:
        self._repo = repo
        self._verifier = verifier
        self._anchors = tuple(anchors)

    def told(self, error: AdytonError, certificate: bytes, purpose: str, request: ConfigRequest) -> AdytonError:
        """What the peer that showed ``certificate`` is told of ``error``.

        Raises:
            UnavailableError: evidence cannot be judged now.
        """
        if isinstance(error, (NotFoundError, TierError)):  # found before its evidence was looked at
            if self._is_of(certificate, purpose, self._repo.get(request.session)):
                return error
        elif not isinstance(error, (AttestationError, MeasurementError)) or error.code == SECOND_OPINION:
            return error
        return self._by_evidence(certificate, purpose)

    def _is_of(self, certificate: bytes, purpose: str, stored: StoredSession | None) -> bool:
        """Whether the session takes the enclave as any of its services."""
        policy = self._decoy()
        if stored is not None:
            try:
                services = (standing(stored, service) for service in stored.session.services)
                policies = [policy_of(stored, service, self._anchors) for service in services]
            except TierError:
                policies = []
            accepted = frozenset[bytes]().union(*(each.mrenclaves for each in policies))
            if accepted:
                policy = replace(policies[0], mrenclaves=accepted)
        return self._refusal(certificate, purpose, policy) is None

    def _by_evidence(self, certificate: bytes, purpose: str) -> AdytonError:
        refused = self._refusal(certificate, purpose, self._decoy())
        findings = () if refused is None else refused.findings
        failed = [finding.check for finding in findings if finding.outcome is Outcome.FAILED]
        own = [check for check in failed if check not in _OF_POLICY]
        if refused is not None and (own or not failed):
            # the code of the first failure may be finer than its check's name
            code = refused.code if failed[:1] == own[:1] else own[0]
            return AttestationError(refused.message, code=code)
        weak = [check for check in failed if check in _WEAKNESSES]
        where = f", and none could that does not excuse {', '.join(weak)}" if weak else ""
        return NotTakenError(f"no session of this name takes this enclave as this service{where}")

    def _refusal(self, certificate: bytes, purpose: str, policy: QuotePolicy) -> AttestationError | None:
        try:
            nonce = claimed_nonce(certificate)
            self._verifier.verify_certificate(certificate, purpose=purpose, nonce=nonce, policy=policy)
        except AttestationError as error:
            return error
        return None

    def _decoy(self) -> QuotePolicy:
        """A policy that no enclave fulfils: it pins a measurement that nobody can have made."""
        return QuotePolicy(anchors=self._anchors, mrenclaves=frozenset({os.urandom(32)}))
