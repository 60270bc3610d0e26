"""Real evidence, where its folder is present, and a simulated world."""

from __future__ import annotations

from pathlib import Path

import pytest
from tests.platform.world import World

from adyton.attestation.collateral import Collateral

REPOSITORY = Path(__file__).resolve().parents[2]


@pytest.fixture(scope="session")
def evidence() -> Path:
    """The folder of quotes and collateral made by real hardware: ``shared/evidence`` beside the repository."""
    folder = REPOSITORY.parent / "shared" / "evidence"
    if not (folder / "sgx_quote").is_file():
        pytest.skip("no folder shared/evidence with real quotes beside the repository")
    return folder


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
