"""The official npm client in a project folder of its own, cut off from every machine but this one."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from tests.network.support import BIN, REPOSITORY

CLIENT = REPOSITORY / "node_modules" / ".bin" / "iexec"
GUARD = Path(__file__).with_name("guard.cjs")
AT_ONCE = 3  # commands; each is a second of one core


def need_official_client() -> None:
    """Skip, saying what is missing, where the official client cannot run."""
    if shutil.which("node") is None:
        pytest.skip("Node.js is missing: 'make setup' says how to install it")
    if not CLIENT.exists():
        pytest.skip("the official client is missing: 'make setup' installs it")


def together(*jobs: Callable[[], Any]) -> list[Any]:
    """Do independent things at the same time, as independent people do; what each gave."""
    with ThreadPoolExecutor(AT_ONCE) as pool:
        return [done.result() for done in [pool.submit(job) for job in jobs]]


@dataclass(frozen=True)
class Client:
    """Somebody who works with the official client only.

    Attributes:
        folder: the project; the home folder beside it keeps keystores away from the real one.
        environment: what the client runs with.
    """

    folder: Path
    environment: dict[str, str]

    @classmethod
    def create(cls, root: Path, name: str, destinations: Path) -> Client:
        """An empty project."""
        folder, home = root / name, root / f"{name}-home"
        folder.mkdir()
        home.mkdir()
        inherited = {key: os.environ[key] for key in ("PATH", "LANG", "TMPDIR") if key in os.environ}
        guard = {"NODE_OPTIONS": f"--require {json.dumps(str(GUARD))}", "DESTINATIONS_FILE": str(destinations)}
        return cls(folder, inherited | guard | {"HOME": str(home), "NO_COLOR": "1"})

    def run(self, *words: str) -> subprocess.CompletedProcess[str]:
        """Run ``iexec … --raw``."""
        return subprocess.run(
            [str(CLIENT), *words, "--raw"],
            cwd=self.folder,
            env=self.environment,
            capture_output=True,
            text=True,
            stdin=subprocess.DEVNULL,
            timeout=180,
            check=False,
        )

    def iexec(self, *words: str) -> dict[str, Any]:
        """What a command that must succeed answers."""
        done = self.run(*words)
        assert done.returncode == 0, (words, done.stdout, done.stderr)
        # A partial failure has exit status 0, too, and stands on the other stream.
        assert done.stdout, (words, done.stderr)
        answer: dict[str, Any] = json.loads(done.stdout)
        assert answer["ok"] is True, (words, answer)
        return answer

    def each(self, *lines: str) -> list[dict[str, Any]]:
        """What several commands answer that do not depend on each other."""
        return together(*[lambda line=line: self.iexec(*line.split()) for line in lines])

    def refused(self, *words: str) -> str:
        """The message of a command that must fail."""
        done = self.run(*words)
        assert done.returncode == 1, (words, done.stdout, done.stderr)
        return str(json.loads(done.stderr)["error"]["message"])

    def tool(self, *words: str) -> str:
        """Run one of our own tools in the project: what a user of a local network does beside the client."""
        done = subprocess.run(
            [str(BIN / words[0]), *words[1:]],
            cwd=self.folder,
            capture_output=True,
            text=True,
            stdin=subprocess.DEVNULL,
            timeout=180,
            check=False,
        )
        assert done.returncode == 0, (words, done.stdout, done.stderr)
        return done.stdout.strip()

    def describe(self, kind: str, **members: object) -> None:
        """Change members of one object of ``iexec.json``, as a person does in an editor."""
        file = self.folder / "iexec.json"
        document = json.loads(file.read_text(encoding="utf-8"))
        document[kind] |= members
        file.write_text(json.dumps(document), encoding="utf-8")
