"""The worker as one object: its loops for work, notifications and signs of life, and the tasks that it runs."""

from __future__ import annotations

import platform as host
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Final

from adyton import __version__
from adyton.base.clock import Clock, utc_now
from adyton.base.errors import AdytonError, InputError
from adyton.base.log import get_logger
from adyton.base.types import Address, Bytes32, from_hex, parse_address, parse_bytes32, to_hex, word_bytes
from adyton.chain.contracts import owner_of
from adyton.chain.hashing import authorization_hash
from adyton.chain.models import TaskStatus
from adyton.chain.wallet import SignatureError, personal_digest, recover_personal
from adyton.content.registry import RegistryClient
from adyton.platform.client import PlatformClient
from adyton.runner.bwrap import find_runner
from adyton.runner.profile import Runner, RunnerMissingError
from adyton.workerpool.access import ChainAccess, load_wallet
from adyton.workerpool.actions import Action
from adyton.workerpool.description import DealUnreadableError, TaskDescription, read_task
from adyton.workerpool.scheduler.client import SchedulerClient, WorkerSession
from adyton.workerpool.wire import (
    NotificationExtra,
    Registration,
    TaskNotification,
    WorkerpoolAuthorization,
)
from adyton.workerpool.worker.board import StageBoard
from adyton.workerpool.worker.context import WorkerContext
from adyton.workerpool.worker.durations import Durations
from adyton.workerpool.worker.folders import purge
from adyton.workerpool.worker.images import ImageStore
from adyton.workerpool.worker.pipeline import TaskRun
from adyton.workerpool.worker.settings import WorkerSettings
from adyton.workerpool.worker.warming import warm_up

_log = get_logger("worker")

PING_S: Final = 10.0
_ERROR_PAUSE_S: Final = 1.0
_LOOKS: Final = 10  # at a chain that may be a block behind the scheduler's node
_PAUSE_S: Final = 0.2
_JOIN_S: Final = 1.0  # a loop may sit in a long-poll; it holds nothing that has to be kept


class PoolMismatchError(AdytonError):
    """The scheduler serves another pool, or wants another version of the worker."""

    code = "worker.pool"


