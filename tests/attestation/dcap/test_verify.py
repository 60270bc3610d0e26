"""The verifier against real evidence, simulated evidence, and everything that is wrong with either."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable
from dataclasses import fields, replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import dcap_qvl
import pytest
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from cryptography.x509.oid import NameOID
from tests.platform.world import NOW, World, mrsigner_of, signer

from adyton.attestation.anchors import INTEL, TrustAnchor
from adyton.attestation.checks import QUOTE_CHECKS
from adyton.attestation.collateral.cache import CollateralCache
from adyton.attestation.collateral.documents import Collateral
from adyton.attestation.dcap import verify as verify_module
from adyton.attestation.dcap.judge import read_pck
from adyton.attestation.dcap.opinion import SECOND_OPINION, second_opinion
from adyton.attestation.dcap.pck import CaKind
from adyton.attestation.dcap.signer import JudgedSigner, judge_signer
from adyton.attestation.dcap.tcb import TcbStatus
from adyton.attestation.dcap.verify import Verifier, verify_quote
from adyton.attestation.errors import AttestationError, Outcome
from adyton.attestation.formats.quote import Quote, QuoteHeader, parse_quote
from adyton.attestation.formats.sgx import Attributes, Flag, ReportBody
from adyton.attestation.policy import QuotePolicy, Weakness
from adyton.attestation.verdict import EvidenceKind
from adyton.base.errors import UnavailableError
from adyton.base.secret import Secret
from adyton.platform.simulated import pki
from adyton.platform.simulated.cpu import DEFAULT_CPUSVN
from adyton.platform.simulated.derive import sign_raw
from adyton.platform.simulated.pki import Catalogue, Level, QeLevel, SimulatedVendor

M1, M2 = b"\x01" * 32, b"\x02" * 32
DATA = b"\x07" * 64
REAL_FROM = datetime(2025, 6, 19, 10, 56, 11, tzinfo=UTC)
REAL_TO = datetime(2025, 7, 19, 10, 1, 18, tzinfo=UTC)
REAL_CAUSES = frozenset({Weakness.SOFTWARE_HARDENING_NEEDED, Weakness.INSECURE_CONFIGURATION})
REAL_ADVISORIES = frozenset({"INTEL-SA-00289", "INTEL-SA-00615"})
SECOND = timedelta(seconds=1)


def real_policy(quote: bytes, **changes: object) -> QuotePolicy:
    policy = QuotePolicy(
        anchors=(INTEL,),
        mrenclaves=frozenset({parse_quote(quote).enclave.mrenclave}),
        tolerate=REAL_CAUSES,
        ignore_advisories=REAL_ADVISORIES,
    )
    return replace(policy, **changes)  # type: ignore[arg-type]


def refused(quote: bytes, collateral: Collateral, policy: QuotePolicy, now: datetime = NOW) -> AttestationError:
    with pytest.raises(AttestationError) as caught:
        verify_quote(quote, collateral, policy, now)
    error = caught.value
    assert all(finding.outcome in Outcome for finding in error.findings)
    assert any(finding.outcome is not Outcome.PASSED for finding in error.findings)
    assert any({finding.check for finding in error.findings} == set(checks) for checks in QUOTE_CHECKS.values())
    return error


def failed(error: AttestationError) -> set[str]:
    return {finding.check for finding in error.findings if finding.outcome is Outcome.FAILED}


class TestRealEvidence:
    @pytest.mark.parametrize("now", [REAL_FROM, datetime(2025, 7, 1, tzinfo=UTC), REAL_TO])
    def test_is_accepted_in_its_window_with_its_status(
        self, real_quote: bytes, real_collateral: Collateral, now: datetime
    ) -> None:
        evidence = verify_quote(real_quote, real_collateral, real_policy(real_quote), now)
        assert evidence.status is TcbStatus.CONFIGURATION_AND_SW_HARDENING_NEEDED
        assert evidence.advisories == ("INTEL-SA-00289", "INTEL-SA-00615")
        assert (evidence.tier, evidence.simulated, evidence.debug) == ("intel", False, False)
        assert evidence.fmspc == "00a067110000"
        assert evidence.valid_until == REAL_TO
        assert [finding.check for finding in evidence.checks] == list(QUOTE_CHECKS[EvidenceKind.SGX])

    @pytest.mark.parametrize("now", [REAL_FROM - SECOND, REAL_TO + SECOND, NOW])
    def test_is_refused_outside_its_window(self, real_quote: bytes, real_collateral: Collateral, now: datetime) -> None:
        error = refused(real_quote, real_collateral, real_policy(real_quote), now)
        assert error.code == "attestation.validity"
        assert failed(error) == {"attestation.validity"}

    @pytest.mark.parametrize("missing", sorted(REAL_CAUSES))
    def test_needs_every_cause_tolerated(
        self, real_quote: bytes, real_collateral: Collateral, missing: Weakness
    ) -> None:
        policy = real_policy(real_quote, tolerate=REAL_CAUSES - {missing})
        error = refused(real_quote, real_collateral, policy, REAL_FROM)
        assert error.code == "attestation.tcb.status"
        assert missing in error.message

    @pytest.mark.parametrize("missing", sorted(REAL_ADVISORIES))
    def test_needs_every_advisory_ignored(self, real_quote: bytes, real_collateral: Collateral, missing: str) -> None:
        policy = real_policy(real_quote, ignore_advisories=REAL_ADVISORIES - {missing})
        error = refused(real_quote, real_collateral, policy, REAL_FROM)
        assert error.code == "attestation.tcb.advisory"
        assert missing in error.message

    def test_is_refused_under_a_simulated_anchor(
        self, real_quote: bytes, real_collateral: Collateral, world: World
    ) -> None:
        error = refused(real_quote, real_collateral, real_policy(real_quote, anchors=(world.anchor,)), REAL_FROM)
        assert error.code == "attestation.chain.anchor"

    def test_the_second_verifier_agrees(self, real_quote: bytes, real_collateral: Collateral) -> None:
        evidence = verify_quote(real_quote, real_collateral, real_policy(real_quote), REAL_FROM)
        assert second_opinion(real_quote, real_collateral, evidence, REAL_FROM).outcome is Outcome.PASSED

    def test_collateral_of_another_technology_is_refused(self, real_quote: bytes, evidence: Path) -> None:
        tdx = Collateral.from_json((evidence / "tdx_quote_collateral.json").read_bytes())
        error = refused(real_quote, tdx, real_policy(real_quote), REAL_FROM)
        assert error.code == "attestation.chain.path"  # the samples' platforms also have different CAs
        assert {"attestation.tcb.platform", "attestation.qe.identity"} <= failed(error)


@pytest.fixture(scope="module")
def quote(world: World) -> bytes:
    return world.platform(M1, isvprodid=3, isvsvn=4).quote(DATA)


class TestSimulatedEvidence:
    def test_is_accepted_with_its_tier(self, world: World, quote: bytes) -> None:
        evidence = verify_quote(quote, world.collateral(), world.policy(M1), NOW)
        assert evidence.status is TcbStatus.UP_TO_DATE
        assert evidence.tier == f"sim:{hashlib.sha256(world.vendor.root_der).hexdigest()}"
        assert evidence.simulated
        assert (evidence.mrenclave, evidence.mrsigner, evidence.report_data) == (M1, mrsigner_of(), DATA)
        assert (evidence.isvprodid, evidence.isvsvn) == (3, 4)

    def test_the_independent_verifier_accepts_it_under_its_root_only(
        self, world: World, quote: bytes, real_quote: bytes
    ) -> None:
        collateral = dcap_qvl.QuoteCollateralV3.from_json(world.collateral().to_json())
        seconds = int(NOW.timestamp())
        report = dcap_qvl.verify_with_root_ca(quote, collateral, world.vendor.root_der, seconds)
        assert (report.status, report.advisory_ids) == ("UpToDate", [])
        intel_root = read_pck(parse_quote(real_quote)).root_der
        assert INTEL.accepts(hashlib.sha256(intel_root).hexdigest())
        with pytest.raises(ValueError):
            dcap_qvl.verify_with_root_ca(quote, collateral, intel_root, seconds)

    def test_is_refused_under_the_intel_anchor(self, world: World, quote: bytes) -> None:
        error = refused(quote, world.collateral(), replace(world.policy(M1), anchors=(INTEL,)))
        assert failed(error) == {"attestation.chain.anchor"}

    def test_is_refused_under_the_root_of_another_fleet(self, world: World, quote: bytes) -> None:
        other = TrustAnchor.simulated_root(b"another root")
        error = refused(quote, world.collateral(), replace(world.policy(M1), anchors=(other, INTEL)))
        assert error.code == "attestation.chain.anchor"

    def test_a_platform_has_one_identity_over_enclaves_and_restarts(self, world: World) -> None:
        def identity(of: World, measurement: bytes) -> str:
            policy = of.policy(measurement)
            return verify_quote(of.platform(measurement).quote(DATA), of.collateral(), policy, NOW).platform_id

        assert identity(world, M1) == identity(world, M2)
        assert identity(world, M1) != identity(world.other_cpu(), M1)

    @pytest.mark.parametrize(
        ("now", "code"),
        [(NOW + timedelta(days=31), "attestation.validity"), (NOW - timedelta(days=31), "attestation.validity")],
        ids=["after", "before"],
    )
    def test_collateral_out_of_its_window_is_refused(
        self, world: World, quote: bytes, now: datetime, code: str
    ) -> None:
        assert refused(quote, world.collateral(), world.policy(M1), now).code == code


class TestIdentityPolicy:
    @pytest.mark.parametrize(
        ("changes", "check"),
        [
            ({"mrenclaves": frozenset({M2})}, "attestation.measurement"),
            ({"mrsigners": frozenset({M2})}, "attestation.signer"),
            ({"isvprodid": 4}, "attestation.product"),
            ({"min_isvsvn": 5}, "attestation.svn"),
            ({"min_evaluation_number": 18}, "attestation.tcb.evaluation"),
        ],
    )
    def test_each_rule_refuses_alone(self, world: World, quote: bytes, changes: dict[str, object], check: str) -> None:
        policy = replace(world.policy(M1), **changes)  # type: ignore[arg-type]
        error = refused(quote, world.collateral(), policy)
        assert error.code == check
        assert failed(error) == {check}

    def test_signer_and_product_are_enough_without_a_measurement(self, world: World, quote: bytes) -> None:
        policy = QuotePolicy(anchors=(world.anchor,), mrsigners=frozenset({mrsigner_of()}), isvprodid=3, min_isvsvn=4)
        assert verify_quote(quote, world.collateral(), policy, NOW).mrenclave == M1

    def test_all_failures_are_found_at_once(self, world: World) -> None:
        quote = world.platform(M1, debug=True).quote(DATA)
        error = refused(quote, world.collateral(), world.policy(M2, min_isvsvn=9), NOW + timedelta(days=60))
        assert failed(error) == {
            "attestation.validity",
            "attestation.debug",
            "attestation.measurement",
            "attestation.svn",
        }
        assert error.code == "attestation.validity"
        assert "and 3 more" in error.message

    def test_a_debug_enclave_needs_debug_mode_tolerated(self, world: World) -> None:
        quote = world.platform(M1, debug=True).quote(DATA)
        assert refused(quote, world.collateral(), world.policy(M1)).code == "attestation.debug"
        policy = world.policy(M1, tolerate=frozenset({Weakness.DEBUG_MODE}))
        evidence = verify_quote(quote, world.collateral(), policy, NOW)
        assert evidence.debug
        assert second_opinion(quote, world.collateral(), evidence, NOW).outcome is Outcome.NOT_ASKED

    @pytest.mark.parametrize("flags", [Flag.INIT, Flag.MODE64BIT, 0x15, 0x25], ids=hex)
    def test_attributes_of_no_application_enclave_are_refused(self, world: World, quote: bytes, flags: int) -> None:
        forged = resigned(world, parse_quote(quote), lambda body: replace(body, attributes=Attributes(flags)))
        assert "attestation.attributes" in failed(refused(forged, world.collateral(), world.policy(M1)))


def resigned(world: World, quote: Quote, change: Callable[[ReportBody], ReportBody]) -> bytes:
    """What a quoting enclave that lies would make: another body under the true attestation key."""
    body = change(quote.enclave)
    signature = sign_raw(world.qe._attestation_key, quote.header.to_bytes() + body.to_bytes())
    return replace(quote, body=body, signature=signature).to_bytes()


def flipped(value: Any) -> Any:  # noqa: ANN401  # a field of any type
    match value:
        case bytes():
            return bytes([value[0] ^ 1]) + value[1:]
        case Attributes():
            return Attributes(value.flags ^ 0x400, value.xfrm)
        case int():
            return value ^ 1
        case _:
            raise TypeError(value)


HEADER_FIELDS = [field.name for field in fields(QuoteHeader)]
BODY_FIELDS = [field.name for field in fields(ReportBody)]


class TestTampering:
    @pytest.mark.parametrize("name", HEADER_FIELDS)
    def test_every_header_field(self, world: World, quote: bytes, name: str) -> None:
        parsed = parse_quote(quote)
        header = replace(parsed.header, **{name: flipped(getattr(parsed.header, name))})
        refused(replace(parsed, header=header).to_bytes(), world.collateral(), world.policy(M1))

    @pytest.mark.parametrize("name", BODY_FIELDS)
    def test_every_body_field(self, world: World, quote: bytes, name: str) -> None:
        parsed = parse_quote(quote)
        body = replace(parsed.enclave, **{name: flipped(getattr(parsed.enclave, name))})
        policy = QuotePolicy(anchors=(world.anchor,), mrenclaves=frozenset({M1, body.mrenclave}))
        error = refused(replace(parsed, body=body).to_bytes(), world.collateral(), policy)
        assert "attestation.quote.signature" in failed(error)

    @pytest.mark.parametrize("name", BODY_FIELDS)
    def test_every_field_of_the_qe_report(self, world: World, quote: bytes, name: str) -> None:
        parsed = parse_quote(quote)
        report = replace(parsed.qe_report, **{name: flipped(getattr(parsed.qe_report, name))})
        error = refused(replace(parsed, qe_report=report).to_bytes(), world.collateral(), world.policy(M1))
        assert "attestation.qe.signature" in failed(error)

    @pytest.mark.parametrize(
        ("name", "check"),
        [
            ("signature", "attestation.quote.signature"),
            ("attestation_key", "attestation.qe.binding"),
            ("qe_report_signature", "attestation.qe.signature"),
            ("auth", "attestation.qe.binding"),
            ("certification_type", "attestation.chain.pck"),
        ],
    )
    def test_the_signature_data(self, world: World, quote: bytes, name: str, check: str) -> None:
        parsed = parse_quote(quote)
        changed = replace(parsed, **{name: flipped(getattr(parsed, name))})
        assert check in failed(refused(changed.to_bytes(), world.collateral(), world.policy(M1)))

    def test_any_flipped_bit(self, world: World, quote: bytes) -> None:
        collateral, policy = world.collateral(), world.policy(M1)
        for offset in range(0, len(quote), 23):
            forged = bytearray(quote)
            forged[offset] ^= 1 << offset % 8
            with pytest.raises(AttestationError):
                verify_quote(bytes(forged), collateral, policy, NOW)

    @pytest.mark.parametrize(
        "change",
        [
            lambda pem: pem + b"\n",
            lambda pem: pem + b"\0\0",
            lambda pem: b"x" + pem,
            lambda pem: pem + pem[: pem.index(b"-----END") + 26],
            lambda pem: pem[pem.index(b"-----END") + 26 :],
            lambda pem: pem.replace(b"-----BEGIN", b"comment\n-----BEGIN", 1),
            lambda _pem: b"",
            lambda _pem: b"-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n" * 3,
        ],
        ids=["newline", "two NULs", "byte before", "four", "two", "comment", "empty", "no certificates"],
    )
    def test_another_form_of_the_chain(self, world: World, quote: bytes, change: Callable[[bytes], bytes]) -> None:
        parsed = parse_quote(quote)
        forged = replace(parsed, certification=change(parsed.certification)).to_bytes()
        error = refused(forged, world.collateral(), world.policy(M1))
        assert failed(error) == {"attestation.chain.pck"}

    def test_a_final_nul_is_allowed_as_real_quotes_have_it(self, world: World, quote: bytes) -> None:
        parsed = parse_quote(quote)
        form = replace(parsed, certification=parsed.certification + b"\0").to_bytes()
        assert verify_quote(form, world.collateral(), world.policy(M1), NOW).mrenclave == M1

    def test_the_certificates_in_another_order(self, world: World, quote: bytes) -> None:
        parsed = parse_quote(quote)
        end = b"-----END CERTIFICATE-----\n"
        leaf, ca, root = (block + end for block in parsed.certification.split(end)[:3])
        for order in ((ca, leaf, root), (leaf, root, ca), (root, ca, leaf), (leaf, ca, ca), (leaf, leaf, root)):
            forged = replace(parsed, certification=b"".join(order)).to_bytes()
            refused(forged, world.collateral(), world.policy(M1))

    @pytest.mark.parametrize(
        ("change", "check"),
        [
            ({"tcb_info": lambda text: text.replace('"pcesvn":13', '"pcesvn":12')}, "attestation.tcb.signature"),
            ({"tcb_info": lambda text: text + " "}, "attestation.tcb.signature"),
            ({"tcb_info_signature": flipped}, "attestation.tcb.signature"),
            ({"qe_identity": lambda text: text + " "}, "attestation.qe_identity.signature"),
            ({"qe_identity_signature": flipped}, "attestation.qe_identity.signature"),
            ({"root_ca_crl": lambda der: der[:-1] + bytes([der[-1] ^ 1])}, "attestation.crl.signature"),
            ({"pck_crl": lambda der: der[:-1] + bytes([der[-1] ^ 1])}, "attestation.crl.signature"),
            ({"pck_crl": lambda _der: b"\x30\x00"}, "attestation.collateral.format"),
            ({"tcb_info": lambda _text: "{}"}, "attestation.collateral.format"),
            ({"tcb_info_issuer_chain": lambda _text: ""}, "attestation.collateral.format"),
        ],
    )  # fmt: skip
    def test_the_collateral(
        self, world: World, quote: bytes, change: dict[str, Callable[[Any], Any]], check: str
    ) -> None:
        ((name, edit),) = change.items()
        collateral = world.collateral()
        forged = replace(collateral, **{name: edit(getattr(collateral, name))})
        assert failed(refused(quote, forged, world.policy(M1))) == {check}

    def test_swapped_parts_of_the_collateral(self, world: World, quote: bytes) -> None:
        good = world.collateral()
        swapped = replace(good, root_ca_crl=good.pck_crl, pck_crl=good.root_ca_crl)
        assert failed(refused(quote, swapped, world.policy(M1))) == {"attestation.crl.signature"}
        signers = replace(good, tcb_info_issuer_chain=good.pck_crl_issuer_chain)
        assert "attestation.chain.path" in failed(refused(quote, signers, world.policy(M1)))

    def test_a_pck_key_cannot_sign_tcb_info(self, world: World, quote: bytes) -> None:
        """Any platform's PCK key, also below the root, would make its own TCB info otherwise."""
        good, key = world.collateral(), world.qe._pck_key
        end = "-----END CERTIFICATE-----\n"
        leaf, _ca, root = (block + end for block in world.qe.pck_chain(NOW).decode().split(end)[:3])
        forged = replace(
            good,
            tcb_info_issuer_chain=leaf + root,
            tcb_info_signature=sign_raw(key, good.tcb_info.encode()),
        )
        assert "attestation.chain.path" in failed(refused(quote, forged, world.policy(M1)))


