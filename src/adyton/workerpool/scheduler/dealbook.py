"""Which deals the scheduler has seen, and how far it has read the chain: the part of its memory that follows blocks.

The position is a list of checkpoints, blocks by number and hash up to which everything is recorded. When the node's
chain has another block in a checkpoint's place, the chain was reorganised: the position goes back to the newest
checkpoint that still stands, and deals of later blocks wait as ORPHANED until they are seen again.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta
from enum import StrEnum
from typing import Final

from sqlalchemy import Column, Connection, Engine, Integer, MetaData, String, Table, Text, delete, func, select, update

from adyton.base.db import insert_if_absent, lock_for_writing
from adyton.base.types import Bytes32, parse_bytes32

KEPT_CHECKPOINTS: Final = 256
MAX_TRIES: Final = 12  # with growing pauses about half an hour
MAX_PAUSE: Final = timedelta(minutes=5)

_META = MetaData()
_BLOCK = Table(
    "scheduler_checkpoint",
    _META,
    Column("number", Integer, primary_key=True),
    Column("hash", String(66), nullable=False),
)
_DEAL = Table(
    "scheduler_notice",
    _META,
    Column("id", String(66), primary_key=True),
    Column("block", Integer, nullable=False),
    Column("status", String(16), nullable=False, index=True),
    Column("reason", Text, nullable=False),
    Column("tries", Integer, nullable=False),
    Column("opened", Integer, nullable=False),
    Column("due", String(40), nullable=False),
)


class DealStatus(StrEnum):
    """What became of a deal."""

    PENDING = "PENDING"  # seen, its tasks are not all made yet
    ACCEPTED = "ACCEPTED"  # its tasks are in the journal
    REJECTED = "REJECTED"  # never to be run; the reason says why
    PARKED = "PARKED"  # could not be read for so long that it is not tried again before the next start
    ORPHANED = "ORPHANED"  # its block is no longer part of the chain


@dataclass(frozen=True, slots=True)
class Checkpoint:
    """A block up to which every notice is recorded."""

    number: int
    hash: Bytes32


@dataclass(frozen=True, slots=True)
class PendingDeal:
    """A deal whose tasks are to be made.

    Attributes:
        deal_id: the deal.
        block: where it was seen.
        opened: how many of its tasks are made.
    """

    deal_id: Bytes32
    block: int
    opened: int


class DealBook:
    """Deals and position.

    Args:
        engine: database; tables are made when missing.
    """

    def __init__(self, engine: Engine) -> None:
        self._engine = engine
        _META.create_all(engine)

    # -- position -----------------------------------------------------------------------------------------------

    def checkpoints(self) -> list[Checkpoint]:
        """Newest first; empty before the first look."""
        with self._engine.connect() as db:
            rows = db.execute(select(_BLOCK).order_by(_BLOCK.c.number.desc())).all()
        return [Checkpoint(row.number, parse_bytes32(row.hash)) for row in rows]

    def position(self) -> int | None:
        """The newest block whose notices are recorded."""
        with self._engine.connect() as db:
            return _position(db)

    def record(self, since: int | None, deals: list[tuple[Bytes32, int]], reached: Checkpoint, now: datetime) -> bool:
        """Record the deals of the blocks after ``since``, and the new position, in one transaction.

        Args:
            since: the position that the blocks were read from.
            deals: deals with their blocks; repeats are harmless.
            reached: the last block that was read.
            now: current time.

        Returns:
            False when the position is no longer ``since``: another replica was first, and nothing was recorded.
        """
        with self._engine.begin() as db:
            lock_for_writing(db)
            if _position(db) != since:
                return False
            for deal_id, block in deals:
                _see(db, deal_id, block, now)
            insert_if_absent(db, _BLOCK, {"number": reached.number, "hash": reached.hash})
            kept = select(_BLOCK.c.number).order_by(_BLOCK.c.number.desc()).limit(KEPT_CHECKPOINTS)
            oldest = db.execute(select(func.min(kept.subquery().c.number))).scalar_one()
            db.execute(delete(_BLOCK).where(_BLOCK.c.number < oldest))
        return True

    def rewind(self, standing: Checkpoint | None) -> list[Bytes32]:
        """Go back to the newest checkpoint that still stands (None: to the beginning); the deals that are gone."""
        number = -1 if standing is None else standing.number
        with self._engine.begin() as db:
            lock_for_writing(db)
            db.execute(delete(_BLOCK).where(_BLOCK.c.number > number))
            gone = db.execute(
                select(_DEAL.c.id).where(_DEAL.c.block > number, _DEAL.c.status != DealStatus.ORPHANED)
            ).all()
            db.execute(update(_DEAL).where(_DEAL.c.block > number).values(status=DealStatus.ORPHANED))
        return [parse_bytes32(row.id) for row in gone]

    # -- deals --------------------------------------------------------------------------------------------------

    def pending(self, now: datetime) -> list[PendingDeal]:
        """Deals that are due, oldest block first."""
        query = (
            select(_DEAL)
            .where(_DEAL.c.status == DealStatus.PENDING, _DEAL.c.due <= now.isoformat())
            .order_by(_DEAL.c.block, _DEAL.c.id)
        )
        with self._engine.connect() as db:
            return [PendingDeal(parse_bytes32(r.id), r.block, r.opened) for r in db.execute(query).all()]

    def progress(self, deal_id: Bytes32, opened: int) -> None:
        """So many of the deal's tasks are made."""
        self._change(deal_id, opened=opened)

    def settle(self, deal_id: Bytes32, status: DealStatus, reason: str = "") -> None:
        """A pending deal is decided."""
        self._change(deal_id, status=status, reason=reason)

    def postpone(self, deal_id: Bytes32, reason: str, now: datetime, *, counts: bool = True) -> DealStatus:
        """A deal could not be read: try it again after a pause that grows, and park it in the end.

        Args:
            deal_id: the deal.
            reason: what failed.
            now: current time.
            counts: whether this brings the deal nearer to being parked; it does not when nothing could be read.
        """
        with self._engine.begin() as db:
            tries = db.execute(select(_DEAL.c.tries).where(_DEAL.c.id == deal_id)).scalar_one() + counts
            status = DealStatus.PARKED if tries >= MAX_TRIES else DealStatus.PENDING
            due = now + min(timedelta(seconds=0.5 * 2**tries), MAX_PAUSE)
            db.execute(
                update(_DEAL)
                .where(_DEAL.c.id == deal_id, _DEAL.c.status == DealStatus.PENDING)
                .values(status=status, reason=reason, tries=tries, due=due.isoformat())
            )
        return status

    def unpark(self, now: datetime) -> int:
        """Try parked deals again, as at a start; how many."""
        with self._engine.begin() as db:
            changed = db.execute(
                update(_DEAL)
                .where(_DEAL.c.status == DealStatus.PARKED)
                .values(status=DealStatus.PENDING, tries=0, due=now.isoformat())
            )
        return int(changed.rowcount)

    def status(self, deal_id: Bytes32) -> tuple[DealStatus, str] | None:
        """Where a deal is, and why."""
        with self._engine.connect() as db:
            row = db.execute(select(_DEAL.c.status, _DEAL.c.reason).where(_DEAL.c.id == deal_id)).one_or_none()
        return None if row is None else (DealStatus(row.status), row.reason)

    def counts(self) -> tuple[int, int, int]:
        """Deals seen, deals accepted, block of the newest deal."""
        with self._engine.connect() as db:
            seen, newest = db.execute(select(func.count(), func.max(_DEAL.c.block))).one()
            accepted = select(func.count()).where(_DEAL.c.status == DealStatus.ACCEPTED)
            return int(seen), int(db.execute(accepted).scalar_one()), int(newest or 0)

    def _change(self, deal_id: Bytes32, **values: str | int) -> None:
        # A deal that was orphaned meanwhile stays so: it is decided anew when it is seen again.
        with self._engine.begin() as db:
            db.execute(
                update(_DEAL).where(_DEAL.c.id == deal_id, _DEAL.c.status == DealStatus.PENDING).values(**values)
            )


def _position(db: Connection) -> int | None:
    found = db.execute(select(func.max(_BLOCK.c.number))).scalar_one_or_none()
    return None if found is None else int(found)


def _see(db: Connection, deal_id: Bytes32, block: int, now: datetime) -> None:
    fresh = {
        "block": block,
        "status": DealStatus.PENDING.value,
        "reason": "",
        "tries": 0,
        "opened": 0,
        "due": now.isoformat(),
    }
    if not insert_if_absent(db, _DEAL, {"id": deal_id, **fresh}):
        db.execute(update(_DEAL).where(_DEAL.c.id == deal_id, _DEAL.c.status == DealStatus.ORPHANED).values(**fresh))
