"""The use case of enclaves: present evidence, get the part of one service, or a refusal that is on record."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable
from dataclasses import replace
from datetime import datetime
from typing import Final

from adyton.attestation.anchors import TrustAnchor
from adyton.attestation.errors import AttestationError
from adyton.attestation.evidence import VerifiedEvidence
from adyton.attestation.policy import QuotePolicy
from adyton.attestation.quote import parse_quote
from adyton.attestation.ratls import extract
from adyton.attestation.report_data import CAS_CONFIG, Claims
from adyton.attestation.verify import Verifier
from adyton.base.clock import Clock, utc_now
from adyton.base.errors import AdytonError, UnavailableError
from adyton.base.log import get_logger, short_hash
from adyton.cas.audit import AuditEvent, AuditLog
from adyton.cas.authority import Authority
from adyton.cas.errors import UnauthenticatedError
from adyton.cas.identity import spki_of
from adyton.cas.nonces import LIFETIME_S, NonceBook
from adyton.cas.release import check_measurement, configuration, find_service, policy_of, refusal
from adyton.cas.repo import SessionRepo
from adyton.cas.wire import ConfigAnswer, ConfigRequest, NonceAnswer

_MAX_DETAIL: Final = 500  # characters of a reason in the audit log
_log = get_logger("cas.release")


class ReleaseService:
    """Judges enclaves.

    Args:
        repo: the sessions.
        audit: every release and refusal is on record before it is answered.
        authority: issues identity certificates.
        verifier: of evidence.
        anchors: the roots that this CAS accepts, whatever a session says.
        clock: time; the verifier's must be the same.
    """

    def __init__(
        self,
        repo: SessionRepo,
        audit: AuditLog,
        authority: Authority,
        *,
        verifier: Verifier,
        anchors: Iterable[TrustAnchor],
        clock: Clock = utc_now,
    ) -> None:
        self._repo = repo
        self._audit = audit
        self._authority = authority
        self._verifier = verifier
        self._anchors = tuple(anchors)
        self._clock = clock
        self._nonces = NonceBook()

    def nonce(self) -> NonceAnswer:
        """A nonce for one release."""
        return NonceAnswer(nonce=self._nonces.issue(self._clock()).hex(), lifetime_s=LIFETIME_S)

    def release(self, certificate: bytes | None, request: ConfigRequest) -> ConfigAnswer:
        """Judge the enclave whose RA-TLS certificate was proven on this connection, and hand out its part.

        Raises:
            UnauthenticatedError, CasIdentityError: it showed no certificate, or one that cannot be read.
            AttestationError, ReleaseRefusedError, NotFoundError: refused; recorded with the code.
            UnavailableError: no verdict is possible now; nothing was released.
        """
        if certificate is None:
            raise UnauthenticatedError(
                "the connection has no client certificate",
                hint="connect with an RA-TLS certificate over a nonce of GET /v1/nonce",
            )
        event = AuditEvent(
            "release",
            "refused",
            session=short_hash(request.session),
            service=request.service,
            client=hashlib.sha256(spki_of(certificate)).hexdigest(),
            mrenclave=_claimed_measurement(certificate),
        )
        try:
            answer, event = self._judge(certificate, request, event)
        except UnavailableError as error:
            _log.warning("no verdict", session=event.session, service=event.service, code=error.code)
            raise
        except AdytonError as error:
            self._audit.append(replace(event, code=error.code, detail=error.message[:_MAX_DETAIL]))
            _log.info("refused", session=event.session, service=event.service, code=error.code)
            raise
        self._audit.append(event)
        _log.info("released", session=event.session, service=event.service, tier=event.tier)
        return answer

    def _judge(self, certificate: bytes, request: ConfigRequest, event: AuditEvent) -> tuple[ConfigAnswer, AuditEvent]:
        now = self._clock()
        nonce = Claims.parse(extract(certificate)[1]).nonce
        self._nonces.check(nonce, now)
        stored, service = find_service(self._repo.get(request.session), request.service, now)
        policy = policy_of(stored, service, self._anchors)
        evidence = self._verify(certificate, nonce, policy, service.name)
        check_measurement(service, evidence)
        self._nonces.spend(nonce, now)
        identity = self._identity(certificate, request, evidence, now)
        answer = configuration(stored, service, evidence.mrenclave, ca=self._authority.root_pem, certificate=identity)
        released = replace(
            event,
            outcome="released",
            session_hash=stored.hash,
            mrenclave=evidence.mrenclave.hex(),
            tier=evidence.tier,
        )
        return answer, released

    def _verify(self, certificate: bytes, nonce: bytes, policy: QuotePolicy, service: str) -> VerifiedEvidence:
        try:
            return self._verifier.verify_certificate(certificate, purpose=CAS_CONFIG, nonce=nonce, policy=policy)
        except AttestationError as error:
            raise refusal(error, service) from error

    def _identity(self, certificate: bytes, request: ConfigRequest, evidence: VerifiedEvidence, now: datetime) -> str:
        spki = spki_of(certificate)
        return self._authority.issue_identity(spki, request.session, request.service, evidence.tier, now).decode()


def _claimed_measurement(certificate: bytes) -> str:
    """What refused evidence says it is, for the record; empty when it cannot be read."""
    try:
        return parse_quote(extract(certificate)[0]).body.mrenclave.hex()
    except AttestationError:
        return ""
