"""What ``adyton audit verify`` says of one log: a verdict in a word, the reasons, and what to do about them."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass, field
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    from adyton.base.auditfile import Verdict


class Word(StrEnum):
    """The verdict; only the first two are good."""

    WHOLE = "whole"
    EMPTY = "empty"
    NOT_COMPARED = "not compared"
    NOT_AS_PUBLISHED = "not as published"
    BROKEN = "broken"


_REMEDIES: Final = {
    Word.NOT_COMPARED: "so it was not compared with the chain: name a published head with --transaction, or publish one"
    " ('adyton audit publish')",
    Word.NOT_AS_PUBLISHED: "the log was cut, rewritten or exchanged since: keep the folder as evidence, and put the"
    " newest whole copy of it back; a log that was begun anew on purpose needs a folder of its own",
    Word.BROKEN: "what stands before that line is what was written: keep the folder as evidence, and put the newest"
    " whole copy of it back; the service itself checks only the end of its log when it starts",
}


@dataclass(frozen=True, slots=True)
class Finding:
    """Something that is not right."""

    word: Word
    text: str


@dataclass(slots=True)
class Report:
    """On one log.

    Attributes:
        path: its file.
        verdict: what its chain is worth.
        published: heads that were published and that the log has.
        findings: what is not right.
    """

    path: Path
    verdict: Verdict
    published: list[str] = field(default_factory=list)
    findings: list[Finding] = field(default_factory=list)

    def __post_init__(self) -> None:
        if self.verdict.bad_line:
            self.findings.append(Finding(Word.BROKEN, f"line {self.verdict.bad_line}: {self.verdict.reason}"))

    @property
    def word(self) -> Word:
        """The verdict: the worst of the findings."""
        order = list(Word)
        found = [finding.word for finding in self.findings]
        return max(found or [Word.WHOLE if self.verdict.head else Word.EMPTY], key=order.index)

    @property
    def good(self) -> bool:
        """Whether nothing was found."""
        return not self.findings

    def text(self) -> str:
        """For people."""
        return "".join(f"{line}\n" for line in self._lines())

    def document(self) -> str:
        """One JSON object in one line."""
        verdict = self.verdict
        values: dict[str, Any] = {
            "file": str(self.path),
            "service": verdict.service or None,
            "verdict": self.word.value,
            "whole": not verdict.bad_line,
            "entries": verdict.head.seq if verdict.head else 0,
            "head": _head(verdict),
            "firstBadLine": verdict.bad_line or None,
            "published": self.published,
            "problems": [finding.text for finding in self.findings],
            "remedy": _REMEDIES.get(self.word),
        }
        return json.dumps(values) + "\n"

    def _lines(self) -> Iterator[str]:
        verdict = self.verdict
        shown = self.word.value if self.good else self.word.value.upper()
        yield f"{self.path}: {shown}, {_size(verdict)}"
        if verdict.head:
            yield f"  {'last good entry' if verdict.bad_line else 'head'} {_head(verdict)}"
        yield from (f"  published {each}" for each in self.published)
        yield from (f"  {finding.text}" for finding in self.findings)
        if self.word in _REMEDIES:
            yield f"  {_REMEDIES[self.word]}"


def _size(verdict: Verdict) -> str:
    if verdict.head is None and not verdict.bad_line:
        return "nothing was recorded yet"
    count = verdict.head.seq if verdict.head else 0
    entries = f"{count}{' good' if verdict.bad_line else ''} {'entry' if count == 1 else 'entries'}"
    return f"{f'log of {verdict.service}' if verdict.service else 'log of no known service'}, {entries}"


def _head(verdict: Verdict) -> str | None:
    return f"{verdict.head.seq}:{verdict.head.hash}" if verdict.head else None
