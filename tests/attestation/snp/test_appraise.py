"""Every check of SNP_CHECKS passes on good evidence, and each has evidence that only it is there to refuse."""

from __future__ import annotations

from dataclasses import dataclass, field, fields, replace
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding
from hypothesis import given
from hypothesis import strategies as st
from tests.attestation.snp_vendor import ARC, NOW, TCB, Machine, intermediate, revocations, root

from adyton.attestation.anchors import AMD, AWS, INTEL, TrustAnchor
from adyton.attestation.errors import AttestationError, Outcome
from adyton.attestation.formats import der
from adyton.attestation.policy import HealthPolicy, QuotePolicy, Weakness
from adyton.attestation.snp.appraise import SNP_CHECKS, VerifiedSnp, appraise_report, verify_report
from adyton.attestation.snp.report import Generation, GuestPolicy, KeyKind, PlatformInfo, SnpReport3, TcbVersion
from adyton.attestation.verdict import EvidenceKind, Verdict
from adyton.base.errors import InputError

MACHINE = Machine()
VLEK = Machine(kind=KeyKind.VLEK)
TURIN = Machine(generation=Generation.TURIN, tcb=TcbVersion(1, 2, 3, 4, fmc=5))
MEASUREMENT = b"\x11" * 48
DEBUG = frozenset({Weakness.DEBUG_MODE})
EXTRAS = {"attestation.crl.signature", "attestation.crl.revoked", "attestation.snp.minimum"}


@dataclass(frozen=True)
class Case:
    """What is judged; the defaults make a good report of a Milan chip."""

    machine: Machine = MACHINE
    changes: dict[str, Any] = field(default_factory=dict)
    report: bytes | None = None
    certificates: bytes | None = None
    anchor: TrustAnchor | None = None
    measurements: frozenset[bytes] = frozenset({MEASUREMENT})
    mrtds: frozenset[bytes] = frozenset()
    tolerate: frozenset[Weakness] = frozenset()
    now: datetime = NOW
    options: dict[str, Any] = field(default_factory=dict)

    @property
    def policy(self) -> QuotePolicy:
        return QuotePolicy(
            anchors=(self.anchor or self.machine.anchor,),
            snp_measurements=self.measurements,
            mrtds=self.mrtds,
            tolerate=self.tolerate,
        )

    @property
    def inputs(self) -> tuple[bytes, bytes]:
        report = self.machine.report(**self.changes) if self.report is None else self.report
        return report, self.machine.certificates() if self.certificates is None else self.certificates

    def judge(self) -> Verdict:
        return appraise_report(*self.inputs, self.policy, self.now, **self.options)

    def verify(self) -> VerifiedSnp:
        return verify_report(*self.inputs, self.policy, self.now, **self.options)


def tcb(generation: Generation = Generation.MILAN, **changes: int) -> bytes:
    return replace(TCB, **changes).to_bytes(generation)


def flipped(data: bytes, offset: int, bit: int = 1) -> bytes:
    return data[:offset] + bytes((data[offset] ^ bit,)) + data[offset + 1 :]


GOOD = {
    "Milan": Case(),
    "Genoa": Case(Machine(generation=Generation.GENOA)),
    "Turin": Case(TURIN),
    "provider's key": Case(VLEK),
    "provider's key, chip named": Case(VLEK, {"chip_id": MACHINE.chip_id}),
    "provider's key, chip's key off": Case(VLEK, {"key_info": KeyKind.VLEK << 2 | 2}),
    "version 2": Case(changes={"version": 2}),
    "version 5": Case(changes={"version": 5}),
    "committed below current": Case(changes={"current_tcb": tcb(snp=25), "current_build": 30}),
    "reported above committed": Case(changes={"committed_tcb": tcb(snp=23)}),
    "launched with later firmware": Case(changes={"launch_tcb": tcb(snp=99)}),
    "migration allowed but no agent": Case(
        changes={"policy": int(GuestPolicy.RESERVED_ONE | GuestPolicy.MIGRATE_MA | GuestPolicy.SMT)}
    ),
    "everything demanded and kept": Case(changes={"policy": 0x3FF_0000 & ~GuestPolicy.DEBUG, "platform_info": 0xBF}),
    "author key": Case(changes={"key_info": 1, "author_key_digest": b"\x05" * 48, "id_key_digest": b"\x06" * 48}),
    "revocation list": Case(options={"crl": revocations()}),
    "list that names another": Case(options={"crl": revocations([1, 2, 3])}),
    "minimum": Case(options={"minimum": TCB}),
    "VMPL 2 accepted": Case(changes={"vmpl": 2}, options={"vmpl": 2}),
    "VMPL below the accepted": Case(options={"vmpl": 3}),
    "debug tolerated": Case(
        changes={"policy": int(GuestPolicy.RESERVED_ONE | GuestPolicy.SMT | GuestPolicy.DEBUG)}, tolerate=DEBUG
    ),
}


