"""What the operator may ask of a running CAS: ``POST /admin/rotate-keys`` on the REST port, over mTLS.

Who may is said by the setting ``admins`` (key hashes of client certificates). The operator is not trusted with
secrets, and no operation here shows one or takes one away. Statuses: 200 done · 401 no client certificate · 403
``cas.admin.forbidden`` · 503 the disk or the platform does not take it, a start settles it.
"""

from __future__ import annotations

import hashlib
import hmac
from collections.abc import Iterable

from fastapi import APIRouter, Request
from pydantic import BaseModel, ConfigDict

from adyton.base.errors import UnavailableError
from adyton.base.log import get_logger
from adyton.cas.errors import ForbiddenError, UnauthenticatedError
from adyton.cas.face.identity import spki_of
from adyton.cas.operation import ROTATE_PATH
from adyton.cas.store.audit import AuditEvent
from adyton.cas.store.state import CasState
from adyton.web.peercert import client_certificate

_log = get_logger("cas.admin")


class RotationAnswer(BaseModel):
    """The audit entry about the exchange: its number and its hash, hex; and the new authority's fingerprint."""

    model_config = ConfigDict(strict=True, frozen=True, extra="forbid")

    entry: int
    hash: str
    authority: str


def admin_routes(state: CasState, admins: Iterable[str]) -> APIRouter:
    """The routes, for the clients that ``admins`` name."""
    accepted = tuple(admins)
    router = APIRouter()

    @router.post(ROTATE_PATH)
    def rotate_keys(request: Request) -> RotationAnswer:
        client = _client(request)
        if not any(hmac.compare_digest(client, admin) for admin in accepted):
            error = ForbiddenError(
                "this client is no administrator of this CAS",
                code="cas.admin.forbidden",
                hint="name its key hash in ADYTON_CAS_ADMINS and start the CAS again",
            )
            state.audit.refused(AuditEvent("keys.rotate", "refused", code=error.code, client=client))
            raise error
        try:
            entry = state.rotate_keys(client)
        except OSError as error:
            _log.error("keys not rotated", detail=str(error))  # no traceback of what holds keys
            raise UnavailableError(
                f"the keys were not rotated: {error.strerror}",
                code="cas.keys.unsettled",
                hint="start the CAS again: it finds out which key the database is under and goes on with that one",
            ) from error
        return RotationAnswer(entry=entry.seq, hash=entry.hash, authority=str(entry.values["authority"]))

    return router


def _client(request: Request) -> str:
    certificate = client_certificate(dict(request.scope))
    if certificate is None:
        raise UnauthenticatedError("the connection has no client certificate")
    return hashlib.sha256(spki_of(certificate)).hexdigest()
