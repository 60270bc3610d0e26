"""What every back end must guarantee, asked of a program that runs inside."""

from __future__ import annotations

import ctypes
import os
import signal
import socket
import subprocess
import sys
import textwrap
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from tests.waiting import PATIENCE_S, until

from adyton.base.errors import InputError
from adyton.runner import seccomp
from adyton.runner.bwrap import BubblewrapRunner, find_runner
from adyton.runner.profile import Limits, Mount, RunnerError, RunnerMissingError, Sandbox

_HOST_FOLDERS = [path for path in ("/usr", "/bin", "/lib", "/lib64", "/etc") if Path(path).exists()]


@pytest.fixture(scope="module")
def runner() -> BubblewrapRunner:
    return find_runner()


@pytest.fixture
def rootfs(tmp_path: Path) -> Path:
    root = tmp_path / "root"
    root.mkdir()
    (root / "marker").write_text("root")
    return root


def _run(
    runner: BubblewrapRunner, rootfs: Path, script: str, *argv: str, limits: Limits | None = None, **options: object
) -> tuple[int, str]:
    """Run a Python script inside, with the host's own Python mounted read-only; return status and output."""
    python = Path(sys.executable).resolve()
    mounts = [Mount(Path(path), path) for path in _HOST_FOLDERS]
    mounts += [Mount(Path(path), path) for path in {str(python.parent.parent)} if not path.startswith("/usr")]
    extra = options.pop("mounts", ())
    sandbox = Sandbox(
        rootfs=rootfs,
        argv=(str(python), "-I", "-S", "-c", textwrap.dedent(script), *argv),
        mounts=(*mounts, *extra),  # type: ignore[misc]
        limits=limits or Limits(),
        **options,  # type: ignore[arg-type]
    )
    read_end, write_end = os.pipe()
    try:
        process = runner.start(sandbox, write_end, write_end)
    finally:
        os.close(write_end)
    with os.fdopen(read_end) as stream:
        output = stream.read()
    return process.wait(PATIENCE_S).code, output


def test_no_capability_and_no_new_privileges(runner: BubblewrapRunner, rootfs: Path) -> None:
    code, output = _run(runner, rootfs, "print(open('/proc/self/status').read())")
    fields = dict(line.split(":\t") for line in output.splitlines() if ":\t" in line)
    assert code == 0
    assert {fields[name] for name in ("CapInh", "CapPrm", "CapEff", "CapBnd", "CapAmb")} == {"0" * 16}
    assert fields["NoNewPrivs"] == "1"
    assert fields["Seccomp"] == "2"


def test_root_is_read_only_and_only_tmpfs_takes_writes(runner: BubblewrapRunner, rootfs: Path) -> None:
    script = """
        import os
        print(open('/marker').read())
        for path in ('/new', '/marker', '/usr/new', '/etc/new', '/scratch/new'):
            try:
                open(path, 'w').write('x'); print(path, 'written')
            except OSError as error:
                print(path, error.errno)
        print(os.statvfs('/scratch').f_blocks * os.statvfs('/scratch').f_frsize)
        """
    _, output = _run(runner, rootfs, script, tmpfs={"/scratch": 1 << 20})
    assert output.splitlines() == [
        "root", "/new 30", "/marker 30", "/usr/new 30", "/etc/new 30", "/scratch/new written", str(1 << 20),
    ]  # fmt: skip
    assert not (rootfs / "new").exists()


def test_no_network_without_the_grant(runner: BubblewrapRunner, rootfs: Path) -> None:
    script = """
        import socket, sys
        print(sorted(name for _, name in socket.if_nameindex()))
        try:
            socket.create_connection(('127.0.0.1', int(sys.argv[1])), 2).close(); print('connected')
        except OSError as error:
            print('refused')
        """
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = str(server.getsockname()[1])
        assert _run(runner, rootfs, script, port)[1].splitlines() == ["['lo']", "refused"]
        assert _run(runner, rootfs, script, port, network=True)[1].splitlines()[1] == "connected"


def test_sees_only_its_own_processes_and_namespaces(runner: BubblewrapRunner, rootfs: Path) -> None:
    script = """
        import os
        print(len([name for name in os.listdir('/proc') if name.isdigit()]))
        for name in ('user', 'pid', 'mnt', 'ipc', 'uts', 'net'):
            print(name, os.readlink(f'/proc/self/ns/{name}'))
        """
    _, output = _run(runner, rootfs, script)
    first, *rest = output.splitlines()
    assert int(first) <= 2
    for line in rest:
        name, value = line.split()
        assert os.readlink(f"/proc/self/ns/{name}") != value  # noqa: PTH115  # the text of the link is the point


