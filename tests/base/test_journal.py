import threading
from pathlib import Path

import pytest

from adyton.base.db import open_engine
from adyton.base.journal import Journal, TransitionError

MACHINE = {"RECEIVED": ["RUNNING", "FAILED"], "RUNNING": ["DONE", "FAILED"]}


@pytest.fixture
def journal(tmp_path: Path) -> Journal:
    return Journal(open_engine(tmp_path / "journal.db"), "task", MACHINE)


def test_creating_twice_is_harmless(journal: Journal) -> None:
    assert journal.create("t", "RECEIVED", {"a": 1})
    assert not journal.create("t", "RECEIVED", {"a": 2})
    entry = journal.get("t")
    assert entry is not None
    assert entry.data == {"a": 1}


def test_a_move_changes_status_data_and_history_together(journal: Journal) -> None:
    journal.create("t", "RECEIVED", {"a": 1})
    entry = journal.get("t")
    assert entry is not None
    moved = journal.advance(entry, "RUNNING", {"why": "started"}, {"b": 2})
    assert moved is not None
    assert (moved.status, moved.data) == ("RUNNING", {"a": 1, "b": 2})
    assert [(event.source, event.target, event.detail) for event in journal.history("t")] == [
        ("", "RECEIVED", {}),
        ("RECEIVED", "RUNNING", {"why": "started"}),
    ]


def test_moves_outside_the_machine_are_refused(journal: Journal) -> None:
    journal.create("t", "RECEIVED", {})
    entry = journal.get("t")
    assert entry is not None
    with pytest.raises(TransitionError):
        journal.advance(entry, "DONE")
    assert journal.history("t")[-1].target == "RECEIVED"


def test_a_stale_reader_cannot_move(journal: Journal) -> None:
    journal.create("t", "RECEIVED", {})
    stale = journal.get("t")
    assert stale is not None
    assert journal.advance(stale, "RUNNING")
    assert journal.advance(stale, "FAILED") is None
    assert journal.annotate(stale, {"x": 1}) is None


def test_of_many_movers_exactly_one_wins(journal: Journal) -> None:
    journal.create("t", "RECEIVED", {})
    entry = journal.get("t")
    assert entry is not None
    start = threading.Barrier(8)
    won = []

    def move() -> None:
        start.wait()
        if journal.advance(entry, "RUNNING"):
            won.append(1)

    movers = [threading.Thread(target=move) for _ in range(8)]
    for mover in movers:
        mover.start()
    for mover in movers:
        mover.join()
    assert len(won) == 1
    assert len(journal.history("t")) == 2


def test_it_survives_reopening(tmp_path: Path) -> None:
    Journal(open_engine(tmp_path / "j.db"), "task", MACHINE).create("t", "RECEIVED", {"n": 1})
    again = Journal(open_engine(tmp_path / "j.db"), "task", MACHINE)
    assert [entry.id for entry in again.in_status(["RECEIVED"])] == ["t"]
