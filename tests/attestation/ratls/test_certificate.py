# ruff: noqa: ANN401  # keys of any kind, and tables of arguments for one call
from __future__ import annotations

import hashlib
from collections.abc import Callable
from dataclasses import replace
from datetime import datetime, timedelta
from typing import Any

import cbor2
import pytest
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from cryptography.x509.oid import NameOID
from tests.platform.world import NOW, World

from adyton.attestation.anchors import INTEL
from adyton.attestation.checks import QUOTE_CHECKS
from adyton.attestation.dcap.opinion import SECOND_OPINION
from adyton.attestation.errors import AttestationError, Outcome
from adyton.attestation.formats.report_data import CAS_CONFIG, CAS_SERVER, Claims, claims_bytes, report_data
from adyton.attestation.ratls.certificate import (
    BINDING_CHECK,
    CERTIFICATE_CHECKS,
    TAGGED_EVIDENCE,
    extract,
    make_certificate,
    verify_certificate,
)
from adyton.attestation.verdict import EvidenceKind
from adyton.base.errors import InputError

M1, M2 = b"\x01" * 32, b"\x02" * 32
NONCE = b"a nonce of 18 byte"
KEY = ec.generate_private_key(ec.SECP256R1())
LEGACY = x509.ObjectIdentifier("1.2.840.113741.1337.6")


def spki(key: Any = KEY) -> bytes:
    return bytes(key.public_key().public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo))


def certificate(
    evidence: bytes | None,
    *,
    key: Any = KEY,
    signer: Any = None,
    oid: x509.ObjectIdentifier = TAGGED_EVIDENCE,
    now: datetime = NOW,
) -> bytes:
    """A self-made certificate, with whatever evidence."""
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "peer")])
    builder = x509.CertificateBuilder().subject_name(name).issuer_name(name).public_key(key.public_key())
    builder = builder.serial_number(1).not_valid_before(now).not_valid_after(now + timedelta(hours=1))
    if evidence is not None:
        builder = builder.add_extension(x509.UnrecognizedExtension(oid, evidence), critical=False)
    algorithm = None if isinstance(signer or key, ed25519.Ed25519PrivateKey) else SHA256()
    return builder.sign(signer or key, algorithm).public_bytes(Encoding.DER)


def tagged(quote: bytes, claims: bytes, tag: int = 60000) -> bytes:
    return bytes(cbor2.dumps(cbor2.CBORTag(tag, [quote, claims])))


@pytest.fixture(scope="module")
def good(world: World) -> bytes:
    return make_certificate(KEY, world.platform(M1), CAS_CONFIG, NONCE, now=NOW)


def verify(world: World, der: bytes, measurement: bytes = M1, **changes: Any) -> Any:
    arguments: dict[str, Any] = {
        "purpose": CAS_CONFIG,
        "nonce": NONCE,
        "collateral": world.collateral(),
        "policy": world.policy(measurement),
        "now": NOW,
    }
    return verify_certificate(der, **(arguments | changes))


def code(world: World, der: bytes, *arguments: Any, **changes: Any) -> str:
    with pytest.raises(AttestationError) as caught:
        verify(world, der, *arguments, **changes)
    assert any(finding.outcome is Outcome.FAILED for finding in caught.value.findings)
    return caught.value.code


def test_a_good_certificate_is_accepted_with_every_check(world: World, good: bytes) -> None:
    evidence = verify(world, good)
    assert evidence.mrenclave == M1
    assert [finding.check for finding in evidence.checks] == [
        *CERTIFICATE_CHECKS,
        *QUOTE_CHECKS[EvidenceKind.SGX],
        BINDING_CHECK,
    ]


def test_a_p384_key_is_accepted(world: World) -> None:
    key = ec.generate_private_key(ec.SECP384R1())
    assert verify(world, make_certificate(key, world.platform(M1), CAS_CONFIG, NONCE, now=NOW)).mrenclave == M1