@pytest.mark.parametrize("case", GOOD.values(), ids=GOOD)
def test_good_evidence_passes_every_check_in_order(case: Case) -> None:
    verdict = case.judge()
    assert verdict.trusted, (verdict.code, verdict.message)
    assert [check.check for check in verdict.checks] == list(SNP_CHECKS)
    asked = EXTRAS if not case.options else set()
    assert {check.check for check in verdict.checks if check.outcome is Outcome.NOT_ASKED} >= asked
    assert (verdict.kind, verdict.status, verdict.tier) == (EvidenceKind.SNP, "", case.machine.anchor.tier)
    assert verdict.needed == ()
    assert verdict.identity["measurement"] == MEASUREMENT.hex()
    evidence = case.verify()
    assert (evidence.tier, evidence.valid_until, evidence.checks) == (
        verdict.tier,
        verdict.valid_until,
        verdict.checks,
    )
    assert evidence.measurement == MEASUREMENT
    assert evidence.tcb == case.machine.tcb
    assert evidence.debug == bool(case.tolerate)
    assert evidence.simulated
    assert evidence.report_data == b"report data".ljust(64, b"\0")
    assert evidence.root_der == root(case.machine.generation.product).public_bytes(Encoding.DER)


REFUSED: dict[str, tuple[str, Case]] = {
    "a cut report": ("attestation.snp.format", Case(report=MACHINE.report()[:-1])),
    "a reserved byte, signed": ("attestation.snp.format", Case(report=MACHINE.sign(flipped(MACHINE.report(), 0x4C)))),
    "a byte after the signature": ("attestation.snp.format", Case(report=flipped(MACHINE.report(), 0x49F))),
    "another algorithm": ("attestation.snp.format", Case(changes={"signature_algorithm": 2})),
    "no certificates": ("attestation.chain.format", Case(certificates=b"")),
    "no root": (
        "attestation.chain.format",
        Case(certificates=MACHINE.endorsement() + intermediate(KeyKind.VCEK).public_bytes(Encoding.DER)),
    ),
    "an endorsement key that nobody issued": ("attestation.chain.path", Case(replace(MACHINE, issuer_key="other"))),
    "an intermediate that nobody issued": (
        "attestation.chain.path",
        Case(certificates=MACHINE.certificates(ask=intermediate(KeyKind.VCEK, issuer_key="other"))),
    ),
    "a foreign root": (
        "attestation.chain.anchor",
        Case(
            certificates=MACHINE.certificates(
                ask=intermediate(KeyKind.VCEK, issuer_key="other"), ark=root(key="other", issuer_key="other")
            )
        ),
    ),
    "a simulated root for the vendor's": ("attestation.chain.anchor", Case(anchor=AMD)),
    "another vendor's anchor": ("attestation.chain.anchor", Case(anchor=INTEL)),
    "a third vendor's anchor": ("attestation.chain.anchor", Case(anchor=AWS)),
    "a list by another key": ("attestation.crl.signature", Case(options={"crl": revocations(key="other")})),
    "a list of another root": ("attestation.crl.signature", Case(options={"crl": revocations(product="Genoa")})),
    "a list that cannot be read": ("attestation.crl.format", Case(options={"crl": b"\x30\x00"})),
    "no list, but bytes": ("attestation.crl.format", Case(options={"crl": b""})),
    "a revoked intermediate": (
        "attestation.crl.revoked",
        Case(options={"crl": revocations([intermediate(KeyKind.VCEK).serial_number])}),
    ),
    "a list that has ended": ("attestation.validity", Case(options={"crl": revocations(days=-1)})),
    "after the endorsement key": ("attestation.validity", Case(now=MACHINE.end + timedelta(seconds=1))),
    "before the endorsement key": ("attestation.validity", Case(now=MACHINE.start - timedelta(seconds=1))),
    "after the root": (
        "attestation.validity",
        Case(
            certificates=MACHINE.certificates(ark=root(end=NOW)),
            now=NOW + timedelta(days=1),
            anchor=TrustAnchor.simulated_root(root(end=NOW).public_bytes(Encoding.DER)),
        ),
    ),
    "a chip's report with a provider's certificate": (
        "attestation.snp.key",
        Case(certificates=replace(VLEK, key="chip").certificates()),
    ),
    "a provider's report with a chip's certificate": (
        "attestation.snp.key",
        Case(VLEK, certificates=replace(MACHINE, key="chip").certificates()),
    ),
    "a report signed by no key": ("attestation.snp.key", Case(changes={"key_info": KeyKind.NONE << 2})),
    "a reserved kind of key": ("attestation.snp.key", Case(changes={"key_info": 2 << 2})),
    "a chip's key that is off": ("attestation.snp.key", Case(changes={"key_info": 2})),
    "another chip of the vendor": (
        "attestation.snp.signature",
        Case(report=replace(MACHINE, seed=9).report(chip_id=MACHINE.chip_id)),
    ),
    "r of zero": (
        "attestation.snp.signature",
        Case(report=MACHINE.report()[:0x2A0] + bytes(72) + MACHINE.report()[0x2E8:]),
    ),
    "s of zero": ("attestation.snp.signature", Case(report=MACHINE.report()[:0x2E8] + bytes(72 + 0x170))),
    "no signature at all": ("attestation.snp.signature", Case(report=MACHINE.report()[:0x2A0] + bytes(0x200))),
    "r of all ones": (
        "attestation.snp.signature",
        Case(report=MACHINE.report()[:0x2A0] + b"\xff" * 48 + bytes(24) + MACHINE.report()[0x2E8:]),
    ),
    "another chip id, signed": ("attestation.snp.chip", Case(changes={"chip_id": bytes(range(64))})),
    "a masked chip id": ("attestation.snp.chip", Case(changes={"chip_id": bytes(64)})),
    "a chip id with bytes after it": ("attestation.snp.chip", Case(TURIN, {"chip_id": TURIN.hwid.ljust(64, b"\1")})),
    "another generation's processor": ("attestation.snp.chip", Case(changes={"cpuid_family": 0x1A, "cpuid_model": 2})),
    "an unknown processor": ("attestation.snp.chip", Case(changes={"cpuid_model": 0x70})),
    "reported microcode below the certificate": (
        "attestation.snp.tcb",
        Case(changes={"reported_tcb": tcb(microcode=216)}),
    ),
    "reported firmware above the certificate": (
        "attestation.snp.tcb",
        Case(changes={"reported_tcb": tcb(snp=25), "current_tcb": tcb(snp=25)}),
    ),
    "a certificate of a later TCB": (
        "attestation.snp.tcb",
        Case(replace(MACHINE, extensions={f"{ARC}.3.3": der.integer(25)})),
    ),
    "another FMC": ("attestation.snp.tcb", Case(replace(TURIN, extensions={f"{ARC}.3.9": der.integer(6)}))),
    "current below reported": ("attestation.snp.tcb", Case(changes={"current_tcb": tcb(bootloader=3)})),
    "current below committed": ("attestation.snp.tcb", Case(changes={"committed_tcb": tcb(microcode=218)})),
    "firmware below the committed": ("attestation.snp.tcb", Case(changes={"current_build": 28})),
    "levels with a reserved byte": ("attestation.snp.tcb", Case(changes={"launch_tcb": b"\4\0\1\0\0\0\x18\xd9"})),
    "below the minimum": ("attestation.snp.minimum", Case(options={"minimum": replace(TCB, snp=25)})),
    "a policy without the bit that must be one": (
        "attestation.snp.policy",
        Case(changes={"policy": int(GuestPolicy.SMT)}),
    ),
    "a policy with an unknown bit": ("attestation.snp.policy", Case(changes={"policy": 0x30000 | 1 << 26})),
    "a policy with the highest bit": ("attestation.snp.policy", Case(changes={"policy": 0x30000 | 1 << 63})),
    "a migration agent": ("attestation.snp.policy", Case(changes={"policy": 0x70000, "report_id_ma": b"\x44" * 32})),
    "hyperthreading against the policy": ("attestation.snp.platform", Case(changes={"policy": 0x20000})),
    "power metering against the policy": (
        "attestation.snp.platform",
        Case(changes={"policy": 0x30000 | GuestPolicy.RAPL_DIS}),
    ),
    "visible ciphertext against the policy": (
        "attestation.snp.platform",
        Case(changes={"policy": 0x30000 | GuestPolicy.CIPHERTEXT_HIDING_DRAM}),
    ),
    "an unknown feature of the platform": (
        "attestation.snp.platform",
        Case(changes={"platform_info": PlatformInfo.SMT_EN | 1 << 6}),
    ),
    "asked for at VMPL 1": ("attestation.snp.vmpl", Case(changes={"vmpl": 1})),
    "asked for above the accepted VMPL": ("attestation.snp.vmpl", Case(changes={"vmpl": 3}, options={"vmpl": 2})),
    "asked for by the host": ("attestation.snp.vmpl", Case(changes={"vmpl": 0xFFFF_FFFF}, options={"vmpl": 3})),
    "debug": ("attestation.debug", Case(changes={"policy": 0x30000 | GuestPolicy.DEBUG})),
    "a policy about other programs": (
        "attestation.pinned",
        Case(measurements=frozenset(), mrtds=frozenset({bytes(48)})),
    ),
    "another guest": ("attestation.measurement", Case(measurements=frozenset({b"\x12" * 48}))),
}


