"""The replicate's machine and the answers to reports (pool reference 2.4)."""

from __future__ import annotations

import pytest

from adyton.workerpool.actions import Action
from adyton.workerpool.causes import Cause
from adyton.workerpool.replicate import FINAL, TRANSITIONS, WORKFLOW, ReplicateStatus, last_relevant, next_action

S = ReplicateStatus

LINEAR = [
    (S.CREATED, S.STARTING),
    (S.STARTING, S.STARTED),
    (S.STARTING, S.START_FAILED),
    (S.STARTED, S.APP_DOWNLOADING),
    (S.APP_DOWNLOADING, S.APP_DOWNLOADED),
    (S.APP_DOWNLOADING, S.APP_DOWNLOAD_FAILED),
    (S.APP_DOWNLOADED, S.DATA_DOWNLOADING),
    (S.APP_DOWNLOAD_FAILED, S.CONTRIBUTING),
    (S.DATA_DOWNLOAD_FAILED, S.CONTRIBUTING),
    (S.DATA_DOWNLOADED, S.COMPUTING),
    (S.COMPUTING, S.COMPUTE_FAILED),
    (S.COMPUTED, S.CONTRIBUTING),
    (S.COMPUTED, S.CONTRIBUTE_AND_FINALIZE_ONGOING),
    (S.CONTRIBUTING, S.CONTRIBUTED),
    (S.CONTRIBUTED, S.REVEALING),
    (S.REVEALED, S.RESULT_UPLOAD_REQUESTED),
    (S.REVEALED, S.COMPLETING),
    (S.RESULT_UPLOAD_REQUESTED, S.RESULT_UPLOADING),
    (S.RESULT_UPLOAD_FAILED, S.COMPLETING),
    (S.CONTRIBUTE_AND_FINALIZE_DONE, S.COMPLETING),
    (S.COMPLETING, S.COMPLETED),
    (S.COMPLETING, S.COMPLETE_FAILED),
]


@pytest.mark.parametrize(("source", "target"), LINEAR)
def test_workflow_moves(source: S, target: S) -> None:
    assert target in TRANSITIONS[source]


@pytest.mark.parametrize(
    ("source", "target"),
    [
        (S.CREATED, S.STARTED),
        (S.STARTING, S.APP_DOWNLOADING),
        (S.COMPUTED, S.REVEALING),
        (S.COMPUTE_FAILED, S.CONTRIBUTING),
        (S.RESULT_UPLOAD_REQUESTED, S.RESULT_UPLOAD_FAILED),
        (S.REVEALED, S.FAILED),
        (S.RECOVERING, S.STARTING),
        (S.RECOVERING, S.CREATED),
        (S.START_FAILED, S.RECOVERING),
        (S.ABORTED, S.RECOVERING),
        (S.ABORTED, S.STARTING),
    ],
)
def test_forbidden_moves(source: S, target: S) -> None:
    assert target not in TRANSITIONS[source]


def test_every_open_status_can_be_lost_and_aborted() -> None:
    for status in set(S) - FINAL - {S.WORKER_LOST}:
        assert S.WORKER_LOST in TRANSITIONS[status], status
    for status in set(S) - FINAL - {S.ABORTED}:
        assert S.ABORTED in TRANSITIONS[status], status


def test_final_statuses_never_change() -> None:
    assert all(not TRANSITIONS[status] for status in FINAL)


def test_a_lost_worker_can_come_back_anywhere() -> None:
    assert TRANSITIONS[S.WORKER_LOST] >= WORKFLOW | {S.RECOVERING, S.ABORTED}


@pytest.mark.parametrize(
    ("status", "cause", "finalizes", "action"),
    [
        (S.STARTING, None, False, Action.PLEASE_CONTINUE),
        (S.STARTED, None, False, Action.PLEASE_DOWNLOAD_APP),
        (S.APP_DOWNLOADED, None, False, Action.PLEASE_DOWNLOAD_DATA),
        (S.DATA_DOWNLOADED, None, False, Action.PLEASE_COMPUTE),
        (S.COMPUTED, None, False, Action.PLEASE_CONTRIBUTE),
        (S.COMPUTED, None, True, Action.PLEASE_CONTRIBUTE_AND_FINALIZE),
        (S.CONTRIBUTED, None, False, Action.PLEASE_WAIT),
        (S.REVEALED, None, False, Action.PLEASE_WAIT),
        (S.COMPLETED, None, False, Action.PLEASE_WAIT),
        (S.COMPUTE_FAILED, Cause.APP_COMPUTE_FAILED, False, Action.PLEASE_ABORT),
        (S.APP_DOWNLOAD_FAILED, Cause.APP_IMAGE_DOWNLOAD_FAILED, False, Action.PLEASE_CONTRIBUTE),
        (S.APP_DOWNLOAD_FAILED, Cause.POST_COMPUTE_FAILED_UNKNOWN_ISSUE, False, Action.PLEASE_ABORT),
        (S.DATA_DOWNLOAD_FAILED, Cause.DATASET_FILE_BAD_CHECKSUM, False, Action.PLEASE_CONTRIBUTE),
        (S.DATA_DOWNLOAD_FAILED, Cause.APP_IMAGE_DOWNLOAD_FAILED, False, Action.PLEASE_ABORT),
        (S.ABORTED, Cause.UNKNOWN, False, None),
    ],
)
def test_next_action(status: S, cause: Cause | None, finalizes: bool, action: Action | None) -> None:
    assert next_action(status, cause, finalizes=finalizes) is action


def test_last_relevant_ignores_lost_and_recovering() -> None:
    assert last_relevant([S.CREATED, S.STARTING, S.WORKER_LOST, S.RECOVERING]) is S.STARTING
