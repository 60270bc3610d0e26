"""Simulators of what the service stands on, and a running service on a real socket."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import httpx2
import uvicorn
import yaml
from fastapi import FastAPI

from adyton.base.errors import UnavailableError
from adyton.base.secret import Secret
from adyton.base.types import ZERO_ADDRESS, Address, Bytes32, parse_bytes32
from adyton.chain.contracts import AssetKind, TaskStatus
from adyton.chain.hashing import task_id as make_task_id
from adyton.chain.orders import DatasetOrder
from adyton.chain.wallet import Wallet, recover_digest
from adyton.sms.access import recipes
from adyton.sms.backup.backups import BackupArchive
from adyton.sms.composition import compose
from adyton.sms.errors import BulkError
from adyton.sms.http.api import build_app
from adyton.sms.onchain.view import AppFacts, ChainView, DatasetFacts, DealFacts, Head, OrderFacts, TaskFacts
from adyton.sms.opening.session_stores import SessionStore, SessionStoreError
from adyton.sms.pipelines import PipelineSettings, StageSettings
from adyton.sms.settings import SmsSettings
from adyton.sms.store.keyexchange import KeyExchange
from adyton.sms.wire import SignatureValue, WorkerpoolAuthorization
from adyton.web.server import listen

NOW = datetime(2026, 11, 22, 12, 0, tzinfo=UTC)
KEY_HEX = "11" * 32
LINE = '{"at":"2026-11-22T12:00:00+00:00","event":"session.released","fields":{}}'  # of the audit log
PRE_FINGERPRINT, APP_FINGERPRINT, POST_FINGERPRINT = "a1" * 32, "b2" * 32, "c3" * 32
SCONE_TAG = parse_bytes32("0x" + "00" * 31 + "03")
MRENCLAVE = (
    '{"framework":"SCONE","version":"v1","entrypoint":"python3 /app/app.py","heapSize":1073741824,'
    f'"fingerprint":"{APP_FINGERPRINT}"}}'
)
APP = Address("0x1111111111111111111111111111111111111111")
DATASET = Address("0x2222222222222222222222222222222222222222")
WORKERPOOL = Address("0x3333333333333333333333333333333333333333")
STRANGE_CONTRACT = Address("0x4444444444444444444444444444444444444444")
DEAL_ID = parse_bytes32("0x" + "22" * 32)
TASK_ID = make_task_id(DEAL_ID, 0)


def wallet(number: int) -> Wallet:
    return Wallet(Secret(number.to_bytes(32)))


APP_OWNER, DATASET_OWNER, POOL_OWNER, REQUESTER, BENEFICIARY, WORKER = (wallet(n) for n in range(101, 107))


class SettableClock:
    """Time that a test sets."""

    def __init__(self, now: datetime = NOW) -> None:
        self.now = now

    def __call__(self) -> datetime:
        return self.now

    def advance(self, seconds: float) -> None:
        self.now += timedelta(seconds=seconds)


@dataclass
class SimulatedChain:
    """A :class:`ChainView` over dictionaries that counts its calls."""

    head_timestamp: int = int(NOW.timestamp())
    tasks: dict[str, TaskFacts] = field(default_factory=dict)
    deals: dict[str, DealFacts] = field(default_factory=dict)
    apps: dict[str, AppFacts] = field(default_factory=dict)
    datasets: dict[str, DatasetFacts] = field(default_factory=dict)
    owners: dict[str, Address] = field(default_factory=dict)
    kinds: dict[str, AssetKind] = field(default_factory=dict)
    orders: dict[str, OrderFacts] = field(default_factory=dict)
    contracts: dict[str, Address] = field(default_factory=dict)
    hashes: dict[int, Bytes32] = field(default_factory=dict)
    height: int = 1000
    down: bool = False
    calls: int = 0

    def head(self) -> Head:
        self._called()
        return Head(self.height, self.head_timestamp)

    def block_hash(self, number: int) -> Bytes32 | None:
        self._called()
        return self.hashes.get(number, parse_bytes32(f"0x{number:064x}"))

    def order_facts(self, order: DatasetOrder, deal: DealFacts) -> OrderFacts:  # noqa: ARG002  # the protocol's
        self._called()
        return self.orders.get(order.dataset, OrderFacts(signed=True, consumed=0))

    def accepts_signature(self, account: Address, digest: bytes, signature: bytes) -> bool | None:
        """A contract of :attr:`contracts` accepts what its controller signed, anything may follow it."""
        self._called()
        if account not in self.contracts:
            return None
        return recover_digest(digest, signature[:65]) == self.contracts[account]

    def task(self, task_id: Bytes32) -> TaskFacts | None:
        self._called()
        return self.tasks.get(task_id)

    def deal(self, deal_id: Bytes32) -> DealFacts | None:
        self._called()
        return self.deals.get(deal_id)

    def app(self, address: Address) -> AppFacts | None:
        self._called()
        return self.apps.get(address)

    def dataset(self, address: Address) -> DatasetFacts | None:
        self._called()
        return self.datasets.get(address)

    def owner(self, address: Address) -> Address | None:
        self._called()
        return self.owners.get(address)

    def asset_kind(self, address: Address) -> AssetKind | None:
        self._called()
        return self.kinds.get(address)

    def _called(self) -> None:
        self.calls += 1
        if self.down:
            raise UnavailableError("the node is down")

    def change_task(self, **changes: Any) -> None:  # noqa: ANN401  # any fields
        self.tasks[TASK_ID] = replace(self.tasks[TASK_ID], **changes)

    def change_deal(self, **changes: Any) -> None:  # noqa: ANN401  # any fields
        self.deals[DEAL_ID] = replace(self.deals[DEAL_ID], **changes)

    def change_app(self, **changes: Any) -> None:  # noqa: ANN401  # any fields
        self.apps[APP] = replace(self.apps[APP], **changes)


def bought_task(params: str = "{}", *, dataset: bool = False) -> SimulatedChain:
    """A chain with one deal of one active task, one hour before its deadline."""
    chain = SimulatedChain()
    now = int(NOW.timestamp())
    chain.tasks[TASK_ID] = TaskFacts(TASK_ID, TaskStatus.ACTIVE, DEAL_ID, 0, now + 3600)
    chain.deals[DEAL_ID] = DealFacts(
        deal_id=DEAL_ID,
        app=APP,
        dataset=DATASET if dataset else ZERO_ADDRESS,
        workerpool=WORKERPOOL,
        workerpool_owner=POOL_OWNER.address,
        requester=REQUESTER.address,
        beneficiary=BENEFICIARY.address,
        callback=ZERO_ADDRESS,
        tag=SCONE_TAG,
        params=params,
        start_time=now - 60,
        bot_first=0,
        bot_size=1,
    )
    chain.apps[APP] = AppFacts("registry/app:1", parse_bytes32("0x" + "5a" * 32), MRENCLAVE)
    chain.datasets[DATASET] = DatasetFacts("/ipfs/QmData", parse_bytes32("0x" + "da" * 32))
    chain.owners = {
        APP: APP_OWNER.address,
        DATASET: DATASET_OWNER.address,
        WORKERPOOL: POOL_OWNER.address,
        STRANGE_CONTRACT: REQUESTER.address,
    }
    chain.kinds = {APP: AssetKind.APP, DATASET: AssetKind.DATASET, WORKERPOOL: AssetKind.WORKERPOOL}
    return chain


class SimulatedFiles:
    """Files by CID, for bulk tasks."""

    def __init__(self) -> None:
        self.files: dict[str, bytes] = {}

    def file(self, name: str) -> bytes:
        if name not in self.files:
            raise BulkError(f"no file {name}", code="sms.bulk.gateway")
        return self.files[name]


class RecordingStore:
    """A :class:`SessionStore` that keeps what it gets."""

    def __init__(self) -> None:
        self.documents: list[dict[str, Any]] = []
        self.refuses = False

    def create(self, document: Secret[str]) -> None:
        if self.refuses:
            raise SessionStoreError("the CAS did not store the session: cas.session.exists")
        self.documents.append(yaml.safe_load(document.reveal()))


def pipeline(version: str = "v1", *, java: bool = False) -> PipelineSettings:
    return PipelineSettings(
        version=version,
        pre_compute=StageSettings(
            image="adyton/pre:1", fingerprint=PRE_FINGERPRINT, entrypoint="python3 -m pre", heap_size="1GB"
        ),
        post_compute=StageSettings(
            image="adyton/post:1", fingerprint=POST_FINGERPRINT, entrypoint="python3 -m post", heap_size="1GB"
        ),
        java_environment=java,
    )


def make_settings(folder: Path, **changes: Any) -> SmsSettings:  # noqa: ANN401  # any settings
    """Settings of a service whose key and database are in ``folder``."""
    key_file = folder / "database-key"
    key_file.write_text(changes.pop("key_hex", KEY_HEX) + "\n")
    return SmsSettings(
        **{
            "database": str(folder / "sms.sqlite3"),
            "database_key_file": key_file,
            "pipelines": (pipeline(),),
            "tolerated_insecure_options": ("debug-mode",),
            **changes,
        }
    )


@dataclass
class Service:
    """A running service and what it stands on."""

    url: str
    chain: SimulatedChain
    store: RecordingStore
    clock: SettableClock
    settings: SmsSettings
    http: httpx2.Client
    files: SimulatedFiles

    def send(
        self, method: str, path: str, signature: str = "", body: bytes | str | None = None, **query: str
    ) -> httpx2.Response:
        headers = {"Authorization": signature} if signature else {}
        return self.http.request(method, path, headers=headers, params=query, content=body)


@contextmanager
def running(
    folder: Path,
    chain: SimulatedChain | None = None,
    *,
    seen: ChainView | None = None,
    real_chain: bool = False,
    cas: SessionStore | None = None,
    archive: BackupArchive | None = None,
    exchange: KeyExchange | None = None,
    **changes: Any,  # noqa: ANN401  # any settings
) -> Iterator[Service]:
    """Run a service of its own state on the shared socket until the block ends.

    With ``real_chain`` it reads the hub that the settings name, at the real time; ``seen`` is what it sees of the chain
    instead of ``chain`` itself; ``cas`` takes its sessions.
    """
    chain = chain or bought_task()
    clock = SettableClock(datetime.now(UTC) if real_chain else NOW)
    store, settings = RecordingStore(), make_settings(folder, **changes)
    files = SimulatedFiles()
    view = None if real_chain else seen or chain
    services = compose(
        settings, view=view, store=cas or store, files=files, archive=archive, exchange=exchange, clock=clock
    )
    server = _SERVERS[-1]
    server.app.state.services = services
    server.app.state.registry.register(services.metrics)
    try:
        yield Service(server.url, chain, store, clock, settings, server.http, files)
    finally:
        server.app.state.registry.unregister(services.metrics)
        services.close()


@dataclass
class Server:
    """One application on one real socket, whose services each test replaces by its own."""

    app: FastAPI
    url: str
    http: httpx2.Client


_SERVERS: list[Server] = []


@contextmanager
def serving(folder: Path) -> Iterator[Server]:
    """Start the server that :func:`running` uses."""
    app = build_app(make_settings(folder), view=bought_task(), store=RecordingStore())
    app.state.registry.unregister(app.state.services.metrics)
    listener = listen("127.0.0.1", 0)
    uvicorn_server = uvicorn.Server(uvicorn.Config(app, log_level="error"))
    thread = threading.Thread(target=uvicorn_server.run, kwargs={"sockets": [listener]})
    thread.start()
    url = f"http://127.0.0.1:{listener.getsockname()[1]}"
    try:
        while not uvicorn_server.started:
            time.sleep(0.01)
        with httpx2.Client(base_url=url, trust_env=False) as http:
            _SERVERS.append(Server(app, url, http))
            yield _SERVERS[-1]
    finally:
        _SERVERS.clear()
        uvicorn_server.should_exit = True
        thread.join()
        listener.close()


def authorization(
    challenge: str, *, worker: Wallet = WORKER, pool: Wallet = POOL_OWNER, task_id: str = TASK_ID
) -> WorkerpoolAuthorization:
    """An authorization as a scheduler signs it."""
    signed = recipes.sign(recipes.authorization_challenge(worker.address, task_id, challenge), pool)
    return WorkerpoolAuthorization(
        chain_task_id=task_id,
        worker_wallet=worker.address,
        enclave_challenge=challenge,
        signature=SignatureValue(value=signed),
    )
