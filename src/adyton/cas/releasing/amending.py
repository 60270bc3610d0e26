"""Changing the material of a session that was judged: while nobody changed the session itself, and never half."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Final

from adyton.base.errors import UnavailableError
from adyton.cas.releasing.material import Material
from adyton.cas.releasing.upgrade import Proposal
from adyton.cas.store.audit import AuditEntry, AuditEvent, AuditLog
from adyton.cas.store.repo import SessionRepo, StoredSession

_ATTEMPTS: Final = 200  # each means that somebody else wrote the session's row meanwhile


def amend(
    repo: SessionRepo,
    audit: AuditLog,
    stored: StoredSession,
    event: AuditEvent,
    change: Callable[[StoredSession], Material],
    *,
    scrub: bool = False,
) -> tuple[AuditEntry, Material]:
    """Give the session the material that ``change`` makes of its newest, with ``event`` on record; durable then.

    Args:
        repo: the sessions.
        audit: the log.
        stored: the session that was judged by.
        event: what happens.
        change: may be called several times.
        scrub: what the row held before shall be on the disk no more.

    Raises:
        UnavailableError: it cannot be written, or the session was changed meanwhile.
        AdytonError: what ``change`` raised; nothing is written.
    """
    judged_by = _judged_by(stored)
    for _ in range(_ATTEMPTS):
        material = change(stored)
        amended = replace(stored, version=stored.version + 1, material=material)
        entry = audit.change(event, repo.storing(amended, scrub=scrub))
        if entry is not None:
            if scrub:
                repo.scrub()
            return entry, material
        current = repo.get(stored.session.name)
        if current is None or _judged_by(current) != judged_by:
            raise UnavailableError("the session was changed while the enclave was judged", code="cas.release.changed")
        stored = current
    raise UnavailableError("too many changes of this session at once", code="cas.release.busy")


def record(repo: SessionRepo, audit: AuditLog, stored: StoredSession, event: AuditEvent) -> AuditEntry:
    """Put on record that something of the session is let out; durable when this returns.

    Raises:
        UnavailableError: it cannot be written, or a successor may have taken the enclave's place meanwhile.
    """
    if stored.session.upgrade is None:
        return audit.append(event)
    entry = audit.change(event, repo.unchanged(stored))
    if entry is None:
        raise UnavailableError("the session was changed while the enclave was judged", code="cas.release.changed")
    return entry


def _judged_by(stored: StoredSession) -> tuple[str, tuple[Proposal, ...]]:
    """What a verdict stands on: the document, and which enclave has the place in it."""
    return stored.hash, stored.material.line.steps
