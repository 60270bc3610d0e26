import os
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from tests.waiting import PATIENCE_S, until

from adyton.devnet.processes import ServiceFailedError, ServiceSpec, StartInterruptedError, Supervisor

SLEEPER = "import pathlib, sys, time; pathlib.Path(sys.argv[1]).touch(); time.sleep(60)"


def spec(folder: Path, name: str, code: str = SLEEPER, healthy: Callable[[], bool] | None = None) -> ServiceSpec:
    flag = folder / f"{name}.up"
    return ServiceSpec(
        name=name,
        command=[sys.executable, "-c", code, str(flag)],
        healthy=healthy or flag.exists,
        log_file=folder / f"{name}.log",
        endpoint="nowhere",
        ready_timeout_s=PATIENCE_S,
    )


@pytest.fixture
def supervisor() -> Iterator[Supervisor]:
    supervisor = Supervisor()
    yield supervisor
    supervisor.stop()


def gone(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] in {"Z", "X"}
    except (FileNotFoundError, ProcessLookupError):  # before it is opened, before it is read
        return True


def test_services_are_ready_when_start_returns_and_gone_after_stop(supervisor: Supervisor, tmp_path: Path) -> None:
    supervisor.start(spec(tmp_path, "one"), spec(tmp_path, "two"))
    assert [service.state for service in supervisor.services] == ["ready", "ready"]
    pids = [service.process.pid for service in supervisor.services]
    supervisor.stop()
    assert all(gone(pid) for pid in pids)


def test_a_service_that_ends_while_starting_is_reported_with_its_last_words(
    supervisor: Supervisor, tmp_path: Path
) -> None:
    with pytest.raises(ServiceFailedError, match="broken ended with status 1") as caught:
        supervisor.start(spec(tmp_path, "broken", "import sys; sys.exit('no such chain')"))
    assert "no such chain\n" in caught.value.hint
    assert "broken.log" in caught.value.hint


def test_a_service_that_never_answers_is_reported(supervisor: Supervisor, tmp_path: Path) -> None:
    silent = spec(tmp_path, "silent", healthy=lambda: False)
    impatient = ServiceSpec(silent.name, silent.command, silent.healthy, silent.log_file, "port 1", ready_timeout_s=0.3)
    with pytest.raises(ServiceFailedError, match="port 1"):
        supervisor.start(impatient)


def test_a_start_that_is_interrupted_gives_up_at_once(tmp_path: Path) -> None:
    asked = iter([False, True])
    supervisor = Supervisor(stopping=lambda: next(asked, True))
    with pytest.raises(StartInterruptedError):
        supervisor.start(spec(tmp_path, "slow", healthy=lambda: False))
    supervisor.stop()


def test_a_killed_service_is_started_again(supervisor: Supervisor, tmp_path: Path) -> None:
    supervisor.start(spec(tmp_path, "one"))
    first = supervisor.services[0].process.pid
    os.kill(first, signal.SIGKILL)
    states = set()

    def started_again() -> bool:
        supervisor.watch_once()
        states.add(supervisor.services[0].state)
        return supervisor.services[0].process.pid != first

    until(started_again)
    service = supervisor.services[0]
    assert service.process.poll() is None
    assert "restarting" in states
    assert service.restarts == 1


def test_what_ignores_the_request_to_end_is_killed(
    supervisor: Supervisor, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("adyton.devnet.processes._STOP_TIMEOUT_S", 0.3)
    supervisor.start(spec(tmp_path, "deaf", "import signal; signal.signal(15, signal.SIG_IGN);" + SLEEPER))
    pid = supervisor.services[0].process.pid
    supervisor.stop()
    assert gone(pid)


def test_children_end_when_the_supervisor_is_killed(tmp_path: Path) -> None:
    code = (
        "import sys, time; from pathlib import Path; from adyton.devnet.processes import *;"
        "s = Supervisor(); f = Path(sys.argv[1]);"
        f"command = [sys.executable, '-c', {SLEEPER!r}, str(f / 'up')];"
        "s.start(ServiceSpec('x', command, (f / 'up').exists, f / 'log', ''));"
        "print(s.services[0].process.pid, flush=True); time.sleep(60)"
    )
    with subprocess.Popen([sys.executable, "-c", code, str(tmp_path)], stdout=subprocess.PIPE, text=True) as parent:
        assert parent.stdout is not None
        child = int(parent.stdout.readline())
        parent.kill()
        parent.wait()
    until(lambda: gone(child))
