"""Evidence for the command: quotes over its own data by the platform's own client, and nothing for anybody else."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import pytest
from tests.platform.world import World

from adyton.platform.client import PLATFORM_FD
from adyton.runtime import command
from adyton.runtime.evidence import EvidenceChannel

M = b"\x5e" * 32
DATA = bytes(range(64))

_PROGRAM = """
import json, os, subprocess, sys
from adyton.attestation.formats.sgx import KeyRequest, TargetInfo
from adyton.base.errors import AdytonError
from adyton.platform.client import PLATFORM_FD, EnclavePlatform

platform = EnclavePlatform.from_environment()
data = bytes(range(64))

def tried(act):
    try:
        return act()
    except AdytonError as error:
        return error.code

found = {}
verbs = {
    "quote": lambda: platform.quote(data).hex(),
    "identity": lambda: platform.identity().mrenclave.hex(),
    "report": lambda: len(platform.report(TargetInfo.parse(bytes(512)), data)),
    "short": lambda: platform.quote(b"short"),
    "seal_key": lambda: platform.seal_key(KeyRequest.parse(bytes([4, 0, 2, 0]) + bytes(508))).reveal().hex(),
    "startup": lambda: platform.startup().config_id,
    "child": lambda: subprocess.run(
        [sys.executable, "-c", os.environ["CHILD"]], pass_fds=[platform.hand_on()], capture_output=True, text=True
    ).stdout.strip(),
    "again": lambda: platform.quote(data).hex(),
}
for verb in os.environ["VERBS"].split():
    found[verb] = tried(verbs[verb])
open(os.environ["OUT"], "w").write(json.dumps(found))
"""
_CHILD = """
from adyton.base.errors import AdytonError
from adyton.platform.client import EnclavePlatform
try:
    print(EnclavePlatform.from_environment().quote(bytes(64)).hex())
except AdytonError as error:
    print(error.code)
"""


@pytest.fixture(scope="module")
def world() -> World:
    return World()


def run(world: World, folder: Path, verbs: str) -> dict[str, Any]:
    """What a command that tries these things gets."""
    with EvidenceChannel(world.platform(M)) as channel:
        environment = {
            PLATFORM_FD: str(channel.descriptor), "VERBS": verbs, "CHILD": _CHILD, "OUT": str(folder / "found"),
        }  # fmt: skip
        program = command.resolve([sys.executable, "-c", _PROGRAM], environment, "/")
        assert command.run(program, (channel.descriptor,), channel.serve) == 0
    found: dict[str, Any] = json.loads((folder / "found").read_text())
    return found


def test_the_command_gets_evidence_and_no_keys(world: World, tmp_path: Path) -> None:
    found = run(world, tmp_path, "quote identity report short seal_key startup again")
    for verb in ("quote", "again"):
        evidence = world.verifier().verify(bytes.fromhex(found[verb]), world.policy(M))
        assert (evidence.report_data, evidence.measurements["mrenclave"]) == (DATA, M.hex())
    assert (found["identity"], found["report"]) == (M.hex(), 432)
    assert found["short"] == "platform.channel.report_data"
    assert found["seal_key"] == found["startup"] == "platform.channel.request"


def test_what_the_command_starts_gets_nothing_and_ends_the_service(world: World, tmp_path: Path) -> None:
    found = run(world, tmp_path, "quote child again")
    assert len(found["quote"]) > 1000
    assert found["child"].startswith("platform.")
    assert found["again"].startswith("platform.")


def descriptors() -> int:
    return len(list(Path("/proc/self/fd").iterdir()))


def test_no_descriptor_is_left_and_none_can_be_used_after_the_command(world: World, tmp_path: Path) -> None:
    before = descriptors()
    run(world, tmp_path, "identity")
    with EvidenceChannel(world.platform(M)):
        pass  # a command that could not be started
    assert descriptors() == before


def test_a_command_without_a_channel_has_none(tmp_path: Path) -> None:
    script = f"ls /proc/self/fd | wc -l > {tmp_path}/count; env > {tmp_path}/env"
    assert command.run(command.resolve(["sh", "-c", script], {}, "/")) == 0
    assert PLATFORM_FD not in (tmp_path / "env").read_text()
