"""The audit log: who was attested or changed what, and how it ended, in an append-only hash chain.

Chained as every service's (:mod:`adyton.base.auditchain`): anyone can check it offline, only the CAS can extend it
unnoticed. An entry about a change is written in the change's own transaction (:mod:`adyton.cas.store.ledger`), so
neither is there without the other. Records hold public values only: digests of session names, measurements, codes;
never a name, a secret or a key.
"""

from __future__ import annotations

import threading
from collections.abc import Iterable, Iterator
from dataclasses import asdict, dataclass, replace
from typing import Final

from sqlalchemy import Engine

from adyton.base.auditchain import GENESIS, AuditEntry
from adyton.base.canonical import canonical_json
from adyton.base.clock import Clock, utc_now
from adyton.base.errors import UnavailableError
from adyton.cas.store.ledger import Change, Ledger
from adyton.cas.store.tables import AUDIT_CHAIN
from adyton.web.limits import RateLimiter

__all__ = ["GENESIS", "AuditEntry", "AuditEvent", "AuditLog", "read_entries", "verify_chain"]

REFUSALS_PER_S: Final = 5


@dataclass(frozen=True, slots=True)
class AuditEvent:
    """What happened.

    Attributes:
        event: ``release``, ``session.create``, ``session.update``, ``session.put``, ``session.expire``, ``start``,
            ``keys.rotate``, ``upgrade.approve``, ``upgrade.revoke``, ``upgrade.carry``, ``upgrade.discard``.
        outcome: ``released``, ``done`` or ``refused``; ``reached``: an approval was the one that was still missing.
        code: the error's code when refused.
        session: first 16 hex digits of the SHA-256 of the session's name (:func:`adyton.base.log.short_hash`).
        session_hash: hash of the session's version that was judged by.
        service: name of the service.
        mrenclave: verified measurement, hex; of refused evidence the claimed one.
        tier: trust tier of the evidence; of refused evidence only where its signatures hold, else empty.
        client: key hash of the caller.
        authority: fingerprint of the authority's root from then on.
        authority_before: that of the one before it, where it was exchanged.
        detail: one line: the reason.
        suppressed: how many refusals before this one were counted and not recorded; see :meth:`AuditLog.refused`.
    """

    event: str
    outcome: str
    code: str = ""
    session: str = ""
    session_hash: str = ""
    service: str = ""
    mrenclave: str = ""
    tier: str = ""
    client: str = ""
    authority: str = ""
    authority_before: str = ""
    detail: str = ""
    suppressed: int = 0


class AuditLog:
    """Appends to the log of one CAS."""

    def __init__(self, ledger: Ledger, clock: Clock = utc_now) -> None:
        self._ledger = ledger
        self._clock = clock
        self._limiter = RateLimiter(REFUSALS_PER_S)
        self._lock = threading.Lock()
        self._suppressed = 0

    def append(self, event: AuditEvent) -> AuditEntry:
        """Write one entry; on disk when this returns.

        Raises:
            UnavailableError: it cannot be written; what it records must not happen.
        """
        entry = self._ledger.write(self.record(event))
        if entry is None:
            raise UnavailableError("the audit log did not take an entry", code="cas.audit.unwritable")
        return entry

    def limit(self, refusals_per_s: float) -> None:
        """Let so many refusals per second be written."""
        self._limiter = RateLimiter(refusals_per_s)

    def refused(self, event: AuditEvent) -> None:
        """Write one entry about a refusal, or only count it when there are too many.

        Anybody who can reach a port can cause refusals, and none may fill the disk: beyond :data:`REFUSALS_PER_S` on
        average, or what :meth:`limit` says, they are counted, and the next one that is written says how many.

        Raises:
            UnavailableError: it cannot be written.
        """
        with self._lock:
            if not self._limiter.allow("refusals"):
                self._suppressed += 1
                return
            suppressed, self._suppressed = self._suppressed, 0
        try:
            self.append(replace(event, suppressed=suppressed))
        except BaseException:
            with self._lock:
                self._suppressed += suppressed
            raise

    def change(self, event: AuditEvent, change: Change) -> AuditEntry | None:
        """Make a change and record it, both or neither; on disk when this returns.

        None when the change did not apply: nothing is written then, no entry either.

        Raises:
            UnavailableError: it cannot be written.
        """
        return self._ledger.write(self.record(event), change)

    def record(self, event: AuditEvent) -> str:
        """The entry's text: canonical JSON of the time and of what is not empty."""
        values = {name: value for name, value in asdict(event).items() if value}
        return canonical_json({"at": self._clock().isoformat(), **values}).decode()

    def verify(self) -> AuditEntry | None:
        """Check every entry and the kept head; returns the last entry.

        Raises:
            AuditBrokenError: naming the first entry that is not the one written.
        """
        with self._ledger.engine.connect() as db:
            AUDIT_CHAIN.verify(AUDIT_CHAIN.read(db))
            return AUDIT_CHAIN.last(db, self._ledger.keys.audit)


def read_entries(engine: Engine) -> Iterator[AuditEntry]:
    """All entries in order, a page at a time."""
    with engine.connect() as db:
        yield from AUDIT_CHAIN.read(db)


def verify_chain(entries: Iterable[AuditEntry]) -> AuditEntry | None:
    """Check that ``entries`` are the whole chain from its beginning; returns the last.

    Raises:
        AuditBrokenError: an entry is missing, altered, or out of place.
    """
    return AUDIT_CHAIN.verify(entries)
