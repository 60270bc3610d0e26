"""A pool whose workers are played by the tests: real contracts, scheduler and results service, real wallets."""

from __future__ import annotations

import hashlib
import io
import json
import time
import zipfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx2
import pytest
from tests.conftest import Chain
from tests.ports import free_port
from tests.waiting import until
from tests.workerpool.pool import NRLC, serving, write_key

from adyton.base.clock import Clock, utc_now
from adyton.base.types import (
    ZERO_ADDRESS,
    ZERO_BYTES32,
    Address,
    Bytes32,
    from_hex,
    keccak,
    parse_address,
    to_hex,
    word_bytes,
)
from adyton.chain.anvil import increase_time
from adyton.chain.contracts import Hub
from adyton.chain.events import AssetTransfer, OrdersMatched, find
from adyton.chain.hashing import contribution_message, result_hash, result_seal, task_id
from adyton.chain.models import Task, TaskStatus
from adyton.chain.orders import NULL_DATASET_ORDER, AppOrder, RequestOrder, WorkerpoolOrder, sign_order
from adyton.chain.tx import TxSender
from adyton.chain.wallet import Wallet
from adyton.results.api import build_app as build_results
from adyton.results.client import ResultProxyClient
from adyton.results.settings import ResultsSettings
from adyton.results.wire import ResultModel
from adyton.workerpool.actions import Action
from adyton.workerpool.causes import Cause
from adyton.workerpool.replicate import ReplicateStatus as R
from adyton.workerpool.scheduler.api import build_app as build_scheduler
from adyton.workerpool.scheduler.client import WorkerSession
from adyton.workerpool.scheduler.service import Scheduler
from adyton.workerpool.scheduler.settings import SchedulerSettings
from adyton.workerpool.wire import Assignment, Registration, StatusDetails, StatusUpdate, TaskNotification
from adyton.workerpool.worker.links import callback_link, ipfs_link

PERIOD_S = 300  # of category 0


@dataclass
class Arena:
    """A pool and its services."""

    chain: Chain
    folder: Path
    owner: Wallet
    pool_owner: Address
    requester: Wallet
    address: Address
    app: Address
    results_url: str
    url: str = ""
    scheduler: Scheduler | None = None
    changes: dict[str, Any] = field(default_factory=dict)
    players: list[Player] = field(default_factory=list)

    @property
    def hub(self) -> Hub:
        return self.chain.hub

    def deal(self, **terms: Any) -> Bytes32:  # noqa: ANN401  # any of them
        """Make a deal: trust, volume, tag, price, callback, params; gives its id."""
        domain = self.hub.domain()
        tag, price, volume = terms.get("tag", ZERO_BYTES32), terms.get("price", 0), terms.get("volume", 1)
        params = {"iexec_args": "x", "iexec_result_storage_provider": "ipfs", **terms.get("params", {})}
        request = RequestOrder(
            app=self.app,
            requester=self.requester.address,
            beneficiary=self.requester.address,
            volume=volume,
            tag=tag,
            workerpoolmaxprice=price,
            trust=terms.get("trust", 1),
            callback=terms.get("callback", ZERO_ADDRESS),
            params=json.dumps(params),
        )
        pool = WorkerpoolOrder(workerpool=self.address, volume=1000, trust=10_000, tag=tag, workerpoolprice=price)
        orders = (
            sign_order(AppOrder(app=self.app, volume=1000, tag=tag), self.owner, domain),
            NULL_DATASET_ORDER,
            sign_order(pool, self.owner, domain),
            sign_order(request, self.requester, domain),
        )
        receipt = self.chain.sender(self.requester).send(self.hub.address, self.hub.match_orders(*orders))
        (matched,) = find(receipt.logs, OrdersMatched, self.hub.address)
        return matched.deal_id

    def buy(self, **terms: Any) -> Bytes32:  # noqa: ANN401  # any of them
        """Make a deal of one task and wait until workers can take it."""
        task = task_id(self.deal(**terms), 0)
        self.await_status(task, "INITIALIZED")
        return task

    def view(self, task: Bytes32) -> dict[str, Any]:
        answer = httpx2.get(f"{self.url}/tasks/{task}")
        return dict(answer.json()) if answer.status_code == 200 else {"currentStatus": "UNKNOWN", "replicates": []}

    def await_status(self, task: Bytes32, status: str, timeout_s: float = 10) -> dict[str, Any]:
        deadline = time.monotonic() + timeout_s
        while True:
            found = self.view(task)
            if found["currentStatus"] == status:
                return found
            if time.monotonic() > deadline:
                path = [each["status"] for each in found.get("dateStatusList", [])]
                pytest.fail(f"task did not become {status}: {path}, chain {self.chain_task(task)}")
            time.sleep(0.03)

    def chain_task(self, task: Bytes32) -> Task:
        found = self.hub.view_task(task)
        assert found is not None
        return found

    def await_chain(self, task: Bytes32, status: TaskStatus) -> Task:
        until(lambda: self.chain_task(task).status is status, 20, f"{status.name} on the chain")
        return self.chain_task(task)

    def travel(self, periods: float) -> None:
        """Let so many periods of category 0 pass on the chain."""
        increase_time(self.chain.rpc, int(periods * PERIOD_S))

    def close(self) -> None:
        for player in self.players:
            player.session.close()

    @contextmanager
    def running(self, clock: Clock = utc_now, **changes: Any) -> Iterator[Scheduler]:  # noqa: ANN401  # any of them
        """Run a scheduler whose host has this clock."""
        key_file = self.folder / "owner.key"
        if not key_file.exists():
            write_key(key_file, self.owner)
        settings = SchedulerSettings(
            **{
                "port": self.changes.setdefault("port", free_port()),
                "data_folder": self.folder / "scheduler",
                "rpc_url": self.chain.url,
                "hub_address": self.hub.address,
                "pool_address": self.address,
                "key_file": key_file,
                "result_proxy_url": self.results_url,
                "start_block": self.changes.setdefault("start_block", self.chain.rpc.block_number()),
                "poll_interval_s": 0.05,
                "detector_period_s": 0.1,
                **changes,
            }
        )
        scheduler = Scheduler.open(settings, clock)
        with serving(build_scheduler(settings, scheduler), settings.port) as url:
            self.url, self.scheduler = url, scheduler
            yield scheduler

    def player(self, answer: str = "truth", wallet: Wallet | None = None, **registration: Any) -> Player:  # noqa: ANN401  # any of them
        """A worker that will answer so, registered."""
        wallet = wallet or self.chain.funded_wallet()
        self.chain.sender(wallet).send(self.hub.address, Hub.deposit(), 1_000_000 * NRLC)
        self.players.append(Player(self, wallet, answer, registration))
        return self.players[-1]


