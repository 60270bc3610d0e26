"""What the scheduler stores beside its two journals: deals seen, replicates of tasks, workers, notifications, logs."""

from __future__ import annotations

import json
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
    UniqueConstraint,
    delete,
    func,
    insert,
    select,
    update,
)
from sqlalchemy.exc import IntegrityError

from adyton.base.types import Address, Bytes32, parse_address, parse_bytes32

_META = MetaData()

_CURSOR = Table("scheduler_cursor", _META, Column("name", String(32), primary_key=True), Column("value", Integer))
_DEAL = Table(
    "scheduler_deal",
    _META,
    Column("id", String(66), primary_key=True),
    Column("block", Integer, nullable=False),
    Column("status", String(16), nullable=False, index=True),
    Column("reason", Text, nullable=False),
)
_REPLICATE = Table(
    "scheduler_replicate",
    _META,
    Column("task_id", String(66), primary_key=True),
    Column("wallet", String(42), primary_key=True, index=True),
    Column("open", Integer, nullable=False),
)
_WORKER = Table(
    "scheduler_worker",
    _META,
    Column("wallet", String(42), primary_key=True),
    Column("body", Text, nullable=False),
    Column("last_alive", String(40), nullable=False),
)
_NOTIFICATION = Table(
    "scheduler_notification",
    _META,
    Column("sequence", Integer, primary_key=True, autoincrement=True),
    Column("wallet", String(42), nullable=False),
    Column("task_id", String(66), nullable=False),
    Column("kind", String(40), nullable=False),
    Column("body", Text, nullable=False),
    UniqueConstraint("wallet", "task_id", "kind"),
    Index("ix_scheduler_notification_wallet", "wallet", "sequence"),
    sqlite_autoincrement=True,  # a sequence number is never used twice, or a worker would skip the second
)
_LOG = Table(
    "scheduler_log",
    _META,
    Column("task_id", String(66), primary_key=True),
    Column("wallet", String(42), primary_key=True),
    Column("stdout", Text, nullable=False),
    Column("stderr", Text, nullable=False),
    Column("expires", String(40), nullable=False),
)

PENDING = "PENDING"  # seen, not readable yet
ACCEPTED = "ACCEPTED"  # its tasks are in the journal
REJECTED = "REJECTED"  # never to be run; reason says why


@dataclass(frozen=True, slots=True)
class WorkerRecord:
    """A registered worker: what it said of itself, and when it last spoke."""

    wallet: Address
    body: dict[str, Any]
    last_alive: datetime

    @property
    def max_tasks(self) -> int:
        """How many tasks it takes at a time: one with a GPU, else one for each CPU."""
        return 1 if self.body.get("gpuEnabled") else int(self.body.get("cpuNb", 1))


