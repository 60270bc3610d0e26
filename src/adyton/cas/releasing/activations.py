"""Activations: how often the part of a service has been released, where its session limits that.

An enclave that runs renews its identity by attesting again. It shows what it was told at its activation, a code that
the CAS makes of session, service and measurement and that is said to attested enclaves only, so that a renewal is not
counted. After an exchange of the CAS's keys the code is another one, and the next renewal counts once.

The count is in the session's own row, and is written with the audit entry of the release in one transaction, on disk
before anything is answered: a CAS that dies in between has counted a release that nobody got, never the reverse.
"""

from __future__ import annotations

from dataclasses import replace

from adyton.cas.errors import ReleaseRefusedError
from adyton.cas.language.session import Service
from adyton.cas.releasing.amending import amend, record
from adyton.cas.releasing.material import Material
from adyton.cas.store.audit import AuditEvent, AuditLog
from adyton.cas.store.repo import SessionRepo, StoredSession


class ActivationsError(ReleaseRefusedError):
    """The service was released as often as its session allows."""

    code = "cas.release.activations"
    hint = "update the session with a larger 'max_activations', if another activation is meant"


def record_release(
    repo: SessionRepo, audit: AuditLog, stored: StoredSession, service: Service, event: AuditEvent, *, renews: bool
) -> None:
    """Record that ``service`` is released, and count it where its session limits that; durable when this returns.

    Args:
        repo: the sessions.
        audit: the log.
        stored: the session that was judged by.
        service: one of its services.
        event: the release.
        renews: the enclave showed that it was activated already; it is not counted again.

    Raises:
        ActivationsError: it was released often enough; nothing is written.
        UnavailableError: it cannot be written, or the session was changed meanwhile; nothing may be released.
    """
    if renews or service.max_activations is None:
        record(repo, audit, stored, event)
        return
    limit = service.max_activations
    amend(repo, audit, stored, event, lambda newest: _counted(newest, service, limit))


def _counted(stored: StoredSession, service: Service, limit: int) -> Material:
    activations = stored.material.activations
    used = activations.get(service.name, 0)
    if used >= limit:
        raise ActivationsError(f"service {service.name!r} has been activated {used} times; the limit is {limit}")
    return replace(stored.material, activations={**activations, service.name: used + 1})
