"""How often a step was refused: a refusal may pass, a lasting one ends the task."""

from __future__ import annotations

import threading
from typing import Final

MAX_TRIES: Final = 5
FIRST_PAUSE_S: Final = 0.25


class Tries:
    """Counts refusals of the steps of tasks, in this process only: a restart begins anew."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._counts: dict[tuple[str, str], int] = {}

    def again(self, task_id: str, step: str) -> float | None:
        """Count a refusal: seconds to wait before the next try, which doubles, or None after the last one."""
        with self._lock:
            count = self._counts[task_id, step] = self._counts.get((task_id, step), 0) + 1
        return None if count >= MAX_TRIES else FIRST_PAUSE_S * 2**count

    def forget(self, task_id: str) -> None:
        """The task has ended."""
        with self._lock:
            for key in [key for key in self._counts if key[0] == task_id]:
                del self._counts[key]