def test_environment_and_descriptors_are_only_those_given(
    runner: BubblewrapRunner, rootfs: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HOST_SECRET", "canary")
    script = """
        import os
        print(open('/proc/self/environ').read().split(chr(0))[:-1])
        print(sorted(int(name) for name in os.listdir('/proc/self/fd')))
        """
    read_end, write_end = os.pipe()
    os.set_inheritable(read_end, True)
    try:
        _, output = _run(runner, rootfs, script, env={"A": "b c"}, pass_fds=(write_end,))
    finally:
        os.close(read_end)
        os.close(write_end)
    environment, descriptors = output.splitlines()
    assert sorted(environment.strip("[]").split(", ")) == ["'A=b c'", "'PWD=/'"]  # bubblewrap sets PWD
    assert descriptors == f"[0, 1, 2, 3, {write_end}]"  # 3 reads the listing


def test_environment_is_not_in_the_process_list(runner: BubblewrapRunner, rootfs: Path) -> None:
    sandbox = Sandbox(rootfs=rootfs, argv=("/bin/sleep", "30.25"), env={"NAME": "canary-3f1"}, mounts=_system_mounts())
    process = runner.start(sandbox, 1, 2)
    try:

        def listed() -> str:
            return subprocess.run(["ps", "-eo", "args"], capture_output=True, text=True, check=True).stdout

        until(lambda: "\n/bin/sleep 30.25" in listed())
        listing = listed()
        assert "\n/bin/sleep 30.25" in listing
        assert "canary-3f1" not in listing
    finally:
        process.kill()
        process.wait(PATIENCE_S)


def test_no_core_dump_and_resource_limits(runner: BubblewrapRunner, rootfs: Path) -> None:
    script = """
        import resource as r
        for name in ('CORE', 'NPROC', 'NOFILE', 'FSIZE', 'CPU'):
            print(name, *r.getrlimit(getattr(r, 'RLIMIT_' + name)))
        """
    limits = Limits(processes=50, open_files=64, file_bytes=4096, cpu_s=10)
    _, output = _run(runner, rootfs, script, limits=limits)
    assert output.splitlines() == ["CORE 0 0", "NPROC 50 50", "NOFILE 64 64", "FSIZE 4096 4096", "CPU 10 10"]


def test_a_fork_bomb_stays_small(runner: BubblewrapRunner, rootfs: Path) -> None:
    script = """
        import os, time
        made = 0
        try:
            while made < 200:
                if os.fork() == 0:
                    time.sleep(60); os._exit(0)
                made += 1
        except OSError:
            pass
        print('stopped' if made < 40 else 'unbounded', flush=True)
        """
    assert _run(runner, rootfs, script, limits=Limits(processes=20))[1].strip() == "stopped"


def test_memory_limit_stops_a_greedy_program(runner: BubblewrapRunner, rootfs: Path) -> None:
    code, output = _run(
        runner, rootfs, "block = b'x' * (300 << 20); print(len(block))", limits=Limits(memory_bytes=100 << 20)
    )
    assert code != 0
    assert "314572800" not in output


@pytest.mark.parametrize(
    ("call", "expected"),
    [
        pytest.param((101, 0, 0, 0, 0), 1, id="ptrace"),
        pytest.param((165, 0, 0, 0, 0), 1, id="mount"),
        pytest.param((272, 0x10000000), 1, id="unshare user"),
        pytest.param((56, 0x10000000 | 17, 0, 0, 0, 0), 1, id="clone with a user namespace"),
        pytest.param((435, 0, 0), 38, id="clone3"),
        pytest.param((321, 0, 0, 0), 1, id="bpf"),
        pytest.param((425, 1, 0), 1, id="io_uring_setup"),
        pytest.param((250, 0, 0), 1, id="keyctl"),
        pytest.param((298, 0, 0, 0, 0, 0), 1, id="perf_event_open"),
        pytest.param((323, 0), 1, id="userfaultfd"),
        pytest.param((310, 1, 0, 0, 0, 0, 0), 1, id="process_vm_readv"),
        pytest.param((16, 0, 0x5412, 0), 1, id="TIOCSTI"),
        pytest.param((0x40000000 | 39,), 38, id="x32 call number"),
    ],
)
def test_seccomp_refuses(runner: BubblewrapRunner, rootfs: Path, call: tuple[int, ...], expected: int) -> None:
    script = f"""
        import ctypes
        libc = ctypes.CDLL(None, use_errno=True)
        result = libc.syscall({", ".join(f"ctypes.c_long({value})" for value in call)})
        print(result, ctypes.get_errno())
        """
    assert _run(runner, rootfs, script)[1].split() == ["-1", str(expected)]


def test_threads_and_processes_still_work(runner: BubblewrapRunner, rootfs: Path) -> None:
    script = """
        import threading, subprocess
        done = []
        worker = threading.Thread(target=lambda: done.append(1)); worker.start(); worker.join()
        print(done, subprocess.run(['/bin/echo', 'child'], capture_output=True, text=True).stdout)
        """
    assert _run(runner, rootfs, script)[1].split() == ["[1]", "child"]


def test_time_limit_kills_everything(runner: BubblewrapRunner, rootfs: Path) -> None:
    sandbox = Sandbox(rootfs=rootfs, argv=("/bin/sleep", "60"), mounts=_system_mounts(), limits=Limits(timeout_s=0.3))
    process = runner.start(sandbox, 1, 2)
    pid = process.pid
    status = process.wait()
    assert (status.timed_out, status.signal) == (True, signal.SIGKILL)
    assert _is_gone(pid)


def test_signals_reach_the_program(runner: BubblewrapRunner, rootfs: Path) -> None:
    script = """
        import signal, sys, time
        signal.signal(signal.SIGTERM, lambda *_: sys.exit(7))
        print('ready', flush=True)
        time.sleep(60)
        """
    python = Path(sys.executable).resolve()
    mounts = (*_system_mounts(), Mount(python.parent.parent, str(python.parent.parent)))
    read_end, write_end = os.pipe()
    argv = (str(python), "-I", "-S", "-c", textwrap.dedent(script))
    process = runner.start(Sandbox(rootfs=rootfs, argv=argv, mounts=mounts), write_end, 2)
    os.close(write_end)
    with os.fdopen(read_end) as stream:
        assert stream.readline() == "ready\n"
    process.signal(signal.SIGTERM)
    assert process.wait(PATIENCE_S).code == 7


def test_survives_the_thread_that_started_it(runner: BubblewrapRunner, rootfs: Path) -> None:
    started = []
    sandbox = Sandbox(rootfs=rootfs, argv=("/bin/sleep", "0.3"), mounts=_system_mounts())
    thread = threading.Thread(target=lambda: started.append(runner.start(sandbox, 1, 2)))
    thread.start()
    thread.join()
    assert started[0].wait(PATIENCE_S).code == 0


def test_dies_with_the_process_that_started_it(rootfs: Path) -> None:
    script = textwrap.dedent(f"""
        from pathlib import Path
        from adyton.runner.bwrap import find_runner
        from adyton.runner.profile import Mount, Sandbox
        mounts = tuple(Mount(Path(p), p) for p in {_HOST_FOLDERS!r})
        argv = ("/bin/sh", "-c", "echo up; exec sleep 60")
        sandbox = Sandbox(rootfs=Path({str(rootfs)!r}), argv=argv, mounts=mounts)
        import os, signal
        read, write = os.pipe()
        runner = find_runner()  # kept: its thread is the sandbox's parent
        process = runner.start(sandbox, write, 2)
        print(process.pid, flush=True)
        os.read(read, 3)  # it runs: what is killed while it is being set up is another matter
        os.kill(os.getpid(), signal.SIGKILL)
        """)
    done = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, timeout=PATIENCE_S, check=False
    )
    assert _is_gone(int(done.stdout), within_s=PATIENCE_S)


