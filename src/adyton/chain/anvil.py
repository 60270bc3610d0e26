"""The local chain's node: its command line, its special methods, and a runner for tests.

Only here, in ``deploy`` and in what starts a local network is the node known to be anvil; everything else speaks
plain JSON-RPC.
"""

from __future__ import annotations

import ctypes
import gzip
import json
import os
import signal
import socket
import subprocess
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final, Self

from adyton.base.errors import AdytonError, UnavailableError
from adyton.base.types import Address, Bytes32, from_hex, parse_address, parse_bytes32, to_hex
from adyton.chain.artifacts import NODE_PACKAGE, ArtifactError
from adyton.chain.rpc import Rpc, RpcError

GAS_LIMIT: Final = 500_000_000  # per block
# Old states that calls can still be answered from. Not none: a call for "latest" that meets a new block would fail.
KEPT_STATES: Final = 64
DEV_BALANCE_ETHER: Final = 1_000_000
_PR_SET_PDEATHSIG: Final = 1  # prctl(2)
_START_S: Final = 30.0


class PortInUseError(AdytonError):
    """Something listens where the node should: talking to it would mean talking to another chain."""

    code = "chain.anvil.port"
    hint = "stop what uses the port, or choose another"


def anvil_binary(node_modules: Path) -> Path:
    """The node's program.

    Raises:
        ArtifactError: its npm package is not installed.
    """
    binary = node_modules / NODE_PACKAGE / "bin" / "anvil"
    if not os.access(binary, os.X_OK):
        raise ArtifactError(f"the npm package {NODE_PACKAGE} is not installed")
    return binary


def anvil_command(
    node_modules: Path,
    *,
    port: int,
    chain_id: int = 134,
    state_file: Path | None = None,
    state_interval_s: int = 2,
    host: str = "127.0.0.1",
    accounts: int = 0,
) -> list[str]:
    """The command line of a node with free gas that keeps its state and all logs, but little memory.

    Args:
        node_modules: folder of npm packages.
        port: TCP port.
        chain_id: EIP-155 id.
        state_file: loaded at the start, written on SIGTERM and every ``state_interval_s``; None keeps no state.
        state_interval_s: seconds between writes; what a kill -9 may lose.
        host: address to listen on.
        accounts: number of well-known development accounts with money; anyone can spend it.
    """
    command = [str(anvil_binary(node_modules)), "--host", host, "--port", str(port), "--chain-id", str(chain_id)]
    command += ["--gas-price", "0", "--block-base-fee-per-gas", "0", "--disable-min-priority-fee"]
    command += [
        "--gas-limit",
        str(GAS_LIMIT),
        "--no-request-size-limit",
        "--prune-history",
        str(KEPT_STATES),
        "--quiet",
    ]
    command += ["--accounts", str(accounts), "--balance", str(DEV_BALANCE_ETHER)]
    if state_file is not None:
        command += ["--state", str(state_file), "--state-interval", str(state_interval_s)]
    return command


def require_free_port(port: int, host: str = "127.0.0.1") -> None:
    """Fail when something listens on ``port``.

    Raises:
        PortInUseError: it does.
    """
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((host, port))
        except OSError as error:
            raise PortInUseError(f"port {port} of {host} is in use") from error


