"""How a verdict looks: to a person in a terminal of 80 columns, and to a program as JSON.

Evidence is written by strangers: every text of it is shown in printable ASCII, so that it cannot steer a terminal. That
evidence is simulated, and that nobody compared the measurement, is said in the first line, never only further down.
"""

from __future__ import annotations

import io
import json
import os
import sys
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from rich.console import Console, Group, RenderableType
from rich.table import Table
from rich.text import Text

from adyton.attestation.errors import Finding, Outcome
from adyton.attestation.verdict import EvidenceKind, Verdict
from adyton.base.errors import AdytonError, UnavailableError

_OUTCOMES = {
    Outcome.PASSED: ("ok", "green"),
    Outcome.FAILED: ("FAILED", "bold red"),
    Outcome.NOT_RUN: ("not run", "yellow"),
    Outcome.NOT_ASKED: ("not asked", "dim"),
}
_NAMES = {
    EvidenceKind.SGX: "Intel SGX quote",
    EvidenceKind.TDX: "Intel TDX quote",
    EvidenceKind.SNP: "AMD SEV-SNP report",
    EvidenceKind.NITRO: "AWS Nitro document",
}
_UNCOMPARED = "nobody compared the measurement: give --policy"


@dataclass(frozen=True, slots=True)
class Judgement:
    """A verdict, and what a reader must know beside it.

    Attributes:
        verdict: the judge's.
        form: how the evidence came, in words.
        at: the time that it was judged for.
        asked_for: whether that time was given by the person, and so is not the present.
        names_a_program: whether the policy says which program must run.
        tier: the root that the evidence itself claims, accepted or not; empty where it names none.
        sources: where collateral came from, in words.
    """

    verdict: Verdict
    form: str
    at: datetime
    asked_for: bool
    names_a_program: bool
    tier: str = ""
    sources: tuple[str, ...] = ()

    @property
    def simulated(self) -> bool:
        """Whether the evidence comes from no vendor's hardware, accepted or not."""
        return (self.verdict.tier or self.tier).startswith("sim:")

    def headline(self) -> str:
        """The verdict in one sentence."""
        if not self.verdict.trusted:
            return f"NOT TRUSTED: {self.verdict.message}"
        if self.simulated:
            what = "it runs the program that the policy names" if self.names_a_program else _UNCOMPARED
            return f"TRUSTED AS SIMULATED ONLY (this proves formats, not secrecy): {what}"
        if self.names_a_program:
            return "TRUSTED: genuine platform, and it runs the program that the policy names"
        return f"TRUSTED: genuine platform; {_UNCOMPARED}"

    def to_json(self) -> dict[str, Any]:
        """The verdict's members, and ``simulated``, ``compared``, ``form``, ``at`` and ``sources``."""
        return self.verdict.to_json() | {
            "simulated": self.simulated,
            "compared": self.names_a_program,
            "form": self.form,
            "at": self.at.isoformat(),
            "sources": list(self.sources),
        }


def error_json(error: AdytonError) -> dict[str, Any]:
    """What stands for a verdict where none could be made: the same members, never trusted."""
    return {
        "kind": None,
        "trusted": False,
        "tier": None,
        "status": None,
        "advisories": [],
        "checks": [],
        "code": error.code,
        "message": error.message,
        "needed": [error.hint] if error.hint else [],
        "identity": {},
        "valid_until": None,
    }


def print_json(document: Mapping[str, Any]) -> None:
    """Print one JSON object, in ASCII on one line."""
    write_out(json.dumps(document) + "\n")


def print_report(judgement: Judgement) -> None:
    """Print the report; colours only where the output is a terminal."""
    verdict = judgement.verdict
    parts: list[RenderableType] = [_headline(judgement), Text(), _facts(_summary(judgement))]
    if verdict.identity:
        parts += [_title("CLAIMED BY THE EVIDENCE"), _facts(verdict.identity.items())]
    parts += [_title("CHECKS"), _checks(verdict.checks)]
    needed = list(_needed(judgement))
    if needed:
        parts += [_title("WHAT IS NEEDED TO PASS"), _facts(("-", line) for line in needed)]
    if verdict.code:
        parts += [Text(), Text(f"({safe(verdict.code)})")]
    _print(Group(*parts))


def print_facts(title: str, facts: Iterable[tuple[str, str]]) -> None:
    """Print a title and a table of names and values."""
    _print(Group(Text(safe(title), style="bold"), Text(), _facts(facts)))


