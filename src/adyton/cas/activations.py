"""Activations: how often the part of a service has been released, where its session limits that.

The count is in the session's own row, and is written with the audit entry of the release in one transaction, on disk
before anything is answered: a CAS that dies in between has counted a release that nobody got, never the reverse.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Final

from adyton.base.errors import UnavailableError
from adyton.cas.audit import AuditEvent, AuditLog
from adyton.cas.errors import ReleaseRefusedError
from adyton.cas.repo import SessionRepo, StoredSession
from adyton.cas.session import Service

_ATTEMPTS: Final = 200  # each means that another release of the session was counted meanwhile


class ActivationsError(ReleaseRefusedError):
    """The service was released as often as its session allows."""

    code = "cas.release.activations"
    hint = "update the session with a larger 'max_activations', if another activation is meant"


def record_release(
    repo: SessionRepo, audit: AuditLog, stored: StoredSession, service: Service, event: AuditEvent
) -> None:
    """Record that ``service`` is released, and count it where its session limits that; durable when this returns.

    Args:
        repo: the sessions.
        audit: the log.
        stored: the session that was judged by.
        service: one of its services.
        event: the release.

    Raises:
        ActivationsError: it was released often enough; nothing is written.
        UnavailableError: it cannot be written, or the session was changed meanwhile; nothing may be released.
    """
    if service.max_activations is None:
        audit.append(event)
        return
    judged_by = stored.hash
    for _ in range(_ATTEMPTS):
        if audit.change(event, repo.storing(_counted(stored, service, service.max_activations))) is not None:
            return
        current = repo.get(stored.session.name)
        if current is None or current.hash != judged_by:
            raise UnavailableError("the session was changed while the enclave was judged", code="cas.release.changed")
        stored = current
    raise UnavailableError("too many activations of this session at once", code="cas.release.busy")


def _counted(stored: StoredSession, service: Service, limit: int) -> StoredSession:
    activations = stored.material.activations
    used = activations.get(service.name, 0)
    if used >= limit:
        raise ActivationsError(f"service {service.name!r} has been activated {used} times; the limit is {limit}")
    material = replace(stored.material, activations={**activations, service.name: used + 1})
    return replace(stored, version=stored.version + 1, material=material)
