"""Which image an SMS is started from: the present one, until the CAS lets a successor take its place."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from tests.enclave.handmade import layout, manifest

from adyton.devnet.images import built
from adyton.devnet.paths import NetworkPaths
from adyton.devnet.successors import NoSuccessorError, accepted, build_successors, image_in_place


@pytest.fixture
def paths(tmp_path: Path) -> NetworkPaths:
    """A network whose SMS is there, with a successor that waits."""
    paths = NetworkPaths.of(tmp_path / "network")
    for number, name in enumerate(("sms-production", "sms-production.next")):
        layout(paths.images / name, of=manifest(isvsvn=number))
    return paths


def line(current: str, allowed: str = "", *voices: str) -> dict[str, Any]:
    return {
        "current": current,
        "threshold": 2,
        "allowed": {"successor": allowed, "choice": "carry"} if allowed else None,
        "approvals": [{"approver": "aa" * 32, "successor": voice, "choice": "carry"} for voice in voices],
    }


def test_one_that_waits_is_not_started(paths: NetworkPaths) -> None:
    present, waiting = (built(paths.images / name) for name in ("sms-production", "sms-production.next"))
    said: list[str] = []
    assert image_in_place(paths, "production", line(present.mrenclave, "", waiting.mrenclave), said.append) == present
    assert said == [f"the successor {waiting.mrenclave} of the SMS (production) waits: 1 of 2 approvals"]
    assert built(paths.images / "sms-production.next") == waiting


@pytest.mark.parametrize("taken", [False, True], ids=["approved", "approved and started before"])
def test_an_approved_one_takes_the_place_once(paths: NetworkPaths, taken: bool) -> None:
    present, waiting = (built(paths.images / name) for name in ("sms-production", "sms-production.next"))
    of = line(waiting.mrenclave) if taken else line(present.mrenclave, waiting.mrenclave)
    found = image_in_place(paths, "production", of)
    assert (found.mrenclave, found.layout) == (waiting.mrenclave, paths.images / "sms-production")
    kept = paths.images / f"sms-production.{present.mrenclave[:16]}"
    assert built(kept).mrenclave == present.mrenclave
    assert image_in_place(paths, "production", of) == found


def test_the_cas_accepts_the_current_one_and_an_approved_successor() -> None:
    assert accepted(line("11" * 32)) == {"11" * 32}
    assert accepted(line("11" * 32, "22" * 32)) == {"11" * 32, "22" * 32}


def test_without_approvers_nothing_is_built(paths: NetworkPaths) -> None:
    with pytest.raises(NoSuccessorError):
        build_successors(paths)
    assert (paths.images / "sms-production.next").is_dir()
