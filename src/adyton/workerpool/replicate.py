"""The life of a replicate, one worker's run of a task: statuses, moves, answers to reports (pool reference 2.4)."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from enum import StrEnum
from typing import Final

from adyton.workerpool.actions import Action
from adyton.workerpool.causes import Cause


class ReplicateStatus(StrEnum):
    """Status of a replicate, in the official order."""

    CREATED = "CREATED"
    STARTING = "STARTING"
    START_FAILED = "START_FAILED"
    STARTED = "STARTED"
    APP_DOWNLOADING = "APP_DOWNLOADING"
    APP_DOWNLOAD_FAILED = "APP_DOWNLOAD_FAILED"
    APP_DOWNLOADED = "APP_DOWNLOADED"
    DATA_DOWNLOADING = "DATA_DOWNLOADING"
    DATA_DOWNLOAD_FAILED = "DATA_DOWNLOAD_FAILED"
    DATA_DOWNLOADED = "DATA_DOWNLOADED"
    COMPUTING = "COMPUTING"
    COMPUTE_FAILED = "COMPUTE_FAILED"
    COMPUTED = "COMPUTED"
    CONTRIBUTING = "CONTRIBUTING"
    CONTRIBUTE_FAILED = "CONTRIBUTE_FAILED"
    CONTRIBUTED = "CONTRIBUTED"
    REVEALING = "REVEALING"
    REVEAL_FAILED = "REVEAL_FAILED"
    REVEALED = "REVEALED"
    RESULT_UPLOAD_REQUESTED = "RESULT_UPLOAD_REQUESTED"
    RESULT_UPLOADING = "RESULT_UPLOADING"
    RESULT_UPLOAD_FAILED = "RESULT_UPLOAD_FAILED"
    RESULT_UPLOADED = "RESULT_UPLOADED"
    CONTRIBUTE_AND_FINALIZE_ONGOING = "CONTRIBUTE_AND_FINALIZE_ONGOING"
    CONTRIBUTE_AND_FINALIZE_FAILED = "CONTRIBUTE_AND_FINALIZE_FAILED"
    CONTRIBUTE_AND_FINALIZE_DONE = "CONTRIBUTE_AND_FINALIZE_DONE"
    COMPLETING = "COMPLETING"
    COMPLETE_FAILED = "COMPLETE_FAILED"
    COMPLETED = "COMPLETED"
    FAILED = "FAILED"
    ABORTED = "ABORTED"
    RECOVERING = "RECOVERING"
    WORKER_LOST = "WORKER_LOST"


_S = ReplicateStatus

FINAL: Final = frozenset({_S.COMPLETED, _S.FAILED})
_SIDE: Final = frozenset({_S.ABORTED, _S.RECOVERING, _S.WORKER_LOST})
WORKFLOW: Final = frozenset(status for status in _S if status not in _SIDE)

_FORWARD: Final[Mapping[ReplicateStatus, frozenset[ReplicateStatus]]] = {
    _S.CREATED: frozenset({_S.STARTING}),
    _S.STARTING: frozenset({_S.STARTED, _S.START_FAILED}),
    _S.STARTED: frozenset({_S.APP_DOWNLOADING}),
    _S.APP_DOWNLOADING: frozenset({_S.APP_DOWNLOADED, _S.APP_DOWNLOAD_FAILED}),
    _S.APP_DOWNLOAD_FAILED: frozenset({_S.CONTRIBUTING}),
    _S.APP_DOWNLOADED: frozenset({_S.DATA_DOWNLOADING}),
    _S.DATA_DOWNLOADING: frozenset({_S.DATA_DOWNLOADED, _S.DATA_DOWNLOAD_FAILED}),
    _S.DATA_DOWNLOAD_FAILED: frozenset({_S.CONTRIBUTING}),
    _S.DATA_DOWNLOADED: frozenset({_S.COMPUTING}),
    _S.COMPUTING: frozenset({_S.COMPUTED, _S.COMPUTE_FAILED}),
    _S.COMPUTED: frozenset({_S.CONTRIBUTING, _S.CONTRIBUTE_AND_FINALIZE_ONGOING}),
    _S.CONTRIBUTING: frozenset({_S.CONTRIBUTED, _S.CONTRIBUTE_FAILED}),
    _S.CONTRIBUTED: frozenset({_S.REVEALING}),
    _S.REVEALING: frozenset({_S.REVEALED, _S.REVEAL_FAILED}),
    _S.REVEALED: frozenset({_S.RESULT_UPLOAD_REQUESTED, _S.COMPLETING}),
    _S.RESULT_UPLOAD_REQUESTED: frozenset({_S.RESULT_UPLOADING}),
    _S.RESULT_UPLOADING: frozenset({_S.RESULT_UPLOADED, _S.RESULT_UPLOAD_FAILED}),
    _S.RESULT_UPLOAD_FAILED: frozenset({_S.COMPLETING}),
    _S.RESULT_UPLOADED: frozenset({_S.COMPLETING}),
    _S.CONTRIBUTE_AND_FINALIZE_ONGOING: frozenset({_S.CONTRIBUTE_AND_FINALIZE_DONE, _S.CONTRIBUTE_AND_FINALIZE_FAILED}),
    _S.CONTRIBUTE_AND_FINALIZE_DONE: frozenset({_S.COMPLETING}),
    _S.COMPLETING: frozenset({_S.COMPLETED, _S.COMPLETE_FAILED}),
}

_UNTIL_REVEAL: Final = tuple(_S)[: tuple(_S).index(_S.REVEALED)]
_FAILABLE: Final = (
    frozenset(_UNTIL_REVEAL)
    | _SIDE
    | {
        _S.CONTRIBUTE_AND_FINALIZE_ONGOING,
        _S.CONTRIBUTE_AND_FINALIZE_FAILED,
    }
)
_UNRECOVERABLE: Final = FINAL | {
    _S.START_FAILED,
    _S.COMPUTE_FAILED,
    _S.CONTRIBUTE_FAILED,
    _S.REVEAL_FAILED,
    _S.COMPLETE_FAILED,
    _S.RECOVERING,
    _S.ABORTED,
}


def _targets(status: ReplicateStatus) -> frozenset[ReplicateStatus]:
    if status in FINAL:
        return frozenset()
    if status is _S.ABORTED:
        return frozenset({_S.COMPLETED, _S.FAILED, _S.WORKER_LOST})
    targets = set(_FORWARD.get(status, frozenset()))
    if status is _S.WORKER_LOST:
        targets |= WORKFLOW | {_S.RECOVERING, _S.ABORTED}
    elif status is _S.RECOVERING:
        targets |= frozenset(_S) - {_S.CREATED, _S.STARTING, _S.RECOVERING}
    else:
        targets |= {_S.WORKER_LOST, _S.ABORTED}
        if status not in _UNRECOVERABLE:
            targets.add(_S.RECOVERING)
    if status in _FAILABLE:
        targets.add(_S.FAILED)
    return frozenset(targets - {status})


TRANSITIONS: Final[Mapping[ReplicateStatus, frozenset[ReplicateStatus]]] = {status: _targets(status) for status in _S}

_ORDER: Final = tuple(_S)
STARTED_STATUSES: Final = frozenset(
    {
        *_ORDER[_ORDER.index(_S.STARTED) : _ORDER.index(_S.CONTRIBUTED) + 1],
        _S.CONTRIBUTE_AND_FINALIZE_ONGOING,
        _S.CONTRIBUTE_AND_FINALIZE_FAILED,
        _S.CONTRIBUTE_AND_FINALIZE_DONE,
    }
)
FAILED_BEFORE_COMPUTED: Final = frozenset(
    {_S.START_FAILED, _S.APP_DOWNLOAD_FAILED, _S.DATA_DOWNLOAD_FAILED, _S.COMPUTE_FAILED}
)
# Statuses in which the worker's slot is taken.
COMPUTING_STATUSES: Final = frozenset(
    {
        _S.CREATED,
        _S.STARTING,
        _S.STARTED,
        _S.APP_DOWNLOADING,
        _S.APP_DOWNLOADED,
        _S.DATA_DOWNLOADING,
        _S.DATA_DOWNLOADED,
        _S.COMPUTING,
    }
)
BEFORE_CONTRIBUTING: Final = COMPUTING_STATUSES | FAILED_BEFORE_COMPUTED | {_S.COMPUTED}
# A replicate in one of these gives no contribution any more, so another worker may be asked.
HOPELESS: Final = frozenset(
    {
        _S.START_FAILED,
        _S.COMPUTE_FAILED,
        _S.CONTRIBUTE_FAILED,
        _S.CONTRIBUTE_AND_FINALIZE_FAILED,
        _S.FAILED,
        _S.ABORTED,
        _S.WORKER_LOST,
    }
)
# Statuses whose report asks for a new look at the task.
WAKING: Final = FAILED_BEFORE_COMPUTED | {
    _S.STARTED,
    _S.CONTRIBUTED,
    _S.REVEALED,
    _S.RESULT_UPLOADED,
    _S.RESULT_UPLOAD_FAILED,
    _S.CONTRIBUTE_AND_FINALIZE_DONE,
    _S.CONTRIBUTE_AND_FINALIZE_FAILED,
    _S.ABORTED,
}
# A worker cannot prove that its transaction will never be mined, so these reports are refused.
UNPROVABLE: Final = frozenset({_S.CONTRIBUTE_FAILED, _S.REVEAL_FAILED})

_CONTRIBUTABLE_CAUSES: Final = {
    _S.APP_DOWNLOAD_FAILED: frozenset({Cause.APP_IMAGE_DOWNLOAD_FAILED}),
    _S.DATA_DOWNLOAD_FAILED: frozenset(
        {
            Cause.DATASET_FILE_DOWNLOAD_FAILED,
            Cause.DATASET_FILE_BAD_CHECKSUM,
            Cause.INPUT_FILES_DOWNLOAD_FAILED,
        }
    ),
}
_NEXT: Final[Mapping[ReplicateStatus, Action]] = {
    _S.STARTED: Action.PLEASE_DOWNLOAD_APP,
    _S.APP_DOWNLOADED: Action.PLEASE_DOWNLOAD_DATA,
    _S.DATA_DOWNLOADED: Action.PLEASE_COMPUTE,
    _S.CONTRIBUTED: Action.PLEASE_WAIT,
    _S.REVEALED: Action.PLEASE_WAIT,
    _S.RESULT_UPLOADED: Action.PLEASE_WAIT,
    _S.CONTRIBUTE_AND_FINALIZE_DONE: Action.PLEASE_WAIT,
    _S.COMPLETED: Action.PLEASE_WAIT,
}
_FAILURE_SUFFIX: Final = "_FAILED"


def next_action(status: ReplicateStatus, cause: Cause | None, *, finalizes: bool) -> Action | None:
    """What a worker is told after an accepted report; None for ABORTED, which ends the talk.

    Args:
        status: what it reported.
        cause: why, for failures.
        finalizes: the task is eligible for contribute-and-finalize.
    """
    if status is _S.ABORTED:
        return None
    if status is _S.COMPUTED:
        return Action.PLEASE_CONTRIBUTE_AND_FINALIZE if finalizes else Action.PLEASE_CONTRIBUTE
    if status.endswith(_FAILURE_SUFFIX):
        contributable = cause is not None and cause in _CONTRIBUTABLE_CAUSES.get(status, frozenset())
        return Action.PLEASE_CONTRIBUTE if contributable else Action.PLEASE_ABORT
    return _NEXT.get(status, Action.PLEASE_CONTINUE)


def gives_up(status: ReplicateStatus, cause: Cause | None) -> bool:
    """Whether a replicate in this status, for this cause, contributes nothing any more, not even an error result."""
    contributable = status in _CONTRIBUTABLE_CAUSES and next_action(status, cause, finalizes=False)
    return status in HOPELESS or contributable is Action.PLEASE_ABORT


def last_relevant(history: Iterable[ReplicateStatus]) -> ReplicateStatus:
    """The latest status that is neither WORKER_LOST nor RECOVERING; ``history`` is oldest first and not empty."""
    found = _S.CREATED
    for status in history:
        if status not in {_S.WORKER_LOST, _S.RECOVERING}:
            found = status
    return found
