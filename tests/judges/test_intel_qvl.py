"""Intel's own verification library on simulated quotes: what it accepts, and that it refuses what ours refuses."""

from __future__ import annotations

import re
from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from random import Random

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding
from fuzz.differential import mutants, ours
from fuzz.level_mutators import level_tables
from fuzz.specimen import Specimen, simulated
from tests.judges.conftest import REPOSITORY, Case, IntelQvl
from tests.platform.world import NOW, World, signer

from adyton.attestation.anchors import INTEL
from adyton.attestation.collateral.documents import Collateral
from adyton.attestation.dcap.judge import read_pck
from adyton.attestation.dcap.tcb import TcbStatus
from adyton.attestation.dcap.verify import verify_quote
from adyton.attestation.errors import AttestationError
from adyton.attestation.formats.quote import parse_quote
from adyton.attestation.policy import QuotePolicy, Weakness
from adyton.base.secret import Secret
from adyton.platform.simulated.cpu import DEFAULT_CPUSVN
from adyton.platform.simulated.pki import Catalogue, Level, SimulatedVendor

M1 = b"\x01" * 32
GOOD = dict.fromkeys(("pck_certificate", "tcb_info", "qe_identity", "quote"), "STATUS_OK")

# Offset of one byte of each part of a quote of version 3 (QuoteGenReference A.4), and which bit of it is turned.
FLIPS = {
    "version": (0, 0), "key type": (2, 0), "QE vendor": (12, 3), "user data": (28, 7),
    "CPUSVN": (48, 0), "ATTRIBUTES": (96, 6), "MRENCLAVE": (112, 0), "MRSIGNER": (176, 4), "ISVPRODID": (304, 0),
    "ISVSVN": (306, 0), "report data, first": (368, 0), "report data, last": (431, 7), "signature r": (436, 1),
    "signature s": (499, 0), "attestation key": (500, 2), "QE CPUSVN": (564, 0), "QE MRSIGNER": (692, 5),
    "QE report data": (884, 0), "QE report signature": (948, 6), "QE authentication data": (1020, 0),
}  # fmt: skip


def vendor(**changes: object) -> SimulatedVendor:
    catalogue = replace(Catalogue(), **changes)  # type: ignore[arg-type]  # members by name
    return SimulatedVendor(Secret(b"adyton tests: simulated vendor.."), signer("vendor"), catalogue)


def pem(der: bytes) -> str:
    return x509.load_der_x509_certificate(der).public_bytes(Encoding.PEM).decode()


def case_of(world: World) -> Case:
    quote = world.platform(M1).quote(b"\x07" * 64)
    return Case(quote, parse_quote(quote).certification, world.collateral(), pem(world.vendor.root_der), NOW)


def ours_accepts(case: Case, world: World) -> bool:
    try:
        verify_quote(case.quote, case.collateral, world.policy(M1), case.now)
    except AttestationError:
        return False
    return True


def flipped(case: Case, offset: int, bit: int) -> Case:
    quote = bytearray(case.quote)
    quote[offset] ^= 1 << bit
    return replace(case, quote=bytes(quote))


@pytest.fixture(scope="module")
def case(world: World) -> Case:
    return case_of(world)


def test_a_simulated_quote_is_accepted_under_its_own_root(intel_qvl: IntelQvl, case: Case) -> None:
    (answer,) = intel_qvl.ask([case])
    assert (answer.ok, answer.statuses) == (True, GOOD)


def test_it_is_refused_under_another_simulated_root(intel_qvl: IntelQvl, case: Case) -> None:
    other = SimulatedVendor(Secret(b"another simulated vendor's seed."), signer("vendor"))
    (answer,) = intel_qvl.ask([replace(case, root=pem(other.root_der))])
    assert not answer.ok
    assert answer.statuses["pck_certificate"] == "STATUS_SGX_PCK_CERT_CHAIN_UNTRUSTED"


def test_it_is_refused_under_intels_root(intel_qvl: IntelQvl, case: Case, real: Case) -> None:
    (answer,) = intel_qvl.ask([replace(case, root=real.root)])
    assert not answer.ok
    assert answer.statuses["pck_certificate"] == "STATUS_SGX_PCK_CERT_CHAIN_UNTRUSTED"


