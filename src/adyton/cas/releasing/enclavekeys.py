"""The exchange of an enclave's key: what its enclave may ask once it attested, a step at a time.

1. ``show``: the key that holds, and the pending one where an exchange is going on;
2. ``begin``: a new random key, pending; both are the enclave's from then on, so that one that dies in between finds
   out which of them its data are under;
3. ``commit``: the pending key holds, the one before is destroyed, in the database's pages and its log, too;
   ``abort``: the pending one is destroyed.

Each step is one transaction with its audit entry, on disk before it is answered. ``commit`` and ``abort`` may be
repeated. An enclave reaches its own keys only, and only in secrets that its own service's part names.
"""

from __future__ import annotations

from dataclasses import replace

from adyton.cas.errors import ReleaseRefusedError
from adyton.cas.language.session import Service
from adyton.cas.language.templates import names_in_part
from adyton.cas.releasing.amending import amend, record
from adyton.cas.releasing.approvals import approvers_of, first_measurement
from adyton.cas.releasing.keyring import KeyRing
from adyton.cas.releasing.material import Material, enclave_keys, with_enclave_keys
from adyton.cas.releasing.upgrade import effective_measurement
from adyton.cas.store.audit import AuditEntry, AuditEvent, AuditLog
from adyton.cas.store.repo import SessionRepo, StoredSession
from adyton.cas.wire import KeyAnswer, KeyEntry, KeyRequest


class UnknownKeyError(ReleaseRefusedError):
    """The service's part names no enclave-key secret of this name."""

    code = "cas.enclave_key.unknown"


def step(
    repo: SessionRepo,
    audit: AuditLog,
    stored: StoredSession,
    request: KeyRequest,
    event: AuditEvent,
    *,
    service: Service,
    mrenclave: bytes,
) -> KeyAnswer:
    """Take one step for an enclave that was judged.

    Args:
        repo: the sessions.
        audit: the log.
        stored: the session that was judged by.
        request: what the enclave asks.
        event: what goes on record, without its outcome.
        service: what the enclave is in the session.
        mrenclave: the measurement whose keys it has.

    Raises:
        UnknownKeyError: no such secret in the service's part.
        KeyExchangeRefusedError: the exchange is not where the step stands on.
        UnavailableError: it cannot be written; the state is the one before, or the one after.
    """
    item = stored.material.secrets.get(request.secret)
    if item is None or item.kind != "enclave-key" or request.secret not in names_in_part(stored.session, service):
        raise UnknownKeyError(f"the part of service {service.name!r} has no enclave-key {request.secret!r}")
    ring = _ring(stored.material, request, mrenclave)
    if request.step == "show":
        event = replace(event, outcome="released", detail=_detail(ring))
        return _answer(ring, record(repo, audit, stored, event), stored)
    after = _next(ring, request)
    event = replace(event, outcome="done", detail=_detail(after))
    entry, material = amend(
        repo,
        audit,
        stored,
        event,
        lambda newest: _stepped(newest, mrenclave, request),
        scrub=request.step in ("commit", "abort"),
    )
    return _answer(_ring(material, request, mrenclave), entry, stored)  # amended only while its document is the same


def _stepped(stored: StoredSession, mrenclave: bytes, request: KeyRequest) -> Material:
    keys = enclave_keys(request.secret, stored.material.secrets[request.secret])
    ring = _next(keys.ring(mrenclave), request)
    return with_enclave_keys(stored.material, keys.with_ring(mrenclave, ring, sorted(_owners(stored) - {mrenclave})))


def _owners(stored: StoredSession) -> set[bytes]:
    """Whose keys there can be in the session, beside those of enclaves that it named once."""
    line, first = stored.material.line, first_measurement(stored.session)
    named = {bytes.fromhex(text) for service in stored.session.services for text in service.mrenclaves}
    return {effective_measurement(line, first, each, debug=debug) for each in named for debug in (False, True)}


def _next(ring: KeyRing, request: KeyRequest) -> KeyRing:
    match request.step:
        case "begin":
            return ring.begin()
        case "commit":
            return ring.commit(request.generation)
        case _:
            return ring.abort(request.generation)


def _ring(material: Material, request: KeyRequest, mrenclave: bytes) -> KeyRing:
    return enclave_keys(request.secret, material.secrets[request.secret]).ring(mrenclave)


def _detail(ring: KeyRing) -> str:
    pending = "" if ring.pending is None else f", pending: {ring.begun}"
    return f"generation: {ring.generation}{pending}"


def _answer(ring: KeyRing, entry: AuditEntry, stored: StoredSession) -> KeyAnswer:
    pending = None if ring.pending is None else KeyEntry(generation=ring.begun, key=ring.pending.reveal().hex())
    current = KeyEntry(generation=ring.generation, key=ring.key.reveal().hex())
    upgrade = approvers_of(stored)
    return KeyAnswer(current=current, pending=pending, entry=entry.seq, hash=entry.hash, upgrade=upgrade)
