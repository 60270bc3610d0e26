"""Real evidence, where its folder is present, and a simulated world."""

from __future__ import annotations

from pathlib import Path

import pytest
from tests.platform.world import World

from adyton.attestation.collateral.documents import Collateral


@pytest.fixture(scope="session")
def real_quote(evidence: Path) -> bytes:
    return (evidence / "sgx_quote").read_bytes()


@pytest.fixture(scope="session")
def real_collateral(evidence: Path) -> Collateral:
    return Collateral.from_json((evidence / "sgx_quote_collateral.json").read_bytes())


@pytest.fixture(scope="session")
def world() -> World:
    """Shared and not to be changed; a test that moves time or the catalogue makes its own."""
    return World()
