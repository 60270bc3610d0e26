"""The admin operations over HTTP (protocol, section 1.7): statuses and texts are the official ones.

Guarded by :class:`adyton.sms.http.edge.AdminGate` on every path below ``/admin``, so no route here looks at who asks.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from http import HTTPStatus
from typing import Annotated, Any, Final

from fastapi import APIRouter, Query, Response
from fastapi.responses import JSONResponse
from pydantic import BaseModel
from starlette.exceptions import HTTPException

from adyton.base.errors import AdytonError
from adyton.base.log import get_logger
from adyton.sms.errors import BackupBusyError, BackupNameError, BackupNotFoundError
from adyton.sms.http.intake import Served
from adyton.sms.wire import RotationAnswer

_log = get_logger("sms.admin")
_STATUS: Final[tuple[tuple[type[AdytonError], HTTPStatus], ...]] = (
    (BackupNameError, HTTPStatus.BAD_REQUEST),
    (BackupNotFoundError, HTTPStatus.NOT_FOUND),
    (BackupBusyError, HTTPStatus.TOO_MANY_REQUESTS),
)
_TEXTS: Final[dict[int | str, dict[str, Any]]] = {
    400: {"description": "A blank parameter, or one that names nothing inside the storage location"},
    401: {"description": "Wrong or missing `X-API-KEY`"},
    403: {"description": "No key is configured"},
    404: {"description": "No such folder or backup"},
    429: {"description": "Another operation is running"},
    500: {"description": "Anything else, with nothing changed"},
}
Name = Annotated[str, Query(alias="fileName", max_length=1024)]

router = APIRouter(prefix="/admin", tags=["admin"], responses=_TEXTS)


@router.post("/backup", status_code=201, response_class=Response)
def backup(services: Served) -> Response:
    """201 a backup was made at ``work/backup.sql``."""
    return _run("backup", services.backups.create, HTTPStatus.CREATED)


@router.post("/{storage}/replicate-backup", response_class=Response)
def replicate(services: Served, storage: str, name: Name) -> Response:
    """200 the backup was copied to the folder."""
    _not_blank(storage, name)
    return _run("replicate", lambda: services.backups.replicate(storage, name))


@router.post("/{storage}/restore-backup", response_class=Response)
def restore(services: Served, storage: str, name: Name) -> Response:
    """200 the database is in the state of the backup."""
    _not_blank(storage, name)
    return _run("restore", lambda: services.backups.restore(storage, name))


@router.delete("/{storage}/delete-backup", response_class=Response)
def delete(services: Served, storage: str, name: Name) -> Response:
    """200 both files are gone."""
    _not_blank(storage, name)
    return _run("delete", lambda: services.backups.delete(storage, name))


@router.post("/{source}/copy-to/{target}", response_class=Response)
def copy(
    services: Served,
    source: str,
    target: str,
    source_name: Annotated[str, Query(alias="sourceFileName", max_length=1024)],
    target_name: Annotated[str | None, Query(alias="destinationFileName", max_length=1024)] = None,
) -> Response:
    """200 both files were copied; the source's name is the default."""
    _not_blank(source, target, source_name)
    name = target_name if target_name and target_name.strip() else source_name
    return _run("copy", lambda: services.backups.copy(source, source_name, target, name))


@router.post("/rotate-keys", response_model=RotationAnswer)
def rotate_keys(services: Served) -> Response:
    """200 the database key is exchanged and every row sealed anew; not an official operation."""

    def operation() -> RotationAnswer:
        begun = time.monotonic()
        done = services.rotate_keys()
        return RotationAnswer(
            rows=done.rows,
            seconds=round(time.monotonic() - begun, 3),
            generation=done.generation,
            entry=done.entry,
            hash=done.entry_hash,
        )

    return _run("rotate-keys", operation)


def _not_blank(*values: str) -> None:
    if not all(value.strip() for value in values):
        raise HTTPException(HTTPStatus.BAD_REQUEST)


def _run(what: str, operation: Callable[[], object], status: HTTPStatus = HTTPStatus.OK) -> Response:
    """The official status; of a failure with problem+json, which the official service does not have, for operators.

    What a caller got wrong is 400, as the official documentation says and the official service does not.
    """
    try:
        done = operation()
    except AdytonError as error:
        _log.warning("admin operation failed", operation=what, code=error.code, detail=error.message)
        refused = next((code for kind, code in _STATUS if isinstance(error, kind)), HTTPStatus.INTERNAL_SERVER_ERROR)
        problem = {"type": "about:blank", "title": error.code, "status": refused, "detail": error.message}
        problem |= {"code": error.code, "hint": error.hint}
        return JSONResponse(problem, status_code=refused, media_type="application/problem+json")
    _log.info("admin operation done", operation=what)
    return JSONResponse(done.model_dump(), status) if isinstance(done, BaseModel) else Response(status_code=status)