@pytest.fixture(scope="module")
def real() -> Case:
    """The quote of real hardware, at a time in its window."""
    folder: Path = REPOSITORY.parent / "shared" / "evidence"
    if not (folder / "sgx_quote").is_file():
        pytest.skip("no folder shared/evidence with real quotes, whose chain has Intel's root, beside the repository")
    quote = (folder / "sgx_quote").read_bytes()
    parsed = parse_quote(quote)
    collateral = Collateral.from_json((folder / "sgx_quote_collateral.json").read_bytes())
    start, _end = collateral.window()
    return Case(quote, parsed.certification, collateral, pem(read_pck(parsed).root_der), start + timedelta(days=1))


def test_both_see_the_same_in_the_real_quote(intel_qvl: IntelQvl, real: Case) -> None:
    (answer,) = intel_qvl.ask([real])
    policy = QuotePolicy(
        anchors=(INTEL,),
        mrenclaves=frozenset({parse_quote(real.quote).enclave.mrenclave}),
        tolerate=frozenset(Weakness),
        ignore_advisories=frozenset("*"),
    )
    evidence = verify_quote(real.quote, real.collateral, policy, real.now)
    assert answer.statuses == GOOD | {"quote": "STATUS_TCB_CONFIGURATION_AND_SW_HARDENING_NEEDED"}
    assert evidence.status is TcbStatus.CONFIGURATION_AND_SW_HARDENING_NEEDED


def test_one_turned_bit_is_refused_by_both(intel_qvl: IntelQvl, case: Case, world: World) -> None:
    cases = {name: flipped(case, *place) for name, place in FLIPS.items()}
    answers = intel_qvl.ask([case, *cases.values()])
    assert answers[0].ok
    accepted = [name for name, answer in zip(cases, answers[1:], strict=True) if answer.ok]
    assert (accepted, [name for name, each in cases.items() if ours_accepts(each, world)]) == ([], [])


def test_only_ours_refuses_another_type_of_certification_data(intel_qvl: IntelQvl, case: Case, world: World) -> None:
    """Intel's library takes the chain as a parameter, and does not ask whether the quote carries one."""
    changed = flipped(case, 1046, 0)
    (answer,) = intel_qvl.ask([changed])
    assert answer.ok
    assert not ours_accepts(changed, world)


@pytest.mark.parametrize(
    ("member", "refusal"),
    [
        ("tcb_info_signature", {"tcb_info": "STATUS_TCB_INFO_INVALID_SIGNATURE"}),
        ("qe_identity_signature", {"qe_identity": "STATUS_SGX_ENCLAVE_IDENTITY_INVALID_SIGNATURE"}),
        ("pck_crl", {"pck_certificate": "STATUS_SGX_CRL_INVALID_SIGNATURE"}),
        ("root_ca_crl", {"pck_certificate": "STATUS_SGX_CRL_INVALID_SIGNATURE"}),
    ],
)
def test_changed_collateral_is_refused_by_both(
    intel_qvl: IntelQvl, case: Case, world: World, member: str, refusal: dict[str, str]
) -> None:
    value: bytes = getattr(case.collateral, member)
    changed = replace(case, collateral=replace(case.collateral, **{member: value[:-1] + bytes([value[-1] ^ 1])}))
    (answer,) = intel_qvl.ask([changed])
    assert not answer.ok
    assert refusal.items() <= answer.statuses.items()
    assert not ours_accepts(changed, world)


@pytest.mark.parametrize("days", [-31, 31], ids=["before", "after"])
def test_out_of_the_window_is_refused_by_both(intel_qvl: IntelQvl, case: Case, world: World, days: int) -> None:
    moved = replace(case, now=NOW + timedelta(days=days))
    (answer,) = intel_qvl.ask([moved])
    assert (answer.ok, answer.statuses["pck_certificate"]) == (False, "STATUS_SGX_CRL_EXPIRED")
    assert not ours_accepts(moved, world)


@pytest.mark.parametrize(
    ("position", "status"),
    [(0, "STATUS_SGX_PCK_REVOKED"), (1, "STATUS_SGX_INTERMEDIATE_CA_REVOKED")],
    ids=["PCK certificate", "PCK CA"],
)
def test_a_revoked_certificate_is_refused_by_both(
    intel_qvl: IntelQvl, case: Case, world: World, position: int, status: str
) -> None:
    serial = read_pck(parse_quote(case.quote)).chain[position].serial_number
    member = ("revoked_pcks", "revoked_by_root")[position]
    changed = replace(case, collateral=vendor(**{member: frozenset({serial})}).collateral(NOW))
    (answer,) = intel_qvl.ask([changed])
    assert (answer.ok, answer.statuses["pck_certificate"]) == (False, status)
    assert not ours_accepts(changed, world)


