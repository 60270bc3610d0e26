# ruff: noqa: ANN401  # tables of arguments for one call
"""Certificates as other implementations make them, and everything that is wrong with some of them."""

from __future__ import annotations

import hashlib
from datetime import UTC, datetime, timedelta
from typing import Any

import cbor2
import pytest
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.hashes import SHA256, SHA384
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from cryptography.x509.oid import NameOID
from hypothesis import given
from hypothesis import strategies as st
from tests.platform.world import NOW, World

from adyton.attestation.errors import AttestationError, Outcome
from adyton.attestation.formats.report_data import CAS_CONFIG, legacy_report_data, report_data
from adyton.attestation.ratls.certificate import (
    BINDING_CHECK,
    CERTIFICATE_CHECKS,
    extract,
    make_certificate,
    open_key_bound_certificate,
    verify_certificate,
    verify_key_bound_certificate,
)
from adyton.attestation.ratls.forms import LEGACY_QUOTES, TAGGED_EVIDENCE, Binding, Form, read_certificate
from adyton.attestation.ratls.verdict import appraise_certificate

M1, M2 = b"\x01" * 32, b"\x02" * 32
P256, P384 = ec.generate_private_key(ec.SECP256R1()), ec.generate_private_key(ec.SECP384R1())
NONCE = bytes(range(32))
GRAMINES_OID_CONTENT = bytes.fromhex("06092A864886F84D8A3906")
HASHES = {1: "sha256", 7: "sha384", 8: "sha512"}
Extension = tuple[x509.ObjectIdentifier, bytes]


def spki(key: ec.EllipticCurvePrivateKey) -> bytes:
    return key.public_key().public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)


def key_claims(key: ec.EllipticCurvePrivateKey, algorithm: int = 1, **others: Any) -> bytes:
    """Claims as Gramine makes them: the key, nothing else."""
    digest = hashlib.new(HASHES[algorithm], spki(key)).digest()
    return bytes(cbor2.dumps({"pubkey-hash": cbor2.dumps([algorithm, digest]), **others}))


def tagged(quote: bytes, claims: bytes) -> bytes:
    return bytes(cbor2.dumps(cbor2.CBORTag(60000, [quote, claims])))


def gramine(
    *extensions: Extension,
    key: ec.EllipticCurvePrivateKey = P384,
    start: datetime = datetime(2001, 1, 1, tzinfo=UTC),
    end: datetime = datetime(2030, 12, 31, 23, 59, 59, tzinfo=UTC),
) -> bytes:
    """A certificate with the names, dates and extensions that Gramine writes."""
    names = ((NameOID.COMMON_NAME, "RATLS"), (NameOID.ORGANIZATION_NAME, "GramineDevelopers"))
    name = x509.Name([x509.NameAttribute(oid, value) for oid, value in (*names, (NameOID.COUNTRY_NAME, "US"))])
    builder = x509.CertificateBuilder().subject_name(name).issuer_name(name).public_key(key.public_key())
    builder = builder.serial_number(1).not_valid_before(start).not_valid_after(end)
    builder = builder.add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=False)
    builder = builder.add_extension(x509.SubjectKeyIdentifier.from_public_key(key.public_key()), critical=False)
    for oid, value in extensions:
        builder = builder.add_extension(x509.UnrecognizedExtension(oid, value), critical=False)
    return builder.sign(key, SHA256()).public_bytes(Encoding.DER)


def dice(world: World, key: ec.EllipticCurvePrivateKey = P384, claims: bytes | None = None) -> Extension:
    claims = key_claims(key) if claims is None else claims
    return TAGGED_EVIDENCE, tagged(world.platform(M1).quote(report_data(claims)), claims)


def legacy(world: World, key: ec.EllipticCurvePrivateKey = P384, oid: int = 0, **enclave: Any) -> Extension:
    platform = world.platform(enclave.pop("mrenclave", M1), **enclave)
    return LEGACY_QUOTES[oid], platform.quote(legacy_report_data(spki(key)))


def verify(world: World, der: bytes, **changes: Any) -> Any:
    arguments: dict[str, Any] = {"collateral": world.collateral(), "policy": world.policy(M1), "now": NOW}
    return verify_key_bound_certificate(der, **(arguments | changes))


def code(world: World, der: bytes, **changes: Any) -> str:
    with pytest.raises(AttestationError) as caught:
        verify(world, der, **changes)
    return caught.value.code


def strict_code(world: World, der: bytes, nonce: bytes = NONCE) -> str:
    """What this project's own protocols say."""
    with pytest.raises(AttestationError) as caught:
        verify_certificate(
            der, purpose=CAS_CONFIG, nonce=nonce, collateral=world.collateral(), policy=world.policy(M1), now=NOW
        )
    return caught.value.code


