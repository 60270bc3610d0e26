from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime
from typing import Any

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.serialization import Encoding
from hypothesis import given
from hypothesis import strategies as st
from tests.attestation.snp_vendor import (
    ALGORITHM,
    ARC,
    NOW,
    OLD_ALGORITHM,
    Machine,
    intermediate,
    named,
    pem,
    revocations,
    root,
    time_of,
)

from adyton.attestation import chain
from adyton.attestation.errors import AttestationError
from adyton.attestation.formats import der
from adyton.attestation.snp.chain import MAX_BYTES, MAX_CERTIFICATES, check_chain, check_list, read_chain, split
from adyton.attestation.snp.report import Generation, KeyKind, TcbVersion

MACHINE = Machine()
TURIN = Machine(generation=Generation.TURIN, tcb=TcbVersion(1, 2, 3, 4, fmc=5))


def der_of(certificate: x509.Certificate) -> bytes:
    return certificate.public_bytes(Encoding.DER)


def three(machine: Machine = MACHINE) -> list[bytes]:
    product = machine.generation.product
    return [machine.endorsement(), der_of(intermediate(machine.kind, product)), der_of(root(product))]


@pytest.mark.parametrize("machine", [MACHINE, Machine(kind=KeyKind.VLEK), TURIN], ids=["VCEK", "VLEK", "Turin"])
def test_an_endorsement_key_is_read_with_what_is_above_it(machine: Machine) -> None:
    found = read_chain(machine.certificates(), machine.kind)
    check_chain(found)
    key = found.endorsement
    assert (key.kind, key.generation, key.tcb) == (machine.kind, machine.generation, machine.tcb)
    assert key.hwid == (machine.hwid if machine.kind is KeyKind.VCEK else b"")
    assert key.csp == ("" if machine.kind is KeyKind.VCEK else machine.csp)
    assert (key.window.start, key.window.end) == (machine.start, machine.end)
    assert [window.what for window in found.windows] == [
        machine.kind.name,
        f"Simulated SEV-{'VLEK-' if machine.kind is KeyKind.VLEK else ''}{machine.generation.product}",
        f"Simulated ARK-{machine.generation.product}",
    ]
    assert found.root == root(machine.generation.product)


@given(st.permutations(range(3)), st.lists(st.booleans(), min_size=3, max_size=3))
def test_order_and_form_do_not_matter(order: list[int], blanks: list[bool]) -> None:
    certificates = three()
    plain = b"".join(certificates[n] for n in order)
    text = b"\n".join(pem(certificates[n]) + b"\r\n" * blank for n, blank in zip(order, blanks, strict=True)) + b"\0"
    for given_form in (plain, text, text.replace(b"\n", b"\r\n"), b"\n" + text):
        assert read_chain(given_form, KeyKind.VCEK).root == root()


def test_certificates_that_do_not_belong_are_passed_over() -> None:
    more = [der_of(intermediate(KeyKind.VLEK)), der_of(root("Genoa")), der_of(intermediate(KeyKind.VCEK, "Genoa"))]
    found = read_chain(b"".join([*more, *three(), *three()[1:]]), KeyKind.VCEK)
    check_chain(found)
    assert found.root == root()


def test_of_both_kinds_the_one_that_signed_is_taken() -> None:
    both = b"".join([*three(), *three(Machine(kind=KeyKind.VLEK))])
    for kind in (KeyKind.VCEK, KeyKind.VLEK):
        assert read_chain(both, kind).endorsement.kind is kind


@pytest.mark.parametrize(
    "machine",
    [
        replace(MACHINE, algorithm=OLD_ALGORITHM),
        replace(MACHINE, extensions={f"{ARC}.4": der.octets(MACHINE.hwid)}),
        replace(MACHINE, extensions={f"{ARC}.2": der.element(0x16, b"Milan")}),
        replace(MACHINE, extensions={f"{ARC}.99": b"anything"}),
        replace(MACHINE, end=datetime(2050, 1, 1, tzinfo=UTC)),
        replace(MACHINE, serial=5),
    ],
    ids=["trailer field", "wrapped hardware id", "no stepping", "extension of later days", "2050", "serial number"],
)
def test_forms_that_the_key_service_has_used_are_read(machine: Machine) -> None:
    found = read_chain(machine.certificates(), KeyKind.VCEK)
    check_chain(found)
    assert found.endorsement.hwid == machine.hwid
    assert found.endorsement.window.end == machine.end


def test_years_of_two_digits_from_50_are_of_the_last_century() -> None:
    machine = replace(MACHINE, start=datetime(1950, 1, 1, tzinfo=UTC), end=datetime(2049, 12, 31, tzinfo=UTC))
    window = read_chain(machine.certificates(), KeyKind.VCEK).endorsement.window
    assert (window.start.year, window.end.year) == (1950, 2049)


