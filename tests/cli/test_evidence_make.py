"""``adyton evidence make``: evidence of the enclave that the command runs in, and none anywhere else."""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
import threading
from pathlib import Path

import pytest
from tests.cas.test_main import Everyone
from tests.platform.world import World

from adyton.attestation.formats.quote import parse_quote
from adyton.platform.client import PLATFORM_FD
from adyton.platform.simulated import channel

ADYTON = (str(Path(sys.executable).with_name("adyton")),)
M1 = b"\x01" * 32


@pytest.fixture(scope="module")
def world() -> World:
    return World()


def in_enclave(world: World, *words: str | Path) -> subprocess.CompletedProcess[str]:
    """Run the command as a process that holds the descriptor of a platform, as an enclave's processes do."""
    ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_STREAM)
    threading.Thread(
        target=channel.serve, args=(ours, world.platform(M1), {}, Everyone(), lambda: None), daemon=True
    ).start()
    with theirs:
        return subprocess.run(
            [*ADYTON, "evidence", "make", *map(str, words)],
            env={**os.environ, PLATFORM_FD: str(theirs.fileno())},
            pass_fds=(theirs.fileno(),),
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )


def test_evidence_over_what_the_asking_side_chose(world: World, tmp_path: Path) -> None:
    ran = in_enclave(world, "--out", tmp_path / "quote.bin", "--report-data", "abcd")
    assert ran.returncode == 0, ran.stderr
    assert f"adyton evidence verify {tmp_path / 'quote.bin'}" in ran.stderr
    quote = parse_quote((tmp_path / "quote.bin").read_bytes())
    assert (quote.enclave.mrenclave, quote.enclave.report_data) == (M1, b"\xab\xcd".ljust(64, b"\0"))


def test_what_it_makes_is_judged_by_verify(world: World, tmp_path: Path) -> None:
    assert in_enclave(world, "--out", tmp_path / "quote.bin").returncode == 0
    (tmp_path / "collateral.json").write_text(world.collateral().to_json())
    judged = subprocess.run(
        [*ADYTON, "evidence", "verify", str(tmp_path / "quote.bin"), "--collateral", str(tmp_path / "collateral.json"),
         "--anchor", world.anchor.tier, "--at", world.now.isoformat(), "--json"],
        capture_output=True, text=True, timeout=60, check=False,
    )  # fmt: skip
    assert judged.returncode == 0, judged.stdout
    assert json.loads(judged.stdout)["tier"] == world.anchor.tier


@pytest.mark.parametrize("text", ["0x00", "abc", "zz", "00" * 65])
def test_report_data_that_is_none_is_refused(world: World, tmp_path: Path, text: str) -> None:
    ran = in_enclave(world, "--out", tmp_path / "quote.bin", "--report-data", text)
    assert ran.returncode == 1
    assert "(input.hex)" in ran.stderr
    assert not (tmp_path / "quote.bin").exists()


def test_outside_any_enclave_there_is_nothing_to_quote(tmp_path: Path) -> None:
    environment = {name: value for name, value in os.environ.items() if name != PLATFORM_FD}
    ran = subprocess.run(
        [*ADYTON, "evidence", "make", "--out", str(tmp_path / "quote.bin")],
        env=environment,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert ran.returncode == 1
    assert "(platform.absent)" in ran.stderr
    assert not (tmp_path / "quote.bin").exists()
