from __future__ import annotations

import json
import threading
from collections.abc import Callable
from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from typing import Any

import httpx2
import pytest
from tests.platform.world import NOW, World

from adyton.attestation.collateral import Collateral, CollateralCache, PccsClient, split_signed
from adyton.attestation.errors import AttestationError
from adyton.attestation.pck import CaKind
from adyton.base.errors import InputError, UnavailableError

FMSPC = b"SIM\0\0\0".hex()


def test_the_json_form_round_trips(world: World) -> None:
    collateral = world.collateral()
    assert Collateral.from_json(collateral.to_json()) == collateral


def test_the_json_form_is_that_of_the_evidence(evidence: Path, real_collateral: Collateral) -> None:
    assert json.loads(real_collateral.to_json()) == json.loads((evidence / "sgx_quote_collateral.json").read_bytes())


@pytest.mark.parametrize(
    "change",
    [
        {"extra": "x"},
        {"pck_crl": "zz"},
        {"pck_crl": "abc"},
        {"pck_crl": ""},
        {"tcb_info_signature": "00" * 63},
        {"tcb_info": 1},
        {"tcb_info": None},
        {"root_ca_crl": "00" * ((4 << 20) + 1)},
    ],
    ids=["unknown member", "no hex", "odd hex", "empty", "short signature", "number", "null", "over the limit"],
)
def test_other_json_is_refused(world: World, change: dict[str, Any]) -> None:
    document = json.loads(world.collateral().to_json()) | change
    with pytest.raises(AttestationError) as caught:
        Collateral.from_json(json.dumps(document))
    assert caught.value.code == "attestation.collateral.format"


@pytest.mark.parametrize("missing", sorted(Collateral.__dataclass_fields__))
def test_every_member_is_required(world: World, missing: str) -> None:
    document = json.loads(world.collateral().to_json())
    del document[missing]
    with pytest.raises(AttestationError):
        Collateral.from_json(json.dumps(document))


def test_the_window_is_the_narrowest_of_the_parts(real_collateral: Collateral) -> None:
    start, end = real_collateral.window()
    assert (start.isoformat(), end.isoformat()) == ("2025-06-19T10:56:11+00:00", "2025-07-19T10:01:18+00:00")


SIGNATURE = "ab" * 64


@pytest.mark.parametrize(
    "body",
    [
        "",
        "{}",
        '{"tcbInfo":{}}',
        '{"tcbInfo":{},"signature":"ab"}',
        '{"tcbInfo":[],"signature":"' + SIGNATURE + '"}',
        '{"other":{},"signature":"' + SIGNATURE + '"}',
        '{"tcbInfo":{},"signature":"' + SIGNATURE + '"} x',
        '{"tcbInfo":{},"signature":"' + SIGNATURE + '","more":1}',
    ],
)
def test_an_answer_that_is_no_signed_document_is_refused(body: str) -> None:
    with pytest.raises(AttestationError) as caught:
        split_signed(body.encode(), "tcbInfo")
    assert caught.value.code == "attestation.collateral.format"


def test_the_signed_text_is_taken_out_byte_for_byte() -> None:
    text = '{ "a":1,\n "b" : {"signature":"x"} }'
    body = '{"tcbInfo":' + text + ',"signature":"' + SIGNATURE + '"}'
    assert split_signed(body.encode(), "tcbInfo") == (text, bytes.fromhex(SIGNATURE))


def client(answer: Callable[[httpx2.Request], httpx2.Response]) -> PccsClient:
    return PccsClient("http://pccs.test", transport=httpx2.MockTransport(answer))


def test_a_service_that_knows_the_platform_not_is_unavailable() -> None:
    pccs = client(lambda _request: httpx2.Response(404))
    with pytest.raises(UnavailableError):
        pccs.fetch(FMSPC, CaKind.PLATFORM)
    pccs.close()


def test_an_answer_without_an_issuer_chain_is_refused(world: World) -> None:
    good = world.collateral()
    body = f'{{"tcbInfo":{good.tcb_info},"signature":"{good.tcb_info_signature.hex()}"}}'
    pccs = client(lambda _request: httpx2.Response(200, content=body))
    with pytest.raises(AttestationError, match="TCB-Info-Issuer-Chain"):
        pccs.fetch(FMSPC, CaKind.PLATFORM)
    pccs.close()


@pytest.mark.parametrize("fmspc", ["", "../../../x", "00a06711000", "00a06711000g", "00a067110000&x=1"])
def test_only_an_fmspc_becomes_a_path(fmspc: str, tmp_path: Path) -> None:
    def never(_request: httpx2.Request) -> httpx2.Response:
        raise AssertionError

    pccs = client(never)
    for call in (pccs.fetch, CollateralCache(pccs, folder=tmp_path).fetch):
        with pytest.raises(InputError) as caught:
            call(fmspc, CaKind.PLATFORM)
        assert caught.value.code == "attestation.collateral.fmspc"
    pccs.close()
    assert list(tmp_path.iterdir()) == []


class Source:
    """A source that counts, can fail, and can be given what to answer."""

    def __init__(self, world: World) -> None:
        self.world = world
        self.asked = 0
        self.down = False
        self.answer: Collateral | None = None

    def fetch(self, _fmspc: str, _ca: CaKind) -> Collateral:
        self.asked += 1
        if self.down:
            raise UnavailableError("the certificate service is down")
        return self.answer or self.world.collateral()


