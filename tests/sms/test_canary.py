"""No way to read a secret back: a canary goes through a running service, and is then looked for everywhere.

Real parts: the service as a process of its own, a chain with the official contracts, a CAS, a client; recorders sit in
every connection. Plain HTTP by protocol, and therefore not searched: what an owner *sends* to the service (an enclave's
RA-TLS certificate or the operator's proxy encrypts it). What the service sends, and both ways of every other
connection, must be free of it.
"""

from __future__ import annotations

import base64
import contextlib
import os
import re
import resource
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Final

import httpx2
import pytest
from tests.cas.house import CAS, House, Running, certificate_service, new_world
from tests.chain.lifecycle import Market
from tests.conftest import Chain
from tests.ports import free_port
from tests.sms.postgres import PostgresServer
from tests.sms.support import KEY_HEX, MRENCLAVE, authorization, bought_task, make_settings
from tests.sms.support import RecordingStore as Store

from adyton.base.errors import UnavailableError
from adyton.base.secret import Secret
from adyton.base.types import parse_bytes32
from adyton.cas.client.operator import OperatorFiles, make_identity, trust_cas
from adyton.chain import multiaddr, tags
from adyton.chain.hashing import task_id
from adyton.sms.client import SmsClient
from adyton.sms.http.api import build_app
from adyton.sms.wire import IPFS_TOKEN

CANARY: Final = "canary-7f3b9a51e2"
NAMES: Final = ("web2", "web2-new", "web3", "app", "requester")
ADMIN_KEY: Final = "admin-key-of-the-test"
IPFS_PATH: Final = "/ipfs/QmRA3NXM82ZGynMbYzAgYTSXCVM14Wx1RZ8fKP42G6gjgj"
METHODS: Final = ("GET", "HEAD", "OPTIONS", "TRACE", "PATCH", "PUT", "POST", "DELETE")

ROUTES: Final = {
    "/secrets/web3": {"head", "post"},
    "/secrets/web2": {"head", "post", "put"},
    "/apps/{}/secrets": {"head", "post"},
    "/requesters/{}/secrets/{}": {"head", "post"},
    "/tee/framework": {"get"},
    "/tee/properties/{}": {"get"},
    "/tee/properties/{}/{}": {"get"},
    "/tee/challenges/{}": {"post"},
    "/tee/sessions": {"post"},
    "/admin/backup": {"post"},
    "/admin/{}/replicate-backup": {"post"},
    "/admin/{}/restore-backup": {"post"},
    "/admin/{}/delete-backup": {"delete"},
    "/admin/{}/copy-to/{}": {"post"},
    "/admin/rotate-keys": {"post"},
    "/version": {"get"},
    "/metrics": {"get"},
    "/v3/api-docs": {"get", "head"},
    "/swagger-ui/index.html": {"get"},
    "/actuator/health": {"get"},
    "/actuator/prometheus": {"get"},
}
"""All there is, so that a new route is a decision: none of the secret kinds has a method that answers with a body."""


def value(name: str) -> str:
    return f"{CANARY}-{name}"


def forms() -> list[bytes]:
    """The canary as it might be written down."""
    found = [
        CANARY.encode(),
        CANARY.encode().hex().encode(),
        CANARY.encode().hex().upper().encode(),
        CANARY[::-1].encode(),
    ]
    # In base64 it looks different by where it begins.
    found += [base64.b64encode(b"x" * shift + CANARY.encode())[4 if shift else 0 : -4] for shift in range(3)]
    return [*found, KEY_HEX.encode()]


def assert_absent(content: bytes, where: object) -> None:
    for form in forms():
        assert form not in content, f"{form!r} is in {where}"


# -- recorders -----------------------------------------------------------------------------------------------------


@dataclass
class Recorder:
    """A TCP relay that keeps both directions."""

    port: int
    sent: bytearray = field(default_factory=bytearray)
    answered: bytearray = field(default_factory=bytearray)


@contextlib.contextmanager
def recording(target: int) -> Iterator[Recorder]:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        recorder = Recorder(int(listener.getsockname()[1]))
        threading.Thread(target=_accept, args=(listener, target, recorder), daemon=True).start()
        yield recorder
        listener.shutdown(socket.SHUT_RDWR)


def _accept(listener: socket.socket, target: int, recorder: Recorder) -> None:
    with contextlib.suppress(OSError):
        while True:
            client, _ = listener.accept()
            try:
                server = socket.create_connection(("127.0.0.1", target))
            except OSError:
                client.close()
                continue
            for each in (client, server):
                each.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            threading.Thread(target=_pair, args=(client, server, recorder), daemon=True).start()


