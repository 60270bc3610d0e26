"""The program an enclave runs: finding it, starting it, passing signals on, waiting for it."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from adyton.runtime.errors import AgentError

DEFAULT_PATH: Final = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
_FORWARDED: Final = (signal.SIGTERM, signal.SIGINT, signal.SIGHUP, signal.SIGUSR1, signal.SIGUSR2)


@dataclass(frozen=True, slots=True)
class Command:
    """What to run: absolute program, arguments with the program's name first, environment, working folder."""

    program: str
    argv: tuple[str, ...]
    environment: Mapping[str, str]
    cwd: str


def resolve(argv: Sequence[str], environment: Mapping[str, str], cwd: str) -> Command:
    """Find the program as a shell would, in the enclave's own PATH.

    Raises:
        AgentError: no command, no such program, or no such working folder.
    """
    if not argv:
        raise AgentError("neither the session nor the manifest names a command", code="runtime.command.none")
    if not Path(cwd).is_dir():
        raise AgentError(f"the working folder {cwd} does not exist in the image", code="runtime.command.cwd")
    found = shutil.which(argv[0], path=environment.get("PATH") or DEFAULT_PATH)
    if found is None:
        raise AgentError(f"the program {argv[0]} does not exist in the image", code="runtime.command.missing")
    return Command(str(Path(cwd, found)), tuple(argv), {"PATH": DEFAULT_PATH, **environment}, cwd)


def run(command: Command, descriptors: Sequence[int] = (), started: Callable[[int], None] = lambda _pid: None) -> int:
    """Run to the end and return the exit status (128 + n after signal n); signals sent to us reach the program.

    Args:
        command: what to run.
        descriptors: what it gets beside the standard ones, under the same numbers.
        started: called with its process number once it runs.

    Raises:
        AgentError: the program cannot be started.
    """
    early: list[int] = []
    child: list[subprocess.Popen[bytes]] = []

    def forward(number: int, _frame: object) -> None:
        if child:
            child[0].send_signal(number)
        else:
            early.append(number)

    before = {number: signal.signal(number, forward) for number in _FORWARDED}
    try:
        try:
            child.append(
                subprocess.Popen(
                    command.argv,
                    executable=command.program,
                    env=dict(command.environment),
                    cwd=command.cwd,
                    pass_fds=descriptors,
                )
            )
        except OSError as error:
            raise AgentError(
                f"cannot start {command.program}: {error.strerror}", code="runtime.command.start"
            ) from error
        for number in early:
            child[0].send_signal(number)
        started(child[0].pid)
        code = child[0].wait()
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
    return 128 - code if code < 0 else code


def become(command: Command) -> None:
    """Replace this process by the program.

    Raises:
        AgentError: the program cannot be started.
    """
    try:
        os.chdir(command.cwd)
        os.execve(command.program, command.argv, dict(command.environment))  # noqa: S606  # no shell is meant
    except OSError as error:
        raise AgentError(f"cannot start {command.program}: {error.strerror}", code="runtime.command.start") from error
