"""The bubblewrap back end: no daemon, and no privilege where the kernel has user namespaces.

Start, in order: bubblewrap builds the namespaces and mounts and stops before the program (``--block-fd``); this side
sets resource limits on the waiting process, takes its pidfd, and lets it go. Options travel over a descriptor
(``--args``), so neither environment nor paths are in the process list.
"""

from __future__ import annotations

import contextlib
import json
import os
import resource
import select
import shutil
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from io import FileIO
from pathlib import Path
from typing import Any, Final

from adyton.runner import cgroup, seccomp
from adyton.runner.profile import ExitStatus, Limits, RunnerError, RunnerMissingError, RunningProcess, Sandbox

_START_TIMEOUT_S: Final = 20.0
_MAX_INFO_BYTES: Final = 65536


class BubblewrapRunner:
    """Starts sandboxes with ``bwrap``.

    Args:
        program: path of the executable.
        user_namespace: False only where the kernel refuses user namespaces and this process is root.
    """

    def __init__(self, program: str, *, user_namespace: bool = True) -> None:
        self._program = program
        self._user_namespace = user_namespace
        # --die-with-parent means the parent *thread*, so all sandboxes start from one that lives as long as we do
        self._starter = ThreadPoolExecutor(max_workers=1, thread_name_prefix="sandbox-parent")

    def start(self, sandbox: Sandbox, stdout: int, stderr: int) -> RunningProcess:
        """Start ``sandbox``; see :class:`adyton.runner.profile.Runner`.

        Raises:
            RunnerError: a mount is impossible or bubblewrap gave up.
        """
        for mount in sandbox.mounts:
            _prepare_mount_point(sandbox.rootfs, mount.target, is_folder=mount.source.is_dir())
        for path in (*sandbox.tmpfs, "/proc", "/dev"):
            _prepare_mount_point(sandbox.rootfs, path, is_folder=True)
        return self._starter.submit(self._start, sandbox, stdout, stderr).result()

    def _start(self, sandbox: Sandbox, stdout: int, stderr: int) -> RunningProcess:
        with contextlib.ExitStack() as stack:
            args = _memory_file(stack, "bwrap-args", b"".join(a.encode() + b"\0" for a in self._options(sandbox)))
            rules = _memory_file(stack, "bwrap-seccomp", seccomp.program())
            info, info_child = _pipe(stack)
            block_child, block = _pipe(stack)
            passed = {"--args": args, "--seccomp": rules, "--info-fd": info_child, "--block-fd": block_child}
            options = [text for name, stream in passed.items() for text in (name, str(stream.fileno()))]
            try:
                process = subprocess.Popen(
                    [self._program, *options, "--", *sandbox.argv],
                    stdin=subprocess.DEVNULL,
                    stdout=stdout,
                    stderr=stderr,
                    env={},
                    pass_fds=(*(stream.fileno() for stream in passed.values()), *sandbox.pass_fds),
                )
            except OSError as error:
                raise RunnerError(f"cannot start {self._program}: {error.strerror}") from error
            info_child.close()
            block_child.close()
            try:
                pid = _read_child_pid(info)
                return _Process(process, pid, sandbox.limits, block, self._starter)
            except BaseException:
                process.kill()
                process.wait()
                raise

    def _options(self, sandbox: Sandbox) -> Iterator[str]:
        if self._user_namespace:
            yield from ("--unshare-user", "--disable-userns")
        yield from ("--unshare-pid", "--unshare-ipc", "--unshare-uts", "--unshare-cgroup-try")
        if not sandbox.network:
            yield "--unshare-net"
        yield from ("--cap-drop", "ALL", "--die-with-parent", "--new-session", "--hostname", sandbox.hostname)
        yield from ("--ro-bind", str(sandbox.rootfs), "/", "--proc", "/proc", "--dev", "/dev")
        for path, size in sandbox.tmpfs.items():
            yield from ("--perms", "1777", "--size", str(size), "--tmpfs", path)
        for mount in sandbox.mounts:
            yield from ("--ro-bind" if mount.read_only else "--bind", str(mount.source.resolve()), mount.target)
        yield "--clearenv"
        for name, value in sandbox.env.items():
            yield from ("--setenv", name, value)
        yield from ("--chdir", sandbox.cwd)


def find_runner() -> BubblewrapRunner:
    """The back end of this machine, tried out once.

    Raises:
        RunnerMissingError: none is installed or none works; the hint is the command that helps.
    """
    program = shutil.which("bwrap")
    if program is None:
        raise RunnerMissingError("bubblewrap (bwrap) is not installed")
    for user_namespace in (True, False) if os.geteuid() == 0 else (True,):
        option = ["--unshare-user"] if user_namespace else []
        probe = subprocess.run(
            [program, *option, "--unshare-pid", "--ro-bind", "/", "/", "--", sys.executable, "-I", "-S", "-c", ""],
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=_START_TIMEOUT_S,
            check=False,
        )
        if probe.returncode == 0:
            cgroup.sweep()
            return BubblewrapRunner(program, user_namespace=user_namespace)
    detail = probe.stderr.strip().splitlines()[-1:] or ["no reason given"]
    raise RunnerMissingError(
        f"bubblewrap cannot make a sandbox here: {detail[0]}",
        code="runner.unusable",
        hint="allow unprivileged user namespaces (sysctl kernel.unprivileged_userns_clone=1, "
        "kernel.apparmor_restrict_unprivileged_userns=0), or run as root",
    )


