"""Identity of real enclaves: whoever the platform did not start and measure gets nothing, whatever it holds."""

from __future__ import annotations

import ctypes
import os
import select
import signal
import socket
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from tests.platform.machine import Machine, build_native, enclave, innermost, running_daemon, steal_channel
from tests.waiting import PATIENCE_S, until

from adyton.base.errors import UnavailableError
from adyton.enclave.sigstruct import new_signer
from adyton.platform.client import EnclavePlatform, LaunchedEnclave, LaunchRequest
from adyton.platform.protocol import PlatformError

_APP = """
import os, subprocess, sys, time

sys.path.append("/.adyton/runtime/site")
from adyton.platform.client import EnclavePlatform

def quote():
    return len(EnclavePlatform.from_environment().quote(bytes(64)))

verb = sys.argv[1]
if verb == "asked":  # quotes when a file appears, and says so in another
    print("ready", flush=True)
    while not os.path.exists("/data/go"):
        time.sleep(0.02)
    print("quote", quote() > 1000, flush=True)
    time.sleep(60)
elif verb == "orphan":
    parent = os.getpid()
    if os.fork() == 0:
        middle = os.getpid()
        if os.fork() > 0:
            os._exit(0)
        while os.getppid() == middle:
            time.sleep(0.01)
        print("orphan of", os.getppid(), quote() > 1000, flush=True)
        os._exit(0)
    time.sleep(2)
"""

PTRACE_ATTACH, PTRACE_DETACH, PTRACE_SEIZE = 16, 17, 0x4206
CLONE_NEWPID = 0x20000000
WALL = 0x40000000  # waitpid(2): also for processes that are traced, and no children


@pytest.fixture(scope="module")
def machine(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Machine]:
    with running_daemon(tmp_path_factory.mktemp("machine")) as running:
        yield running


@pytest.fixture(scope="module")
def images(tmp_path_factory: pytest.TempPathFactory) -> dict[bool, Path]:
    """The enclave's layouts: debug, and production."""
    folder = tmp_path_factory.mktemp("images")
    native = build_native(folder, {"app.py": _APP})
    options = {"config": "none", "host_paths": ("/data/",)}
    return {
        True: enclave(native, folder, **options)[0],
        False: enclave(native, folder, **options, signer=new_signer())[0],
    }


class Asked:
    """A running enclave that quotes when it is told to."""

    def __init__(self, machine: Machine, layout: Path, folder: Path) -> None:
        self._data = folder / "data"
        self._data.mkdir()
        before = set(machine.children)
        self._read, write = os.pipe()
        request = LaunchRequest(layout=layout, args=("asked",), host_paths={"/data": self._data})
        self.enclave: LaunchedEnclave = machine.client.launch(request, write, 2)
        os.close(write)
        (self.outer,) = set(machine.children) - before
        self.output = os.fdopen(self._read)
        assert self.output.readline() == "ready\n"

    def answer(self) -> str:
        """Let it ask for a quote; what it printed, empty if it ended instead."""
        (self._data / "go").touch()
        return self.output.readline()

    def close(self) -> None:
        self.output.close()
        self.enclave.close()


@pytest.fixture
def start(machine: Machine, images: dict[bool, Path], tmp_path: Path) -> Iterator[Callable[..., Asked]]:
    started: list[Asked] = []

    def begin(*, debug: bool) -> Asked:
        folder = tmp_path / str(len(started))
        folder.mkdir()
        started.append(Asked(machine, images[debug], folder))
        return started[-1]

    yield begin
    for asked in started:
        asked.close()


def _ask(descriptor: int) -> str:
    """Use a stolen channel; what came of it."""
    with socket.socket(fileno=descriptor) as connection:
        connection.settimeout(PATIENCE_S)
        try:
            EnclavePlatform(connection).quote(bytes(64))
        except (PlatformError, UnavailableError) as error:
            return error.code
    return "quote"


def test_an_orphan_inside_is_part_of_the_enclave(machine: Machine, images: dict[bool, Path], tmp_path: Path) -> None:
    outcome = machine.run(images[True], args=("orphan",), host_paths={"/data": tmp_path})
    assert outcome.stdout == "orphan of 1 True\n", outcome.stderr


@pytest.mark.parametrize("debug", [False, True])
def test_a_traced_enclave_gets_nothing_unless_it_is_a_debug_one(
    machine: Machine, start: Callable[..., Asked], debug: bool
) -> None:
    asked = start(debug=debug)
    program = innermost(asked.outer)
    libc = ctypes.CDLL(None, use_errno=True)
    assert libc.ptrace(PTRACE_SEIZE, program, None, None) == 0
    if debug:
        assert asked.answer() == "quote True\n"
        asked.enclave.kill()
        os.waitpid(program, WALL)
        return
    assert asked.answer() == ""
    os.waitpid(program, WALL)  # it is dead, and stays in the table until its tracer has seen it
    assert asked.enclave.wait(PATIENCE_S).signal == signal.SIGKILL
    assert "platform.channel.traced" in machine.log


