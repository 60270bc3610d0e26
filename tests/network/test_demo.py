"""The main job, as anyone runs it, and what its report must prove."""

import json
import subprocess
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from tests.network.support import BIN, need_whole_machine

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(600)]


@pytest.fixture(scope="module")
def demo() -> Iterator[tuple["subprocess.CompletedProcess[str]", dict[str, Any]]]:
    need_whole_machine()
    with tempfile.TemporaryDirectory(prefix="adyton-demo-test-") as folder:
        report = Path(folder) / "demo-report.json"
        done = subprocess.run(
            [str(BIN / "adyton"), "demo", "--report", str(report)],
            capture_output=True,
            text=True,
            stdin=subprocess.DEVNULL,
            timeout=500,
            check=False,
        )
        assert done.returncode == 0, done.stdout[-4000:] + done.stderr[-4000:]
        yield done, json.loads(report.read_text())


def test_it_ends_well_only_with_a_verified_result(demo: tuple[Any, dict[str, Any]]) -> None:
    report = demo[1]
    assert report["ok"] is True
    assert report["result"]["value"] == report["result"]["expected"]
    assert report["result"]["digest"] == report["task"]["resultDigest"]
    assert report["result"]["enclaveSigner"] == report["result"]["enclaveChallenge"]
    assert report["task"]["status"] == "COMPLETED"


def test_every_step_has_evidence(demo: tuple[Any, dict[str, Any]]) -> None:
    steps = {step["step"]: step for step in demo[1]["steps"]}
    assert list(steps) == ["1", "2", "3", "4", "5", "6a", "6b", "7", "8", "9", "10"]
    for step in steps.values():
        assert step["what"]
        assert step["evidence"], step
    assert steps["9"]["evidence"]["mrenclave"] == steps["10"]["evidence"]["mrenclave"]


def test_the_five_refusals_have_their_own_codes(demo: tuple[Any, dict[str, Any]]) -> None:
    refusals = {refusal["case"]: refusal for refusal in demo[1]["refusals"]}
    assert list(refusals) == ["a", "b", "c", "d", "e"]
    assert all(refusal["refused"] for refusal in refusals.values())
    codes = {case: refusal["code"] for case, refusal in refusals.items()}
    assert all(codes.values())
    assert codes["b"] != codes["a"]
    assert codes["c"] == "EXECUTION_NOT_AUTHORIZED_INVALID_SIGNATURE"


def test_nothing_is_left_running(demo: tuple[Any, dict[str, Any]]) -> None:
    for process in Path("/proc").iterdir():
        if process.name.isdigit():
            try:
                command = (process / "cmdline").read_bytes()
            except OSError:
                continue
            assert demo[1]["network"]["state"].encode() not in command, command
