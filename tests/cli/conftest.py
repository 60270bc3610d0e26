"""Running the ``iexec`` command in process, in a project folder, against real services on the shared chain."""

from __future__ import annotations

import io
import json
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol, TextIO

import pytest
import structlog
from tests.web.serving import serving

from adyton.base.secret import Secret
from adyton.chain.deploy import Deployment
from adyton.chain.rpc import Rpc
from adyton.chain.wallet import Wallet
from adyton.cli.iexec.main import main
from adyton.market.api import build_app as build_market
from adyton.market.settings import MarketSettings
from adyton.results.api import build_app as build_results
from adyton.results.settings import ResultsSettings
from adyton.sms.http.api import build_app as build_sms
from adyton.sms.pipelines import PipelineSettings, StageSettings
from adyton.sms.settings import SmsSettings


class Chain(Protocol):
    """The shared chain of the root conftest, as far as it is used here."""

    url: str
    deployment: Deployment
    admin: Wallet
    rpc: Rpc

    def funded_wallet(self) -> Wallet: ...


@dataclass(frozen=True)
class Ran:
    """What one command did."""

    status: int
    out: str
    err: str

    @property
    def raw(self) -> dict[str, Any]:
        """The one JSON document, whichever stream it is on."""
        return dict(json.loads(self.out + self.err))

    @property
    def error(self) -> tuple[str, str]:
        """Name and message of a failure."""
        assert self.status == 1, self
        assert self.out == "", self
        return self.raw["error"]["name"], self.raw["error"]["message"]


Iexec = Callable[..., Ran]


@pytest.fixture
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    folder = tmp_path / "project"
    folder.mkdir()
    monkeypatch.chdir(folder)
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    return folder


@pytest.fixture
def iexec(project: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> Iexec:  # noqa: ARG001  # only its effect
    """Run a command line; ``stdin`` is what the user types, nothing closes it."""

    def run(line: str, *more: str, stdin: str = "") -> Ran:
        monkeypatch.setattr("sys.stdin", io.StringIO(stdin))
        capsys.readouterr()
        status = main([*line.split(), *more])
        captured = capsys.readouterr()
        return Ran(status, captured.out, captured.err)

    return run


@dataclass(frozen=True)
class Services:
    """Where the services of the shared chain are."""

    market: str
    sms: str
    results: str

    def chain_json(self, url: str) -> dict[str, Any]:
        services = {"sms": self.sms, "iexecGateway": self.market, "resultProxy": self.results}
        chain = {"host": url, **services, "ipfsGateway": self.results}
        return {"default": "bellecour", "chains": {"bellecour": chain}}


class NoSessions:
    """A session store for tests that open no session."""

    def create(self, document: Secret[str]) -> None:
        raise AssertionError(document)


@contextmanager
def logging_to(stream: TextIO) -> Iterator[None]:
    """The services run in this process: keep their logs out of what commands print."""
    structlog.configure(logger_factory=structlog.PrintLoggerFactory(stream))
    yield
    structlog.reset_defaults()


@pytest.fixture(scope="session")
def services(chain: Chain, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Services]:
    folder = tmp_path_factory.mktemp("services")
    hub = chain.deployment.hub
    market = MarketSettings(database=folder / "market.sqlite3", rpc_url=chain.url, hub=hub, poll_s=0.2)
    results = ResultsSettings(data=folder / "results", rpc_url=chain.url, hub=hub)
    stage = StageSettings(image="a/b:1", fingerprint="a1" * 32, entrypoint="python3", heap_size="1GB")
    key_file = folder / "database-key"
    key_file.write_text("11" * 32 + "\n")
    sms = SmsSettings(
        database=str(folder / "sms.sqlite3"),
        database_key_file=key_file,
        pipelines=(PipelineSettings(version="v1", pre_compute=stage, post_compute=stage),),
        node_url=chain.url,
        hub=hub,
    )
    with (
        (folder / "services.log").open("w") as log,
        logging_to(log),
        serving(build_market(market)) as market_url,
        serving(build_sms(sms, store=NoSessions())) as sms_url,
        serving(build_results(results)) as results_url,
    ):
        yield Services(market_url, sms_url, results_url)


@dataclass(frozen=True)
class User:
    """Somebody with a project folder and money."""

    wallet: Wallet
    folder: Path


@pytest.fixture
def user(project: Path, chain: Chain, services: Services) -> User:
    wallet = chain.funded_wallet()
    (project / "chain.json").write_text(json.dumps(services.chain_json(chain.url)))
    write_wallet(project, wallet)
    (project / "iexec.json").write_text("{}")
    return User(wallet, project)


def write_wallet(folder: Path, wallet: Wallet) -> None:
    key = "0x" + wallet.private_key().reveal().hex()
    (folder / "wallet.json").write_text(json.dumps({"privateKey": key, "address": wallet.address}))