# what is accepted, and what for


@pytest.mark.parametrize("algorithm", [1, 7, 8])
@pytest.mark.parametrize("key", [P256, P384], ids=["P-256", "P-384"])
def test_gramines_tagged_evidence_binds_the_key(world: World, key: ec.EllipticCurvePrivateKey, algorithm: int) -> None:
    der = gramine(dice(world, key, key_claims(key, algorithm)), key=key)
    read = read_certificate(der)
    assert (read.form, read.binding, read.nonce, read.purpose) == (Form.GRAMINE_DICE, Binding.KEY, b"", "")
    assert verify(world, der).mrenclave == M1
    assert strict_code(world, der) == "attestation.claims"


@pytest.mark.parametrize("oid", [0, 1])
def test_the_legacy_form_binds_the_key(world: World, oid: int) -> None:
    der = gramine(legacy(world, oid=oid))
    read = read_certificate(der)
    assert (read.form, read.binding, read.claims) == (Form.LEGACY, Binding.KEY, b"")
    assert verify(world, der).mrenclave == M1
    assert strict_code(world, der) == "attestation.certificate.legacy"


def test_gramines_oid_is_the_one_with_its_own_header_inside(world: World) -> None:
    assert b"\x06\x0b" + GRAMINES_OID_CONTENT in gramine(legacy(world, oid=1))


def test_both_extensions_of_one_enclave(world: World) -> None:
    read = read_certificate(gramine(legacy(world, oid=1), dice(world)))
    assert (read.form, read.binding) == (Form.GRAMINE_DICE, Binding.KEY)


def test_a_nonce_in_foreign_claims_counts_where_it_is_asked_for(world: World) -> None:
    der = gramine(dice(world, claims=key_claims(P384, nonce=NONCE)))
    assert read_certificate(der).binding == Binding.KEY | Binding.NONCE
    assert verify(world, der).mrenclave == M1
    assert verify(world, der, nonce=NONCE).mrenclave == M1
    for other in (b"\x01" * 32, NONCE[:-1], b""):
        assert code(world, der, nonce=other) == "attestation.freshness"
    assert strict_code(world, der) == "attestation.claims"


def test_where_a_nonce_is_asked_for_evidence_without_one_is_refused(world: World) -> None:
    for der in (gramine(dice(world)), gramine(legacy(world))):
        for nonce in (NONCE, b""):
            assert code(world, der, nonce=nonce) == "attestation.freshness"


def test_the_findings_say_what_was_not_asked(world: World) -> None:
    opened = open_key_bound_certificate(gramine(dice(world)), now=NOW)
    outcomes = {finding.check: finding.outcome for finding in opened.findings}
    assert list(outcomes) == list(CERTIFICATE_CHECKS)
    unasked = [check for check, outcome in outcomes.items() if outcome is Outcome.NOT_ASKED]
    assert unasked == ["attestation.purpose", "attestation.freshness"]
    with_nonce = gramine(dice(world, claims=key_claims(P384, nonce=NONCE)))
    found = open_key_bound_certificate(with_nonce, now=NOW, nonce=NONCE).findings
    assert [finding.check for finding in found if finding.outcome is Outcome.NOT_ASKED] == ["attestation.purpose"]


def test_our_own_form_is_read_for_all_it_binds(world: World) -> None:
    der = make_certificate(P256, world.platform(M1), CAS_CONFIG, NONCE, now=NOW)
    read = read_certificate(der)
    assert (read.form, read.binding) == (Form.DICE, Binding.ALL)
    assert (read.purpose, read.nonce, read.spki) == (CAS_CONFIG, NONCE, spki(P256))
    assert extract(der) == (read.quote, read.claims)
    assert verify(world, der).mrenclave == M1


def test_any_well_formed_encoding_of_foreign_claims_is_read(world: World) -> None:
    """The nonce after the key hash, its length in two bytes where one would do."""
    claims = key_claims(P384, nonce=NONCE)
    loose = claims.replace(b"\x58\x20" + NONCE, b"\x59\x00\x20" + NONCE)
    assert loose != claims
    assert cbor2.loads(loose) == cbor2.loads(claims)
    assert verify(world, gramine(dice(world, claims=loose)), nonce=NONCE).mrenclave == M1


# a person's verdict


def test_a_verdict_tells_what_is_bound(world: World) -> None:
    verdict = appraise_certificate(gramine(dice(world)), world.collateral(), world.policy(M1), NOW)
    assert verdict.trusted
    outcomes = {finding.check: finding.outcome for finding in verdict.checks}
    assert outcomes["attestation.freshness"] is Outcome.NOT_ASKED
    assert outcomes[BINDING_CHECK] is Outcome.PASSED


