"""The audit log: who was attested or changed what, and how it ended, in an append-only hash chain.

Table ``audit``: ``seq`` from 1, ``record`` (canonical JSON), ``hash`` = SHA-256 over domain, the previous entry's hash
and the record. Anyone can check the chain; only the CAS can extend it unnoticed, because the hash of the last entry is
also kept encrypted (table ``audit_head``) and every start compares the two. Records hold public values only: digests
of session names, measurements, codes; never a name, a secret or a key.
"""

from __future__ import annotations

import hashlib
import hmac
import json
import threading
from collections.abc import Iterable, Iterator
from dataclasses import asdict, dataclass
from typing import Any, Final

from sqlalchemy import Column, Connection, Engine, Integer, LargeBinary, String, Table, Text, insert, select, update
from sqlalchemy.exc import SQLAlchemyError

from adyton.base.aead import bind
from adyton.base.canonical import canonical_json
from adyton.base.clock import Clock, utc_now
from adyton.base.errors import UnavailableError
from adyton.base.secret import Secret
from adyton.cas.errors import AuditBrokenError
from adyton.cas.repo import METADATA, RowCipher

_DOMAIN: Final = b"adyton/cas/audit/1"
GENESIS: Final = "00" * 32
_PAGE: Final = 500

_AUDIT: Final = Table(
    "audit",
    METADATA,
    Column("seq", Integer, primary_key=True, autoincrement=False),
    Column("record", Text, nullable=False),
    Column("hash", String(64), nullable=False),
)
_HEAD: Final = Table(
    "audit_head",
    METADATA,
    Column("id", String(16), primary_key=True),
    Column("version", Integer, nullable=False),
    Column("body", LargeBinary, nullable=False),
)
_LAST: Final = "last"


@dataclass(frozen=True, slots=True)
class AuditEvent:
    """What happened.

    Attributes:
        event: ``release``, ``session.create``, ``session.update``, ``session.read``, ``start``.
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


class AuditLog:
    """Appends to the log of one CAS; refuses to go on where the stored log is not the one it wrote.

    Raises:
        AuditBrokenError: the last entries were removed or replaced.
    """

    def __init__(self, engine: Engine, master: Secret[bytes], clock: Clock = utc_now) -> None:
        self._engine = engine
        self._cipher = RowCipher(master, _HEAD.name)
        self._clock = clock
        self._lock = threading.Lock()
        self._seq, self._hash = self._check_head()

    def append(self, event: AuditEvent) -> AuditEntry:
        """Record ``event``; on disk when this returns.

        Raises:
            UnavailableError: it could not be written, so what it records must not happen.
        """
        record = {**asdict(event), "at": self._clock().isoformat()}
        record = {name: value for name, value in record.items() if value}
        text = canonical_json(record).decode()
        with self._lock:
            entry = AuditEntry(self._seq + 1, text, _chain(self._hash, text))
            try:
                with self._engine.begin() as db:
                    db.execute(insert(_AUDIT).values(seq=entry.seq, record=entry.record, hash=entry.hash))
                    self._store_head(db, entry)
            except SQLAlchemyError as error:
                reason = str(getattr(error, "orig", "")) or type(error).__name__
                raise UnavailableError(
                    f"the audit log cannot be written: {reason}", code="cas.audit.unwritable"
                ) from error
            self._seq, self._hash = entry.seq, entry.hash
        return entry

    def verify(self) -> AuditEntry | None:
        """Check every entry and the kept head; returns the last entry.

        Raises:
            AuditBrokenError: naming the first entry that is not the one written.
        """
        last = verify_chain(read_entries(self._engine))
        seq, digest = self._check_head()
        if last is not None and (last.seq, last.hash) != (seq, digest):
            raise AuditBrokenError(f"entry {last.seq} is not the last one that was written")
        return last

    def _check_head(self) -> tuple[int, str]:
        with self._engine.connect() as db:
            row = db.execute(select(_HEAD).where(_HEAD.c.id == _LAST)).one_or_none()
            last = db.execute(select(_AUDIT).order_by(_AUDIT.c.seq.desc()).limit(1)).one_or_none()
        stored = (0, GENESIS) if last is None else (last.seq, last.hash)
        kept = (0, GENESIS) if row is None else (row.version, self._cipher.open(_LAST, row.version, row.body).decode())
        if stored[0] != kept[0] or not hmac.compare_digest(stored[1], kept[1]):
            raise AuditBrokenError(
                f"the audit log ends with entry {stored[0]}, but entry {kept[0]} was the last written"
            )
        return stored

    def _store_head(self, db: Connection, entry: AuditEntry) -> None:
        values = {"version": entry.seq, "body": self._cipher.seal(_LAST, entry.seq, entry.hash.encode())}
        if db.execute(update(_HEAD).where(_HEAD.c.id == _LAST).values(values)).rowcount == 0:
            db.execute(insert(_HEAD).values(id=_LAST, **values))


def read_entries(engine: Engine) -> Iterator[AuditEntry]:
    """All entries in order, a page at a time."""
    after = 0
    while True:
        query = select(_AUDIT).where(_AUDIT.c.seq > after).order_by(_AUDIT.c.seq).limit(_PAGE)
        with engine.connect() as db:
            rows = db.execute(query).all()
        if not rows:
            return
        for row in rows:
            yield AuditEntry(row.seq, row.record, row.hash)
        after = rows[-1].seq


def verify_chain(entries: Iterable[AuditEntry]) -> AuditEntry | None:
    """Check that ``entries`` are the whole chain from its beginning; returns the last.

    Raises:
        AuditBrokenError: an entry is missing, altered, or out of place.
    """
    previous, last = GENESIS, None
    for expected, entry in enumerate(entries, start=1):
        if entry.seq != expected:
            raise AuditBrokenError(f"entry {expected} is missing: the next one is {entry.seq}")
        if not hmac.compare_digest(_chain(previous, entry.record), entry.hash):
            raise AuditBrokenError(f"entry {entry.seq} is not the one that was written")
        previous, last = entry.hash, entry
    return last


def _chain(previous: str, record: str) -> str:
    return hashlib.sha256(bind(_DOMAIN, bytes.fromhex(previous), record.encode())).hexdigest()
