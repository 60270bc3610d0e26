"""Who may speak for an enclave: on a made process table, and with real processes that fork, end and are traced."""

from __future__ import annotations

import gc
import os
import signal
import socket
import subprocess
import sys
import textwrap
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import pytest
from tests.waiting import PATIENCE_S

from adyton.platform import framing
from adyton.platform.framing import FramingError, Receiver, Sender
from adyton.platform.simulated.membership import (
    Enclosure,
    StrangerError,
    TracedError,
    require_descendant,
    require_untraced,
)

ENCLAVE = 500


class Table:
    """A process table in a folder, in the form of proc(5)."""

    def __init__(self, folder: Path) -> None:
        self.proc = folder
        self.add(1, 0, depth=1)
        self.add(400, 1, depth=1)
        self.add(ENCLAVE, 400)
        self.add(501, ENCLAVE)
        self.add(502, 501)

    def add(
        self, pid: int, parent: int, *, depth: int = 2, tracer: int = 0, threads: dict[int, int] | None = None
    ) -> None:
        """A process; ``threads`` says who traces its other threads."""
        folder = self.proc / str(pid)
        numbers = "\t".join([str(pid), *["7"] * (depth - 1)])
        for thread, by in {pid: tracer, **(threads or {})}.items():
            task = folder / "task" / str(thread)
            task.mkdir(parents=True, exist_ok=True)
            status = f"Name:\tprog: PPid: 500\nPid:\t{pid}\nPPid:\t{parent}\nTracerPid:\t{by}\nNSpid:\t{numbers}\n"
            (task / "status").write_text(status)
            (task / "children").touch()
        (folder / "status").write_text((folder / "task" / str(pid) / "status").read_text())
        children = self.proc / str(parent) / "task" / str(parent) / "children"
        if children.exists():
            children.write_text(f"{children.read_text()}{pid} ")


@pytest.fixture
def table(tmp_path: Path) -> Table:
    return Table(tmp_path)


class TestTree:
    @pytest.mark.parametrize("pid", [ENCLAVE, 501, 502])
    def test_the_enclave_and_what_it_started_belong(self, table: Table, pid: int) -> None:
        require_descendant(pid, ENCLAVE, table.proc)

    @pytest.mark.parametrize(
        "pid", [0, -1, 1, 400, 9999], ids=["nobody", "error", "init", "the platform", "no process"]
    )
    def test_others_do_not(self, table: Table, pid: int) -> None:
        with pytest.raises(StrangerError):
            require_descendant(pid, ENCLAVE, table.proc)

    def test_an_orphan_belongs_to_who_adopted_it(self, table: Table) -> None:
        table.add(503, ENCLAVE)  # its parent ended: the first process of the namespace took it
        require_descendant(503, ENCLAVE, table.proc)
        table.add(504, 1, depth=1)  # an orphan of the host is init's
        with pytest.raises(StrangerError):
            require_descendant(504, ENCLAVE, table.proc)

    def test_a_process_that_entered_from_outside_does_not_belong(self, table: Table) -> None:
        """As with nsenter: it is in the enclave's pid namespace, but its parent is not."""
        table.add(600, 1, depth=1)
        table.add(601, 600, depth=2)
        with pytest.raises(StrangerError):
            require_descendant(601, ENCLAVE, table.proc)

    def test_a_process_in_a_namespace_of_its_own_does_not_belong(self, table: Table) -> None:
        table.add(505, 501, depth=3)
        with pytest.raises(StrangerError, match="namespace"):
            require_descendant(505, ENCLAVE, table.proc)

    def test_a_loop_of_parents_ends(self, table: Table) -> None:
        table.add(700, 701)
        table.add(701, 700)
        with pytest.raises(StrangerError):
            require_descendant(700, ENCLAVE, table.proc)

    @pytest.mark.parametrize("status", ["", "PPid:\tx\nNSpid:\t1\n", "Pid:\t501\n", "\xff\0\n"])
    def test_a_status_that_cannot_be_read_is_nobodys(self, table: Table, status: str) -> None:
        (table.proc / "501" / "status").write_text(status)
        with pytest.raises(StrangerError):
            require_descendant(501, ENCLAVE, table.proc)

    def test_a_parent_whose_number_changes_hands_during_the_walk_is_noticed(self, tmp_path: Path) -> None:
        """A stranger's parent ends after it was named; an enclave's process gets its number before it is looked at."""
        made = Table(tmp_path)
        made.add(600, 1, depth=1)
        made.add(801, 600)
        status = tmp_path / "801" / "status"
        first_look = status.read_bytes()
        status.unlink()
        os.mkfifo(status)

        def change_hands() -> None:
            with status.open("wb") as pipe:  # opens when the walk has come to 801, for the first time
                made.add(600, ENCLAVE)  # the number of its parent is an enclave's now …
                pipe.write(first_look)
                status.unlink()
                made.add(801, 1, depth=2)  # … and the stranger itself is an orphan

        changing = threading.Thread(target=change_hands)
        changing.start()
        with pytest.raises(StrangerError):
            require_descendant(801, ENCLAVE, tmp_path)
        changing.join()


