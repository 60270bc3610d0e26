"""Which worker can run which task: hardware bit by bit of the tag, memory, category (pool reference 2.5; pure)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from adyton.base.types import Bytes32
from adyton.chain import tags
from adyton.workerpool.scheduler.repo import WorkerRecord

_GIB: Final = 1 << 30


@dataclass(frozen=True, slots=True)
class Demand:
    """What a task asks of a worker.

    Attributes:
        tag: the deal's tag.
        category: the deal's category.
        memory: bytes that its enclave reserves; 0 when nobody said.
    """

    tag: Bytes32
    category: int = 0
    memory: int = 0


def can_run(worker: WorkerRecord, demand: Demand) -> bool:
    """Whether a worker has what a task asks for; a bit that nobody knows is had by nobody."""
    body = worker.body
    offers = {
        "tee": bool(body.get("teeEnabled") or body.get("tdxEnabled")),
        "scone": bool(body.get("teeEnabled")),
        "gramine": bool(body.get("teeEnabled")),
        "tdx": bool(body.get("tdxEnabled")),
        "gpu": bool(body.get("gpuEnabled")),
    }
    if not tags.covers(tags.encode(name for name, has in offers.items() if has), demand.tag):
        return False
    memory = int(body.get("memorySize") or 0) * _GIB
    if memory and demand.memory > memory:
        return False
    categories = body.get("categories")
    return not categories or demand.category in categories