def vendor(**changes: object) -> SimulatedVendor:
    catalogue = replace(Catalogue(), **changes)  # type: ignore[arg-type]
    return SimulatedVendor(Secret(b"adyton tests: simulated vendor.."), signer("vendor"), catalogue)


def only(status: TcbStatus, *advisories: str) -> tuple[Level, ...]:
    return (Level(DEFAULT_CPUSVN, 13, status, advisories),)


class TestVendorStatements:
    @pytest.mark.parametrize(
        ("changes", "check"),
        [
            ({"levels": only(TcbStatus.OUT_OF_DATE)}, "attestation.tcb.status"),
            ({"levels": only(TcbStatus.REVOKED)}, "attestation.tcb.status"),
            ({"levels": (Level(b"\xff" * 16, 0, TcbStatus.UP_TO_DATE),)}, "attestation.tcb.level"),
            ({"qe_levels": (QeLevel(9, TcbStatus.UP_TO_DATE),)}, "attestation.tcb.level"),
            ({"qe_levels": (QeLevel(8, TcbStatus.OUT_OF_DATE),)}, "attestation.tcb.status"),
            ({"qe_mrsigner": bytes(32)}, "attestation.qe.identity"),
        ],
        ids=["out of date", "revoked level", "no level", "no QE level", "QE out of date", "another QE signer"],
    )
    def test_refused(self, changes: dict[str, object], check: str) -> None:
        world = World(vendor(**changes))
        error = refused(world.platform(M1).quote(DATA), world.collateral(), world.policy(M1))
        assert failed(error) == {check}

    def test_nothing_excuses_a_revoked_level(self) -> None:
        world = World(vendor(levels=only(TcbStatus.REVOKED)))
        policy = world.policy(M1, tolerate=frozenset(Weakness), ignore_advisories=frozenset("*"))
        assert refused(world.platform(M1).quote(DATA), world.collateral(), policy).code == "attestation.tcb.status"

    def test_tolerated_status_and_ignored_advisories_are_accepted_and_reported(self) -> None:
        world = World(vendor(levels=only(TcbStatus.OUT_OF_DATE_CONFIGURATION_NEEDED, "INTEL-SA-00001")))
        quote = world.platform(M1).quote(DATA)
        tolerate = frozenset({Weakness.OUTDATED_TCB, Weakness.INSECURE_CONFIGURATION})
        for partial in (tolerate - {Weakness.OUTDATED_TCB}, tolerate - {Weakness.INSECURE_CONFIGURATION}):
            assert (
                refused(quote, world.collateral(), world.policy(M1, tolerate=partial)).code == "attestation.tcb.status"
            )
        assert (
            refused(quote, world.collateral(), world.policy(M1, tolerate=tolerate)).code == "attestation.tcb.advisory"
        )
        policy = world.policy(M1, tolerate=tolerate, ignore_advisories=frozenset({"INTEL-SA-00001"}))
        evidence = verify_quote(quote, world.collateral(), policy, NOW)
        assert (evidence.status, evidence.advisories) == (
            TcbStatus.OUT_OF_DATE_CONFIGURATION_NEEDED,
            ("INTEL-SA-00001",),
        )

    def test_hyperthreading_must_be_tolerated(self) -> None:
        world = World(vendor(smt=True))
        quote = world.platform(M1).quote(DATA)
        assert refused(quote, world.collateral(), world.policy(M1)).code == "attestation.tcb.status"
        policy = world.policy(M1, tolerate=frozenset({Weakness.HYPERTHREADING}))
        assert verify_quote(quote, world.collateral(), policy, NOW).status is TcbStatus.UP_TO_DATE

    @pytest.mark.parametrize("position", [0, 1], ids=["PCK certificate", "PCK CA"])
    def test_a_revoked_certificate_is_refused(self, world: World, position: int) -> None:
        quote = world.platform(M1).quote(DATA)
        serial = read_pck(parse_quote(quote)).chain[position].serial_number
        lists = ("revoked_pcks", "revoked_by_root")
        collateral = vendor(**{lists[position]: frozenset({serial})}).collateral(NOW)
        assert failed(refused(quote, collateral, world.policy(M1))) == {"attestation.crl.revoked"}

    def test_a_revoked_tcb_signer_is_refused(self, world: World) -> None:
        quote = world.platform(M1).quote(DATA)
        signer_pem = world.collateral().tcb_info_issuer_chain.encode()
        serial = x509.load_pem_x509_certificates(signer_pem)[0].serial_number
        collateral = vendor(revoked_by_root=frozenset({serial})).collateral(NOW)
        assert failed(refused(quote, collateral, world.policy(M1))) == {"attestation.crl.revoked"}

    def test_tcb_info_of_another_platform_kind_is_refused(
        self, world: World, quote: bytes, real_collateral: Collateral
    ) -> None:
        error = refused(quote, real_collateral, world.policy(M1))
        assert {"attestation.tcb.platform", "attestation.chain.path", "attestation.chain.anchor"} <= failed(error)