class TestTracers:
    def test_nobody_traces(self, table: Table) -> None:
        require_untraced(ENCLAVE, table.proc)

    @pytest.mark.parametrize("pid", [ENCLAVE, 501, 502])
    def test_every_process_is_looked_at(self, table: Table, pid: int) -> None:
        for thread in ("status", f"task/{pid}/status"):
            status = table.proc / str(pid) / thread
            status.write_text(status.read_text().replace("TracerPid:\t0", "TracerPid:\t4711"))
        with pytest.raises(TracedError, match=f"process {pid} .* 4711"):
            require_untraced(ENCLAVE, table.proc)

    def test_every_thread_is_looked_at(self, table: Table) -> None:
        table.add(510, 502, threads={511: 0, 512: 4711})
        with pytest.raises(TracedError):
            require_untraced(ENCLAVE, table.proc)

    def test_children_of_threads_are_found(self, table: Table) -> None:
        table.add(510, 502, threads={511: 0})
        table.add(520, 510, tracer=4711)
        (table.proc / "510/task/510/children").write_text("")
        (table.proc / "510/task/511/children").write_text("520 ")
        with pytest.raises(TracedError):
            require_untraced(ENCLAVE, table.proc)

    def test_tracers_of_others_do_not_matter(self, table: Table) -> None:
        table.add(900, 1, tracer=4711)
        require_untraced(ENCLAVE, table.proc)


