"""The guard that every command of the official client runs under: it sees, and stops, what would leave this machine."""

from __future__ import annotations

import json
from pathlib import Path
from urllib.parse import urlsplit

import pytest
from tests.official.support import Client, need_official_client

from adyton.chain.networks import BUILTIN

pytestmark = pytest.mark.official


def test_a_key_missing_from_chain_json_leads_to_the_public_network_and_is_stopped(tmp_path: Path) -> None:
    need_official_client()
    destinations = tmp_path / "destinations"
    client = Client.create(tmp_path, "somebody", destinations)
    (client.folder / "chain.json").write_text(json.dumps({"default": "bellecour", "chains": {"bellecour": {}}}))
    assert "network error" in client.refused("orderbook", "workerpool")
    public = urlsplit(BUILTIN["bellecour"].market or "").hostname
    assert destinations.read_text(encoding="utf-8").split() == [f"{public}:443"]
