"""The append-only record of what was released and what was refused: codes, ids and hashes, never a value.

Chained as every service's (:mod:`adyton.base.auditchain`): anyone can check it offline, and who rewrites it or cuts off
its end is found by the service, which keeps the last hash encrypted. A line about a change is written in the change's
own transaction, so neither is there without the other. The service logs the head with every session it opens.
"""

from __future__ import annotations

import threading
from dataclasses import dataclass

from adyton.base import auditchain
from adyton.base.canonical import canonical_json
from adyton.base.clock import Clock, utc_now
from adyton.base.errors import AdytonError
from adyton.sms.store.database import Database
from adyton.sms.store.tables import AuditError, audit_chain
from adyton.web.limits import RateLimiter

__all__ = ["AuditEntry", "AuditError", "AuditLog"]


@dataclass(frozen=True, slots=True)
class AuditEntry:
    """One line of the record."""

    seq: int
    at: str
    event: str
    fields: dict[str, str]


class AuditLog:
    """Appends to the record and verifies it.

    Refusals are caused by anybody who can reach the service, so they are bounded: beyond ``refusals_per_s`` they are
    only counted, and the next entry that stands by itself says how many.
    """

    def __init__(self, database: Database, *, clock: Clock = utc_now, refusals_per_s: float = 5) -> None:
        self._database = database
        self._clock = clock
        self._limiter = RateLimiter(refusals_per_s, clock=clock)
        self._lock = threading.Lock()
        self._suppressed = 0

    def line(self, event: str, **fields: str) -> str:
        """A line for the transaction of what it records (:meth:`adyton.sms.store.database.Database.write`)."""
        return canonical_json({"at": self._clock().isoformat(), "event": event, "fields": fields}).decode()

    def released(self, event: str, **fields: str) -> str:
        """Record a release or an accepted write; returns the new head.

        Raises:
            AuditError: the stored record is not the one that was written; the caller must then not release.
            StoreError: the record cannot be written; likewise.
        """
        return self._record(event, fields)

    def refused(self, event: str, **fields: str) -> None:
        """Record a refusal, or only count it when there are too many.

        Raises:
            AuditError, StoreError: as :meth:`released`.
        """
        if not self._limiter.allow("refusals"):
            with self._lock:
                self._suppressed += 1
            return
        self._record(event, fields)

    def verify(self) -> list[AuditEntry]:
        """Read the whole record, checking every link and the head.

        Raises:
            AuditError: an entry was changed, removed, put in, or the end cut off; the message names its number.
            StoreError: the database failed.
        """
        with self._database.snapshot() as db:
            found = list(audit_chain.read(db))
            audit_chain.verify(found)
            self._database.audit_head(db)
        return [_parsed(entry) for entry in found]

    def _record(self, event: str, fields: dict[str, str]) -> str:
        with self._lock:
            suppressed, self._suppressed = self._suppressed, 0
        if suppressed:
            fields = {**fields, "suppressed_refusals": str(suppressed)}
        try:
            return self._database.record(self.line(event, **fields))
        except AdytonError:
            with self._lock:
                self._suppressed += suppressed
            raise


def _parsed(entry: auditchain.AuditEntry) -> AuditEntry:
    values = entry.values
    return AuditEntry(entry.seq, values["at"], values["event"], values["fields"])
