"""Differential fuzzing: mutants of evidence are shown to our verifier and to dcap-qvl; ours must be the stricter one.

    python -m fuzz.differential --count 100000 --seed 1
    python -m fuzz.differential --replay build/differential/1-4711.json

A mutant is *dangerous* when ours accepts what dcap-qvl refuses, when both accept it and see something else in it, or
when ours fails with anything but a typed refusal. Each is saved; one of them makes the exit status 1. Mutants that
ours refuses and dcap-qvl accepts are counted by the code of our refusal. A run is determined by its seed.
"""

from __future__ import annotations

import argparse
import json
import sys
import time
import warnings
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, fields, replace
from enum import StrEnum
from pathlib import Path
from random import Random
from typing import Any, Final

import dcap_qvl
from cryptography.utils import CryptographyDeprecationWarning
from fuzz.collateral_mutators import COLLATERAL_MUTATORS
from fuzz.level_mutators import LEVEL_MUTATORS
from fuzz.quote_mutators import QUOTE_MUTATORS
from fuzz.specimen import Specimen, real, simulated

from adyton.attestation.collateral.documents import Collateral
from adyton.attestation.dcap.verify import verify_quote
from adyton.attestation.errors import AttestationError
from adyton.attestation.formats.quote import parse_quote
from adyton.attestation.formats.sgx import ReportBody
from adyton.attestation.policy import QuotePolicy, Weakness

# dcap-qvl cannot accept debug enclaves, so ours does not tolerate them here; everything else that can be, it does.
TOLERATED: Final = frozenset(Weakness) - {Weakness.DEBUG_MODE}
# What dcap-qvl refuses whatever it holds, and ours is made to judge alone: no statement about the evidence.
BEYOND: Final = ("SGX TEE quote must have version 3", "service TD")
_MEASUREMENTS: Final = (
    ("mr_enclave", "mrenclave"), ("mr_signer", "mrsigner"), ("mr_td", "mrtd"), ("rt_mr0", "rtmr0"),
    ("rt_mr1", "rtmr1"), ("rt_mr2", "rtmr2"), ("rt_mr3", "rtmr3"), ("report_data", "report_data"),
)  # fmt: skip
_FAMILIES: Final = (QUOTE_MUTATORS, QUOTE_MUTATORS, COLLATERAL_MUTATORS, COLLATERAL_MUTATORS, LEVEL_MUTATORS)


class Outcome(StrEnum):
    """What two verifiers make of one mutant."""

    BOTH_ACCEPT = "both accept, and see the same"
    BOTH_REFUSE = "both refuse"
    STRICTER = "only ours refuses"
    BEYOND = "ours accepts a kind that dcap-qvl does not judge"
    DANGEROUS = "DANGEROUS"


@dataclass(frozen=True, slots=True)
class Opinion:
    """What one verifier says: what it sees in accepted evidence, or why it refuses."""

    seen: tuple[tuple[str, str], ...] | None
    reason: str = ""
    untyped: bool = False  # ours let something escape that is no refusal


@dataclass(frozen=True, slots=True)
class Comparison:
    """Both opinions on one mutant, joined."""

    outcome: Outcome
    ours: Opinion
    theirs: Opinion

    @property
    def told(self) -> str:
        """One line about it."""
        if self.ours.seen is not None and self.theirs.seen is not None:
            different = set(self.ours.seen) ^ set(self.theirs.seen)
            return f"ours sees {different & set(self.ours.seen)}, theirs {different & set(self.theirs.seen)}"
        return "; ".join(
            f"{who} {'accepts' if opinion.seen is not None else 'refuses: ' + ' '.join(opinion.reason.split())}"
            for who, opinion in (("ours", self.ours), ("theirs", self.theirs))
        )


@dataclass
class Summary:
    """What a run found."""

    outcomes: Counter[Outcome] = field(default_factory=Counter)
    stricter: Counter[str] = field(default_factory=Counter)
    accepted_by: Counter[str] = field(default_factory=Counter)  # last mutator of what both accept: the reach of a run
    dangerous: list[tuple[int, Specimen, Comparison]] = field(default_factory=list)


def judged_by_both() -> tuple[Specimen, ...]:
    """The kinds of evidence that dcap-qvl judges: simulated, and real where it is at hand."""
    return tuple(each for each in (*simulated(), *real()) if each.name not in {"SGX v4", "SGX v5"})


def policy_for(specimen: Specimen) -> QuotePolicy:
    """Accepts what the quote says it is, and every platform that dcap-qvl would.

    Raises:
        AttestationError: the quote cannot be read.
    """
    body = parse_quote(specimen.quote).body
    pins: dict[str, Any] = (
        {"mrenclaves": frozenset({body.mrenclave})}
        if isinstance(body, ReportBody)
        else {"mrtds": frozenset({body.mrtd})}
    )
    return QuotePolicy(anchors=(specimen.anchor,), tolerate=TOLERATED, ignore_advisories=frozenset("*"), **pins)


def ours(specimen: Specimen) -> Opinion:
    """Our verifier alone, without the second opinion that services ask."""
    try:
        evidence = verify_quote(specimen.quote, specimen.collateral, policy_for(specimen), specimen.now)
    except AttestationError as error:
        return Opinion(None, error.code)
    except Exception as error:  # noqa: BLE001  # that none escapes is what is tested
        return Opinion(None, f"{type(error).__name__}: {error}", untyped=True)
    seen = {name: getattr(evidence.body, own).hex() for name, own in _MEASUREMENTS if hasattr(evidence.body, own)}
    return Opinion(_claims(evidence.status.value, list(evidence.advisories), seen))


