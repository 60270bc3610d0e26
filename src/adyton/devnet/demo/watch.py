"""Watching a purchase from outside: what the chain and the scheduler's public page say, and when."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field

from adyton.base.errors import AdytonError
from adyton.base.types import Bytes32, parse_address
from adyton.chain.events import OrdersMatched, TaskFinalize, TaskInitialize, decode
from adyton.chain.hashing import task_id
from adyton.chain.rpc import Log, Rpc
from adyton.devnet.network import Network
from adyton.web.client import HttpClient

_POLL_S = 0.05


@dataclass(slots=True)
class Purchase:
    """What was seen of one purchase; times are ``time.monotonic`` seconds when it was first seen."""

    deal_id: Bytes32 | None = None
    task_id: Bytes32 | None = None
    logs: dict[str, Log] = field(default_factory=dict)
    seen: dict[str, float] = field(default_factory=dict)

    @property
    def seconds(self) -> float:
        """From the purchase in a block to COMPLETED in a block."""
        return self.seen["completed"] - self.seen["bought"]


class PurchaseWatcher(threading.Thread):
    """Follows the first deal after its start until the task is finalized.

    Args:
        network: where.
        scheduler_url: the pool's public API.
        say: called with a line for each change.
    """

    def __init__(self, network: Network, scheduler_url: str, say: Callable[[str], None]) -> None:
        super().__init__(name="purchase-watcher", daemon=True)
        self._rpc = Rpc(network.rpc)
        self._hub = parse_address(network.hub)
        self._scheduler = HttpClient(scheduler_url, "the scheduler")
        self._say = say
        self._stopping = threading.Event()
        self._from_block = self._rpc.block_number() + 1
        self._status = ""
        self.purchase = Purchase()

    def failure(self) -> str | None:
        """Why the task will not complete, once the scheduler has given it up."""
        if self._status != "FAILED":
            return None
        page = self._scheduler.json("GET", f"/tasks/{self.purchase.task_id}")
        errors = [replicate.get("errorMessage", "") for replicate in page["replicates"]]
        return "the task failed: " + ("; ".join(filter(None, errors)) or "the scheduler gives no reason")

    def stop(self) -> Purchase:
        """Stop following; returns what was seen."""
        self._stopping.set()
        self.join()
        return self.purchase

    def run(self) -> None:
        """Look at chain and scheduler until stopped."""
        while not self._stopping.wait(_POLL_S):
            try:
                self._look()
            except AdytonError:
                continue

    def _look(self) -> None:
        for log in self._rpc.logs(self._hub, [], self._from_block, "latest"):
            self._note(log)
        task = self.purchase.task_id
        if task is not None and "completed" not in self.purchase.seen:
            status = self._scheduler.json("GET", f"/tasks/{task}")["currentStatus"]
            if status != self._status:
                self._status = status
                self._say(f"scheduler: task {status}")

    def _note(self, log: Log) -> None:
        event, found = decode(log), self.purchase
        match event:
            case OrdersMatched() if found.deal_id is None:
                found.deal_id, found.task_id = event.deal_id, task_id(event.deal_id, 0)
                self._first("bought", log, f"chain: deal {event.deal_id[:18]}… in block {log.block_number}")
            case TaskInitialize() if event.task_id == found.task_id:
                self._first("initialized", log, "chain: task initialized by the scheduler")
            case TaskFinalize() if event.task_id == found.task_id:
                self._first("completed", log, "chain: result and enclave signature accepted, task COMPLETED")

    def _first(self, name: str, log: Log, line: str) -> None:
        if name not in self.purchase.seen:
            self.purchase.seen[name] = time.monotonic()
            self.purchase.logs[name] = log
            self._say(line)