def test_the_evidence_has_the_dice_form(good: bytes) -> None:
    quote, claims = extract(good)
    value = x509.load_der_x509_certificate(good).extensions.get_extension_for_oid(TAGGED_EVIDENCE).value
    assert value.public_bytes() == tagged(quote, claims)
    assert Claims.parse(claims) == Claims(CAS_CONFIG, hashlib.sha256(spki()).digest(), NONCE)


def test_the_service_verifier_accepts_and_asks_a_second_opinion(world: World, good: bytes) -> None:
    evidence = world.verifier().verify_certificate(good, purpose=CAS_CONFIG, nonce=NONCE, policy=world.policy(M1))
    assert SECOND_OPINION in {finding.check for finding in evidence.checks}
    assert evidence.checks[-1].check == BINDING_CHECK


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        ({"nonce": b"another nonce of 2"}, "attestation.freshness"),
        ({"nonce": b""}, "attestation.freshness"),
        ({"nonce": NONCE[:-1]}, "attestation.freshness"),
        ({"purpose": CAS_SERVER}, "attestation.purpose"),
        ({"purpose": ""}, "attestation.purpose"),
        ({"now": NOW + timedelta(hours=2)}, "attestation.certificate.validity"),
        ({"now": NOW - timedelta(hours=2)}, "attestation.certificate.validity"),
    ],
    ids=["other nonce", "no nonce", "shorter nonce", "other purpose", "no purpose", "too late", "too early"],
)
def test_refused_for_another_use(world: World, good: bytes, changes: dict[str, Any], expected: str) -> None:
    assert code(world, good, **changes) == expected


def test_refused_for_another_measurement(world: World, good: bytes) -> None:
    assert code(world, good, M2) == "attestation.measurement"


def test_refused_for_a_debug_enclave(world: World) -> None:
    der = make_certificate(KEY, world.platform(M1, debug=True), CAS_CONFIG, NONCE, now=NOW)
    assert code(world, der) == "attestation.debug"


def test_refused_for_a_low_security_version(world: World, good: bytes) -> None:
    assert code(world, good, policy=world.policy(M1, min_isvsvn=1)) == "attestation.svn"


def test_refused_for_the_platform_of_another_root(world: World, good: bytes) -> None:
    assert code(world, good, policy=replace(world.policy(M1), anchors=(INTEL,))) == "attestation.chain.anchor"


def test_refused_for_expired_collateral(world: World) -> None:
    later = NOW + timedelta(days=40)
    der = make_certificate(KEY, world.platform(M1), CAS_CONFIG, NONCE, now=later)
    assert code(world, der, now=later) == "attestation.validity"


def test_refused_with_evidence_for_another_key(world: World, good: bytes) -> None:
    """A stolen quote in the thief's certificate."""
    thief = ec.generate_private_key(ec.SECP256R1())
    assert code(world, certificate(tagged(*extract(good)), key=thief)) == "attestation.key"


def test_refused_with_claims_that_the_quote_is_not_over(world: World, good: bytes) -> None:
    """A stolen quote with claims written for the thief."""
    thief = ec.generate_private_key(ec.SECP256R1())
    quote, _claims = extract(good)
    der = certificate(tagged(quote, claims_bytes(CAS_CONFIG, spki(thief), NONCE)), key=thief)
    assert code(world, der) == BINDING_CHECK


def test_refused_with_a_tail_in_the_report_data(world: World) -> None:
    claims = claims_bytes(CAS_CONFIG, spki(), NONCE)
    quote = world.platform(M1).quote(report_data(claims)[:63] + b"\x01")
    assert code(world, certificate(tagged(quote, claims))) == BINDING_CHECK


def test_refused_with_a_hash_of_the_bare_key_as_report_data(world: World) -> None:
    """The older binding: SHA-256 of the key, without nonce or purpose."""
    quote = world.platform(M1).quote(hashlib.sha256(spki()).digest() + bytes(32))
    assert code(world, certificate(quote, oid=LEGACY)) == "attestation.certificate.legacy"
    assert code(world, certificate(tagged(quote, claims_bytes(CAS_CONFIG, spki(), NONCE)))) == BINDING_CHECK


