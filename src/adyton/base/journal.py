"""Durable state machines: a status row with compare-and-set, and an event row for every transition.

One ``advance`` is one transaction: the row moves from the status the caller saw to the next, and the event that moved
it is recorded. Two processes that try the same move cannot both succeed; a crash leaves the row where it was. Side
effects are keyed by ``(id, seq)`` by the caller so that repeating one is harmless; truth that lives on the chain is
re-derived from there, never from here.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from sqlalchemy import (
    Column,
    Engine,
    Index,
    Integer,
    MetaData,
    String,
    Table,
    Text,
    func,
    insert,
    select,
    update,
)
from sqlalchemy.exc import IntegrityError

from adyton.base.clock import Clock, utc_now
from adyton.base.errors import AdytonError


class TransitionError(AdytonError):
    """The move is not in the machine's table: a programming fault, or a peer that asks for nonsense."""

    code = "journal.transition"


@dataclass(frozen=True, slots=True)
class Entry:
    """One journaled object: where it is and what it carries."""

    id: str
    status: str
    seq: int
    data: Mapping[str, Any]
    updated_at: datetime


@dataclass(frozen=True, slots=True)
class Event:
    """One transition that happened."""

    seq: int
    source: str
    target: str
    detail: Mapping[str, Any]
    at: datetime


class Journal:
    """All objects of one kind (tasks, replicates, …) and their histories.

    Args:
        engine: database.
        kind: table prefix, for example ``task``.
        transitions: status to the statuses it may move to.
        clock: source of timestamps.
    """

    def __init__(
        self, engine: Engine, kind: str, transitions: Mapping[str, Iterable[str]], clock: Clock = utc_now
    ) -> None:
        self._engine = engine
        self._clock = clock
        self._transitions = {status: frozenset(targets) for status, targets in transitions.items()}
        metadata = MetaData()
        self._rows = Table(
            f"{kind}_state",
            metadata,
            Column("id", String(128), primary_key=True),
            Column("status", String(64), nullable=False),
            Column("seq", Integer, nullable=False),
            Column("data", Text, nullable=False),
            Column("updated_at", String(40), nullable=False),
            Index(f"ix_{kind}_status", "status"),
        )
        self._events = Table(
            f"{kind}_event",
            metadata,
            Column("id", String(128), primary_key=True),
            Column("seq", Integer, primary_key=True),
            Column("source", String(64), nullable=False),
            Column("target", String(64), nullable=False),
            Column("detail", Text, nullable=False),
            Column("at", String(40), nullable=False),
        )
        metadata.create_all(engine)

    def create(self, entry_id: str, status: str, data: Mapping[str, Any]) -> bool:
        """Insert a new object; False when it exists already (a repeat is harmless)."""
        now = self._clock().isoformat()
        try:
            with self._engine.begin() as db:
                db.execute(
                    insert(self._rows).values(
                        id=entry_id, status=status, seq=0, data=json.dumps(dict(data)), updated_at=now
                    )
                )
                db.execute(
                    insert(self._events).values(id=entry_id, seq=0, source="", target=status, detail="{}", at=now)
                )
        except IntegrityError:
            return False
        return True

    def advance(
        self,
        entry: Entry,
        target: str,
        detail: Mapping[str, Any] | None = None,
        changes: Mapping[str, Any] | None = None,
    ) -> Entry | None:
        """Move ``entry`` to ``target`` if nobody moved it since it was read.

        Args:
            entry: as read; its ``seq`` is the compare of the compare-and-set.
            target: next status.
            detail: what happened, kept in the event row.
            changes: members of ``data`` to set in the same transaction.

        Returns:
            The entry as it is now, or None when another process was first.

        Raises:
            TransitionError: the machine has no such move.
        """
        if target not in self._transitions.get(entry.status, frozenset()):
            raise TransitionError(f"{entry.id}: no move from {entry.status} to {target}")
        now = self._clock()
        data = {**entry.data, **(changes or {})}
        with self._engine.begin() as db:
            moved = db.execute(
                update(self._rows)
                .where(self._rows.c.id == entry.id, self._rows.c.seq == entry.seq)
                .values(status=target, seq=entry.seq + 1, data=json.dumps(data), updated_at=now.isoformat())
            )
            if moved.rowcount != 1:
                return None
            db.execute(
                insert(self._events).values(
                    id=entry.id,
                    seq=entry.seq + 1,
                    source=entry.status,
                    target=target,
                    detail=json.dumps(dict(detail or {})),
                    at=now.isoformat(),
                )
            )
        return Entry(entry.id, target, entry.seq + 1, data, now)

    def annotate(self, entry: Entry, changes: Mapping[str, Any]) -> Entry | None:
        """Change ``data`` without a transition, with the same compare-and-set; None when another was first."""
        data = {**entry.data, **changes}
        now = self._clock()
        with self._engine.begin() as db:
            moved = db.execute(
                update(self._rows)
                .where(self._rows.c.id == entry.id, self._rows.c.seq == entry.seq, self._rows.c.status == entry.status)
                .values(data=json.dumps(data), updated_at=now.isoformat())
            )
        return Entry(entry.id, entry.status, entry.seq, data, now) if moved.rowcount == 1 else None

    def get(self, entry_id: str) -> Entry | None:
        """The object, or None."""
        with self._engine.connect() as db:
            row = db.execute(select(self._rows).where(self._rows.c.id == entry_id)).one_or_none()
        return None if row is None else _entry(row)

    def in_status(self, statuses: Sequence[str]) -> list[Entry]:
        """Every object whose status is one of ``statuses``, oldest change first."""
        with self._engine.connect() as db:
            rows = db.execute(
                select(self._rows).where(self._rows.c.status.in_(statuses)).order_by(self._rows.c.updated_at)
            ).all()
        return [_entry(row) for row in rows]

    def counts(self) -> dict[str, int]:
        """How many objects are in which status."""
        with self._engine.connect() as db:
            rows = db.execute(select(self._rows.c.status, func.count()).group_by(self._rows.c.status)).all()
        return {row[0]: int(row[1]) for row in rows}

    def history(self, entry_id: str) -> list[Event]:
        """All transitions of an object, oldest first."""
        with self._engine.connect() as db:
            rows = db.execute(
                select(self._events).where(self._events.c.id == entry_id).order_by(self._events.c.seq)
            ).all()
        return [Event(r.seq, r.source, r.target, json.loads(r.detail), datetime.fromisoformat(r.at)) for r in rows]


def _entry(row: Any) -> Entry:  # noqa: ANN401  # SQLAlchemy's row
    return Entry(row.id, row.status, row.seq, json.loads(row.data), datetime.fromisoformat(row.updated_at))
