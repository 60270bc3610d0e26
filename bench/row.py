"""One line of ``bench-report.json``."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Row:
    """What was measured and what it is held against.

    Attributes:
        name: stable, dotted.
        value: the figure.
        unit: of the figure.
        versus: what it is compared with.
        ratio: above 1 is better than that.
        note: how it was measured.
    """

    name: str
    value: float
    unit: str
    versus: str
    ratio: float
    note: str
