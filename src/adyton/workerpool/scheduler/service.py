"""The scheduler as one object: its parts put together, its threads, and the use cases that the routes call."""

from __future__ import annotations

import threading
from collections import Counter
from collections.abc import Callable
from datetime import timedelta
from typing import Any, Final

from adyton import __version__
from adyton.base.clock import Clock, utc_now
from adyton.base.db import open_engine
from adyton.base.errors import AdytonError, NotFoundError, UnavailableError
from adyton.base.log import get_logger
from adyton.base.types import Address, Bytes32, parse_address
from adyton.chain.eip712 import TypedData
from adyton.chain.wallet import SignatureError, recover_digest, recover_personal
from adyton.workerpool.access import ChainAccess, load_wallet
from adyton.workerpool.scheduler.bell import Bell
from adyton.workerpool.scheduler.detectors import Detectors
from adyton.workerpool.scheduler.engine import TaskEngine
from adyton.workerpool.scheduler.notices import Notices
from adyton.workerpool.scheduler.onchain import OnChain
from adyton.workerpool.scheduler.recovery import Recovery
from adyton.workerpool.scheduler.repo import SchedulerRepo
from adyton.workerpool.scheduler.settings import SchedulerSettings
from adyton.workerpool.scheduler.sms_gate import SmsGate
from adyton.workerpool.scheduler.state import PoolState
from adyton.workerpool.scheduler.supply import Supply
from adyton.workerpool.scheduler.tokens import (
    LOGIN_LIFETIME,
    LOGS_LIFETIME,
    ChallengeBook,
    TokenIssuer,
)
from adyton.workerpool.scheduler.updates import StatusUpdates
from adyton.workerpool.scheduler.views import metrics_view, replicate_view, task_view
from adyton.workerpool.scheduler.watch import DealWatcher
from adyton.workerpool.scheduler.workqueue import WorkQueue
from adyton.workerpool.task import TaskStatus
from adyton.workerpool.wire import Assignment, Registration, login_challenge, login_message

_log = get_logger("scheduler")

UPDATE_THREADS: Final = 8  # each may wait for one transaction
CHAIN_PATIENCE: Final = timedelta(seconds=15)  # without an answer of the node before workers are sent away
_ERROR_PAUSE_S: Final = 1.0
_JOIN_S: Final = 5.0


class LogAccessError(AdytonError):
    """A requester may not read these logs.

    Attributes:
        status: HTTP status.
    """

    code = "scheduler.logs.refused"

    def __init__(self, message: str, status: int) -> None:
        super().__init__(message)
        self.status = status


