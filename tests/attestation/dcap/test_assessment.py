"""Trust domains through the same steps as enclaves: real and simulated evidence, and what is wrong with either."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import fields, replace
from datetime import UTC, datetime, timedelta, timezone
from pathlib import Path
from typing import Any

import pytest
from tests.attestation.dcap.test_verify import LEVEL_STATUSES, SECOND, failed, flipped, refused, vendor
from tests.platform.world import NOW, World

from adyton.attestation.anchors import INTEL
from adyton.attestation.checks import QUOTE_CHECKS, SECOND_OPINION
from adyton.attestation.collateral.documents import Collateral
from adyton.attestation.dcap.assessment import verify_quote
from adyton.attestation.dcap.quote_verdict import appraise_quote
from adyton.attestation.dcap.tcb import TcbStatus
from adyton.attestation.errors import AttestationError, Outcome
from adyton.attestation.evidence import VerifiedEnclave, VerifiedTd, require_enclave
from adyton.attestation.formats.quote import parse_quote
from adyton.attestation.formats.tdx import TdFlag, TdReport, TdReport15
from adyton.attestation.policy import QuotePolicy, Weakness
from adyton.attestation.verdict import EvidenceKind
from adyton.base.errors import InputError
from adyton.platform.simulated.documents import Level, QeLevel, TdxModule
from adyton.platform.simulated.td import MRTD

DATA = b"\x07" * 64
RTMR = b"\x03" * 48
REAL_FROM = datetime(2025, 6, 19, 10, 32, 27, tzinfo=UTC)
REAL_TO = datetime(
    2025, 7, 19, 10, 0, 34, tzinfo=UTC
)  # nextUpdate of the PCK CRL is a second later: by then it is over
FORMS = [(4, TdReport), (5, TdReport), (5, TdReport15)]
NAMES = ["version 4", "version 5", "version 5 with TD 1.5"]


@pytest.fixture(scope="session")
def real(evidence: Path) -> tuple[bytes, Collateral]:
    collateral = Collateral.from_json((evidence / "tdx_quote_collateral.json").read_bytes())
    return (evidence / "tdx_quote").read_bytes(), collateral


def real_policy(quote: bytes) -> QuotePolicy:
    td = parse_quote(quote).td
    rtmrs = {number: frozenset({value}) for number, value in enumerate(td.rtmrs)}
    return QuotePolicy(anchors=(INTEL,), mrtds=frozenset({td.mrtd}), rtmrs=rtmrs)


class TestRealEvidence:
    @pytest.mark.parametrize("now", [REAL_FROM, datetime(2025, 7, 1, tzinfo=UTC), REAL_TO])
    def test_is_accepted_in_its_window_with_its_status(self, real: tuple[bytes, Collateral], now: datetime) -> None:
        quote, collateral = real
        evidence = verify_quote(quote, collateral, real_policy(quote), now)
        assert isinstance(evidence, VerifiedTd)
        assert (evidence.kind, evidence.tier, evidence.debug) == (EvidenceKind.TDX, "intel", False)
        assert (evidence.status, evidence.advisories) == (TcbStatus.UP_TO_DATE, ())
        assert (evidence.fmspc, evidence.evaluation_number) == ("b0c06f000000", 17)
        assert evidence.valid_until == REAL_TO
        assert evidence.measurements["mrtd"] == evidence.mrtd.hex()
        assert tuple(finding.check for finding in evidence.checks) == QUOTE_CHECKS[EvidenceKind.TDX]

    @pytest.mark.parametrize("now", [REAL_FROM - SECOND, REAL_TO + SECOND, NOW])
    def test_is_refused_outside_its_window(self, real: tuple[bytes, Collateral], now: datetime) -> None:
        quote, collateral = real
        error = refused(quote, collateral, real_policy(quote), now)
        assert error.code == "attestation.validity"
        assert failed(error) == {"attestation.validity"}

    def test_is_refused_with_collateral_of_sgx(
        self, real: tuple[bytes, Collateral], real_collateral: Collateral
    ) -> None:
        error = refused(real[0], real_collateral, real_policy(real[0]), datetime(2025, 7, 1, tzinfo=UTC))
        assert {"attestation.tcb.platform", "attestation.qe.identity"} <= failed(error)

    def test_a_replaced_measurement_is_refused(self, real: tuple[bytes, Collateral]) -> None:
        quote, collateral = real
        parsed = parse_quote(quote)
        forged = replace(parsed, body=replace(parsed.td, mrtd=bytes(48))).to_bytes()
        policy = replace(real_policy(quote), mrtds=frozenset({bytes(48)}))
        assert failed(refused(forged, collateral, policy, REAL_FROM)) == {"attestation.quote.signature"}


def td_policy(world: World, **changes: Any) -> QuotePolicy:  # noqa: ANN401  # those of QuotePolicy
    return QuotePolicy(**{"anchors": (world.anchor,), "mrtds": frozenset({MRTD}), **changes})


class TestSimulatedEvidence:
    @pytest.mark.parametrize(("version", "body"), FORMS, ids=NAMES)
    def test_is_accepted_in_every_form(self, world: World, version: int, body: type[TdReport]) -> None:
        quote = world.td_quote(DATA, version=version, body=body)
        evidence = verify_quote(quote, world.collateral(EvidenceKind.TDX), td_policy(world), NOW)
        assert isinstance(evidence, VerifiedTd)
        assert (evidence.report_data, evidence.mrtd, evidence.simulated) == (DATA, MRTD, True)
        assert type(evidence.body) is body
        verified = world.verifier().verify(quote, td_policy(world))
        assert verified.checks[-1].check == SECOND_OPINION
        assert verified.checks[-1].outcome is Outcome.PASSED

    @pytest.mark.parametrize("version", [3, 4, 5])
    def test_enclaves_are_accepted_in_every_version(self, world: World, version: int) -> None:
        quote = world.enclave_quote(b"\1" * 32, DATA, version=version)
        evidence = world.verifier().verify(quote, world.policy(b"\1" * 32))
        assert isinstance(evidence, VerifiedEnclave)
        opinion = evidence.checks[-1]
        assert opinion.outcome is (Outcome.PASSED if version == 3 else Outcome.NOT_ASKED)
        assert opinion.detail

    def test_a_td_is_no_enclave(self, world: World) -> None:
        evidence = world.verifier().verify(world.td_quote(DATA), td_policy(world))
        with pytest.raises(AttestationError) as caught:
            require_enclave(evidence)
        assert caught.value.code == "attestation.kind"
        enclave = world.verifier().verify(world.enclave_quote(b"\1" * 32, DATA), world.policy(b"\1" * 32))
        assert require_enclave(enclave) is enclave

    def test_a_machine_has_one_identity_whatever_runs_on_it(self, world: World) -> None:
        td = world.verifier().verify(world.td_quote(DATA), td_policy(world))
        enclave = world.verifier().verify(world.enclave_quote(b"\1" * 32, DATA), world.policy(b"\1" * 32))
        assert td.platform_id == enclave.platform_id

    def test_evidence_of_a_technology_that_the_policy_does_not_name_is_refused(self, world: World) -> None:
        error = refused(world.td_quote(DATA), world.collateral(EvidenceKind.TDX), world.policy(b"\1" * 32))
        assert (error.code, failed(error)) == ("attestation.pinned", {"attestation.pinned"})
        error = refused(world.enclave_quote(b"\1" * 32, DATA), world.collateral(), td_policy(world))
        assert (error.code, failed(error)) == ("attestation.pinned", {"attestation.pinned"})


@pytest.fixture(scope="module")
def other(world: World) -> bytes:
    rtmrs = (RTMR, bytes(48), bytes(48), RTMR)
    return world.td_quote(DATA, version=5, body=TdReport15, mrconfigid=b"\5" * 48, rtmrs=rtmrs)


class TestIdentityPolicy:
    @pytest.mark.parametrize(
        ("changes", "check"),
        [
            ({"mrtds": frozenset({RTMR})}, "attestation.mrtd"),
            ({"rtmrs": {0: frozenset({bytes(48)})}}, "attestation.rtmr"),
            ({"rtmrs": {0: frozenset({RTMR}), 3: frozenset({bytes(48)})}}, "attestation.rtmr"),
            ({"mrconfigids": frozenset({bytes(48)})}, "attestation.mrconfigid"),
            ({"mrservicetds": frozenset({RTMR})}, "attestation.tdx.service_td"),
            ({"min_evaluation_number": 18}, "attestation.tcb.evaluation"),
        ],
        ids=["MRTD", "RTMR0", "RTMR3", "MRCONFIGID", "MRSERVICETD", "evaluation number"],
    )
    def test_each_rule_refuses_alone(self, world: World, other: bytes, changes: dict[str, Any], check: str) -> None:
        collateral = world.collateral(EvidenceKind.TDX)
        accepted = td_policy(
            world,
            rtmrs={0: frozenset({RTMR, b"\1" * 48}), 1: frozenset({bytes(48)})},
            mrconfigids=frozenset({b"\5" * 48}),
        )
        assert verify_quote(other, collateral, accepted, NOW).measurements["rtmr3"] == RTMR.hex()
        error = refused(other, collateral, replace(accepted, **changes))
        assert (error.code, failed(error)) == (check, {check})

    def test_what_is_not_pinned_is_not_asked(self, world: World, other: bytes) -> None:
        evidence = verify_quote(other, world.collateral(EvidenceKind.TDX), td_policy(world), NOW)
        not_asked = {finding.check for finding in evidence.checks if finding.outcome is Outcome.NOT_ASKED}
        assert not_asked == {"attestation.rtmr", "attestation.mrconfigid"}

    def test_a_service_td_is_refused_unless_it_is_named(self, world: World) -> None:
        quote = world.td_quote(DATA, version=5, body=TdReport15, mrservicetd=RTMR)
        collateral = world.collateral(EvidenceKind.TDX)
        assert failed(refused(quote, collateral, td_policy(world))) == {"attestation.tdx.service_td"}
        named = td_policy(world, mrservicetds=frozenset({RTMR}))
        evidence = world.verifier().verify(quote, named)
        assert evidence.measurements["mrservicetd"] == RTMR.hex()
        assert evidence.checks[-1].outcome is Outcome.NOT_ASKED

    def test_a_debug_td_needs_debug_mode_tolerated(self, world: World) -> None:
        quote = world.td_quote(DATA, td_attributes=TdFlag.SEPT_VE_DISABLE | TdFlag.DEBUG)
        collateral = world.collateral(EvidenceKind.TDX)
        assert failed(refused(quote, collateral, td_policy(world))) == {"attestation.debug"}
        evidence = world.verifier().verify(quote, td_policy(world, tolerate=frozenset({Weakness.DEBUG_MODE})))
        assert evidence.debug
        assert evidence.checks[-1].outcome is Outcome.NOT_ASKED

    def test_a_production_td_may_use_what_does_not_weaken_it(self, world: World) -> None:
        flags = TdFlag.SEPT_VE_DISABLE | TdFlag.PKS | TdFlag.KL | TdFlag.PERFMON | TdFlag.LASS | TdFlag.ICSSD
        assert world.verifier().verify(world.td_quote(DATA, td_attributes=flags), td_policy(world)).status == "UpToDate"

    @pytest.mark.parametrize(
        "flags",
        [0, *(TdFlag.SEPT_VE_DISABLE | 1 << bit for bit in (1, 4, 5, 6, 7, 8, 15, 17, 23, 26, 29, 32, 61))],
        ids=lambda flags: f"{int(flags):#x}",
    )
    def test_attributes_that_weaken_a_td_are_refused_whatever_is_tolerated(self, world: World, flags: int) -> None:
        policy = td_policy(world, tolerate=frozenset(Weakness), ignore_advisories=frozenset("*"))
        error = refused(world.td_quote(DATA, td_attributes=flags), world.collateral(EvidenceKind.TDX), policy)
        assert failed(error) == {"attestation.tdx.attributes"}


class TestVendorStatements:
    @pytest.mark.parametrize(
        ("changes", "check"),
        [
            ({"tdx_levels": (Level(bytes(16), 0, TcbStatus.OUT_OF_DATE),)}, "attestation.tcb.status"),
            ({"tdx_levels": (Level(bytes(16), 0, TcbStatus.REVOKED),)}, "attestation.tcb.status"),
            (
                {"tdx_levels": (Level(bytes(16), 0, TcbStatus.UP_TO_DATE, tdx_components=b"\xff" * 16),)},
                "attestation.tcb.level",
            ),
            ({"td_qe_levels": (QeLevel(0, TcbStatus.OUT_OF_DATE),)}, "attestation.tcb.status"),
            ({"td_qe_levels": (QeLevel(99, TcbStatus.UP_TO_DATE),)}, "attestation.tcb.level"),
            ({"tdx_modules": (TdxModule(1, (QeLevel(0, TcbStatus.OUT_OF_DATE),)),)}, "attestation.tcb.status"),
            ({"tdx_modules": (TdxModule(1, (QeLevel(0, TcbStatus.REVOKED),)),)}, "attestation.tcb.status"),
        ],
        ids=["out of date", "revoked", "no level", "old QE", "no QE level", "old module", "revoked module"],
    )
    def test_refused(self, changes: dict[str, Any], check: str) -> None:
        world = World(vendor(**changes))
        error = refused(world.td_quote(DATA), world.collateral(EvidenceKind.TDX), td_policy(world))
        assert check in failed(error)
        assert failed(error) <= {check}

    @pytest.mark.parametrize(
        "modules",
        [
            (TdxModule(3, (QeLevel(0, TcbStatus.UP_TO_DATE),)),),
            (TdxModule(1, (QeLevel(0, TcbStatus.UP_TO_DATE),), mrsigner=RTMR),),
            (TdxModule(1, (QeLevel(0, TcbStatus.UP_TO_DATE),), attributes=b"\1" + bytes(7)),),
            (),
        ],
        ids=["another version", "another signer", "other attributes", "none described"],
    )
    def test_a_module_that_the_vendor_does_not_describe_is_refused(self, modules: tuple[TdxModule, ...]) -> None:
        world = World(vendor(tdx_modules=modules))
        error = refused(world.td_quote(DATA), world.collateral(EvidenceKind.TDX), td_policy(world))
        assert error.code == "attestation.tdx.module"

    @pytest.mark.parametrize("qe", [TcbStatus.UP_TO_DATE, TcbStatus.OUT_OF_DATE])
    @pytest.mark.parametrize("module", [TcbStatus.UP_TO_DATE, TcbStatus.OUT_OF_DATE])
    @pytest.mark.parametrize("platform", ["UpToDate", "SWHardeningNeeded", "ConfigurationNeeded", "OutOfDate"])
    @pytest.mark.parametrize("now", [None, bytes((7, 3, 3)) + bytes(13)], ids=["as started", "updated since"])
    def test_both_verifiers_join_levels_alike(
        self, platform: str, module: TcbStatus, qe: TcbStatus, now: bytes | None
    ) -> None:
        """A difference would refuse genuine platforms: the second opinion is compared word by word."""
        modules = (
            TdxModule(1, (QeLevel(0, module, ("INTEL-SA-00001",)),)),
            TdxModule(3, (QeLevel(0, TcbStatus.UP_TO_DATE),)),
        )
        levels = (Level(bytes(16), 0, TcbStatus(platform), ("INTEL-SA-00002",)),)
        qe_levels = (QeLevel(0, qe, ("INTEL-SA-00003",)),)
        world = World(vendor(tdx_levels=levels, tdx_modules=modules, td_qe_levels=qe_levels))
        policy = td_policy(world, tolerate=frozenset(Weakness), ignore_advisories=frozenset("*"))
        quote = world.td_quote(DATA, version=5, body=TdReport15, tee_tcb_svn2=now)
        evidence = world.verifier().verify(quote, policy)
        assert evidence.advisories == ("INTEL-SA-00001", "INTEL-SA-00002", "INTEL-SA-00003")
        assert evidence.checks[-1].outcome is Outcome.PASSED

    @pytest.mark.parametrize("qe", [TcbStatus.UP_TO_DATE, TcbStatus.OUT_OF_DATE])
    @pytest.mark.parametrize("now", LEVEL_STATUSES)
    @pytest.mark.parametrize("started", LEVEL_STATUSES)
    def test_both_verifiers_judge_an_update_under_a_running_td_alike(
        self, started: TcbStatus, now: TcbStatus, qe: TcbStatus
    ) -> None:
        """Where it is judged at all: dcap-qvl accepts a platform that is worse than when the TD was started."""
        levels = (
            Level(bytes(16), 0, now, ("INTEL-SA-00001",), tdx_components=bytes((5, 0, 3)) + bytes(13)),
            Level(bytes(16), 0, started, ("INTEL-SA-00002",)),
        )
        world = World(vendor(tdx_levels=levels, td_qe_levels=(QeLevel(0, qe, ("INTEL-SA-00003",)),)))
        policy = td_policy(world, tolerate=frozenset(Weakness), ignore_advisories=frozenset("*"))
        before, after = (bytes(svns) + bytes(13) for svns in ((2, 0, 2), (5, 0, 3)))
        quote = world.td_quote(DATA, version=5, body=TdReport15, tee_tcb_svn=before, tee_tcb_svn2=after)
        if now.severity > started.severity:
            error = refused(quote, world.collateral(EvidenceKind.TDX), policy)
            assert failed(error) == {"attestation.tcb.level"}
        else:
            assert world.verifier().verify(quote, policy).checks[-1].outcome is Outcome.PASSED

    def test_a_platform_that_was_updated_and_is_badly_configured_needs_both_tolerated(self) -> None:
        levels = (
            Level(bytes(16), 0, TcbStatus.CONFIGURATION_NEEDED, tdx_components=bytes((5, 0, 3)) + bytes(13)),
            Level(bytes(16), 0, TcbStatus.OUT_OF_DATE),
        )
        world = World(vendor(tdx_levels=levels))
        before, after = (bytes(svns) + bytes(13) for svns in ((2, 0, 2), (5, 0, 3)))
        quote = world.td_quote(DATA, version=5, body=TdReport15, tee_tcb_svn=before, tee_tcb_svn2=after)
        both = frozenset({Weakness.OUTDATED_TCB, Weakness.INSECURE_CONFIGURATION})
        collateral = world.collateral(EvidenceKind.TDX)
        for one in both:
            assert failed(refused(quote, collateral, td_policy(world, tolerate=frozenset({one})))) == {
                "attestation.tcb.status"
            }
        evidence = verify_quote(quote, collateral, td_policy(world, tolerate=both), NOW)
        assert evidence.status is TcbStatus.TD_RELAUNCH_ADVISED_CONFIGURATION_NEEDED


TD10_FIELDS = [field.name for field in fields(TdReport)]
BODY_FIELDS = [field.name for field in fields(TdReport15)]


class TestTampering:
    @pytest.mark.parametrize("name", BODY_FIELDS)
    def test_every_body_field(self, world: World, name: str) -> None:
        parsed = parse_quote(world.td_quote(DATA, version=5, body=TdReport15))
        body = replace(parsed.td, **{name: flipped(getattr(parsed.td, name))})
        policy = td_policy(world, mrtds=frozenset({MRTD, body.mrtd}))
        error = refused(replace(parsed, body=body).to_bytes(), world.collateral(EvidenceKind.TDX), policy)
        assert "attestation.quote.signature" in failed(error)

    @pytest.mark.parametrize(("version", "body"), FORMS, ids=NAMES)
    def test_a_quote_is_refused_in_another_form(self, world: World, version: int, body: type[TdReport]) -> None:
        """The type and size of the body are signed, so that no body can be read as another."""
        parsed = parse_quote(world.td_quote(DATA, version=version, body=body))
        header = replace(parsed.header, version=9 - parsed.version)
        shorter = TdReport(**{name: getattr(parsed.td, name) for name in TD10_FIELDS})
        forged = replace(parsed, header=header, body=shorter).to_bytes()
        error = refused(forged, world.collateral(EvidenceKind.TDX), td_policy(world))
        assert failed(error) == {"attestation.quote.signature"}


@pytest.mark.parametrize("judge", [verify_quote, appraise_quote])
def test_a_time_without_a_zone_is_refused(world: World, judge: Callable[..., object]) -> None:
    with pytest.raises(InputError) as caught:
        judge(world.td_quote(DATA), world.collateral(EvidenceKind.TDX), td_policy(world), NOW.replace(tzinfo=None))
    assert caught.value.code == "attestation.now"


def test_another_time_zone_is_the_same_moment(world: World) -> None:
    elsewhere = NOW.astimezone(timezone(timedelta(hours=-11)))
    assert verify_quote(world.td_quote(DATA), world.collateral(EvidenceKind.TDX), td_policy(world), elsewhere).mrtd


class TestVerifier:
    def test_what_is_remembered_of_a_signer_is_not_taken_for_another(self, world: World) -> None:
        verifier, policy = world.verifier(), td_policy(world)
        quote = world.td_quote(DATA)
        verifier.verify(quote, policy)
        parsed = parse_quote(quote)
        for forged in (
            replace(parsed, auth=flipped(parsed.auth)),
            replace(parsed, qe_report_signature=flipped(parsed.qe_report_signature)),
            replace(parsed, attestation_key=flipped(parsed.attestation_key)),
            replace(parsed, qe_report=replace(parsed.qe_report, isvsvn=99)),
            replace(parsed, body=replace(parsed.td, tee_tcb_svn=bytes((9, 1, 9)) + bytes(13))),
            replace(parsed, signature=flipped(parsed.signature)),
        ):
            with pytest.raises(AttestationError):
                verifier.verify(forged.to_bytes(), policy)
        assert verifier.verify(quote, policy).mrtd == MRTD

    def test_an_old_module_on_a_known_platform_is_judged_anew(self, world: World) -> None:
        verifier, policy = world.verifier(), td_policy(world)
        verifier.verify(world.td_quote(DATA), policy)
        with pytest.raises(AttestationError) as caught:
            verifier.verify(world.td_quote(DATA, tee_tcb_svn=bytes((2, 1, 3)) + bytes(13)), policy)
        assert caught.value.code == "attestation.tcb.status"

    @pytest.mark.parametrize(("version", "body"), FORMS, ids=NAMES)
    def test_the_second_opinion_is_asked_once_for_a_program(
        self, world: World, version: int, body: type[TdReport]
    ) -> None:
        """Whatever differs from a quote that dcap-qvl accepted, but for the report data, is for dcap-qvl to see."""
        verifier, policy = world.verifier(), td_policy(world)

        def asked(data: bytes, **changes: Any) -> bool:  # noqa: ANN401  # fields of TrustDomain
            quote = world.td_quote(data, version=version, body=body, **changes)
            return verifier.verify(quote, policy).checks[-1].check == SECOND_OPINION

        assert [asked(data) for data in (DATA, bytes(64), DATA)] == [True, False, False]
        for changes in ({"mrowner": RTMR}, {"rtmrs": (RTMR,) * 4}, {"xfam": 3}, {"mrconfigid": RTMR}):
            assert [asked(data, **changes) for data in (DATA, bytes(64))] == [True, False]
