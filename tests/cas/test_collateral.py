"""The CAS keeps its collateral: shown as a metric, refreshed by itself, there when the certificate service is not."""

from __future__ import annotations

import json
from datetime import timedelta
from pathlib import Path

from prometheus_client import generate_latest
from tests.cas.house import CAS, House, certificate_service, new_world
from tests.platform.world import World, signer
from tests.waiting import until

from adyton.attestation.collateral.bundle import Taken, export_bundle, import_bundle, read_folder
from adyton.base.secret import Secret
from adyton.cas.main import build
from adyton.platform.simulated.pki import SimulatedVendor

GAUGE = "adyton_collateral_valid_seconds"


def test_the_validity_that_is_left_is_a_metric_of_both_ports(house: House) -> None:
    cas = house.build()
    try:
        collateral = cas.prover.collateral()
        left = (collateral.window()[1] - house.world.now).total_seconds()
        platform = collateral.platform
        labels = {"fmspc": platform.fmspc, "ca": platform.ca.value, "kind": platform.kind.value}
        for app in (cas.rest, cas.attested):
            assert app.state.registry.get_sample_value(GAUGE, labels) == left
            assert GAUGE.encode() in generate_latest(app.state.registry)
    finally:
        cas.close()


def test_a_cas_without_a_certificate_service_lives_on_what_was_imported(house: House) -> None:
    folder = house.folder / "alone"
    data = export_bundle([house.world.collateral()])
    (entry,) = import_bundle(data, folder / "collateral", [house.world.anchor], house.world.now)
    assert entry.outcome is Taken.TAKEN
    settings = house.settings("alone").model_copy(update={"pccs_url": "http://127.0.0.1:9"})
    cas = build(settings, house.world.platform(CAS), house.world.clock)
    try:
        assert cas.prover.collateral() == house.world.collateral()
    finally:
        cas.close()


def test_a_started_cas_refreshes_before_anybody_asks(tmp_path: Path) -> None:
    world = new_world()  # its own: the time moves
    with certificate_service(world) as url:
        cas = House(world, url, tmp_path).build()
        kept = tmp_path / "cas" / "collateral"
        first = cas.prover.collateral()
        world.now += timedelta(days=16)
        cas.refresher.start()
        try:
            until(lambda: read_folder(kept) != (first,))
            (second,) = read_folder(kept)
        finally:
            cas.close()
    assert second.window()[1] > first.window()[1]


def test_collateral_that_the_cas_would_not_accept_itself_is_unavailable(house: House) -> None:
    """Its certificate service is another vendor's, or its own platform is: nothing that a caller did wrong."""
    vendor = SimulatedVendor(Secret(b"another vendor of the same kind!"), signer("other vendor"))
    foreign = World(vendor, now=house.world.now)
    with house.open("foreign", foreign.platform(CAS)) as cas, cas.connect() as connection:
        status, body = connection._exchange("GET", "/v1/collateral", None, "")
    problem = json.loads(body)
    assert (status, problem["code"]) == (503, "cas.collateral")
    assert "adyton collateral import" in problem["hint"]
    assert house.world.anchor.tier not in body.decode()