class TestForgeriesThatOtherLibrariesAccepted:
    def test_a_self_made_root_with_unsigned_expired_emptied_documents(self) -> None:
        """``intel-sgx-ra`` took the root from the quote, ignored the signatures and looked at no level."""
        forger = World(SimulatedVendor(Secret(b"a forger's own seed of 32 bytes!"), signer("forger")))
        good = forger.collateral()
        info = json.loads(good.tcb_info) | {"nextUpdate": "2020-02-01T00:00:00Z", "issueDate": "2020-01-01T00:00:00Z"}
        identity = json.loads(good.qe_identity) | {"mrsigner": "00" * 32}
        forged = replace(
            good,
            tcb_info=json.dumps(info),
            tcb_info_signature=bytes(64),
            qe_identity=json.dumps(identity),
            qe_identity_signature=bytes(64),
        )
        quote = forger.platform(M1).quote(DATA)
        error = refused(quote, forged, QuotePolicy(anchors=(INTEL,), mrenclaves=frozenset({M1})))
        assert failed(error) == {
            "attestation.chain.anchor",
            "attestation.tcb.signature",
            "attestation.qe_identity.signature",
            "attestation.validity",
            "attestation.qe.identity",
        }
        emptied = replace(forged, tcb_info=json.dumps(info | {"tcbLevels": []}), qe_identity="{}")
        assert "attestation.collateral.format" in failed(
            refused(quote, emptied, QuotePolicy(anchors=(INTEL,), mrenclaves=frozenset({M1})))
        )

    @staticmethod
    def reattested(quote: bytes, measurement: bytes) -> bytes:
        """Another measurement under a self-made attestation key: what skipping the key binding lets through."""
        parsed = parse_quote(quote)
        key = ec.generate_private_key(ec.SECP256R1())
        point = key.public_key().public_bytes(Encoding.X962, PublicFormat.UncompressedPoint)[1:]
        body = replace(parsed.enclave, mrenclave=measurement)
        signature = sign_raw(key, parsed.header.to_bytes() + body.to_bytes())
        return replace(parsed, body=body, attestation_key=point, signature=signature).to_bytes()

    def test_a_replaced_measurement_with_a_self_made_key(self, world: World, quote: bytes) -> None:
        """``dk-tee-attestation`` skipped the binding of the attestation key."""
        error = refused(self.reattested(quote, M2), world.collateral(), world.policy(M2))
        assert failed(error) == {"attestation.qe.binding"}

    def test_the_same_on_the_real_quote(self, real_quote: bytes, real_collateral: Collateral) -> None:
        policy = real_policy(real_quote, mrenclaves=frozenset({M2}))
        error = refused(self.reattested(real_quote, M2), real_collateral, policy, REAL_FROM)
        assert failed(error) == {"attestation.qe.binding"}

    def test_a_root_that_does_not_say_simulated(self, monkeypatch: pytest.MonkeyPatch) -> None:
        """Nobody can pin an unmarked root of their own under a ``sim:`` name."""
        unmarked = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "SGX Root CA")])
        original = pki._name
        monkeypatch.setattr(pki, "_name", lambda role: unmarked if role == "Root CA" else original(role))
        world = World(vendor())
        error = refused(world.platform(M1).quote(DATA), world.collateral(), world.policy(M1))
        assert failed(error) == {"attestation.chain.anchor"}
        assert "Simulated" in error.message


