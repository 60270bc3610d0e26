"""A sample of the nightly differential fuzzing: ours never accepts what dcap-qvl refuses, and sees what it sees."""

from __future__ import annotations

import json
from collections import Counter
from dataclasses import replace
from datetime import datetime, timedelta

import pytest
from cryptography import x509
from fuzz.differential import Outcome, Summary, compare, judged_by_both, mutants, policy_for
from fuzz.quote_mutators import other_half
from fuzz.specimen import NOW, Maker, Specimen, enclave_body, simulated, td_body

from adyton.attestation.collateral.documents import Collateral
from adyton.attestation.dcap.pck import CaKind
from adyton.attestation.dcap.verify import Verifier
from adyton.attestation.errors import AttestationError
from adyton.attestation.formats.quote import Quote
from adyton.attestation.verdict import EvidenceKind
from fuzz import differential

MUTANTS = 1_500
SEED = 20261122


@pytest.fixture(scope="module")
def summary() -> Summary:
    return differential.run(judged_by_both(), MUTANTS, SEED)


def test_no_mutant_is_dangerous(summary: Summary) -> None:
    told = [f"{number} {' > '.join(each.trail)}: {found.told}" for number, each, found in summary.dangerous]
    assert not told


def test_the_sample_reaches_both_sides(summary: Summary) -> None:
    """Mutants that all are refused at the first byte would prove nothing."""
    assert summary.outcomes[Outcome.BOTH_ACCEPT] > MUTANTS // 20
    assert summary.outcomes[Outcome.BOTH_REFUSE] > MUTANTS // 3
    assert len(summary.accepted_by) > 10
    assert len(summary.stricter) >= 5


@pytest.mark.parametrize("specimen", judged_by_both(), ids=lambda each: each.name)
def test_both_accept_the_genuine_evidence_and_see_the_same(specimen: Specimen) -> None:
    comparison = compare(specimen)
    assert comparison.outcome is Outcome.BOTH_ACCEPT, comparison.told


def test_a_kind_that_dcap_qvl_does_not_judge_is_said_to_be_one() -> None:
    found = Counter(compare(each).outcome for each in simulated())
    assert found == {Outcome.BOTH_ACCEPT: 4, Outcome.BEYOND: 2}  # SGX quotes of versions 4 and 5


def test_a_run_follows_from_its_seed() -> None:
    stock = judged_by_both()
    first, again = ([*mutants(stock, 40, 7)] for _ in range(2))
    assert [each.trail for each in first] == [each.trail for each in again]
    assert [each.quote for each in first] == [each.quote for each in again]
    assert [each.collateral for each in first] == [each.collateral for each in again]
    assert [each.trail for each in mutants(stock, 40, 8)] != [each.trail for each in first]


def test_a_saved_mutant_is_the_same_when_read_back() -> None:
    for mutant in mutants(judged_by_both(), 60, 9):
        back = Specimen.from_json(mutant.to_json())
        assert replace(back, maker=mutant.maker) == mutant
        assert compare(back).outcome is compare(mutant).outcome


class Shelf:
    """A collateral source and a clock that give what the mutant of the moment has."""

    def __init__(self, specimen: Specimen) -> None:
        self.specimen = specimen

    def fetch(self, _fmspc: str, _ca: CaKind, _kind: EvidenceKind = EvidenceKind.SGX) -> Collateral:
        return self.specimen.collateral

    def clock(self) -> datetime:
        return self.specimen.now


def test_a_verifier_that_remembers_decides_as_one_that_does_not() -> None:
    """A warm memory of collateral, chains and keys must not let a mutant pass that is refused when judged anew."""
    stock = judged_by_both()
    shelf = Shelf(stock[0])
    verifier = Verifier(shelf, clock=shelf.clock)
    decisions = Counter[bool]()
    for mutant in [*stock, *mutants(stock, 400, SEED + 1), *stock]:
        shelf.specimen = mutant
        try:
            verifier.verify(mutant.quote, policy_for(mutant))
            accepted = True
        except AttestationError:
            accepted = False
        assert accepted == (differential.ours(mutant).seen is not None), " > ".join(mutant.trail)
        decisions[accepted] += 1
    assert min(decisions[True], decisions[False]) > 40


