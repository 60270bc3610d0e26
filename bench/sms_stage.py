"""Where the SMS is measured: real processes of it, a real chain with the official contracts, a real CAS beside it."""

from __future__ import annotations

import contextlib
import json
import shutil
import socket
import tempfile
import threading
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from http.client import HTTPConnection, HTTPResponse
from pathlib import Path
from typing import Final

from _pytest.outcomes import Skipped  # how the tests' support says what is missing
from bench.load import Request
from bench.processes import BenchError, MissingError, Service, python_service
from tests.cas.house import CAS, House, Running, certificate_service, new_world
from tests.cas.test_main import Everyone, settings
from tests.chain.lifecycle import Market
from tests.conftest import Chain
from tests.sms.postgres import PostgresServer, postgres
from tests.sms.support import MRENCLAVE, POST_FINGERPRINT, PRE_FINGERPRINT

from adyton.base.errors import AdytonError
from adyton.base.types import ZERO_BYTES32, Address, Bytes32
from adyton.cas.client.operator import OperatorFiles
from adyton.chain import tags
from adyton.chain.anvil import AnvilProcess, set_interval_mining
from adyton.chain.artifacts import ArtifactError, Artifacts, find_node_modules
from adyton.chain.deploy import deploy
from adyton.chain.events import AssetTransfer, find
from adyton.chain.hashing import task_id
from adyton.chain.wallet import Wallet
from adyton.platform.client import PLATFORM_FD
from adyton.platform.simulated import channel

KEY_HEX: Final = "5c" * 32
SESSIONS_PER_TASK: Final = 10_000
_BLOCK_S: Final = 1


@dataclass(frozen=True, slots=True)
class Sms:
    """A running SMS."""

    service: Service
    port: int


@dataclass(frozen=True, slots=True)
class Cas:
    """A running CAS, and the folder of a client that has verified it."""

    service: Service
    running: Running

    def client(self, name: str) -> OperatorFiles:
        """The files of an owner of sessions."""
        self.running.owner(name)
        return OperatorFiles(self.running.folder / name)


@dataclass(frozen=True, slots=True)
class Place:
    """A chain and the market on it."""

    node: Service
    market: Market

    @property
    def chain(self) -> Chain:
        """The chain."""
        return self.market.chain


@contextlib.contextmanager
def folder() -> Iterator[Path]:
    """A folder of the measurement's own, on the disk that temporary files are on."""
    made = Path(tempfile.mkdtemp(prefix="adyton-bench-"))
    try:
        yield made
    finally:
        shutil.rmtree(made, ignore_errors=True)


@contextlib.contextmanager
def marketplace() -> Iterator[Place]:
    """A node with the official contracts, an enclave app with a dataset on it, and a block every second.

    Raises:
        MissingError: the contracts or the node are not installed.
    """
    try:
        artifacts = Artifacts(find_node_modules())
    except ArtifactError as error:
        raise MissingError(error.message, hint=error.hint) from error
    with AnvilProcess(artifacts.node_modules) as node:
        admin = Wallet.create()
        market = Market.open(Chain(node.rpc, node.url, deploy(node.rpc, artifacts, admin=admin), admin))
        apps, developer = market.registries.app, market.developer
        call = apps.create_app(developer.address, "e", "DOCKER", b"registry/app:1", ZERO_BYTES32, MRENCLAVE.encode())
        (created,) = find(developer.sender.send(apps.address, call).logs, AssetTransfer, apps.address)
        yield Place(Service(node.pid), replace(market, app=created.asset))


def buy_tasks(place: Place, number: int) -> list[Bytes32]:
    """Initialized tasks of one deal with a dataset, at most 100."""
    market = place.market
    deal = market.match(tags.encode(("tee", "scone")), volume=number, with_dataset=True).deal_id
    for index in range(number):
        market.pool_owner.sender.send(market.hub.address, market.hub.initialize(deal, index))
    set_interval_mining(place.chain.rpc, _BLOCK_S)
    return [task_id(deal, index) for index in range(number)]


def make_datasets(place: Place, number: int) -> list[Address]:
    """Registered datasets of the market's owner."""
    owner, registry = place.market.owner, place.market.registries.dataset
    made = []
    for index in range(number):
        call = registry.create_dataset(owner.address, f"d{index}", b"x", ZERO_BYTES32)
        (created,) = find(owner.sender.send(registry.address, call).logs, AssetTransfer, registry.address)
        made.append(created.asset)
    set_interval_mining(place.chain.rpc, _BLOCK_S)
    return made


@contextlib.contextmanager
def certificate_authority(place: Path) -> Iterator[House]:
    """A simulated platform's vendor, with its certificate service."""
    world = new_world()
    with certificate_service(world) as pccs_url:
        yield House(world, pccs_url, place)


