"""The use case of enclaves: present evidence, get the part of one service, or a refusal that is on record.

The verdict falls after the TLS handshake, not in it: which policy holds is the session's, and which session is asked
for is said in the request. What the peer learns of a refusal is a code, which depends on a session only where it is an
enclave of that session (:mod:`adyton.cas.releasing.disclosure`); reason and measurements are in the audit log.
"""

from __future__ import annotations

import hashlib
import hmac
from collections.abc import Callable, Iterable
from dataclasses import replace
from datetime import datetime
from typing import Final, TypeVar

from adyton.attestation.anchors import TrustAnchor
from adyton.attestation.chain import fingerprint, parse_chain
from adyton.attestation.dcap.verify import Verifier
from adyton.attestation.errors import AttestationError, Outcome
from adyton.attestation.evidence import VerifiedEnclave, require_enclave
from adyton.attestation.formats.quote import parse_quote
from adyton.attestation.formats.report_data import CAS_CONFIG, CAS_KEYS
from adyton.attestation.formats.sgx import ReportBody
from adyton.attestation.policy import QuotePolicy
from adyton.attestation.ratls.certificate import claimed_nonce, read_certificate
from adyton.base.clock import Clock, utc_now
from adyton.base.errors import AdytonError, UnavailableError
from adyton.base.log import get_logger, short_hash
from adyton.cas.client.peers import ServiceIdentity
from adyton.cas.errors import UnauthenticatedError
from adyton.cas.face.authority import Authority
from adyton.cas.face.identity import spki_of
from adyton.cas.language.session import Service
from adyton.cas.releasing.activations import record_release
from adyton.cas.releasing.approvals import explained, key_owner, take_place
from adyton.cas.releasing.disclosure import Disclosure
from adyton.cas.releasing.enclavekeys import step
from adyton.cas.releasing.nonces import LIFETIME_S, NonceBook
from adyton.cas.releasing.release import (
    MeasurementError,
    check_measurement,
    configuration,
    find_service,
    policy_of,
    refusal,
)
from adyton.cas.store.audit import AuditEvent, AuditLog
from adyton.cas.store.repo import SessionRepo, StoredSession
from adyton.cas.wire import ConfigAnswer, ConfigRequest, KeyAnswer, KeyRequest, NonceAnswer

T = TypeVar("T")
R = TypeVar("R", bound=ConfigRequest)

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
        authority: gives the authority that issues identity certificates.
        verifier: of evidence.
        anchors: the roots that this CAS accepts, whatever a session says.
        clock: time; the verifier's must be the same.
    """

    def __init__(
        self,
        repo: SessionRepo,
        audit: AuditLog,
        authority: Callable[[], Authority],
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
        self._disclosure = Disclosure(repo, verifier, self._anchors)

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
        return self._recorded(("release", CAS_CONFIG), certificate, request, self._release)

    def exchange_key(self, certificate: bytes | None, request: KeyRequest) -> KeyAnswer:
        """Judge the enclave alike, and take a step of exchanging its key: see :mod:`adyton.cas.releasing.enclavekeys`.

        Raises:
            KeyExchangeRefusedError: the exchange is not where the step stands on; recorded likewise.
            UnauthenticatedError, CasIdentityError, AttestationError, ReleaseRefusedError, NotFoundError,
            UnavailableError: as :meth:`release`.
        """
        return self._recorded((f"key.{request.step}", CAS_KEYS), certificate, request, self._exchange_key)

    def _recorded(
        self, deed: tuple[str, str], certificate: bytes | None, request: R, act: Callable[[bytes, R, AuditEvent], T]
    ) -> T:
        """``act``, and the record of its refusal; ``deed`` is its name there and the purpose of the evidence."""
        name, purpose = deed
        if certificate is None:
            raise UnauthenticatedError(
                "the connection has no client certificate",
                hint="connect with an RA-TLS certificate over a nonce of GET /v1/nonce",
            )
        event = AuditEvent(
            name,
            "refused",
            session=short_hash(request.session),
            service=request.service,
            client=hashlib.sha256(spki_of(certificate)).hexdigest(),
        )
        try:
            answer = act(certificate, request, event)
        except UnavailableError as error:
            _log.warning(
                "no verdict", session=event.session, service=event.service, code=error.code, detail=error.message
            )
            raise
        except AdytonError as error:
            event = replace(event, mrenclave=_claimed_measurement(certificate), code=error.code)
            tier = _tier_of_refused(certificate, error, self._anchors)
            self._audit.refused(replace(event, tier=tier, detail=error.message[:_MAX_DETAIL]))
            _log.info("refused", session=event.session, service=event.service, code=error.code)
            raise self._disclosure.told(error, certificate, purpose, request) from error
        _log.info("released" if name == "release" else name, session=event.session, service=event.service)
        return answer

    def _release(self, certificate: bytes, request: ConfigRequest, event: AuditEvent) -> ConfigAnswer:
        now = self._clock()
        stored, service, evidence = self._judge(certificate, request, CAS_CONFIG, now)
        authority = self._authority()
        identity = authority.issue_identity(
            spki_of(certificate),
            ServiceIdentity(request.session, request.service, evidence.tier),
            now,
            until=stored.session.expires_at,
        )
        event = _judged(event, stored, evidence)
        stored = take_place(self._repo, self._audit, stored, evidence, event)
        activation = self._repo.activation(request.session, request.service, evidence.mrenclave)
        answer = configuration(
            stored,
            service,
            key_owner(stored, evidence),
            ca=authority.roots_pem(now),
            certificate=identity.decode(),
            activation=activation,
        )
        renews = hmac.compare_digest(request.activation, activation)
        released = replace(event, outcome="released", detail="renewal" if renews else "")
        # the last step: what is on record is let out
        record_release(self._repo, self._audit, stored, service, released, renews=renews)
        return answer

    def _exchange_key(self, certificate: bytes, request: KeyRequest, event: AuditEvent) -> KeyAnswer:
        stored, service, evidence = self._judge(certificate, request, CAS_KEYS, self._clock())
        event = _judged(event, stored, evidence)
        stored = take_place(self._repo, self._audit, stored, evidence, event)
        owner = key_owner(stored, evidence)
        return step(self._repo, self._audit, stored, request, event, service=service, mrenclave=owner)

    def _judge(
        self, certificate: bytes, request: ConfigRequest, purpose: str, now: datetime
    ) -> tuple[StoredSession, Service, VerifiedEnclave]:
        nonce = claimed_nonce(certificate)
        if nonce:  # evidence without one is refused below, for what it is
            self._nonces.spend(nonce, now)  # used up by being presented, before anything is judged
        stored, service = find_service(self._repo.get(request.session), request.service, now)
        policy = policy_of(stored, service, self._anchors)
        try:
            evidence = self._verify(certificate, purpose, nonce, policy, service.name)
        except MeasurementError as error:
            raise explained(error, stored, _claimed_measurement(certificate)) from error.__cause__
        check_measurement(service, evidence)
        return stored, service, evidence

    def _verify(
        self, certificate: bytes, purpose: str, nonce: bytes, policy: QuotePolicy, service: str
    ) -> VerifiedEnclave:
        try:
            return require_enclave(
                self._verifier.verify_certificate(certificate, purpose=purpose, nonce=nonce, policy=policy)
            )
        except AttestationError as error:
            raise refusal(error, service) from error


def _judged(event: AuditEvent, stored: StoredSession, evidence: VerifiedEnclave) -> AuditEvent:
    return replace(event, session_hash=stored.hash, mrenclave=evidence.mrenclave.hex(), tier=evidence.tier)


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