def test_a_link_in_the_image_cannot_redirect_a_mount(runner: BubblewrapRunner, rootfs: Path) -> None:
    (rootfs / "data").symlink_to("/etc")
    sandbox = Sandbox(rootfs=rootfs, argv=("/bin/true",), tmpfs={"/data/inner": 4096})
    with pytest.raises(RunnerError) as caught:
        runner.start(sandbox, 1, 2)
    assert caught.value.code == "runner.mount"


@pytest.mark.parametrize("target", ["relative", "/a/../b", "/a//b", "/"])
def test_mount_targets_are_plain(runner: BubblewrapRunner, rootfs: Path, target: str) -> None:
    with pytest.raises(RunnerError):
        runner.start(Sandbox(rootfs=rootfs, argv=("/bin/true",), tmpfs={target: 4096}), 1, 2)


@pytest.mark.parametrize("bad", [{"memory_bytes": 0}, {"processes": -1}, {"timeout_s": 0.0}])
def test_limits_are_positive(bad: dict[str, int]) -> None:
    with pytest.raises(InputError):
        Limits(**bad)


def test_a_missing_bubblewrap_names_the_remedy(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(RunnerMissingError, match="not installed") as caught:
        find_runner()
    assert "apt-get install -y bubblewrap" in caught.value.hint


def test_filter_is_whole_instructions_and_kills_foreign_architectures() -> None:
    code = seccomp.program()
    assert len(code) % ctypes.sizeof(ctypes.c_uint64) == 0
    assert len(code) // 8 < 4096  # BPF_MAXINSNS
    assert code[16:24] == b"\x06\x00\x00\x00\x00\x00\x00\x80"


def test_group_is_gone_after_the_run(runner: BubblewrapRunner, rootfs: Path) -> None:
    _run(runner, rootfs, "pass", limits=Limits(processes=10))
    left = list(Path("/sys/fs/cgroup").glob(f"*/adyton-{os.getpid()}-*"))
    assert left == []


def _is_gone(pid: int, *, within_s: float = 0) -> bool:
    """Whether a process has ended; whoever inherited it may not have reaped it yet."""
    deadline = time.monotonic() + within_s
    while True:
        try:
            state = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
        except OSError:
            return True
        if state == "Z":
            return True
        if time.monotonic() > deadline:
            return False
        time.sleep(0.02)


def _system_mounts() -> tuple[Mount, ...]:
    return tuple(Mount(Path(path), path) for path in _HOST_FOLDERS)


@pytest.fixture(autouse=True)
def _no_descriptor_leaks() -> Iterator[None]:
    before = len(list(Path("/proc/self/fd").iterdir()))
    yield
    assert len(list(Path("/proc/self/fd").iterdir())) <= before