class TestEnclosure:
    """With real processes; the "enclave" is a child of this one, without a namespace of its own."""

    def test_the_process_and_its_children_may_speak(self) -> None:
        with asking("import time; ask(); fork_and_ask(); time.sleep(60)", answers=2) as (_pid, heard):
            assert heard == ["", ""]

    def test_an_orphan_whose_parent_ended_is_no_longer_below_it(self) -> None:
        """Here the host's init adopts it; in a real enclave the enclave's first process does (test_identity)."""
        with asking("fork_and_ask(twice=True); time.sleep(60)", answers=1) as (_pid, heard):
            assert heard == ["StrangerError"]

    def test_somebody_else_with_the_descriptor_may_not(self) -> None:
        with asking("time.sleep(60)", answers=0, also=lambda left: framing.send(left, {})) as (_pid, heard):
            assert heard == ["StrangerError"]

    def test_another_user_with_the_descriptor_may_not(self) -> None:
        if os.geteuid() != 0:
            pytest.skip("needs root to become another user")

        def as_nobody(left: socket.socket) -> None:
            child = os.fork()
            if child == 0:
                os.setgid(65534)
                os.setuid(65534)
                framing.send(left, {})
                time.sleep(600)
                os._exit(0)
            children.append(child)

        children: list[int] = []
        try:
            with asking("time.sleep(60)", answers=0, also=as_nobody) as (_pid, heard):
                assert heard == ["StrangerError"]
        finally:
            for child in children:
                os.kill(child, signal.SIGKILL)
                os.waitpid(child, 0)

    def test_who_ended_gets_no_answer(self) -> None:
        with asking("fork_and_ask(stay=False); ended(); time.sleep(60)", answers=1) as (_pid, heard):
            assert heard == ["StrangerError"]

    def test_nobody_speaks_for_an_enclave_that_has_ended(self) -> None:
        left, right = socket.socketpair()
        with left, right:
            framing.ask_for_senders(right)
            child = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(60)"])
            pidfd = os.pidfd_open(child.pid)
            with Enclosure(child.pid, pidfd, debug=True) as enclosure:
                os.close(pidfd)
                child.kill()
                child.wait()
                framing.send(left, {})
                heard = _hear(right, enclosure)
        assert heard == "StrangerError"

    def test_a_traced_process_may_not_unless_it_is_a_debug_enclave(self) -> None:
        for debug, expected in ((False, "TracedError"), (True, "")):
            with asking("trace_me(); ask(); time.sleep(60)", answers=1, debug=debug) as (_pid, heard):
                assert heard == [expected]

    def test_a_traced_sibling_gives_it_away(self) -> None:
        with asking("fork_and_trace(); ask(); time.sleep(60)", answers=1, debug=False) as (_pid, heard):
            assert heard == ["TracedError"]

    def test_without_pidfds_from_the_kernel_the_number_is_held(self) -> None:
        """Kernels before 6.5: the process of that number is held while it is looked at."""
        enclosure_of_this = os.pidfd_open(os.getpid())
        with Enclosure(os.getpid(), enclosure_of_this, debug=True) as enclosure:
            os.close(enclosure_of_this)
            enclosure.require(Sender(os.getpid(), os.getuid(), None))
            child = subprocess.Popen([sys.executable, "-c", ""])
            child.wait()
            for pid in (0, -1, child.pid):
                with pytest.raises(StrangerError):
                    enclosure.require(Sender(pid, os.getuid(), None))

    def test_it_keeps_no_descriptors(self) -> None:
        gc.collect()  # what earlier tests left is not to be closed meanwhile
        before = len(list(Path("/proc/self/fd").iterdir()))
        self.test_without_pidfds_from_the_kernel_the_number_is_held()
        assert len(list(Path("/proc/self/fd").iterdir())) <= before


_REUSE = """
    import os, socket, sys, time
    from adyton.platform import framing
    from adyton.platform.simulated.membership import Enclosure

    def hear(right, check):
        receiver = framing.Receiver(right, check)
        try:
            receiver.receive()
        except Exception as error:
            return type(error).__name__
        return "answered"

    def fork(next_pid, then, after):
        for _time in range(50):
            with open("/proc/sys/kernel/ns_last_pid", "w") as file:
                file.write(str(next_pid - 1))
            pid = os.fork()
            if pid == 0:
                then()
                time.sleep(after)
                os._exit(0)
            if pid == next_pid:
                return pid
            os.kill(pid, 9)
            os.waitpid(pid, 0)
        raise SystemExit("no luck with pids")

    def pair():
        left, right = socket.socketpair()
        framing.ask_for_senders(right)
        return left, right

    if os.fork() != 0:  # pid 1 of the namespace only waits: an enclave is never that to the platform
        os._exit(os.waitstatus_to_exitcode(os.wait()[1]))

    # (a) a stranger gets the number that the enclave had
    left, right = pair()
    enclave = os.fork()
    if enclave == 0:
        time.sleep(60)
    enclosure = Enclosure(enclave, os.pidfd_open(enclave), debug=True)
    os.kill(enclave, 9)
    os.waitpid(enclave, 0)
    fork(enclave, lambda: framing.send(left, {}), 60)
    print(hear(right, enclosure.require), flush=True)

    # (b) a stranger asks and ends; a process of the enclave gets its number before anybody looks
    left, right = pair()
    enclave = os.getpid()
    asker = os.fork()
    if asker == 0:
        framing.send(left, {})
        os._exit(0)
    os.waitpid(asker, 0)
    fork(asker, lambda: None, 60)
    enclosure = Enclosure(enclave, os.pidfd_open(enclave), debug=True)
    print(hear(right, enclosure.require), flush=True)

    # (c) the very same without what guards against it: the number alone would have been believed
    left, right = pair()
    asker = os.fork()
    if asker == 0:
        framing.send(left, {})
        os._exit(0)
    os.waitpid(asker, 0)
    fork(asker, lambda: None, 60)
    print(hear(right, lambda sender: enclosure.require(framing.Sender(sender.pid, sender.uid, None))), flush=True)
"""


