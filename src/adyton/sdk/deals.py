"""Deals and tasks as the chain has them, with what follows from the time: deadlines, progress, what can be claimed."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final

from adyton.base.clock import Clock, utc_now
from adyton.base.jsontext import parse_json
from adyton.base.types import Bytes32, to_hex
from adyton.chain.hashing import task_id
from adyton.chain.models import Deal, Task, TaskStatus
from adyton.sdk.errors import ObjectNotFoundError
from adyton.sdk.session import Session

POLL_S: Final = 5.0  # between looks at the chain while watching, as official clients do
TIMEOUT_NAME: Final = "TIMEOUT"
_OVER: Final = (TaskStatus.COMPLETED, TaskStatus.FAILED)


@dataclass(frozen=True, slots=True)
class DealView:
    """A deal and its end. ``final_time`` is in seconds of Unix time."""

    deal_id: Bytes32
    deal: Deal
    final_time: int
    deadline_reached: bool

    @property
    def task_ids(self) -> list[Bytes32]:
        """Its tasks, in order of their index."""
        return [task_id(self.deal_id, index) for index in self.deal.indexes]

    def to_json(self) -> dict[str, Any]:
        """The official form: numbers as text."""
        deal = self.deal
        parties = {
            name: {"pointer": party.pointer, "owner": party.owner, "price": str(party.price)}
            for name, party in (("app", deal.app), ("dataset", deal.dataset), ("workerpool", deal.workerpool))
        }
        return {
            "dealid": self.deal_id,
            **parties,
            "trust": str(deal.trust),
            "category": str(deal.category),
            "tag": deal.tag,
            "requester": deal.requester,
            "beneficiary": deal.beneficiary,
            "callback": deal.callback,
            "params": deal.params,
            "startTime": str(deal.start_time),
            "botFirst": str(deal.bot_first),
            "botSize": str(deal.bot_size),
            "workerStake": str(deal.worker_stake),
            "schedulerRewardRatio": str(deal.scheduler_reward_ratio),
            "sponsor": deal.sponsor,
            "finalTime": str(self.final_time),
            "deadlineReached": self.deadline_reached,
            "tasks": self.task_ids,
        }


@dataclass(frozen=True, slots=True)
class TaskView:
    """A task and what it means now.

    Attributes:
        task_id: its id.
        task: None while nobody has initialized it.
        deal_id: of the deal that it belongs to.
        idx: its index in the deal.
        timed_out: whether it can no longer complete.
    """

    task_id: Bytes32
    task: Task | None
    deal_id: Bytes32
    idx: int
    timed_out: bool

    @property
    def status(self) -> TaskStatus:
        """Where it is."""
        return self.task.status if self.task else TaskStatus.UNSET

    @property
    def status_name(self) -> str:
        """``TIMEOUT`` for a task that was still open when its time was over, else the status."""
        return TIMEOUT_NAME if self.timed_out and self.status < TaskStatus.COMPLETED else self.status.name

    @property
    def is_over(self) -> bool:
        """Whether nothing will happen to it any more, but a claim."""
        return self.status in _OVER or self.timed_out

    @property
    def claimable(self) -> bool:
        """Whether its price can be claimed back."""
        return self.status < TaskStatus.COMPLETED and self.timed_out

    def to_json(self) -> dict[str, Any]:
        """The official form of an initialized task: numbers as text, except the status."""
        head: dict[str, Any] = {"taskid": self.task_id, "status": int(self.status), "dealid": self.deal_id}
        head["idx"] = str(self.idx)
        tail = {"statusName": self.status_name, "taskTimedOut": self.timed_out}
        return head | (_task_fields(self.task) if self.task else {}) | tail


def view_deal(session: Session, deal_id: Bytes32, *, clock: Clock = utc_now) -> DealView:
    """A deal; its deadline is compared with the local clock, as official clients do.

    Raises:
        ObjectNotFoundError: no such deal.
    """
    deal = session.hub.view_deal(deal_id)
    if deal is None:
        raise ObjectNotFoundError("deal", deal_id, session.chain.chain_id)
    period = session.hub.view_category(deal.category).work_clock_time_ref
    final_time = deal.start_time + session.hub.final_deadline_ratio() * period
    return DealView(deal_id, deal, final_time, clock().timestamp() >= final_time)


def view_task(session: Session, identifier: Bytes32, *, clock: Clock = utc_now) -> TaskView:
    """An initialized task.

    Raises:
        ObjectNotFoundError: nobody has initialized it, or there is no such task.
    """
    task = session.hub.view_task(identifier)
    if task is None:
        raise ObjectNotFoundError("task", identifier, session.chain.chain_id)
    return _task_view(identifier, task, clock())


def view_tasks(session: Session, deal: DealView, *, clock: Clock = utc_now) -> list[TaskView]:
    """All tasks of a deal, also those that nobody has initialized."""
    found = session.hub.view_tasks(deal.task_ids)
    now = clock()
    views = []
    for identifier, index, task in zip(deal.task_ids, deal.deal.indexes, found, strict=True):
        if task is None:
            late = now.timestamp() >= deal.final_time
            views.append(TaskView(identifier, None, deal.deal_id, index, late))
        else:
            views.append(_task_view(identifier, task, now))
    return views


def watch_tasks(
    session: Session, deal: DealView, *, pause: Callable[[float], None], clock: Clock = utc_now
) -> Iterator[list[TaskView]]:
    """Look at a deal's tasks until all are over; the last list is the final one."""
    while True:
        tasks = view_tasks(session, deal, clock=clock)
        yield tasks
        if all(task.is_over for task in tasks):
            return
        pause(POLL_S)


def watch_task(
    session: Session, identifier: Bytes32, *, pause: Callable[[float], None], clock: Clock = utc_now
) -> Iterator[TaskView]:
    """Look at a task until it is over; the last view is the final one.

    Raises:
        ObjectNotFoundError: nobody has initialized it.
    """
    while True:
        task = view_task(session, identifier, clock=clock)
        yield task
        if task.is_over:
            return
        pause(POLL_S)


def result_location(results: bytes) -> dict[str, Any]:
    """What a finished task says about where its result is; ``{"storage": "none"}`` when it says nothing readable."""
    try:
        document = parse_json(results.decode())
    except (ValueError, RecursionError):
        return {"storage": "none"}
    return document if isinstance(document, dict) else {"storage": "none"}


def _task_view(identifier: Bytes32, task: Task, now: datetime) -> TaskView:
    late = now.timestamp() >= task.final_deadline
    return TaskView(identifier, task, task.deal_id, task.idx, late and task.status is not TaskStatus.COMPLETED)


def _task_fields(task: Task) -> dict[str, Any]:
    return {
        "timeref": str(task.timeref),
        "contributionDeadline": str(task.contribution_deadline),
        "revealDeadline": str(task.reveal_deadline),
        "finalDeadline": str(task.final_deadline),
        "consensusValue": task.consensus_value,
        "revealCounter": str(task.reveal_counter),
        "winnerCounter": str(task.winner_counter),
        "contributors": list(task.contributors),
        "resultDigest": task.result_digest,
        "results": result_location(task.results),
        "resultsTimestamp": str(task.results_timestamp),
        "resultsCallback": to_hex(task.results_callback),
    }
