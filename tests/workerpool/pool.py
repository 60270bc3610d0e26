"""A real pool for the tests of this room: chain, results service, scheduler and workers, each on its own port."""

from __future__ import annotations

import json
import shutil
import subprocess
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx2
from fastapi import FastAPI
from tests.conftest import Chain
from tests.ports import free_port
from tests.waiting import until
from tests.web.serving import serving as served

from adyton.base.types import Address, Bytes32, parse_bytes32
from adyton.chain.contracts import Hub
from adyton.chain.events import AssetTransfer, OrdersMatched, find
from adyton.chain.hashing import task_id
from adyton.chain.models import Task, TaskStatus
from adyton.chain.orders import NULL_DATASET_ORDER, AppOrder, RequestOrder, WorkerpoolOrder, sign_order
from adyton.chain.tx import TxSender
from adyton.chain.wallet import Wallet
from adyton.content.image import ImageConfig
from adyton.content.oci import write_layout
from adyton.content.reference import ImageReference
from adyton.content.registry import RegistryClient
from adyton.content.tar import TarEntry, deterministic_tar
from adyton.results.api import build_app as build_results
from adyton.results.settings import ResultsSettings
from adyton.workerpool.scheduler.api import build_app as build_scheduler
from adyton.workerpool.scheduler.service import Scheduler
from adyton.workerpool.scheduler.settings import SchedulerSettings
from adyton.workerpool.worker.api import build_app as build_worker
from adyton.workerpool.worker.service import Worker
from adyton.workerpool.worker.settings import WorkerSettings

NRLC = 10**9  # wei

SCRIPT = """#!/bin/sh
set -e
echo "hello $1"
case "$1" in
  fail) echo "bad luck" >&2; exit 3;;
  slow) sleep 60;;
  silent) exit 0;;
esac
for name in $IEXEC_INPUT_FILE_NAME_1; do cat "$IEXEC_IN/$name" >> "$IEXEC_OUT/result.txt"; done
printf 'task %s says %s\\n' "$IEXEC_BOT_TASK_INDEX" "$1" >> "$IEXEC_OUT/result.txt"
printf '{"deterministic-output-path":"/iexec_out/result.txt"}' > "$IEXEC_OUT/computed.json"
"""


@contextmanager
def serving(app: FastAPI, port: int) -> Iterator[str]:
    """Serve an application in this process, on a port."""
    with served(app, port=port) as url:
        try:
            yield url
        finally:
            if hasattr(app.state, "scheduler"):  # as the service's own process does when it gets a signal
                app.state.scheduler.release()


def shell_image(folder: Path) -> str:
    """A tiny image with a shell, a few tools and the script above; returns its digest."""
    shell = Path(shutil.which("dash") or "/bin/sh").resolve()
    programs = [shell, *(Path(shutil.which(name) or name).resolve() for name in ("cat", "sleep"))]
    files: dict[str, Path | bytes] = {"app/run.sh": SCRIPT.encode()}
    for name, program in zip(("sh", "cat", "sleep"), programs, strict=True):
        files[f"bin/{name}"] = program
        listing = subprocess.run(["ldd", str(program)], capture_output=True, text=True, check=True).stdout
        for line in listing.splitlines():
            for word in line.split():
                if word.startswith("/"):
                    files[word.lstrip("/")] = Path(word).resolve()
    entries = [
        TarEntry(name, content=content, executable=True) for name, content in sorted(files.items(), key=lambda i: i[0])
    ]
    config = ImageConfig(entrypoint=("/bin/sh", "/app/run.sh"), env=("PATH=/bin",))
    return write_layout(folder, [deterministic_tar(entries)], config, "1.0.0")


