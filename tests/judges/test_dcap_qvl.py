"""dcap-qvl on what the simulated platform makes: accepted under its own root, refused under any other."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import dcap_qvl
import pytest
from tests.judges.conftest import REPOSITORY
from tests.platform.world import NOW, World, signer

from adyton.attestation.dcap.judge import read_pck
from adyton.attestation.formats.quote import parse_quote
from adyton.attestation.formats.tdx import TdReport15
from adyton.attestation.verdict import EvidenceKind
from adyton.base.secret import Secret
from adyton.platform.simulated.pki import SimulatedVendor

M1 = b"\x01" * 32
DATA = b"\x07" * 64
SECONDS = int(NOW.timestamp())

KINDS: dict[str, tuple[EvidenceKind, Callable[[World], bytes], str]] = {
    "SGX v3": (EvidenceKind.SGX, lambda world: world.platform(M1).quote(DATA), "SgxEnclave"),
    "TDX v4": (EvidenceKind.TDX, lambda world: world.td_quote(DATA, version=4), "TD10"),
    "TDX v5 TD10": (EvidenceKind.TDX, lambda world: world.td_quote(DATA, version=5), "TD10"),
    "TDX v5 TD15": (EvidenceKind.TDX, lambda world: world.td_quote(DATA, version=5, body=TdReport15), "TD15"),
}


def verify(world: World, name: str, root: bytes, now: int = SECONDS) -> Any:  # noqa: ANN401  # the library's own
    kind, make, _body = KINDS[name]
    copy = dcap_qvl.QuoteCollateralV3.from_json(world.vendor.collateral(NOW, kind).to_json())
    return dcap_qvl.verify_with_root_ca(make(world), copy, root, now)


@pytest.mark.parametrize("name", KINDS)
def test_every_kind_of_quote_is_accepted_under_its_own_root(world: World, name: str) -> None:
    report = verify(world, name, world.vendor.root_der)
    assert (report.status, report.advisory_ids) == ("UpToDate", [])
    ((body, values),) = json.loads(report.to_json())["report"].items()
    assert body == KINDS[name][2]
    assert (values.get("base") or values)["report_data"] == DATA.hex()


@pytest.mark.parametrize("name", KINDS)
def test_it_is_refused_under_another_root(world: World, name: str) -> None:
    other = SimulatedVendor(Secret(b"another simulated vendor's seed."), signer("vendor"))
    with pytest.raises(ValueError):
        verify(world, name, other.root_der)


@pytest.mark.parametrize("name", KINDS)
def test_it_is_refused_under_intels_root(world: World, name: str) -> None:
    folder: Path = REPOSITORY.parent / "shared" / "evidence"
    if not (folder / "sgx_quote").is_file():
        pytest.skip("no folder shared/evidence with real quotes, whose chain has Intel's root, beside the repository")
    with pytest.raises(ValueError):
        verify(world, name, read_pck(parse_quote((folder / "sgx_quote").read_bytes())).root_der)


@pytest.mark.parametrize("days", [-40, 40])
@pytest.mark.parametrize("name", KINDS)
def test_it_is_refused_outside_the_time_of_its_collateral(world: World, name: str, days: int) -> None:
    with pytest.raises(ValueError):
        verify(world, name, world.vendor.root_der, SECONDS + days * 86400)
