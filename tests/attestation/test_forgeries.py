"""Forgeries, each proven real by a verifier that leaves out one step, and refused by ours with the code of that step.

The first two are those that published libraries accepted; the naive verifiers here have their algorithms in a few
lines. A forgery that its naive verifier does not accept would prove nothing, so that is asserted each time.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import dcap_qvl
import pytest
from cryptography import x509
from cryptography.x509.oid import NameOID
from fuzz.specimen import NOW, Maker, enclave_body, td15_body, td_body
from tests.attestation.forgeries import (
    EVIL_ENCLAVE,
    EVIL_TD,
    FORGERIES,
    Forgery,
    body_is_signed,
    certificates,
    chain_holds,
    key_is_bound,
    qe_report_is_signed,
    reattested,
    revoked,
)

from adyton.attestation import chain
from adyton.attestation.anchors import INTEL, TrustAnchor
from adyton.attestation.collateral.documents import Collateral
from adyton.attestation.dcap.judge import read_pck
from adyton.attestation.dcap.tcb import TcbStatus
from adyton.attestation.dcap.verify import Verifier, verify_quote
from adyton.attestation.errors import AttestationError, Outcome
from adyton.attestation.formats.quote import Quote, parse_quote
from adyton.attestation.policy import QuotePolicy, Weakness
from adyton.attestation.verdict import EvidenceKind
from adyton.platform.simulated import pki


@pytest.fixture(scope="module")
def maker() -> Maker:
    return Maker("forgeries")


def policy(*anchors: TrustAnchor, **options: object) -> QuotePolicy:
    """Accepts the forger's programs and the genuine ones, so that only the forgery can be what is refused."""
    return QuotePolicy(
        anchors=anchors,
        mrenclaves=frozenset({EVIL_ENCLAVE, enclave_body().mrenclave}),
        mrtds=frozenset({EVIL_TD, td_body().mrtd}),
        **options,  # type: ignore[arg-type]  # members of QuotePolicy
    )


def refused(quote: Quote | bytes, collateral: Collateral, rules: QuotePolicy, now: datetime = NOW) -> AttestationError:
    data = quote if isinstance(quote, bytes) else quote.to_bytes()
    with pytest.raises(AttestationError) as caught:
        verify_quote(data, collateral, rules, now)
    return caught.value


def failed(error: AttestationError) -> set[str]:
    return {finding.check for finding in error.findings if finding.outcome is Outcome.FAILED}


