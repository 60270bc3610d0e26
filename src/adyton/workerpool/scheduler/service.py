"""The scheduler as one object: its parts put together, its threads, and the use cases that the routes call."""

from __future__ import annotations

import threading
from collections.abc import Callable
from datetime import datetime, timedelta
from typing import Any, Final

from adyton import __version__
from adyton.base.clock import Clock, utc_now
from adyton.base.db import open_engine
from adyton.base.errors import AdytonError, NotFoundError, UnavailableError
from adyton.base.log import get_logger
from adyton.base.types import Address, Bytes32
from adyton.workerpool.access import ChainAccess, load_wallet
from adyton.workerpool.scheduler.admission import Admission
from adyton.workerpool.scheduler.bell import Bell
from adyton.workerpool.scheduler.chainclock import ChainClock
from adyton.workerpool.scheduler.claims import Claims
from adyton.workerpool.scheduler.contributions import Contributions
from adyton.workerpool.scheduler.dealbook import DealBook
from adyton.workerpool.scheduler.detectors import Detectors
from adyton.workerpool.scheduler.engine import TaskEngine
from adyton.workerpool.scheduler.feedback import Feedback
from adyton.workerpool.scheduler.finalization import Finalization
from adyton.workerpool.scheduler.initialization import Initialization
from adyton.workerpool.scheduler.means import Means
from adyton.workerpool.scheduler.notices import Notices
from adyton.workerpool.scheduler.onchain import OnChain
from adyton.workerpool.scheduler.owner import PoolOwner
from adyton.workerpool.scheduler.reconcile import Reconciler
from adyton.workerpool.scheduler.recovery import Recovery
from adyton.workerpool.scheduler.replication import Replication
from adyton.workerpool.scheduler.repo import SchedulerRepo
from adyton.workerpool.scheduler.reveals import Reveals
from adyton.workerpool.scheduler.settings import SchedulerSettings
from adyton.workerpool.scheduler.sms_gate import SmsGate
from adyton.workerpool.scheduler.state import PoolState
from adyton.workerpool.scheduler.supply import Supply
from adyton.workerpool.scheduler.tokens import LOGIN_LIFETIME, LOGS_LIFETIME, TokenIssuer
from adyton.workerpool.scheduler.tries import Tries
from adyton.workerpool.scheduler.updates import StatusUpdates
from adyton.workerpool.scheduler.views import metrics_view, replicate_view, task_view
from adyton.workerpool.scheduler.watch import DealWatcher
from adyton.workerpool.scheduler.workqueue import WorkQueue
from adyton.workerpool.wire import Assignment, Registration

_log = get_logger("scheduler")

UPDATE_THREADS: Final = 8  # each may wait for one transaction
CHAIN_PATIENCE: Final = timedelta(seconds=15)  # without an answer of the node before workers are sent away
_ERROR_PAUSE_S: Final = 1.0
_JOIN_S: Final = 5.0
_NOTES_OF_LIFE: Final = 10  # written within the time that a worker may be silent, however often it calls


