"""Sealing the master key again after a microcode update, interrupted at every step."""

from __future__ import annotations

import os
import sys
from pathlib import Path

import pytest
from tests.cas.house import CAS
from tests.platform.world import World

from adyton.base.secret import Secret
from adyton.cas.errors import SealedStateError
from adyton.cas.store.sealed import open_master_key
from adyton.platform.protocol import Platform
from adyton.platform.sealing import is_stale, key_request
from adyton.platform.simulated.cpu import DEFAULT_CPUSVN, FusedSecrets

NEWER = bytes((12, *DEFAULT_CPUSVN[1:]))
FUSES = FusedSecrets.create()
KILLED = 9


@pytest.fixture(scope="module")
def old() -> Platform:
    return World(fuses=FUSES).platform(CAS)


@pytest.fixture(scope="module")
def new() -> Platform:
    return World(fuses=FUSES, cpusvn=NEWER).platform(CAS)


def create(platform: Platform, folder: Path) -> Secret[bytes]:
    return open_master_key(platform, folder, lambda _master: (folder / "cas.db").touch())


def reopen(platform: Platform, folder: Path) -> Secret[bytes]:
    return open_master_key(platform, folder, lambda _master: pytest.fail("made anew"))


def test_after_a_microcode_update_the_key_is_sealed_again(tmp_path: Path, old: Platform, new: Platform) -> None:
    master = create(old, tmp_path)
    before = (tmp_path / "cas.key").read_bytes()
    assert reopen(old, tmp_path) == master
    assert (tmp_path / "cas.key").read_bytes() == before  # current: left alone
    assert reopen(new, tmp_path) == master
    after = (tmp_path / "cas.key").read_bytes()
    assert key_request(after).cpusvn == NEWER
    assert not is_stale(new, after)
    assert (tmp_path / "cas.key").stat().st_mode & 0o777 == 0o600
    assert reopen(new, tmp_path) == master
    assert (tmp_path / "cas.key").read_bytes() == after


def test_a_microcode_downgrade_is_named_and_changes_nothing(tmp_path: Path, old: Platform, new: Platform) -> None:
    master = create(new, tmp_path)
    before = (tmp_path / "cas.key").read_bytes()
    with pytest.raises(SealedStateError) as caught:
        reopen(old, tmp_path)
    assert caught.value.code == "cas.sealed.newer"
    assert (tmp_path / "cas.key").read_bytes() == before
    assert reopen(new, tmp_path) == master


@pytest.mark.parametrize("edited", ["header", "cut", "another format"])
def test_damage_is_named_whatever_its_kind(tmp_path: Path, old: Platform, edited: str) -> None:
    create(old, tmp_path)
    key = tmp_path / "cas.key"
    data = key.read_bytes()
    key.write_bytes({"header": data[:8] + b"\x05" + data[9:], "cut": data[:-1]}.get(edited, b"ADYSEAL1" + data[8:]))
    with pytest.raises(SealedStateError) as caught:
        reopen(old, tmp_path)
    assert caught.value.code == "cas.sealed.corrupt"


def test_killed_at_any_step_the_old_blob_or_the_new_one_is_there(tmp_path: Path, old: Platform, new: Platform) -> None:
    """A process of its own is ended before its n-th step on the file system, for every n until it comes through."""
    master = create(old, tmp_path)
    key = tmp_path / "cas.key"
    stale = key.read_bytes()
    seen = set()
    for steps in range(100):
        key.write_bytes(stale)
        finished = _reopen_and_die(new, tmp_path, steps)
        found = key.read_bytes()
        seen.add(found == stale)
        assert finished or found == stale or not is_stale(new, found)
        if found == stale:
            assert reopen(old, tmp_path) == master  # the update can still be taken back
        assert reopen(new, tmp_path) == master
        if finished:
            break
    assert finished
    assert steps > 5
    assert seen == {True, False}


def _reopen_and_die(platform: Platform, folder: Path, steps: int) -> bool:
    """Open the key in another process that ends, without any clean-up, before step ``steps``; True: it came through."""
    child = os.fork()
    if child == 0:
        status = 1
        try:
            _end_before(steps)
            open_master_key(platform, folder, lambda _master: None)
            status = 0
        finally:
            os._exit(status)
    _pid, status = os.waitpid(child, 0)
    code = os.waitstatus_to_exitcode(status)
    assert code in (0, KILLED)
    return code == 0


def _end_before(steps: int) -> None:
    """End this process where it would touch the file system for the ``steps``-th time from now."""
    left = steps

    def hook(event: str, _arguments: tuple[object, ...]) -> None:
        nonlocal left
        if event in {"open", "os.rename", "os.chmod", "os.remove", "os.mkdir", "tempfile.mkstemp"}:
            if left == 0:
                os._exit(KILLED)
            left -= 1

    sys.addaudithook(hook)
