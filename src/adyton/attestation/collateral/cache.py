"""Keeping collateral: refreshed from half of its validity on, never older than before, never handed out expired."""

from __future__ import annotations

import re
import threading
from collections.abc import Iterable
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from pathlib import Path
from typing import Final

from prometheus_client.core import GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

from adyton.attestation.anchors import TrustAnchor
from adyton.attestation.chain import crl_window, parse_crl
from adyton.attestation.collateral.documents import MAX_COLLATERAL_BYTES, Collateral, CollateralSource, PlatformId
from adyton.attestation.dcap.judge import vouch
from adyton.attestation.dcap.pck import CaKind
from adyton.attestation.dcap.tcb import parse_qe_identity, parse_tcb_info
from adyton.attestation.errors import AttestationError
from adyton.attestation.verdict import EvidenceKind
from adyton.base.clock import Clock, utc_now
from adyton.base.errors import AdytonError, UnavailableError
from adyton.base.files import write_atomic
from adyton.base.log import get_logger

RETRY_AFTER: Final = timedelta(minutes=1)  # between attempts while a refresh fails and the last good copy serves
PAUSE_AFTER_FAILURE: Final = timedelta(seconds=10)  # between attempts while there is nothing valid to serve

_FILE = re.compile(r"(sgx|tdx)-([0-9a-f]{12})-(processor|platform)\.json")
_log = get_logger("attestation.collateral")


class CollateralFolder:
    """Copies in files, one for each kind of platform; what cannot be read is not there.

    Args:
        path: made when something is stored.
    """

    def __init__(self, path: Path) -> None:
        self._path = path

    def platforms(self) -> list[PlatformId]:
        """Of which platforms there are copies."""
        try:
            names = sorted(entry.name for entry in self._path.iterdir())
        except OSError:  # not made yet, or not ours to read
            return []
        found = (_FILE.fullmatch(name) for name in names)
        return [PlatformId(match[2], CaKind(match[3]), EvidenceKind(match[1])) for match in found if match]

    def load(self, platform: PlatformId) -> Collateral | None:
        """The copy for ``platform``, unverified; None where there is none, or one that is not for it."""
        path = self._file(platform)
        try:
            if path.stat().st_size > MAX_COLLATERAL_BYTES:
                return None
            collateral = Collateral.from_json(path.read_bytes())
            fitting = collateral.platform == platform
        except (OSError, AttestationError):
            return None
        return collateral if fitting else None

    def store(self, collateral: Collateral) -> None:
        """Keep a copy in the place of the one before."""
        write_atomic(self._file(collateral.platform), collateral.to_json().encode())

    def _file(self, platform: PlatformId) -> Path:
        return self._path / f"{platform}.json"


@dataclass(frozen=True, slots=True)
class _Kept:
    collateral: Collateral
    start: datetime
    end: datetime
    tried_at: datetime | None = None  # when a refresh last failed

    def holds(self, now: datetime) -> bool:
        return self.start <= now <= self.end


@dataclass(frozen=True, slots=True)
class _Failure:
    """Why there was nothing valid to serve; stands for a while, so that a flood of quotes is no flood of fetches."""

    at: datetime
    error: AdytonError

    def stands(self, now: datetime) -> bool:
        return _within(self.at, now, PAUSE_AFTER_FAILURE)

    def again(self) -> AdytonError:
        """A new error of the same kind and code: the first one belongs to the thread that raised it."""
        kind = AttestationError if isinstance(self.error, AttestationError) else UnavailableError
        return kind(self.error.message, code=self.error.code, hint=self.error.hint)