class Source:
    """Counts what a verifier asks for."""

    def __init__(self, world: World) -> None:
        self.world = world
        self.asked: list[str] = []
        self.down = False

    def fetch(self, fmspc: str, ca: CaKind, kind: EvidenceKind = EvidenceKind.SGX) -> Collateral:
        self.asked.append(fmspc)
        if self.down:
            raise UnavailableError("no collateral")
        return self.world.fetch(fmspc, ca, kind)


class TestVerifier:
    def test_the_second_opinion_is_asked_once_for_a_platform(self, world: World) -> None:
        verifier, policy = world.verifier(), world.policy(M1)
        first = verifier.verify(world.platform(M1).quote(DATA), policy)
        again = verifier.verify(world.platform(M1).quote(bytes(64)), policy)
        other = verifier.verify(world.other_cpu().platform(M1).quote(DATA), policy)
        assert [e.checks[-1].check == SECOND_OPINION for e in (first, again, other)] == [True, False, True]

    def test_the_second_opinion_is_asked_about_every_program(self, world: World) -> None:
        verifier, policy = world.verifier(), world.policy(M1, M2, tolerate=frozenset({Weakness.DEBUG_MODE}))
        asked = [
            verifier.verify(world.platform(m).quote(data), policy).checks[-1].check == SECOND_OPINION
            for m in (M1, M2)
            for data in (DATA, bytes(64))
        ]
        assert asked == [True, False, True, False]

    def test_what_the_second_verifier_refuses_is_refused_again(
        self, world: World, quote: bytes, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        def refuse(*_of: object) -> None:
            raise ValueError("a step that only the other one makes")

        verifier = world.verifier()
        with monkeypatch.context() as patched:
            patched.setattr(dcap_qvl, "verify_with_root_ca", refuse)
            for _ in range(2):
                with pytest.raises(AttestationError, match="only the other one") as caught:
                    verifier.verify(quote, world.policy(M1))
                assert caught.value.code == SECOND_OPINION
        assert verifier.verify(quote, world.policy(M1)).mrenclave == M1

    def test_quotes_of_strangers_push_nothing_out_of_memory(
        self, world: World, quote: bytes, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """Anybody can send a genuine PCK chain, which is public, with a key of their own."""
        judged: list[bytes] = []

        def count(of: Quote, *others: Any) -> JudgedSigner:  # noqa: ANN401  # as judge_signer
            judged.append(of.attestation_key)
            return judge_signer(of, *others)

        monkeypatch.setattr(verify_module, "MAX_REMEMBERED", 4)
        monkeypatch.setattr(verify_module, "judge_signer", count)
        verifier, parsed = world.verifier(), parse_quote(quote)
        verifier.verify(quote, world.policy(M1))
        for number in range(8):
            forged = replace(parsed, auth=bytes([number + 1]) * 32).to_bytes()
            with pytest.raises(AttestationError):
                verifier.verify(forged, world.policy(M1))
        assert len(judged) == 9
        verifier.verify(quote, world.policy(M1))
        assert len(judged) == 9

    def test_new_collateral_is_a_new_appearance(self) -> None:
        world = World()
        verifier, policy = world.verifier(), world.policy(M1)
        verifier.verify(world.platform(M1).quote(DATA), policy)
        world.now += timedelta(days=11)
        assert verifier.verify(world.platform(M1).quote(DATA), policy).checks[-1].check == SECOND_OPINION

    def test_what_is_remembered_still_expires(self) -> None:
        world = World()
        verifier, policy, quote = world.verifier(), world.policy(M1), world.platform(M1).quote(DATA)
        frozen = world.collateral()
        world.fetch = lambda *_platform: frozen  # type: ignore[assignment,method-assign]
        verifier.verify(quote, policy)
        world.now += timedelta(days=31)
        with pytest.raises(AttestationError) as caught:
            verifier.verify(quote, policy)
        assert caught.value.code == "attestation.validity"

    def test_what_is_remembered_is_not_taken_for_another_quote_or_policy(self, world: World, quote: bytes) -> None:
        verifier = world.verifier()
        verifier.verify(quote, world.policy(M1))
        for forged, policy in (
            (quote[:60] + b"x" + quote[61:], world.policy(M1)),
            (quote, world.policy(M2)),
            (quote, replace(world.policy(M1), anchors=(INTEL,))),
        ):
            with pytest.raises(AttestationError):
                verifier.verify(forged, policy)

    @pytest.mark.parametrize(
        ("changes", "check"),
        [
            ({"min_evaluation_number": 18}, "attestation.tcb.evaluation"),
            ({"isvprodid": 9}, "attestation.product"),
            ({"min_isvsvn": 9}, "attestation.svn"),
            ({"mrsigners": frozenset({M2})}, "attestation.signer"),
            ({"tolerate": frozenset()}, "attestation.tcb.status"),
            ({"ignore_advisories": frozenset()}, "attestation.tcb.advisory"),
        ],
        ids=lambda value: value if isinstance(value, str) else "",
    )
    def test_what_is_remembered_under_one_policy_says_nothing_under_another(
        self, changes: dict[str, object], check: str
    ) -> None:
        world = World(vendor(levels=only(TcbStatus.OUT_OF_DATE, "INTEL-SA-00001")))
        verifier, quote = world.verifier(), world.platform(M1).quote(DATA)
        policy = world.policy(M1, tolerate=frozenset({Weakness.OUTDATED_TCB}), ignore_advisories=frozenset("*"))
        verifier.verify(quote, policy)
        with pytest.raises(AttestationError) as caught:
            verifier.verify(quote, replace(policy, **changes))  # type: ignore[arg-type]
        assert failed(caught.value) == {check}

    @pytest.mark.parametrize("name", ["revoked_pcks", "revoked_by_root"])
    def test_a_platform_that_was_good_is_refused_from_its_revocation_on(self, name: str) -> None:
        world = World()
        verifier, quote = world.verifier(), world.platform(M1).quote(DATA)
        verifier.verify(quote, world.policy(M1))
        serial = read_pck(parse_quote(quote)).chain[int(name == "revoked_by_root")].serial_number
        world.vendor = vendor(**{name: frozenset({serial})})
        with pytest.raises(AttestationError) as caught:
            verifier.verify(quote, world.policy(M1))
        assert caught.value.code == "attestation.crl.revoked"

    def test_a_foreign_platform_causes_no_request(self, world: World) -> None:
        forger = World(SimulatedVendor(Secret(b"a forger's own seed of 32 bytes!"), signer("forger")))
        source = Source(world)
        with pytest.raises(AttestationError) as caught:
            Verifier(source, clock=world.clock).verify(forger.platform(M1).quote(DATA), world.policy(M1))
        assert caught.value.code == "attestation.chain.anchor"
        assert source.asked == []

    def test_a_platform_that_is_known_under_one_root_causes_no_request_under_another(
        self, world: World, quote: bytes
    ) -> None:
        source = Source(world)
        verifier = Verifier(source, clock=world.clock)
        verifier.verify(quote, world.policy(M1))
        with pytest.raises(AttestationError) as caught:
            verifier.verify(quote, replace(world.policy(M1), anchors=(INTEL,)))
        assert caught.value.code == "attestation.chain.anchor"
        assert len(source.asked) == 1

    def test_without_collateral_nothing_is_accepted(self, world: World, quote: bytes) -> None:
        source = Source(world)
        source.down = True
        with pytest.raises(UnavailableError):
            Verifier(source, clock=world.clock).verify(quote, world.policy(M1))

    def test_forged_collateral_is_no_fault_of_the_quote(self, world: World, quote: bytes) -> None:
        """What a certificate service sends must not become a refusal of an enclave in anybody's records."""

        class Forger(Source):
            def fetch(self, *platform: Any) -> Collateral:  # noqa: ANN401  # as its base
                return replace(super().fetch(*platform), tcb_info_signature=bytes(64))

        source = Forger(world)
        cache = CollateralCache(source, [world.anchor], clock=world.clock)
        for _ in range(3):
            with pytest.raises(UnavailableError, match="certificate service") as caught:
                Verifier(cache, clock=world.clock).verify(quote, world.policy(M1))
            assert caught.value.code == "attestation.tcb.signature"
        assert len(source.asked) == 1

    def test_disagreement_is_refused(self, world: World, quote: bytes) -> None:
        evidence = verify_quote(quote, world.collateral(), world.policy(M1), NOW)
        for seen in (
            replace(evidence, status=TcbStatus.OUT_OF_DATE),
            replace(evidence, advisories=("INTEL-SA-00001",)),
            replace(evidence, body=replace(evidence.body, mrenclave=M2)),
        ):
            with pytest.raises(AttestationError, match="differ") as caught:
                second_opinion(quote, world.collateral(), seen, NOW)
            assert caught.value.code == SECOND_OPINION
        with pytest.raises(AttestationError, match="refuses"):
            second_opinion(quote, world.collateral(), evidence, NOW + timedelta(days=60))


LEVEL_STATUSES = [status for status in TcbStatus if status is not TcbStatus.REVOKED and "Relaunch" not in status]


class TestDifferential:
    @pytest.mark.parametrize("qe", [TcbStatus.UP_TO_DATE, TcbStatus.OUT_OF_DATE])
    @pytest.mark.parametrize("platform", LEVEL_STATUSES)
    def test_both_verifiers_join_levels_alike(self, platform: TcbStatus, qe: TcbStatus) -> None:
        """A difference would refuse genuine platforms: the second opinion is compared word by word."""
        levels = only(platform, "INTEL-SA-00002")
        world = World(vendor(levels=levels, qe_levels=(QeLevel(8, qe, ("INTEL-SA-00001",)),)))
        policy = world.policy(M1, tolerate=frozenset(Weakness), ignore_advisories=frozenset("*"))
        evidence = world.verifier().verify(world.platform(M1).quote(DATA), policy)
        assert evidence.advisories == ("INTEL-SA-00001", "INTEL-SA-00002")
        assert evidence.checks[-1].check == SECOND_OPINION