class TestTheRootOfTheQuoteItself:
    """``intel-sgx-ra``: root from the quote, documents unchecked but for the FMSPC, the CRL asked about the CA."""

    @staticmethod
    def naive(quote: Quote, collateral: Collateral) -> bool:
        pck = read_pck(quote)
        info = json.loads(collateral.tcb_info)
        return (
            chain_holds(quote)
            and chain.common_name(pck.chain[2].subject) == "Intel SGX Root CA"
            and not revoked(collateral, pck.chain[1].serial_number)  # the wrong certificate's serial
            and info["fmspc"].lower() == pck.extension.fmspc.hex()  # its signature, dates and levels are not looked at
            and qe_report_is_signed(quote)
            and key_is_bound(quote)
            and body_is_signed(quote)
        )

    @pytest.fixture
    def forger(self, monkeypatch: pytest.MonkeyPatch) -> Maker:
        """A certificate authority of the forger's own that calls itself what the vendor's is called."""

        def name(role: str) -> x509.Name:
            return x509.Name(
                [
                    x509.NameAttribute(NameOID.COMMON_NAME, f"Intel SGX {role}"),
                    x509.NameAttribute(NameOID.ORGANIZATION_NAME, "Intel Corporation"),
                ]
            )

        monkeypatch.setattr(pki, "_name", name)
        return Maker("a forger who took the vendor's names")

    @staticmethod
    def forged(forger: Maker, *, levels: bool) -> tuple[Quote, Collateral]:
        quote = forger.quote(enclave_body(EVIL_ENCLAVE))
        good = forger.collateral()
        info = json.loads(good.tcb_info) | {"issueDate": "2020-01-01T00:00:00Z", "nextUpdate": "2020-02-01T00:00:00Z"}
        identity = json.loads(good.qe_identity) | {"mrsigner": "00" * 32}
        serial = read_pck(quote).chain[0].serial_number
        forger.vendor.catalogue = replace(forger.catalogue, revoked_pcks=frozenset({serial}))
        collateral = replace(
            forger.collateral(),
            tcb_info=json.dumps(info if levels else info | {"tcbLevels": []}),
            tcb_info_signature=bytes(64),
            qe_identity=json.dumps(identity) if levels else "{}",
            qe_identity_signature=bytes(64),
        )
        return quote, collateral

    def test_every_part_is_refused_for_itself(self, forger: Maker) -> None:
        quote, collateral = self.forged(forger, levels=True)
        assert self.naive(quote, collateral)
        error = refused(quote, collateral, policy(INTEL))
        assert failed(error) >= {
            "attestation.chain.anchor",
            "attestation.crl.revoked",
            "attestation.tcb.signature",
            "attestation.qe_identity.signature",
            "attestation.validity",
            "attestation.qe.identity",
        }

    def test_emptied_documents_are_no_documents(self, forger: Maker) -> None:
        quote, collateral = self.forged(forger, levels=False)
        assert self.naive(quote, collateral)
        assert "attestation.collateral.format" in failed(refused(quote, collateral, policy(INTEL)))

    def test_the_vendors_names_under_another_root_are_refused_alone(self, forger: Maker) -> None:
        """With flawless documents only the fingerprint of the root tells the forger from the vendor."""
        quote, collateral = forger.quote(enclave_body(EVIL_ENCLAVE)), forger.collateral()
        assert self.naive(quote, collateral)
        assert failed(refused(quote, collateral, policy(INTEL))) == {"attestation.chain.anchor"}

    def test_nobody_pins_the_vendors_names_as_simulated(self, forger: Maker) -> None:
        quote = forger.quote(enclave_body(EVIL_ENCLAVE))
        error = refused(quote, forger.collateral(), policy(forger.vendor.anchor))
        assert failed(error) == {"attestation.chain.anchor"}
        assert "Simulated" in error.message


class TestAnAttestationKeyOfOnesOwn:
    """``dk-tee-attestation``: the QE report is checked, but not that it speaks of the attestation key."""

    @staticmethod
    def naive(quote: Quote) -> bool:
        return chain_holds(quote) and qe_report_is_signed(quote) and body_is_signed(quote)

    @pytest.mark.parametrize(
        ("body", "version"),
        [(enclave_body(), 3), (td_body(), 4), (td_body(), 5), (td15_body(), 5)],
        ids=["SGX v3", "TDX v4", "TDX v5 TD10", "TDX v5 TD15"],
    )
    def test_a_simulated_quote_with_another_program(self, maker: Maker, body: object, version: int) -> None:
        genuine = maker.quote(body, version)  # type: ignore[arg-type]  # a body of either technology
        collateral = maker.collateral(genuine.kind)
        assert verify_quote(genuine.to_bytes(), collateral, policy(maker.vendor.anchor), NOW).tier.startswith("sim:")
        forged = reattested(genuine)
        assert self.naive(forged)
        error = refused(forged, collateral, policy(maker.vendor.anchor))
        assert (error.code, failed(error)) == ("attestation.qe.binding", {"attestation.qe.binding"})

    @pytest.mark.parametrize("name", ["sgx_quote", "tdx_quote"])
    def test_a_real_quote_with_another_program(self, evidence: Path, name: str) -> None:
        collateral = Collateral.from_json((evidence / f"{name}_collateral.json").read_bytes())
        forged = reattested(parse_quote((evidence / name).read_bytes()))
        assert self.naive(forged)
        rules = policy(INTEL, tolerate=frozenset(Weakness))
        rules = replace(rules, ignore_advisories=frozenset("*"))
        error = refused(forged, collateral, rules, datetime(2025, 7, 1, tzinfo=UTC))
        assert (error.code, failed(error)) == ("attestation.qe.binding", {"attestation.qe.binding"})

    def test_the_independent_verifier_says_the_same(self, maker: Maker) -> None:
        forged = reattested(maker.quote(td_body(), 4))
        copy = dcap_qvl.QuoteCollateralV3.from_json(maker.collateral(EvidenceKind.TDX).to_json())
        with pytest.raises(ValueError, match="QE report hash mismatch"):
            dcap_qvl.verify_with_root_ca(forged.to_bytes(), copy, maker.vendor.root_der, int(NOW.timestamp()))


