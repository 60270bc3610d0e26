"""Verdicts for people: complete, honest about what is not the vendor's word, and with the way out named."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import fields, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.attestation.dcap.test_verify import DATA, M1, M2, REAL_ADVISORIES, REAL_CAUSES, vendor
from tests.platform.world import NOW, World, signer

from adyton.attestation.anchors import INTEL
from adyton.attestation.checks import QUOTE_CHECKS, SECOND_OPINION
from adyton.attestation.collateral.documents import Collateral
from adyton.attestation.dcap import opinion
from adyton.attestation.dcap.assessment import verify_quote
from adyton.attestation.dcap.judge import read_pck
from adyton.attestation.dcap.quote_verdict import appraise_quote
from adyton.attestation.dcap.tcb import TcbStatus
from adyton.attestation.errors import AttestationError, Outcome
from adyton.attestation.formats.quote import parse_quote
from adyton.attestation.formats.tdx import TdReport15
from adyton.attestation.policy import HealthPolicy, QuotePolicy, Weakness
from adyton.attestation.verdict import EvidenceKind, Verdict
from adyton.base.secret import Secret
from adyton.platform.simulated.documents import Level
from adyton.platform.simulated.pki import SimulatedVendor

WORLD = World()
MEMBERS = sorted(field.name for field in fields(Collateral))
IN_WINDOW = datetime(2025, 7, 1, tzinfo=UTC)


@pytest.fixture(scope="module", params=[EvidenceKind.SGX, EvidenceKind.TDX])
def specimen(request: pytest.FixtureRequest) -> tuple[bytes, Collateral]:
    """Evidence of either kind with its collateral, in :data:`WORLD`."""
    quote = WORLD.td_quote(DATA) if request.param is EvidenceKind.TDX else WORLD.enclave_quote(M1, DATA)
    return quote, WORLD.collateral(request.param)


def outcomes(verdict: Verdict, outcome: Outcome) -> set[str]:
    return {check.check for check in verdict.checks if check.outcome is outcome}


def health(world: World, **options: object) -> HealthPolicy:
    return HealthPolicy(**{"anchors": (world.anchor,), **options})  # type: ignore[arg-type]


class TestRealEvidence:
    def test_a_refusal_says_what_was_found_and_what_is_needed(
        self, real_quote: bytes, real_collateral: Collateral
    ) -> None:
        verdict = appraise_quote(real_quote, real_collateral, HealthPolicy(anchors=(INTEL,)), IN_WINDOW)
        assert (verdict.trusted, verdict.code) == (False, "attestation.tcb.status")
        assert (verdict.kind, verdict.tier) == (EvidenceKind.SGX, "intel")
        assert verdict.status == "ConfigurationAndSWHardeningNeeded"
        assert verdict.advisories == ("INTEL-SA-00289", "INTEL-SA-00615")
        assert outcomes(verdict, Outcome.FAILED) == {"attestation.tcb.status", "attestation.tcb.advisory"}
        assert len(verdict.needed) == 2
        assert "tolerate insecure-configuration and software-hardening-needed" in verdict.needed[0]
        assert "ignore INTEL-SA-00289, INTEL-SA-00615" in verdict.needed[1]
        assert verdict.identity["mrenclave"] == parse_quote(real_quote).enclave.mrenclave.hex()

    def test_doing_what_is_needed_makes_it_trusted(self, real_quote: bytes, real_collateral: Collateral) -> None:
        policy = HealthPolicy(anchors=(INTEL,), tolerate=REAL_CAUSES, ignore_advisories=REAL_ADVISORIES)
        verdict = appraise_quote(real_quote, real_collateral, policy, IN_WINDOW)
        assert (verdict.trusted, verdict.code, verdict.needed) == (True, "", ())
        assert verdict.checks[-1].check == SECOND_OPINION
        assert verdict.checks[-1].outcome is Outcome.PASSED
        assert all(check.detail for check in verdict.checks if check.outcome is Outcome.NOT_ASKED)

    def test_a_healthy_trust_domain_needs_no_tolerance(self, evidence: Path) -> None:
        collateral = Collateral.from_json((evidence / "tdx_quote_collateral.json").read_bytes())
        quote = (evidence / "tdx_quote").read_bytes()
        verdict = appraise_quote(quote, collateral, HealthPolicy(anchors=(INTEL,)), IN_WINDOW)
        assert (verdict.trusted, verdict.kind, verdict.tier) == (True, EvidenceKind.TDX, "intel")
        assert (verdict.status, verdict.advisories) == ("UpToDate", ())
        assert list(verdict.identity)[:5] == ["mrtd", "rtmr0", "rtmr1", "rtmr2", "rtmr3"]
        assert verdict.checks[-1].outcome is Outcome.PASSED

    def test_expired_collateral_still_tells_tier_and_status(
        self, real_quote: bytes, real_collateral: Collateral
    ) -> None:
        verdict = appraise_quote(real_quote, real_collateral, HealthPolicy(anchors=(INTEL,)), NOW)
        assert (verdict.code, verdict.tier) == ("attestation.validity", "intel")
        assert verdict.status == "ConfigurationAndSWHardeningNeeded"
        assert verdict.valid_until is not None
        assert verdict.valid_until < NOW


@pytest.mark.parametrize("kind", [EvidenceKind.SGX, EvidenceKind.TDX])
def test_every_check_of_the_kind_is_listed_once_and_in_order(world: World, kind: EvidenceKind) -> None:
    quote = world.td_quote(DATA) if kind is EvidenceKind.TDX else world.enclave_quote(M1, DATA)
    verdict = appraise_quote(quote, world.collateral(kind), health(world), NOW)
    assert verdict.trusted
    assert tuple(check.check for check in verdict.checks) == (*QUOTE_CHECKS[kind], SECOND_OPINION)
    assert outcomes(verdict, Outcome.FAILED) == outcomes(verdict, Outcome.NOT_RUN) == set()
    assert "attestation.pinned" in outcomes(verdict, Outcome.NOT_ASKED)
    assert json.loads(json.dumps(verdict.to_json()))["trusted"] is True


def test_a_policy_that_pins_is_compared_with(world: World) -> None:
    quote = world.enclave_quote(M1, DATA)
    accepted = appraise_quote(quote, world.collateral(), world.policy(M1), NOW)
    assert accepted.trusted
    assert "attestation.measurement" in outcomes(accepted, Outcome.PASSED)
    refused = appraise_quote(quote, world.collateral(), world.policy(M2), NOW)
    assert (refused.trusted, refused.code) == (False, "attestation.measurement")
    assert refused.needed == ("accept this MRENCLAVE in the policy, if it is the program that is meant",)
    other = appraise_quote(
        quote, world.collateral(), QuotePolicy(anchors=(world.anchor,), mrtds=frozenset({bytes(48)})), NOW
    )
    assert (other.trusted, other.code) == (False, "attestation.pinned")


@pytest.mark.parametrize(
    "data",
    [b"", b"\3\0", b"\xff" * 5000, b"\4\0\2\0\x81\0\0\0" + bytes(1000), bytes(40_000)],
    ids=["nothing", "two bytes", "no quote", "header of a TD", "too much"],
)
def test_bytes_that_are_no_quote_get_a_verdict_too(world: World, data: bytes) -> None:
    verdict = appraise_quote(data, world.collateral(), health(world), NOW)
    assert not verdict.trusted
    assert verdict.code.startswith("attestation.quote.")
    assert verdict.kind is (EvidenceKind.TDX if data[4:5] == b"\x81" else EvidenceKind.SGX)
    assert (verdict.tier, verdict.status, dict(verdict.identity)) == ("", "", {})
    assert verdict.needed
    assert outcomes(verdict, Outcome.PASSED) <= {
        "attestation.collateral.format",
        "attestation.tcb.signature",
        "attestation.qe_identity.signature",
        "attestation.tcb.evaluation",
    }


def forged_chain(_world: World, quote: bytes, good: Collateral) -> tuple[bytes, Collateral]:
    """A forger's platform whose chain ends in the true root without being signed by it."""
    forger = World(SimulatedVendor(Secret(b"a forger's own seed of 32 bytes!"), signer("forger")))
    parsed, true = parse_quote(forger.enclave_quote(M1, DATA)), parse_quote(quote)
    end = b"-----END CERTIFICATE-----\n"
    leaf, ca, _root = (part + end for part in parsed.certification.split(end)[:3])
    _leaf, _ca, root = (part + end for part in true.certification.split(end)[:3])
    return replace(parsed, certification=leaf + ca + root).to_bytes(), good


