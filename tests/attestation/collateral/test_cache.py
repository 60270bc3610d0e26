"""The cache: asks seldom, outlives outages, never goes back, never hands out what is expired or forged."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from dataclasses import replace
from datetime import timedelta
from pathlib import Path

import pytest
from prometheus_client import CollectorRegistry, generate_latest
from tests.platform.world import NOW, World, signer

from adyton.attestation.collateral.cache import (
    PAUSE_AFTER_FAILURE,
    CollateralCache,
    CollateralFolder,
    CollateralMetrics,
    Refresher,
    older_part,
)
from adyton.attestation.collateral.documents import Collateral, PlatformId
from adyton.attestation.dcap.pck import CaKind
from adyton.attestation.errors import AttestationError
from adyton.attestation.verdict import EvidenceKind
from adyton.base.errors import AdytonError, InputError, UnavailableError
from adyton.base.secret import Secret
from adyton.platform.simulated.documents import Catalogue
from adyton.platform.simulated.pki import SimulatedVendor

FMSPC = b"SIM\0\0\0".hex()
SGX = PlatformId(FMSPC, CaKind.PLATFORM)
TDX = PlatformId(FMSPC, CaKind.PLATFORM, EvidenceKind.TDX)
SEED = Secret(b"adyton tests: simulated vendor..")


class Source:
    """A source that counts, can fail, and can be given what to answer."""

    def __init__(self, world: World) -> None:
        self.world = world
        self.asked: list[EvidenceKind] = []
        self.down = False
        self.answer: Collateral | None = None
        self.hold: threading.Event | None = None

    def fetch(self, _fmspc: str, _ca: CaKind, kind: EvidenceKind = EvidenceKind.SGX) -> Collateral:
        self.asked.append(kind)
        if self.hold is not None:
            assert self.hold.wait(10)
        if self.down:
            raise UnavailableError("the certificate service is down")
        return self.answer or self.world.collateral(kind)


@pytest.fixture
def moving() -> World:
    return World()


@pytest.fixture
def source(moving: World) -> Source:
    return Source(moving)


def cache_of(source: Source, folder: Path | None = None) -> CollateralCache:
    return CollateralCache(source, [source.world.anchor], clock=source.world.clock, folder=folder)


def fetch(cache: CollateralCache, platform: PlatformId = SGX) -> Collateral:
    return cache.fetch(platform.fmspc, platform.ca, platform.kind)


class TestRefresh:
    def test_asks_once_in_the_first_half_of_the_validity(self, moving: World, source: Source) -> None:
        cache = cache_of(source)
        for _ in range(3):
            assert fetch(cache) == moving.collateral()
        assert len(source.asked) == 1

    def test_keeps_technologies_apart(self, moving: World, source: Source) -> None:
        cache = cache_of(source)
        for _ in range(2):
            assert fetch(cache, SGX) == moving.collateral(EvidenceKind.SGX)
            assert fetch(cache, TDX) == moving.collateral(EvidenceKind.TDX)
        assert source.asked == [EvidenceKind.SGX, EvidenceKind.TDX]

    def test_refreshes_from_half_of_the_validity_on(self, moving: World, source: Source) -> None:
        cache = cache_of(source)
        first = fetch(cache)
        moving.now += timedelta(days=16)
        second = fetch(cache)
        assert len(source.asked) == 2
        assert second.window()[1] > first.window()[1]

    def test_outlives_an_outage_until_the_last_good_copy_ends_and_no_longer(
        self, moving: World, source: Source
    ) -> None:
        cache = cache_of(source)
        good = fetch(cache)
        end = good.window()[1]
        source.down = True
        moving.now = end
        assert fetch(cache) == good
        moving.now = end + timedelta(seconds=1)
        with pytest.raises(UnavailableError):
            fetch(cache)
        source.down = False
        moving.now += PAUSE_AFTER_FAILURE
        assert fetch(cache).window()[1] > end

    def test_does_not_ask_a_failing_source_at_every_call(self, moving: World, source: Source) -> None:
        cache = cache_of(source)
        fetch(cache)
        moving.now += timedelta(days=16)
        source.down = True
        for _ in range(3):
            fetch(cache)
        assert len(source.asked) == 2
        moving.now += timedelta(minutes=2)
        fetch(cache)
        assert len(source.asked) == 3

    @pytest.mark.parametrize("kept", [False, True], ids=["nothing kept", "kept copy expired"])
    def test_a_flood_of_quotes_is_no_flood_of_requests(self, moving: World, source: Source, kept: bool) -> None:
        cache = cache_of(source)
        if kept:
            fetch(cache)
            moving.now += timedelta(days=40)
        before, source.down = len(source.asked), True
        errors = []
        for _ in range(5):
            with pytest.raises(UnavailableError) as caught:
                fetch(cache)
            errors.append(caught.value)
        assert len(source.asked) == before + 1
        assert {(error.code, error.message, error.hint) for error in errors} == {
            ("service.unavailable", "the certificate service is down", "")
        }
        assert len({id(error) for error in errors}) == 5  # an error belongs to who gets it
        moving.now += PAUSE_AFTER_FAILURE - timedelta(seconds=1)
        with pytest.raises(UnavailableError):
            fetch(cache)
        assert len(source.asked) == before + 1
        moving.now += timedelta(seconds=1)
        source.down = False
        assert fetch(cache) == moving.collateral()

    def test_a_failure_for_one_kind_of_platform_is_none_for_another(self, moving: World, source: Source) -> None:
        cache = cache_of(source)
        source.down = True
        with pytest.raises(UnavailableError):
            fetch(cache, TDX)
        source.down = False
        assert fetch(cache, SGX) == moving.collateral()

    def test_a_clock_that_was_set_back_delays_nothing(self, moving: World, source: Source) -> None:
        cache = cache_of(source)
        fetch(cache)
        source.down = True
        moving.now += timedelta(days=20)
        fetch(cache)
        moving.now -= timedelta(days=2)
        source.down = False
        assert fetch(cache) == moving.collateral()
        source.down = True
        with pytest.raises(UnavailableError):
            fetch(cache, TDX)
        moving.now -= timedelta(days=1)
        source.down = False
        assert fetch(cache, TDX) == moving.collateral(EvidenceKind.TDX)

    def test_nobody_waits_for_a_slow_source_while_the_last_copy_is_good(self, moving: World, source: Source) -> None:
        cache = cache_of(source)
        good = fetch(cache)
        moving.now += timedelta(days=16)
        source.hold = threading.Event()
        first = threading.Thread(target=fetch, args=(cache,))
        first.start()
        while len(source.asked) < 2:
            time.sleep(0.001)
        assert fetch(cache) == good
        source.hold.set()
        first.join()
        assert len(source.asked) == 2
        assert fetch(cache) == moving.collateral()

    def test_threads_that_queued_for_a_source_that_fails_do_not_ask_again(self, source: Source) -> None:
        cache = cache_of(source)
        source.hold, source.down = threading.Event(), True
        failed: list[str] = []

        def ask() -> None:
            try:
                fetch(cache)
            except UnavailableError as error:
                failed.append(error.code)

        threads = [threading.Thread(target=ask) for _ in range(6)]
        for thread in threads:
            thread.start()
        source.hold.set()
        for thread in threads:
            thread.join()
        assert failed == ["service.unavailable"] * 6
        assert len(source.asked) == 1

    def test_threads_that_ask_at_once_cause_one_request(self, source: Source) -> None:
        cache = cache_of(source)
        barrier = threading.Barrier(8)
        results: list[Collateral] = []

        def ask() -> None:
            barrier.wait()
            results.append(fetch(cache))

        threads = [threading.Thread(target=ask) for _ in range(8)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert len(results) == 8
        assert len(source.asked) == 1


class TestRefusals:
    @pytest.mark.parametrize("days", [-40, 40], ids=["already ended", "not yet valid"])
    def test_never_hands_out_collateral_out_of_its_window(self, moving: World, source: Source, days: int) -> None:
        source.answer = moving.vendor.collateral(NOW + timedelta(days=days))
        with pytest.raises(UnavailableError) as caught:
            fetch(cache_of(source))
        assert caught.value.code == "attestation.collateral.expired"

    @pytest.mark.parametrize(
        "back",
        [
            lambda now: SimulatedVendor(SEED, signer("vendor"), Catalogue(evaluation_number=16)).collateral(now),
            lambda _now: SimulatedVendor(SEED, signer("vendor")).collateral(NOW),
            lambda now: replace(World(now=now).collateral(), pck_crl=World().collateral().pck_crl),
            lambda now: replace(World(now=now).collateral(), root_ca_crl=World().collateral().root_ca_crl),
        ],
        ids=["lower evaluation number", "issued before", "PCK CRL issued before", "root CA CRL issued before"],
    )
    def test_does_not_go_back_to_anything_older(
        self, moving: World, source: Source, back: Callable[..., Collateral]
    ) -> None:
        cache = cache_of(source)
        moving.now += timedelta(days=3)  # in the vendor's next period
        good = fetch(cache)
        moving.now += timedelta(days=17)
        source.answer = back(moving.now)
        assert source.answer.window()[0] <= moving.now <= source.answer.window()[1]
        assert fetch(cache) == good
        assert len(source.asked) == 2
        source.answer = None
        moving.now += timedelta(minutes=2)
        assert fetch(cache) == moving.collateral()

    @pytest.mark.parametrize(
        ("forge", "code"),
        [
            (lambda good: replace(good, tcb_info=good.tcb_info.replace('r":17', 'r":99')), "attestation.tcb.signature"),
            (lambda good: replace(good, qe_identity_signature=bytes(64)), "attestation.qe_identity.signature"),
            (
                lambda good: replace(good, pck_crl=good.pck_crl[:-1] + bytes([good.pck_crl[-1] ^ 1])),
                "attestation.crl.signature",
            ),
        ],
        ids=["TCB info", "QE identity", "PCK CRL"],
    )
    def test_does_not_take_forged_collateral_not_even_as_the_first(
        self, moving: World, source: Source, forge: Callable[[Collateral], Collateral], code: str
    ) -> None:
        """Forged numbers and dates, once kept, would keep the genuine ones out."""
        source.answer = forge(moving.collateral())
        cache = cache_of(source)
        with pytest.raises(AttestationError) as caught:
            fetch(cache)
        assert caught.value.code == code
        source.answer = None
        moving.now += PAUSE_AFTER_FAILURE
        assert fetch(cache) == moving.collateral()

    def test_does_not_go_back_even_where_the_good_copy_has_expired(self, moving: World, source: Source) -> None:
        """Whoever controls the source could wait for that, and serve older documents that still hold."""
        cache = cache_of(source)
        moving.now += timedelta(days=3)
        fetch(cache)
        moving.now += timedelta(days=40)
        vendor = SimulatedVendor(SEED, signer("vendor"), Catalogue(evaluation_number=16))
        source.answer = vendor.collateral(moving.now)
        with pytest.raises(AttestationError, match="evaluation number") as caught:
            fetch(cache)
        assert caught.value.code == "attestation.collateral.rollback"
        source.answer = None
        moving.now += PAUSE_AFTER_FAILURE
        assert fetch(cache) == moving.collateral()

    def test_does_not_take_collateral_under_another_root(self, source: Source) -> None:
        source.answer = SimulatedVendor(Secret(b"another fleet's own seed, 32 byt"), signer("other")).collateral(NOW)
        with pytest.raises(AttestationError) as caught:
            fetch(cache_of(source))
        assert caught.value.code == "attestation.chain.anchor"

    def test_does_not_take_collateral_for_something_else(self, moving: World, source: Source) -> None:
        source.answer = moving.collateral(EvidenceKind.TDX)
        with pytest.raises(UnavailableError) as caught:
            fetch(cache_of(source))
        assert caught.value.code == "attestation.collateral.platform"

    @pytest.mark.parametrize("fmspc", ["", "../../../x", "00a06711000g"])
    def test_only_an_fmspc_becomes_a_file_name(self, source: Source, tmp_path: Path, fmspc: str) -> None:
        with pytest.raises(InputError):
            cache_of(source, tmp_path).fetch(fmspc, CaKind.PLATFORM)
        assert list(tmp_path.iterdir()) == []


class TestFolder:
    def test_keeps_copies_over_a_restart(self, source: Source, tmp_path: Path) -> None:
        good = fetch(cache_of(source, tmp_path))
        source.down = True
        assert fetch(cache_of(source, tmp_path)) == good
        assert [path.name for path in tmp_path.iterdir()] == [f"sgx-{FMSPC}-platform.json"]
        assert CollateralFolder(tmp_path).platforms() == [SGX]

    @pytest.mark.parametrize(
        "content",
        [
            lambda _good: b"",
            lambda _good: b"{}",
            lambda _good: b"\xff\xfe",
            lambda good: replace(good, tcb_info=good.tcb_info.replace('r":17', 'r":99')).to_json().encode(),
            lambda _good: World().collateral(EvidenceKind.TDX).to_json().encode(),
        ],
        ids=["empty", "no collateral", "no text", "forged", "of another technology"],
    )
    def test_a_damaged_copy_is_no_copy(
        self, moving: World, source: Source, tmp_path: Path, content: Callable[[Collateral], bytes]
    ) -> None:
        (tmp_path / f"sgx-{FMSPC}-platform.json").write_bytes(content(moving.collateral()))
        assert fetch(cache_of(source, tmp_path)) == moving.collateral()
        assert len(source.asked) == 1

    def test_a_newer_copy_that_somebody_imported_is_found(self, moving: World, source: Source, tmp_path: Path) -> None:
        cache = cache_of(source, tmp_path)
        fetch(cache)
        source.down = True
        moving.now += timedelta(days=16)
        imported = moving.collateral()
        CollateralFolder(tmp_path).store(imported)
        assert fetch(cache) == imported

    def test_an_imported_copy_counts_where_any_part_is_newer(
        self, moving: World, source: Source, tmp_path: Path
    ) -> None:
        """New TCB info beside an old list ends no later than the copy before, and still says what is outdated."""
        cache = cache_of(source, tmp_path)
        good = fetch(cache)
        source.down = True
        moving.now += timedelta(days=16)
        imported = replace(moving.collateral(), pck_crl=good.pck_crl)
        assert imported.window()[1] == good.window()[1]
        CollateralFolder(tmp_path).store(imported)
        assert fetch(cache) == imported

    def test_other_files_are_left_alone(self, tmp_path: Path) -> None:
        for name in ("README", "snp-000000000000-platform.json", "sgx-x-platform.json"):
            (tmp_path / name).write_bytes(b"x")
        assert CollateralFolder(tmp_path).platforms() == []
        assert CollateralFolder(tmp_path / "absent").platforms() == []

    def test_a_folder_that_cannot_be_written_costs_the_copy_only(self, source: Source, tmp_path: Path) -> None:
        (tmp_path / "file").write_bytes(b"")
        cache = cache_of(source, tmp_path / "file")
        assert fetch(cache) == fetch(cache) == source.world.collateral()
        assert (len(source.asked), cache.refresh_due()) == (1, 0)


class TestBackground:
    def test_what_is_due_is_refreshed_before_anybody_asks(self, moving: World, source: Source) -> None:
        cache = cache_of(source)
        fetch(cache, SGX)
        fetch(cache, TDX)
        assert cache.refresh_due() == 0
        assert len(source.asked) == 2
        moving.now += timedelta(days=16)
        assert cache.refresh_due() == 0
        assert len(source.asked) == 4
        fetch(cache, TDX)
        assert len(source.asked) == 4

    def test_copies_in_the_folder_are_kept_fresh_too(self, moving: World, source: Source, tmp_path: Path) -> None:
        fetch(cache_of(source, tmp_path))
        moving.now += timedelta(days=16)
        later = cache_of(source, tmp_path)
        assert later.refresh_due() == 0
        assert len(source.asked) == 2
        assert later.remaining()[SGX] > timedelta(days=15)

    def test_it_says_how_many_platforms_have_none(self, moving: World, source: Source) -> None:
        cache = cache_of(source)
        fetch(cache, SGX)
        fetch(cache, TDX)
        source.down = True
        moving.now += timedelta(days=16)
        assert cache.refresh_due() == 0  # the last good copies still hold
        moving.now += timedelta(days=16)
        assert cache.refresh_due() == 2

    def test_the_thread_refreshes_at_once_and_ends(self, moving: World, source: Source) -> None:
        cache = cache_of(source)
        fetch(cache)
        moving.now += timedelta(days=16)
        refresher = Refresher(cache, every_s=0.01)
        refresher.start()
        deadline = time.monotonic() + 10
        while len(source.asked) < 2 and time.monotonic() < deadline:
            time.sleep(0.01)
        refresher.stop()
        assert len(source.asked) == 2
        asked_before = len(source.asked)
        moving.now += timedelta(days=16)
        time.sleep(0.05)
        assert len(source.asked) == asked_before


def test_a_gauge_says_how_much_validity_is_left(moving: World, source: Source) -> None:
    cache = cache_of(source)
    registry = CollectorRegistry()
    registry.register(CollateralMetrics(cache))
    assert registry.get_sample_value("adyton_collateral_valid_seconds") is None
    end = fetch(cache, TDX).window()[1]
    moving.now += timedelta(days=1)
    labels = {"fmspc": FMSPC, "ca": "platform", "kind": "tdx"}
    assert cache.remaining() == {TDX: end - moving.now}
    assert registry.get_sample_value("adyton_collateral_valid_seconds", labels) == (end - moving.now).total_seconds()
    source.down = True
    moving.now = end + timedelta(hours=1)
    with pytest.raises(AdytonError):
        fetch(cache, TDX)
    assert registry.get_sample_value("adyton_collateral_valid_seconds", labels) == -3600
    assert b"Seconds for which kept attestation collateral still holds" in generate_latest(registry)


@pytest.mark.parametrize(
    ("part", "named"),
    [
        ("tcb_info", "TCB info"),
        ("qe_identity", "QE identity"),
        ("root_ca_crl", "root CA CRL"),
        ("pck_crl", "PCK CRL"),
    ],
)
def test_every_dated_part_is_looked_at_for_itself(part: str, named: str) -> None:
    old, new = World().collateral(), World(now=NOW + timedelta(days=5)).collateral()
    assert older_part(new, old) == older_part(new, new) == ""
    mixed = replace(new, **{part: getattr(old, part)})  # type: ignore[arg-type]  # a member of Collateral
    assert older_part(mixed, new) == named
    assert older_part(new, mixed) == ""


@pytest.mark.parametrize(
    ("part", "named"),
    [("tcb_info", "evaluation number"), ("qe_identity", "evaluation number of the QE identity")],
)
def test_both_evaluation_numbers_are_looked_at(part: str, named: str) -> None:
    """As when early documents and standard ones are mixed: the date alone says nothing."""
    good = World().collateral()
    lower = SimulatedVendor(SEED, signer("vendor"), Catalogue(evaluation_number=16)).collateral(NOW)
    mixed = replace(good, **{part: getattr(lower, part)})  # type: ignore[arg-type]  # a member of Collateral
    assert older_part(mixed, good) == named
    assert older_part(good, mixed) == ""
