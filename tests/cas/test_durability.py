"""The CAS killed under load: ten times here, two hundred times by ``make drill`` (``KILLS=n`` for another number)."""

from __future__ import annotations

import os
import sys

import pytest
from tests.cas.drill import Drill
from tests.cas.house import House


# a peer that dies between connect and handshake makes CPython's ssl module (3.11) drop a socket without closing it
@pytest.mark.filterwarnings(r"ignore:Exception ignored in. <ssl.SSLSocket:pytest.PytestUnraisableExceptionWarning")
def test_every_acknowledged_write_survives_a_kill_at_any_moment(house: House) -> None:
    kills = int(os.environ.get("ADYTON_DRILL_KILLS", "10"))
    drill = Drill(house, seed=int(os.environ.get("ADYTON_DRILL_SEED", "4")))
    drill.run(kills)
    sys.stdout.write(drill.summary + "\n")
    assert drill.problems == []
    assert drill.rounds == kills
    assert drill.acknowledged > kills  # there was a load