@pytest.mark.parametrize(("code", "case"), REFUSED.values(), ids=REFUSED)
def test_bad_evidence_is_refused_by_the_check_for_it(code: str, case: Case) -> None:
    verdict = case.judge()
    assert (verdict.trusted, verdict.code) == (False, code), verdict.message
    assert [check.check for check in verdict.checks] == list(SNP_CHECKS)
    assert verdict.needed
    with pytest.raises(AttestationError) as caught:
        case.verify()
    assert caught.value.code == code
    assert caught.value.findings == verdict.checks


def test_every_check_has_evidence_that_it_refuses() -> None:
    refused_by = set()
    for _code, case in REFUSED.values():
        refused_by |= {check.check for check in case.judge().checks if check.outcome is Outcome.FAILED}
    assert refused_by == set(SNP_CHECKS)


@pytest.mark.parametrize("field_name", [each.name for each in fields(SnpReport3)])
def test_a_field_changed_after_signing_is_refused(field_name: str) -> None:
    from tests.attestation.snp.test_report import OFFSETS_3  # noqa: PLC0415  # the table of the specification

    offset, size = OFFSETS_3[field_name]
    for changed in (flipped(MACHINE.report(), offset), flipped(MACHINE.report(), offset + size - 1, 0x80)):
        verdict = Case(report=changed).judge()
        assert not verdict.trusted
        failed = {check.check for check in verdict.checks if check.outcome is Outcome.FAILED}
        assert failed & {"attestation.snp.format", "attestation.snp.signature"}


