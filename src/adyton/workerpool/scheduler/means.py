"""What every phase of a task works with."""

from __future__ import annotations

from dataclasses import dataclass

from adyton.base.clock import Clock
from adyton.workerpool.scheduler.bell import Bell
from adyton.workerpool.scheduler.chainclock import ChainClock
from adyton.workerpool.scheduler.notices import Notices
from adyton.workerpool.scheduler.onchain import OnChain
from adyton.workerpool.scheduler.reconcile import Reconciler
from adyton.workerpool.scheduler.repo import SchedulerRepo
from adyton.workerpool.scheduler.state import PoolState
from adyton.workerpool.scheduler.tries import Tries
from adyton.workerpool.scheduler.workqueue import WorkQueue


@dataclass(frozen=True, slots=True)
class Means:
    """Parts of the scheduler that the phases share.

    Attributes:
        state: journals.
        repo: tables beside them.
        onchain: the chain.
        reconciler: enters what the chain has into the journals.
        notices: boxes of workers.
        queue: where further looks are asked for.
        work: rung when there may be work for a worker.
        clock: current time.
        chain_clock: the chain's time, which decides about deadlines.
        tries: how often a step was refused.
    """

    state: PoolState
    repo: SchedulerRepo
    onchain: OnChain
    reconciler: Reconciler
    notices: Notices
    queue: WorkQueue
    work: Bell
    clock: Clock
    chain_clock: ChainClock
    tries: Tries
