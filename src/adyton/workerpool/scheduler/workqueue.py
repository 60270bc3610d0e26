"""Which task is looked at next: due requests, most advanced task first, each task by one thread at a time."""

from __future__ import annotations

import heapq
import itertools
import threading
import time


class WorkQueue:
    """A set of task ids to look at, now or at a later moment.

    Asking again for a task that waits keeps the earlier moment; asking while it is being looked at makes it come
    again afterwards, so that no request is lost.
    """

    def __init__(self) -> None:
        self._condition = threading.Condition()
        self._counter = itertools.count()
        self._heap: list[tuple[float, int, int, str]] = []
        self._due: dict[str, float] = {}
        self._running: set[str] = set()
        self._closed = False

    def request(self, task_id: str, *, priority: int = 0, delay_s: float = 0.0) -> None:
        """Ask for a look at ``task_id`` in ``delay_s`` seconds; among due ones a higher priority goes first."""
        # Requests that are due now share one moment, so that priority decides among them.
        moment = time.monotonic() + delay_s if delay_s > 0 else 0.0
        with self._condition:
            waiting = self._due.get(task_id)
            if waiting is not None and waiting <= moment:
                return
            self._due[task_id] = moment
            heapq.heappush(self._heap, (moment, -priority, next(self._counter), task_id))
            self._condition.notify()

    def take(self) -> str | None:
        """Wait for the next task and reserve it; None when the queue is closed."""
        with self._condition:
            while not self._closed:
                task_id, wait_s = self._next()
                if task_id is not None:
                    self._running.add(task_id)
                    return task_id
                self._condition.wait(wait_s)
            return None

    def done(self, task_id: str) -> None:
        """Give a reserved task free again."""
        with self._condition:
            self._running.discard(task_id)
            self._condition.notify_all()

    def close(self) -> None:
        """Let every :meth:`take` return None."""
        with self._condition:
            self._closed = True
            self._condition.notify_all()

    def _next(self) -> tuple[str | None, float | None]:
        now = time.monotonic()
        held: list[tuple[float, int, int, str]] = []
        found: str | None = None
        wait_s: float | None = None
        while self._heap:
            item = heapq.heappop(self._heap)
            due, _, _, task_id = item
            if self._due.get(task_id) != due:
                continue  # an earlier request for the same task has replaced this one
            if due > now:
                held.append(item)
                wait_s = due - now
                break
            if task_id in self._running:
                held.append(item)
                continue
            del self._due[task_id]
            found = task_id
            break
        for item in held:
            heapq.heappush(self._heap, item)
        return found, wait_s