@dataclass
class Pool:
    """A pool with its services; workers are started by the tests."""

    chain: Chain
    folder: Path
    owner: Wallet
    requester: Wallet
    address: Address
    app: Address
    results_url: str
    scheduler_url: str = ""
    settings: SchedulerSettings | None = None
    service: Scheduler | None = None

    @property
    def hub(self) -> Hub:
        return self.chain.hub

    def buy(self, args: str, *, trust: int = 1, volume: int = 1, **params: object) -> list[Bytes32]:
        """Make a deal and return its tasks."""
        domain = self.hub.domain()
        text = json.dumps({"iexec_args": args, "iexec_result_storage_provider": "ipfs", **params})
        request = RequestOrder(
            app=self.app,
            requester=self.requester.address,
            beneficiary=self.requester.address,
            volume=volume,
            trust=trust,
            params=text,
        )
        orders = (
            sign_order(AppOrder(app=self.app, volume=1000), self.owner, domain),
            NULL_DATASET_ORDER,
            sign_order(WorkerpoolOrder(workerpool=self.address, volume=1000, trust=100), self.owner, domain),
            sign_order(request, self.requester, domain),
        )
        receipt = self.chain.sender(self.requester).send(self.hub.address, self.hub.match_orders(*orders))
        (deal,) = find(receipt.logs, OrdersMatched, self.hub.address)
        return [task_id(deal.deal_id, index) for index in range(volume)]

    def await_status(self, task: Bytes32, status: TaskStatus) -> Task:
        def look() -> Task | None:
            found = self.hub.view_task(task)
            return found if found is not None and found.status is status else None

        return until(look, what=f"task {status.name}")

    def view(self, task: Bytes32) -> dict[str, Any]:
        answer = httpx2.get(f"{self.scheduler_url}/tasks/{task}")
        assert answer.status_code == 200, answer.text
        return dict(answer.json())

    def await_view(self, task: Bytes32, check: Callable[[dict[str, Any]], bool]) -> dict[str, Any]:
        def look() -> dict[str, Any] | None:
            answer = httpx2.get(f"{self.scheduler_url}/tasks/{task}")
            found = answer.json() if answer.status_code == 200 else None
            return found if found and check(found) else None

        return until(look, what="the expected view")

    @contextmanager
    def scheduler(self) -> Iterator[None]:
        port = free_port() if self.settings is None else self.settings.port
        if self.settings is None:
            key_file = self.folder / "owner.key"
            write_key(key_file, self.owner)
            self.settings = SchedulerSettings(
                port=port,
                data_folder=self.folder / "scheduler",
                rpc_url=self.chain.url,
                hub_address=self.hub.address,
                pool_address=self.address,
                key_file=key_file,
                result_proxy_url=self.results_url,
                start_block=self.chain.rpc.block_number(),
                poll_interval_s=0.1,
                detector_period_s=0.5,
            )
        app = build_scheduler(self.settings)
        with serving(app, port) as url:
            self.scheduler_url, self.service = url, app.state.scheduler
            yield

    def worker_settings(self, name: str, wallet: Wallet | None = None) -> WorkerSettings:
        key_file = self.folder / f"{name}.key"
        if not key_file.exists():
            write_key(key_file, wallet or self.chain.funded_wallet())
        return WorkerSettings(
            port=free_port(),
            name=name,
            scheduler_url=self.scheduler_url,
            pool_address=self.address,
            data_folder=self.folder / name,
            rpc_url=self.chain.url,
            hub_address=self.hub.address,
            key_file=key_file,
            results_url=self.results_url,
            ipfs_gateway=self.results_url,
            cpu_count=2,
        )

    @contextmanager
    def worker(self, name: str = "w1") -> Iterator[Worker]:
        settings = self.worker_settings(name)
        worker = Worker.open(settings)
        with serving(build_worker(settings, worker), settings.port):
            yield worker
        if self.service is not None:
            # The long-poll that it left would take the next task, which somebody else gets seconds later.
            self.service._polls.clear()
            self.service.work.ring()


def write_key(path: Path, wallet: Wallet) -> None:
    path.write_text("0x" + wallet.private_key().reveal().hex())
    path.chmod(0o600)


def _create(sender: TxSender, registry: Address, calldata: bytes) -> Address:
    receipt = sender.send(registry, calldata)
    (created,) = find(receipt.logs, AssetTransfer, registry)
    return created.asset


@contextmanager
def open_pool(chain: Chain, folder: Path) -> Iterator[Pool]:
    """Results service, image, app and pool; no scheduler yet."""
    owner, requester = chain.funded_wallet(), chain.funded_wallet()
    sender = chain.sender(owner)
    sender.send(chain.deployment.hub, Hub.deposit(), 1_000_000 * NRLC)
    registries = chain.hub.registries()
    port = free_port()
    settings = ResultsSettings(
        port=port,
        data=folder / "results",
        rpc_url=chain.url,
        hub=chain.deployment.hub,
        chain_id=chain.deployment.chain_id,
    )
    with serving(build_results(settings), port) as results_url:
        digest = shell_image(folder / "image")
        name = f"127.0.0.1:{port}/demo/shell:1.0.0"
        RegistryClient().push(folder / "image", ImageReference.parse(name))
        checksum = parse_bytes32("0x" + digest.removeprefix("sha256:"))
        app = _create(
            sender,
            registries.app.address,
            registries.app.create_app(owner.address, "shell", "DOCKER", name.encode(), checksum, b""),
        )
        pool = _create(
            sender,
            registries.workerpool.address,
            registries.workerpool.create_workerpool(owner.address, folder.name),
        )
        yield Pool(chain, folder, owner, requester, pool, app, results_url)