def _pair(client: socket.socket, server: socket.socket, recorder: Recorder) -> None:
    with client, server:
        back = threading.Thread(target=_relay, args=(server, client, recorder.answered), daemon=True)
        back.start()
        _relay(client, server, recorder.sent)
        back.join()


def _relay(source: socket.socket, sink: socket.socket, kept: bytearray) -> None:
    with contextlib.suppress(OSError):
        while data := source.recv(65536):
            kept += data
            sink.sendall(data)
    with contextlib.suppress(OSError):
        sink.shutdown(socket.SHUT_WR)


# -- the house -----------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def cas(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Running]:
    world = new_world()
    with certificate_service(world) as url, House(world, url, tmp_path_factory.mktemp("cas")).open() as started:
        yield started


@pytest.fixture(scope="module")
def market(chain: Chain) -> Market:
    """A market place whose app is an enclave and whose dataset is on IPFS."""
    opened = Market.open(chain)
    apps, datasets = opened.registries.app, opened.registries.dataset
    checksum = parse_bytes32("0x" + "da" * 32)
    app = (opened.developer.address, "canary", "DOCKER", b"registry/app:1", checksum, MRENCLAVE.encode())
    dataset = (opened.owner.address, "canary", multiaddr.to_bytes(IPFS_PATH), checksum)
    app_address, dataset_address = apps.predict_app(*app), datasets.predict_dataset(*dataset)
    opened.developer.sender.send(apps.address, apps.create_app(*app))
    opened.owner.sender.send(datasets.address, datasets.create_dataset(*dataset))
    return replace(opened, app=app_address, dataset=dataset_address)


@dataclass
class Sms:
    """The running process, its files, and what went over its connections."""

    process: subprocess.Popen[bytes]
    folder: Path
    client_trace: Recorder
    other_traces: dict[str, Recorder]
    database_folders: tuple[Path, ...]

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.client_trace.port}"


@pytest.fixture
def sms(database_url: str, request: pytest.FixtureRequest, chain: Chain, cas: Running, tmp_path: Path) -> Iterator[Sms]:
    identity, folder = tmp_path / "identity", tmp_path / "sms"
    make_identity(identity)
    trust_cas(cas.url, identity, cas.world.policy(CAS), clock=cas.world.clock)
    files = OperatorFiles(identity)
    (identity / "identity.pem").write_bytes(files.key.read_bytes() + files.certificate.read_bytes())
    (folder / "storage").mkdir(parents=True)
    port = free_port()
    with contextlib.ExitStack() as stack:
        traces = {
            "CAS": stack.enter_context(recording(cas.rest_port)),
            "chain": stack.enter_context(recording(int(chain.url.rsplit(":", 1)[1]))),
        }
        database = str(folder / "sms.sqlite3")
        places: tuple[Path, ...] = (folder,)
        if database_url.startswith("postgresql"):
            server: PostgresServer = request.getfixturevalue("postgres_server")
            traces["PostgreSQL"] = stack.enter_context(recording(server.port))
            database, places = _through(server, database_url, traces["PostgreSQL"], tmp_path), (folder, server.folder)
        config = _config(folder, port, chain, identity=identity, database=database, traces=traces)
        with (folder / "log").open("wb") as log:
            process = subprocess.Popen(
                [sys.executable, "-m", "adyton.sms.main", "--config", str(config)],
                stdout=log,
                stderr=log,
                cwd=folder,
                preexec_fn=_allow_cores,  # noqa: PLW1509  # one call, before any thread of the child
            )
        try:
            started = Sms(process, folder, stack.enter_context(recording(port)), traces, places)
            _wait(started)
            yield started
        finally:
            process.kill()
            process.wait()


def _allow_cores() -> None:
    with contextlib.suppress(ValueError, OSError):
        resource.setrlimit(resource.RLIMIT_CORE, (resource.RLIM_INFINITY, resource.RLIM_INFINITY))


def _through(server: PostgresServer, url: str, trace: Recorder, folder: Path) -> str:
    """The same database over the recorded port, with the password in a file."""
    file = folder / "pgpass"
    file.write_text(f"127.0.0.1:*:*:*:{(server.folder / 'password').read_text()}\n")
    file.chmod(0o600)
    name = url.partition("@/")[2].partition("?")[0]
    return f"postgresql://tester@127.0.0.1:{trace.port}/{name}?passfile={file}&sslmode=disable"


