"""Tasks and replicates as the scheduler's rules see them, over the two journals."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from typing import Any, Final

from sqlalchemy import Engine

from adyton.base.clock import Clock
from adyton.base.journal import Entry, Journal
from adyton.base.types import Address, Bytes32
from adyton.workerpool import replicate as replicates
from adyton.workerpool import task as tasks
from adyton.workerpool.causes import Cause
from adyton.workerpool.description import DealDescription
from adyton.workerpool.replicate import ReplicateStatus, gives_up, last_relevant
from adyton.workerpool.scheduler.capability import Demand
from adyton.workerpool.scheduler.repo import SchedulerRepo
from adyton.workerpool.task import TaskStatus

WORKER: Final = "WORKER"
POOL_MANAGER: Final = "POOL_MANAGER"


@dataclass(frozen=True, slots=True)
class TaskState:
    """One task in the journal; members that the chain decides are copies for showing and filtering only."""

    entry: Entry

    @property
    def id(self) -> Bytes32:
        """The task's id."""
        return Bytes32(self.entry.id)

    @property
    def status(self) -> TaskStatus:
        """Where it is."""
        return TaskStatus(self.entry.status)

    @property
    def data(self) -> Mapping[str, Any]:
        """Everything that is kept, under the official names."""
        return self.entry.data

    @property
    def trust(self) -> int:
        """The deal's trust."""
        return int(self.data["trust"])

    @property
    def framework(self) -> str | None:
        """TEE framework, or None."""
        found = self.data["teeFramework"]
        return None if found is None else str(found)

    @property
    def demand(self) -> Demand:
        """What it asks of a worker."""
        return Demand(Bytes32(self.data["tag"]), int(self.data.get("category", 0)), int(self.data.get("memory", 0)))

    @property
    def finalizes(self) -> bool:
        """Whether its worker contributes and finalizes in one transaction."""
        return self.framework is not None and self.trust <= 1

    @property
    def period(self) -> timedelta:
        """The category's time."""
        return timedelta(milliseconds=self.data["maxExecutionTime"])

    @property
    def contribution_deadline(self) -> datetime:
        """When contributions end."""
        return _moment(self.data["contributionDeadline"])

    @property
    def final_deadline(self) -> datetime:
        """When the task can only be claimed."""
        return _moment(self.data["finalDeadline"])


Step = Callable[[TaskState], TaskState | None]  # moves a task, or waits


@dataclass(frozen=True, slots=True)
class Report:
    """One status of a replicate's history."""

    status: ReplicateStatus
    at: datetime
    detail: Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class Replicate:
    """One worker's run of a task, with its history."""

    task_id: Bytes32
    wallet: Address
    entry: Entry
    history: tuple[Report, ...]

    @property
    def status(self) -> ReplicateStatus:
        """Where it is."""
        return ReplicateStatus(self.entry.status)

    @property
    def relevant(self) -> ReplicateStatus:
        """The last status other than WORKER_LOST and RECOVERING."""
        return last_relevant(report.status for report in self.history)

    @property
    def gave_up(self) -> bool:
        """Whether no contribution is to be expected of it any more, as far as it said."""
        last = next(report for report in reversed(self.history) if report.status is self.relevant)
        cause = last.detail.get("cause")
        return gives_up(self.relevant, None if cause is None else Cause(cause))

    @property
    def weight(self) -> int:
        """Weight of the worker."""
        return int(self.entry.data["workerWeight"])

    @property
    def contribution(self) -> Bytes32 | None:
        """The contributed result hash that counts on the chain; None when there is none, or it was rejected."""
        found = self.entry.data.get("contributionHash")
        return None if not found or self.is_rejected else Bytes32(found)

    @property
    def is_rejected(self) -> bool:
        """Whether the chain rejected the contribution when the task was reopened."""
        return bool(self.entry.data.get("rejected"))

    def has(self, *statuses: ReplicateStatus) -> bool:
        """Whether it ever was in one of ``statuses``."""
        return any(report.status in statuses for report in self.history)