class Scheduler:
    """One pool's scheduler.

    Args:
        settings: its settings.
        access: the chain, with the account that speaks for the pool's owner.
        owner: the pool's owner.
        clock: current time; deadlines are judged by the chain's.
    """

    def __init__(
        self, settings: SchedulerSettings, access: ChainAccess, owner: PoolOwner, clock: Clock = utc_now
    ) -> None:
        self.settings = settings
        self._access = access
        self._clock = clock
        self._chain_clock = ChainClock()
        self._database = open_engine(settings.database_url)
        self.work, mail = Bell(), Bell()
        self._mail = mail
        self._replication = Replication.open(
            settings, self._database, access.wallet, {"work": self.work, "mail": mail}, clock
        )
        self.repo = SchedulerRepo(self._database)
        self.deals = DealBook(self._database)
        self.state = PoolState(self._database, self.repo, clock)
        self._queue = WorkQueue()
        self.onchain = OnChain(access, owner)
        self._sms = SmsGate(settings.sms_urls, settings.result_proxy_url, access.wallet)
        self.notices = Notices(self.repo, mail)
        means = self._means()
        leases = self._replication.leases
        self.supply = Supply(
            state=self.state,
            repo=self.repo,
            onchain=self.onchain,
            wallet=access.wallet,
            leases=leases,
            clock=clock,
            chain_clock=self._chain_clock,
        )
        self.updates = StatusUpdates(
            state=self.state,
            repo=self.repo,
            onchain=self.onchain,
            proxy_url=settings.result_proxy_url,
            queue=self._queue,
            work=self.work,
        )
        self.recovery = Recovery(
            state=self.state,
            onchain=self.onchain,
            reconciler=means.reconciler,
            updates=self.updates,
            supply=self.supply,
            queue=self._queue,
        )
        claims = Claims(self.repo, self.onchain, self._chain_clock)
        self.detectors = Detectors(means, claims, leases, timedelta(seconds=settings.worker_silence_s))
        initialization = Initialization(means, self._sms)
        contributions = Contributions(means, self.detectors.is_alive, initialization.revive)
        self._engine = TaskEngine(means, (initialization, contributions, Reveals(means), Finalization(means)), leases)
        self.watcher = DealWatcher(
            hub=access.hub,
            pool=settings.pool,
            owner=owner.address,
            start_block=settings.start_block,
            book=self.deals,
            state=self.state,
            queue=self._queue,
            onchain=self.onchain,
            leases=leases,
            clock=clock,
            chain_clock=self._chain_clock,
        )
        tokens = TokenIssuer(f"iExec Scheduler v{__version__}", clock, self._replication.token_key)
        logins = self._replication.challenges("login", LOGIN_LIFETIME)
        self.admission = Admission(settings.pool, settings.whitelist, tokens, logins)
        self.feedback = Feedback(
            self.state, self.repo, access.chain_id, self._replication.challenges("logs", LOGS_LIFETIME)
        )
        self._polls: dict[Address, object] = {}  # the long-poll of each worker that counts
        self._noted: dict[Address, datetime] = {}
        self._stop = threading.Event()
        self._threads: list[threading.Thread] = []

    @classmethod
    def open(cls, settings: SchedulerSettings, clock: Clock = utc_now) -> Scheduler:
        """Connect to the chain with the pool owner's key.

        Raises:
            InputError: the key is unusable, or does not speak for the pool's owner.
            NotFoundError: there is no such pool.
            UnavailableError: the chain does not answer.
            SecondSchedulerError: another process has the embedded database.
        """
        wallet = load_wallet(settings.key_file, settings.password_file)
        access = ChainAccess.open(settings.rpc_url, settings.hub, wallet)
        try:
            return cls(settings, access, PoolOwner.find(access, settings.pool, settings.owner_call), clock)
        except BaseException:
            access.rpc.close()
            raise

    def _means(self) -> Means:
        return Means(
            state=self.state,
            repo=self.repo,
            onchain=self.onchain,
            reconciler=Reconciler(self.state, self.onchain, self.notices, self._clock),
            notices=self.notices,
            queue=self._queue,
            work=self.work,
            clock=self._clock,
            chain_clock=self._chain_clock,
            tries=Tries(),
        )

    # -- threads ------------------------------------------------------------------------------------------------

    def start(self) -> None:
        """Start following the chain."""
        self.deals.unpark(self._clock())
        self._spawn("watch", self._watch)
        self._spawn("detect", lambda: self._repeat(self.detectors.run, self.settings.detector_period_s))
        for number in range(UPDATE_THREADS):
            self._spawn(f"update-{number}", self._update)

    def release(self) -> None:
        """Answer all long-polls, now and from now on: the process is about to stop."""
        self.work.close()
        self._mail.close()

    def stop(self) -> None:
        """Stop all threads and long-polls."""
        self._stop.set()
        self._queue.close()
        self.release()
        for thread in self._threads:
            thread.join(_JOIN_S)
        self._replication.close()
        self._sms.close()
        self._access.rpc.close()
        self._database.dispose()

    def _spawn(self, name: str, target: Callable[[], None]) -> None:
        thread = threading.Thread(target=target, name=f"scheduler-{name}", daemon=True)
        thread.start()
        self._threads.append(thread)

    def _watch(self) -> None:
        while not self._stop.is_set():
            try:
                self.watcher.look()
                pause = 0.0 if self.watcher.is_behind else self.settings.poll_interval_s
            except AdytonError as error:
                _log.warning("chain not read", code=error.code, detail=error.message)
                pause = _ERROR_PAUSE_S
            except Exception:  # noqa: BLE001  # a border: a database that is away must not end the thread for ever
                _log.exception("look broke")
                pause = _ERROR_PAUSE_S
            self._stop.wait(pause)

    def _repeat(self, action: Callable[[], None], period_s: float) -> None:
        while not self._stop.is_set():
            try:
                action()
            except AdytonError as error:
                _log.warning("detector failed", code=error.code, detail=error.message)
            except Exception:  # noqa: BLE001  # a border, as above
                _log.exception("detectors broke")
            self._stop.wait(period_s)

    def _update(self) -> None:
        while (task_id := self._queue.take()) is not None:
            try:
                self._engine.update(task_id)
            except AdytonError as error:
                _log.error("task update failed", task=task_id, code=error.code, detail=error.message)
            except Exception:  # noqa: BLE001  # a border: a broken task must not end the thread for all others
                _log.exception("task update broke", task=task_id)
            finally:
                self._queue.done(task_id)

    # -- health -------------------------------------------------------------------------------------------------

    def require_chain(self) -> None:
        """Refuse while the node does not answer. A chain that is quiet but answers is in order.

        Raises:
            UnavailableError: no look at the chain succeeded lately.
        """
        head = self.watcher.head
        if head is None or self._clock() - head.seen_at > CHAIN_PATIENCE:
            raise UnavailableError("the scheduler has no connection to the chain", code="scheduler.chain_down")

    # -- workers ------------------------------------------------------------------------------------------------

    def register(self, wallet: Address, registration: Registration) -> dict[str, Any]:
        """Store a worker; it counts as alive from now on."""
        body = registration.model_dump(mode="json", by_alias=True) | {"walletAddress": wallet}
        self.repo.save_worker(wallet, body, self._clock())
        self._polls.pop(wallet, None)  # whatever an earlier process of this worker waits for
        self.work.ring()
        record = self.repo.worker(wallet)
        return body | {"maxNbTasks": record.max_tasks if record is not None else 0}

    def ping(self, wallet: Address) -> bool:
        """A worker is alive, as every call of it shows; False when it has to register first."""
        now, pause = self._clock(), self.settings.worker_silence_s / _NOTES_OF_LIFE
        last = self._noted.get(wallet)
        if last is not None and timedelta() <= now - last < timedelta(seconds=pause):
            return True
        known = self.repo.touch_worker(wallet, now)
        if known:
            self._noted[wallet] = now
        return known

    def next_assignment(self, wallet: Address, timeout_s: float) -> Assignment | None:
        """Wait for work for a worker; a later call of the same worker ends this one.

        A worker that was restarted leaves a long-poll behind that nobody reads: a task must not go there.
        """
        mine = self._polls[wallet] = object()
        self.work.ring()

        def look() -> tuple[Assignment | None] | None:
            if self._polls.get(wallet) is not mine:
                return (None,)
            found = self.supply.next_for(wallet)
            return None if found is None else (found,)

        answer = self.work.until(look, timeout_s)
        return None if answer is None else answer[0]

    # -- public -------------------------------------------------------------------------------------------------

    def task(self, task_id: Bytes32) -> dict[str, Any]:
        """A task with its replicates.

        Raises:
            NotFoundError: not a task of this pool.
        """
        found = self.state.task(task_id)
        if found is None:
            raise NotFoundError(f"task {task_id} is not a task of this pool", code="scheduler.task.unknown")
        history = self.state.task_history(task_id)
        return task_view(found, history, self.state.replicates_of(task_id), self.settings.url)

    def replicate(self, task_id: Bytes32, wallet: Address) -> dict[str, Any]:
        """One replicate.

        Raises:
            NotFoundError: there is none.
        """
        found = self.state.replicate(task_id, wallet)
        if found is None:
            raise NotFoundError(f"worker {wallet} has no replicate of {task_id}", code="scheduler.replicate.unknown")
        return replicate_view(found, self.settings.url)

    def metrics(self) -> dict[str, Any]:
        """The pool in numbers."""
        alive = [each for each in self.repo.workers() if self.detectors.is_alive(each)]
        computing = {each.wallet: len(self.supply.computing(each.wallet)) for each in alive}
        return metrics_view(alive, computing, self.state.task_counts(), self.deals.counts(), self.watcher.head)
