"""A chain of its own for this room's pools, because its tests move the clock and take blocks back."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from tests.conftest import Chain
from tests.sms.postgres import PostgresServer, postgres
from tests.workerpool.arena import Arena, make_arena, results_service

from adyton.chain.anvil import AnvilProcess
from adyton.chain.artifacts import Artifacts
from adyton.chain.deploy import deploy
from adyton.chain.wallet import Wallet


@pytest.fixture(scope="package")
def own_chain(artifacts: Artifacts) -> Iterator[Chain]:
    with AnvilProcess(artifacts.node_modules) as node:
        admin = Wallet.create()
        yield Chain(node.rpc, node.url, deploy(node.rpc, artifacts, admin=admin), admin)


@pytest.fixture(scope="package")
def own_results(own_chain: Chain, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    with results_service(own_chain, tmp_path_factory.mktemp("results")) as url:
        yield url


@pytest.fixture
def arena(own_chain: Chain, own_results: str, tmp_path: Path) -> Iterator[Arena]:
    """A pool without a scheduler."""
    opened = make_arena(own_chain, tmp_path, own_results)
    yield opened
    opened.close()


@pytest.fixture
def running_arena(arena: Arena) -> Iterator[Arena]:
    """A pool with a scheduler."""
    with arena.running():
        yield arena


@pytest.fixture(scope="package")
def postgres_server() -> Iterator[PostgresServer]:
    with postgres() as started:
        yield started


@pytest.fixture
def postgres_url(postgres_server: PostgresServer) -> Iterator[str]:
    """An empty database of a server."""
    name = postgres_server.new_database()
    yield postgres_server.url(name)
    postgres_server.give_back(name)


@pytest.fixture(params=["sqlite", "postgresql"])
def database_url(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """An empty database on each of the two back ends: a path, or a URL."""
    if request.param == "sqlite":
        return str(tmp_path / "scheduler.sqlite3")
    return str(request.getfixturevalue("postgres_url"))