class Worker:
    """One worker.

    Args:
        settings: its settings.
        access: the chain, with the worker's account.
        runner: runs standard applications; None when there is none.
        clock: current time.
    """

    def __init__(
        self, settings: WorkerSettings, access: ChainAccess, runner: Runner | None, clock: Clock = utc_now
    ) -> None:
        self._settings = settings
        self._access = access
        self.board = StageBoard(self._chain_status)
        self.durations = Durations()
        self._registry = RegistryClient()
        platform = None if settings.platform_socket is None else PlatformClient(settings.platform_socket)
        self._context = WorkerContext(
            settings=settings,
            access=access,
            images=ImageStore(settings.data_folder / "images", self._registry),
            board=self.board,
            durations=self.durations,
            runner=runner,
            platform=platform,
            proxy_url=settings.results_url,
            clock=clock,
        )
        self._scheduler = SchedulerClient(settings.scheduler_url)
        self._session = WorkerSession(settings.scheduler_url, settings.pool, access.wallet)
        self._runs: dict[Bytes32, TaskRun] = {}
        self._lock = threading.Lock()
        self._slots = threading.BoundedSemaphore(settings.slots)
        self._pool = ThreadPoolExecutor(max_workers=2 * settings.slots + 4, thread_name_prefix="task")
        self._stop = threading.Event()
        self._seen = 0  # sequence of the last notification
        self._threads: list[threading.Thread] = []

    @classmethod
    def open(cls, settings: WorkerSettings) -> Worker:
        """Connect to the chain with the worker's key, and find a runner.

        Raises:
            InputError: the key is unusable.
            UnavailableError: the chain does not answer.
        """
        wallet = load_wallet(settings.key_file, settings.password_file)
        try:
            runner: Runner | None = find_runner()
        except RunnerMissingError as error:
            _log.warning("no standard tasks", code=error.code, detail=error.message, hint=error.hint)
            runner = None
        return cls(settings, ChainAccess.open(settings.rpc_url, settings.hub, wallet), runner)

    # -- life ---------------------------------------------------------------------------------------------------

    def start(self) -> None:
        """Start working in the background; the scheduler may come up later."""
        self._spawn("main", self._main)

    def stop(self) -> None:
        """Stop asking for work. What runs is ended; the scheduler offers it again after the restart."""
        self._stop.set()
        with self._lock:
            runs = list(self._runs.values())
        for run in runs:
            run.interrupt()
        self._pool.shutdown(wait=False, cancel_futures=True)
        for thread in self._threads:
            thread.join(timeout=_JOIN_S / max(len(self._threads), 1))
        self._session.close()
        self._scheduler.close()
        self._registry.close()
        self._access.rpc.close()

    def join(self) -> None:
        """Introduce the worker and take up what it left.

        Raises:
            PoolMismatchError: another pool, or another version is required.
            UnavailableError, LoginError: the scheduler does not answer or does not admit the worker.
        """
        configuration = self._scheduler.configuration()
        if parse_address(configuration.worker_pool_address) != self._settings.pool:
            raise PoolMismatchError(f"the scheduler serves pool {configuration.worker_pool_address}")
        if configuration.required_worker_version not in {"", __version__}:
            raise PoolMismatchError(f"the scheduler wants workers of version {configuration.required_worker_version}")
        self._session.register(self._registration())
        interrupted = self._session.interrupted(self._access.rpc.block_number())
        purge(self._settings.data_folder, {parse_bytes32(each.chain_task_id) for each in interrupted})
        for notification in interrupted:
            self._submit(lambda each=notification: self._recover(each))  # type: ignore[misc]  # bound now

    def _main(self) -> None:
        while not self._stop.is_set():
            try:
                self.join()
                break
            except AdytonError as error:
                _log.warning("not joined yet", code=error.code, detail=error.message)
                self._stop.wait(_ERROR_PAUSE_S)
        if self._stop.is_set():
            return
        _log.info("joined", wallet=self._access.wallet.address, slots=self._settings.slots)
        self._spawn("ping", lambda: self._repeat(self._ping, PING_S))
        if self._settings.warm_sms_url:
            self._spawn("warm", lambda: warm_up(self._context, self._stop))
        self._spawn("notices", lambda: self._repeat(self._listen, 0))
        self._repeat(self._ask, 0)

    def _repeat(self, action: Callable[[], None], pause_s: float) -> None:
        while not self._stop.is_set():
            try:
                action()
                pause = pause_s
            except AdytonError as error:
                if self._stop.is_set():
                    return
                _log.warning("scheduler or chain", code=error.code, detail=error.message)
                pause = _ERROR_PAUSE_S
            except RuntimeError as error:  # the HTTP client was closed by stop()
                if self._stop.is_set():
                    return
                _log.error("loop broke", detail=str(error))
                pause = _ERROR_PAUSE_S
            if pause:
                self._stop.wait(pause)

    def _spawn(self, name: str, target: Callable[[], None]) -> None:
        thread = threading.Thread(target=target, name=f"worker-{name}", daemon=True)
        self._threads.append(thread)
        thread.start()

    # -- loops --------------------------------------------------------------------------------------------------

    def _ping(self) -> None:
        if self._session.ping() is None:
            self._session.register(self._registration())

    def _ask(self) -> None:
        if not self._slots.acquire(timeout=_ERROR_PAUSE_S):
            return
        taken = False
        try:
            assignment = self._session.available(max(self._access.rpc.block_number(), 1))
            if assignment is not None:
                authorization, sms_url = assignment.workerpool_authorization, assignment.sms_url
                taken = self._submit(lambda: self._begin(authorization, sms_url), holds_slot=True)
        finally:
            if not taken:
                self._slots.release()

    def _listen(self) -> None:
        for notification in self._session.notifications(self._seen):
            self._seen = max(self._seen, notification.sequence)
            self._submit(lambda each=notification: self._obey(each))  # type: ignore[misc]  # bound now

    def _submit(self, work: Callable[[], None], *, holds_slot: bool = False) -> bool:
        def guarded() -> None:
            try:
                work()
            except AdytonError as error:
                _log.error("task failed", code=error.code, detail=error.message)
            except Exception:  # noqa: BLE001  # a border: one task must not take the worker down
                _log.exception("task broke")
            finally:
                if holds_slot:
                    self._slots.release()

        try:
            self._pool.submit(guarded)
        except RuntimeError:  # the worker is being stopped
            return False
        return True

    # -- tasks --------------------------------------------------------------------------------------------------

    def _begin(self, authorization: WorkerpoolAuthorization, sms_url: str | None) -> None:
        with self._lock:
            known = parse_bytes32(authorization.chain_task_id) in self._runs
        run = None if known else self._open_run(authorization, sms_url)
        if run is not None:
            run.drive(Action.PLEASE_START)
            self._forget_ended(run)

    def _recover(self, notification: TaskNotification) -> None:
        extra = notification.task_notification_extra or NotificationExtra()
        if extra.workerpool_authorization is None:
            return
        run = self._open_run(extra.workerpool_authorization, extra.sms_url)
        if run is not None:
            _log.info("resuming", task=run.task.task_id, action=notification.task_notification_type.value)
            run.resume(notification.task_notification_type, extra)
            self._forget_ended(run)

    def _obey(self, notification: TaskNotification) -> None:
        task_id = parse_bytes32(notification.chain_task_id)
        with self._lock:
            run = self._runs.get(task_id)
        if run is None:
            return  # ended here already, or a restart will be told by /replicates/interrupted
        extra = notification.task_notification_extra or NotificationExtra()
        if notification.task_notification_type is Action.PLEASE_ABORT:
            run.abort(notification.task_abort_cause)
        else:
            run.drive(notification.task_notification_type, extra)
        self._forget_ended(run)

    def _open_run(self, authorization: WorkerpoolAuthorization, sms_url: str | None) -> TaskRun | None:
        task_id = parse_bytes32(authorization.chain_task_id)
        if not self._is_authorized(authorization):
            _log.error("authorization refused", task=task_id)
            return None
        task = self._describe(task_id)
        with self._lock:
            run = self._runs.get(task_id)
            if run is None:
                run = self._runs[task_id] = TaskRun(self._context, self._session, task, authorization, sms_url)
        return run

    def _describe(self, task_id: Bytes32) -> TaskDescription:
        for _ in range(_LOOKS):
            try:
                return read_task(self._access.hub, task_id)
            except DealUnreadableError:
                self._stop.wait(_PAUSE_S)
        return read_task(self._access.hub, task_id)

    def _is_authorized(self, authorization: WorkerpoolAuthorization) -> bool:
        """Whether the pool's owner signed this authorization for this worker."""
        try:
            worker, challenge = (
                parse_address(authorization.worker_wallet),
                parse_address(authorization.enclave_challenge),
            )
            message = authorization_hash(worker, parse_bytes32(authorization.chain_task_id), challenge)
            signer = recover_personal(word_bytes(message), authorization.signature.value)
        except (InputError, SignatureError):
            return False
        return worker == self._access.wallet.address and self._speaks_for_pool(signer, message, authorization)

    def _speaks_for_pool(self, signer: Address, message: Bytes32, authorization: WorkerpoolAuthorization) -> bool:
        owner = owner_of(self._access.rpc, self._settings.pool)
        if signer == owner:
            return True
        digest = Bytes32(to_hex(personal_digest(word_bytes(message))))  # a contract may own the pool (ERC-1271)
        return self._access.hub.verify_signature(owner, digest, from_hex(authorization.signature.value))

    def _chain_status(self, task_id: Bytes32) -> TaskStatus | None:
        task = self._access.hub.view_task(task_id)
        return None if task is None else task.status

    def _forget_ended(self, run: TaskRun) -> None:
        if run.ended:
            with self._lock:
                self._runs.pop(run.task.task_id, None)

    def _registration(self) -> Registration:
        return Registration(
            name=self._settings.name,
            wallet_address=self._access.wallet.address,
            os=host.system(),
            cpu=host.machine(),
            cpu_nb=self._settings.slots,
            tee_enabled=self._settings.platform_socket is not None,
        )