class CollateralCache:
    """Keeps collateral, refreshes it from half of its validity on, and outlives outages of its source.

    While a refresh fails, the last good copy serves as long as it is valid; after that the error of the source
    stands: this never hands out expired collateral. That error is given again for a while without asking anew, so that
    callers neither flood a source that is down nor queue for it. A copy is taken only when its signatures hold under
    an accepted root, so that no source can put forged dates or numbers in the way of genuine ones; and never when a
    part of it is older than in the last good one, even where that has expired. Thread-safe.

    Args:
        source: where to fetch.
        anchors: accepted roots.
        clock: decides about validity.
        folder: where to keep copies over restarts; None keeps them in memory only.
    """

    def __init__(
        self,
        source: CollateralSource,
        anchors: Iterable[TrustAnchor],
        *,
        clock: Clock = utc_now,
        folder: Path | None = None,
    ) -> None:
        self._source = source
        self._anchors = tuple(anchors)
        self._clock = clock
        self._folder = None if folder is None else CollateralFolder(folder)
        self._kept: dict[PlatformId, _Kept] = {}
        self._failed: dict[PlatformId, _Failure] = {}
        self._lock = threading.Lock()  # of the three maps; they grow with the certified kinds of platforms, no further
        self._fetching: dict[PlatformId, threading.Lock] = {}  # one fetch at a time for each kind of platform

    def fetch(self, fmspc: str, ca: CaKind, kind: EvidenceKind = EvidenceKind.SGX) -> Collateral:
        """As :meth:`CollateralSource.fetch`, from the cache where that is valid."""
        return self._current(PlatformId(fmspc.lower(), ca, kind)).collateral

    def refresh_due(self) -> int:
        """Fetch anew whatever is past half of its validity, so that no caller has to wait; for background threads.

        Returns:
            How many kinds of platforms have no valid collateral now; why is in the log.
        """
        without = 0
        for platform in self.platforms():
            try:
                self._current(platform)
            except AdytonError as error:
                without += 1
                _log.error("no valid collateral", platform=str(platform), code=error.code)
        return without

    def platforms(self) -> list[PlatformId]:
        """For which platforms collateral was asked for, or is in the folder."""
        with self._lock:
            known = set(self._kept)
        return sorted(known.union(() if self._folder is None else self._folder.platforms()), key=str)

    def remaining(self) -> dict[PlatformId, timedelta]:
        """Validity left, below zero when it is over: what to raise an alarm on."""
        with self._lock:
            now = self._clock()
            return {platform: kept.end - now for platform, kept in self._kept.items()}

    def _current(self, platform: PlatformId) -> _Kept:
        kept = self._at_hand(platform)
        if kept is not None:
            return kept
        with self._lock:
            fetching = self._fetching.setdefault(platform, threading.Lock())
            last = self._kept.get(platform)
        usable = last is not None and last.holds(self._clock())
        if not fetching.acquire(blocking=not usable) and last is not None:
            return last  # due for a refresh, which another thread waits for: nobody else has to
        try:
            return self._at_hand(platform) or self._fetched(platform)
        finally:
            fetching.release()

    def _fetched(self, platform: PlatformId) -> _Kept:
        now = self._clock()
        kept = self._best(platform)
        if kept is None or not _fresh(kept, now):
            try:
                kept = self._refresh(platform, kept, now)
            except AdytonError as error:
                with self._lock:
                    self._failed[platform] = _Failure(now, error)
                raise
        with self._lock:
            self._kept[platform] = kept
            self._failed.pop(platform, None)
        return kept

    def _at_hand(self, platform: PlatformId) -> _Kept | None:
        """The kept copy where it is not due for a refresh; None where the source is to be asked.

        Raises:
            AttestationError, UnavailableError: there is none, and asking has failed a moment ago.
        """
        with self._lock:
            now, kept, failure = self._clock(), self._kept.get(platform), self._failed.get(platform)
            if kept is not None and _fresh(kept, now):
                return kept
            if failure is not None and failure.stands(now) and (kept is None or not kept.holds(now)):
                raise failure.again()
            return None

    def _refresh(self, platform: PlatformId, kept: _Kept | None, now: datetime) -> _Kept:
        try:
            fresh = self._take(platform, now)
            if kept is not None:
                check_not_older(fresh.collateral, kept.collateral)
        except AdytonError as error:
            if kept is None or not kept.holds(now):
                raise
            _log.warning(
                "collateral not refreshed", platform=str(platform), code=error.code, valid_until=kept.end.isoformat()
            )
            return replace(kept, tried_at=now)
        self._store(fresh.collateral)
        return fresh

    def _take(self, platform: PlatformId, now: datetime) -> _Kept:
        collateral = self._source.fetch(platform.fmspc, platform.ca, platform.kind)
        if collateral.platform != platform:
            raise UnavailableError(
                f"asked for collateral for {platform}, the certificate service gave that for {collateral.platform}",
                code="attestation.collateral.platform",
                hint="is the platform's certificate service the one that is configured?",
            )
        start, end = collateral.window()
        if not start <= now <= end:
            raise UnavailableError(
                f"the certificate service has only collateral from {start.isoformat()} to {end.isoformat()}"
                f" for {platform}",
                code="attestation.collateral.expired",
                hint="check the clock, and that the certificate service is refreshed by its vendor",
            )
        vouch(collateral, self._anchors, now)
        return _Kept(collateral, start, end)

    def _store(self, collateral: Collateral) -> None:
        try:
            if self._folder is not None:
                self._folder.store(collateral)
        except OSError as error:  # a full disk is no reason to refuse evidence: memory has the copy
            _log.error("collateral not stored", platform=str(collateral.platform), reason=error.strerror)

    def _best(self, platform: PlatformId) -> _Kept | None:
        """The copy in memory, or the one in the folder where that is newer: somebody may have imported it."""
        kept, loaded = self._kept.get(platform), self._load(platform)
        if kept is None or loaded is None:
            return kept or loaded
        newer = loaded.collateral != kept.collateral and loaded.end >= kept.end
        return loaded if newer and not older_part(loaded.collateral, kept.collateral) else kept

    def _load(self, platform: PlatformId) -> _Kept | None:
        collateral = None if self._folder is None else self._folder.load(platform)
        if collateral is None:
            return None
        try:
            start, end = collateral.window()
            vouch(collateral, self._anchors, min(max(self._clock(), start), end))  # expired, it still is the last good
        except AttestationError as error:
            _log.warning("kept collateral is not genuine", platform=str(platform), code=error.code)
            return None
        return _Kept(collateral, start, end)


