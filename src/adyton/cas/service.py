"""Use cases of session owners: create, update, read. Who asks is the key hash of the client certificate."""

from __future__ import annotations

import os
from collections.abc import Iterable
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Any, Final

from adyton.attestation.anchors import TrustAnchor
from adyton.base.clock import Clock, utc_now
from adyton.base.errors import InputError
from adyton.base.log import get_logger, short_hash
from adyton.cas.errors import ConflictError, ForbiddenError, UnknownSessionError
from adyton.cas.language.session import Session, SessionError, allows, parse_session
from adyton.cas.language.templates import check_size, check_templates
from adyton.cas.releasing.approvals import describe_line, may_read, require_same_line
from adyton.cas.releasing.material import Material, make_material
from adyton.cas.store.audit import AuditEvent, AuditLog
from adyton.cas.store.holdings import Holdings
from adyton.cas.store.repo import SessionRepo, StoredSession
from adyton.cas.wire import SessionAnswer, SessionDocumentAnswer, SessionEntry, SessionListAnswer

PAGE: Final = 100  # sessions that one answer lists
_SALT_BYTES: Final = 16
_ATTEMPTS: Final = 8  # at a session whose activations are counted meanwhile
_PUBLIC_KINDS: Final = frozenset({"x509", "x509-ca"})  # whose given value is a certificate
_log = get_logger("cas.sessions")


@dataclass(frozen=True, slots=True)
class Quota:
    """How much one key may store, since any key may: sessions that have not expired."""

    sessions_per_creator: int = 100_000


