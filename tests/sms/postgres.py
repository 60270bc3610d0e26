"""A real PostgreSQL server of Debian's package, run by an unprivileged user in a folder of its own.

Clients come over a socket in that folder without a password, or over a loopback port with one.
"""

from __future__ import annotations

import contextlib
import importlib.util
import os
import pwd
import shutil
import signal
import subprocess
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

import pytest
from tests.ports import free_port
from tests.waiting import PATIENCE_S

PASSWORD: Final = "password-of-the-test-server"
_PARENT: Final = Path("/usr/lib/postgresql")
_INITDB: Final = ("--auth-local=trust", "--auth-host=scram-sha-256", "--encoding=UTF8", "--no-locale", "--no-sync")


@dataclass
class PostgresServer:
    """A running server."""

    folder: Path
    port: int
    process: subprocess.Popen[bytes]
    _made: int = 0
    _idle: list[str] = field(default_factory=list)

    @property
    def log(self) -> str:
        return (self.folder / "log").read_text(errors="replace")

    def url(self, database: str) -> str:
        """Over the socket, trusted."""
        return f"postgresql://tester@/{database}?host={self.folder}&port={self.port}"

    def tcp_url(self, database: str, options: str = "") -> str:
        """Over the port, with a password that is not in the URL."""
        return f"postgresql://tester@127.0.0.1:{self.port}/{database}{options}"

    def sql(self, statement: str, database: str = "postgres") -> list[Any]:
        import psycopg  # noqa: PLC0415  # where it is missing, the tests are skipped

        address = {"host": str(self.folder), "port": self.port, "user": "tester", "dbname": database}
        with psycopg.connect(**address, autocommit=True) as connection:  # type: ignore[arg-type]  # all are texts
            cursor = connection.execute(statement.encode())
            return cursor.fetchall() if cursor.description else []

    def disconnect(self, database: str, *, stay_out: bool) -> None:
        """End all connections to a database, and refuse new ones until called again with ``stay_out`` False."""
        self.sql(f"ALTER DATABASE {database} ALLOW_CONNECTIONS {not stay_out}")
        self.sql(
            "SELECT pg_terminate_backend(pid) FROM pg_stat_activity"
            " WHERE usename = 'tester' AND pid <> pg_backend_pid()"
        )

    def new_database(self) -> str:
        """An empty database; gives its name."""
        if self._idle:
            return self._idle.pop()
        self._made += 1
        self.sql(f"CREATE DATABASE test_{self._made}")
        return f"test_{self._made}"

    def give_back(self, database: str) -> None:
        """Empty a database for the next test: much quicker than making one."""
        self.disconnect(database, stay_out=False)
        self.sql("DROP SCHEMA public CASCADE; CREATE SCHEMA public", database)
        self._idle.append(database)


@contextlib.contextmanager
def postgres() -> Iterator[PostgresServer]:
    """Start a server; skips, saying what is missing, where it cannot be."""
    programs = _programs()
    user = _unprivileged()
    folder = Path(tempfile.mkdtemp(prefix="adyton-pg-"))  # short, for a socket's path has at most 107 bytes
    try:
        password = folder / "password"
        password.write_text(PASSWORD)
        if user is not None:
            for path in (folder, password):
                os.chown(path, user, -1)
        with _running(programs, folder, user) as server:
            yield server
    finally:
        shutil.rmtree(folder, ignore_errors=True)


@contextlib.contextmanager
def _running(programs: Path, folder: Path, user: int | None) -> Iterator[PostgresServer]:
    data, port = folder / "data", free_port()
    subprocess.run(
        [programs / "initdb", "-D", data, "-U", "tester", "--pwfile", folder / "password", *_INITDB],
        user=user,
        check=True,
        capture_output=True,
        cwd=folder,
    )
    with (folder / "log").open("wb") as log:
        process = subprocess.Popen(
            [programs / "postgres", "-F", "-D", data, "-k", folder, "-p", str(port), "-h", "127.0.0.1"],
            user=user,
            stdout=log,
            stderr=log,
            cwd=folder,
        )
    server = PostgresServer(folder, port, process)
    try:
        _wait(server)
        yield server
    finally:
        process.send_signal(signal.SIGQUIT)  # at once: nobody needs its data any more
        process.wait(PATIENCE_S)


def _wait(server: PostgresServer) -> None:
    import psycopg  # noqa: PLC0415  # where it is missing, the tests are skipped

    deadline = time.monotonic() + PATIENCE_S
    while True:
        try:
            server.sql("SELECT 1")
        except psycopg.OperationalError:
            if server.process.poll() is not None or time.monotonic() > deadline:
                pytest.fail(f"the PostgreSQL server did not start: {server.log}")
            time.sleep(0.05)
        else:
            return


def _programs() -> Path:
    found = sorted(_PARENT.glob("*/bin/initdb"), key=lambda path: float(path.parts[-3]))
    if not found:
        pytest.skip(f"there is no PostgreSQL server ({_PARENT}/*/bin/initdb); install Debian's package postgresql")
    if importlib.util.find_spec("psycopg") is None:
        pytest.skip("the PostgreSQL driver psycopg is not installed; install the project's requirements")
    return found[-1].parent


def _unprivileged() -> int | None:
    """Whom to run as: the server refuses to be root."""
    if os.geteuid() != 0:
        return None
    for name in ("postgres", "nobody"):
        with contextlib.suppress(KeyError):
            return pwd.getpwnam(name).pw_uid
    pytest.skip("the PostgreSQL server does not run as root, and there is no user postgres or nobody to run it as")
