"""The append-only record of what was released and what was refused: codes, ids and hashes, never a value.

Each entry carries a keyed hash (HMAC-SHA256) over its predecessor's hash and itself, so a reader with the key sees
any entry that was changed, removed from the middle or put in. Cutting off the end shows only against a head noted
elsewhere; the service logs the head with every session it opens.
"""

from __future__ import annotations

import hashlib
import hmac
import json
import threading
from dataclasses import dataclass
from typing import Final

from sqlalchemy import Engine, insert, select
from sqlalchemy.exc import IntegrityError, SQLAlchemyError

from adyton.base.aead import bind, derive_key
from adyton.base.canonical import canonical_json
from adyton.base.clock import Clock, utc_now
from adyton.base.errors import AdytonError
from adyton.base.secret import Secret
from adyton.sms.limits import RateLimiter
from adyton.sms.repo import StoreError
from adyton.sms.tables import audit_table, metadata

_GENESIS: Final = "00" * 32
_APPEND_ATTEMPTS: Final = 16  # lost races with other replicas


class AuditError(AdytonError):
    """The record is not the one that was written."""

    code = "sms.audit.broken"


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
    only counted, and the next entry says how many.
    """

    def __init__(
        self, engine: Engine, database_key: Secret[bytes], *, clock: Clock = utc_now, refusals_per_s: float = 5
    ) -> None:
        self._engine = engine
        self._key = derive_key(database_key, "sms/audit")
        self._clock = clock
        self._limiter = RateLimiter(refusals_per_s, clock=clock)
        self._lock = threading.Lock()
        self._suppressed = 0
        metadata.create_all(engine)

    def released(self, event: str, **fields: str) -> str:
        """Record a release or an accepted write; returns the new head.

        Raises:
            StoreError: the record cannot be written; the caller must then not release.
        """
        return self._append(event, fields)

    def refused(self, event: str, **fields: str) -> None:
        """Record a refusal, or only count it when there are too many.

        Raises:
            StoreError: the record cannot be written.
        """
        if not self._limiter.allow("refusals"):
            with self._lock:
                self._suppressed += 1
            return
        self._append(event, fields)

    def verify(self) -> list[AuditEntry]:
        """Read the whole record, checking every link.

        Raises:
            AuditError: an entry was changed, removed or put in; the message names its number.
            StoreError: the database failed.
        """
        try:
            with self._engine.connect() as db:
                rows = db.execute(select(audit_table).order_by(audit_table.c.seq)).all()
        except SQLAlchemyError as error:
            raise StoreError(f"the audit record cannot be read: {type(error).__name__}") from None
        previous, entries = _GENESIS, []
        for expected, row in enumerate(rows, start=1):
            if row.seq != expected or not hmac.compare_digest(row.mac, self._mac(row.seq, previous, row.entry)):
                raise AuditError(f"the audit record is broken at entry {expected}")
            previous = row.mac
            content = json.loads(row.entry)
            entries.append(AuditEntry(row.seq, content["at"], content["event"], content["fields"]))
        return entries

    def _append(self, event: str, fields: dict[str, str]) -> str:
        with self._lock:
            suppressed, self._suppressed = self._suppressed, 0
            if suppressed:
                fields = {**fields, "suppressed_refusals": str(suppressed)}
            content = {"at": self._clock().isoformat(), "event": event, "fields": fields}
            entry = canonical_json(content).decode()
            for _attempt in range(_APPEND_ATTEMPTS):
                head = self._try_append(entry)
                if head is not None:
                    return head
        raise StoreError("the audit record is being written by many replicas at once")

    def _try_append(self, entry: str) -> str | None:
        last = select(audit_table.c.seq, audit_table.c.mac).order_by(audit_table.c.seq.desc()).limit(1)
        try:
            with self._engine.connect() as db:
                row = db.execute(last).one_or_none()
            seq, previous = (row.seq + 1, row.mac) if row is not None else (1, _GENESIS)
            mac = self._mac(seq, previous, entry)
            with self._engine.begin() as db:
                db.execute(insert(audit_table).values(seq=seq, entry=entry, mac=mac))
        except IntegrityError:
            return None
        except SQLAlchemyError as error:
            raise StoreError(f"the audit record cannot be written: {type(error).__name__}") from None
        return mac

    def _mac(self, seq: int, previous: str, entry: str) -> str:
        message = bind(b"adyton/sms/audit/1", str(seq).encode(), previous.encode(), entry.encode())
        return hmac.new(self._key.reveal(), message, hashlib.sha256).hexdigest()
