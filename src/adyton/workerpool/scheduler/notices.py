"""Telling workers what to do outside their own calls: durable boxes that a long-poll empties (pool reference 2.8)."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from adyton.base.types import Address, Bytes32
from adyton.workerpool.actions import AbortCause, Action
from adyton.workerpool.scheduler.bell import Bell
from adyton.workerpool.scheduler.repo import SchedulerRepo
from adyton.workerpool.wire import NotificationExtra, TaskNotification


class Notices:
    """Boxes of notifications, one for each worker.

    Args:
        repo: where they lie until they are acknowledged.
        bell: rung when something is put in.
    """

    def __init__(self, repo: SchedulerRepo, bell: Bell) -> None:
        self._repo = repo
        self._bell = bell

    def send(
        self,
        task_id: Bytes32,
        wallets: Iterable[Address],
        action: Action,
        *,
        block_number: int | None = None,
        abort_cause: AbortCause | None = None,
    ) -> None:
        """Put one notification in each worker's box; a repeat while the first waits changes nothing."""
        extra = NotificationExtra(block_number=block_number, task_abort_cause=abort_cause)
        for wallet in wallets:
            notification = TaskNotification(
                chain_task_id=task_id,
                workers_address=[wallet],
                task_notification_type=action,
                task_notification_extra=extra,
                task_abort_cause=abort_cause,
            )
            body = notification.model_dump(mode="json", exclude_none=True, exclude={"sequence"})
            self._repo.notify(wallet, task_id, action.value, body)
        self._bell.ring()

    def wait(self, wallet: Address, after: int, timeout_s: float) -> list[dict[str, Any]]:
        """Drop what the worker has (up to ``after``) and wait for more; empty when the time is over."""
        self._repo.acknowledge(wallet, after)
        return self._bell.until(lambda: self._repo.notifications(wallet) or None, timeout_s) or []
