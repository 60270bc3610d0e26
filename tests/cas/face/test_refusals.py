"""Who is refused again and again must wait; who shares an address with them need not."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from tests.cas.documents import APP, small_document, to_yaml
from tests.cas.house import House, Running
from tests.cas.test_longrun import files
from tests.sms.support import SettableClock

from adyton.base.db import open_engine
from adyton.base.errors import UnavailableError
from adyton.cas.client.kept import KeptSessionClient
from adyton.cas.client.tls import CasRefusedError, tcp
from adyton.cas.face.refusals import RefusalLimit, TooManyRefusalsError
from adyton.cas.store.audit import AuditEvent, read_entries

BURST = 4  # seconds of the rate at once


def post(cas: Running, who: str, body: bytes) -> tuple[int, dict[str, str], str]:
    """Status, problem and ``Retry-After`` of a posted session."""
    with cas.owner(who)._open() as connection:
        connection._http.request("POST", "/session", body=body)
        answer = connection._http.getresponse()
        return answer.status, json.loads(answer.read()), answer.headers.get("Retry-After", "")


def audit_entries(folder: Path) -> int:
    engine = open_engine(folder / "cas.db")
    try:
        return sum(1 for _ in read_entries(engine))
    finally:
        engine.dispose()


def test_refused_posts_are_bounded_and_leave_no_trace_beyond(house: House) -> None:
    with house.open(refusals_per_s=0.01) as cas:
        cas.owner("good").create(to_yaml(small_document(name="before")))
        assert post(cas, "bad", b"[]")[0] == 400  # one, and the bucket is empty: 4 seconds of the rate are less
        before = audit_entries(cas.database)
        for who in ("bad", "bad again"):  # another key of the same address does not help
            status, problem, after = post(cas, who, b"[]")
            assert (status, problem["code"]) == (429, "cas.rate")
            assert 90 <= int(after) <= 100
        status, _problem, _after = post(cas, "bad", to_yaml(small_document(name="well formed")))
        assert status == 429
        assert audit_entries(cas.database) == before
        cas.owner("good").create(to_yaml(small_document(name="after")))  # it has proven itself
        with pytest.raises(UnavailableError) as caught:
            cas.owner("bad").create(b"[]")
        assert caught.value.code == "cas.rate"


def test_what_is_accepted_costs_nothing(house: House) -> None:
    with house.open(refusals_per_s=0.01) as cas:
        for number in range(3 * BURST):
            cas.owner().create(to_yaml(small_document(name=f"s{number}")))
        with pytest.raises(CasRefusedError):
            cas.owner().create(b"[]")


def test_time_heals() -> None:
    clock = SettableClock()
    limit = RefusalLimit(0.5, clock=clock)
    for _ in range(2):
        limit.require("key", "10.0.0.1")
        limit.refused("key", "10.0.0.1")
    with pytest.raises(TooManyRefusalsError) as caught:
        limit.require("key", "10.0.0.1")
    assert caught.value.retry_after_s == 2
    with pytest.raises(TooManyRefusalsError):
        limit.require("other key", "::ffff:10.0.0.1")
    limit.require("other key", "10.0.0.2")
    clock.advance(2)
    limit.require("key", "10.0.0.1")


def test_the_audit_log_takes_so_many_refusals_and_says_how_many_it_did_not(house: House) -> None:

    cas = house.build(audited_refusals_per_s=0.3)  # one at once, and the next after some seconds
    try:
        event = AuditEvent("release", "refused", code="cas.release.measurement")
        for _ in range(5):
            cas.state.audit.refused(event)
        cas.state.audit.limit(1000)
        cas.state.audit.refused(event)
        cas.state.audit.refused(event)
        cas.state.audit.verify()
    finally:
        cas.close()
    engine = open_engine(house.folder / "cas" / "cas.db")
    records = [entry.values for entry in read_entries(engine) if entry.values["event"] == "release"]
    engine.dispose()
    assert [record.get("suppressed", 0) for record in records] == [0, 4, 0]


def test_a_service_that_was_attested_answers_for_itself_after_every_renewal(house: House) -> None:
    with house.open(refusals_per_s=0.01) as cas:
        cas.owner("good").create(to_yaml(small_document(name="example")))
        part = cas.enclave(cas.world.platform(bytes.fromhex(APP))).fetch("example", "app")
        identity, root = files(part, house.folder / "service")
        assert post(cas, "bad", b"[]")[0] == 400
        assert post(cas, "bad again", b"[]")[0] == 429
        client = KeptSessionClient(tcp("127.0.0.1", cas.rest_port), identity, identity, root)
        assert client.create(to_yaml(small_document(name="of-the-service")).decode()).name == "of-the-service"
        client.close()
