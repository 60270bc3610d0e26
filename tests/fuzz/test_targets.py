"""The fuzz targets without the fuzzer: their seeds are read, and random changes of them meet typed refusals only."""

from __future__ import annotations

from random import Random

import pytest
from fuzz.targets import TARGETS, Target, ViolationError

from adyton.base.errors import InputError
from fuzz import bytewise

MUTANTS = 200


@pytest.mark.parametrize("name", TARGETS)
def test_a_seed_reaches_what_is_behind_the_first_check(name: str) -> None:
    """A target that refuses all of its seeds would test nothing."""
    target = TARGETS[name]
    read = [target.check(seed) for seed in target.seeds()]
    assert any(read)


@pytest.mark.parametrize("name", TARGETS)
def test_changed_seeds_are_read_or_refused_by_a_typed_error(name: str) -> None:
    target, rng = TARGETS[name], Random(f"targets/{name}")  # noqa: S311  # repeatable, not secret
    seeds = target.seeds()
    for _ in range(MUTANTS):
        data = rng.choice(seeds)
        for _ in range(rng.randint(1, 4)):
            data = bytewise.mutate(rng, data, rng.choice(seeds))
        target.check(data)


DEGENERATE = {
    "nothing": b"", "a NUL": b"\0", "ones": b"\xff" * 100_000, "lists": b"[" * 50_000, "objects": b"{" * 50_000,
}  # fmt: skip
# Of these nothing is a message, a line or a document, no text is not even JSON, an appraisal is a verdict, and what is
# no params of a deal is its command line.
TAKES_NOTHING = {"request", "framing", "tcb_info", "qe_identity", "yaml", "appraisal", "deal_params"}


@pytest.mark.parametrize("data", DEGENERATE.values(), ids=DEGENERATE)
def test_degenerate_bytes_are_read_by_no_target(data: bytes) -> None:
    assert {name for name, target in TARGETS.items() if target.check(data)} <= TAKES_NOTHING


def test_a_target_tells_a_fault_from_a_refusal() -> None:
    def faulty(data: bytes) -> None:
        raise {b"r": InputError("refused"), b"v": ViolationError("differs"), b"k": KeyError("escaped")}[data]

    target = Target(faulty, list)
    assert not target.check(b"r")
    with pytest.raises(ViolationError):
        target.check(b"v")
    with pytest.raises(KeyError, match="escaped"):
        target.check(b"k")