@pytest.fixture
def moving() -> World:
    return World()


class TestCache:
    def test_asks_once_in_the_first_half_of_the_validity(self, moving: World) -> None:
        source = Source(moving)
        cache = CollateralCache(source, clock=moving.clock)
        for _ in range(3):
            assert cache.fetch(FMSPC, CaKind.PLATFORM) == moving.collateral()
        assert source.asked == 1

    def test_refreshes_from_half_of_the_validity_on(self, moving: World) -> None:
        source = Source(moving)
        cache = CollateralCache(source, clock=moving.clock)
        first = cache.fetch(FMSPC, CaKind.PLATFORM)
        moving.now += timedelta(days=16)
        second = cache.fetch(FMSPC, CaKind.PLATFORM)
        assert source.asked == 2
        assert second.window()[1] > first.window()[1]

    def test_outlives_an_outage_until_the_last_good_copy_ends_and_no_longer(self, moving: World) -> None:
        source = Source(moving)
        cache = CollateralCache(source, clock=moving.clock)
        good = cache.fetch(FMSPC, CaKind.PLATFORM)
        end = good.window()[1]
        source.down = True
        moving.now = end
        assert cache.fetch(FMSPC, CaKind.PLATFORM) == good
        moving.now = end + timedelta(seconds=1)
        with pytest.raises(UnavailableError):
            cache.fetch(FMSPC, CaKind.PLATFORM)
        source.down = False
        assert cache.fetch(FMSPC, CaKind.PLATFORM).window()[1] > end

    def test_does_not_ask_a_failing_source_at_every_call(self, moving: World) -> None:
        source = Source(moving)
        cache = CollateralCache(source, clock=moving.clock)
        cache.fetch(FMSPC, CaKind.PLATFORM)
        moving.now += timedelta(days=16)
        source.down = True
        for _ in range(3):
            cache.fetch(FMSPC, CaKind.PLATFORM)
        assert source.asked == 2
        moving.now += timedelta(minutes=2)
        cache.fetch(FMSPC, CaKind.PLATFORM)
        assert source.asked == 3

    @pytest.mark.parametrize("days", [-40, 40], ids=["already ended", "not yet valid"])
    def test_never_hands_out_collateral_out_of_its_window(self, moving: World, days: int) -> None:
        source = Source(moving)
        source.answer = moving.vendor.collateral(NOW + timedelta(days=days))
        with pytest.raises(UnavailableError) as caught:
            CollateralCache(source, clock=moving.clock).fetch(FMSPC, CaKind.PLATFORM)
        assert caught.value.code == "attestation.collateral.expired"

    def test_does_not_go_back_to_older_collateral(self, moving: World) -> None:
        source = Source(moving)
        cache = CollateralCache(source, clock=moving.clock)
        old = moving.collateral()
        moving.now += timedelta(days=11)
        good = cache.fetch(FMSPC, CaKind.PLATFORM)
        moving.now += timedelta(days=16)
        source.answer = moving.vendor.collateral(NOW + timedelta(days=1))
        assert source.answer == old
        source.answer = replace(good, tcb_info=good.tcb_info.replace('Number":17', 'Number":16'))
        assert cache.fetch(FMSPC, CaKind.PLATFORM) == good

    def test_keeps_copies_over_a_restart(self, moving: World, tmp_path: Path) -> None:
        source = Source(moving)
        good = CollateralCache(source, clock=moving.clock, folder=tmp_path).fetch(FMSPC, CaKind.PLATFORM)
        source.down = True
        assert CollateralCache(source, clock=moving.clock, folder=tmp_path).fetch(FMSPC, CaKind.PLATFORM) == good
        assert [path.name for path in tmp_path.iterdir()] == [f"{FMSPC}-platform.json"]

    @pytest.mark.parametrize("content", [b"", b"{}", b"\xff\xfe"], ids=["empty", "no collateral", "no text"])
    def test_a_damaged_copy_is_no_copy(self, moving: World, tmp_path: Path, content: bytes) -> None:
        (tmp_path / f"{FMSPC}-platform.json").write_bytes(content)
        source = Source(moving)
        cache = CollateralCache(source, clock=moving.clock, folder=tmp_path)
        assert cache.fetch(FMSPC, CaKind.PLATFORM) == moving.collateral()
        assert source.asked == 1

    def test_says_how_much_validity_is_left(self, moving: World) -> None:
        cache = CollateralCache(Source(moving), clock=moving.clock)
        end = cache.fetch(FMSPC, CaKind.PLATFORM).window()[1]
        moving.now += timedelta(days=1)
        assert cache.remaining() == {f"{FMSPC}-platform": end - moving.now}

    def test_threads_that_ask_at_once_cause_one_request(self, moving: World) -> None:
        source = Source(moving)
        cache = CollateralCache(source, clock=moving.clock)
        barrier = threading.Barrier(8)
        results: list[Collateral] = []

        def ask() -> None:
            barrier.wait()
            results.append(cache.fetch(FMSPC, CaKind.PLATFORM))

        threads = [threading.Thread(target=ask) for _ in range(8)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert len(results) == 8
        assert source.asked == 1
