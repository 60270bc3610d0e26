"""The recorder lets nothing through that was not checked."""

from __future__ import annotations

import re
import threading
from pathlib import Path

import pytest
from tests.platform.world import World

from adyton.attestation import checks
from adyton.attestation.checks import PINS, QUOTE_CHECKS, NotAskedError, Recorder
from adyton.attestation.dcap.program import PROGRAM_RULES
from adyton.attestation.errors import AttestationError, Outcome


def refuse(_value: object) -> None:
    raise AttestationError("no", code="attestation.a.part", hint="do")


def trip(_value: object) -> None:
    raise ValueError("a parser's own error")


def test_a_failed_check_stops_those_that_stand_on_it_and_no_others() -> None:
    record = Recorder()
    made = record.run("b", refuse, 1)
    record.run("c", str, made)
    record.run("a", str, 1)
    with pytest.raises(AttestationError) as caught:
        record.conclude(("a", "b", "c"))
    assert [(finding.check, finding.outcome) for finding in caught.value.findings] == [
        ("a", Outcome.PASSED),
        ("b", Outcome.FAILED),
        ("c", Outcome.NOT_RUN),
    ]
    assert (caught.value.code, caught.value.hint) == ("attestation.a.part", "do")


def test_the_first_failure_in_the_order_of_the_steps_gives_the_code() -> None:
    record = Recorder()
    record.run("b", refuse, 1)
    record.run("a", trip, 1)
    with pytest.raises(AttestationError) as caught:
        record.conclude(("a", "b"))
    assert caught.value.code == "a"


@pytest.mark.parametrize("expected", [("a", "b"), (), ("b",), ("a", "a")])
def test_a_check_that_was_forgotten_or_invented_is_refused(expected: tuple[str, ...]) -> None:
    record = Recorder()
    record.run("a", str, 1)
    with pytest.raises(AttestationError) as caught:
        record.conclude(expected)
    assert caught.value.code == "attestation.incomplete"


def test_a_check_without_its_input_is_refused_even_when_nothing_failed() -> None:
    record = Recorder()
    record.run("a", str, None)
    with pytest.raises(AttestationError) as caught:
        record.conclude(("a",))
    assert caught.value.code == "attestation.incomplete"


def test_one_verifier_serves_many_threads(world: World) -> None:
    verifier = world.verifier()
    good, other = bytes([1]) * 32, bytes([2]) * 32
    quotes = [world.platform(good).quote(bytes(64)), world.platform(other).quote(bytes(64))]
    outcomes: list[tuple[int, str]] = []

    def work(number: int) -> None:
        for _ in range(5):
            try:
                seen = verifier.verify(quotes[number % 2], world.policy(good)).mrenclave.hex()
            except AttestationError as error:
                seen = error.code
            outcomes.append((number % 2, seen))

    threads = [threading.Thread(target=work, args=(number,)) for number in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(outcomes) == 30
    assert set(outcomes) == {(0, good.hex()), (1, "attestation.measurement")}


def unasked(_value: object) -> None:
    raise NotAskedError("nothing to compare with")


@pytest.mark.parametrize(("optional", "lets_through"), [({"b"}, True), (set(), False), ({"a"}, False)])
def test_what_was_not_asked_passes_only_where_it_may_be_left_out(
    optional: set[str], lets_through: bool
) -> None:  # a case
    record = Recorder()
    record.run("a", str, 1, tell=lambda text: f"saw {text}")
    record.run("b", unasked, 1)
    if lets_through:
        findings = record.conclude(("a", "b"), optional)
        assert [finding.detail for finding in findings] == ["saw 1", "nothing to compare with"]
        return
    with pytest.raises(AttestationError) as caught:
        record.conclude(("a", "b"), optional)
    assert caught.value.code == "attestation.incomplete"


def refusing(_text: str) -> str:
    raise ValueError("cannot be told")


def test_a_detail_that_cannot_be_told_is_a_failure_of_the_check() -> None:
    record = Recorder()
    record.run("a", str, 1, tell=refusing)
    with pytest.raises(AttestationError) as caught:
        record.conclude(("a",))
    assert caught.value.code == "a"


def test_every_check_has_its_line_and_no_program_pins_are_mandatory() -> None:
    for kind, rules in PROGRAM_RULES.items():
        assert [check for check, _rule in rules] == list(QUOTE_CHECKS[kind][-len(rules) :])
        assert len(set(QUOTE_CHECKS[kind])) == len(QUOTE_CHECKS[kind])
    assert "attestation.pinned" not in PINS
    assert "attestation.mrtd" not in PINS


ROOM = Path(checks.__file__).parent
MODULES = (
    *("chain", "checks", "evidence", "policy", "ratls/verdict"),
    *(f"collateral/{name}" for name in ("bundle", "cache", "documents", "pccs")),
    *(f"dcap/{name}" for name in ("assessment", "judge", "levels", "opinion", "pck", "program", "quote_verdict")),
    *(f"dcap/{name}" for name in ("signer", "tcb", "verify")),
)


@pytest.mark.parametrize("module", MODULES)
def test_every_code_has_a_line_in_a_table(module: str) -> None:
    tables = [value for name, value in vars(checks).items() if name.endswith(("_CHECKS", "_CODES"))]
    documented = {code for table in tables if isinstance(table, dict) for code in table}
    text = (ROOM / f"{module}.py").read_text()
    used = set(re.findall(r'code="(attestation\.[a-z_.]+)"', text)) - {"attestation.not_asked"}
    assert used <= documented