class TestFindings:
    """What earlier runs found: each a difference that is settled on the strict side."""

    @pytest.fixture
    def maker(self) -> Maker:
        return Maker()

    @staticmethod
    def of(maker: Maker, quote: Quote, **changes: object) -> Specimen:
        collateral = replace(maker.collateral(quote.kind), **changes)  # type: ignore[arg-type]  # members by name
        return Specimen("finding", quote.to_bytes(), collateral, maker.vendor.root_der, NOW, maker)

    @pytest.mark.parametrize("size", [0, 31, 33, 64])
    def test_authentication_data_has_32_bytes(self, maker: Maker, size: int) -> None:
        quote = maker.bound(replace(maker.quote(enclave_body()), auth=bytes(size)))
        found = compare(self.of(maker, quote))
        assert (found.outcome, found.ours.reason) == (Outcome.BOTH_REFUSE, "attestation.qe.binding")

    def test_a_list_is_over_at_its_next_update(self, maker: Maker) -> None:
        specimen = self.of(maker, maker.quote(enclave_body()))
        end = x509.load_der_x509_crl(specimen.collateral.pck_crl).next_update_utc
        assert end is not None
        outcomes = [compare(replace(specimen, now=end - timedelta(seconds=s))).outcome for s in (0, 1)]
        assert outcomes == [Outcome.BOTH_REFUSE, Outcome.BOTH_ACCEPT]

    def test_a_root_that_revokes_itself_is_believed(self, maker: Maker) -> None:
        root = x509.load_der_x509_certificate(maker.vendor.root_der)
        maker.vendor.catalogue = replace(maker.catalogue, revoked_by_root=frozenset({root.serial_number}))
        found = compare(self.of(maker, maker.quote(enclave_body())))
        assert (found.outcome, found.ours.reason) == (Outcome.BOTH_REFUSE, "attestation.crl.revoked")

    @pytest.mark.parametrize(
        ("name", "old", "new"),
        [
            ("tcb_info", '"version":3', '"version":3.0'),
            ("tcb_info", '"tcbType":0', '"tcbType":0.0'),
            ("qe_identity", '"version":2', '"version":2.0'),
            ("tcb_info", '"isvsvn":4}', '"isvsvn":256}'),
        ],
    )
    def test_numbers_of_another_form_or_size(self, maker: Maker, name: str, old: str, new: str) -> None:
        genuine = self.of(maker, maker.quote(td_body(), 4))
        text = getattr(genuine.collateral, name)
        assert old in text
        changed = maker.documented(replace(genuine.collateral, **{name: text.replace(old, new, 1)}))
        found = compare(replace(genuine, collateral=changed))
        assert (found.outcome, found.ours.reason) == (Outcome.BOTH_REFUSE, "attestation.collateral.format")

    def test_levels_of_an_enclave_come_highest_first(self, maker: Maker) -> None:
        """dcap-qvl takes the first that applies, so that another order would mean another status."""
        genuine = self.of(maker, maker.quote(enclave_body()))
        identity = json.loads(genuine.collateral.qe_identity)
        identity["tcbLevels"].reverse()
        changed = maker.documented(replace(genuine.collateral, qe_identity=json.dumps(identity)))
        found = compare(replace(genuine, collateral=changed))
        assert (found.outcome, found.ours.reason) == (Outcome.STRICTER, "attestation.collateral.format")
        assert dict(found.theirs.seen or ())["status"] == "OutOfDate"


class TestJudging:
    """The comparison itself, on cases whose outcome is known."""

    @pytest.fixture
    def genuine(self) -> Specimen:
        return simulated()[0]

    def test_ours_alone_accepting_is_dangerous(self, genuine: Specimen, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(differential, "ours", lambda _each: differential.Opinion((("status", "UpToDate"),)))
        assert compare(replace(genuine, quote=b"")).outcome is Outcome.DANGEROUS

    def test_seeing_something_else_is_dangerous(self, genuine: Specimen, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(differential, "ours", lambda _each: differential.Opinion((("status", "OutOfDate"),)))
        assert compare(genuine).outcome is Outcome.DANGEROUS

    def test_an_error_that_is_no_refusal_is_dangerous(self, genuine: Specimen, monkeypatch: pytest.MonkeyPatch) -> None:
        def broken(*_inputs: object) -> None:
            raise KeyError("escaped")

        monkeypatch.setattr(differential, "verify_quote", broken)
        comparison = compare(replace(genuine, collateral=replace(genuine.collateral, tcb_info="{}")))
        assert comparison.outcome is Outcome.DANGEROUS
        assert "escaped" in comparison.told


class TestMalleability:
    """What may be changed in a quote without its content: so its bytes identify nothing."""

    @pytest.fixture
    def maker(self) -> Maker:
        return Maker()

    @pytest.fixture
    def genuine(self) -> Specimen:
        return simulated()[0]

    def test_bytes_after_the_quote(self, genuine: Specimen) -> None:
        found = compare(replace(genuine, quote=genuine.quote + b"junk"))
        assert (found.outcome, found.ours.reason) == (Outcome.STRICTER, "attestation.quote.format")

    def test_the_length_of_the_certification_data(self, genuine: Specimen) -> None:
        """dcap-qvl reads a chain whose length says that there is more, or less, of it than there is."""
        start = genuine.quote.index(b"-----BEGIN") - 4
        size = int.from_bytes(genuine.quote[start : start + 4], "little")
        accepted = set()
        for other in (size - 1, size - 2, size - 700):
            changed = genuine.quote[:start] + other.to_bytes(4, "little") + genuine.quote[start + 4 :]
            found = compare(replace(genuine, quote=changed))
            assert found.ours.reason == "attestation.quote.format"
            accepted.add(found.outcome)
        assert Outcome.STRICTER in accepted

    def test_the_root_certificate_of_the_chain(self, genuine: Specimen) -> None:
        """dcap-qvl has the root from elsewhere, and does not look at the one in the quote."""
        at = genuine.quote.rindex(b"-----BEGIN") + 400
        changed = bytearray(genuine.quote)
        changed[at] = ord("A") if changed[at] != ord("A") else ord("B")
        found = compare(replace(genuine, quote=bytes(changed)))
        assert found.outcome is Outcome.STRICTER
        assert found.ours.reason.startswith("attestation.chain.")

    @pytest.mark.parametrize("member", ["signature", "qe_report_signature"])
    def test_the_other_half_of_an_ecdsa_signature(self, maker: Maker, genuine: Specimen, member: str) -> None:
        """Every ECDSA signature has a twin, and all verifiers accept it: two quotes, one content."""
        quote = maker.quote(enclave_body())
        twin = replace(quote, **{member: other_half(getattr(quote, member))})  # type: ignore[arg-type]  # bytes
        assert twin.to_bytes() != quote.to_bytes()
        first, second = (compare(replace(genuine, quote=each.to_bytes())) for each in (quote, twin))
        assert (first.outcome, second.outcome) == (Outcome.BOTH_ACCEPT, Outcome.BOTH_ACCEPT)
        assert first.ours.seen == second.ours.seen
