"""The scheduler's public routes and its application (pool reference 3.3).

| route | answers |
| --- | --- |
| ``GET /tasks/{id}`` | 200 task with replicates; 404 |
| ``GET /tasks/{id}/replicates/{wallet}`` | 200; 404 |
| ``GET /tasks/logs/challenge?address=`` | 200 EIP-712 document; 400 no address |
| ``GET /tasks/{id}/logs``, ``…/replicates/{wallet}/logs`` | 200; 401; 403; 404 |
| ``GET /metrics``, ``/version``, ``/workers/config`` | 200 |
"""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Annotated, Any, Final

import anyio.to_thread
from fastapi import APIRouter, FastAPI, Header, Request, Response
from fastapi.middleware.cors import CORSMiddleware
from fastapi.responses import JSONResponse, PlainTextResponse
from prometheus_client.core import GaugeMetricFamily
from prometheus_client.registry import Collector

from adyton import __version__
from adyton.base.types import parse_address, parse_bytes32
from adyton.web.app import new_app
from adyton.workerpool.scheduler.feedback import LogAccessError
from adyton.workerpool.scheduler.service import Scheduler
from adyton.workerpool.scheduler.settings import SchedulerSettings
from adyton.workerpool.scheduler.worker_api import worker_router
from adyton.workerpool.wire import PublicConfiguration

MAX_THREADS: Final = 512  # every worker holds two long-polls
ASK_PERIOD_MS: Final = 5000  # for official workers; ours hold a long-poll instead


def build_app(settings: SchedulerSettings, scheduler: Scheduler | None = None) -> FastAPI:
    """The scheduler's application; it follows the chain while it is served.

    Args:
        settings: its settings.
        scheduler: made from the settings when not given.
    """
    service = Scheduler.open(settings) if scheduler is None else scheduler

    @asynccontextmanager
    async def lifespan(_app: FastAPI) -> AsyncIterator[None]:
        anyio.to_thread.current_default_thread_limiter().total_tokens = MAX_THREADS
        service.start()
        try:
            yield
        finally:
            await anyio.to_thread.run_sync(service.stop)

    app = new_app("Adyton scheduler", __version__, lifespan=lifespan)
    app.add_middleware(CORSMiddleware, allow_origins=["*"], allow_methods=["*"], allow_headers=["*"])
    app.state.scheduler = service
    app.include_router(public_router(service))
    app.include_router(worker_router(service))
    app.state.registry.register(PoolCollector(service))

    @app.exception_handler(LogAccessError)
    async def refuse_logs(_request: Request, error: LogAccessError) -> JSONResponse:
        return JSONResponse({"error": error.message}, status_code=error.status)

    return app


def public_router(service: Scheduler) -> APIRouter:
    """Routes for requesters and for everyone."""
    router = APIRouter()
    _log_routes(router, service)  # first: "logs" is no task id
    _view_routes(router, service)
    return router


def _log_routes(router: APIRouter, service: Scheduler) -> None:
    @router.get("/tasks/logs/challenge")
    def logs_challenge(address: str, chainId: str | None = None) -> dict[str, Any]:  # noqa: ARG001, N803
        # Official clients also send the chain's id; this scheduler serves one chain only.
        return service.feedback.challenge(parse_address(address)).to_json()

    @router.get("/tasks/{task_id}/logs")
    def logs(task_id: str, authorization: Annotated[str, Header()] = "") -> dict[str, Any]:
        task = parse_bytes32(task_id)
        return {"chainTaskId": task, "computeLogsList": service.feedback.logs(task, authorization)}

    @router.get("/tasks/{task_id}/replicates/{wallet}/logs")
    def replicate_logs(task_id: str, wallet: str, authorization: Annotated[str, Header()] = "") -> dict[str, str]:
        owner = parse_address(wallet)
        for entry in service.feedback.logs(parse_bytes32(task_id), authorization):
            if entry["walletAddress"] == owner:
                return entry
        raise LogAccessError("there are no logs", 404)


def _view_routes(router: APIRouter, service: Scheduler) -> None:
    @router.get("/tasks/{task_id}")
    def task(task_id: str) -> dict[str, Any]:
        return service.task(parse_bytes32(task_id))

    @router.get("/tasks/{task_id}/replicates/{wallet}")
    def replicate(task_id: str, wallet: str) -> dict[str, Any]:
        return service.replicate(parse_bytes32(task_id), parse_address(wallet))

    @router.get("/metrics")
    def metrics() -> dict[str, Any]:
        return service.metrics()

    @router.get("/version")
    def version() -> Response:
        return PlainTextResponse(__version__)

    @router.get("/workers/config")
    def config() -> dict[str, Any]:
        return public_configuration(service.settings).model_dump(by_alias=True)


def public_configuration(settings: SchedulerSettings) -> PublicConfiguration:
    """What workers must know before they log in."""
    return PublicConfiguration(
        worker_pool_address=settings.pool,
        scheduler_public_address=settings.url,
        config_server_url="",
        result_repository_url=settings.result_proxy_url,
        ask_for_replicate_period=ASK_PERIOD_MS,
        required_worker_version=settings.required_worker_version,
    )


class PoolCollector(Collector):
    """The official gauges for Prometheus, read when they are asked for."""

    def __init__(self, service: Scheduler) -> None:
        self._service = service

    def describe(self) -> list[GaugeMetricFamily]:
        """Names without values, so that registering reads no database."""
        return [GaugeMetricFamily("iexec_core_workers", "Alive workers.")]

    def collect(self) -> list[GaugeMetricFamily]:
        """The gauges' values now."""
        found = self._service.metrics()
        tasks = GaugeMetricFamily("iexec_core_tasks_count", "Tasks by status.", labels=["period", "status"])
        for status, count in found["currentTaskStatusesCount"].items():
            tasks.add_metric(["current", status], count)
        return [
            GaugeMetricFamily("iexec_core_workers", "Alive workers.", value=found["aliveWorkers"]),
            GaugeMetricFamily("iexec_core_cpu_computing", "Busy CPUs.", value=found["aliveComputingCpu"]),
            GaugeMetricFamily("iexec_core_cpu_registered", "CPUs.", value=found["aliveRegisteredCpu"]),
            GaugeMetricFamily("iexec_core_gpu_computing", "Busy GPUs.", value=found["aliveComputingGpu"]),
            GaugeMetricFamily("iexec_core_gpu_registered", "GPUs.", value=found["aliveRegisteredGpu"]),
            GaugeMetricFamily("iexec_core_deals_events", "Notices seen.", value=found["dealEventsCount"]),
            GaugeMetricFamily("iexec_core_deals", "Deals accepted.", value=found["dealsCount"]),
            GaugeMetricFamily(
                "iexec_core_deals_last_block", "Block of the newest deal.", value=found["latestBlockNumberWithDeal"]
            ),
            GaugeMetricFamily(
                "iexec_chain_block_latest", "Newest block.", value=found["latestBlockMetric"]["blockNumber"]
            ),
            tasks,
        ]
