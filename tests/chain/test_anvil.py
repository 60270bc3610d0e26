from __future__ import annotations

import signal
import socket
import subprocess
import sys
from pathlib import Path

import pytest
from tests.conftest import Chain
from tests.ports import free_port
from tests.waiting import until

from adyton.base.errors import UnavailableError
from adyton.chain.anvil import (
    AnvilProcess,
    PortInUseError,
    anvil_binary,
    anvil_command,
    increase_time,
    require_free_port,
    storage_of,
)
from adyton.chain.artifacts import ArtifactError, Artifacts
from adyton.chain.wallet import Wallet


def test_port_in_use_is_found_before_the_start(artifacts: Artifacts) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        with pytest.raises(PortInUseError, match=str(port)):
            require_free_port(port)
        with pytest.raises(PortInUseError):
            AnvilProcess(artifacts.node_modules, port=port)
    require_free_port(free_port())


def test_command(artifacts: Artifacts, tmp_path: Path) -> None:
    command = anvil_command(artifacts.node_modules, port=1, chain_id=7, state_file=tmp_path / "s", state_interval_s=5)
    for option in ("--no-request-size-limit", "--prune-history", "--disable-min-priority-fee"):
        assert option in command
    assert command[command.index("--state") + 1] == str(tmp_path / "s")
    assert command[command.index("--state-interval") + 1] == "5"
    assert "--state" not in anvil_command(artifacts.node_modules, port=1)
    assert "--transaction-block-keeper" not in command  # it loses the logs at a restart


def test_missing_binary(tmp_path: Path) -> None:
    with pytest.raises(ArtifactError, match="anvil"):
        anvil_binary(tmp_path)


def test_clock_and_chain_id(artifacts: Artifacts) -> None:
    with AnvilProcess(artifacts.node_modules, port=free_port(), chain_id=77) as node:
        assert node.rpc.chain_id() == 77
        before = node.rpc.head().timestamp
        increase_time(node.rpc, 1000)
        assert node.rpc.head().timestamp >= before + 1000
        node.kill()
        with pytest.raises(UnavailableError):
            node.rpc.head()


def test_storage_of_an_unknown_contract(chain: Chain) -> None:
    with pytest.raises(UnavailableError, match="dump"):
        storage_of(chain.rpc, [Wallet.create().address])
    assert storage_of(chain.rpc, [chain.deployment.hub])[chain.deployment.hub]


def test_node_ends_with_the_process_that_started_it(artifacts: Artifacts) -> None:
    program = (
        "import os, signal, sys; from pathlib import Path; from adyton.chain.anvil import AnvilProcess; "
        "print(AnvilProcess(Path(sys.argv[1])).pid, flush=True); os.kill(os.getpid(), signal.SIGKILL)"
    )
    command = [sys.executable, "-c", program, str(artifacts.node_modules)]
    ended = subprocess.run(command, stdout=subprocess.PIPE, check=False, timeout=60)
    assert ended.returncode == -signal.SIGKILL
    node = Path(f"/proc/{int(ended.stdout)}")
    until(lambda: not _runs(node))


def _runs(process: Path) -> bool:
    try:
        return "anvil" in (process / "cmdline").read_text()  # empty while nobody has asked how it ended
    except (FileNotFoundError, ProcessLookupError):
        return False