@contextlib.contextmanager
def cas_process(house: House) -> Iterator[Cas]:
    """A CAS, as in its enclave: it has a platform over a descriptor, and seals its state."""
    ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_STREAM)
    platform = house.world.platform(CAS)
    threading.Thread(target=channel.serve, args=(ours, platform, {}, Everyone(), lambda: None), daemon=True).start()
    running = Running(house.world, house.folder / "cas", house.folder, free_port(), free_port())
    environment = settings(house, running.rest_port, running.attested_port)
    environment[PLATFORM_FD] = str(theirs.fileno())

    def is_up() -> bool:
        try:
            with running.connect():
                return True
        except AdytonError:
            return False

    log = house.folder / "cas.log"
    descriptors = [theirs.fileno()]
    with python_service(
        "adyton.cas.main", [], log, is_up=is_up, environment=environment, descriptors=descriptors
    ) as service:
        theirs.close()
        yield Cas(service, running)


@contextlib.contextmanager
def sms_process(
    place: Path, *, database: str | None = None, chain: Chain | None = None, cas: Cas | None = None
) -> Iterator[Sms]:
    """An SMS with the default settings but for the rate that one client is allowed, for all of the load is one.

    Args:
        place: for its key, configuration, database and log.
        database: a URL; by default SQLite in ``place``.
        chain: the node it asks; without one it can take what needs no chain.
        cas: where its sessions go.
    """
    place.mkdir(exist_ok=True)
    port, key = free_port(), place / "database-key"
    key.write_text(KEY_HEX, encoding="ascii")
    lines = {
        "framework": "SCONE",
        "port": port,
        "database": database or str(place / "sms.sqlite3"),
        "database_key_file": str(key),
        "requests_per_s": 100_000,
        "max_sessions_per_task": SESSIONS_PER_TASK,
        "block_time_s": _BLOCK_S,
    }
    if chain is not None:
        lines |= {"node_url": chain.url, "hub": chain.deployment.hub, "chain_id": chain.deployment.chain_id}
    if cas is not None:
        files, identity = cas.client("sms"), place / "identity.pem"
        identity.write_bytes(files.certificate.read_bytes() + files.key.read_bytes())
        lines |= {
            "identity_file": str(identity),
            "cas_ca_file": str(files.root),
            "provisioner_web_port": cas.running.rest_port,
            "provisioner_enclave_port": cas.running.attested_port,
        }
    text = "\n".join(f"{name} = {json.dumps(value)}" for name, value in lines.items())
    stages = {"pre_compute": PRE_FINGERPRINT, "post_compute": POST_FINGERPRINT}
    text += '\n[[pipelines]]\nversion = "v1"\n' + "\n".join(
        f'{stage} = {{image = "i", fingerprint = "{fingerprint}", entrypoint = "e", heap_size = "1GB"}}'
        for stage, fingerprint in stages.items()
    )
    config = place / "sms.toml"
    config.write_text(text, encoding="utf-8")

    def is_up() -> bool:
        with contextlib.suppress(OSError):
            return http(port, "GET", "/actuator/health") == 200
        return False

    with python_service("adyton.sms.main", ["--config", str(config)], place / "sms.log", is_up=is_up) as service:
        yield Sms(service, port)


@contextlib.contextmanager
def postgresql() -> Iterator[PostgresServer]:
    """A server of Debian's package, durable.

    Raises:
        MissingError: it is not installed.
    """
    with contextlib.ExitStack() as stack:
        try:
            server = stack.enter_context(postgres())
        except Skipped as skipped:
            raise MissingError(str(skipped)) from None
        yield server


def http(port: int, method: str, path: str) -> int:
    """Status of a request without a body."""
    connection = HTTPConnection("127.0.0.1", port, timeout=10)
    try:
        connection.request(method, path)
        return connection.getresponse().status
    finally:
        connection.close()


def ask(sms: Sms, request: bytes) -> str:
    """Send a request by itself and return the answer's text.

    Raises:
        BenchError: the SMS refuses it.
    """
    with socket.create_connection(("127.0.0.1", sms.port), timeout=10) as sock:
        sock.sendall(request)
        answer = HTTPResponse(sock)
        answer.begin()
        text = answer.read().decode()
    if answer.status >= 300:
        raise BenchError(f"the SMS answered {answer.status}: {text[:200]}")
    return text


def message(method: str, path: str, signature: str, body: bytes) -> bytes:
    """A signed request as official clients send it."""
    return (
        f"{method} {path} HTTP/1.1\r\nHost: sms\r\nAuthorization: {signature}\r\nContent-Type: text/plain\r\n"
        f"Content-Length: {len(body)}\r\n\r\n"
    ).encode() + body


def turns(items: Sequence[bytes]) -> Request:
    """One after the other, again and again."""
    return lambda number: items[number % len(items)]


def free_port() -> int:
    """A port of this machine that nobody listens on."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])
