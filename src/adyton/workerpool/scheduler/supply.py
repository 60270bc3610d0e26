"""Which worker gets which task (pool reference 2.5), and the authorization that goes with it."""

from __future__ import annotations

import threading
from collections.abc import Iterable
from datetime import timedelta
from typing import Final

from adyton.base.clock import Clock
from adyton.base.types import Address, Bytes32, parse_address, to_hex, word_bytes
from adyton.chain.hashing import authorization_hash
from adyton.chain.models import TaskStatus as ChainStatus
from adyton.chain.wallet import Wallet
from adyton.workerpool import task as tasks
from adyton.workerpool.consensus import Vote, needs_more
from adyton.workerpool.replicate import COMPUTING_STATUSES, ReplicateStatus
from adyton.workerpool.scheduler.capability import can_run
from adyton.workerpool.scheduler.chainclock import ChainClock
from adyton.workerpool.scheduler.leases import Leases
from adyton.workerpool.scheduler.onchain import OnChain
from adyton.workerpool.scheduler.repo import SchedulerRepo, WorkerRecord
from adyton.workerpool.scheduler.state import PoolState, Replicate, TaskState
from adyton.workerpool.task import TaskStatus
from adyton.workerpool.wire import Assignment, SignatureValue, WorkerpoolAuthorization

LOST_AFTER: Final = timedelta(seconds=3)  # a worker that got an assignment reports within milliseconds


def by_urgency(found: Iterable[TaskState]) -> list[TaskState]:
    """Running tasks first, then the earliest contribution deadline (pure)."""
    return sorted(found, key=lambda task: (task.status is not TaskStatus.RUNNING, task.contribution_deadline))


def vote_of(replicate: Replicate) -> Vote:
    """What the predictor needs of a replicate (pure)."""
    return Vote(
        status=ReplicateStatus.FAILED if replicate.gave_up else replicate.status,
        relevant=replicate.relevant,
        weight=replicate.weight,
        contribution=replicate.contribution,
        created_at=replicate.history[0].at,
    )


class Supply:
    """Gives tasks to workers.

    Args:
        state: journals.
        repo: workers.
        onchain: the chain.
        wallet: the pool's owner, who authorizes.
        leases: keep replicas from filling one place, or one worker, twice.
        clock: current time.
        chain_clock: the chain's time, which decides about deadlines.
    """

    def __init__(
        self,
        *,
        state: PoolState,
        repo: SchedulerRepo,
        onchain: OnChain,
        wallet: Wallet,
        leases: Leases,
        clock: Clock,
        chain_clock: ChainClock,
    ) -> None:
        self._state = state
        self._repo = repo
        self._onchain = onchain
        self._wallet = wallet
        self._leases = leases
        self._clock = clock
        self._chain_clock = chain_clock
        self._lock = threading.Lock()

    def next_for(self, wallet: Address) -> Assignment | None:
        """Give the worker one task, or None when there is none for it now.

        Raises:
            UnavailableError: the chain does not answer.
        """
        worker = self._repo.worker(wallet)
        if worker is None:
            return None
        # One supply at a time: between the check and the replicate nobody else may take the place.
        with self._lock, self._leases.hold(f"worker/{wallet}") as mine:
            if not mine:
                return None
            lost = self._lost_assignment(wallet)
            if lost is not None:
                return lost
            if len(self.computing(wallet)) >= worker.max_tasks:
                return None
            for task in by_urgency(self._state.tasks_in(tasks.SUPPLIED)):
                if self._fits(task, worker) and self._give(task, worker):
                    return self._assignment(task, wallet)
        return None

    def computing(self, wallet: Address) -> list[Bytes32]:
        """Tasks that take one of the worker's slots."""
        return [each.task_id for each in self._state.open_replicates(wallet) if each.status in COMPUTING_STATUSES]

    def authorize(self, task: TaskState, wallet: Address) -> WorkerpoolAuthorization:
        """The pool owner's permission for ``wallet`` to run ``task``."""
        challenge = parse_address(task.data["enclaveChallenge"])
        message = authorization_hash(wallet, task.id, challenge)
        return WorkerpoolAuthorization(
            chain_task_id=task.id,
            deal_id=task.data["chainDealId"],
            task_index=task.data["taskIndex"],
            worker_wallet=wallet,
            enclave_challenge=challenge,
            signature=SignatureValue(value=to_hex(self._wallet.sign_personal(word_bytes(message)))),
        )

    def _assignment(self, task: TaskState, wallet: Address) -> Assignment:
        return Assignment(workerpool_authorization=self.authorize(task, wallet), sms_url=task.data.get("smsUrl"))

    def _lost_assignment(self, wallet: Address) -> Assignment | None:
        """A task that was given to this worker, which asks again without having started it: the answer was lost."""
        for replicate in self._state.open_replicates(wallet):
            age = self._clock() - replicate.history[0].at
            task = self._state.task(replicate.task_id)
            if task is None or task.status not in tasks.SUPPLIED:
                continue
            if replicate.relevant is ReplicateStatus.CREATED and age > LOST_AFTER:
                return self._assignment(task, wallet)
        return None

    def _fits(self, task: TaskState, worker: WorkerRecord) -> bool:
        if not task.data.get("enclaveChallenge") or self._chain_clock() >= task.contribution_deadline:
            return False
        if not can_run(worker, task.demand):
            return False
        replicates = self._state.replicates_of(task.id)
        if any(each.wallet == worker.wallet for each in replicates):
            return False
        votes = [vote_of(each) for each in replicates]
        if not needs_more(task.trust, votes, self._clock(), task.period):
            return False
        chain_task = self._onchain.task(task.id)
        return chain_task is not None and chain_task.status is ChainStatus.ACTIVE

    def _give(self, task: TaskState, worker: WorkerRecord) -> bool:
        with self._leases.hold(f"place/{task.id}") as mine:
            # Another replica may have filled the place since it was found free.
            if not mine or not self._fits(task, worker):
                return False
            return self._state.create_replicate(task.id, worker.wallet, self._onchain.weight(worker.wallet))
