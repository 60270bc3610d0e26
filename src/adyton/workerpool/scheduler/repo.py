"""What the scheduler stores beside its journals: replicates of tasks, claims, workers, notifications, logs."""

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
    insert,
    select,
    update,
)
from sqlalchemy.exc import IntegrityError

from adyton.base.db import insert_if_absent
from adyton.base.types import Address, Bytes32, parse_address, parse_bytes32

_META = MetaData()

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

_CLAIM = Table(
    "scheduler_claim",
    _META,
    Column("task_id", String(66), primary_key=True),
    Column("deal_id", String(66), nullable=False),
    Column("task_index", Integer, nullable=False),
    Column("due", String(40), nullable=False, index=True),
    Column("tries", Integer, nullable=False),
)


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


@dataclass(frozen=True, slots=True)
class Claim:
    """A failed task whose money is still locked."""

    task_id: Bytes32
    deal_id: Bytes32
    index: int


class SchedulerRepo:
    """The scheduler's tables.

    Args:
        engine: database; tables are made when missing.
    """

    def __init__(self, engine: Engine) -> None:
        self._engine = engine
        _META.create_all(engine)

    # -- replicates ---------------------------------------------------------------------------------------------

    def link_replicate(self, task_id: Bytes32, wallet: Address) -> None:
        """Remember that ``wallet`` has a replicate of the task."""
        with self._engine.begin() as db:
            insert_if_absent(db, _REPLICATE, {"task_id": task_id, "wallet": wallet, "open": 1})

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

    # -- claims -------------------------------------------------------------------------------------------------

    def add_claim(self, task_id: Bytes32, deal_id: str, index: int, due: datetime) -> None:
        """A failed task is to be claimed at ``due``; a repeat is harmless."""
        values = {"task_id": task_id, "deal_id": deal_id, "task_index": index, "due": due.isoformat(), "tries": 0}
        with self._engine.begin() as db:
            insert_if_absent(db, _CLAIM, values)

    def due_claims(self, now: datetime, limit: int) -> list[Claim]:
        """Claims whose time has passed, oldest first."""
        query = select(_CLAIM).where(_CLAIM.c.due < now.isoformat()).order_by(_CLAIM.c.due).limit(limit)
        with self._engine.connect() as db:
            rows = db.execute(query).all()
        return [Claim(parse_bytes32(row.task_id), parse_bytes32(row.deal_id), row.task_index) for row in rows]

    def count_claim(self, task_id: Bytes32) -> int:
        """A claim was refused; how often by now."""
        mine = _CLAIM.c.task_id == task_id
        with self._engine.begin() as db:
            db.execute(update(_CLAIM).where(mine).values(tries=_CLAIM.c.tries + 1))
            return int(db.execute(select(_CLAIM.c.tries).where(mine)).scalar_one_or_none() or 0)

    def close_claim(self, task_id: Bytes32) -> None:
        """Nothing is left to claim."""
        with self._engine.begin() as db:
            db.execute(delete(_CLAIM).where(_CLAIM.c.task_id == task_id))

    # -- workers ------------------------------------------------------------------------------------------------

    def save_worker(self, wallet: Address, body: dict[str, Any], now: datetime) -> None:
        """Store what a worker said of itself."""
        values = {"body": json.dumps(body), "last_alive": now.isoformat()}
        with self._engine.begin() as db:
            if not insert_if_absent(db, _WORKER, {"wallet": wallet, **values}):
                db.execute(update(_WORKER).where(_WORKER.c.wallet == wallet).values(**values))

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

    def withdraw(self, task_id: Bytes32) -> None:
        """Take back whatever the task's workers were told and have not fetched."""
        with self._engine.begin() as db:
            db.execute(delete(_NOTIFICATION).where(_NOTIFICATION.c.task_id == task_id))

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
        with self._engine.begin() as db:
            insert_if_absent(db, _LOG, {"task_id": task_id, "wallet": wallet, **values})

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
