"""An append-only record in a database whose entries are chained by hashes, the same for every service that keeps one.

Table ``audit``: ``seq`` from 1, ``record`` (canonical JSON), ``hash`` = SHA-256 over the service's domain, the previous
entry's hash and the record. Anyone can check the chain with nothing but the table; only the service can extend it
unnoticed, because the hash of the last entry is also kept encrypted (table ``audit_head``) and compared.

What this cannot see is a whole older copy of both tables put back; a head noted elsewhere shows that.
"""

from __future__ import annotations

import hashlib
import hmac
import json
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Final, Protocol

from sqlalchemy import Column, Connection, Integer, LargeBinary, MetaData, String, Table, Text, insert, select, update

from adyton.base.aead import bind
from adyton.base.errors import AdytonError

GENESIS: Final = "00" * 32
_LAST: Final = "last"
_PAGE: Final = 500


class AuditChainError(AdytonError):
    """The record is not the one that was written: an entry was altered, removed, put in, or the end cut off."""

    code = "audit.broken"


@dataclass(frozen=True, slots=True)
class AuditEntry:
    """One entry as it is stored."""

    seq: int
    record: str
    hash: str

    @property
    def values(self) -> dict[str, Any]:
        """The record's members, with ``at`` (ISO time, UTC)."""
        return dict(json.loads(self.record))


class HeadSeal(Protocol):
    """Encrypts the head for its place in the database."""

    def seal(self, row_id: str, version: int, body: bytes) -> bytes:
        """Encrypt ``body``, bound to the row and its version."""

    def open(self, row_id: str, version: int, blob: bytes) -> bytes:
        """What was sealed for this row and version.

        Raises:
            AdytonError: it was not sealed for this place.
        """


class AuditChain:
    """The chain of one service.

    Args:
        metadata: where its two tables are declared.
        domain: separates its hashes from those of every other record.
        error: what a broken chain is reported as.
    """

    def __init__(self, metadata: MetaData, domain: bytes, error: type[AdytonError] = AuditChainError) -> None:
        self._domain = domain
        self._error = error
        self.entries = Table(
            "audit",
            metadata,
            Column("seq", Integer, primary_key=True, autoincrement=False),
            Column("record", Text, nullable=False),
            Column("hash", String(64), nullable=False),
        )
        self.head = Table(
            "audit_head",
            metadata,
            Column("id", String(16), primary_key=True),
            Column("version", Integer, nullable=False),
            Column("body", LargeBinary, nullable=False),
        )
        # Made once: putting a statement together costs more than running it.
        self._insert, self._insert_head = insert(self.entries), insert(self.head)
        self._update_head = update(self.head).where(self.head.c.id == _LAST)
        self._last = select(self.entries).order_by(self.entries.c.seq.desc()).limit(1)
        self._kept = select(self.head).where(self.head.c.id == _LAST)

    def link(self, previous: str, record: str) -> str:
        """The hash of an entry after ``previous`` (hex)."""
        return hashlib.sha256(bind(self._domain, bytes.fromhex(previous), record.encode())).hexdigest()

    def append(self, db: Connection, seal: HeadSeal, last: AuditEntry | None, record: str) -> AuditEntry:
        """Write the entry after ``last`` and the new head, in the caller's transaction.

        Args:
            db: a connection in a transaction that no other writer can overtake.
            seal: encrypts the head.
            last: the entry before it, from :meth:`last` or an earlier call.
            record: canonical JSON.
        """
        return self.append_all(db, seal, last, [record])[-1]

    def append_all(
        self, db: Connection, seal: HeadSeal, last: AuditEntry | None, records: Sequence[str]
    ) -> list[AuditEntry]:
        """Like :meth:`append` of each of ``records``, of which there is at least one."""
        seq, previous = (0, GENESIS) if last is None else (last.seq, last.hash)
        made: list[AuditEntry] = []
        for number, record in enumerate(records, start=seq + 1):
            previous = self.link(previous, record)
            made.append(AuditEntry(number, record, previous))
        rows = [{"seq": entry.seq, "record": entry.record, "hash": entry.hash} for entry in made]
        db.execute(self._insert, rows)
        values = {"version": made[-1].seq, "body": seal.seal(_LAST, made[-1].seq, previous.encode())}
        if db.execute(self._update_head, values).rowcount == 0:
            db.execute(self._insert_head, {"id": _LAST, **values})
        return made

    def last(self, db: Connection, seal: HeadSeal) -> AuditEntry | None:
        """The last entry, None of an empty record, after comparing it with the kept head.

        Raises:
            AdytonError: of the chain's kind: the end was cut off or replaced.
        """
        row = db.execute(self._last).one_or_none()
        kept = db.execute(self._kept).one_or_none()
        stored = (0, GENESIS) if row is None else (row.seq, row.hash)
        known = (0, GENESIS) if kept is None else (kept.version, seal.open(_LAST, kept.version, kept.body).decode())
        if stored[0] != known[0] or not hmac.compare_digest(stored[1], known[1]):
            raise self._error(f"the audit log ends with entry {stored[0]}, but entry {known[0]} was the last written")
        return None if row is None else AuditEntry(row.seq, row.record, row.hash)

    def read(self, db: Connection) -> Iterator[AuditEntry]:
        """All entries in order, a page at a time."""
        after = 0
        while True:
            rows = self._page(db, after)
            for row in rows:
                yield AuditEntry(row.seq, row.record, row.hash)
            if len(rows) < _PAGE:
                return
            after = rows[-1].seq

    def verify(self, entries: Iterable[AuditEntry]) -> AuditEntry | None:
        """Check that ``entries`` are the whole chain from its beginning; returns the last.

        Raises:
            AdytonError: of the chain's kind: an entry is missing, altered, or out of place.
        """
        previous, last = GENESIS, None
        for expected, entry in enumerate(entries, start=1):
            if entry.seq != expected:
                raise self._error(f"entry {expected} is missing: the next one is {entry.seq}")
            if not hmac.compare_digest(self.link(previous, entry.record), entry.hash):
                raise self._error(f"entry {entry.seq} is not the one that was written")
            previous, last = entry.hash, entry
        return last

    def _page(self, db: Connection, after: int) -> Sequence[Any]:
        query = select(self.entries).where(self.entries.c.seq > after).order_by(self.entries.c.seq).limit(_PAGE)
        return db.execute(query).all()