@pytest.mark.parametrize("build", FORGERIES, ids=lambda build: build.__name__)
def test_a_forgery_that_one_missing_step_lets_through(maker: Maker, build: Callable[[Maker], Forgery]) -> None:
    forgery = build(maker)
    assert forgery.naive(forgery.quote, forgery.collateral)
    root = chain.fingerprint(certificates(forgery.quote)[2])
    error = refused(forgery.quote, forgery.collateral, policy(TrustAnchor(f"sim:{root}")))
    assert failed(error) == forgery.checks


@pytest.mark.parametrize("build", FORGERIES, ids=lambda build: build.__name__)
def test_a_service_that_has_just_seen_the_genuine_platform_refuses_it_too(
    maker: Maker, build: Callable[[Maker], Forgery]
) -> None:
    """What a verifier keeps of genuine evidence must not vouch for a forgery that shares parts of it."""
    forgery, genuine = build(maker), maker.quote(enclave_body())
    shelf = {True: maker.collateral(), False: forgery.collateral}

    class Source:
        first = True

        def fetch(self, *_of: object) -> Collateral:
            return shelf[self.first]

    source = Source()
    verifier = Verifier(source, clock=lambda: NOW)
    root = chain.fingerprint(certificates(forgery.quote)[2])
    rules = policy(maker.vendor.anchor, TrustAnchor(f"sim:{root}"))
    assert verifier.verify(genuine.to_bytes(), rules).body == genuine.body
    for source.first in (True, False, True):
        if not source.first or forgery.collateral == maker.collateral():
            with pytest.raises(AttestationError):
                verifier.verify(forgery.quote.to_bytes(), rules)


