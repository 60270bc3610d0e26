"""The routes that stage enclaves call on their worker, and the worker's application (SMS reference 6.3 and 7.6).

| route | answers |
| --- | --- |
| ``POST /compute/{pre|post}/{taskId}/exit-causes`` | 200; 208 reported before; 400 empty; 401; 404 no such task here |
| ``POST /compute/{pre|post}/{taskId}/exit`` | the same, one cause (deprecated) |
| ``POST /compute/post/{taskId}/computed`` | 200 task id; 400 other task; 401 signature or refused; 404 |
| ``POST /iexec_out/{taskId}/computed`` | the same (deprecated) |
"""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Annotated, Any

import anyio.to_thread
from fastapi import APIRouter, FastAPI, Header, HTTPException, Response
from fastapi.responses import PlainTextResponse
from pydantic import Field

from adyton import __version__
from adyton.base.types import parse_bytes32
from adyton.compute.client import ComputedFile
from adyton.compute.wire import MAX_CAUSES, ComputedFileModel, ExitCause, Stage
from adyton.web.app import new_app
from adyton.workerpool.worker.board import StageBoard, Verdict
from adyton.workerpool.worker.service import Worker
from adyton.workerpool.worker.settings import WorkerSettings

Causes = Annotated[list[ExitCause], Field(max_length=MAX_CAUSES)]


def build_app(settings: WorkerSettings, worker: Worker | None = None) -> FastAPI:
    """The worker's application; it works while it is served."""
    service = Worker.open(settings) if worker is None else worker

    @asynccontextmanager
    async def lifespan(_app: FastAPI) -> AsyncIterator[None]:
        service.start()
        try:
            yield
        finally:
            await anyio.to_thread.run_sync(service.stop)

    app = new_app("Adyton worker", __version__, lifespan=lifespan)
    app.include_router(stage_router(service.board))

    @app.get("/metrics")
    def metrics() -> dict[str, Any]:
        return service.durations.view()

    @app.get("/version")
    def version() -> Response:
        return PlainTextResponse(__version__)

    return app


def stage_router(board: StageBoard) -> APIRouter:
    """Routes for stage enclaves."""
    router = APIRouter()

    def stage_of(text: str) -> Stage:
        try:
            return Stage(text.lower())
        except ValueError as error:
            raise HTTPException(404) from error

    @router.post("/compute/{stage}/{task_id}/exit-causes")
    def exit_causes(stage: str, task_id: str, causes: Causes, authorization: Annotated[str, Header()] = "") -> Response:
        verdict = board.report_causes(parse_bytes32(task_id), stage_of(stage), causes, authorization)
        return Response(status_code=verdict.value)

    @router.post("/compute/{stage}/{task_id}/exit")
    def exit_cause(
        stage: str, task_id: str, cause: ExitCause, authorization: Annotated[str, Header()] = ""
    ) -> Response:
        verdict = board.report_causes(parse_bytes32(task_id), stage_of(stage), [cause], authorization)
        return Response(status_code=verdict.value)

    @router.post("/compute/post/{task_id}/computed")
    @router.post("/iexec_out/{task_id}/computed", include_in_schema=False)
    def computed(task_id: str, body: ComputedFileModel, authorization: Annotated[str, Header()] = "") -> Response:
        values = {name: value for name, value in body.model_dump().items() if value is not None}
        verdict = board.report_computed(parse_bytes32(task_id), ComputedFile(**values), authorization)
        if verdict is Verdict.STORED:
            return PlainTextResponse(task_id)
        return Response(status_code=verdict.value)

    return router