def _print(what: RenderableType) -> None:
    """Print in colour to a terminal; elsewhere plainly, without the blanks that fill lines up."""
    if sys.stdout is not None and sys.stdout.isatty():
        Console(highlight=False, markup=False, emoji=False).print(what)
        return
    plain = io.StringIO()
    Console(file=plain, force_terminal=False, highlight=False, markup=False, emoji=False).print(what)
    write_out("".join(line.rstrip() + "\n" for line in plain.getvalue().splitlines()))


def write_out(text: str) -> None:
    """Write to standard output; a reader that has left, as ``head`` does, has what it wanted.

    Raises:
        UnavailableError: ``output.write``: what was to be said cannot be, so nobody may take silence for consent.
    """
    if sys.stdout is None:
        raise UnavailableError("standard output is closed", code="output.write")
    try:
        sys.stdout.write(text)
        sys.stdout.flush()
    except OSError as error:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())  # or the interpreter fails again when it ends
        if isinstance(error, BrokenPipeError):
            return
        raise UnavailableError(f"standard output cannot be written: {error.strerror}", code="output.write") from error


def moment(at: datetime) -> str:
    """A time for people: UTC, to the second."""
    return at.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def safe(text: str) -> str:
    """``text`` in printable ASCII; everything else as escapes."""
    return "".join(c if " " <= c <= "~" else c.encode("unicode_escape").decode() for c in text)


def _headline(judgement: Judgement) -> Text:
    style = "bold red" if not judgement.verdict.trusted else "bold yellow" if judgement.simulated else "bold green"
    return Text(safe(judgement.headline()), style=style)


def _summary(judgement: Judgement) -> Iterator[tuple[str, str]]:
    verdict = judgement.verdict
    yield "evidence", f"{_NAMES[verdict.kind]}, {judgement.form}"
    yield "tier", _tier(judgement)
    if verdict.status:
        yield "status", verdict.status
        yield "advisories", ", ".join(verdict.advisories) or "none"
    when = moment(judgement.at)
    yield "judged at", f"{when} (the time that was asked for)" if judgement.asked_for else when
    if verdict.valid_until is not None:
        yield "holds until", moment(verdict.valid_until)
    if judgement.sources:
        yield "collateral", "; ".join(judgement.sources)
    unasked = [each.check for each in verdict.checks if each.outcome is Outcome.NOT_ASKED]
    if unasked:
        yield "not asked", ", ".join(check.removeprefix("attestation.") for check in unasked)


def _tier(judgement: Judgement) -> str:
    proven, claimed = judgement.verdict.tier, judgement.tier
    if proven:
        return f"SIMULATED: {proven}" if judgement.simulated else proven
    if not claimed:
        return "none"
    return f"none; the evidence claims {'the SIMULATED ' if judgement.simulated else ''}{claimed}"


def _needed(judgement: Judgement) -> Iterator[str]:
    yield from judgement.verdict.needed
    failed = {each.check for each in judgement.verdict.checks if each.outcome is Outcome.FAILED}
    if judgement.simulated and "attestation.chain.anchor" in failed:
        tier = judgement.tier
        yield (
            f"The evidence chains to the simulated root {tier}, which no vendor vouches for: it proves formats, not "
            f"secrecy. Where that is enough: --anchor {tier}, or 'anchors: [\"{tier}\"]' in the policy file."
        )


def _title(text: str) -> Text:
    return Text(f"\n{text}", style="bold")


def _facts(facts: Iterable[tuple[str, str]]) -> Table:
    table = Table.grid(padding=(0, 1))  # the longest name and 64 hex digits fill 80 columns
    table.add_column(no_wrap=True, style="bold")
    table.add_column(overflow="fold")
    for name, value in facts:
        table.add_row(safe(name), _shortened(safe(value)))
    return table


def _shortened(value: str) -> str:
    return f"zeros ({len(value) // 2} bytes)" if len(value) >= 32 and not value.strip("0") else value


def _checks(findings: Iterable[Finding]) -> Table:
    table = Table.grid(padding=(0, 1))
    table.add_column(justify="right", no_wrap=True)
    table.add_column(no_wrap=True)
    table.add_column(overflow="fold")
    for number, finding in enumerate(findings, start=1):
        word, style = _OUTCOMES[finding.outcome]
        text = Text(safe(finding.check))
        detail = finding.detail.removeprefix(f"{finding.check}: ")
        if detail:
            text.append(f"  {safe(detail)}", style="red" if finding.outcome is Outcome.FAILED else "dim")
        table.add_row(str(number), Text(word, style=style), text)
    return table
