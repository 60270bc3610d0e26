"""Whole session documents against files that were held, line by line, against the facts of protocol section 5."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml
from tests.sms.opening.test_bulk import MIXED, bulk_task
from tests.sms.opening.test_session_maker import CALLBACK, FULL_PARAMS, description, maker, request
from tests.sms.support import pipeline

from adyton.base.secret import Secret
from adyton.cas.language.session import parse_session
from adyton.sms.opening.scone import SconeSessionMaker
from adyton.sms.opening.session_maker import SessionMaker
from adyton.sms.opening.task import TaskDescription
from adyton.sms.opening.tdx import TdxSessionMaker

GOLDEN = Path(__file__).parent / "golden"


def official() -> SconeSessionMaker:
    """As an operator of official images and a CAS that asks an attestation server would set it."""
    return SconeSessionMaker(
        [pipeline(java=True)],
        tolerate=["hyperthreading", "outdated-tcb"],
        ignore_advisories=["INTEL-SA-00220", "INTEL-SA-00270"],
        mode="maa",
        url=lambda: "https://sharedweu.weu.attest.azure.net",
    )


def full() -> TaskDescription:
    return description(FULL_PARAMS, dataset=True)


def callback() -> TaskDescription:
    return description('{"iexec_args":"--once"}', callback=CALLBACK)


CASES: dict[str, tuple[SessionMaker, Callable[[], TaskDescription]]] = {
    "scone-hardware.yml": (maker(), full),
    "scone-maa-callback.yml": (official(), callback),
    "scone-bulk.yml": (maker(), lambda: bulk_task(*MIXED)),
    "tdx.json": (TdxSessionMaker(pipeline()), full),
    "tdx-without-pre-compute.json": (TdxSessionMaker(pipeline()), callback),
}


def rendered(made: SessionMaker, task: TaskDescription) -> Secret[str]:
    return made.render(made.document(made.plan(task), request(task)))


def test_every_file_has_its_case() -> None:
    assert {file.name for file in GOLDEN.iterdir()} == set(CASES)


@pytest.mark.parametrize(("name", "case"), CASES.items(), ids=CASES.keys())
def test_golden(name: str, case: tuple[SessionMaker, Callable[[], TaskDescription]]) -> None:
    made, task = case
    read: Callable[[str], Any] = json.loads if name.endswith(".json") else yaml.safe_load
    expected = read((GOLDEN / name).read_text())
    found = read(rendered(made, task()).reveal())
    assert json.dumps(found, indent=1) == json.dumps(expected, indent=1)  # the order, too


@pytest.mark.parametrize("name", [name for name in CASES if name.startswith("scone")])
def test_our_cas_takes_it(name: str) -> None:
    made, task = CASES[name]
    session = parse_session(rendered(made, task()).reveal().encode())
    assert [service.name for service in session.services][-2:] == ["app", "post-compute"]


def test_the_app_gets_the_same_from_both_frameworks() -> None:
    scone, tdx = maker(), TdxSessionMaker(pipeline())
    services = [made.document(made.plan(full()), request(full()))["services"] for made in (scone, tdx)]
    for ours, theirs in zip(*services, strict=True):
        assert ours["environment"] == theirs["environment"]
        assert "mrenclaves" not in theirs