def theirs(specimen: Specimen) -> Opinion:
    """dcap-qvl under the same root and time."""
    copy = dcap_qvl.QuoteCollateralV3(*(getattr(specimen.collateral, each.name) for each in fields(Collateral)))
    try:
        seconds = int(specimen.now.timestamp())
        report = dcap_qvl.verify_with_root_ca(specimen.quote, copy, specimen.root, seconds)
        (body,) = json.loads(report.to_json())["report"].values()
    except (ValueError, OverflowError) as error:
        return Opinion(None, str(error))
    except BaseException as error:
        if type(error).__name__ != "PanicException":  # how a panic of the library arrives here
            raise
        return Opinion(None, f"panic: {error}")
    body = body.get("base", {}) | body
    seen = {name: str(body[name]).lower() for name, _ours in _MEASUREMENTS if name in body}
    return Opinion(_claims(report.status, report.advisory_ids, seen))


def _claims(status: str, advisories: list[str], seen: dict[str, str]) -> tuple[tuple[str, str], ...]:
    listed = ",".join(sorted(set(advisories)))
    return (("status", status), ("advisories", listed), *sorted(seen.items()))


def compare(specimen: Specimen) -> Comparison:
    """Show one specimen to both."""
    a, b = ours(specimen), theirs(specimen)
    if a.untyped or (a.seen is not None and b.seen is not None and a.seen != b.seen):
        return Comparison(Outcome.DANGEROUS, a, b)
    if a.seen is not None and b.seen is None:
        beyond = any(reason in b.reason for reason in BEYOND)
        return Comparison(Outcome.BEYOND if beyond else Outcome.DANGEROUS, a, b)
    if a.seen is None:
        return Comparison(Outcome.BOTH_REFUSE if b.seen is None else Outcome.STRICTER, a, b)
    return Comparison(Outcome.BOTH_ACCEPT, a, b)


def mutants(stock: tuple[Specimen, ...], count: int, seed: int, first: int = 0) -> Iterator[Specimen]:
    """``count`` mutants; each follows from the seed and its number alone."""
    for number in range(first, first + count):
        rng = Random(f"{seed}/{number}")
        specimen = rng.choice(stock)
        for _ in range(rng.choice((1, 1, 1, 1, 2, 2, 3))):
            mutator: Callable[..., Specimen] = rng.choice(rng.choice(_FAMILIES))
            specimen = replace(mutator(rng, specimen, stock), trail=(*specimen.trail, mutator.__name__))
        yield specimen


def run(
    stock: tuple[Specimen, ...], count: int, seed: int, progress: Callable[[int, Summary], None] | None = None
) -> Summary:
    """Compare ``count`` mutants of ``stock``."""
    summary = Summary()
    for number, specimen in enumerate(mutants(stock, count, seed)):
        comparison = compare(specimen)
        summary.outcomes[comparison.outcome] += 1
        if comparison.outcome is Outcome.STRICTER:
            summary.stricter[comparison.ours.reason] += 1
        elif comparison.outcome is Outcome.BOTH_ACCEPT:
            summary.accepted_by[specimen.trail[-1]] += 1
        elif comparison.outcome is Outcome.DANGEROUS:
            summary.dangerous.append((number, specimen, comparison))
        if progress is not None:
            progress(number + 1, summary)
    return summary


def main() -> int:
    """Run or replay; 1 when a mutant is dangerous."""
    parser = argparse.ArgumentParser(description="Differential fuzzing of quote verification against dcap-qvl.")
    parser.add_argument("--count", type=int, default=100_000, help="mutants")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--save", type=Path, default=Path("build/differential"), help="where dangerous mutants go")
    parser.add_argument("--replay", type=Path, help="a saved mutant, instead of a run")
    options = parser.parse_args()
    warnings.simplefilter("ignore", CryptographyDeprecationWarning)  # about serial numbers that ours then refuses
    if options.replay is not None:
        comparison = compare(Specimen.from_json(options.replay.read_text()))
        print(f"{comparison.outcome}: {comparison.told}")
        return int(comparison.outcome is Outcome.DANGEROUS)
    stock = judged_by_both()
    print(f"{options.count} mutants of {', '.join(each.name for each in stock)}; seed {options.seed}", flush=True)
    begun = time.monotonic()

    def progress(done: int, summary: Summary) -> None:
        if done % 5_000 == 0:
            rate = done / (time.monotonic() - begun)
            print(f"{done:7} compared, {len(summary.dangerous)} dangerous, {rate:.0f}/s", flush=True)

    summary = run(stock, options.count, options.seed, progress)
    _tell(summary)
    _save(summary, options.save, options.seed)
    return int(bool(summary.dangerous))


def _tell(summary: Summary) -> None:
    for outcome in Outcome:
        print(f"{summary.outcomes[outcome]:7} {outcome}")
    print("only ours refuses, by code:")
    for code, number in summary.stricter.most_common():
        print(f"{number:7} {code}")
    print("both accept, by the last mutator:")
    for name, number in summary.accepted_by.most_common():
        print(f"{number:7} {name}")


def _save(summary: Summary, folder: Path, seed: int) -> None:
    for number, specimen, comparison in summary.dangerous:
        folder.mkdir(parents=True, exist_ok=True)
        file = folder / f"{seed}-{number}.json"
        file.write_text(specimen.to_json())
        print(f"{file}: {specimen.name}, {' > '.join(specimen.trail)}: {comparison.told}")


if __name__ == "__main__":
    sys.exit(main())
