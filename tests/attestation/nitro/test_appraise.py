"""Every check of NITRO_CHECKS passes on good documents, and each has documents that only it is there to refuse."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from typing import Any

import cbor2
import pytest
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.serialization import Encoding
from hypothesis import given
from hypothesis import strategies as st
from tests.attestation.nitro_vendor import CHAIN, NOW, ROOT, Enclave, Spec, issue

from adyton.attestation.anchors import AMD, AWS, INTEL, TrustAnchor
from adyton.attestation.errors import AttestationError, Outcome
from adyton.attestation.nitro.appraise import (
    CLOCK_SKEW,
    NITRO_CHECKS,
    VerifiedNitro,
    appraise_document,
    verify_document,
)
from adyton.attestation.policy import HealthPolicy, QuotePolicy, Weakness
from adyton.attestation.verdict import EvidenceKind, Verdict
from adyton.base.errors import InputError

ENCLAVE = Enclave()
LEAF, INSTANCE, ZONE, REGION, TOP = CHAIN
PCR0, PCR1, PCR2, PCR4 = (frozenset({ENCLAVE.pcrs[n]}) for n in (0, 1, 2, 4))
ZERO = frozenset({bytes(48)})
DEBUG = Enclave(pcrs={n: bytes(48) for n in range(16)})


def with_specs(**changes: Spec) -> Enclave:
    """An enclave with some certificates of its chain replaced, by place."""
    places = ("leaf", "instance", "zone", "region", "root")
    return Enclave(specs=tuple(changes.get(place, spec) for place, spec in zip(places, CHAIN, strict=True)))


@dataclass(frozen=True)
class Case:
    """What is judged; the defaults make a good document."""

    enclave: Enclave = ENCLAVE
    changes: dict[str, Any] = field(default_factory=dict)
    document: bytes | None = None
    anchor: TrustAnchor | None = None
    pcrs: Mapping[int, frozenset[bytes]] = field(default_factory=lambda: {0: PCR0})
    mrtds: frozenset[bytes] = frozenset()
    tolerate: frozenset[Weakness] = frozenset()
    now: datetime = NOW

    @property
    def policy(self) -> QuotePolicy:
        anchor = self.anchor or self.enclave.anchor
        return QuotePolicy(anchors=(anchor,), pcrs=self.pcrs, mrtds=self.mrtds, tolerate=self.tolerate)

    @property
    def data(self) -> bytes:
        return self.enclave.document(**self.changes) if self.document is None else self.document

    def judge(self) -> Verdict:
        return appraise_document(self.data, self.policy, self.now)

    def verify(self) -> VerifiedNitro:
        return verify_document(self.data, self.policy, self.now)


def flipped(data: bytes, bit: int) -> bytes:
    return data[: bit // 8] + bytes((data[bit // 8] ^ 1 << bit % 8,)) + data[bit // 8 + 1 :]


GOOD = {
    "image": Case(),
    "image among others": Case(pcrs={0: PCR0 | {b"\x77" * 48}, 4: PCR4}),
    "parts of the image": Case(pcrs={1: PCR1, 2: PCR2}),
    "signer": Case(Enclave(pcrs=dict(ENCLAVE.pcrs) | {8: b"\x08" * 48}), pcrs={8: frozenset({b"\x08" * 48})}),
    "tagged": Case(document=b"\xd2" + ENCLAVE.document()),
    "definite length": Case(document=ENCLAVE.sign(cbor2.dumps(ENCLAVE.fields()))),
    "made a little later": Case(Enclave(made=NOW + CLOCK_SKEW)),
    "shorter chain": Case(Enclave(specs=(replace(LEAF, issuer=ROOT), TOP))),
    "debug tolerated": Case(DEBUG, pcrs={0: ZERO}, tolerate=frozenset({Weakness.DEBUG_MODE})),
    "at the last moment": Case(now=LEAF.start + LEAF.life),
}


@pytest.mark.parametrize("case", GOOD.values(), ids=GOOD)
def test_good_documents_pass_every_check_in_order(case: Case) -> None:
    verdict = case.judge()
    assert verdict.trusted, (verdict.code, verdict.message)
    assert [check.check for check in verdict.checks] == list(NITRO_CHECKS)
    assert {check.outcome for check in verdict.checks} == {Outcome.PASSED}
    assert (verdict.kind, verdict.status, verdict.tier) == (EvidenceKind.NITRO, "", case.enclave.anchor.tier)
    evidence = case.verify()
    assert (evidence.tier, evidence.checks) == (verdict.tier, verdict.checks)
    assert evidence.valid_until == verdict.valid_until == LEAF.start + LEAF.life
    assert evidence.debug == bool(case.tolerate)
    assert evidence.simulated
    assert evidence.root_der == case.enclave.chain()[-1]
    assert evidence.document.user_data == b"user data"


OTHER_ROOT = Spec("Simulated other", "Simulated other", life=TOP.life)
FORGED = Enclave(specs=(LEAF, INSTANCE, ZONE, replace(REGION, issuer="Simulated other"), OTHER_ROOT))
SILENT = "aws.nitro-enclaves"

REFUSED: dict[str, tuple[str, Case]] = {
    "no document": ("attestation.nitro.format", Case(document=b"")),
    "a byte after the end": ("attestation.nitro.format", Case(document=ENCLAVE.document() + b"\0")),
    "another algorithm": (
        "attestation.nitro.format",
        Case(document=ENCLAVE.sign(ENCLAVE.payload(), protected=cbor2.dumps({1: -7}))),
    ),
    "something unprotected": (
        "attestation.nitro.format",
        Case(document=ENCLAVE.sign(ENCLAVE.payload(), unprotected={4: b"key"})),
    ),
    "an unknown field": ("attestation.nitro.format", Case(changes={"other": 1})),
    "no bundle": ("attestation.nitro.format", Case(changes={"cabundle": []})),
    "a certificate that is none": ("attestation.chain.format", Case(changes={"certificate": b"\x30\x00"})),
    "a bundle with something else": ("attestation.chain.format", Case(changes={"cabundle": [b"root"]})),
    "a bundle in the wrong order": ("attestation.chain.path", Case(changes={"cabundle": ENCLAVE.chain()[1:]})),
    "a bundle with a gap": ("attestation.chain.path", Case(changes={"cabundle": ENCLAVE.chain()[:0:-2]})),
    "a bundle without a root": (
        "attestation.chain.path",
        Case(changes={"cabundle": ENCLAVE.chain()[-2:0:-1]}, anchor=TrustAnchor.simulated_root(ENCLAVE.chain()[-2])),
    ),
    "an enclave that nobody issued": (
        "attestation.chain.path",
        Case(with_specs(leaf=replace(LEAF, issuer_key="nobody"))),
    ),
    "an enclave's key on P-256": (
        "attestation.chain.path",
        Case(with_specs(leaf=replace(LEAF, name="enclave P-256"))),
    ),
    "a certificate with SHA-256": ("attestation.chain.path", Case(with_specs(zone=replace(ZONE, algorithm=SHA256)))),
    "an enclave that is an authority": (
        "attestation.chain.path",
        Case(with_specs(leaf=replace(LEAF, ca=True, cert_sign=True))),
    ),
    "an enclave that may not sign": (
        "attestation.chain.path",
        Case(with_specs(leaf=replace(LEAF, digital_signature=False))),
    ),
    "an instance that is no authority": (
        "attestation.chain.path",
        Case(with_specs(instance=replace(INSTANCE, ca=False, path_length=None))),
    ),
    "an instance that may not issue": (
        "attestation.chain.path",
        Case(with_specs(instance=replace(INSTANCE, cert_sign=False))),
    ),
    "a zone that allows no authority below it": (
        "attestation.chain.path",
        Case(with_specs(zone=replace(ZONE, path_length=0))),
    ),
    "a root that allows one authority": ("attestation.chain.path", Case(with_specs(root=replace(TOP, path_length=1)))),
    "an enclave that issues for another": (
        "attestation.chain.path",
        Case(Enclave(specs=(replace(LEAF, name="second", issuer="enclave"), *CHAIN))),
    ),
    "a foreign root": ("attestation.chain.anchor", Case(FORGED, anchor=ENCLAVE.anchor)),
    "a simulated root for the vendor's": ("attestation.chain.anchor", Case(anchor=AWS)),
    "another vendor's anchor": ("attestation.chain.anchor", Case(anchor=INTEL)),
    "a third vendor's anchor": ("attestation.chain.anchor", Case(anchor=AMD)),
    "a simulated root that does not say so": (
        "attestation.chain.anchor",
        Case(with_specs(region=replace(REGION, issuer=SILENT), root=replace(TOP, name=SILENT, issuer=SILENT))),
    ),
    "four hours later": ("attestation.validity", Case(now=NOW + timedelta(hours=4))),
    "before the certificate": ("attestation.validity", Case(now=LEAF.start - timedelta(seconds=1))),
    "after the zone": (
        "attestation.validity",
        Case(with_specs(zone=replace(ZONE, life=timedelta(minutes=10))), now=NOW + timedelta(minutes=6)),
    ),
    "made before its certificate": (
        "attestation.nitro.time",
        Case(Enclave(made=LEAF.start - timedelta(milliseconds=1))),
    ),
    "made after its certificate": (
        "attestation.nitro.time",
        Case(Enclave(made=LEAF.start + LEAF.life + timedelta(milliseconds=1))),
    ),
    "made after now": (
        "attestation.nitro.time",
        Case(Enclave(made=NOW + CLOCK_SKEW + timedelta(milliseconds=1))),
    ),
    "another enclave's signature": (
        "attestation.nitro.signature",
        Case(changes={"certificate": issue(replace(LEAF, name="neighbour")).public_bytes(Encoding.DER)}),
    ),
    "a signature of zeros": ("attestation.nitro.signature", Case(document=ENCLAVE.document()[:-96] + bytes(96))),
    "r of zero": (
        "attestation.nitro.signature",
        Case(document=ENCLAVE.document()[:-96] + bytes(48) + ENCLAVE.document()[-48:]),
    ),
    "s of zero": ("attestation.nitro.signature", Case(document=ENCLAVE.document()[:-48] + bytes(48))),
    "s of all ones": ("attestation.nitro.signature", Case(document=ENCLAVE.document()[:-48] + b"\xff" * 48)),
    "the signature of another document": (
        "attestation.nitro.signature",
        Case(document=ENCLAVE.document(nonce=b"new")[:-96] + ENCLAVE.document(nonce=b"old")[-96:]),
    ),
    "debug": ("attestation.debug", Case(DEBUG, pcrs={0: ZERO})),
    "a zero kernel": ("attestation.debug", Case(Enclave(pcrs=dict(ENCLAVE.pcrs) | {1: bytes(48)}))),
    "no application": ("attestation.debug", Case(Enclave(pcrs={0: ENCLAVE.pcrs[0], 1: ENCLAVE.pcrs[1]}))),
    "a policy about other programs": ("attestation.pinned", Case(pcrs={}, mrtds=ZERO)),
    "a policy about the instance alone": ("attestation.pinned", Case(pcrs={4: PCR4})),
    "a policy about the application alone": ("attestation.pinned", Case(pcrs={2: PCR2})),
    "another image": ("attestation.nitro.pcr", Case(pcrs={0: PCR1})),
    "another instance": ("attestation.nitro.pcr", Case(pcrs={0: PCR0, 4: PCR0})),
    "a register that is missing": ("attestation.nitro.pcr", Case(pcrs={0: PCR0, 20: ZERO})),
}


@pytest.mark.parametrize(("code", "case"), REFUSED.values(), ids=REFUSED)
def test_bad_documents_are_refused_by_the_check_for_it(code: str, case: Case) -> None:
    verdict = case.judge()
    assert (verdict.trusted, verdict.code) == (False, code), verdict.message
    assert [check.check for check in verdict.checks] == list(NITRO_CHECKS)
    assert verdict.needed
    with pytest.raises(AttestationError) as caught:
        case.verify()
    assert caught.value.code == code
    assert caught.value.findings == verdict.checks


def test_every_check_has_documents_that_it_refuses() -> None:
    refused_by = set()
    for _code, case in REFUSED.values():
        refused_by |= {check.check for check in case.judge().checks if check.outcome is Outcome.FAILED}
    assert refused_by == set(NITRO_CHECKS)


@pytest.mark.parametrize("name", list(ENCLAVE.fields()))
def test_a_field_changed_after_signing_is_refused(name: str) -> None:
    """The document is built with another value, and keeps the signature of the first."""
    other: dict[str, Any] = {
        "module_id": "i-1",
        "digest": "SHA512",
        "timestamp": ENCLAVE.fields()["timestamp"] + 1,
        "pcrs": dict(ENCLAVE.pcrs) | {0: b"\x09" * 48},
        "certificate": issue(replace(LEAF, name="neighbour")).public_bytes(Encoding.DER),
        "cabundle": FORGED.chain()[:0:-1],
        "public_key": b"key",
        "user_data": b"User data",
        "nonce": b"nonce",
    }
    forged = ENCLAVE.document(**{name: other[name]})[:-96] + ENCLAVE.document()[-96:]
    assert not Case(document=forged, pcrs={0: PCR0 | {b"\x09" * 48}}).judge().trusted


SIGNED = ENCLAVE.document()


@given(st.integers(0, 8 * len(SIGNED) - 1))
def test_no_bit_of_a_document_can_be_changed(bit: int) -> None:
    assert not Case(document=flipped(SIGNED, bit)).judge().trusted


@given(st.data())
def test_splices_are_refused(data: st.DataObject) -> None:
    where, size = data.draw(st.integers(0, len(SIGNED))), data.draw(st.integers(0, 60))
    spliced = SIGNED[:where] + data.draw(st.binary(max_size=60)) + SIGNED[where + size :]
    assert Case(document=spliced).judge().trusted == (spliced == SIGNED)


@given(st.binary(max_size=300))
def test_hostile_payloads_make_a_verdict(payload: bytes) -> None:
    for document in (payload, ENCLAVE.sign(payload)):
        verdict = Case(document=document).judge()
        assert (verdict.trusted, verdict.code) == (False, "attestation.nitro.format")


@given(st.binary(max_size=300))
def test_hostile_certificates_make_a_verdict(certificate: bytes) -> None:
    verdict = Case(changes={"certificate": certificate, "cabundle": [certificate]}).judge()
    assert not verdict.trusted
    assert verdict.code in {"attestation.nitro.format", "attestation.chain.format"}


def test_a_verdict_about_a_platform_compares_no_program() -> None:
    verdict = appraise_document(SIGNED, HealthPolicy(anchors=(ENCLAVE.anchor,)), NOW)
    assert verdict.trusted
    outcomes = {check.check: check.outcome for check in verdict.checks}
    assert outcomes["attestation.nitro.pcr"] is outcomes["attestation.pinned"] is Outcome.NOT_ASKED


def test_who_comes_late_is_told_what_to_do() -> None:
    verdict = Case(now=NOW + timedelta(days=400)).judge()
    assert any("--at" in sentence for sentence in verdict.needed)


def test_the_identity_names_what_is_not_zero_and_what_the_enclave_chose() -> None:
    identity = Case(changes={"nonce": b"\1", "user_data": None}).judge().identity
    assert list(identity) == ["module_id", "timestamp", "pcr0", "pcr1", "pcr2", "pcr4", "debug", "nonce"]
    assert identity["pcr0"] == ENCLAVE.pcrs[0].hex()
    assert identity["timestamp"] == NOW.isoformat()
    assert Case(DEBUG).judge().identity["debug"] == "true"


def test_a_time_without_a_zone_is_refused() -> None:
    with pytest.raises(InputError, match="time zone"):
        Case(now=NOW.replace(tzinfo=None)).judge()