MALFORMED = {
    "no product is known": replace(MACHINE, extensions={f"{ARC}.2": der.element(0x16, b"Rome")}),
    "product is no IA5String": replace(MACHINE, extensions={f"{ARC}.2": der.element(0x0C, b"Milan")}),
    "both of a chip and of a provider": replace(MACHINE, extensions={f"{ARC}.5": der.element(0x16, b"CN=x")}),
    "of neither": replace(MACHINE, extensions={f"{ARC}.4": None}),
    "hardware id too short": replace(MACHINE, extensions={f"{ARC}.4": MACHINE.hwid[:-1]}),
    "hardware id of another generation": replace(MACHINE, extensions={f"{ARC}.4": der.octets(MACHINE.hwid[:8])}),
    "no microcode level": replace(MACHINE, extensions={f"{ARC}.3.8": None}),
    "Turin without FMC level": replace(TURIN, extensions={f"{ARC}.3.9": None}),
    "level over 255": replace(MACHINE, extensions={f"{ARC}.3.1": der.integer(256)}),
    "level with bytes after it": replace(MACHINE, extensions={f"{ARC}.3.1": der.integer(4) + b"\0"}),
    "level that is no integer": replace(MACHINE, extensions={f"{ARC}.3.1": der.octets(b"\4")}),
    "key on another curve": replace(MACHINE, curve=ec.SECP256R1),
    "subject of the other kind": replace(MACHINE, subject="SEV-VLEK"),
    "unknown critical extension": replace(MACHINE, critical=f"{ARC}.4"),
    "extension twice": replace(MACHINE, added=der.sequence(der.oid(f"{ARC}.1"), der.octets(b"\2\1\0"))),
    "extension of four parts": replace(
        MACHINE, added=der.sequence(der.oid(f"{ARC}.7"), *[der.boolean(value=False)] * 2, der.octets(b""))
    ),
    "extension that is no octet string": replace(MACHINE, added=der.sequence(der.oid(f"{ARC}.7"), der.integer(1))),
    "one time": replace(MACHINE, validity=time_of(NOW)),
    "time that is text": replace(MACHINE, validity=der.element(0x13, b"261122120000Z") * 2),
    "time without seconds": replace(MACHINE, validity=der.element(0x17, b"2611221200Z") * 2),
    "time in another zone": replace(MACHINE, validity=der.element(0x17, b"261122120000+0100") * 2),
    "time with blanks": replace(MACHINE, validity=der.element(0x17, b"2611 2120000Z") * 2),
    "provider that steers a terminal": replace(
        MACHINE, kind=KeyKind.VLEK, extensions={f"{ARC}.5": der.element(0x16, b"CN=x\x1b[2J")}
    ),
    "object identifier over the limit": replace(
        MACHINE, added=der.sequence(der.element(der.OID, b"\xff" * 4000 + b"\1"), der.octets(b""))
    ),
    "level of thousands of digits": replace(MACHINE, extensions={f"{ARC}.3.1": der.element(2, b"\1" + bytes(3000))}),
    "month 13": replace(MACHINE, validity=der.element(0x17, b"261322120000Z") * 2),
    "version 1": replace(MACHINE, version=der.element(0xA0, der.integer(0))),
    "another algorithm": replace(MACHINE, algorithm=der.sequence(der.oid("1.2.840.113549.1.1.12"), b"\5\0")),
    "two algorithms": replace(MACHINE, outer_algorithm=OLD_ALGORITHM),
    "salt of another length": replace(MACHINE, algorithm=ALGORITHM[:-1] + b"\x20"),
}


@pytest.mark.parametrize("machine", MALFORMED.values(), ids=MALFORMED)
def test_malformed_endorsement_certificates_are_refused(machine: Machine) -> None:
    with pytest.raises(AttestationError) as caught:
        read_chain(machine.certificates(), KeyKind.VCEK)
    assert caught.value.code == "attestation.chain.format"


UNREADABLE = {
    "nothing": b"",
    "text": b"no certificate at all",
    "cut": MACHINE.endorsement()[:-1],
    "bytes after the end": MACHINE.endorsement() + b"\0",
    "text between": pem(MACHINE.endorsement()) + b"text\n" + pem(der_of(root())),
    "broken base64": pem(MACHINE.endorsement()).replace(b"=", b"A="),
    "no end": pem(MACHINE.endorsement())[:-20],
    "another kind of block": pem(MACHINE.endorsement()).replace(b"CERTIFICATE", b"X509 CRL"),
    "over the limit": bytes(MAX_BYTES + 1),
    "too many": der_of(root()) * (MAX_CERTIFICATES + 1),
    "no DER inside": pem(b"\x30\x03abc"),
    "no endorsement key": b"".join(three()[1:]),
    "no intermediate": MACHINE.endorsement() + der_of(root()),
    "no root": MACHINE.endorsement() + der_of(intermediate(KeyKind.VCEK)),
    "intermediate of the other kind": MACHINE.endorsement() + der_of(intermediate(KeyKind.VLEK)) + der_of(root()),
    "two endorsement keys": replace(MACHINE, seed=9).endorsement() + b"".join(three()),
    "serial that cannot be read": der.sequence(der.sequence(*[der.octets(b"")] * 8), ALGORITHM, der.element(3, b"\0")),
    "signature that is not whole bytes": der.sequence(
        der.element(0x30, der.elements(der.single(MACHINE.endorsement())[1])[0][1]), ALGORITHM, der.element(3, b"\1x")
    ),
}


