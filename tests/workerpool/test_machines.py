"""Both machines in full: every move of the reference and of ours, and none beside them."""

from __future__ import annotations

import itertools
from pathlib import Path

import pytest

from adyton.base.db import open_engine
from adyton.base.journal import Journal, TransitionError
from adyton.workerpool import replicate, task
from adyton.workerpool.replicate import ReplicateStatus as R
from adyton.workerpool.task import TaskStatus as T

# One line for each status: where it may go beside FINAL_DEADLINE_REACHED. What the reference lacks is in brackets.
TASKS = """
RECEIVED: INITIALIZING INITIALIZE_FAILED
INITIALIZING: INITIALIZED INITIALIZE_FAILED
INITIALIZED: RUNNING CONTRIBUTION_TIMEOUT
INITIALIZE_FAILED: FAILED
RUNNING: CONSENSUS_REACHED FINALIZED RUNNING_FAILED CONTRIBUTION_TIMEOUT
RUNNING_FAILED: FAILED
CONTRIBUTION_TIMEOUT: FAILED
CONSENSUS_REACHED: AT_LEAST_ONE_REVEALED [REOPENING] [FINALIZING]
REOPENING: REOPENED REOPEN_FAILED
REOPENED: INITIALIZED
REOPEN_FAILED: FAILED
AT_LEAST_ONE_REVEALED: RESULT_UPLOADING [FINALIZING]
RESULT_UPLOADING: RESULT_UPLOADED RESULT_UPLOAD_TIMEOUT [FINALIZING]
RESULT_UPLOADED: FINALIZING FINALIZE_FAILED
RESULT_UPLOAD_TIMEOUT: FAILED
FINALIZING: FINALIZED FINALIZE_FAILED
FINALIZED: COMPLETED
FINALIZE_FAILED: FAILED
FINAL_DEADLINE_REACHED: FAILED
COMPLETED:
FAILED:
"""

# The reference's notation (2.4): chains of moves, braces for choices.
REPLICATES = """
CREATED>STARTING>{STARTED|START_FAILED}
STARTED>APP_DOWNLOADING>{APP_DOWNLOADED|APP_DOWNLOAD_FAILED}
APP_DOWNLOADED>DATA_DOWNLOADING>{DATA_DOWNLOADED|DATA_DOWNLOAD_FAILED}
{APP_DOWNLOAD_FAILED|DATA_DOWNLOAD_FAILED}>CONTRIBUTING
DATA_DOWNLOADED>COMPUTING>{COMPUTED|COMPUTE_FAILED}
COMPUTED>{CONTRIBUTING|CONTRIBUTE_AND_FINALIZE_ONGOING}
CONTRIBUTING>{CONTRIBUTED|CONTRIBUTE_FAILED}
CONTRIBUTED>REVEALING>{REVEALED|REVEAL_FAILED}
REVEALED>{RESULT_UPLOAD_REQUESTED|COMPLETING}
RESULT_UPLOAD_REQUESTED>RESULT_UPLOADING>{RESULT_UPLOADED|RESULT_UPLOAD_FAILED}>COMPLETING
CONTRIBUTE_AND_FINALIZE_ONGOING>{CONTRIBUTE_AND_FINALIZE_DONE|CONTRIBUTE_AND_FINALIZE_FAILED}
CONTRIBUTE_AND_FINALIZE_DONE>COMPLETING>{COMPLETED|COMPLETE_FAILED}
"""


def task_moves() -> set[tuple[T, T]]:
    moves = set()
    for line in TASKS.split("\n"):
        source, _, targets = line.partition(":")
        moves |= {(T(source), T(target.strip("[]"))) for target in targets.split()}
    open_ = set(T) - {T.COMPLETED, T.FAILED, T.FINAL_DEADLINE_REACHED}
    return moves | {(status, T.FINAL_DEADLINE_REACHED) for status in open_}


def replicate_moves() -> set[tuple[R, R]]:
    moves: set[tuple[R, R]] = set()
    for line in REPLICATES.split():
        stages = [[R(name) for name in part.strip("{}").split("|")] for part in line.split(">")]
        for before, after in itertools.pairwise(stages):
            moves |= set(itertools.product(before, after))
    order, final = list(R), {R.COMPLETED, R.FAILED}
    workflow = set(R) - {R.ABORTED, R.RECOVERING, R.WORKER_LOST}
    failable = {*order[: order.index(R.REVEAL_FAILED) + 1], R.CONTRIBUTE_AND_FINALIZE_ONGOING}
    failable |= {R.CONTRIBUTE_AND_FINALIZE_FAILED, R.ABORTED, R.WORKER_LOST, R.RECOVERING}
    lost_for_good = {R.START_FAILED, R.COMPUTE_FAILED, R.CONTRIBUTE_FAILED, R.REVEAL_FAILED, R.COMPLETE_FAILED}
    moves |= {(status, R.FAILED) for status in failable}
    moves |= {(status, R.WORKER_LOST) for status in set(R) - final - {R.WORKER_LOST}}
    moves |= {(R.WORKER_LOST, status) for status in workflow | {R.RECOVERING, R.ABORTED}}
    moves |= {(status, R.RECOVERING) for status in set(R) - lost_for_good - final - {R.ABORTED, R.RECOVERING}}
    moves |= {(R.RECOVERING, status) for status in set(R) - {R.CREATED, R.STARTING, R.RECOVERING}}
    moves |= {(status, R.ABORTED) for status in set(R) - final - {R.ABORTED}}
    return moves | {(R.ABORTED, R.COMPLETED), (R.ABORTED, R.FAILED)}


def test_tasks() -> None:
    ours = {(source, target) for source, targets in task.TRANSITIONS.items() for target in targets}
    assert ours == task_moves()


def test_replicates() -> None:
    ours = {(source, target) for source, targets in replicate.TRANSITIONS.items() for target in targets}
    assert ours - replicate_moves() == set()
    assert replicate_moves() - ours == set()


def test_every_other_move_is_refused_and_leaves_no_trace(tmp_path: Path) -> None:
    journal = Journal(
        open_engine(tmp_path / "j.db", durable=False), "task", {k.value: v for k, v in task.TRANSITIONS.items()}
    )
    allowed = task_moves()
    for source in T:
        assert journal.create(source, source, {})
        entry = journal.get(source)
        assert entry is not None
        for target in T:
            if (source, target) not in allowed:
                with pytest.raises(TransitionError):
                    journal.advance(entry, target)
        assert journal.get(source) == entry
        assert len(journal.history(source)) == 1