class Player:
    """One worker, moved step by step."""

    def __init__(self, arena: Arena, wallet: Wallet, answer: str, registration: dict[str, Any]) -> None:
        self.arena = arena
        self.wallet = wallet
        self.answer = answer
        self.session = WorkerSession(arena.url, arena.address, wallet)
        self.session.register(Registration(name="player", cpu_nb=registration.pop("cpu_nb", 4), **registration))
        self.assignments: dict[Bytes32, Assignment] = {}
        self._seen = 0

    @property
    def address(self) -> Address:
        return self.wallet.address

    def digest(self, task: Bytes32) -> Bytes32:
        if self.arena.changes.get("callback"):
            return Bytes32(to_hex(keccak(self.answer.encode())))
        return Bytes32("0x" + hashlib.sha256(self.result(task)).hexdigest())

    def result(self, task: Bytes32) -> bytes:
        return f"{task} {self.answer}".encode()

    def archive(self, task: Bytes32) -> bytes:
        archive = io.BytesIO()
        with zipfile.ZipFile(archive, "w") as bundle:
            bundle.writestr("result.txt", self.result(task))
            bundle.writestr("computed.json", '{"deterministic-output-path":"/iexec_out/result.txt"}')
        return archive.getvalue()

    def take(self, task: Bytes32 | None = None, wait_s: float = 5) -> Bytes32 | None:
        """Ask for work; the task, which must be ``task`` when given."""
        found = self.session.available(1, wait_s)
        if found is None:
            assert task is None, "no work"
            return None
        given = Bytes32(found.workerpool_authorization.chain_task_id)
        assert task in {None, given}
        self.assignments[given] = found
        return given

    def report(self, task: Bytes32, status: R, **details: Any) -> tuple[int, Action | None]:  # noqa: ANN401  # any of them
        return self.session.update_status(task, StatusUpdate(status=status, details=StatusDetails(**details)))

    def expect(self, task: Bytes32, status: R, action: Action | None, **details: Any) -> None:  # noqa: ANN401  # any of them
        assert self.report(task, status, **details) == (200, action), status

    def compute(self, task: Bytes32, *, last: Action = Action.PLEASE_CONTRIBUTE) -> None:
        """From the start to COMPUTED."""
        go = Action.PLEASE_CONTINUE
        self.expect(task, R.STARTING, go)
        self.expect(task, R.STARTED, Action.PLEASE_DOWNLOAD_APP)
        self.expect(task, R.APP_DOWNLOADING, go)
        self.expect(task, R.APP_DOWNLOADED, Action.PLEASE_DOWNLOAD_DATA)
        self.expect(task, R.DATA_DOWNLOADING, go)
        self.expect(task, R.DATA_DOWNLOADED, Action.PLEASE_COMPUTE)
        self.expect(task, R.COMPUTING, go)
        self.expect(task, R.COMPUTED, last, exit_code=0)

    def send_contribution(self, task: Bytes32, enclave: Wallet | None = None) -> None:
        """The transaction alone."""
        authorization = self.assignments[task].workerpool_authorization
        digest = self.digest(task)
        proof = bytes(32)
        if enclave is not None:
            proof = enclave.sign_personal(word_bytes(contribution_message(task, self.address, digest)))
        calldata = self.arena.hub.contribute(
            task,
            result_hash(task, digest),
            result_seal(self.address, task, digest),
            parse_address(authorization.enclave_challenge),
            proof,
            from_hex(authorization.signature.value),
        )
        self.arena.chain.sender(self.wallet).send(self.arena.hub.address, calldata)

    def contribute(self, task: Bytes32) -> None:
        self.expect(task, R.CONTRIBUTING, Action.PLEASE_CONTINUE)
        self.send_contribution(task)
        code, action = self.report(task, R.CONTRIBUTED)
        assert (code, action) in {(200, Action.PLEASE_WAIT), (208, Action.PLEASE_WAIT)}

    def work(self, task: Bytes32) -> None:
        """Take a task, compute and contribute."""
        self.take(task)
        self.compute(task)
        self.contribute(task)

    def told(self, task: Bytes32, action: Action, timeout_s: float = 8) -> TaskNotification:
        """Wait until the scheduler says so."""
        deadline = time.monotonic() + timeout_s
        heard = []
        while time.monotonic() < deadline:
            for each in self.session.notifications(self._seen, 0.5):
                self._seen = max(self._seen, each.sequence)
                heard.append(each.task_notification_type)
                if each.chain_task_id == task and each.task_notification_type is action:
                    return each
        pytest.fail(f"was not told {action}, but {heard}; {self.arena.view(task)}")

    def reveal(self, task: Bytes32) -> None:
        self.expect(task, R.REVEALING, Action.PLEASE_CONTINUE)
        self.arena.chain.sender(self.wallet).send(
            self.arena.hub.address, self.arena.hub.reveal(task, self.digest(task))
        )
        code, _ = self.report(task, R.REVEALED)
        assert code in {200, 208}

    def store(self, task: Bytes32) -> str:
        """Upload a result; its link."""
        authorization = self.assignments[task].workerpool_authorization
        proxy = ResultProxyClient(self.arena.results_url)
        try:
            token = proxy.token(authorization, self.wallet)
            digest = self.digest(task)
            return ipfs_link(
                proxy.upload(token, ResultModel(chain_task_id=task, zip=self.archive(task), determinist_hash=digest))
            )
        finally:
            proxy.close()

    def upload(self, task: Bytes32) -> None:
        self.report(task, R.RESULT_UPLOADING)
        callback = self.arena.changes.get("callback")
        if callback:
            link, data = callback_link(callback), to_hex(self.answer.encode())
            self.expect(task, R.RESULT_UPLOADED, Action.PLEASE_WAIT, result_link=link, chain_callback_data=data)
        else:
            self.expect(task, R.RESULT_UPLOADED, Action.PLEASE_WAIT, result_link=self.store(task))

    def leave(self, task: Bytes32) -> None:
        """Fail for good."""
        self.report(task, R.ABORTED, cause=Cause.ABORTED_BY_WORKER)