def _config(
    folder: Path, port: int, chain: Chain, *, identity: Path, database: str, traces: dict[str, Recorder]
) -> Path:
    (folder / "database-key").write_text(KEY_HEX)
    stage = f'image = "i", fingerprint = "{"a1" * 32}", entrypoint = "python3 -m stage", heap_size = "1GB"'
    config = folder / "sms.toml"
    config.write_text(
        f'framework = "SCONE"\nport = {port}\ndatabase = "{database}"\ndatabase_key_file = "{folder}/database-key"\n'
        f'chain_id = {chain.deployment.chain_id}\nhub = "{chain.deployment.hub}"\n'
        f'node_url = "http://127.0.0.1:{traces["chain"].port}"\nprovisioner_web_port = {traces["CAS"].port}\n'
        f'identity_file = "{identity}/identity.pem"\ncas_ca_file = "{identity}/cas-ca.pem"\n'
        f'admin_api_key = "{ADMIN_KEY}"\nadmin_storage_location = "{folder}/storage"\nrequests_per_s = 10000\n'
        f'tolerated_insecure_options = ["debug-mode"]\n'
        f'[[pipelines]]\nversion = "v1"\npre_compute = {{{stage}}}\npost_compute = {{{stage}}}\n'
    )
    return config


def _wait(sms: Sms) -> None:
    client, deadline = SmsClient(sms.url), time.monotonic() + 60
    while True:
        try:
            client.framework()
        except UnavailableError:
            assert sms.process.poll() is None, (sms.folder / "log").read_text()
            assert time.monotonic() < deadline
            time.sleep(0.1)
        else:
            client.close()
            return


# -- the walk ------------------------------------------------------------------------------------------------------


def test_a_secret_comes_out_nowhere(sms: Sms, chain: Chain, market: Market) -> None:
    _push_and_use(sms, chain, market)
    answers = _walk_routes(sms, market)
    assert len(answers) > 100
    _admin_operations(sms)
    _walk_routes(sms, market)

    for name in ("environ", "cmdline"):
        assert_absent(Path(f"/proc/{sms.process.pid}/{name}").read_bytes(), name)
    status = Path(f"/proc/{sms.process.pid}/limits").read_text()
    assert re.search(r"Max core file size\s+0\s+0\s", status)
    assert _owner_of_proc(sms.process.pid) == 0  # not dumpable: the kernel gives the process's files to root
    _die(sms)

    assert bytes(sms.client_trace.sent).count(CANARY.encode()) >= len(NAMES)  # the recorder records, as the module says
    assert_absent(bytes(sms.client_trace.answered), "answers to clients")
    for peer, trace in sms.other_traces.items():
        assert len(trace.sent) > 1000
        assert_absent(bytes(trace.sent + trace.answered), f"the connection to the {peer}")
    searched = 0
    for folder in sms.database_folders:
        for file in files_below(folder):
            with contextlib.suppress(FileNotFoundError):  # a running server removes files of its own
                assert_absent(file.read_bytes(), file)
                searched += 1
    assert searched > 5
    assert not list(sms.folder.glob("core*"))


def _push_and_use(sms: Sms, chain: Chain, market: Market) -> None:
    """All five kinds of write, and a session that carries them to the CAS."""
    deal = market.match(tags.encode(("tee", "scone")), with_dataset=True).deal_id
    market.pool_owner.sender.send(market.hub.address, market.hub.initialize(deal, 0))
    chain.rpc.call("evm_mine")
    task = task_id(deal, 0)
    client = SmsClient(sms.url)
    client.push_web3(market.dataset, Secret(value("web3")), market.owner.wallet)
    client.push_app(market.app, Secret(value("app")), market.developer.wallet)
    client.push_requester("login", Secret(value("requester")), market.requester.wallet)
    client.push_web2(IPFS_TOKEN, Secret(value("web2")), market.worker.wallet)
    client.push_web2(IPFS_TOKEN, Secret(value("web2-new")), market.worker.wallet, force_update=True)
    challenge = client.challenge(task, market.pool_owner.wallet)
    given = authorization(challenge, worker=market.worker.wallet, pool=market.pool_owner.wallet, task_id=task)
    assert client.session(given, market.worker.wallet).session_id
    client.close()