class TestWhatBelongsTogether:
    """Genuine parts of different wholes."""

    def test_documents_of_another_root_where_both_are_accepted(self, maker: Maker) -> None:
        """A policy may name two fleets; the second must not judge the platforms of the first."""
        other = Maker("another fleet")
        mixed = replace(
            maker.collateral(),
            **{
                name: getattr(other.collateral(), name)
                for name in ("tcb_info", "tcb_info_signature", "tcb_info_issuer_chain")
            },
        )
        rules = policy(maker.vendor.anchor, other.vendor.anchor)
        assert failed(refused(maker.quote(enclave_body()), mixed, rules)) >= {"attestation.chain.anchor"}

    def test_the_quote_of_one_fleet_under_the_collateral_of_another(self, maker: Maker) -> None:
        other = Maker("another fleet")
        rules = policy(maker.vendor.anchor, other.vendor.anchor)
        error = refused(maker.quote(enclave_body()), other.collateral(), rules)
        assert failed(error) >= {"attestation.chain.path", "attestation.chain.anchor", "attestation.crl.signature"}

    @pytest.mark.parametrize("kind", [EvidenceKind.SGX, EvidenceKind.TDX])
    def test_collateral_of_the_other_technology(self, maker: Maker, kind: EvidenceKind) -> None:
        quote = maker.quote(enclave_body()) if kind is EvidenceKind.TDX else maker.quote(td_body(), 4)
        error = refused(quote, maker.collateral(kind), policy(maker.vendor.anchor))
        assert error.code == "attestation.tcb.platform"
        assert failed(error) >= {"attestation.tcb.platform", "attestation.qe.identity"}

    def test_the_qe_identity_of_the_other_technology(self, maker: Maker) -> None:
        tdx = maker.collateral(EvidenceKind.TDX)
        names = ("qe_identity", "qe_identity_signature", "qe_identity_issuer_chain")
        mixed = replace(maker.collateral(), **{name: getattr(tdx, name) for name in names})
        error = refused(maker.quote(enclave_body()), mixed, policy(maker.vendor.anchor))
        assert failed(error) == {"attestation.qe.identity"}

    def test_a_quoting_enclave_of_sgx_does_not_quote_trust_domains(self, maker: Maker) -> None:
        quote = maker.quote(td_body(), 4)
        sgx_qe = maker.quote(enclave_body()).qe_report
        forged = maker.bound(replace(quote, qe_report=sgx_qe))
        error = refused(forged, maker.collateral(EvidenceKind.TDX), policy(maker.vendor.anchor))
        assert failed(error) >= {"attestation.qe.identity"}

    def test_older_documents_of_the_same_vendor(self, maker: Maker) -> None:
        """Documents that still run are refused where a policy knows that newer ones exist."""
        error = refused(
            maker.quote(enclave_body()), maker.collateral(), policy(maker.vendor.anchor, min_evaluation_number=18)
        )
        assert failed(error) == {"attestation.tcb.evaluation"}

    def test_documents_whose_time_is_over(self, maker: Maker) -> None:
        quote, later = maker.quote(enclave_body()), NOW + timedelta(days=60)
        error = refused(quote, maker.collateral(), policy(maker.vendor.anchor), later)
        assert failed(error) == {"attestation.validity"}


class TestSignaturesOfNothing:
    """r = s = 0 verified with any key in libraries that did not check the range (CVE-2022-21449)."""

    @pytest.mark.parametrize(
        ("member", "check"),
        [("signature", "attestation.quote.signature"), ("qe_report_signature", "attestation.qe.signature")],
    )
    @pytest.mark.parametrize("value", [bytes(64), b"\xff" * 64, b"\0" * 63 + b"\1"], ids=["zero", "ones", "r zero"])
    def test_of_the_quote(self, maker: Maker, member: str, check: str, value: bytes) -> None:
        forged = replace(maker.quote(enclave_body()), **{member: value})  # type: ignore[arg-type]  # bytes members
        assert failed(refused(forged, maker.collateral(), policy(maker.vendor.anchor))) == {check}

    @pytest.mark.parametrize("name", ["tcb_info", "qe_identity"])
    def test_of_the_documents(self, maker: Maker, name: str) -> None:
        forged = replace(maker.collateral(), **{f"{name}_signature": bytes(64)})
        check = {"tcb_info": "attestation.tcb.signature", "qe_identity": "attestation.qe_identity.signature"}[name]
        assert failed(refused(maker.quote(enclave_body()), forged, policy(maker.vendor.anchor))) == {check}

    @pytest.mark.parametrize("key", [bytes(64), b"\xff" * 64, bytes(63) + b"\1"], ids=["zero", "ones", "off curve"])
    def test_under_a_key_that_is_no_key(self, maker: Maker, key: bytes) -> None:
        forged = maker.bound(replace(maker.quote(enclave_body()), attestation_key=key))
        error = refused(forged, maker.collateral(), policy(maker.vendor.anchor))
        assert failed(error) == {"attestation.quote.signature"}


def test_the_level_is_that_of_the_certificate_whatever_cpusvn_the_report_has(maker: Maker) -> None:
    for cpusvn in (bytes(16), b"\xff" * 16):
        quote = maker.quote(replace(enclave_body(), cpusvn=cpusvn))
        evidence = verify_quote(quote.to_bytes(), maker.collateral(), policy(maker.vendor.anchor), NOW)
        assert evidence.status is TcbStatus.UP_TO_DATE
