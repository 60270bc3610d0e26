"""How long the stages of tasks took, over a sliding window (pool reference 4.10)."""

from __future__ import annotations

import threading
from collections import deque
from typing import Final

WINDOW: Final = 1000
STAGES: Final = ("preCompute", "appCompute", "postCompute", "completeCompute")


class Durations:
    """Samples of each stage, milliseconds."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._samples: dict[str, deque[int]] = {stage: deque(maxlen=WINDOW) for stage in STAGES}

    def add(self, stage: str, seconds: float) -> None:
        """Record one run of a stage."""
        with self._lock:
            self._samples[stage].append(round(seconds * 1000))

    def view(self) -> dict[str, dict[str, float]]:
        """``GET /metrics`` of the worker."""
        with self._lock:
            return {f"{stage}Durations": _summary(list(samples)) for stage, samples in self._samples.items()}


def _summary(samples: list[int]) -> dict[str, float]:
    return {
        "minDuration": min(samples, default=0),
        "maxDuration": max(samples, default=0),
        "averageDuration": sum(samples) / len(samples) if samples else 0,
        "durationSamplesCount": len(samples),
    }