SIGNED, CHAIN = (
    MACHINE.report(5),
    b"".join(
        [MACHINE.endorsement(), *(each.public_bytes(Encoding.DER) for each in (intermediate(KeyKind.VCEK), root()))]
    ),
)


@given(st.integers(0, 8 * len(SIGNED) - 1))
def test_no_bit_of_a_report_can_be_changed(bit: int) -> None:
    assert not Case(report=flipped(SIGNED, bit // 8, 1 << bit % 8), certificates=CHAIN).judge().trusted


@given(st.integers(0, 8 * len(CHAIN) - 1))
def test_no_bit_of_the_chain_can_be_changed(bit: int) -> None:
    assert not Case(report=SIGNED, certificates=flipped(CHAIN, bit // 8, 1 << bit % 8)).judge().trusted


@given(st.data())
def test_splices_are_refused(data: st.DataObject) -> None:
    where, size = data.draw(st.integers(0, len(SIGNED))), data.draw(st.integers(0, 80))
    other = data.draw(st.binary(min_size=size, max_size=size))
    spliced = SIGNED[:where] + other + SIGNED[where + size :]
    assert Case(report=spliced, certificates=CHAIN).judge().trusted == (spliced == SIGNED)


def test_a_key_on_another_curve_signs_nothing() -> None:
    machine = replace(MACHINE, curve=ec.SECP256R1)
    verdict = Case(machine).judge()
    assert verdict.code == "attestation.chain.format"
    assert verdict.tier == ""


def test_a_simulated_root_must_say_so() -> None:
    silent = root(name="ARK-Milan", issuer="ARK-Milan")
    case = Case(
        certificates=MACHINE.certificates(ask=intermediate(KeyKind.VCEK, issuer="ARK-Milan"), ark=silent),
        anchor=TrustAnchor.simulated_root(silent.public_bytes(Encoding.DER)),
    )
    verdict = case.judge()
    assert verdict.code == "attestation.chain.anchor"
    assert "Simulated" in verdict.message


def test_a_verdict_about_a_platform_compares_no_program() -> None:
    verdict = appraise_report(*Case().inputs, HealthPolicy(anchors=(MACHINE.anchor,)), NOW)
    assert verdict.trusted
    outcomes = {check.check: check.outcome for check in verdict.checks}
    assert outcomes["attestation.measurement"] is outcomes["attestation.pinned"] is Outcome.NOT_ASKED


def test_the_verdict_ends_with_the_first_thing_that_ends() -> None:
    assert Case().judge().valid_until == MACHINE.end
    listed = Case(options={"crl": revocations(days=3)}).judge()
    assert listed.valid_until == NOW + timedelta(days=3, seconds=-1)  # at its end there is another list


def test_the_findings_tell_what_was_found() -> None:
    told = {
        check.check: check.detail for check in Case(TURIN, options={"crl": revocations(product="Turin")}).judge().checks
    }
    assert told["attestation.chain.format"] == "VCEK of a Turin"
    assert "fmc 5, bootloader 1, tee 2, snp 3, ucode 4" in told["attestation.snp.tcb"]
    assert told["attestation.snp.chip"] == TURIN.hwid.hex()
    assert told["attestation.snp.platform"] == "SMT_EN|ALIAS_CHECK_COMPLETE"
    assert Case(VLEK).verify().provider == VLEK.csp


def test_a_platform_keeps_its_id_and_others_have_another() -> None:
    first = Case().verify().platform_id
    assert Case(changes={"report_data": b"\1" * 64}).verify().platform_id == first
    others = {
        Case(replace(MACHINE, seed=9)).verify().platform_id,
        Case(VLEK).verify().platform_id,
        Case(replace(VLEK, csp="CN=other")).verify().platform_id,
        Case(VLEK, {"chip_id": MACHINE.chip_id}).verify().platform_id,
    }
    assert len(others | {first}) == 5


def test_questions_that_make_no_sense_are_refused() -> None:
    with pytest.raises(InputError, match="time zone"):
        Case(now=NOW.replace(tzinfo=None)).judge()
    for vmpl in (-1, 4):
        with pytest.raises(InputError, match="VMPL"):
            Case(options={"vmpl": vmpl}).judge()


def test_the_zone_of_the_time_does_not_matter() -> None:
    assert Case(now=NOW.astimezone(UTC)).judge().trusted


@given(st.binary(max_size=200), st.binary(max_size=200))
def test_hostile_bytes_make_a_verdict(report: bytes, certificates: bytes) -> None:
    verdict = Case(report=report, certificates=certificates, options={"crl": report}).judge()
    assert (verdict.trusted, verdict.code) == (False, "attestation.snp.format")