def test_a_number_that_is_used_again_is_not_believed(tmp_path: Path) -> None:
    """In a pid namespace of its own, where the next number can be chosen."""
    script = tmp_path / "reuse.py"
    script.write_text(textwrap.dedent(_REUSE))
    command = ["unshare", "--pid", "--fork", "--mount-proc", "--kill-child", sys.executable, str(script)]
    if os.geteuid() != 0:
        command[1:1] = ["--user", "--map-root-user"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    if "unshare" in done.stderr or "ns_last_pid" in done.stderr:
        pytest.skip(f"needs a pid namespace with a writable ns_last_pid: {done.stderr.strip()[-200:]}")
    assert done.stderr == ""
    assert done.stdout.split() == ["StrangerError", "StrangerError", "answered"]


_PRELUDE = """
import ctypes, os, socket, sys, time
from adyton.platform import framing
channel = socket.socket(fileno=int(sys.argv[1]))

def ask():
    framing.send(channel, {"op": "x"})

def fork_and_ask(twice=False, stay=True):
    child = os.fork()
    if child == 0:
        if twice:
            parent = os.getpid()
            if os.fork() > 0:
                os._exit(0)
            while os.getppid() == parent:
                time.sleep(0.01)
        ask()
        if stay:
            time.sleep(60)
        os._exit(0)
    if twice or not stay:
        os.waitpid(child, 0)

def ended():
    print("ended", flush=True)

def trace_me():
    assert ctypes.CDLL(None).ptrace(0, 0, 0, 0) == 0  # PTRACE_TRACEME: the parent traces

def fork_and_trace():
    read_end, write_end = os.pipe()
    if os.fork() == 0:
        trace_me()
        os.write(write_end, b"x")
        time.sleep(60)
    os.read(read_end, 1)
"""


@contextmanager
def asking(
    program: str, *, answers: int, debug: bool = True, also: Callable[[socket.socket], None] | None = None
) -> Iterator[tuple[int, list[str]]]:
    """Run a program as the enclave's first process; give what became of each message that was sent."""
    left, right = socket.socketpair()
    with left, right:
        framing.ask_for_senders(right)
        code = f"{_PRELUDE}\n{program}"
        command = [sys.executable, "-c", code, str(left.fileno())]
        with subprocess.Popen(
            command, pass_fds=[left.fileno()], stdout=subprocess.PIPE, start_new_session=True
        ) as process:
            pidfd = os.pidfd_open(process.pid)
            try:
                with Enclosure(process.pid, pidfd, debug=debug) as enclosure:
                    if also is not None:
                        also(left)
                    heard = []
                    for _message in range(answers + (also is not None)):
                        if "ended()" in program:  # the sender is to be gone before its message is looked at
                            assert process.stdout is not None
                            assert process.stdout.readline() == b"ended\n"
                        heard.append(_hear(right, enclosure))
                    yield process.pid, heard
            finally:
                os.close(pidfd)
                os.killpg(process.pid, signal.SIGKILL)


def _hear(connection: socket.socket, enclosure: Enclosure) -> str:
    """Receive one message, as the channel does: empty if it would be answered, else the name of the error."""
    try:
        Receiver(connection, enclosure.require).receive(PATIENCE_S)
        enclosure.require_untraced()
    except (StrangerError, TracedError, FramingError) as error:
        with suppress(BlockingIOError):
            connection.recv(1 << 16, socket.MSG_DONTWAIT)  # the rest of what was refused
        return type(error).__name__
    return ""
