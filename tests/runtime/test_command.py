from __future__ import annotations

import os
import signal
import subprocess
import sys
import textwrap
import threading
from pathlib import Path

import pytest
from tests.waiting import PATIENCE_S, until

from adyton.runtime import command
from adyton.runtime.errors import AgentError


def _run(*argv: str, **environment: str) -> int:
    return command.run(command.resolve(argv, environment, "/"))


@pytest.mark.parametrize(("script", "code"), [("exit 0", 0), ("exit 7", 7), ("kill -9 $$", 137), ("kill -15 $$", 143)])
def test_the_status_is_the_program_s(script: str, code: int) -> None:
    assert _run("sh", "-c", script) == code


def test_the_environment_is_the_given_one(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOST_SECRET", "canary")
    _run("sh", "-c", f"env > {tmp_path}/env", A="1")
    lines = set((tmp_path / "env").read_text().splitlines())
    assert {"A=1", f"PATH={command.DEFAULT_PATH}"} <= lines
    assert not any("canary" in line for line in lines)


def test_programs_are_found_in_the_enclave_s_own_path(tmp_path: Path) -> None:
    tool = tmp_path / "tool"
    tool.write_text("#!/bin/sh\nexit 5\n")
    tool.chmod(0o755)
    assert _run("tool", PATH=f"{tmp_path}:/usr/bin:/bin") == 5


@pytest.mark.parametrize(
    ("argv", "cwd", "code"),
    [
        pytest.param((), "/", "runtime.command.none", id="no command"),
        pytest.param(("no-such-program",), "/", "runtime.command.missing", id="no program"),
        pytest.param(("/etc/passwd",), "/", "runtime.command.missing", id="not executable"),
        pytest.param(("sh",), "/no/such/folder", "runtime.command.cwd", id="no folder"),
    ],
)
def test_what_cannot_start_is_named(argv: tuple[str, ...], cwd: str, code: str) -> None:
    with pytest.raises(AgentError) as caught:
        command.resolve(argv, {}, cwd)
    assert caught.value.code == code


def test_a_file_that_is_no_program_is_refused(tmp_path: Path) -> None:
    tool = tmp_path / "tool"
    tool.write_bytes(b"\0\1\2")
    tool.chmod(0o755)
    with pytest.raises(AgentError) as caught:
        _run(str(tool))
    assert caught.value.code == "runtime.command.start"


def test_signals_are_passed_on_and_handlers_restored(tmp_path: Path) -> None:
    before, ready = signal.getsignal(signal.SIGTERM), tmp_path / "ready"

    def interrupt() -> None:
        until(lambda: signal.getsignal(signal.SIGTERM) is not before and ready.exists())
        os.kill(os.getpid(), signal.SIGTERM)

    thread = threading.Thread(target=interrupt)
    thread.start()
    assert _run("sh", "-c", f"trap 'exit 9' TERM; touch {ready}; while :; do sleep 0.05; done") == 9
    thread.join()
    assert signal.getsignal(signal.SIGTERM) is before


def test_become_replaces_the_process() -> None:
    script = textwrap.dedent("""
        from adyton.runtime import command
        command.become(command.resolve(("sh", "-c", "echo $A $$"), {"A": "1"}, "/"))
        """)
    with subprocess.Popen([sys.executable, "-c", script], stdout=subprocess.PIPE, text=True) as process:
        out, _err = process.communicate(timeout=PATIENCE_S)
    assert out.split() == ["1", str(process.pid)]
