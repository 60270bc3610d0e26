"""Chains and lists that are signed correctly and still must not be accepted."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from datetime import timedelta

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.hashes import SHA256, SHA384
from cryptography.hazmat.primitives.serialization import Encoding
from cryptography.x509.oid import NameOID
from tests.platform.world import NOW

from adyton.attestation.chain import (
    MAX_CHAIN_BYTES,
    Window,
    check_crl,
    check_not_revoked,
    check_path,
    crl_window,
    load_certificate,
    parse_chain,
    parse_crl,
    point_key,
    verify_raw,
)
from adyton.attestation.errors import AttestationError
from adyton.platform.simulated.derive import sign_raw


def new_key() -> ec.EllipticCurvePrivateKey:
    return ec.generate_private_key(ec.SECP256R1())


@dataclass(frozen=True)
class Spec:
    """One certificate of a chain; the defaults make a good one at its place."""

    name: str
    ca: bool
    path_length: int | None = None
    key: ec.EllipticCurvePrivateKey = field(default_factory=new_key)
    cert_sign: bool = True
    constraints: bool = True
    usage: bool = True
    critical: bool = False
    algorithm: SHA256 | SHA384 = field(default_factory=SHA256)
    issuer_name: str | None = None
    signer: ec.EllipticCurvePrivateKey | None = None


GOOD = (Spec("leaf", ca=False), Spec("intermediate", ca=True, path_length=0), Spec("root", ca=True, path_length=1))


def name_of(text: str) -> x509.Name:
    return x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, text)])


def issue(spec: Spec, parent: Spec) -> x509.Certificate:
    builder = (
        x509.CertificateBuilder()
        .subject_name(name_of(spec.name))
        .issuer_name(name_of(spec.issuer_name or parent.name))
        .public_key(spec.key.public_key())
        .serial_number(7)
        .not_valid_before(NOW)
        .not_valid_after(NOW + timedelta(days=1))
    )
    if spec.constraints:
        constraints = x509.BasicConstraints(ca=spec.ca, path_length=spec.path_length)
        builder = builder.add_extension(constraints, critical=True)
    if spec.usage:
        sign = spec.ca and spec.cert_sign
        usage = x509.KeyUsage(not spec.ca, False, False, False, False, sign, sign, False, False)
        builder = builder.add_extension(usage, critical=True)
    if spec.critical:
        unknown = x509.UnrecognizedExtension(x509.ObjectIdentifier("1.3.6.1.4.1.99999.2"), b"")
        builder = builder.add_extension(unknown, critical=True)
    return builder.sign(spec.signer or parent.key, spec.algorithm)


def chain(*specs: Spec) -> list[x509.Certificate]:
    return [issue(spec, parent) for spec, parent in zip(specs, [*specs[1:], specs[-1]], strict=True)]


def test_a_good_chain_is_accepted() -> None:
    check_path(chain(*GOOD), "chain")
    check_path(chain(GOOD[0], GOOD[2]), "chain of two")


@pytest.mark.parametrize(
    ("position", "change", "says"),
    [
        (0, {"ca": True}, "end-entity"),
        (0, {"constraints": False}, "BasicConstraints"),
        (0, {"usage": False}, "KeyUsage"),
        (0, {"critical": True}, "unknown critical"),
        (0, {"issuer_name": "another"}, "not issued"),
        (0, {"signer": new_key()}, "not issued"),
        (0, {"algorithm": SHA384()}, "ECDSA and SHA-256"),
        (0, {"key": ec.generate_private_key(ec.SECP384R1())}, "P-256"),
        (1, {"ca": False, "path_length": None}, "authority"),
        (1, {"cert_sign": False}, "authority"),
        (1, {"constraints": False}, "BasicConstraints"),
        (1, {"signer": new_key()}, "not issued"),
        (2, {"path_length": 0}, "this long"),
        (2, {"ca": False, "path_length": None}, "authority"),
        (2, {"signer": new_key()}, "not issued"),
        (2, {"issuer_name": "another"}, "not issued"),
    ],
    ids=lambda value: "-".join(value) if isinstance(value, dict) else str(value),
)
def test_a_chain_with_one_wrong_certificate_is_refused(position: int, change: dict[str, object], says: str) -> None:
    specs = list(GOOD)
    specs[position] = replace(specs[position], **change)  # type: ignore[arg-type]
    with pytest.raises(AttestationError, match=says) as caught:
        check_path(chain(*specs), "chain")
    assert caught.value.code == "attestation.chain.path"


def test_a_chain_must_not_be_oversized() -> None:
    pem = chain(*GOOD)[0].public_bytes(Encoding.PEM)
    with pytest.raises(AttestationError):
        parse_chain(pem * (MAX_CHAIN_BYTES // len(pem) + 1), MAX_CHAIN_BYTES // len(pem) + 1, "chain")


def test_a_serial_number_of_zero_is_refused() -> None:
    der = bytearray(chain(*GOOD)[0].public_bytes(Encoding.DER))
    at = der.index(b"\x02\x01\x07")
    der[at + 2] = 0
    with pytest.raises(AttestationError) as caught:
        load_certificate(bytes(der), "certificate")
    assert caught.value.code == "attestation.chain.format"


def crl(
    issuer: Spec, *serials: int, critical: bool = False, complete: bool = True, signer: Spec | None = None
) -> bytes:
    builder = x509.CertificateRevocationListBuilder().issuer_name(name_of(issuer.name))
    builder = builder.last_update(NOW).next_update(NOW + timedelta(days=30))
    key_id = x509.AuthorityKeyIdentifier.from_issuer_public_key(issuer.key.public_key())
    for extension in (x509.CRLNumber(1), key_id) if complete else ():
        builder = builder.add_extension(extension, critical=False)
    if critical:
        point = x509.IssuingDistributionPoint(None, None, True, False, None, False, False)
        builder = builder.add_extension(point, critical=True)
    for serial in serials:
        entry = x509.RevokedCertificateBuilder().serial_number(serial).revocation_date(NOW).build()
        builder = builder.add_revoked_certificate(entry)
    return builder.sign((signer or issuer).key, SHA256()).public_bytes(Encoding.DER)


def test_a_list_without_number_or_authority_key_is_refused() -> None:
    """RFC 5280 5.2 requires both; other verifiers cannot even read a list without them."""
    _leaf, intermediate, _root = chain(*GOOD)
    with pytest.raises(AttestationError) as caught:
        check_crl(parse_crl(crl(GOOD[1], complete=False), "list"), intermediate, "list")
    assert caught.value.code == "attestation.crl.signature"


def test_revoked_certificates_are_found() -> None:
    leaf, intermediate, _root = chain(*GOOD)
    empty, full = parse_crl(crl(GOOD[1]), "list"), parse_crl(crl(GOOD[1], 5, 7, 9), "list")
    for one in (empty, full):
        check_crl(one, intermediate, "list")
    check_not_revoked(empty, leaf)
    with pytest.raises(AttestationError) as caught:
        check_not_revoked(full, leaf)
    assert caught.value.code == "attestation.crl.revoked"
    assert crl_window(empty, "list") == Window("list", NOW, NOW + timedelta(days=30, seconds=-1))


@pytest.mark.parametrize(
    "data",
    [
        crl(GOOD[2]),
        crl(GOOD[1], signer=GOOD[2]),
        crl(GOOD[1], critical=True),
        crl(replace(GOOD[2], name="intermediate")),
    ],
    ids=["of another issuer", "signed by another", "critical extension", "another CA of the same name"],
)
def test_lists_that_do_not_speak_for_the_issuer_are_refused(data: bytes) -> None:
    with pytest.raises(AttestationError) as caught:
        check_crl(parse_crl(data, "list"), chain(*GOOD)[1], "list")
    assert caught.value.code == "attestation.crl.signature"


@pytest.mark.parametrize("data", [b"", b"\x30\x00", crl(GOOD[1])[:-1], crl(GOOD[1]) + b"\0", bytes((4 << 20) + 1)])
def test_what_is_no_list_is_refused(data: bytes) -> None:
    with pytest.raises(AttestationError) as caught:
        parse_crl(data, "list")
    assert caught.value.code == "attestation.crl.format"


def test_a_name_that_the_library_only_warns_of_is_refused_where_warnings_are_errors() -> None:
    """A country of another length than two, made of the common name."""
    common_name, country = b"\x06\x03\x55\x04\x03", b"\x06\x03\x55\x04\x06"
    der = chain(*GOOD)[1].public_bytes(Encoding.DER)
    with pytest.raises(AttestationError) as caught:
        load_certificate(der.replace(common_name, country), "certificate")
    assert caught.value.code == "attestation.chain.format"
    with pytest.raises(AttestationError) as caught:
        parse_crl(crl(GOOD[1]).replace(common_name, country), "list")
    assert caught.value.code == "attestation.crl.format"


def test_windows_include_both_ends() -> None:
    window = Window("x", NOW, NOW + timedelta(seconds=1))
    assert [window.holds(NOW + timedelta(seconds=n)) for n in (-1, 0, 1, 2)] == [False, True, True, False]


def test_raw_signatures() -> None:
    key = new_key()
    good = sign_raw(key, b"message")
    assert verify_raw(key.public_key(), good, b"message")
    assert not verify_raw(key.public_key(), good, b"another")
    for bad in (b"", good[:-1], good + b"\0", bytes(64), b"\xff" * 64, good[32:] + good[:32]):
        assert not verify_raw(key.public_key(), bad, b"message")


@pytest.mark.parametrize("point", [b"", bytes(63), bytes(64), b"\xff" * 64, b"\x01" * 64])
def test_what_is_no_point_of_the_curve_is_no_key(point: bytes) -> None:
    assert point_key(point) is None


def marked(*marks: x509.ExtensionType, entry: x509.ExtensionType | None = None, critical: bool = False) -> bytes:
    """A list by the intermediate with extensions that change what it means, of the list or of its one entry."""
    key = x509.AuthorityKeyIdentifier.from_issuer_public_key(GOOD[1].key.public_key())
    builder = (
        x509.CertificateRevocationListBuilder()
        .issuer_name(name_of("intermediate"))
        .last_update(NOW)
        .next_update(NOW + timedelta(days=30))
        .add_extension(key, critical=False)
    )
    if not any(isinstance(mark, x509.CRLNumber) for mark in marks):
        builder = builder.add_extension(x509.CRLNumber(1), critical=False)
    for mark in marks:
        builder = builder.add_extension(mark, critical=critical)
    if entry is not None:
        revoked = x509.RevokedCertificateBuilder().serial_number(5).revocation_date(NOW)
        builder = builder.add_revoked_certificate(revoked.add_extension(entry, critical=critical).build())
    return builder.sign(GOOD[1].key, SHA256()).public_bytes(Encoding.DER)


PLACE = x509.DistributionPoint([x509.UniformResourceIdentifier("https://lists.test/delta")], None, None, None)
PART = x509.IssuingDistributionPoint(
    full_name=None,
    relative_name=None,
    only_contains_user_certs=True,
    only_contains_ca_certs=False,
    only_some_reasons=None,
    indirect_crl=False,
    only_contains_attribute_certs=False,
)


@pytest.mark.parametrize("critical", [False, True])
@pytest.mark.parametrize(
    "mark",
    [x509.DeltaCRLIndicator(1), x509.FreshestCRL([PLACE]), PART],
    ids=["delta", "with deltas elsewhere", "of some certificates only"],
)
def test_a_list_that_is_not_the_whole_list_is_refused(mark: x509.ExtensionType, critical: bool) -> None:
    with pytest.raises(AttestationError) as caught:
        check_crl(parse_crl(marked(mark, critical=critical), "list"), chain(*GOOD)[1], "list")
    assert caught.value.code == "attestation.crl.signature"


def test_an_entry_that_may_be_of_another_issuer_is_refused() -> None:
    """RFC 5280 5.3.3: a certificateIssuer of one entry holds for all that follow; it is always critical."""
    issuer = x509.CertificateIssuer([x509.DirectoryName(name_of("another"))])
    with pytest.raises(AttestationError, match="5 has a critical extension") as caught:
        parse_crl(marked(entry=issuer, critical=True), "list")
    assert caught.value.code == "attestation.crl.format"
    reason = x509.CRLReason(x509.ReasonFlags.key_compromise)
    check_crl(parse_crl(marked(entry=reason), "list"), chain(*GOOD)[1], "list")