class Scheduler:
    """One pool's scheduler.

    Args:
        settings: its settings.
        access: the chain, with the pool owner's account.
        clock: current time.
    """

    def __init__(self, settings: SchedulerSettings, access: ChainAccess, clock: Clock = utc_now) -> None:
        self.settings = settings
        self._access = access
        self._clock = clock
        self._database = open_engine(settings.database_url)
        self.repo = SchedulerRepo(self._database)
        self.state = PoolState(self._database, self.repo, clock)
        self.work = Bell()
        self._mail = Bell()
        self._queue = WorkQueue()
        onchain = OnChain(access)
        self._sms = SmsGate(settings.sms_urls, settings.result_proxy_url, access.wallet)
        self.notices = Notices(self.repo, self._mail)
        self.supply = Supply(self.state, self.repo, onchain, access.wallet, clock)
        self.updates = StatusUpdates(
            state=self.state,
            repo=self.repo,
            onchain=onchain,
            proxy_url=settings.result_proxy_url,
            queue=self._queue,
            work=self.work,
        )
        self.recovery = Recovery(self.state, onchain, self.updates, self.supply, self._queue)
        silence = timedelta(seconds=settings.worker_silence_s)
        self.detectors = Detectors(
            state=self.state,
            repo=self.repo,
            onchain=onchain,
            queue=self._queue,
            work=self.work,
            clock=clock,
            silence=silence,
        )
        self._engine = TaskEngine(
            state=self.state,
            repo=self.repo,
            onchain=onchain,
            sms=self._sms,
            notices=self.notices,
            queue=self._queue,
            work=self.work,
            clock=clock,
            is_alive=self.detectors.is_alive,
        )
        self.watcher = DealWatcher(
            hub=access.hub,
            pool=settings.pool,
            start_block=settings.start_block,
            repo=self.repo,
            state=self.state,
            queue=self._queue,
            onchain=onchain,
            clock=clock,
        )
        self.tokens = TokenIssuer(f"iExec Scheduler v{__version__}", clock)
        self._logins = ChallengeBook(LOGIN_LIFETIME, clock)
        self._log_challenges = ChallengeBook(LOGS_LIFETIME, clock)
        self._polls: dict[Address, object] = {}  # the long-poll of each worker that counts
        self._stop = threading.Event()
        self._threads: list[threading.Thread] = []

    @classmethod
    def open(cls, settings: SchedulerSettings) -> Scheduler:
        """Connect to the chain with the pool owner's key.

        Raises:
            InputError: the key is unusable.
            UnavailableError: the chain does not answer.
        """
        wallet = load_wallet(settings.key_file, settings.password_file)
        return cls(settings, ChainAccess.open(settings.rpc_url, settings.hub, wallet))

    # -- threads ------------------------------------------------------------------------------------------------

    def start(self) -> None:
        """Start following the chain."""
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
            self._stop.wait(pause)

    def _repeat(self, action: Callable[[], None], period_s: float) -> None:
        while not self._stop.is_set():
            try:
                action()
            except AdytonError as error:
                _log.warning("detector failed", code=error.code, detail=error.message)
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

    def may_login(self, wallet: Address) -> bool:
        """Whether the whitelist admits a wallet."""
        allowed = self.settings.whitelist
        return not allowed or wallet in allowed

    def login_challenge(self, wallet: Address) -> str:
        """The text that a worker signs to log in."""
        return login_challenge(self.settings.pool, wallet, self._logins.get(wallet))

    def login(self, wallet: Address, signature: str) -> str | None:
        """A token for a good signature over the current challenge, which is used up; None otherwise."""
        nonce = self._logins.peek(wallet)
        if nonce is None or not self.may_login(wallet):
            return None
        message = login_message(login_challenge(self.settings.pool, wallet, nonce))
        try:
            if recover_personal(message, signature) != wallet:
                return None
        except SignatureError:
            return None
        return self.tokens.issue(wallet) if self._logins.burn(wallet, nonce) else None

    def register(self, wallet: Address, registration: Registration) -> dict[str, Any]:
        """Store a worker; it counts as alive from now on."""
        body = registration.model_dump(mode="json", by_alias=True) | {"walletAddress": wallet}
        self.repo.save_worker(wallet, body, self._clock())
        self._polls.pop(wallet, None)  # whatever an earlier process of this worker waits for
        self.work.ring()
        record = self.repo.worker(wallet)
        return body | {"maxNbTasks": record.max_tasks if record is not None else 0}

    def ping(self, wallet: Address) -> bool:
        """A worker is alive; False when it has to register first."""
        return self.repo.touch_worker(wallet, self._clock())

    def next_assignment(self, wallet: Address, timeout_s: float) -> Assignment | None:
        """Wait for work for a worker; a later call of the same worker ends this one.

        A worker that was restarted leaves a long-poll behind that nobody reads: a task must not go there.
        """
        self.ping(wallet)
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
        statuses = Counter(task.status for task in self.state.tasks_in(tuple(TaskStatus)))
        return metrics_view(alive, computing, statuses, self.repo.deal_counts(), self.watcher.head)

    def logs_challenge(self, address: Address) -> TypedData:
        """The document that a requester signs to read logs."""
        return logs_document(self._access.chain_id, self._log_challenges.get(address))

    def logs(self, task_id: Bytes32, authorization: str) -> list[dict[str, str]]:
        """An application's output, for the deal's requester.

        Raises:
            LogAccessError: 401 for a malformed or wrong signature, 403 for somebody else, 404 when there is nothing.
        """
        parts = authorization.split("_")
        if len(parts) != 3:
            raise LogAccessError("the authorization is not hash_signature_address", 401)
        task = self.state.task(task_id)
        requester = str(task.data["requester"]) if task is not None else ""
        if parts[2].lower() != requester.lower():
            raise LogAccessError("only the requester of the deal may read its logs", 403)
        address = parse_address(requester)
        challenge = self._log_challenges.peek(address)
        if challenge is None or not _signed_by(address, parts[1], logs_document(self._access.chain_id, challenge)):
            raise LogAccessError("the signature is not over the current challenge", 401)
        found = self.repo.logs(task_id)
        if not found:
            raise LogAccessError("there are no logs", 404)
        return found


def logs_document(chain_id: int, challenge: str) -> TypedData:
    """The official EIP-712 document of the logs challenge (pool reference 3.3)."""
    return TypedData(
        types={
            "EIP712Domain": (("name", "string"), ("version", "string"), ("chainId", "uint256")),
            "Challenge": (("challenge", "string"),),
        },
        primary_type="Challenge",
        domain={"name": "iExec Core", "version": "1", "chainId": chain_id},
        message={"challenge": challenge},
    )


def _signed_by(address: Address, signature: str, document: TypedData) -> bool:
    try:
        return recover_digest(document.digest, signature) == address
    except SignatureError:
        return False
