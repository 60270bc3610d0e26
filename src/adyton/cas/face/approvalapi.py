"""Approving successors over HTTP: ``/v1/session/<name>/upgrade`` on the REST port, over mTLS.

=============================  ==========================================================================
``POST`` (UpgradeRequest)      200: the voice counts · 409 ``cas.upgrade.none``, ``…predecessor``, ``…successor``,
                               ``…contested``
``DELETE``                     200: the caller's voice is taken back · 409 ``cas.upgrade.none``, ``…no_approval``
=============================  ==========================================================================

Both answer what became of the line (UpgradeAnswer); ``GET /session/<name>`` has it too. Both: 400 · 401 · 403
``cas.upgrade.forbidden``: the session does not name the caller · 404 ``cas.session.unknown`` · 429 · 503.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

from fastapi import APIRouter
from pydantic import ValidationError

from adyton.base.errors import AdytonError, InputError, UnavailableError
from adyton.cas.face.api import Body, Client, Peer
from adyton.cas.face.refusals import RefusalLimit
from adyton.cas.releasing.approvals import ApprovalService
from adyton.cas.wire import UpgradeAnswer, UpgradeRequest

_MAX_REQUEST: Final = 1024  # two measurements and a word


def approval_routes(approvals: ApprovalService, limit: RefusalLimit) -> APIRouter:
    """The routes; ``limit`` is on the refused requests of one client."""
    router = APIRouter()

    @router.post("/v1/session/{name}/upgrade")
    def approve(client: Client, peer: Peer, name: str, body: Body) -> UpgradeAnswer:
        return counted(client, peer, lambda: approvals.approve(client, name, _read(body)))

    @router.delete("/v1/session/{name}/upgrade")
    def revoke(client: Client, peer: Peer, name: str) -> UpgradeAnswer:
        return counted(client, peer, lambda: approvals.revoke(client, name))

    def counted(client: str, peer: str, act: Callable[[], UpgradeAnswer]) -> UpgradeAnswer:
        try:
            return act()
        except UnavailableError:
            raise
        except AdytonError:
            limit.refused(client, peer)
            raise

    return router


def _read(body: bytes) -> UpgradeRequest:
    if len(body) > _MAX_REQUEST:
        raise InputError(f"the request has {len(body)} bytes; at most {_MAX_REQUEST}", code="cas.request.invalid")
    try:
        return UpgradeRequest.model_validate_json(body)
    except ValidationError as error:
        first = error.errors(include_input=False, include_url=False, include_context=False)[0]
        place = ".".join(map(str, first["loc"])) or "request"
        raise InputError(f"{place}: {first['msg']}", code="cas.request.invalid") from None
