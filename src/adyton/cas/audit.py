"""The audit log: who was attested or changed what, and how it ended, in an append-only hash chain.

Chained as every service's (:mod:`adyton.base.auditchain`): anyone can check it offline, only the CAS can extend it
unnoticed. An entry about a change is written in the change's own transaction (:mod:`adyton.cas.ledger`), so neither is
there without the other. Records hold public values only: digests of session names, measurements, codes; never a name,
a secret or a key.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import asdict, dataclass

from sqlalchemy import Engine

from adyton.base.auditchain import GENESIS, AuditEntry
from adyton.base.canonical import canonical_json
from adyton.base.clock import Clock, utc_now
from adyton.base.errors import UnavailableError
from adyton.cas.ledger import Change, Ledger
from adyton.cas.tables import AUDIT_CHAIN

__all__ = ["GENESIS", "AuditEntry", "AuditEvent", "AuditLog", "read_entries", "verify_chain"]


@dataclass(frozen=True, slots=True)
class AuditEvent:
    """What happened.

    Attributes:
        event: ``release``, ``session.create``, ``session.update``, ``session.put``, ``session.expire``, ``start``,
            ``keys.rotate``.
        outcome: ``released``, ``done`` or ``refused``.
        code: the error's code when refused.
        session: first 16 hex digits of the SHA-256 of the session's name (:func:`adyton.base.log.short_hash`).
        session_hash: hash of the session's version that was judged by.
        service: name of the service.
        mrenclave: verified measurement, hex; of refused evidence the claimed one.
        tier: trust tier of the evidence; of refused evidence only where its signatures hold, else empty.
        client: key hash of the caller.
        detail: one line: the reason.
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
    detail: str = ""


class AuditLog:
    """Appends to the log of one CAS."""

    def __init__(self, ledger: Ledger, clock: Clock = utc_now) -> None:
        self._ledger = ledger
        self._clock = clock

    def append(self, event: AuditEvent) -> AuditEntry:
        """Write one entry; on disk when this returns.

        Raises:
            UnavailableError: it cannot be written; what it records must not happen.
        """
        entry = self._ledger.write(self.record(event))
        if entry is None:
            raise UnavailableError("the audit log did not take an entry", code="cas.audit.unwritable")
        return entry

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