def test_a_verdict_over_a_quote_of_another_key(world: World) -> None:
    stolen = read_certificate(gramine(dice(world))).quote
    der = gramine((TAGGED_EVIDENCE, tagged(stolen, key_claims(P256))), key=P256)
    verdict = appraise_certificate(der, world.collateral(), world.policy(M1), NOW)
    assert (verdict.trusted, verdict.code) == (False, BINDING_CHECK)
    assert verdict.needed


def test_a_verdict_names_the_certificates_fault_first(world: World) -> None:
    der = gramine(dice(world, claims=key_claims(P256)))
    verdict = appraise_certificate(der, world.collateral(), world.policy(M2), NOW)
    assert (verdict.trusted, verdict.code) == (False, "attestation.key")


def test_a_verdict_refuses_for_the_quote_alone(world: World) -> None:
    verdict = appraise_certificate(gramine(dice(world)), world.collateral(), world.policy(M2), NOW)
    assert (verdict.trusted, verdict.code) == (False, "attestation.measurement")


# what is refused


def bad_key_hash(pair: Any) -> bytes:
    return bytes(cbor2.dumps({"pubkey-hash": cbor2.dumps(pair)}))


SHA = hashlib.sha256(spki(P384)).digest()


@pytest.mark.parametrize(
    "claims",
    [
        cbor2.dumps({}),
        cbor2.dumps({"nonce": NONCE}),
        cbor2.dumps({"pubkey-hash": SHA}),
        cbor2.dumps({"pubkey-hash": [1, SHA]}),
        bad_key_hash([2, SHA]),
        bad_key_hash([0, SHA]),
        bad_key_hash([True, SHA]),
        bad_key_hash([1.0, SHA]),
        bad_key_hash([1, SHA[:31]]),
        bad_key_hash([7, SHA]),
        bad_key_hash([8, hashlib.sha384(spki(P384)).digest()]),
        bad_key_hash([1, SHA, 0]),
        bad_key_hash({1: SHA}),
        key_claims(P384, nonce="text"),
        key_claims(P384, nonce=b""),
        key_claims(P384, nonce=bytes(65)),
        key_claims(P384, audience="anybody"),
        key_claims(P384, purpose=CAS_CONFIG),
        b"\xa2" + key_claims(P384)[1:] + cbor2.dumps("pubkey-hash") + cbor2.dumps(cbor2.dumps([1, SHA])),
        b"\xbf" + key_claims(P384)[1:] + b"\xff",
        key_claims(P384) + b"\0",
        b"",
    ],
    ids=[
        "empty map",
        "no key hash",
        "bare hash",
        "hash not wrapped",
        "unknown algorithm",
        "algorithm 0",
        "algorithm true",
        "algorithm 1.0",
        "short hash",
        "SHA-256 called SHA-384",
        "SHA-384 called SHA-512",
        "triple",
        "map",
        "text nonce",
        "empty nonce",
        "long nonce",
        "unknown claim",
        "purpose without nonce",
        "key hash twice",
        "indefinite map",
        "byte after the end",
        "nothing",
    ],
)
def test_other_claims_are_refused(world: World, claims: bytes) -> None:
    """Each with a quote over exactly these claims: what is wrong is in the claims alone."""
    der = gramine(dice(world, claims=claims))
    assert code(world, der) == "attestation.claims"
    with pytest.raises(AttestationError):
        read_certificate(der)


def test_a_claim_about_another_key(world: World) -> None:
    der = gramine(dice(world, claims=key_claims(P256)))
    assert read_certificate(der).binding == Binding(0)
    assert code(world, der) == "attestation.key"


@pytest.mark.parametrize("at", [32, 63])
def test_a_tail_in_the_report_data(world: World, at: int) -> None:
    for binding in (report_data(key_claims(P384)), legacy_report_data(spki(P384))):
        tail = bytearray(binding)
        tail[at] = 1
        quote = world.platform(M1).quote(bytes(tail))
        for extension in ((TAGGED_EVIDENCE, tagged(quote, key_claims(P384))), (LEGACY_QUOTES[0], quote)):
            assert code(world, gramine(extension)) == BINDING_CHECK


def test_a_legacy_quote_over_the_bare_point_is_not_over_the_key(world: World) -> None:
    point = P384.public_key().public_bytes(Encoding.X962, PublicFormat.UncompressedPoint)
    quote = world.platform(M1).quote(hashlib.sha256(point).digest() + bytes(32))
    assert code(world, gramine((LEGACY_QUOTES[0], quote))) == BINDING_CHECK