def _walk_routes(sms: Sms, market: Market) -> list[httpx2.Response]:
    """Every path with every method, with and without the admin key, naming what is stored."""
    storage = str(sms.folder / "storage").encode().hex()
    blanks: dict[str, list[str]] = {
        "/apps/{}/secrets": [market.app],
        "/requesters/{}/secrets/{}": [market.requester.address, "login"],
        "/tee/properties/{}": ["SCONE"],
        "/tee/properties/{}/{}": ["SCONE", "v1"],
        "/tee/challenges/{}": ["0x" + "00" * 32],
        "/admin/{}/copy-to/{}": [storage, storage],
    }
    more = ["/h2-console/", "/up", "/admin", "/secrets", "/untee/secrets", "/cas/url", "/tee/workflow/config"]
    query = {
        "secretAddress": market.dataset,
        "ownerAddress": market.worker.address,
        "secretName": IPFS_TOKEN,
        "shouldDecryptSecret": "true",
        "fileName": "none",
        "sourceFileName": "none",
    }
    answers = []
    with httpx2.Client(base_url=sms.url, trust_env=False) as http:
        for route in [*ROUTES, *more]:
            path = route.format(*blanks.get(route, [storage]))
            for method in METHODS:
                for headers in ({}, {"X-API-KEY": ADMIN_KEY, "Authorization": "0x" + "11" * 65, "Origin": "https://x"}):
                    answer = http.request(method, path, params=query, headers=headers)
                    assert_absent(answer.content + repr(answer.headers).encode(), f"{method} {path}")
                    if method in {"GET", "HEAD"} and route.startswith(("/secrets", "/apps", "/requesters")):
                        assert answer.content == b"" or answer.status_code in {404, 405}
                    answers.append(answer)
    return answers


def _admin_operations(sms: Sms) -> None:
    storage = str(sms.folder / "storage").encode().hex()
    with httpx2.Client(base_url=sms.url, trust_env=False, headers={"X-API-KEY": ADMIN_KEY}) as http:
        for status, method, path, query in (
            (201, "POST", "/admin/backup", {}),
            (200, "POST", f"/admin/{storage}/replicate-backup", {"fileName": "one"}),
            (
                200,
                "POST",
                f"/admin/{storage}/copy-to/{storage}",
                {"sourceFileName": "one", "destinationFileName": "two"},
            ),
            (200, "POST", f"/admin/{storage}/restore-backup", {"fileName": "two"}),
            (200, "POST", "/admin/rotate-keys", {}),
            (200, "DELETE", f"/admin/{storage}/delete-backup", {"fileName": "one"}),
        ):
            answer = http.request(method, path, params=query)
            assert answer.status_code == status, (path, (sms.folder / "log").read_text())
            assert_absent(answer.content, path)
    assert {path.name for path in (sms.folder / "storage").iterdir()} == {"work", "two", "two.key"}


def files_below(folder: Path) -> Iterator[Path]:
    for parent, _folders, names in os.walk(folder):
        for name in names:
            file = Path(parent, name)
            if file.is_file() and not file.is_symlink():
                yield file


def _owner_of_proc(pid: int) -> int:
    return Path(f"/proc/{pid}/environ").stat().st_uid


def _die(sms: Sms) -> None:
    """As a crash would end it: the signal's default is a core file, which the parent of this process had allowed."""
    sms.process.send_signal(signal.SIGABRT)
    assert sms.process.wait(30) == -signal.SIGABRT


def test_every_route_is_known_and_none_reads_a_secret(tmp_path: Path) -> None:
    app = build_app(make_settings(tmp_path), view=bought_task(), store=Store())
    app.state.services.close()
    found: dict[str, set[str]] = {}
    for path, methods in _routes(app):
        found.setdefault(re.sub(r"\{[^}]*\}", "{}", path), set()).update(method.lower() for method in methods)
    assert found == ROUTES
    for path in ("/secrets/web3", "/secrets/web2", "/apps/{}/secrets", "/requesters/{}/secrets/{}"):
        assert found[path] <= {"head", "post", "put"}  # HEAD has no body by HTTP; writes answer with a status


def _routes(router: Any) -> Iterator[tuple[str, set[str]]]:  # noqa: ANN401  # FastAPI nests routers of its own kind
    for route in router.routes:
        nested = getattr(route, "original_router", None)
        if nested is not None:
            yield from _routes(nested)
        else:
            yield route.path, route.methods


def test_the_search_would_find_it() -> None:
    texts: list[Callable[[bytes], bytes]] = [
        lambda raw: raw,
        lambda raw: raw.hex().encode(),
        base64.b64encode,
        lambda raw: base64.b64encode(b'{"secret": "' + raw),
        lambda raw: base64.b64encode(b'{"secret": ""' + raw),
        lambda raw: base64.b64encode(b'{"secret": """' + raw),
    ]
    for text in texts:
        with pytest.raises(AssertionError):
            assert_absent(b"before " + text(value("app").encode()) + b" after", "a text")