def test_what_was_traced_and_is_no_longer_is_believed_again(start: Callable[..., Asked]) -> None:
    """Only what is now can be seen: a tracer that came and went may have read everything (see membership.py)."""
    asked = start(debug=False)
    program = innermost(asked.outer)
    libc = ctypes.CDLL(None, use_errno=True)
    assert libc.ptrace(PTRACE_ATTACH, program, None, None) == 0
    os.waitpid(program, WALL)
    assert libc.ptrace(PTRACE_DETACH, program, None, None) == 0
    assert asked.answer() == "quote True\n"


@pytest.mark.parametrize("who", ["the host's root", "another user"])
def test_a_descriptor_that_was_taken_out_is_worth_nothing(start: Callable[..., Asked], who: str) -> None:
    asked = start(debug=False)
    stolen = steal_channel(asked.outer)
    if who == "the host's root":
        assert _ask(stolen) != "quote"
        return
    if os.geteuid() != 0:
        os.close(stolen)
        pytest.skip("needs root to become another user")
    code = f"import os, tests.platform.test_identity as t;os.setgid(65534); os.setuid(65534); print(t._ask({stolen}))"
    os.set_inheritable(stolen, True)  # positional only
    done = _python(code, pass_fds=[stolen])
    os.close(stolen)
    assert done.stdout.strip() not in ("", "quote"), done.stderr


def test_a_process_that_enters_the_enclaves_namespace_is_no_part_of_it(start: Callable[..., Asked]) -> None:
    """The host's root joins the enclave's pid namespace (setns(2)) with the enclave's own descriptor in hand."""
    if os.geteuid() != 0:
        pytest.skip("needs root to enter a namespace")
    asked = start(debug=False)
    stolen = steal_channel(asked.outer)
    code = f"""
import ctypes, os, tests.platform.test_identity as t
namespace = os.open("/proc/{innermost(asked.outer)}/ns/pid", os.O_RDONLY)
assert ctypes.CDLL(None, use_errno=True).setns(namespace, {CLONE_NEWPID}) == 0
if os.fork() == 0:  # this child is in the namespace
    print("as process", os.getpid(), t._ask({stolen}), flush=True)
    os._exit(0)
os.wait()
"""
    done = _python(code, pass_fds=[stolen])
    os.close(stolen)
    words = done.stdout.split()
    assert words[:2] == ["as", "process"], done.stderr
    assert int(words[2]) < 100  # numbered as inside
    assert words[3] != "quote"


def test_the_enclave_itself_is_cut_off_when_its_descriptor_is_abused(start: Callable[..., Asked]) -> None:
    """Who answers for a channel that strangers use? Nobody: it is closed, and the enclave can start again."""
    asked = start(debug=False)
    assert _ask(steal_channel(asked.outer)) != "quote"
    assert asked.answer() == ""


def test_nothing_is_answered_after_the_enclave_ended(machine: Machine, start: Callable[..., Asked]) -> None:
    asked = start(debug=False)
    stolen = steal_channel(asked.outer)
    asked.enclave.kill()
    asked.enclave.wait(PATIENCE_S)
    assert _ask(stolen) != "quote"
    until(lambda: asked.outer not in machine.children)


def ended(process: int) -> bool:
    """Whether the process of a pidfd is no more: it can be read then (pidfd_open(2))."""
    return bool(select.select([process], [], [], 0)[0])


def test_a_killed_caller_takes_its_enclave_along(machine: Machine, images: dict[bool, Path], tmp_path: Path) -> None:
    code = f"""
import sys, time
from pathlib import Path
from adyton.platform.client import LaunchRequest, PlatformClient
client = PlatformClient(Path({str(machine.state / "platform.sock")!r}))
data = Path({str(tmp_path)!r})
request = LaunchRequest(layout=Path({str(images[True])!r}), args=("asked",), host_paths={{"/data": data}})
running = client.launch(request, 1, 2)
time.sleep(60)
"""
    before = set(machine.children)
    caller = subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, stderr=subprocess.DEVNULL)
    assert caller.stdout is not None
    assert caller.stdout.readline() == b"ready\n"
    (outer,) = set(machine.children) - before
    program = os.pidfd_open(innermost(outer))
    caller.kill()
    caller.wait()
    caller.stdout.close()
    until(lambda: outer not in machine.children)
    try:
        # The kernel ends what lived in the sandbox's process namespace after its first process, at its own time.
        until(lambda: ended(program))
    finally:
        os.close(program)


def test_a_killed_enclave_frees_its_place_and_leaves_nothing(machine: Machine, start: Callable[..., Asked]) -> None:
    descriptors = machine.descriptors
    asked = start(debug=False)
    os.kill(innermost(asked.outer), signal.SIGKILL)
    assert asked.enclave.wait(PATIENCE_S).signal == signal.SIGKILL
    asked.close()
    until(lambda: machine.descriptors <= descriptors)


def _python(code: str, pass_fds: list[int]) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-c", code],
        pass_fds=pass_fds,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
        cwd=Path(__file__).parents[2],
    )
