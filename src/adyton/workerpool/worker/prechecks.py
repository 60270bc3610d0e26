"""Whether a worker can still do something useful for a task (pool reference 4.4, checks P and canReveal; pure)."""

from __future__ import annotations

from datetime import datetime

from adyton.base.types import Address, Bytes32
from adyton.chain.hashing import result_hash, result_seal
from adyton.chain.models import Account, Contribution, ContributionStatus, Task, TaskStatus
from adyton.workerpool.causes import Cause
from adyton.workerpool.description import DealDescription


def contribution_problem(
    deal: DealDescription, task: Task | None, contribution: Contribution, account: Account, now: datetime
) -> Cause | None:
    """The first reason why the worker cannot contribute, in the official order; None when it can."""
    if not deal.finalizes and account.stake < deal.deal.worker_stake:
        return Cause.STAKE_TOO_LOW
    if task is None or task.status is not TaskStatus.ACTIVE:
        return Cause.TASK_NOT_ACTIVE
    if now.timestamp() >= task.contribution_deadline:
        return Cause.CONTRIBUTION_TIMEOUT
    if contribution.status is not ContributionStatus.UNSET:
        return Cause.CONTRIBUTION_ALREADY_SET
    return None


def finalization_problem(deal: DealDescription, task: Task) -> Cause | None:
    """What contribute-and-finalize needs beyond a contribution."""
    if deal.deal.trust > 1:
        return Cause.TRUST_NOT_1
    if task.contributors:
        return Cause.TASK_ALREADY_CONTRIBUTED
    return None


def can_reveal(
    task: Task | None, contribution: Contribution, *, task_id: Bytes32, worker: Address, digest: Bytes32, now: datetime
) -> bool:
    """Whether the chain will take the worker's reveal of ``digest``."""
    return (
        task is not None
        and task.status is TaskStatus.REVEALING
        and now.timestamp() < task.reveal_deadline
        and contribution.status is ContributionStatus.CONTRIBUTED
        and contribution.result_hash == task.consensus_value == result_hash(task_id, digest)
        and contribution.result_seal == result_seal(worker, task_id, digest)
    )
