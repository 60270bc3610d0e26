"""One HTTP server for the room: starting one for each test would take most of the time."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from tests.sms.support import Server, serving


@pytest.fixture(scope="package", autouse=True)
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    with serving(tmp_path_factory.mktemp("server")) as started:
        yield started