@pytest.mark.parametrize(
    "other",
    [{"mrenclave": M2}, {"debug": True}, {"isvsvn": 3}, {"key": P256}],
    ids=["other enclave", "debug", "other version", "other key"],
)
def test_two_extensions_that_disagree(world: World, other: dict[str, Any]) -> None:
    key = other.pop("key", P384)
    der = gramine(dice(world), legacy(world, key, **other))
    assert code(world, der) == "attestation.certificate.disagree"
    with pytest.raises(AttestationError):
        read_certificate(der)


def test_two_bare_quotes_that_differ(world: World) -> None:
    assert code(world, gramine(legacy(world), legacy(world, oid=1, mrenclave=M2))) == "attestation.certificate.disagree"


def test_the_same_bare_quote_under_both_oids(world: World) -> None:
    _oid, quote = legacy(world)
    assert verify(world, gramine((LEGACY_QUOTES[0], quote), (LEGACY_QUOTES[1], quote))).mrenclave == M1


def test_garbage_beside_good_evidence(world: World) -> None:
    der = gramine(dice(world), (LEGACY_QUOTES[0], b"not a quote"))
    assert code(world, der) == "attestation.certificate.format"


@pytest.mark.parametrize("index", [0, 1])
def test_an_extension_twice(world: World, index: int) -> None:
    """The library does not write one, so one of two OIDs of the same length is patched and the whole signed again."""
    kind = (dice(world), legacy(world))[index]
    oid, stand_in = kind[0].dotted_string, ("2.23.133.5.4.10", "1.2.840.113741.1337.7")[index]
    once = gramine(kind, (x509.ObjectIdentifier(stand_in), kind[1]), key=P256)
    twice = _signed_again(once, stand_in, oid)
    assert code(world, twice) == "attestation.certificate.format"


def _signed_again(der: bytes, old: str, new: str) -> bytes:
    tbs = x509.load_der_x509_certificate(der).tbs_certificate_bytes
    patched = tbs.replace(_oid_content(old), _oid_content(new))
    assert patched != tbs
    signature = P256.sign(patched, ec.ECDSA(SHA256()))
    bits = b"\x03" + bytes([len(signature) + 1]) + b"\0" + signature
    body = patched + bytes.fromhex("300a06082a8648ce3d040302") + bits
    return b"\x30\x82" + len(body).to_bytes(2, "big") + body


def _oid_content(dotted: str) -> bytes:
    first, second, *rest = map(int, dotted.split("."))
    out = bytearray([40 * first + second])
    for arc in rest:
        groups = [arc & 0x7F]
        while arc := arc >> 7:
            groups.append(arc & 0x7F | 0x80)
        out += bytes(reversed(groups))
    return bytes(out)


def test_an_oid_inside_another_extension_is_not_evidence(world: World) -> None:
    for oid, value in (dice(world), legacy(world, oid=1)):
        inside = b"\x06" + bytes([len(_oid_content(oid.dotted_string))]) + _oid_content(oid.dotted_string) + value
        der = gramine((x509.ObjectIdentifier("1.3.6.1.4.1.99999.1"), inside))
        assert code(world, der) == "attestation.certificate.format"


def test_dates_hold_as_they_are_and_prove_nothing(world: World) -> None:
    der = gramine(dice(world))
    for now in (datetime(2000, 12, 31, tzinfo=UTC), datetime(2031, 1, 1, tzinfo=UTC)):
        assert code(world, der, now=now) == "attestation.certificate.validity"
    assert open_key_bound_certificate(der, now=datetime(2029, 1, 1, tzinfo=UTC)).evidence.nonce == b""


def test_a_signature_with_another_hash_is_a_signature(world: World) -> None:
    key = P384
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "RATLS")])
    oid, value = dice(world, key)
    builder = x509.CertificateBuilder().subject_name(name).issuer_name(name).public_key(key.public_key())
    builder = builder.serial_number(1).not_valid_before(NOW).not_valid_after(NOW + timedelta(hours=1))
    builder = builder.add_extension(x509.UnrecognizedExtension(oid, value), critical=False)
    assert verify(world, builder.sign(key, SHA384()).public_bytes(Encoding.DER)).mrenclave == M1


@given(st.binary(max_size=400))
def test_hostile_evidence_raises_nothing_else(value: bytes) -> None:
    for oid in (TAGGED_EVIDENCE, *LEGACY_QUOTES):
        der = gramine((oid, value), key=P256)
        try:
            read = read_certificate(der)
        except AttestationError:
            continue
        assert read.form is Form.LEGACY
        assert read.quote == value
