"""What the demonstration tells: lines for a person as things happen, and ``demo-report.json`` for a machine."""

from __future__ import annotations

import json
import re
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from rich.console import Console

from adyton.base.files import write_atomic

_STEP = re.compile(r"\s*\d+\.\d s  (\S.*)")
ORDER = ("1", "2", "3", "4", "5", "6a", "6b", "7", "8", "9", "10")


@dataclass(frozen=True, slots=True)
class Step:
    """One of the ten steps with something checkable about it: a hash, an address, a measurement, an id."""

    step: str
    what: str
    evidence: dict[str, Any]
    seconds: float


@dataclass(frozen=True, slots=True)
class Refusal:
    """One of the five refusals: what was tried, whether it was refused, and the stable code."""

    case: str
    what: str
    refused: bool
    code: str
    message: str


@dataclass(slots=True)
class Report:
    """Everything ``demo-report.json`` holds; never a secret."""

    ok: bool = False
    network: dict[str, Any] = field(default_factory=dict)
    steps: list[Step] = field(default_factory=list)
    task: dict[str, Any] = field(default_factory=dict)
    result: dict[str, Any] = field(default_factory=dict)
    standard: dict[str, Any] = field(default_factory=dict)
    refusals: list[Refusal] = field(default_factory=list)
    timing: dict[str, float] = field(default_factory=dict)
    error: str = ""
    seconds: float = 0.0

    def write(self, file: Path) -> None:
        """Write the report whole."""
        document = asdict(self)
        document["steps"].sort(key=lambda step: ORDER.index(step["step"]))
        if not self.error:
            del document["error"]
        write_atomic(file, json.dumps(document, indent=2).encode() + b"\n")


class Narrator:
    """Prints what happens, each line with the seconds since the start."""

    def __init__(self) -> None:
        self._console = Console(file=sys.stdout, highlight=False, soft_wrap=True)
        self._begun = time.monotonic()

    @property
    def seconds(self) -> float:
        """Seconds since the start."""
        return time.monotonic() - self._begun

    def chapter(self, title: str) -> None:
        """Begin a part of the story."""
        self._console.print(f"\n[bold]{title}[/bold]")

    def say(self, text: str, mark: str = " ") -> None:
        """One line."""
        self._console.print(f"[dim]{self.seconds:6.1f} s[/dim] {mark} {text}", markup=True)

    def progress(self, text: str) -> None:
        """Pass on the steps that a starting network prints (seconds and what), and nothing else of it."""
        for line in text.splitlines():
            step = _STEP.fullmatch(line)
            if step:
                self.say(step[1])

    @contextmanager
    def doing(self, text: str) -> Iterator[None]:
        """Say what begins, show that it goes on, and say how long it took."""
        begun = time.monotonic()
        if self._console.is_terminal:
            with self._console.status(text):
                yield
        else:
            yield
        self.say(f"{text} [dim]({time.monotonic() - begun:.1f} s)[/dim]", "[green]✓[/green]")
