"""The rules of successors: whose voices count, who may take a place, and that nobody else ever gets its keys."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime
from typing import Any

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule
from tests.cas.documents import APP, small_document

from adyton.cas.language.session import SessionError, from_document, session_hash
from adyton.cas.language.templates import fill
from adyton.cas.releasing.approvals import standing
from adyton.cas.releasing.material import Material, make_material, with_new_seeds
from adyton.cas.releasing.upgrade import Choice, Line, Proposal, Upgrade, UpgradeError, effective_measurement
from adyton.cas.store.repo import StoredSession

A, B, C, D = ("aa" * 32, "bb" * 32, "cc" * 32, "dd" * 32)
KEYS = (A, B, C, D)
M1, M2, M3 = (f"{number:02x}" * 32 for number in (1, 2, 3))
_NOW = datetime(2026, 11, 22, tzinfo=UTC)
TWO_OF_THREE = Upgrade(approvers=(A, B, C), threshold=2)


def carry(successor: str = M2) -> Proposal:
    return Proposal(successor, Choice.CARRY)


def discard(successor: str = M2) -> Proposal:
    return Proposal(successor, Choice.DISCARD)


def upgradable(**changes: Any) -> dict[str, Any]:  # noqa: ANN401
    """A session like an SMS's, with approvers."""
    service = {"name": "app", "image_name": "image", "mrenclaves": [M1]}
    image = {"name": "image", "injection_files": [{"path": "/run/key", "content": "$$SCONE::key:hex$$"}]}
    return (
        small_document(
            services=[service],
            images=[image],
            secrets=[{"name": "key", "kind": "enclave-key"}],
            upgrade={"approvers": [A, B, C], "threshold": 2},
        )
        | changes
    )


def voices(line: Line, *given: tuple[str, Proposal], policy: Upgrade = TWO_OF_THREE) -> Line:
    for key, proposal in given:
        line = line.approved(key, proposal, M1, policy)
    return line


@pytest.mark.parametrize(
    ("upgrade", "path"),
    [
        pytest.param({"threshold": 1}, "upgrade.approvers", id="no approvers"),
        pytest.param({"approvers": [A]}, "upgrade.threshold", id="no threshold"),
        pytest.param({"approvers": [], "threshold": 1}, "upgrade.approvers", id="nobody"),
        pytest.param({"approvers": [A], "threshold": 0}, "upgrade.threshold", id="none needed"),
        pytest.param({"approvers": [A], "threshold": 2}, "upgrade", id="never reached"),
        pytest.param({"approvers": [A, A], "threshold": 1}, "upgrade.approvers", id="one twice"),
        pytest.param({"approvers": [A, A.upper()], "threshold": 1}, "upgrade.approvers[1]", id="capital letters"),
        pytest.param({"approvers": ["CREATOR"], "threshold": 1}, "upgrade.approvers[0]", id="the creator by name"),
        pytest.param({"approvers": [f"{i:064x}" for i in range(17)], "threshold": 1}, "upgrade.approvers", id="17"),
        pytest.param({"approvers": [A], "threshold": 1, "days": 3}, "upgrade.days", id="an unknown member"),
        pytest.param({"approvers": [A], "threshold": "1"}, "upgrade.threshold", id="a text"),
        pytest.param([A], "upgrade", id="a list"),
    ],
)
def test_wrong_sections_are_refused_by_path(upgrade: object, path: str) -> None:
    with pytest.raises(SessionError) as caught:
        from_document(upgradable(upgrade=upgrade))
    assert caught.value.path == path


@pytest.mark.parametrize(
    ("changes", "path"),
    [
        pytest.param(
            {"services": [{"name": "app", "mrenclaves": [M1, M2]}]}, "services[0].mrenclaves", id="two enclaves"
        ),
        pytest.param(
            {"services": [{"name": "app", "mrenclaves": [M1]}, {"name": "b", "mrenclaves": [M2]}]},
            "services[1].mrenclaves",
            id="another service's enclave",
        ),
        pytest.param({"volumes": [{"name": "data"}]}, "volumes[0]", id="a volume"),
        pytest.param(
            {"secrets": [{"name": "key", "kind": "enclave-key"}, {"name": "s", "kind": "ascii"}]},
            "secrets[1].kind",
            id="another kind of secret",
        ),
        pytest.param(
            {"security": {"attestation": {"tolerate": ["debug-mode"]}}},
            "security.attestation.tolerate",
            id="debug enclaves",
        ),
    ],
)
def test_a_session_with_approvers_is_one_line_of_enclaves_and_their_keys(changes: dict[str, Any], path: str) -> None:
    with pytest.raises(SessionError) as caught:
        from_document(upgradable(**changes))
    assert caught.value.path == path
    without = upgradable(**changes)
    del without["upgrade"]
    from_document(without)


