"""How many workers a task still needs: the official predictor of the on-chain consensus (pool reference 2.5; pure).

The chain reaches consensus on a hash when ``group * trust > total * (trust - 1)``, where weights of agreeing workers
multiply and ``total`` starts at 1. The predictor assumes that every pending replicate will join the strongest group.
Unlike upstream, replicates that failed, aborted or were lost are not pending: another worker is asked at once instead
of after a whole period.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime, timedelta
from math import prod

from adyton.base.types import Bytes32
from adyton.workerpool.replicate import HOPELESS, ReplicateStatus


@dataclass(frozen=True, slots=True)
class Vote:
    """What the predictor needs of one replicate.

    Attributes:
        status: its current status.
        relevant: the last status other than WORKER_LOST and RECOVERING.
        weight: weight of its worker, from the chain's score.
        contribution: the result hash, when contributed and not rejected.
        created_at: when the replicate was given out.
    """

    status: ReplicateStatus
    relevant: ReplicateStatus
    weight: int
    contribution: Bytes32 | None
    created_at: datetime


def worker_weight(score: int) -> int:
    """Weight of a worker by its score: ``max(score / 3, 3) - 1``, integer division; a newcomer has 2."""
    return max(score // 3, 3) - 1


def needs_more(trust: int, votes: Iterable[Vote], now: datetime, period: timedelta) -> bool:
    """Whether one more worker should be asked.

    Args:
        trust: the deal's trust; 0 counts as 1.
        votes: all replicates of the task.
        now: current time.
        period: the category's time; a pending replicate older than this counts no longer.
    """
    trust = max(trust, 1)
    groups: dict[Bytes32, int] = {}
    pending: list[int] = []
    for vote in votes:
        if vote.contribution is not None:  # it counts on the chain, whatever became of its worker
            groups[vote.contribution] = groups.get(vote.contribution, 1) * vote.weight
        elif _is_pending(vote, now, period):
            pending.append(vote.weight)
    strongest = max(groups.values(), default=0)
    best = _product(strongest, prod(pending) if pending else 0)
    others = sum(groups.values()) - strongest
    return not best * trust > (1 + others + best) * (trust - 1)


def _is_pending(vote: Vote, now: datetime, period: timedelta) -> bool:
    if vote.relevant is ReplicateStatus.CONTRIBUTED:
        return False
    return vote.status not in HOPELESS and now - vote.created_at < period


def _product(first: int, second: int) -> int:
    # A factor that is absent is ignored; nothing at all is nothing.
    return first * second if first and second else first or second


def consensus_reached(trust: int, group: int, total: int) -> bool:
    """The chain's own test, on the group of the hash that was just contributed."""
    trust = max(trust, 1)
    return group * trust > total * (trust - 1)