def members(**changes: Any) -> bytes:
    full = {"pubkey-hash": cbor2.dumps([1, hashlib.sha256(spki()).digest()]), "nonce": NONCE, "purpose": CAS_CONFIG}
    return bytes(cbor2.dumps({k: v for k, v in (full | changes).items() if v is not None}, canonical=True))


@pytest.mark.parametrize("missing", ["pubkey-hash", "nonce", "purpose"])
def test_refused_without_a_claim_even_with_a_matching_quote(world: World, missing: str) -> None:
    claims = members(**{missing: None})
    quote = world.platform(M1).quote(report_data(claims))
    assert code(world, certificate(tagged(quote, claims))) == "attestation.claims"


@pytest.mark.parametrize(
    "evidence",
    [
        b"",
        b"\xf6",
        tagged(b"quote", b"claims", tag=60001),
        bytes(cbor2.dumps([b"quote", b"claims"])),
        bytes(cbor2.dumps(cbor2.CBORTag(60000, [b"quote"]))),
        bytes(cbor2.dumps(cbor2.CBORTag(60000, [b"quote", "claims"]))),
        tagged(b"quote", b"claims") + b"\0",
        tagged(b"quote", bytes(513)),
        b"\xda\x00\x00\xea\x60" + tagged(b"quote", b"claims")[3:],
    ],
    ids=[
        "empty",
        "null",
        "other tag",
        "no tag",
        "one item",
        "text",
        "byte after the end",
        "claims too long",
        "tag not minimal",
    ],
)
def test_refused_with_malformed_evidence(world: World, evidence: bytes) -> None:
    assert code(world, certificate(evidence)) == "attestation.claims"


@pytest.mark.parametrize(
    "make",
    [
        lambda _good: b"",
        lambda _good: b"not a certificate",
        lambda good: good[:-1],
        lambda good: good + b"\0",
        lambda good: good[:-5] + bytes([good[-5] ^ 1]) + good[-4:],
        lambda _good: certificate(None),
        lambda good: certificate(tagged(*extract(good)), signer=ec.generate_private_key(ec.SECP256R1())),
        lambda good: certificate(tagged(*extract(good)), key=rsa.generate_private_key(65537, 2048)),
        lambda good: certificate(tagged(*extract(good)), key=ed25519.Ed25519PrivateKey.generate()),
        lambda good: certificate(tagged(*extract(good)), key=ec.generate_private_key(ec.SECP256K1())),
        lambda _good: bytes(80_000),
    ],
    ids=[
        "empty",
        "text",
        "cut",
        "byte after the end",
        "signature changed",
        "no evidence",
        "signed by another key",
        "RSA key",
        "Ed25519 key",
        "secp256k1 key",
        "over the limit",
    ],
)
def test_refused_as_no_attested_certificate(world: World, good: bytes, make: Callable[[bytes], bytes]) -> None:
    assert code(world, make(good)) == "attestation.certificate.format"


def test_the_oid_elsewhere_in_the_certificate_is_not_evidence(world: World, good: bytes) -> None:
    """Other verifiers search for the OID's bytes."""
    inside = bytes.fromhex("0606678105050409") + tagged(*extract(good))
    other = x509.ObjectIdentifier("1.3.6.1.4.1.99999.1")
    assert code(world, certificate(inside, oid=other)) == "attestation.certificate.format"


def test_every_flipped_bit_of_the_evidence_is_refused(world: World, good: bytes) -> None:
    quote, claims = extract(good)
    evidence = tagged(quote, claims)
    for offset in [
        *range(24),
        *range(24, len(evidence) - len(claims), 199),
        *range(len(evidence) - len(claims), len(evidence), 5),
    ]:
        forged = bytearray(evidence)
        forged[offset] ^= 1 << offset % 8
        with pytest.raises(AttestationError):
            verify(world, certificate(bytes(forged)))


@pytest.mark.parametrize(("purpose", "nonce"), [("Not A Purpose", NONCE), (CAS_CONFIG, b"short")])
def test_nothing_is_quoted_for_claims_out_of_bounds(world: World, purpose: str, nonce: bytes) -> None:
    with pytest.raises(InputError):
        make_certificate(KEY, world.platform(M1), purpose, nonce, now=NOW)
