"""The task's machine (pool reference 2.3)."""

from __future__ import annotations

import pytest

from adyton.workerpool.task import FAILURES, FINAL, TRANSITIONS, TaskStatus, ordinal

S = TaskStatus


@pytest.mark.parametrize("status", [s for s in S if s not in FINAL and s is not S.FINAL_DEADLINE_REACHED])
def test_final_deadline_ends_every_open_status(status: S) -> None:
    assert S.FINAL_DEADLINE_REACHED in TRANSITIONS[status]


def test_failed_and_completed_never_change() -> None:
    assert not TRANSITIONS[S.COMPLETED]
    assert not TRANSITIONS[S.FAILED]


@pytest.mark.parametrize("status", sorted(FAILURES))
def test_failures_lead_to_failed(status: S) -> None:
    assert S.FAILED in TRANSITIONS[status]


@pytest.mark.parametrize(
    ("source", "target"),
    [
        (S.RECEIVED, S.INITIALIZED),
        (S.INITIALIZED, S.CONSENSUS_REACHED),
        (S.RUNNING, S.COMPLETED),
        (S.CONSENSUS_REACHED, S.RESULT_UPLOADING),
        (S.RECEIVED, S.CONTRIBUTION_TIMEOUT),
    ],
)
def test_nothing_is_skipped(source: S, target: S) -> None:
    assert target not in TRANSITIONS[source]


def test_order_is_the_official_one() -> None:
    assert ordinal(S.RECEIVED) == 0
    assert ordinal(S.RUNNING) < ordinal(S.CONSENSUS_REACHED) < ordinal(S.RESULT_UPLOADED) < ordinal(S.FINALIZING)
    assert ordinal(S.FAILED) == len(S) - 1