def free_port() -> int:
    """A TCP port of the loopback address that nothing listens on now."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


class AnvilProcess:
    """A node as a child process that ends with its ``with`` block, or with this process.

    Long-running networks start :func:`anvil_command` under their own supervision instead.

    Args:
        node_modules: folder of npm packages.
        port: TCP port; None takes a free one.
        chain_id: EIP-155 id.
        state_file: see :func:`anvil_command`.

    Raises:
        PortInUseError: the port is taken.
        UnavailableError: the node does not come up.
    """

    def __init__(
        self, node_modules: Path, *, port: int | None = None, chain_id: int = 134, state_file: Path | None = None
    ) -> None:
        self.port = free_port() if port is None else port
        require_free_port(self.port)
        self.url = f"http://127.0.0.1:{self.port}"
        command = anvil_command(node_modules, port=self.port, chain_id=chain_id, state_file=state_file)
        prctl = ctypes.CDLL(None, use_errno=True).prctl  # resolved here: nothing may be loaded after the fork
        self._process = subprocess.Popen(
            command,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            preexec_fn=lambda: prctl(_PR_SET_PDEATHSIG, signal.SIGTERM),  # noqa: PLW1509  # one syscall, no locks
        )
        self.rpc = Rpc(self.url)
        try:
            self._wait_until_up()
        except BaseException:
            self.stop()
            raise

    @property
    def pid(self) -> int:
        """The node's process id."""
        return self._process.pid

    def stop(self) -> None:
        """Let the node write its state and end; kill it when it does not within ten seconds."""
        self.rpc.close()
        if self._process.poll() is None:
            self._process.terminate()
        try:
            self._process.wait(10)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()

    def kill(self) -> None:
        """End the node as a power failure would."""
        self._process.kill()
        self._process.wait()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()

    def _wait_until_up(self) -> None:
        deadline = time.monotonic() + _START_S
        while True:
            if self._process.poll() is not None:
                raise UnavailableError(
                    f"the chain node ended at once with status {self._process.returncode}", code="chain.anvil.start"
                )
            try:
                self.rpc.block_number()
            except UnavailableError:
                if time.monotonic() > deadline:
                    raise
                time.sleep(0.02)
            else:
                return


def set_interval_mining(rpc: Rpc, seconds: int) -> None:
    """Make a block every ``seconds``; official clients need this: with instant blocks they reuse nonces."""
    rpc.call("evm_setIntervalMining", seconds)


def set_instant_mining(rpc: Rpc) -> None:
    """Make a block for each transaction at once."""
    rpc.batch([("evm_setIntervalMining", [0]), ("evm_setAutomine", [True])])


def is_instant_mining(rpc: Rpc) -> bool:
    """Whether each transaction gets a block at once."""
    return bool(rpc.call("anvil_getAutomine"))


def increase_time(rpc: Rpc, seconds: int) -> None:
    """Move the chain's clock on and make a block."""
    rpc.batch([("evm_increaseTime", [seconds]), ("evm_mine", [])])


def set_balance(rpc: Rpc, address: Address, wei: int) -> None:
    """Give an account exactly this native balance."""
    rpc.call("anvil_setBalance", address, hex(wei))


def is_anvil(rpc: Rpc) -> bool:
    """Whether the node has the special methods that fixed addresses need."""
    try:
        return str(rpc.call("web3_clientVersion")).lower().startswith("anvil")
    except RpcError:
        return False


def storage_of(rpc: Rpc, addresses: list[Address]) -> dict[Address, dict[Bytes32, Bytes32]]:
    """All storage slots of some contracts, from the node's state dump.

    Raises:
        UnavailableError: the dump has not the form that is known.
    """
    try:
        dump = json.loads(gzip.decompress(from_hex(rpc.call("anvil_dumpState"))))
        accounts: Mapping[str, Any] = {parse_address(key): value for key, value in dump["accounts"].items()}
        return {
            address: {
                parse_bytes32(f"0x{int(slot, 16):064x}"): parse_bytes32(f"0x{int(value, 16):064x}")
                for slot, value in accounts[address]["storage"].items()
            }
            for address in addresses
        }
    except (KeyError, TypeError, ValueError, OSError) as error:
        raise UnavailableError("the node's state dump has an unknown form", code="chain.anvil.dump") from error


def transplant(rpc: Rpc, moves: Mapping[Address, Address]) -> None:
    """Move contracts, code and storage, to given addresses.

    Only right after construction, before anything refers to the old address, and only for contracts without
    immutables (their code would hold old values).

    Args:
        rpc: an anvil node.
        moves: from where to where.
    """
    storage = storage_of(rpc, list(moves))
    changes: list[tuple[str, list[str]]] = []
    for source, target in moves.items():
        changes.append(("anvil_setCode", [target, to_hex(rpc.code(source))]))
        changes += [("anvil_setStorageAt", [target, slot, value]) for slot, value in storage[source].items()]
        changes.append(("anvil_setCode", [source, "0x"]))
    rpc.batch(changes)
