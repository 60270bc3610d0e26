"""The public JSON forms of tasks, replicates and metrics (pool reference 3.3); members without a value are left out."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any, Final

from adyton.base.types import ZERO_BYTES32, Address
from adyton.workerpool.scheduler.repo import WorkerRecord
from adyton.workerpool.scheduler.state import Replicate, TaskState
from adyton.workerpool.scheduler.watch import Head
from adyton.workerpool.task import TaskStatus

_TASK_MEMBERS: Final = (
    "maxExecutionTime",
    "tag",
    "dappType",
    "dappName",
    "commandLine",
    "initializationBlockNumber",
    "trust",
    "uploadingWorkerWalletAddress",
    "consensus",
    "contributionDeadline",
    "revealDeadline",
    "finalDeadline",
    "resultLink",
    "chainCallbackData",
)


def task_view(
    task: TaskState, history: list[dict[str, Any]], replicates: Iterable[Replicate], base_url: str
) -> dict[str, Any]:
    """``TaskModel``: SMS URL, enclave challenge and deal are not shown."""
    view: dict[str, Any] = {
        "chainTaskId": task.id,
        "currentStatus": task.status.value,
        "dateStatusList": history,
        "replicates": [replicate_view(each, base_url) for each in replicates],
    }
    for name in _TASK_MEMBERS:
        value = task.data.get(name)
        if name == "tag" or value not in {None, "", ZERO_BYTES32}:
            view[name] = value
    return view


def replicate_view(replicate: Replicate, base_url: str) -> dict[str, Any]:
    """``ReplicateModel``."""
    data = replicate.entry.data
    address = f"{base_url}/tasks/{replicate.task_id}/replicates/{replicate.wallet}"
    statuses = []
    for report in replicate.history:
        item = {"status": report.status.value, "date": report.at.isoformat()}
        if report.detail.get("cause"):
            item["cause"] = report.detail["cause"]
        statuses.append(item)
    view: dict[str, Any] = {
        "self": address,
        "chainTaskId": replicate.task_id,
        "walletAddress": replicate.wallet,
        "currentStatus": replicate.status.value,
        "statusUpdateList": statuses,
        "resultLink": data.get("resultLink"),
        "chainCallbackData": data.get("chainCallbackData"),
        "contributionHash": data.get("contributionHash"),
        "appLogs": f"{address}/logs" if data.get("hasLogs") else None,
        "appExitCode": data.get("exitCode"),
        "teeSessionGenerationError": data.get("teeSessionGenerationError"),
        "errorMessage": data.get("errorMessage"),
    }
    return {name: value for name, value in view.items() if value is not None and value != ""}


def metrics_view(
    alive: Iterable[WorkerRecord],
    computing: Mapping[Address, int],
    statuses: Mapping[TaskStatus, int],
    deals: tuple[int, int, int],
    head: Head | None,
) -> dict[str, Any]:
    """``GET /metrics``: a worker with a GPU counts one GPU, busy when it has any task."""
    workers = list(alive)
    gpus = [each for each in workers if each.body.get("gpuEnabled")]
    cpus = [each for each in workers if not each.body.get("gpuEnabled")]
    cpu_total = sum(each.max_tasks for each in cpus)
    cpu_busy = sum(computing.get(each.wallet, 0) for each in cpus)
    gpu_busy = sum(1 for each in gpus if computing.get(each.wallet, 0))
    seen, accepted, newest = deals
    block = (
        {"blockNumber": 0, "blockHash": ZERO_BYTES32, "blockTimestamp": ""}
        if head is None
        else {
            "blockNumber": head.block.number,
            "blockHash": head.block.hash,
            "blockTimestamp": str(head.block.timestamp),
        }
    )
    return {
        "aliveWorkers": len(workers),
        "aliveComputingCpu": cpu_busy,
        "aliveRegisteredCpu": cpu_total,
        "aliveComputingGpu": gpu_busy,
        "aliveRegisteredGpu": len(gpus),
        "aliveAvailableCpu": cpu_total - cpu_busy,
        "aliveTotalCpu": cpu_total,
        "aliveAvailableGpu": len(gpus) - gpu_busy,
        "aliveTotalGpu": len(gpus),
        "currentTaskStatusesCount": {status.value: statuses.get(status, 0) for status in TaskStatus},
        "latestBlockMetric": block,
        "dealEventsCount": seen,
        "dealsCount": accepted,
        "replayDealsCount": 0,
        "latestBlockNumberWithDeal": newest,
    }