class _Process:
    """A sandbox that bubblewrap runs."""

    def __init__(
        self, process: subprocess.Popen[bytes], pid: int, limits: Limits, block: FileIO, starter: ThreadPoolExecutor
    ) -> None:
        self._process = process
        self._starter = starter  # the parent thread must outlive its children
        self._deadline = None if limits.timeout_s is None else time.monotonic() + limits.timeout_s
        self._lock = threading.Lock()
        self._status: ExitStatus | None = None
        self.pid = pid
        try:
            self.pidfd = os.pidfd_open(pid)
            self._group = _apply_limits(pid, limits)
            block.write(b"\1")
        except OSError as error:
            raise RunnerError(f"the sandbox ended before its program started: {error.strerror}") from error

    def wait(self, timeout_s: float | None = None) -> ExitStatus:
        """See :class:`adyton.runner.profile.RunningProcess`."""
        deadline = None if timeout_s is None else time.monotonic() + timeout_s
        if self._deadline is not None:
            deadline = self._deadline if deadline is None else min(deadline, self._deadline)
        timed_out = False
        try:
            code = self._process.wait(None if deadline is None else max(0.0, deadline - time.monotonic()))
        except subprocess.TimeoutExpired:
            timed_out = True
            self.kill()
            code = self._process.wait()
        with self._lock:
            if self._status is None:
                # bubblewrap's outer process may be reaped before the namespace it leaves behind is gone
                _readable(self.pidfd, _START_TIMEOUT_S)
                self._status = _status(code, timed_out)
                os.close(self.pidfd)
                self._group.remove()
            return self._status

    def signal(self, number: int) -> None:
        """See :class:`adyton.runner.profile.RunningProcess`."""
        with contextlib.suppress(OSError, ValueError):  # it may just have ended
            children = Path(f"/proc/{self.pid}/task/{self.pid}/children").read_text(encoding="ascii")
            for child in children.split()[:1]:
                os.kill(int(child), number)

    def kill(self) -> None:
        """See :class:`adyton.runner.profile.RunningProcess`."""
        with self._lock:
            if self._status is None:
                with contextlib.suppress(ProcessLookupError):
                    signal.pidfd_send_signal(self.pidfd, signal.SIGKILL)
        self._process.kill()


def _status(code: int, timed_out: bool) -> ExitStatus:
    if code < 0:
        return ExitStatus(128 - code, timed_out, -code)
    is_signal = 128 < code <= 128 + signal.NSIG
    return ExitStatus(code, timed_out, code - 128 if is_signal else None)


def _apply_limits(pid: int, limits: Limits) -> cgroup.ControlGroup:
    wanted = {"pids": limits.processes, "memory": limits.memory_bytes}
    group = cgroup.create({name: value for name, value in wanted.items() if value is not None})
    try:
        group.add(pid)
        bounds = [
            (resource.RLIMIT_CORE, 0),
            (resource.RLIMIT_NPROC, limits.processes),
            (resource.RLIMIT_NOFILE, limits.open_files),
            (resource.RLIMIT_FSIZE, limits.file_bytes),
            (resource.RLIMIT_CPU, limits.cpu_s),
        ]
        if "memory" not in group.controllers:
            # RLIMIT_AS would count address space that runtimes only reserve
            bounds.append((resource.RLIMIT_DATA, limits.memory_bytes))
        for kind, value in bounds:
            if value is not None:
                _, hard = resource.prlimit(pid, kind)
                bound = value if hard == resource.RLIM_INFINITY else min(value, hard)
                resource.prlimit(pid, kind, (bound, bound))
    except BaseException:
        group.remove()
        raise
    return group


def _prepare_mount_point(rootfs: Path, target: str, *, is_folder: bool) -> None:
    """Make sure ``target`` exists inside ``rootfs`` and no link leads elsewhere."""
    parts = target.split("/")[1:]
    if not target.startswith("/") or any(part in ("", ".", "..") for part in parts):
        raise RunnerError(f"{target!r} is not a plain absolute path", code="runner.mount")
    here = rootfs
    for index, part in enumerate(parts):
        here = here / part
        if here.is_symlink():
            raise RunnerError(f"{target} leads through the link {here.relative_to(rootfs)}", code="runner.mount")
        try:
            if index < len(parts) - 1 or is_folder:
                here.mkdir(exist_ok=True)
            elif not here.exists():
                here.touch()
        except OSError as error:
            raise RunnerError(f"cannot make the mount point {target}: {error.strerror}", code="runner.mount") from error


def _memory_file(stack: contextlib.ExitStack, name: str, data: bytes) -> FileIO:
    stream = stack.enter_context(FileIO(os.memfd_create(name), "rb+"))
    stream.write(data)
    stream.seek(0)
    return stream


def _pipe(stack: contextlib.ExitStack) -> tuple[FileIO, FileIO]:
    read_end, write_end = os.pipe()
    return stack.enter_context(FileIO(read_end, "rb")), stack.enter_context(FileIO(write_end, "wb"))


def _readable(descriptor: int, timeout_s: float) -> bool:
    poller = select.poll()
    poller.register(descriptor, select.POLLIN)
    return bool(poller.poll(max(0.0, timeout_s) * 1000))


def _read_child_pid(info: FileIO) -> int:
    """The first process inside, from what bubblewrap writes to ``--info-fd`` once it exists."""
    deadline = time.monotonic() + _START_TIMEOUT_S
    data = b""
    while len(data) < _MAX_INFO_BYTES:
        if not _readable(info.fileno(), deadline - time.monotonic()):
            raise RunnerError(f"bubblewrap did not start within {_START_TIMEOUT_S:.0f} s")
        block = info.read(4096)
        if not block:
            break
        data += block
    try:
        document: Any = json.loads(data)
        return int(document["child-pid"])
    except (ValueError, KeyError, TypeError) as error:
        raise RunnerError("bubblewrap gave up before it started; see standard error of the run") from error
