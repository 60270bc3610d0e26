"""What an interrupted worker is told (pool reference 7.3)."""

from __future__ import annotations

import pytest

from adyton.workerpool.actions import AbortCause, Action
from adyton.workerpool.replicate import ReplicateStatus
from adyton.workerpool.scheduler.recovery import Situation, decide
from adyton.workerpool.task import TaskStatus

R, T = ReplicateStatus, TaskStatus


def situation(task: TaskStatus, relevant: ReplicateStatus, **known: bool) -> Situation:
    facts = {"contributed": False, "revealed": False, "uploaded": False, "consensus": False} | known
    return Situation(task=task, relevant=relevant, **facts)


CONTRIBUTED = {"contributed": True}
REVEALED = {"contributed": True, "revealed": True}


@pytest.mark.parametrize(
    ("given", "action"),
    [
        pytest.param(situation(T.RUNNING, R.COMPUTING), (Action.PLEASE_CONTRIBUTE, None), id="computing"),
        pytest.param(situation(T.INITIALIZED, R.CREATED), (Action.PLEASE_CONTRIBUTE, None), id="never started"),
        pytest.param(situation(T.RUNNING, R.CONTRIBUTING), (Action.PLEASE_CONTRIBUTE, None), id="not on chain"),
        pytest.param(situation(T.RUNNING, R.CONTRIBUTED, **CONTRIBUTED), (Action.PLEASE_WAIT, None), id="contributed"),
        pytest.param(
            situation(T.RUNNING, R.CONTRIBUTED, consensus=True, **CONTRIBUTED),
            (Action.PLEASE_REVEAL, None),
            id="contributed and consensus",
        ),
        pytest.param(
            situation(T.CONTRIBUTION_TIMEOUT, R.COMPUTING),
            (Action.PLEASE_ABORT, AbortCause.CONTRIBUTION_TIMEOUT),
            id="contribution timeout",
        ),
        pytest.param(
            situation(T.CONSENSUS_REACHED, R.COMPUTING),
            (Action.PLEASE_ABORT, AbortCause.CONSENSUS_REACHED),
            id="consensus without it",
        ),
        pytest.param(
            situation(T.CONSENSUS_REACHED, R.REVEALING, **CONTRIBUTED),
            (Action.PLEASE_REVEAL, None),
            id="reveal not on chain",
        ),
        pytest.param(situation(T.RESULT_UPLOADING, R.REVEALED, **REVEALED), (Action.PLEASE_WAIT, None), id="revealed"),
        pytest.param(
            situation(T.RESULT_UPLOADING, R.RESULT_UPLOAD_REQUESTED, **REVEALED),
            (Action.PLEASE_UPLOAD, None),
            id="upload requested",
        ),
        pytest.param(
            situation(T.RESULT_UPLOADING, R.RESULT_UPLOADED, uploaded=True, **REVEALED),
            (Action.PLEASE_WAIT, None),
            id="uploaded",
        ),
        pytest.param(
            situation(T.COMPLETED, R.RESULT_UPLOADED, **REVEALED), (Action.PLEASE_COMPLETE, None), id="completed"
        ),
        pytest.param(situation(T.FINALIZING, R.REVEALED, **REVEALED), (Action.PLEASE_WAIT, None), id="finalizing"),
        pytest.param(situation(T.COMPLETED, R.CONTRIBUTED, **CONTRIBUTED), None, id="completed, never revealed"),
        pytest.param(
            situation(T.RUNNING, R.CONTRIBUTE_AND_FINALIZE_ONGOING),
            (Action.PLEASE_CONTRIBUTE_AND_FINALIZE, None),
            id="finalizing contribution not on chain",
        ),
    ],
)
def test_decide(given: Situation, action: tuple[Action, AbortCause | None] | None) -> None:
    assert decide(given) == action
