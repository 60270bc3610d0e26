"""One HTTP server and one PostgreSQL server for the room: starting one for each test would take most of the time."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from tests.sms.postgres import PostgresServer, postgres
from tests.sms.support import Server, serving


@pytest.fixture(scope="package", autouse=True)
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    with serving(tmp_path_factory.mktemp("server")) as started:
        yield started


@pytest.fixture(scope="package")
def postgres_server() -> Iterator[PostgresServer]:
    with postgres() as started:
        yield started


@pytest.fixture(params=["sqlite", "postgresql"])
def database_url(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[str]:
    """An empty database on each of the two back ends: a path, or a URL."""
    if request.param == "sqlite":
        yield str(tmp_path / "sms.sqlite3")
        return
    server: PostgresServer = request.getfixturevalue("postgres_server")
    name = server.new_database()
    yield server.url(name)
    server.give_back(name)
