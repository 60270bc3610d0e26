"""One call for every technology; what each judge checks is tested with the judge."""

from __future__ import annotations

import pytest
from tests.attestation.nitro_vendor import Enclave
from tests.attestation.snp_vendor import Machine
from tests.platform.world import NOW, World

from adyton.attestation.appraise import EXPECTED_REPORT_DATA, appraise, claimed_tier
from adyton.attestation.collateral.documents import Collateral
from adyton.attestation.envelope import Envelope, open_envelope
from adyton.attestation.errors import AttestationError, Outcome
from adyton.attestation.material import Material
from adyton.attestation.policyfile import Acceptance, default_acceptance
from adyton.attestation.verdict import EvidenceKind, Verdict

DATA = b"for this report".ljust(64, b"\0")


def everything(world: World) -> dict[str, tuple[bytes, Material, str]]:
    """Evidence, what it is judged with, and the anchor it needs."""
    both = Material((world.collateral(EvidenceKind.TDX), world.collateral()))
    machine, enclave = Machine(), Enclave()
    return {
        "sgx": (world.platform(b"\x01" * 32).quote(DATA), both, world.anchor.tier),
        "tdx": (world.td_quote(DATA), both, world.anchor.tier),
        "snp": (
            machine.report(report_data=DATA),
            Material(certificates=machine.certificates()),
            machine.anchor.tier,
        ),
        "nitro": (enclave.document(user_data=DATA.rstrip(b"\0")), Material(), enclave.anchor.tier),
    }


@pytest.mark.parametrize("kind", ["sgx", "tdx", "snp", "nitro"])
def test_every_technology(kind: str, world: World) -> None:
    evidence, material, tier = everything(world)[kind]
    envelope = open_envelope(evidence)
    assert claimed_tier(envelope, material) == tier
    refused = appraise(envelope, material, default_acceptance(), NOW)
    assert (refused.kind.value, refused.trusted, refused.code) == (kind, False, "attestation.chain.anchor")
    accepted = appraise(envelope, material, default_acceptance([tier]), NOW)
    assert (accepted.trusted, accepted.tier) == (True, tier)


@pytest.mark.parametrize("kind", ["sgx", "tdx", "snp", "nitro"])
def test_report_data_that_a_policy_names(kind: str, world: World) -> None:
    evidence, material, tier = everything(world)[kind]

    def judged(expected: bytes, data: bytes = evidence) -> Verdict:
        acceptance = Acceptance(default_acceptance([tier]).policy, expected)
        return appraise(Envelope(EvidenceKind(kind), data, "binary"), material, acceptance, NOW)

    good = judged(b"for this report")
    assert good.trusted
    assert (good.checks[-1].check, good.checks[-1].outcome) == (EXPECTED_REPORT_DATA, Outcome.PASSED)
    for other in (b"for this repor", b"for that report", b"\0"):
        bad = judged(other)
        assert (bad.trusted, bad.code) == (False, EXPECTED_REPORT_DATA)
        assert bad.needed
    unreadable = judged(b"for this report", b"nonsense")
    assert not unreadable.trusted
    assert unreadable.checks[-1].outcome is Outcome.NOT_RUN
    assert unreadable.code != EXPECTED_REPORT_DATA


def test_a_refused_platform_stays_the_first_reason(world: World) -> None:
    evidence, material, _tier = everything(world)["sgx"]
    verdict = appraise(open_envelope(evidence), material, Acceptance(default_acceptance().policy, b"\1"), NOW)
    assert verdict.code == "attestation.chain.anchor"
    assert [each.outcome for each in verdict.checks].count(Outcome.FAILED) == 2


@pytest.mark.parametrize("kind", ["sgx", "tdx", "snp"])
def test_nothing_to_judge_with(kind: str, world: World) -> None:
    evidence, _material, tier = everything(world)[kind]
    with pytest.raises(AttestationError) as caught:
        appraise(open_envelope(evidence), Material(), default_acceptance([tier]), NOW)
    assert caught.value.code == "attestation.collateral.absent"


@pytest.mark.parametrize("kind", list(EvidenceKind))
def test_no_tier_is_claimed_by_what_cannot_be_read(kind: EvidenceKind) -> None:
    assert claimed_tier(Envelope(kind, b"nonsense", "binary"), Material()) == ""


def test_real_evidence_is_from_intel(real_quote: bytes, real_collateral: Collateral) -> None:
    envelope = open_envelope(real_quote)
    assert claimed_tier(envelope, Material()) == "intel"
    verdict = appraise(envelope, Material((real_collateral,)), default_acceptance(), NOW)
    assert (verdict.tier, verdict.trusted, verdict.code) == ("intel", False, "attestation.validity")
