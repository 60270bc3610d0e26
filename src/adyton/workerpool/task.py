"""The life of a task: statuses in the official order and the moves between them (pool reference 2.3)."""

from __future__ import annotations

from collections.abc import Mapping
from enum import StrEnum
from typing import Final


class TaskStatus(StrEnum):
    """Status of a task; the order of the members is the official ordinal."""

    RECEIVED = "RECEIVED"
    INITIALIZING = "INITIALIZING"
    INITIALIZED = "INITIALIZED"
    INITIALIZE_FAILED = "INITIALIZE_FAILED"
    RUNNING = "RUNNING"
    RUNNING_FAILED = "RUNNING_FAILED"
    CONTRIBUTION_TIMEOUT = "CONTRIBUTION_TIMEOUT"
    CONSENSUS_REACHED = "CONSENSUS_REACHED"
    REOPENING = "REOPENING"
    REOPENED = "REOPENED"
    REOPEN_FAILED = "REOPEN_FAILED"
    AT_LEAST_ONE_REVEALED = "AT_LEAST_ONE_REVEALED"
    RESULT_UPLOADING = "RESULT_UPLOADING"
    RESULT_UPLOADED = "RESULT_UPLOADED"
    RESULT_UPLOAD_TIMEOUT = "RESULT_UPLOAD_TIMEOUT"
    FINALIZING = "FINALIZING"
    FINALIZED = "FINALIZED"
    FINALIZE_FAILED = "FINALIZE_FAILED"
    FINAL_DEADLINE_REACHED = "FINAL_DEADLINE_REACHED"
    COMPLETED = "COMPLETED"
    FAILED = "FAILED"


_S = TaskStatus

FINAL: Final = frozenset({_S.COMPLETED, _S.FAILED})

_FORWARD: Final[Mapping[TaskStatus, frozenset[TaskStatus]]] = {
    _S.RECEIVED: frozenset({_S.INITIALIZING, _S.INITIALIZE_FAILED}),
    _S.INITIALIZING: frozenset({_S.INITIALIZED, _S.INITIALIZE_FAILED}),
    _S.INITIALIZED: frozenset({_S.RUNNING, _S.CONTRIBUTION_TIMEOUT}),
    _S.INITIALIZE_FAILED: frozenset({_S.FAILED}),
    _S.RUNNING: frozenset({_S.CONSENSUS_REACHED, _S.FINALIZED, _S.RUNNING_FAILED, _S.CONTRIBUTION_TIMEOUT}),
    _S.RUNNING_FAILED: frozenset({_S.FAILED}),
    _S.CONTRIBUTION_TIMEOUT: frozenset({_S.FAILED}),
    _S.CONSENSUS_REACHED: frozenset({_S.AT_LEAST_ONE_REVEALED, _S.REOPENING}),
    _S.REOPENING: frozenset({_S.REOPENED, _S.REOPEN_FAILED}),
    _S.REOPENED: frozenset({_S.INITIALIZED}),
    _S.REOPEN_FAILED: frozenset({_S.FAILED}),
    _S.AT_LEAST_ONE_REVEALED: frozenset({_S.RESULT_UPLOADING}),
    _S.RESULT_UPLOADING: frozenset({_S.RESULT_UPLOADED, _S.RESULT_UPLOAD_TIMEOUT}),
    _S.RESULT_UPLOADED: frozenset({_S.FINALIZING, _S.FINALIZE_FAILED}),
    _S.RESULT_UPLOAD_TIMEOUT: frozenset({_S.FAILED}),
    _S.FINALIZING: frozenset({_S.FINALIZED, _S.FINALIZE_FAILED}),
    _S.FINALIZED: frozenset({_S.COMPLETED}),
    _S.FINALIZE_FAILED: frozenset({_S.FAILED}),
    _S.FINAL_DEADLINE_REACHED: frozenset({_S.FAILED}),
    _S.COMPLETED: frozenset(),
    _S.FAILED: frozenset(),
}

# A task that has consensus may be found finalized on the chain by another hand of the pool's owner.
_CONSENSUS: Final = frozenset({_S.CONSENSUS_REACHED, _S.AT_LEAST_ONE_REVEALED, _S.RESULT_UPLOADING, _S.RESULT_UPLOADED})


def _targets(status: TaskStatus) -> frozenset[TaskStatus]:
    targets = _FORWARD[status]
    if status in _CONSENSUS:
        targets |= {_S.FINALIZING}
    # The final deadline ends every status but the final ones and itself.
    ends = status in FINAL or status is _S.FINAL_DEADLINE_REACHED
    return targets if ends else targets | {_S.FINAL_DEADLINE_REACHED}


TRANSITIONS: Final[Mapping[TaskStatus, frozenset[TaskStatus]]] = {status: _targets(status) for status in _S}

# Statuses that only wait for the step to FAILED.
FAILURES: Final = frozenset(
    {
        _S.INITIALIZE_FAILED,
        _S.RUNNING_FAILED,
        _S.CONTRIBUTION_TIMEOUT,
        _S.REOPEN_FAILED,
        _S.RESULT_UPLOAD_TIMEOUT,
        _S.FINALIZE_FAILED,
        _S.FINAL_DEADLINE_REACHED,
    }
)
OPEN: Final = tuple(status for status in _S if status not in FINAL)
SUPPLIED: Final = (_S.RUNNING, _S.INITIALIZED)  # in the order in which work is given out
CONTRIBUTION_PHASE: Final = frozenset({_S.INITIALIZED, _S.RUNNING})
REVEAL_PHASE: Final = _CONSENSUS
ENDING: Final = frozenset({_S.FINALIZING, _S.FINALIZED, _S.COMPLETED})
# Where a task may be while the chain has its result already.
FINALIZABLE: Final = CONTRIBUTION_PHASE | REVEAL_PHASE | {_S.FINALIZING, _S.FINALIZED}


def ordinal(status: TaskStatus) -> int:
    """The official position of a status, which decides what is worked on first (higher first)."""
    return _ORDINALS[status]


_ORDINALS: Final = {status: index for index, status in enumerate(TaskStatus)}
