"""Fixtures of this room: one simulated world with its certificate service, and a running CAS for each module."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from tests.cas.house import House, Running, certificate_service, new_world, real_time
from tests.platform.world import World


@pytest.fixture(scope="package")
def services() -> Iterator[tuple[World, str]]:
    world = new_world()
    with certificate_service(world) as url:
        yield world, url


@pytest.fixture
def house(services: tuple[World, str], tmp_path: Path) -> House:
    """Starts CASes; the state is the test's own."""
    world, url = services
    world.now = real_time()  # the package may have been at its tests for long
    return House(world, url, tmp_path)


@pytest.fixture(scope="module")
def cas(services: tuple[World, str], tmp_path_factory: pytest.TempPathFactory) -> Iterator[Running]:
    """A running CAS that the tests of a module share."""
    world, url = services
    world.now = real_time()
    with House(world, url, tmp_path_factory.mktemp("cas")).open() as running:
        yield running
