"""Which worker can run what: bit by bit, where the reference compares whole tags."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

import pytest

from adyton.base.types import Address, Bytes32
from adyton.chain import tags
from adyton.workerpool.scheduler.capability import Demand, can_run
from adyton.workerpool.scheduler.repo import WorkerRecord

GIB = 1 << 30
PLAIN: dict[str, Any] = {"cpuNb": 2}
SGX, TDX, GPU = PLAIN | {"teeEnabled": True}, PLAIN | {"tdxEnabled": True}, PLAIN | {"gpuEnabled": True}
UNKNOWN_BIT = Bytes32("0x" + "00" * 30 + "0200")


def demand(*names: str, **more: int) -> Demand:
    return Demand(tags.encode(names), **more)


@pytest.mark.parametrize(
    ("worker", "wanted", "able"),
    [
        pytest.param(PLAIN, demand(), True, id="standard"),
        pytest.param(SGX, demand(), True, id="standard on an SGX worker"),
        pytest.param(PLAIN, demand("tee", "scone"), False, id="SCONE without SGX"),
        pytest.param(SGX, demand("tee", "scone"), True, id="SCONE"),
        pytest.param(SGX, demand("tee", "gramine"), True, id="Gramine"),
        pytest.param(SGX, demand("tee", "tdx"), False, id="TDX without TDX"),
        pytest.param(TDX, demand("tee", "tdx"), True, id="TDX"),
        pytest.param(TDX, demand("tee", "scone"), False, id="SCONE on TDX"),
        pytest.param(PLAIN, demand("gpu"), False, id="GPU without GPU"),
        pytest.param(GPU, demand("gpu"), True, id="GPU"),
        pytest.param(GPU, demand("tee", "scone", "gpu"), False, id="GPU and SCONE without SGX: 0x103"),
        pytest.param(SGX, demand("tee", "scone", "gpu"), False, id="GPU and SCONE without GPU"),
        pytest.param(SGX | GPU, demand("tee", "scone", "gpu"), True, id="GPU and SCONE"),
        pytest.param(SGX | TDX | GPU, Demand(UNKNOWN_BIT), False, id="a bit that nobody knows"),
        pytest.param(PLAIN | {"memorySize": 2}, demand(memory=2 * GIB), True, id="enough memory"),
        pytest.param(PLAIN | {"memorySize": 2}, demand(memory=2 * GIB + 1), False, id="too little memory"),
        pytest.param(PLAIN, demand(memory=64 * GIB), True, id="memory is not said"),
        pytest.param(PLAIN | {"categories": [0, 2]}, demand(category=2), True, id="its category"),
        pytest.param(PLAIN | {"categories": [0, 2]}, demand(category=1), False, id="another category"),
        pytest.param(PLAIN | {"categories": []}, demand(category=4), True, id="all categories"),
    ],
)
def test_can_run(worker: dict[str, Any], wanted: Demand, able: bool) -> None:
    record = WorkerRecord(Address("0x" + "11" * 20), worker, datetime(2026, 11, 22, tzinfo=UTC))
    assert can_run(record, wanted) is able
