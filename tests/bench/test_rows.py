"""The load measurements run with little load and give their rows: real processes, chain, databases and CAS.

No time is judged here.
"""

from __future__ import annotations

import json
from collections.abc import Callable

import pytest
from bench.load import Load, Span, Tally, call_loop, drive
from bench.processes import BenchError, MissingError, Service
from bench.row import Row
from bench.run import MEASURES

from bench import cas_load, memory, sms_load

LITTLE = sms_load.Size(seconds=0.6, connections=4, tasks=2, datasets=40)
FEW = cas_load.Size(seconds=0.6, sessions=2, enclaves=1)
SMALL = memory.Size(secrets=50, sessions=20, seconds=0.6)

ROWS: dict[str, Callable[[], Row]] = {  # those that are left out are made of the same parts
    "sms.push": lambda: sms_load.measure_push(LITTLE),
    "sms.push.checked": lambda: sms_load.measure_push_checked(LITTLE),
    "sms.session.postgresql": lambda: sms_load.measure_session_postgresql(LITTLE),
    "sms.memory": lambda: memory.measure_sms(SMALL),
    "cas.release.mutual": lambda: cas_load.measure_release_mutual(FEW),
    "cas.memory": lambda: memory.measure_cas(SMALL),
}


@pytest.mark.parametrize("name", ROWS)
def test_a_row(name: str) -> None:
    try:
        row = ROWS[name]()
    except MissingError as missing:
        pytest.skip(missing.message)
    assert row.name == name
    assert row.value > 0
    if not name.endswith(".memory"):
        assert "p50" in row.note
        assert "processor per request" in row.note


def test_every_row_is_measured_by_make_bench() -> None:
    assert set(ROWS) <= set(MEASURES)


def busy(_number: int) -> None:
    json.loads("[1, 2, 3]")


def test_generators_run_side_by_side_and_are_counted() -> None:
    load = drive([call_loop(busy), call_loop(busy)], {"this": [Service.this()]}, seconds=0.2, warm_s=0.1)
    assert load.rate > 0
    assert 0 < load.median_ms <= load.high_ms
    assert set(load.cpu_ms) == {"this", "load"}


def refused(_span: Span) -> Tally:
    tally = Tally(total=3)
    tally.refused["503"] += 1
    return tally


def broken(_span: Span) -> Tally:
    raise OSError("no route")


@pytest.mark.parametrize(("generator", "says"), [(refused, "503"), (broken, "no route")])
def test_an_answer_that_is_no_success_spoils_the_measurement(generator: Callable[[Span], Tally], says: str) -> None:
    with pytest.raises(BenchError, match=says):
        drive([call_loop(busy), generator], {}, seconds=0.1, warm_s=0.0)


def test_what_a_load_says() -> None:
    told = str(Load(rate=10, median_ms=1.4, high_ms=20, cpu_ms={"sms": 1.5, "load": 0.25}, cores=1.75))
    assert told == "p50 1 ms, p99 20 ms; processor per request, ms: sms 1.50, load 0.25; 1.8 cores busy"
