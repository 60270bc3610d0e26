"""The use case of enclaves: present evidence, get the part of one service, or a refusal that is on record.

The verdict falls after the TLS handshake, not in it: which policy holds is the session's, and which session is asked
for is said in the request. What the peer learns of a refusal is its code; reason and measurements are in the audit log.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable
from dataclasses import replace
from typing import Final

from adyton.attestation.anchors import TrustAnchor
from adyton.attestation.chain import fingerprint, parse_chain
from adyton.attestation.dcap.verify import Verifier
from adyton.attestation.errors import AttestationError, Outcome
from adyton.attestation.evidence import VerifiedEnclave, require_enclave
from adyton.attestation.formats.quote import parse_quote
from adyton.attestation.formats.report_data import CAS_CONFIG
from adyton.attestation.formats.sgx import ReportBody
from adyton.attestation.policy import QuotePolicy
from adyton.attestation.ratls.certificate import claimed_nonce, read_certificate
from adyton.base.clock import Clock, utc_now
from adyton.base.errors import AdytonError, UnavailableError
from adyton.base.log import get_logger, short_hash
from adyton.cas.activations import record_release
from adyton.cas.audit import AuditEvent, AuditLog
from adyton.cas.authority import Authority
from adyton.cas.errors import UnauthenticatedError
from adyton.cas.identity import spki_of
from adyton.cas.nonces import LIFETIME_S, NonceBook
from adyton.cas.peers import ServiceIdentity
from adyton.cas.release import check_measurement, configuration, find_service, policy_of, refusal
from adyton.cas.repo import SessionRepo
from adyton.cas.wire import ConfigAnswer, ConfigRequest, NonceAnswer

_MAX_DETAIL: Final = 500  # characters of a reason in the audit log
_GENUINE: Final = {  # the checks that make evidence some enclave's own, whatever that enclave is
    "attestation.chain.path",
    "attestation.chain.anchor",
    "attestation.qe.signature",
    "attestation.qe.binding",
    "attestation.quote.signature",
}
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
            _log.warning(
                "no verdict", session=event.session, service=event.service, code=error.code, detail=error.message
            )
            raise
        except AdytonError as error:
            tier = _tier_of_refused(certificate, error, self._anchors)
            self._audit.append(replace(event, code=error.code, tier=tier, detail=error.message[:_MAX_DETAIL]))
            _log.info("refused", session=event.session, service=event.service, code=error.code)
            raise
        _log.info("released", session=event.session, service=event.service, tier=event.tier)
        return answer

    def _judge(self, certificate: bytes, request: ConfigRequest, event: AuditEvent) -> tuple[ConfigAnswer, AuditEvent]:
        now = self._clock()
        nonce = claimed_nonce(certificate)
        if nonce:  # evidence without one is refused below, for what it is
            self._nonces.spend(nonce, now)  # used up by being presented, before anything is judged
        stored, service = find_service(self._repo.get(request.session), request.service, now)
        policy = policy_of(stored, service, self._anchors)
        evidence = self._verify(certificate, nonce, policy, service.name)
        check_measurement(service, evidence)
        identity = self._authority.issue_identity(
            spki_of(certificate),
            ServiceIdentity(request.session, request.service, evidence.tier),
            now,
            until=stored.session.expires_at,
        )
        answer = configuration(
            stored, service, evidence.mrenclave, ca=self._authority.root_pem, certificate=identity.decode()
        )
        released = replace(
            event,
            outcome="released",
            session_hash=stored.hash,
            mrenclave=evidence.mrenclave.hex(),
            tier=evidence.tier,
        )
        record_release(
            self._repo, self._audit, stored, service, released
        )  # the last step: what is on record is let out
        return answer, released

    def _verify(self, certificate: bytes, nonce: bytes, policy: QuotePolicy, service: str) -> VerifiedEnclave:
        try:
            return require_enclave(
                self._verifier.verify_certificate(certificate, purpose=CAS_CONFIG, nonce=nonce, policy=policy)
            )
        except AttestationError as error:
            raise refusal(error, service) from error


def _claimed_measurement(certificate: bytes) -> str:
    """What refused evidence says it is, for the record; empty when it cannot be read."""
    try:
        body = parse_quote(read_certificate(certificate).quote).body
    except AttestationError:
        return ""
    return (body.mrenclave if isinstance(body, ReportBody) else body.mrtd).hex()


def _tier_of_refused(certificate: bytes, error: AdytonError, anchors: Iterable[TrustAnchor]) -> str:
    """The tier of evidence that is genuine but not good enough; empty when not even its signatures hold."""
    cause = error if isinstance(error, AttestationError) else error.__cause__
    findings = cause.findings if isinstance(cause, AttestationError) else ()
    if not {finding.check for finding in findings if finding.outcome is Outcome.PASSED} >= _GENUINE:
        return ""
    root = fingerprint(parse_chain(parse_quote(read_certificate(certificate).quote).certification, 3, "the chain")[2])
    return next((anchor.tier for anchor in anchors if anchor.accepts(root)), "")
