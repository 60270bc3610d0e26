from __future__ import annotations

from datetime import UTC, datetime, timedelta, timezone

import pytest

from adyton.attestation.chain import Window
from adyton.attestation.checks import NotAskedError, Recorder
from adyton.attestation.conclusion import check_windows, require_time_zone, verdict_of
from adyton.attestation.errors import AttestationError, Outcome
from adyton.attestation.verdict import EvidenceKind, Verdict
from adyton.base.errors import InputError

NOW = datetime(2026, 11, 22, tzinfo=UTC)
DAY = timedelta(days=1)
CHECKS = ("first", "second", "third")


def refuse(code: str, hint: str = "") -> object:
    raise AttestationError(f"{code} is wrong", code=f"attestation.{code}", hint=hint)


def skip() -> object:
    raise NotAskedError("nothing to compare with")


def conclude(record: Recorder, optional: frozenset[str] = frozenset()) -> Verdict:
    windows = (Window("a", NOW - DAY, NOW + 2 * DAY), Window("b", NOW - DAY, NOW + DAY))
    return verdict_of(
        EvidenceKind.SNP, record, CHECKS, optional, tier="amd", identity={"measurement": "11"}, windows=windows
    )


def test_what_passed_everything_is_trusted() -> None:
    record = Recorder()
    for check in reversed(CHECKS):
        record.run(check, str, "")
    verdict = conclude(record)
    assert verdict.trusted
    assert [check.check for check in verdict.checks] == list(CHECKS)
    assert (verdict.code, verdict.message, verdict.needed) == ("", "", ())
    assert (verdict.tier, dict(verdict.identity), verdict.valid_until) == ("amd", {"measurement": "11"}, NOW + DAY)


def test_the_first_failure_gives_the_code_and_each_says_what_is_needed() -> None:
    record = Recorder()
    record.run("third", refuse, "late", "a remedy")
    record.run("second", refuse, "early")
    record.run("first", str, "")
    verdict = conclude(record)
    assert (verdict.trusted, verdict.code) == (False, "attestation.early")
    assert verdict.needed == ("evidence of which this is not true: early is wrong", "a remedy")


def test_a_check_that_was_not_made_is_no_trust() -> None:
    record = Recorder()
    record.run("first", str, "")
    record.run("second", str, "")
    verdict = conclude(record)
    assert (verdict.trusted, verdict.code) == (False, "attestation.incomplete")


def test_what_was_not_asked_is_no_trust_unless_it_may_be() -> None:
    record = Recorder()
    record.run("first", str, "")
    record.run("second", skip)
    record.run("third", str, "")
    assert conclude(record).code == "attestation.incomplete"
    verdict = conclude(record, frozenset({"second"}))
    assert verdict.trusted
    assert verdict.checks[1].outcome is Outcome.NOT_ASKED


def test_windows_hold_from_their_start_to_their_end() -> None:
    windows = (Window("a", NOW - DAY, NOW + 2 * DAY), Window("b", NOW, NOW + DAY))
    for moment in (NOW, NOW + DAY):
        assert check_windows(windows, moment, "hint") == f"until {(NOW + DAY).isoformat()}"
    for moment, named in ((NOW - timedelta(seconds=1), "b holds"), (NOW + 3 * DAY, "a holds")):
        with pytest.raises(AttestationError, match=named) as caught:
            check_windows(windows, moment, "hint")
        assert (caught.value.code, caught.value.hint) == ("attestation.validity", "hint")


def test_a_time_needs_a_zone() -> None:
    require_time_zone(NOW)
    require_time_zone(datetime(2026, 1, 1, tzinfo=timezone(timedelta(hours=5))))
    with pytest.raises(InputError) as caught:
        require_time_zone(NOW.replace(tzinfo=None))
    assert caught.value.code == "attestation.now"