class SchedulerRepo:
    """The scheduler's tables.

    Args:
        engine: database; tables are made when missing.
    """

    def __init__(self, engine: Engine) -> None:
        self._engine = engine
        _META.create_all(engine)

    # -- deals --------------------------------------------------------------------------------------------------

    def cursor(self) -> int | None:
        """The last block whose notices are all recorded."""
        with self._engine.connect() as db:
            value = db.execute(select(_CURSOR.c.value).where(_CURSOR.c.name == "blocks")).scalar_one_or_none()
        return None if value is None else int(value)

    def record_notices(self, deals: list[tuple[Bytes32, int]], block: int) -> None:
        """Record the deals seen up to ``block`` and move the cursor there, in one transaction; repeats are harmless."""
        with self._engine.begin() as db:
            for deal_id, at in deals:
                if db.execute(select(_DEAL.c.id).where(_DEAL.c.id == deal_id)).one_or_none() is None:
                    db.execute(insert(_DEAL).values(id=deal_id, block=at, status=PENDING, reason=""))
            moved = db.execute(update(_CURSOR).where(_CURSOR.c.name == "blocks").values(value=block))
            if moved.rowcount == 0:
                db.execute(insert(_CURSOR).values(name="blocks", value=block))

    def pending_deals(self) -> list[tuple[Bytes32, int]]:
        """Deals whose tasks are not made yet, with their blocks, oldest first."""
        with self._engine.connect() as db:
            rows = db.execute(select(_DEAL).where(_DEAL.c.status == PENDING).order_by(_DEAL.c.block)).all()
        return [(parse_bytes32(row.id), row.block) for row in rows]

    def settle_deal(self, deal_id: Bytes32, status: str, reason: str = "") -> None:
        """Close a pending deal."""
        with self._engine.begin() as db:
            db.execute(update(_DEAL).where(_DEAL.c.id == deal_id).values(status=status, reason=reason))

    def deal_counts(self) -> tuple[int, int, int]:
        """Deals seen, deals accepted, block of the newest deal."""
        with self._engine.connect() as db:
            seen, newest = db.execute(select(func.count(), func.max(_DEAL.c.block))).one()
            accepted = db.execute(select(func.count()).where(_DEAL.c.status == ACCEPTED)).scalar_one()
        return int(seen), int(accepted), int(newest or 0)

    # -- replicates ---------------------------------------------------------------------------------------------

    def link_replicate(self, task_id: Bytes32, wallet: Address) -> None:
        """Remember that ``wallet`` has a replicate of the task."""
        try:
            with self._engine.begin() as db:
                db.execute(insert(_REPLICATE).values(task_id=task_id, wallet=wallet, open=1))
        except IntegrityError:
            return

    def replicate_wallets(self, task_id: Bytes32) -> list[Address]:
        """Workers that have a replicate of the task."""
        with self._engine.connect() as db:
            rows = db.execute(select(_REPLICATE.c.wallet).where(_REPLICATE.c.task_id == task_id)).all()
        return [parse_address(row.wallet) for row in rows]

    def open_tasks_of(self, wallet: Address) -> list[Bytes32]:
        """Tasks that have not ended and in which ``wallet`` takes part."""
        query = select(_REPLICATE.c.task_id).where(_REPLICATE.c.wallet == wallet, _REPLICATE.c.open == 1)
        with self._engine.connect() as db:
            return [parse_bytes32(row.task_id) for row in db.execute(query).all()]

    def close_task(self, task_id: Bytes32) -> None:
        """The task has ended: nobody takes part any more."""
        with self._engine.begin() as db:
            db.execute(update(_REPLICATE).where(_REPLICATE.c.task_id == task_id).values(open=0))

    # -- workers ------------------------------------------------------------------------------------------------

    def save_worker(self, wallet: Address, body: dict[str, Any], now: datetime) -> None:
        """Store what a worker said of itself."""
        values = {"body": json.dumps(body), "last_alive": now.isoformat()}
        with self._engine.begin() as db:
            if db.execute(update(_WORKER).where(_WORKER.c.wallet == wallet).values(**values)).rowcount == 0:
                db.execute(insert(_WORKER).values(wallet=wallet, **values))

    def touch_worker(self, wallet: Address, now: datetime) -> bool:
        """The worker is alive; False when it never registered."""
        with self._engine.begin() as db:
            touched = db.execute(update(_WORKER).where(_WORKER.c.wallet == wallet).values(last_alive=now.isoformat()))
        return touched.rowcount == 1

    def workers(self) -> list[WorkerRecord]:
        """All workers that ever registered."""
        with self._engine.connect() as db:
            return [_worker(row) for row in db.execute(select(_WORKER)).all()]

    def worker(self, wallet: Address) -> WorkerRecord | None:
        """One worker."""
        with self._engine.connect() as db:
            row = db.execute(select(_WORKER).where(_WORKER.c.wallet == wallet)).one_or_none()
        return None if row is None else _worker(row)

    # -- notifications ------------------------------------------------------------------------------------------

    def notify(self, wallet: Address, task_id: Bytes32, kind: str, body: dict[str, Any]) -> None:
        """Put a notification in a worker's box; one that waits there already is not doubled."""
        values = {"wallet": wallet, "task_id": task_id, "kind": kind, "body": json.dumps(body)}
        try:
            with self._engine.begin() as db:
                db.execute(insert(_NOTIFICATION).values(**values))
        except IntegrityError:
            return

    def acknowledge(self, wallet: Address, sequence: int) -> None:
        """The worker has everything up to ``sequence``."""
        with self._engine.begin() as db:
            db.execute(
                delete(_NOTIFICATION).where(_NOTIFICATION.c.wallet == wallet, _NOTIFICATION.c.sequence <= sequence)
            )

    def notifications(self, wallet: Address) -> list[dict[str, Any]]:
        """What waits for a worker, oldest first."""
        query = select(_NOTIFICATION).where(_NOTIFICATION.c.wallet == wallet).order_by(_NOTIFICATION.c.sequence)
        with self._engine.connect() as db:
            rows = db.execute(query.limit(100)).all()
        return [{**json.loads(row.body), "sequence": row.sequence} for row in rows]

    # -- logs ---------------------------------------------------------------------------------------------------

    def save_log(self, task_id: Bytes32, wallet: Address, stdout: str, stderr: str, expires: datetime) -> None:
        """Keep an application's output; the first report of a worker stays."""
        values = {"stdout": stdout, "stderr": stderr, "expires": expires.isoformat()}
        try:
            with self._engine.begin() as db:
                db.execute(insert(_LOG).values(task_id=task_id, wallet=wallet, **values))
        except IntegrityError:
            return

    def logs(self, task_id: Bytes32) -> list[dict[str, str]]:
        """The logs of a task, under their official names."""
        with self._engine.connect() as db:
            rows = db.execute(select(_LOG).where(_LOG.c.task_id == task_id).order_by(_LOG.c.wallet)).all()
        return [{"walletAddress": row.wallet, "stdout": row.stdout, "stderr": row.stderr} for row in rows]

    def purge_logs(self, now: datetime) -> int:
        """Forget logs whose time is over; how many."""
        with self._engine.begin() as db:
            return int(db.execute(delete(_LOG).where(_LOG.c.expires <= now.isoformat())).rowcount)


def _worker(row: Any) -> WorkerRecord:  # noqa: ANN401  # SQLAlchemy's row
    return WorkerRecord(parse_address(row.wallet), json.loads(row.body), datetime.fromisoformat(row.last_alive))