@pytest.mark.parametrize(
    ("forge", "tier", "status"),
    [
        (forged_chain, "", ""),
        (lambda _w, q, good: (q, replace(good, tcb_info_signature=bytes(64))), "sim", ""),
        (lambda _w, q, good: (q, replace(good, tcb_info=good.tcb_info.replace("OutOfDate", "UpToDate"))), "sim", ""),
        (lambda _w, q, good: (q[:-3000] + (b"y" if q[-3000] == ord("x") else b"x") + q[-2999:], good), "", ""),
        (lambda w, q, _good: (q, w.collateral(EvidenceKind.TDX)), "sim", ""),
    ],
    ids=["unsigned chain to the true root", "unsigned TCB info", "edited TCB info", "broken chain", "other technology"],
)
def test_tier_and_status_are_not_reported_on_the_word_of_a_forger(
    world: World, forge: Callable[..., tuple[bytes, Collateral]], tier: str, status: str
) -> None:
    quote, collateral = forge(world, world.enclave_quote(M1, DATA), world.collateral())
    verdict = appraise_quote(quote, collateral, health(world), NOW)
    assert not verdict.trusted
    assert (verdict.tier.partition(":")[0], verdict.status) == (tier, status)


def test_the_tier_of_another_root_is_not_reported(world: World) -> None:
    verdict = appraise_quote(world.enclave_quote(M1, DATA), world.collateral(), HealthPolicy(anchors=(INTEL,)), NOW)
    assert (verdict.code, verdict.tier, verdict.status) == ("attestation.chain.anchor", "", "")
    root = read_pck(parse_quote(world.enclave_quote(M1, DATA))).root_der
    assert world.vendor.root_der == root
    assert world.anchor.tier.removeprefix("sim:") in verdict.message
    assert verdict.needed