@pytest.mark.parametrize(
    ("level", "status"),
    [
        (TcbStatus.SW_HARDENING_NEEDED, "STATUS_TCB_SW_HARDENING_NEEDED"),
        (TcbStatus.CONFIGURATION_NEEDED, "STATUS_TCB_CONFIGURATION_NEEDED"),
        (TcbStatus.CONFIGURATION_AND_SW_HARDENING_NEEDED, "STATUS_TCB_CONFIGURATION_AND_SW_HARDENING_NEEDED"),
        (TcbStatus.OUT_OF_DATE, "STATUS_TCB_OUT_OF_DATE"),
        (TcbStatus.OUT_OF_DATE_CONFIGURATION_NEEDED, "STATUS_TCB_OUT_OF_DATE_CONFIGURATION_NEEDED"),
        (TcbStatus.REVOKED, "STATUS_TCB_REVOKED"),
    ],
)
def test_both_read_the_same_status(intel_qvl: IntelQvl, level: TcbStatus, status: str) -> None:
    world = World(vendor(levels=(Level(DEFAULT_CPUSVN, 13, level),)))
    case = case_of(world)
    (answer,) = intel_qvl.ask([case])
    policy = world.policy(M1, tolerate=frozenset(Weakness))
    if level is TcbStatus.REVOKED:
        with pytest.raises(AttestationError, match="Revoked"):
            verify_quote(case.quote, case.collateral, policy, NOW)
    else:
        assert verify_quote(case.quote, case.collateral, policy, NOW).status is level
    assert answer.statuses["quote"] == status


def in_intels_words(status: str) -> str:
    """``SWHardeningNeeded`` as Intel's library says it."""
    words = re.findall(r"SW|[A-Z][a-z]+", status)
    return "STATUS_OK" if status == "UpToDate" else "STATUS_TCB_" + "_".join(word.upper() for word in words)


def case_of_mutant(specimen: Specimen) -> Case:
    chain = parse_quote(specimen.quote).certification
    return Case(specimen.quote, chain, specimen.collateral, pem(specimen.root), specimen.now)


def test_both_find_the_same_level_in_any_table(intel_qvl: IntelQvl) -> None:
    """Random tables of levels, well-formed and signed: which one applies, and how platform and QE are joined."""
    rng, genuine = Random("levels"), simulated()[0]  # noqa: S311  # repeatable, not secret
    tables = [level_tables(rng, genuine, (genuine,)) for _ in range(200)]
    answers = intel_qvl.ask([case_of_mutant(each) for each in tables])
    seen = [dict(ours(each).seen or (("status", "Revoked"),))["status"] for each in tables]
    assert [in_intels_words(each) for each in seen] == [answer.statuses["quote"] for answer in answers]
    assert set(seen) >= {"UpToDate", "OutOfDate", "SWHardeningNeeded", "OutOfDateConfigurationNeeded", "Revoked"}


# Where Intel's library has other rules: it knows no version 5, writes documents anew before it checks their signatures,
# and asks more of the names and extensions of certificates that the vendor itself signed.
OTHER_RULES = {"other_version", "document_text", "chain_reissued", "member_bytes"}


def test_ours_accepts_no_mutant_that_intels_refuses(intel_qvl: IntelQvl) -> None:
    accepted = [
        (each, dict(opinion.seen)["status"])
        for each in mutants(simulated()[:1], 900, 20261122)
        if not OTHER_RULES & set(each.trail) and (opinion := ours(each)).seen is not None
    ]
    assert len(accepted) > 100
    answers = intel_qvl.ask([case_of_mutant(each) for each, _status in accepted])
    for (mutant, status), answer in zip(accepted, answers, strict=True):
        assert answer.statuses == GOOD | {"quote": in_intels_words(status)}, " > ".join(mutant.trail)


def test_a_quote_of_version_4_of_an_enclave_is_accepted(intel_qvl: IntelQvl) -> None:
    """dcap-qvl does not judge these: here the outside judge is Intel's."""
    specimen = next(each for each in simulated() if each.name == "SGX v4")
    (answer,) = intel_qvl.ask([case_of_mutant(specimen)])
    assert (answer.ok, answer.statuses) == (True, GOOD)
    assert ours(specimen).seen is not None
