"""The use cases of successors: approve, revoke, look at, and take a predecessor's place; rules in :mod:`.upgrade`.

The state of a line is in its session's own row: encrypted, counted, kept through updates and exchanges of keys like the
rest of it, and written in one transaction with the audit entry about the step. A row has a version, and a release in
such a session is recorded only while the version that it was judged by is the newest. So of a predecessor and a
successor that ask at the same moment one is first: after the successor's step the predecessor gets nothing more.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Final

from adyton.attestation.evidence import VerifiedEnclave
from adyton.base.clock import Clock, utc_now
from adyton.base.errors import AdytonError, UnavailableError
from adyton.base.log import get_logger, short_hash
from adyton.cas.errors import ConflictError, ForbiddenError, ReleaseRefusedError, UnknownSessionError
from adyton.cas.language.session import Service, Session, allows
from adyton.cas.releasing.material import with_new_seeds
from adyton.cas.releasing.upgrade import Choice, Line, Proposal, Upgrade, UpgradeError, effective_measurement
from adyton.cas.store.audit import AuditEvent, AuditLog
from adyton.cas.store.repo import SessionRepo, StoredSession
from adyton.cas.wire import ApprovalEntry, ProposalEntry, UpgradeAnswer, UpgradePolicyAnswer, UpgradeRequest

_ATTEMPTS: Final = 50  # each means that another approval or a release of the session was written meanwhile
_log = get_logger("cas.upgrade")


class UnapprovedError(ReleaseRefusedError):
    """The enclave is genuine, but too few of the approvers named it as the successor."""

    code = "cas.release.unapproved"
    hint = "have it approved: adyton cas session upgrade SESSION --successor MRENCLAVE"


class RetiredError(ReleaseRefusedError):
    """The enclave was in this place, and an approved successor took it."""

    code = "cas.release.retired"
    hint = "start the successor; there is no way back to an earlier measurement"


@dataclass(frozen=True, slots=True)
class _Step:
    """What a client does to a line: the name for the audit log, and the line after it."""

    event: str
    line: Line
    detail: str
    outcome: str = "done"


_Maker = Callable[[StoredSession, Upgrade], _Step | None]


class ApprovalService:
    """Keeps the approvals.

    Args:
        repo: the sessions.
        audit: every step and every refusal is recorded before it is answered; a flood of refusals is counted.
        clock: time.
    """

    def __init__(self, repo: SessionRepo, audit: AuditLog, clock: Clock = utc_now) -> None:
        self._repo = repo
        self._audit = audit
        self._clock = clock

    def approve(self, client: str, name: str, request: UpgradeRequest) -> UpgradeAnswer:
        """Give ``client``'s voice to a successor; it goes before the one that it gave earlier.

        Giving the same voice again changes nothing and is answered like the first time.

        Raises:
            UnknownSessionError: there is none, or this client neither approves nor may read.
            ForbiddenError: ``cas.upgrade.forbidden``: the session does not name this client as an approver.
            UpgradeError: ``cas.upgrade.none``: the session has no such section; ``cas.upgrade.predecessor``: the
                current enclave is another one; ``cas.upgrade.successor``, ``cas.upgrade.contested``.
        """
        proposal = Proposal(request.successor, Choice(request.choice))

        def step(stored: StoredSession, policy: Upgrade) -> _Step | None:
            line, first = stored.material.line, first_measurement(stored.session)
            if request.predecessor != line.current(first):
                raise UpgradeError(
                    "the predecessor is not the current enclave of the session",
                    code="cas.upgrade.predecessor",
                    hint="look at the session with 'adyton cas session show', and approve a successor of what is there",
                )
            after = line.approved(client, proposal, first, policy)
            if line.voices.get(client) == proposal:
                return None
            count = after.count(proposal, policy)
            detail = f"{_described(proposal, request.predecessor)}: {count} of {policy.threshold}"
            return _Step("upgrade.approve", after, detail, "reached" if count >= policy.threshold else "done")

        return self._change("upgrade.approve", client, name, step)

    def revoke(self, client: str, name: str) -> UpgradeAnswer:
        """Take ``client``'s voice back; possible until the successor's first release.

        Raises:
            UnknownSessionError, ForbiddenError: as :meth:`approve`.
            UpgradeError: ``cas.upgrade.none``, ``cas.upgrade.no_approval``.
        """

        def step(stored: StoredSession, policy: Upgrade) -> _Step:
            line, first = stored.material.line, first_measurement(stored.session)
            after = line.revoked(client)
            proposal = line.voices[client]
            count = f"{after.count(proposal, policy)} of {policy.threshold}"
            return _Step("upgrade.revoke", after, f"{_described(proposal, line.current(first))}: {count}")

        return self._change("upgrade.revoke", client, name, step)

    def _change(self, event: str, client: str, name: str, step: _Maker) -> UpgradeAnswer:
        record = AuditEvent(event, "refused", session=short_hash(name), client=client)
        try:
            return self._write(record, client, name, step)
        except (ConflictError, ForbiddenError, UnknownSessionError) as error:
            self._audit.refused(replace(record, code=error.code, detail=error.message))
            raise

    def _write(self, record: AuditEvent, client: str, name: str, step: _Maker) -> UpgradeAnswer:
        for _ in range(_ATTEMPTS):
            stored, policy = self._find(client, name)
            made = step(stored, policy)
            if made is None:
                return describe_line(stored)
            after = _with_line(stored, made.line)
            done = replace(record, outcome=made.outcome, session_hash=stored.hash, detail=made.detail)
            if self._audit.change(done, self._repo.storing(after)) is not None:
                _log.info(made.event, session=record.session, outcome=made.outcome)
                return describe_line(after)
        raise UnavailableError("too many changes of this session at once", code="cas.upgrade.busy")

    def _find(self, client: str, name: str) -> tuple[StoredSession, Upgrade]:
        stored = self._repo.get(name)
        expiry = None if stored is None else stored.session.expires_at
        if stored is None or (expiry is not None and expiry <= self._clock()) or not may_read(stored, client):
            raise UnknownSessionError("no session of this name can be read by this client")
        policy = stored.session.upgrade
        if policy is None:
            raise UpgradeError(
                "the session names no approvers, so nothing can ever take the place of its enclaves",
                code="cas.upgrade.none",
                hint="an upgrade policy is given when a session is created, and the enclave is built with the same one",
            )
        if client not in policy.approvers:
            raise ForbiddenError("the session does not name this client as an approver", code="cas.upgrade.forbidden")
        return stored, policy


def first_measurement(session: Session) -> str:
    """The enclave that a session with an upgrade policy began with."""
    return session.services[0].mrenclaves[0]


def approvers_of(stored: StoredSession) -> UpgradePolicyAnswer | None:
    """Who may approve a successor, as a closed enclave is told with everything that it gets of the session."""
    policy = stored.session.upgrade
    return None if policy is None else UpgradePolicyAnswer(approvers=policy.approvers, threshold=policy.threshold)


def may_read(stored: StoredSession, client: str) -> bool:
    """Whether ``client`` may see the document: by its policy, or to know what it approves."""
    policy = stored.session.upgrade
    listed = allows(stored.session.access_policy.read, client, stored.creator)
    return listed or (policy is not None and client in policy.approvers)


def require_same_line(current: Session, session: Session) -> None:
    """Check that an update leaves alone what approvals stand on: the policy, and where the line begins.

    Raises:
        ConflictError: ``cas.session.upgrade``.
    """
    if current.upgrade == session.upgrade and (
        current.upgrade is None or first_measurement(current) == first_measurement(session)
    ):
        return
    raise ConflictError(
        "an update cannot add, remove or change 'upgrade', nor the MRENCLAVE of a session that has it",
        code="cas.session.upgrade",
        hint="have the successor approved instead ('adyton cas session upgrade'), or make a session of another name",
    )


def standing(stored: StoredSession, service: Service) -> Service:
    """The service with the enclaves that may be it now: the current one, and an approved successor."""
    policy = stored.session.upgrade
    if policy is None:
        return service
    line = stored.material.line
    waiting = line.allowed(policy)
    accepted = (line.current(first_measurement(stored.session)), *(() if waiting is None else (waiting.successor,)))
    return service.model_copy(update={"mrenclaves": accepted})


def explained(error: AdytonError, stored: StoredSession, mrenclave: str) -> AdytonError:
    """What a session with an upgrade policy says to an enclave that may not be its service.

    One that was in the place, or that an approver named, is told so. Any other learns what it would without a policy,
    so that nobody finds out by asking which sessions there are; the audit log has the count.

    Args:
        error: ``cas.release.measurement``.
        stored: the session.
        mrenclave: hex, from evidence whose signatures hold.
    """
    policy = stored.session.upgrade
    if policy is None or not mrenclave:
        return error
    line = stored.material.line
    if mrenclave in line.retired(first_measurement(stored.session)):
        return RetiredError(f"an approved successor took the place of MRENCLAVE {mrenclave}")
    counts = {choice: line.count(Proposal(mrenclave, choice), policy) for choice in Choice}
    said = ", ".join(f"{count} of {policy.threshold} approvals to {choice}" for choice, count in counts.items())
    text = f"MRENCLAVE {mrenclave} is no approved successor: it has {said}"
    return UnapprovedError(text) if any(counts.values()) else type(error)(text)


def take_place(
    repo: SessionRepo, audit: AuditLog, stored: StoredSession, evidence: VerifiedEnclave, released: AuditEvent
) -> StoredSession:
    """Let an approved successor that proved itself take its predecessor's place; durable when this returns.

    Args:
        repo: the sessions.
        audit: the log.
        stored: the session that was judged by.
        evidence: of the enclave, which :func:`standing` accepts.
        released: the entry about its release, which follows.

    Returns:
        The session after it; unchanged when the enclave has the place already, or nothing takes places here.

    Raises:
        UnavailableError: the session was changed meanwhile, or cannot be written; nothing may be released.
    """
    policy, line = stored.session.upgrade, stored.material.line
    if policy is None:
        return stored
    first = first_measurement(stored.session)
    proposal = line.allowed(policy)
    if proposal is None or proposal.successor != evidence.mrenclave.hex():
        return stored
    moved = _with_line(stored, line.moved(proposal))
    if proposal.choice is Choice.DISCARD:
        moved = replace(moved, material=with_new_seeds(moved.material))
    event = replace(
        released,
        event=f"upgrade.{proposal.choice}",
        outcome="done",
        detail=f"{_described(proposal, line.current(first))}: {line.count(proposal, policy)} of {policy.threshold}",
    )
    discard = proposal.choice is Choice.DISCARD
    if audit.change(event, repo.storing(moved, scrub=discard)) is None:
        raise UnavailableError("the session was changed while the enclave was judged", code="cas.release.changed")
    if discard:
        repo.scrub()
    _log.info(event.event, session=event.session)
    return moved


def key_owner(stored: StoredSession, evidence: VerifiedEnclave) -> bytes:
    """The measurement that the enclave-keys of this enclave are derived for."""
    first = first_measurement(stored.session)
    return effective_measurement(stored.material.line, first, evidence.mrenclave, debug=evidence.debug)


def describe_line(stored: StoredSession) -> UpgradeAnswer:
    """What became of the line, for those who may read the session."""
    line, first, policy = stored.material.line, first_measurement(stored.session), stored.session.upgrade
    waiting = None if policy is None else line.allowed(policy)
    return UpgradeAnswer(
        first=first,
        current=line.current(first),
        threshold=0 if policy is None else policy.threshold,
        steps=tuple(_entry(step) for step in line.steps),
        approvals=tuple(
            ApprovalEntry(approver=key, **_entry(line.voices[key]).model_dump()) for key in sorted(line.voices)
        ),
        allowed=None if waiting is None else _entry(waiting),
    )


def _entry(proposal: Proposal) -> ProposalEntry:
    return ProposalEntry(successor=proposal.successor, choice=proposal.choice.value)


def _with_line(stored: StoredSession, line: Line) -> StoredSession:
    return replace(stored, version=stored.version + 1, material=replace(stored.material, line=line))


def _described(proposal: Proposal, predecessor: str) -> str:
    return f"{proposal.choice} {predecessor} -> {proposal.successor}"