@contextmanager
def results_service(chain: Chain, folder: Path) -> Iterator[str]:
    """The results service of one chain."""
    port = free_port()
    settings = ResultsSettings(
        port=port,
        data=folder,
        rpc_url=chain.url,
        hub=chain.deployment.hub,
        chain_id=chain.deployment.chain_id,
    )
    with serving(build_results(settings), port) as url:
        yield url


def make_arena(
    chain: Chain, folder: Path, results_url: str, *, owner: Wallet | None = None, pool_owner: Address | None = None
) -> Arena:
    """A pool, an app and accounts with money; ``pool_owner`` is a contract that the owner's key speaks for."""
    owner, requester = owner or chain.funded_wallet(), chain.funded_wallet()
    sender = chain.sender(owner)
    registries = chain.hub.registries()
    for wallet in (owner, requester):
        chain.sender(wallet).send(chain.deployment.hub, Hub.deposit(), 1_000_000 * NRLC)
    app = create_asset(
        sender,
        registries.app.address,
        registries.app.create_app(owner.address, folder.name, "DOCKER", b"registry/none:1", ZERO_BYTES32, b""),
    )
    pool = create_asset(
        sender,
        registries.workerpool.address,
        registries.workerpool.create_workerpool(pool_owner or owner.address, folder.name),
    )
    return Arena(chain, folder, owner, pool_owner or owner.address, requester, pool, app, results_url)


def create_asset(sender: TxSender, registry: Address, calldata: bytes) -> Address:
    (created,) = find(sender.send(registry, calldata).logs, AssetTransfer, registry)
    return created.asset


def players(arena: Arena, count: int, answer: str = "truth") -> list[Player]:
    return [arena.player(answer) for _ in range(count)]


def finish(arena: Arena, task: Bytes32, winners: list[Player], work: Callable[[Player], None] | None = None) -> Task:
    """Everything after consensus: reveals, the upload by whom the scheduler chooses, finalization."""
    for player in winners:
        player.told(task, Action.PLEASE_REVEAL)
        player.reveal(task)
    chosen = arena.await_status(task, "RESULT_UPLOADING")["uploadingWorkerWalletAddress"]
    uploader = next(player for player in winners if player.address == chosen)
    uploader.told(task, Action.PLEASE_UPLOAD)
    (work or (lambda player: player.upload(task)))(uploader)
    arena.await_status(task, "COMPLETED")
    return arena.chain_task(task)