def test_what_the_second_verifier_cannot_judge_is_said(world: World) -> None:
    cases = {
        "SGX quotes of another version than 3": world.enclave_quote(M1, DATA, version=5),
        "debug programs": world.enclave_quote(M1, DATA, debug=True),
        "trust domains with service TDs": world.td_quote(DATA, version=5, body=TdReport15, mrservicetd=b"\1" * 48),
    }
    policy = QuotePolicy(
        anchors=(world.anchor,),
        mrenclaves=frozenset({M1}),
        mrtds=frozenset({parse_quote(world.td_quote(DATA)).td.mrtd}),
        mrservicetds=frozenset({b"\1" * 48}),
        tolerate=frozenset({Weakness.DEBUG_MODE}),
    )
    for reason, quote in cases.items():
        verdict = appraise_quote(quote, world.collateral(parse_quote(quote).kind), policy, NOW)
        assert verdict.trusted
        assert verdict.checks[-1].outcome is Outcome.NOT_ASKED
        assert reason in verdict.checks[-1].detail


def test_a_second_verifier_that_refuses_is_heard(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    class Refusing:
        __version__ = "0"
        QuoteCollateralV3 = staticmethod(lambda *_parts: None)

        @staticmethod
        def verify_with_root_ca(*_arguments: object) -> object:
            raise ValueError("no")

    monkeypatch.setattr(opinion, "dcap_qvl", Refusing)
    verdict = appraise_quote(world.enclave_quote(M1, DATA), world.collateral(), health(world), NOW)
    assert (verdict.trusted, verdict.code) == (False, SECOND_OPINION)
    assert outcomes(verdict, Outcome.FAILED) == {SECOND_OPINION}


def test_nothing_needed_excuses_a_revoked_platform() -> None:
    world = World(vendor(levels=(Level(bytes(16), 0, TcbStatus.REVOKED),)))
    policy = health(world, tolerate=frozenset(Weakness), ignore_advisories=frozenset("*"))
    verdict = appraise_quote(world.enclave_quote(M1, DATA), world.collateral(), policy, NOW)
    assert (verdict.status, verdict.code) == ("Revoked", "attestation.tcb.status")
    assert verdict.needed == ("use another platform: nothing excuses a revoked one",)


@given(place=st.floats(0, 0.999), flip=st.integers(1, 255), cut=st.integers(0, 3), member=st.sampled_from(MEMBERS))
@settings(max_examples=60, deadline=None)
def test_no_bytes_make_it_raise(
    specimen: tuple[bytes, Collateral], place: float, flip: int, cut: int, member: str
) -> None:
    """Whatever is changed, there is a verdict; and what changes evidence or collateral is not trusted."""
    quote, collateral = specimen
    position = int(place * len(quote))
    forged = quote[:position] + bytes([quote[position] ^ flip]) + quote[position + 1 : len(quote) - cut]
    value = getattr(collateral, member)
    at = int(place * len(value))
    other: str | bytes = value[:at] + (chr(flip) if isinstance(value, str) else bytes([flip])) + value[at + 1 + cut :]
    policy = HealthPolicy(anchors=(WORLD.anchor,))
    assert not appraise_quote(forged, collateral, policy, NOW).trusted
    verdict = appraise_quote(quote, replace(collateral, **{member: other}), policy, NOW)
    assert verdict.trusted == (other == value)


def test_a_policy_about_platforms_never_makes_evidence(world: World) -> None:
    """Whoever gets round the types still gets no release."""
    for kind, quote in {
        EvidenceKind.SGX: world.enclave_quote(M1, DATA),
        EvidenceKind.TDX: world.td_quote(DATA),
    }.items():
        policy: Any = health(world)
        with pytest.raises(AttestationError) as caught:
            verify_quote(quote, world.collateral(kind), policy, NOW)
        assert caught.value.code == "attestation.incomplete"