def test_the_section_is_part_of_the_hash_and_its_absence_is_not() -> None:
    salt = bytes(16)
    documents = [upgradable(), upgradable(upgrade={"approvers": [A, B, C], "threshold": 3}), upgradable(upgrade=None)]
    assert len({session_hash(from_document(document), salt) for document in documents}) == 3
    assert "upgrade" not in from_document(documents[2]).to_document()


def test_voices_for_one_proposal_add_up() -> None:
    line = voices(Line(), (A, carry()))
    assert line.allowed(TWO_OF_THREE) is None
    assert voices(line, (A, carry())).allowed(TWO_OF_THREE) is None  # one key counts once
    assert voices(line, (C, carry())).allowed(TWO_OF_THREE) == carry()


@pytest.mark.parametrize("other", [carry(M3), discard(M2)], ids=["successor", "choice"])
def test_voices_for_different_proposals_do_not(other: Proposal) -> None:
    line = voices(Line(), (A, carry()), (B, other))
    assert line.allowed(TWO_OF_THREE) is None
    assert voices(line, (C, other)).allowed(TWO_OF_THREE) == other


def test_a_voice_that_is_no_approver_s_never_counts() -> None:
    line = Line((), {A: carry(), D: carry()})
    assert line.count(carry(), TWO_OF_THREE) == 1
    assert line.allowed(TWO_OF_THREE) is None


def test_a_later_voice_goes_before_the_earlier_one() -> None:
    line = voices(Line(), (A, carry()), (B, carry()), (A, discard()))
    assert line.allowed(TWO_OF_THREE) is None
    assert voices(line, (B, discard())).allowed(TWO_OF_THREE) == discard()


def test_a_voice_can_be_taken_back() -> None:
    line = voices(Line(), (A, carry()), (B, carry())).revoked(B)
    assert line.allowed(TWO_OF_THREE) is None
    with pytest.raises(UpgradeError) as caught:
        line.revoked(B)
    assert caught.value.code == "cas.upgrade.no_approval"


def test_two_proposals_are_never_approved_at_once() -> None:
    policy = Upgrade(approvers=KEYS, threshold=2)
    line = voices(Line(), (A, carry()), (B, carry()), (C, discard()), policy=policy)
    with pytest.raises(UpgradeError) as caught:
        line.approved(D, discard(), M1, policy)
    assert caught.value.code == "cas.upgrade.contested"
    line = line.revoked(A).approved(D, discard(), M1, policy)
    assert line.allowed(policy) == discard()


@pytest.mark.parametrize("successor", [M1, M2], ids=["before", "now"])
def test_nothing_leads_back(successor: str) -> None:
    line = voices(Line(), (A, carry()), (B, carry())).moved(carry())
    assert line.voices == {}
    with pytest.raises(UpgradeError) as caught:
        line.approved(A, carry(successor), M1, TWO_OF_THREE)
    assert caught.value.code == "cas.upgrade.successor"


@pytest.mark.parametrize(
    ("steps", "current", "origin"),
    [
        ((), M1, M1),
        ((carry(M2),), M2, M1),
        ((carry(M2), carry(M3)), M3, M1),
        ((discard(M2),), M2, M2),
        ((discard(M2), carry(M3)), M3, M2),
        ((carry(M2), discard(M3)), M3, M3),
    ],
)
def test_a_chain_of_carries_keeps_the_first_one_s_keys(steps: tuple[Proposal, ...], current: str, origin: str) -> None:
    line = Line(steps)
    assert (line.current(M1), line.origin(M1)) == (current, origin)
    assert line.retired(M1) == {M1, M2, M3} & ({M1} | {step.successor for step in steps}) - {current}
    assert effective_measurement(line, M1, bytes.fromhex(current)) == bytes.fromhex(origin)
    assert Line.from_plain(line.to_plain()) == line