class SessionService:
    """Keeps the sessions.

    Args:
        repo: where.
        audit: every change and every refusal is recorded before it is answered.
        quota: limit for each creator.
        clock: time.
        anchors: the roots that this CAS accepts; a session that asks for another one is refused.
    """

    def __init__(
        self,
        repo: SessionRepo,
        audit: AuditLog,
        quota: Quota | None = None,
        clock: Clock = utc_now,
        *,
        anchors: Iterable[TrustAnchor],
    ) -> None:
        self._tiers = frozenset(anchor.tier for anchor in anchors)
        self._repo = repo
        self._audit = audit
        self._quota = quota or Quota()
        self._holdings = Holdings(repo.count)
        self._clock = clock

    def put(self, client: str, document: bytes) -> SessionAnswer:
        """Create the session, or replace the version that the document names as its ``predecessor``.

        Posting the same document again is answered like the first time.

        Raises:
            SessionError, YamlError: the document is refused.
            ConflictError: the name is taken, or the predecessor is not the current version.
            ForbiddenError: the update policy does not name this client, or its quota is used up.
        """
        now = self._clock()
        event = AuditEvent("session.put", "refused", client=client)
        try:
            session = self._read(document, now)
            event = replace(event, session=short_hash(session.name))
            stored = self._put(client, session, now, event)
        except InputError as error:  # the reason names parts of the document, which are not for the log
            self._audit.refused(replace(event, code=error.code))
            raise
        except (ConflictError, ForbiddenError, UnknownSessionError) as error:
            self._audit.refused(replace(event, code=error.code, detail=error.message))
            raise
        return _answer(stored)

    def show(self, client: str, name: str) -> SessionDocumentAnswer:
        """The session as its creator wrote it, defaults filled in, without the values of its secrets.

        Raises:
            UnknownSessionError: there is none, or this client may not read it; the two look alike.
        """
        stored = self._live(name, self._clock())
        if stored is None or not may_read(stored, client):
            raise UnknownSessionError("no session of this name can be read by this client")
        return SessionDocumentAnswer(
            **_answer(stored).model_dump(),
            creator=stored.creator,
            document=_without_values(stored.session),
            upgrade=None if stored.session.upgrade is None else describe_line(stored),
        )

    def list(self, client: str, after: str) -> SessionListAnswer:
        """The sessions that this client created and may read, a page at a time, in no particular order.

        Args:
            client: who asks.
            after: ``next`` of the page before; empty for the first.
        """
        page, cursor = self._repo.page(client, after, PAGE, self._clock())
        entries = tuple(
            SessionEntry(**_answer(stored).model_dump(exclude={"salt"}), expiry=stored.session.expiry)
            for stored in page
            if allows(stored.session.access_policy.read, client, stored.creator)
        )
        return SessionListAnswer(sessions=entries, next=cursor)

    def _read(self, document: bytes, now: datetime) -> Session:
        session = parse_session(document)
        check_templates(session)
        expiry = session.expires_at
        if expiry is not None and expiry <= now:
            raise SessionError("expiry", f"{expiry.isoformat()} is past")
        for index, tier in enumerate(session.security.attestation.tiers):
            if tier not in self._tiers:
                raise SessionError(
                    f"security.attestation.tiers[{index}]",
                    f"this CAS does not accept it, but {', '.join(sorted(self._tiers))}; a session cannot widen that",
                )
        return session

    def _put(self, client: str, session: Session, now: datetime, event: AuditEvent) -> StoredSession:
        for _ in range(_ATTEMPTS):
            current = self._live(session.name, now)
            if current is not None and current.creator == client and current.session == session:
                return current
            if current is None:
                stored, name = self._create(client, session, now), "session.create"
            else:
                stored, name = self._update(client, session, current, now), "session.update"
            event = replace(event, event=name, outcome="done", session_hash=stored.hash)
            if self._audit.change(event, self._repo.storing(stored)) is not None:
                if current is None:
                    self._holdings.added(client)
                _log.info(name, session=short_hash(session.name), version=stored.version)
                return stored
        raise ConflictError("other writers were first", code="cas.session.predecessor")

    def _create(self, client: str, session: Session, now: datetime) -> StoredSession:
        if session.predecessor is not None:
            raise UnknownSessionError("the document names a predecessor, but there is no session of this name")
        self._purge(now)
        if self._holdings.of(client) >= self._quota.sessions_per_creator:
            raise ForbiddenError(
                f"this client has {self._quota.sessions_per_creator} sessions, which is the limit",
                code="cas.session.quota",
                hint="give sessions an expiry",
            )
        return StoredSession(session, client, os.urandom(_SALT_BYTES), 1, _material(session, now, None, Material()))

    def _update(self, client: str, session: Session, current: StoredSession, now: datetime) -> StoredSession:
        if session.predecessor is None:
            raise ConflictError(
                "a session of this name exists", hint="to replace it, name its hash as 'predecessor' in the document"
            )
        if not allows(current.session.access_policy.update, client, current.creator):
            raise ForbiddenError("the session's update policy does not name this client")
        if session.predecessor != current.hash:
            raise ConflictError(
                "the predecessor is not the current version of the session",
                code="cas.session.predecessor",
                hint="read the session, apply the change to what it is now, and name its hash",
            )
        require_same_line(current.session, session)
        material = _material(session, now, current.session, current.material)
        return StoredSession(session, current.creator, os.urandom(_SALT_BYTES), current.version + 1, material)

    def _purge(self, now: datetime) -> None:
        if ended := self._repo.expired(now):
            gone = AuditEvent("session.expire", "done", detail=f"sessions: {ended}")
            self._audit.change(gone, self._repo.purging(now))
            self._holdings.forget()

    def _live(self, name: str, now: datetime) -> StoredSession | None:
        stored = self._repo.get(name)
        if stored is None:
            return None
        expiry = stored.session.expires_at
        return None if expiry is not None and expiry <= now else stored


def _material(session: Session, now: datetime, previous: Session | None, kept: Material) -> Material:
    material = make_material(session, now, previous, kept)
    check_size(session, material)
    return material


def _answer(stored: StoredSession) -> SessionAnswer:
    return SessionAnswer(name=stored.session.name, hash=stored.hash, salt=stored.salt.hex(), version=stored.version)


def _without_values(session: Session) -> dict[str, Any]:
    document = session.to_document()
    for secret in document["secrets"]:
        if secret["kind"] not in _PUBLIC_KINDS:
            secret.pop("value", None)
    return document