class CollateralMetrics(Collector):
    """``adyton_collateral_valid_seconds``: how long kept collateral still holds; alarm well above zero.

    Args:
        cache: what is shown.
    """

    def __init__(self, cache: CollateralCache) -> None:
        self._cache = cache

    def collect(self) -> Iterable[Metric]:
        """One gauge for each kind of platform, below zero when nothing valid is left."""
        gauge = GaugeMetricFamily(
            "adyton_collateral_valid_seconds",
            "Seconds for which kept attestation collateral still holds.",
            labels=["fmspc", "ca", "kind"],
        )
        for platform, left in self._cache.remaining().items():
            gauge.add_metric([platform.fmspc, platform.ca.value, platform.kind.value], left.total_seconds())
        yield gauge


class Refresher:
    """A thread that keeps a cache's collateral fresh.

    Args:
        cache: whose collateral.
        every_s: seconds between looks at what is due.
    """

    def __init__(self, cache: CollateralCache, *, every_s: float = 60) -> None:
        self._cache = cache
        self._every_s = every_s
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._run, name="collateral-refresh", daemon=True)

    def start(self) -> None:
        """Begin, with a look at once."""
        self._thread.start()

    def stop(self) -> None:
        """End; a fetch under way is left behind."""
        self._ended.set()

    def _run(self) -> None:
        while True:
            self._cache.refresh_due()
            if self._ended.wait(self._every_s):
                return


def older_part(candidate: Collateral, kept: Collateral) -> str:
    """What of ``candidate`` is older than in ``kept``; empty when nothing is."""
    new, old = parse_tcb_info(candidate.tcb_info), parse_tcb_info(kept.tcb_info)
    new_qe, old_qe = parse_qe_identity(candidate.qe_identity), parse_qe_identity(kept.qe_identity)
    faults = (
        ("evaluation number", new.tcb_evaluation_data_number < old.tcb_evaluation_data_number),
        ("TCB info", new.issue_date < old.issue_date),
        ("evaluation number of the QE identity", new_qe.tcb_evaluation_data_number < old_qe.tcb_evaluation_data_number),
        ("QE identity", new_qe.issue_date < old_qe.issue_date),
        ("root CA CRL", _crl_date(candidate.root_ca_crl) < _crl_date(kept.root_ca_crl)),
        ("PCK CRL", _crl_date(candidate.pck_crl) < _crl_date(kept.pck_crl)),
    )
    return next((name for name, fault in faults if fault), "")


def check_not_older(candidate: Collateral, kept: Collateral) -> None:
    """Refuse to go back behind genuine collateral that is there.

    Raises:
        AttestationError: ``attestation.collateral.rollback``.
    """
    older = older_part(candidate, kept)
    if older:
        raise AttestationError(
            f"its {older} is older than that of the copy that is there",
            code="attestation.collateral.rollback",
            hint="take current collateral; where the source was changed for an older one on purpose, remove the copy",
        )


def _crl_date(der: bytes) -> datetime:
    """When a list was issued."""
    return crl_window(parse_crl(der, "CRL"), "CRL").start


def _fresh(kept: _Kept, now: datetime) -> bool:
    if not kept.holds(now):
        return False
    if now < kept.start + (kept.end - kept.start) / 2:
        return True
    return kept.tried_at is not None and _within(kept.tried_at, now, RETRY_AFTER)


def _within(since: datetime, now: datetime, span: timedelta) -> bool:
    """Whether less than ``span`` has passed; not where the clock was set back behind ``since``."""
    return since <= now < since + span
