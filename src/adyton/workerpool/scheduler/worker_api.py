"""The scheduler's routes for workers (pool reference 3.1 and 3.2); all but the login need ``Authorization: Bearer``.

| route | answers |
| --- | --- |
| ``GET /workers/challenge?walletAddress=`` | 200 text; 401 not admitted |
| ``POST /workers/login?walletAddress=`` | 200 token; 401 |
| ``POST /workers/register`` | 200 worker; 401 |
| ``POST /workers/ping`` | 200 hash of the configuration; 401; 404 not registered |
| ``GET /workers/computing`` | 200 task ids; 401 |
| ``GET /replicates/available?blockNumber=`` | 200 after at most 20 s; 204 none; 401; 503 no chain |
| ``GET /replicates/notifications?after=`` | 200 list after at most 20 s; 401 |
| ``GET /replicates/interrupted?blockNumber=`` | 200 list; 401; 503 |
| ``POST /replicates/{id}/updateStatus`` | 200, 208, 202 next action; 401; 503 |
"""

from __future__ import annotations

from typing import Annotated, Any

from fastapi import APIRouter, Depends, Header, HTTPException, Query, Request, Response
from fastapi.responses import JSONResponse, PlainTextResponse

from adyton.base.canonical import canonical_json
from adyton.base.types import Address, keccak, parse_address, parse_bytes32, to_hex
from adyton.workerpool.scheduler.service import Scheduler
from adyton.workerpool.scheduler.settings import SchedulerSettings
from adyton.workerpool.scheduler.tokens import TokenError
from adyton.workerpool.wire import LONG_POLL_S, Registration, SignatureValue, StatusUpdate

Wait = Annotated[float, Query(ge=0, le=LONG_POLL_S, description="seconds to wait for something")]


def configuration_hash(settings: SchedulerSettings) -> str:
    """Changes when workers have to read the configuration again."""
    body = [settings.pool, settings.url, settings.result_proxy_url, settings.required_worker_version]
    return to_hex(keccak(canonical_json(body)))


def caller(request: Request, authorization: Annotated[str, Header()] = "") -> Address:
    """The wallet of the worker that calls, by its token."""
    scheme, _, token = authorization.partition(" ")
    service: Scheduler = request.app.state.scheduler
    try:
        wallet = service.admission.tokens.check(token if scheme == "Bearer" else "")
    except TokenError as error:
        raise HTTPException(401) from error
    service.ping(wallet)
    return wallet


Caller = Annotated[Address, Depends(caller)]


def worker_router(service: Scheduler) -> APIRouter:
    """Routes for workers."""
    router = APIRouter()
    _login_routes(router, service)
    _life_routes(router, service)
    _replicate_routes(router, service)
    return router


def _login_routes(router: APIRouter, service: Scheduler) -> None:
    @router.get("/workers/challenge")
    def challenge(walletAddress: str) -> Response:  # noqa: N803  # official name
        address = parse_address(walletAddress)
        if not service.admission.is_admitted(address):
            raise HTTPException(401)
        return PlainTextResponse(service.admission.challenge(address))

    @router.post("/workers/login")
    def login(walletAddress: str, signature: SignatureValue) -> Response:  # noqa: N803
        token = service.admission.login(parse_address(walletAddress), signature.value)
        if token is None:
            raise HTTPException(401)
        return PlainTextResponse(token)


def _life_routes(router: APIRouter, service: Scheduler) -> None:
    @router.post("/workers/register")
    def register(worker: Caller, registration: Registration) -> dict[str, Any]:
        return service.register(worker, registration)

    @router.post("/workers/ping")
    def ping(worker: Caller) -> Response:
        if not service.ping(worker):
            raise HTTPException(404)
        return PlainTextResponse(configuration_hash(service.settings))

    @router.get("/workers/computing")
    def computing(worker: Caller) -> list[str]:
        return [str(task_id) for task_id in service.supply.computing(worker)]


def _replicate_routes(router: APIRouter, service: Scheduler) -> None:
    @router.get("/replicates/available")
    def available(worker: Caller, blockNumber: int = 1, wait: Wait = LONG_POLL_S) -> Response:  # noqa: N803
        service.require_chain()
        assignment = service.next_assignment(worker, wait) if blockNumber > 0 else None
        if assignment is None:
            return Response(status_code=204)
        return JSONResponse(assignment.model_dump(mode="json", by_alias=True, exclude_none=True))

    @router.get("/replicates/notifications")
    def notifications(
        worker: Caller, after: Annotated[int, Query(ge=0)] = 0, wait: Wait = LONG_POLL_S
    ) -> list[dict[str, Any]]:
        return service.notices.wait(worker, after, wait)

    @router.get("/replicates/interrupted")
    def interrupted(worker: Caller) -> list[dict[str, Any]]:
        service.require_chain()
        found = service.recovery.interrupted(worker)
        return [each.model_dump(mode="json", by_alias=True, exclude_none=True) for each in found]

    @router.post("/replicates/{task_id}/updateStatus")
    def update_status(worker: Caller, task_id: str, update: StatusUpdate) -> Response:
        service.require_chain()
        answer = service.updates.report(parse_bytes32(task_id), worker, update)
        action = None if answer.action is None else answer.action.value
        return JSONResponse(action, status_code=answer.status)