@pytest.mark.parametrize("data", UNREADABLE.values(), ids=UNREADABLE)
def test_other_bytes_are_no_chain(data: bytes) -> None:
    with pytest.raises(AttestationError) as caught:
        read_chain(data, KeyKind.VCEK)
    assert caught.value.code == "attestation.chain.format"


@given(st.binary(max_size=300))
def test_hostile_bytes_raise_nothing_else(data: bytes) -> None:
    for form in (data, b"-----" + data, der.sequence(data), der.sequence(der.sequence(data), ALGORITHM)):
        with pytest.raises(AttestationError):
            read_chain(form, KeyKind.VCEK)


def test_certificates_given_twice_count_once() -> None:
    certificates = three()
    assert split(b"".join(certificates * 2)) == certificates


BAD_PATHS: dict[str, tuple[dict[str, Any], dict[str, Any]]] = {
    "intermediate that is no CA": ({"ca": False}, {}),
    "intermediate that may not sign": ({"cert_sign": False}, {}),
    "intermediate with another hash": ({"algorithm": SHA256, "salt": 32}, {}),
    "intermediate signed by PKCS #1 v1.5": ({"salt": None}, {}),
    "intermediate with another salt": ({"salt": 32}, {}),
    "intermediate with a small key": ({"key": "small"}, {}),
    "intermediate signed by another root": ({"issuer_key": "other"}, {}),
    "root that is not signed by itself": ({}, {"issuer_key": "other"}),
    "root that allows no CA below it": ({}, {"path_length": 0}),
    "root that may not sign": ({}, {"cert_sign": False}),
}


@pytest.mark.parametrize(("ask", "ark"), BAD_PATHS.values(), ids=BAD_PATHS)
def test_paths_that_do_not_hold_are_refused(ask: dict[str, Any], ark: dict[str, Any]) -> None:
    data = MACHINE.certificates(ask=intermediate(KeyKind.VCEK, **ask), ark=root(**ark))
    with pytest.raises(AttestationError) as caught:
        check_chain(read_chain(data, KeyKind.VCEK))
    assert caught.value.code == "attestation.chain.path"


def test_an_endorsement_key_that_its_issuer_did_not_sign_is_refused() -> None:
    machine = replace(MACHINE, issuer_key="other")
    with pytest.raises(AttestationError, match="VCEK is not issued by") as caught:
        check_chain(read_chain(machine.certificates(), KeyKind.VCEK))
    assert caught.value.code == "attestation.chain.path"


@pytest.mark.parametrize("other", ["Simulated SEV-VLEK-Milan", "Simulated SEV-Genoa"], ids=["ASVK", "Genoa"])
def test_an_intermediate_issues_only_what_it_is_for(other: str) -> None:
    """Both are below the same root, so a provider's signer could make chips, were its name not looked at."""
    machine = replace(MACHINE, issuer=other)
    data = machine.certificates(ask=intermediate(KeyKind.VCEK, name=other))
    with pytest.raises(AttestationError, match="does not issue Milan VCEKs") as caught:
        check_chain(read_chain(data, KeyKind.VCEK))
    assert caught.value.code == "attestation.chain.path"


def test_the_root_signs_the_revocation_list() -> None:
    found = read_chain(MACHINE.certificates(), KeyKind.VCEK)
    check_list(chain.parse_crl(revocations(), "list"), found)
    for wrong in (revocations(key="other"), revocations(product="Genoa")):
        with pytest.raises(AttestationError) as caught:
            check_list(chain.parse_crl(wrong, "list"), found)
        assert caught.value.code == "attestation.crl.signature"


def test_a_list_longer_than_any_certificate_is_read() -> None:
    data = revocations(range(1, 4001))
    assert len(data) > 1 << 16
    check_list(chain.parse_crl(data, "list"), read_chain(MACHINE.certificates(), KeyKind.VCEK))


def test_a_root_that_may_not_sign_lists_makes_none() -> None:
    data = MACHINE.certificates(ark=root(crl_sign=False))
    with pytest.raises(AttestationError) as caught:
        check_list(chain.parse_crl(revocations(), "list"), read_chain(data, KeyKind.VCEK))
    assert caught.value.code == "attestation.crl.signature"


def test_names_are_compared_as_written() -> None:
    assert named("a").public_bytes() != named("A").public_bytes()
    machine = replace(MACHINE, issuer="simulated sev-milan")
    with pytest.raises(AttestationError, match="issuer of the endorsement certificate is not among"):
        read_chain(machine.certificates(), KeyKind.VCEK)


def test_the_dates_are_around_the_tests_own() -> None:
    assert all(window.holds(NOW) for window in read_chain(MACHINE.certificates(), KeyKind.VCEK).windows)
