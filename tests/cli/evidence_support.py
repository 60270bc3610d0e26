"""Running ``adyton`` in this process, and simulated evidence in files, for the tests of evidence and collateral."""

from __future__ import annotations

import io
import json
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from tests.platform.world import World
from tests.web.serving import serving

from adyton.cli.adyton.main import main
from adyton.platform.simulated.pccs import build_router
from adyton.web.app import new_app


@dataclass(frozen=True)
class Ran:
    """What one command did."""

    status: int
    out: str
    err: str

    @property
    def json(self) -> dict[str, Any]:
        """The one JSON object that it printed, and nothing beside it."""
        lines = self.out.splitlines()
        assert len(lines) == 1, self
        document = json.loads(lines[0])
        assert isinstance(document, dict)
        return document


Adyton = Callable[..., Ran]


def runner(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, home: Path) -> Adyton:
    """Run a command line in this process; ``stdin`` is what is piped into it.

    The machine has an empty home (no store, no network), 80 columns, and nobody at the vendor's address.
    """
    monkeypatch.setenv("HOME", str(home))
    monkeypatch.setenv("COLUMNS", "80")
    for name in ("XDG_DATA_HOME", "ADYTON_COLLATERAL", "ADYTON_HOME"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr("adyton.cli.adyton.fetching.INTEL_PCS", "http://127.0.0.1:9")  # the discard port

    def run(*words: str | Path, stdin: bytes = b"") -> Ran:
        monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(stdin)))
        capsys.readouterr()
        with pytest.raises(SystemExit) as ended:
            main([str(word) for word in words])
        captured = capsys.readouterr()
        assert "Traceback" not in captured.err + captured.out
        return Ran(int(ended.value.code or 0), captured.out, captured.err)

    return run


@contextmanager
def collateral_service(world: World) -> Iterator[str]:
    """The world's certificate service on a real socket; gives its address."""
    app = new_app("simulated certificate service", "test")
    app.include_router(build_router(world.vendor, clock=world.clock))
    with serving(app) as url:
        yield url
