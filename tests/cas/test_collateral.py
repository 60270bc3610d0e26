"""The CAS keeps its collateral: shown as a metric, refreshed by itself, there when the certificate service is not."""

from __future__ import annotations

import time
from datetime import timedelta
from pathlib import Path

from prometheus_client import generate_latest
from tests.cas.house import CAS, House, certificate_service, new_world

from adyton.attestation.collateral.bundle import Taken, export_bundle, import_bundle, read_folder
from adyton.cas.main import build

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
            deadline = time.monotonic() + 10
            while read_folder(kept) == (first,) and time.monotonic() < deadline:
                time.sleep(0.02)
            (second,) = read_folder(kept)
        finally:
            cas.close()
    assert second.window()[1] > first.window()[1]
