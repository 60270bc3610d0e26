"""The service as a process: it starts from its settings file and stops on SIGTERM."""

from __future__ import annotations

from pathlib import Path

from tests.web.programs import start_and_stop


def test_it_starts_without_a_chain_and_stops(tmp_path: Path) -> None:
    settings = {"rpc_url": "http://127.0.0.1:1", "hub": "0x" + "11" * 20}
    log = start_and_stop("adyton.results.main", tmp_path, data=str(tmp_path / "data/data"), **settings)
    assert "Traceback" not in log
