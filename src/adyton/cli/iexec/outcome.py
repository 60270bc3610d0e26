"""What a verb hands back to the border."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any


@dataclass(frozen=True, slots=True)
class Outcome:
    """The result of a command.

    Attributes:
        fields: the keys of ``--raw`` output after ``ok``; absent where they do not apply.
        message: one line for a person.
        details: what a person gets to see below it; the fields when None.
        next_step: a command that follows naturally.
        failed: a partial failure: ``ok`` is false, the output goes to standard error, and the status is 0 all the same.
    """

    fields: Mapping[str, Any] = field(default_factory=dict)
    message: str = ""
    details: Mapping[str, Any] | None = None
    next_step: str = ""
    failed: bool = False


def given(**fields: Any) -> dict[str, Any]:  # noqa: ANN401  # JSON values
    """The fields that have a value: official output leaves undefined ones out."""
    return {key: value for key, value in fields.items() if value is not None}
