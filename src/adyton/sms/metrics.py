"""Numbers of stored secrets, in the official forms of ``/metrics`` (JSON) and for Prometheus."""

from __future__ import annotations

import threading
from collections import Counter
from collections.abc import Iterable, Mapping
from typing import Final

from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

from adyton.base.clock import Clock, utc_now
from adyton.sms.store.repo import CHALLENGE
from adyton.sms.store.storage import Storage, StoreError
from adyton.sms.store.tables import Kind

_UNKNOWN: Final = -1  # shown when counting fails
_TYPES: Final[Mapping[str, tuple[str, tuple[str, ...]]]] = {
    # official type: (Prometheus name, stored kinds); a challenge and its key are one row here
    "web2": ("web2", (Kind.WEB2.value,)),
    "web3": ("web3", (Kind.WEB3.value,)),
    "compute": ("compute", (Kind.APP.value, Kind.REQUESTER.value)),
    "TEE challenges": ("tee_challenges", (CHALLENGE,)),
    "Ethereum Credentials": ("ethereum_credentials", (CHALLENGE,)),
}


class SecretsMetrics(Collector):
    """Counts by official type.

    Args:
        repo: database.
        version: the service's version.
        framework: its TEE framework.
        refresh_s: seconds for which a count of stored rows is reused.
        clock: source of time.
    """

    def __init__(
        self, repo: Storage, *, version: str, framework: str, refresh_s: float, clock: Clock = utc_now
    ) -> None:
        self._repo = repo
        self._version = version
        self._framework = framework
        self._refresh_s = refresh_s
        self._clock = clock
        self._lock = threading.Lock()
        self._stored_at = 0.0
        self._stored: dict[str, int] | None = None
        self._outcomes: Counter[tuple[str, str]] = Counter()
        self._initial = self._stored_counts() or {}

    def count(self, operation: str, outcome: str) -> None:
        """Count what came of a request; both texts are from small fixed sets."""
        with self._lock:
            self._outcomes[operation, outcome] += 1

    def document(self) -> dict[str, dict[str, dict[str, str | int]]]:
        """The body of ``/metrics``. Nothing is cached here, so that count is zero."""
        stored, added = self._stored_counts(), self._repo.added()
        return {
            "secretsMetrics": {
                kind: {
                    "secretsType": kind,
                    "initialCount": _total(self._initial, kinds),
                    "storedCount": _UNKNOWN if stored is None else _total(stored, kinds),
                    "addedSinceStartCount": _total(added, kinds),
                    "cachedSecretsCount": 0,
                }
                for kind, (_name, kinds) in _TYPES.items()
            }
        }

    def collect(self) -> Iterable[Metric]:
        """The same numbers under the official Prometheus names."""
        document = self.document()["secretsMetrics"]
        fields = {"initial": "initialCount", "added": "addedSinceStartCount", "stored": "storedCount"}
        for kind, (name, _kinds) in _TYPES.items():
            for suffix, member in (fields | {"cached": "cachedSecretsCount"}).items():
                yield GaugeMetricFamily(
                    f"iexec_sms_secrets_{name}_{suffix}", f"{kind}: {member}", value=float(document[kind][member])
                )
        info = GaugeMetricFamily(
            "iexec_version_info", "Version of the service.", labels=["iexecAppVersion", "iexecAppName", "teeFramework"]
        )
        info.add_metric([self._version, "iexec-sms", self._framework], 1)
        yield info
        outcomes = CounterMetricFamily(
            "adyton_sms_outcomes", "What came of writes and of requests about tasks.", labels=["operation", "outcome"]
        )
        with self._lock:
            counted = dict(self._outcomes)
        for labels, value in sorted(counted.items()):
            outcomes.add_metric(labels, value)
        yield outcomes

    def _stored_counts(self) -> dict[str, int] | None:
        now = self._clock().timestamp()
        with self._lock:
            if self._stored is None or now - self._stored_at >= self._refresh_s:
                self._stored_at = now
                try:
                    self._stored = self._repo.counts()
                except StoreError:
                    self._stored = None
            return self._stored


def _total(counts: Mapping[str, int], kinds: Iterable[str]) -> int:
    return sum(counts.get(kind, 0) for kind in kinds)
