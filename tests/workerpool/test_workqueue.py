"""Order and exclusiveness of task updates, and waking of long-polls."""

from __future__ import annotations

import threading
import time

from tests.waiting import PATIENCE_S

from adyton.workerpool.scheduler.bell import Bell
from adyton.workerpool.scheduler.workqueue import WorkQueue


def test_higher_priority_goes_first() -> None:
    queue = WorkQueue()
    queue.request("low", priority=1)
    queue.request("high", priority=9)
    assert [queue.take(), queue.take()] == ["high", "low"]


def test_a_request_while_running_comes_again_afterwards() -> None:
    queue = WorkQueue()
    queue.request("a")
    assert queue.take() == "a"
    queue.request("a")
    queue.request("b")
    assert queue.take() == "b"
    taken: list[str | None] = []
    thread = threading.Thread(target=lambda: taken.append(queue.take()))
    thread.start()
    time.sleep(0.05)
    assert taken == []
    queue.done("a")
    thread.join(PATIENCE_S)
    assert taken == ["a"]


def test_repeated_requests_are_one_and_the_earliest_counts() -> None:
    queue = WorkQueue()
    queue.request("a", delay_s=60)
    queue.request("a")
    queue.request("a", delay_s=60)
    assert queue.take() == "a"
    queue.done("a")
    queue.request("b", delay_s=0.05)
    started = time.monotonic()
    assert queue.take() == "b"
    assert time.monotonic() - started >= 0.04


def test_close_ends_takers() -> None:
    queue = WorkQueue()
    taken: list[str | None] = ["nothing"]
    thread = threading.Thread(target=lambda: taken.append(queue.take()))
    thread.start()
    queue.close()
    thread.join(PATIENCE_S)
    assert taken == ["nothing", None]


def test_bell_wakes_at_once_and_gives_up_in_time() -> None:
    bell = Bell()
    box: list[int] = []

    def put() -> None:
        box.append(1)
        bell.ring()

    threading.Timer(0.1, put).start()
    started = time.monotonic()
    assert bell.until(lambda: box or None, 2 * PATIENCE_S) == [1]
    assert time.monotonic() - started < PATIENCE_S
    assert bell.until(lambda: None, 0.05) is None
    bell.close()
    assert bell.until(lambda: None, 60) is None