def test_a_debug_enclave_has_other_keys_than_the_same_measurement_in_production() -> None:
    for line in (Line(), Line((carry(M2),))):
        current = bytes.fromhex(line.current(M1))
        found = effective_measurement(line, M1, current, debug=True)
        assert found not in {effective_measurement(line, M1, current), current}
        assert len(found) == 32


def test_an_update_keeps_the_line() -> None:
    session = from_document(upgradable())
    line = Line((carry(M2),), {A: discard(M3)})
    kept = Material(line=line, secrets=_material().secrets)
    assert make_material(session, _NOW, session, kept).line == line
    assert Material.from_plain(kept.to_plain()) == kept


def _material() -> Material:
    return make_material(from_document(upgradable()), _NOW, None, Material())


class _AnySequence(RuleBasedStateMachine):
    """Approve, revoke, ask, in any order, by anybody: keys go where enough of the approvers said, and nowhere else."""

    measurements = st.sampled_from((M1, M2, M3, APP))

    def __init__(self) -> None:
        super().__init__()
        self.policy = TWO_OF_THREE
        self.material = _material()
        self.said: dict[str, Proposal] = {}
        self.first_key = self._key(M1)
        self.destroyed: set[bytes] = set()

    @property
    def line(self) -> Line:
        return self.material.line

    def _key(self, mrenclave: str) -> bytes:
        effective = effective_measurement(self.line, M1, bytes.fromhex(mrenclave))
        return fill("$$SCONE::key$$", self.material, effective)

    def _set(self, line: Line) -> None:
        self.material = replace(self.material, line=line)

    @rule(key=st.sampled_from((A, B, C)), successor=measurements, choice=st.sampled_from(Choice))
    def approve(self, key: str, successor: str, choice: Choice) -> None:
        proposal = Proposal(successor, choice)
        try:
            self._set(self.line.approved(key, proposal, M1, self.policy))
        except UpgradeError:
            return
        self.said[key] = proposal

    @rule(key=st.sampled_from((A, B, C)))
    def revoke(self, key: str) -> None:
        try:
            self._set(self.line.revoked(key))
        except UpgradeError:
            assert key not in self.said
            return
        del self.said[key]

    @rule(mrenclave=measurements)
    def ask(self, mrenclave: str) -> None:
        """As a release does it."""
        session = from_document(upgradable())
        stored = StoredSession(session, A, bytes(16), 1, self.material)
        if mrenclave not in standing(stored, session.services[0]).mrenclaves:
            return  # refused
        assert mrenclave not in self.line.retired(M1)
        if mrenclave == self.line.current(M1):
            assert self._key(mrenclave) not in self.destroyed
            return
        allowed = self.line.allowed(self.policy)
        assert allowed is not None
        agreeing = [key for key, said in self.said.items() if said == allowed]
        assert len(agreeing) >= self.policy.threshold
        assert allowed.successor == mrenclave
        before = self._key(self.line.current(M1))
        self._set(self.line.moved(allowed))
        if allowed.choice is Choice.DISCARD:
            self.material = with_new_seeds(self.material)
            self.destroyed.add(before)
        self.said = {}
        assert (self._key(mrenclave) == before) is (allowed.choice is Choice.CARRY)

    @invariant()
    def only_the_current_one_reaches_a_key_that_was_in_use(self) -> None:
        current = self.line.current(M1)
        in_use = {self.first_key, self._key(current)}
        for other in (M1, M2, M3, APP):
            if other != current and other not in self.line.retired(M1):
                assert self._key(other) not in in_use
        if not all(step.choice is Choice.CARRY for step in self.line.steps):
            assert self._key(current) != self.first_key

    @invariant()
    def there_is_one_answer_to_what_comes_next(self) -> None:
        counts = {voice: self.line.count(voice, self.policy) for voice in self.line.voices.values()}
        assert sum(count >= self.policy.threshold for count in counts.values()) <= 1

    @precondition(lambda self: self.line.steps)
    @invariant()
    def rows_keep_it(self) -> None:
        assert Material.from_plain(self.material.to_plain()) == self.material


_AnySequence.TestCase.settings = settings(max_examples=60, stateful_step_count=30, deadline=None)
TestAnySequence = _AnySequence.TestCase
