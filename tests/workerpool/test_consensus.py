"""The predictor's official cases (pool reference 7.1), its improvement, and the example of three workers (8.3)."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest

from adyton.base.types import Bytes32
from adyton.workerpool.consensus import Vote, consensus_reached, needs_more, worker_weight
from adyton.workerpool.replicate import ReplicateStatus

S = ReplicateStatus
NOW = datetime(2026, 11, 22, tzinfo=UTC)
PERIOD = timedelta(minutes=5)
A, B = Bytes32("0x" + "aa" * 32), Bytes32("0x" + "bb" * 32)


def contributed(weight: int, value: Bytes32 = A) -> Vote:
    return Vote(S.CONTRIBUTED, S.CONTRIBUTED, weight, value, NOW)


def pending(weight: int, status: ReplicateStatus = S.COMPUTING, age: timedelta = timedelta()) -> Vote:
    return Vote(status, status if status is not S.WORKER_LOST else S.COMPUTING, weight, None, NOW - age)


@pytest.mark.parametrize(
    ("trust", "votes", "more"),
    [
        pytest.param(0, [], True, id="none"),
        pytest.param(0, [contributed(2)], False, id="trust 0, one"),
        pytest.param(5, [contributed(4)], True, id="20 > 20 is false"),
        pytest.param(5, [contributed(5)], False, id="25 > 24"),
        pytest.param(5, [contributed(5), contributed(1, B)], True, id="25 > 28 is false"),
        pytest.param(5, [contributed(25), contributed(5, B)], False, id="125 > 124"),
        pytest.param(25, [contributed(5), pending(5)], False, id="contributed and pending multiply"),
        pytest.param(26, [contributed(5), pending(5)], True, id="and no more than that"),
        pytest.param(1, [pending(2)], False, id="one is under way"),
        pytest.param(1, [pending(2, age=PERIOD)], True, id="a pending one is too old"),
        pytest.param(1, [pending(2, S.FAILED)], True, id="failed does not count"),
        pytest.param(1, [pending(2, S.ABORTED)], True, id="aborted does not count"),
        pytest.param(1, [pending(2, S.COMPUTE_FAILED)], True, id="a failed computation does not count"),
        pytest.param(1, [pending(2, S.WORKER_LOST)], True, id="a lost worker does not count"),
        pytest.param(1, [pending(2, S.APP_DOWNLOAD_FAILED)], False, id="an error result may still be contributed"),
        pytest.param(5, [pending(2), pending(2), pending(2)], False, id="three newcomers for trust 5"),
        pytest.param(5, [pending(2), pending(2)], True, id="two are not enough"),
        pytest.param(
            5, [contributed(2), contributed(2), contributed(2, B)], True, id="the dissenter makes a fourth necessary"
        ),
        pytest.param(
            5, [contributed(2), contributed(2), contributed(2, B), pending(2)], True, id="and a fifth at the same time"
        ),
        pytest.param(
            5, [contributed(2), contributed(2), contributed(2, B), pending(2), pending(2)], False, id="but no sixth"
        ),
    ],
)
def test_needs_more(trust: int, votes: list[Vote], more: bool) -> None:
    assert needs_more(trust, votes, NOW, PERIOD) is more


@pytest.mark.parametrize(("score", "weight"), [(0, 2), (11, 2), (12, 3), (15, 4), (100, 32), (300, 99)])
def test_worker_weight(score: int, weight: int) -> None:
    assert worker_weight(score) == weight


@pytest.mark.parametrize(
    ("trust", "group", "total", "reached"),
    [(100, 3168, 3172, True), (5, 8, 11, False), (5, 16, 19, True), (1, 2, 3, True), (0, 2, 3, True)],
)
def test_chain_rule(trust: int, group: int, total: int, reached: bool) -> None:
    assert consensus_reached(trust, group, total) is reached
