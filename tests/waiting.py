"""Waiting for what another process or thread does: until it is so, not for a time that should do."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import TypeVar

T = TypeVar("T")
PATIENCE_S = 60.0  # what takes milliseconds on an idle machine must not fail on a crowded one


def until(condition: Callable[[], T], within_s: float = PATIENCE_S, what: str = "what was waited for") -> T:
    """Wait until ``condition`` gives something that is true, and return that."""
    deadline = time.monotonic() + within_s
    while not (found := condition()):
        assert time.monotonic() < deadline, f"{what} did not happen within {within_s:g} s"
        time.sleep(0.02)
    return found
