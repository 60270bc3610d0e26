"""Use cases of session owners: create, update, read. Who asks is the key hash of the client certificate."""

from __future__ import annotations

import os
from collections.abc import Iterable
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Any, Final

from adyton.base.clock import Clock, utc_now
from adyton.base.log import get_logger, short_hash
from adyton.cas.audit import AuditEvent, AuditLog
from adyton.cas.errors import ConflictError, ForbiddenError, UnknownSessionError
from adyton.cas.material import Material, check_templates, make_material
from adyton.cas.repo import SessionRepo, StoredSession
from adyton.cas.session import Session, SessionError, parse_session
from adyton.cas.wire import SessionAnswer, SessionDocumentAnswer

_SALT_BYTES: Final = 16
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
    """

    def __init__(self, repo: SessionRepo, audit: AuditLog, quota: Quota | None = None, clock: Clock = utc_now) -> None:
        self._repo = repo
        self._audit = audit
        self._quota = quota or Quota()
        self._clock = clock

    def put(self, client: str, document: bytes) -> SessionAnswer:
        """Create the session, or replace the version that the document names as its ``predecessor``.

        Posting the same document again is answered like the first time.

        Raises:
            SessionError, YamlError: the document is refused.
            ConflictError: the name is taken, or the predecessor is not the current version.
            ForbiddenError: the update policy does not name this client, or its quota is used up.
        """
        session = parse_session(document)
        check_templates(session)
        now = self._clock()
        expiry = session.expires_at
        if expiry is not None and expiry <= now:
            raise SessionError("expiry", f"{expiry.isoformat()} is past")
        event = AuditEvent("session.put", "refused", session=short_hash(session.name), client=client)
        try:
            stored, event = self._put(client, session, now, event)
        except (ConflictError, ForbiddenError, UnknownSessionError) as error:
            self._audit.append(replace(event, code=error.code, detail=error.message))
            raise
        return _answer(stored)

    def show(self, client: str, name: str) -> SessionDocumentAnswer:
        """The session as its creator wrote it, defaults filled in, without the values of its secrets.

        Raises:
            UnknownSessionError: there is none, or this client may not read it; the two look alike.
        """
        stored = self._live(name, self._clock())
        if stored is None or not _allows(stored.session.access_policy.read, client, stored.creator):
            raise UnknownSessionError("no session of this name can be read by this client")
        return SessionDocumentAnswer(
            **_answer(stored).model_dump(), creator=stored.creator, document=_without_values(stored.session)
        )

    def _put(self, client: str, session: Session, now: datetime, event: AuditEvent) -> tuple[StoredSession, AuditEvent]:
        current = self._live(session.name, now)
        if current is None:
            return self._create(client, session, now, event)
        if current.creator == client and current.session == session:
            return current, event
        return self._update(client, session, current, now, event)

    def _create(
        self, client: str, session: Session, now: datetime, event: AuditEvent
    ) -> tuple[StoredSession, AuditEvent]:
        if session.predecessor is not None:
            raise UnknownSessionError("the document names a predecessor, but there is no session of this name")
        self._repo.purge(now)
        if self._repo.count(client) >= self._quota.sessions_per_creator:
            raise ForbiddenError(
                f"this client has {self._quota.sessions_per_creator} sessions, which is the limit",
                code="cas.session.quota",
                hint="give sessions an expiry",
            )
        stored = StoredSession(
            session, client, os.urandom(_SALT_BYTES), 1, make_material(session, now, None, Material())
        )
        return self._commit(stored, event, "session.create")

    def _update(
        self, client: str, session: Session, current: StoredSession, now: datetime, event: AuditEvent
    ) -> tuple[StoredSession, AuditEvent]:
        if session.predecessor is None:
            raise ConflictError(
                "a session of this name exists", hint="to replace it, name its hash as 'predecessor' in the document"
            )
        if not _allows(current.session.access_policy.update, client, current.creator):
            raise ForbiddenError("the session's update policy does not name this client")
        if session.predecessor != current.hash:
            raise ConflictError(
                "the predecessor is not the current version of the session",
                code="cas.session.predecessor",
                hint="read the session, apply the change to what it is now, and name its hash",
            )
        material = make_material(session, now, current.session, current.material)
        stored = StoredSession(session, current.creator, os.urandom(_SALT_BYTES), current.version + 1, material)
        return self._commit(stored, event, "session.update")

    def _commit(self, stored: StoredSession, event: AuditEvent, name: str) -> tuple[StoredSession, AuditEvent]:
        """Record first: a change that cannot be recorded must not happen; one recorded and lost is answered as lost."""
        event = replace(event, event=name, outcome="done", session_hash=stored.hash)
        self._audit.append(event)
        written = self._repo.add(stored) if stored.version == 1 else self._repo.replace(stored)
        if not written:
            raise ConflictError("another writer was first", code="cas.session.predecessor")
        _log.info(name, session=short_hash(stored.session.name), version=stored.version)
        return stored, event

    def _live(self, name: str, now: datetime) -> StoredSession | None:
        stored = self._repo.get(name)
        if stored is None:
            return None
        expiry = stored.session.expires_at
        return None if expiry is not None and expiry <= now else stored


def _allows(principals: Iterable[str], client: str, creator: str) -> bool:
    """Whether a list of an access policy names ``client``. NONE names nobody, whatever stands beside it."""
    names = set(principals)
    if "NONE" in names:
        return False
    return "ANY" in names or client in names or ("CREATOR" in names and client == creator)


def _answer(stored: StoredSession) -> SessionAnswer:
    return SessionAnswer(name=stored.session.name, hash=stored.hash, salt=stored.salt.hex(), version=stored.version)


def _without_values(session: Session) -> dict[str, Any]:
    document = session.to_document()
    for secret in document["secrets"]:
        secret.pop("value", None)
    return document
