"""``adyton platform`` on the state folder of a stopped network."""

from __future__ import annotations

import os
import pty
import subprocess
import sys
from pathlib import Path

import pytest

from adyton.platform.simulated.cpu import DEFAULT_CPUSVN
from adyton.platform.simulated.state import MachineState, exclusive

BIN = Path(sys.executable).parent


@pytest.fixture
def state(tmp_path: Path) -> Path:
    """A network that was started once."""
    MachineState.load(tmp_path / "platform" / "machine")
    return tmp_path


def machine(state: Path) -> MachineState:
    return MachineState.load(state / "platform" / "machine")


def platform(state: Path, *words: str, stdin: int = subprocess.DEVNULL) -> subprocess.CompletedProcess[str]:
    command = [str(BIN / "adyton"), "platform", *words, "--state", str(state)]
    return subprocess.run(command, capture_output=True, text=True, stdin=stdin, timeout=60, check=False)


def test_replace_cpu(state: Path) -> None:
    before = machine(state)
    done = platform(state, "replace-cpu", "--yes")
    assert done.returncode == 0, done.stderr
    after = machine(state)
    assert after.fuses != before.fuses
    assert (after.owner_epoch, after.cpusvn) == (before.owner_epoch, before.cpusvn)
    for word in ("Lost", "CAS", "SMS"):
        assert word in done.stderr


def test_new_owner_epoch(state: Path) -> None:
    before = machine(state)
    done = platform(state, "new-owner-epoch", "--yes")
    assert done.returncode == 0, done.stderr
    after = machine(state)
    assert after.owner_epoch != before.owner_epoch
    assert (after.fuses, after.cpusvn) == (before.fuses, before.cpusvn)
    assert "Lost" in done.stderr


def test_update_microcode_and_back(state: Path) -> None:
    before = machine(state)
    done = platform(state, "update-microcode", "--component", "3", "--yes")
    assert done.returncode == 0, done.stderr
    assert "Nothing is lost" in done.stderr
    assert machine(state).cpusvn == DEFAULT_CPUSVN[:2] + bytes([DEFAULT_CPUSVN[2] + 1]) + DEFAULT_CPUSVN[3:]
    done = platform(state, "update-microcode", "--component", "3", "--downgrade", "--yes")
    assert done.returncode == 0, done.stderr
    assert "does not open until" in done.stderr
    assert machine(state) == before


@pytest.mark.parametrize("verb", ["replace-cpu", "new-owner-epoch", "update-microcode"])
def test_without_anybody_to_confirm_nothing_happens(state: Path, verb: str) -> None:
    before = machine(state)
    done = platform(state, verb)
    assert done.returncode == 1
    assert "platform.confirm" in done.stderr
    assert "--yes" in done.stderr
    assert machine(state) == before


@pytest.mark.parametrize(("typed", "changes"), [("yes\n", True), ("no\n", False), ("\n", False)])
def test_a_person_at_a_terminal_is_asked(state: Path, typed: str, changes: bool) -> None:
    before = machine(state)
    ours, theirs = pty.openpty()
    os.write(ours, typed.encode())
    done = platform(state, "new-owner-epoch", stdin=theirs)
    os.close(ours)
    os.close(theirs)
    assert "Type 'yes'" in done.stderr
    assert (done.returncode == 0, machine(state) != before) == (changes, changes)


def test_not_while_the_platform_runs(state: Path) -> None:
    before = machine(state)
    with exclusive(state / "platform"):
        done = platform(state, "replace-cpu", "--yes")
    assert done.returncode == 1
    assert "platform.state.in_use" in done.stderr
    assert machine(state) == before


@pytest.mark.parametrize("verb", ["replace-cpu", "new-owner-epoch", "update-microcode"])
def test_a_network_that_never_ran_has_no_machine(tmp_path: Path, verb: str) -> None:
    done = platform(tmp_path, verb, "--yes")
    assert done.returncode == 1
    assert "platform.state.missing" in done.stderr
    assert not (tmp_path / "platform" / "machine").exists()


@pytest.mark.parametrize("component", ["0", "17", "5"])
def test_a_component_that_cannot_rise_is_named(state: Path, component: str) -> None:
    done = platform(state, "update-microcode", "--component", component, "--yes")
    assert done.returncode == 1
    assert "platform.cpusvn" in done.stderr