class PoolState:
    """The journals of tasks and replicates.

    Args:
        engine: database.
        repo: the tables beside the journals.
        clock: current time.
    """

    def __init__(self, engine: Engine, repo: SchedulerRepo, clock: Clock) -> None:
        self._repo = repo
        self._clock = clock
        self._tasks = Journal(engine, "task", {k.value: v for k, v in tasks.TRANSITIONS.items()}, clock)
        self._replicates = Journal(engine, "replicate", {k.value: v for k, v in replicates.TRANSITIONS.items()}, clock)

    # -- tasks --------------------------------------------------------------------------------------------------

    def open_task(self, deal: DealDescription, index: int, block: int) -> bool:
        """Put one task of a deal into the journal as RECEIVED; False when it is there.

        A task that is there gets the deal's dates, which change when a reorganisation moves the deal to another block.
        """
        dates = {
            "dealBlockNumber": block,
            "contributionDeadline": deal.contribution_deadline.isoformat(),
            "finalDeadline": deal.final_deadline.isoformat(),
        }
        data = dates | {
            "chainDealId": deal.deal_id,
            "taskIndex": index,
            "maxExecutionTime": int(deal.period.total_seconds() * 1000),
            "tag": deal.deal.tag,
            "category": deal.deal.category,
            "memory": deal.memory,
            "dappType": "DOCKER",
            "dappName": deal.image,
            "commandLine": deal.params.args,
            "trust": deal.deal.trust,
            "requester": deal.deal.requester,
            "teeFramework": deal.framework,
            "callback": deal.deal.callback if deal.is_callback else None,
            "storageProvider": deal.params.result_storage_provider,
            "storageProxy": deal.params.result_storage_proxy,
        }
        if self._tasks.create(deal.task_id(index), TaskStatus.RECEIVED, data):
            return True
        known = self.task(deal.task_id(index))
        if known is not None and known.status not in tasks.FINAL and {**known.data, **dates} != known.data:
            self.annotate(known, dates)
        return False

    def task(self, task_id: str) -> TaskState | None:
        """One task."""
        entry = self._tasks.get(task_id)
        return None if entry is None else TaskState(entry)

    def tasks_in(self, statuses: Sequence[TaskStatus]) -> list[TaskState]:
        """Every task in one of ``statuses``."""
        return [TaskState(entry) for entry in self._tasks.in_status([status.value for status in statuses])]

    def task_counts(self) -> dict[TaskStatus, int]:
        """How many tasks are in which status."""
        return {TaskStatus(status): count for status, count in self._tasks.counts().items()}

    def advance(
        self,
        task: TaskState,
        target: TaskStatus,
        changes: Mapping[str, Any] | None = None,
        **detail: Any,  # noqa: ANN401
    ) -> TaskState | None:
        """Move a task; None when another thread was first."""
        entry = self._tasks.advance(task.entry, target, detail, changes)
        return None if entry is None else TaskState(entry)

    def annotate(self, task: TaskState, changes: Mapping[str, Any]) -> TaskState | None:
        """Keep more about a task without moving it."""
        entry = self._tasks.annotate(task.entry, changes)
        return None if entry is None else TaskState(entry)

    def task_history(self, task_id: str) -> list[dict[str, Any]]:
        """``dateStatusList`` of a task."""
        found = []
        for event in self._tasks.history(task_id):
            item: dict[str, Any] = {"date": event.at.isoformat(), "status": event.target}
            if event.detail.get("chainReceipt"):
                item["chainReceipt"] = event.detail["chainReceipt"]
            found.append(item)
        return found

    # -- replicates ---------------------------------------------------------------------------------------------

    def create_replicate(self, task_id: Bytes32, wallet: Address, weight: int) -> bool:
        """Give a task to a worker; False when it has a replicate already."""
        self._repo.link_replicate(task_id, wallet)  # first, so that a journaled replicate is always found
        return self._replicates.create(_key(task_id, wallet), ReplicateStatus.CREATED, {"workerWeight": weight})

    def replicate(self, task_id: Bytes32, wallet: Address) -> Replicate | None:
        """One worker's replicate of a task."""
        key = _key(task_id, wallet)
        entry = self._replicates.get(key)
        if entry is None:
            return None
        history = tuple(Report(ReplicateStatus(e.target), e.at, e.detail) for e in self._replicates.history(key))
        return Replicate(task_id, wallet, entry, history)

    def replicates_of(self, task_id: Bytes32) -> list[Replicate]:
        """All replicates of a task."""
        found = (self.replicate(task_id, wallet) for wallet in self._repo.replicate_wallets(task_id))
        return [each for each in found if each is not None]

    def open_replicates(self, wallet: Address) -> list[Replicate]:
        """The replicates of a worker in tasks that have not ended."""
        found = (self.replicate(task_id, wallet) for task_id in self._repo.open_tasks_of(wallet))
        return [each for each in found if each is not None]

    def move(
        self,
        replicate: Replicate,
        target: ReplicateStatus,
        *,
        modifier: str = POOL_MANAGER,
        cause: Cause | None = None,
        changes: Mapping[str, Any] | None = None,
    ) -> Replicate | None:
        """Move a replicate; None when another thread was first.

        Raises:
            TransitionError: the machine has no such move.
        """
        detail: dict[str, Any] = {"modifier": modifier}
        if cause is not None:
            detail["cause"] = cause.value
        if self._replicates.advance(replicate.entry, target, detail, changes) is None:
            return None
        return self.replicate(replicate.task_id, replicate.wallet)

    def annotate_replicate(self, replicate: Replicate, changes: Mapping[str, Any]) -> Replicate | None:
        """Keep more about a replicate without moving it; None when another thread was first."""
        entry = self._replicates.annotate(replicate.entry, changes)
        return None if entry is None else replace(replicate, entry=entry)


def _key(task_id: Bytes32, wallet: Address) -> str:
    return f"{task_id}:{wallet}"


def _moment(text: str) -> datetime:
    return datetime.fromisoformat(text).astimezone(UTC)
