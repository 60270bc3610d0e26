"""What is in the files that evidence is judged with, and which of several copies is meant."""

from __future__ import annotations

import base64

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding
from hypothesis import given
from hypothesis import strategies as st
from tests.attestation.snp_vendor import Machine, intermediate, revocations, root
from tests.platform.world import World

from adyton.attestation.anchors import INTEL_ROOT_SHA256
from adyton.attestation.collateral.bundle import MAX_BUNDLE_BYTES, export_bundle
from adyton.attestation.dcap.pck import CaKind
from adyton.attestation.errors import AttestationError
from adyton.attestation.material import Material, QuotePlatform, key_service, read_material, tier_of
from adyton.attestation.snp.chain import split
from adyton.attestation.snp.report import Generation, KeyKind, TcbVersion
from adyton.attestation.verdict import EvidenceKind


def der(certificate: x509.Certificate) -> bytes:
    return certificate.public_bytes(Encoding.DER)


def pem(data: bytes, label: str) -> bytes:
    return b"-----BEGIN %s-----\n%s-----END %s-----\n" % (label.encode(), base64.encodebytes(data), label.encode())


def test_collateral_alone_or_in_a_bundle(world: World) -> None:
    sgx, tdx = world.collateral(), world.collateral(EvidenceKind.TDX)
    assert read_material(sgx.to_json().encode()) == Material(collateral=(sgx,))
    assert read_material(b"\xef\xbb\xbf\r\n " + tdx.to_json().encode()) == Material(collateral=(tdx,))
    assert set(read_material(export_bundle([sgx, tdx])).collateral) == {sgx, tdx}


def test_the_copy_for_the_quote_s_platform_is_picked(world: World) -> None:
    sgx, tdx = world.collateral(), world.collateral(EvidenceKind.TDX)
    enclave, domain = world.platform(b"\x01" * 32).quote(bytes(64)), world.td_quote(bytes(64))
    for both in (Material((sgx, tdx)), Material((tdx,)) + Material((sgx,))):
        assert both.for_quote(enclave) == sgx
        assert both.for_quote(domain) == tdx
    assert Material((tdx,)).for_quote(enclave) == tdx  # its verdict says what does not fit
    assert Material((tdx,)).for_quote(b"no quote") == tdx
    assert Material().for_quote(enclave) is None


def test_certificates_in_every_form() -> None:
    vcek, ask, ark = Machine().endorsement(), der(intermediate(KeyKind.VCEK)), der(root())
    whole = read_material(b"".join(pem(each, "CERTIFICATE") for each in (vcek, ask, ark)))
    assert split(whole.certificates) == [vcek, ask, ark]
    assert whole.crl is None
    assert read_material(vcek) == Material(certificates=vcek)  # no library reads one: its serial number is zero
    crl = revocations()
    assert read_material(crl) == read_material(pem(crl, "X509 CRL")) == Material(crl=crl)
    mixed = read_material(pem(ark, "CERTIFICATE") + b"some text\n" + pem(crl, "X509 CRL") + pem(ask, "CERTIFICATE"))
    assert mixed == Material(certificates=ark + ask, crl=crl)
    assert read_material(vcek) + mixed == Material(certificates=vcek + ark + ask, crl=crl)


REFUSED = {
    "nothing": (b"", "attestation.collateral.format", "empty"),
    "blanks": (b" \n", "attestation.collateral.format", "empty"),
    "prose": (b"collateral", "attestation.collateral.format", "neither JSON nor PEM nor DER"),
    "other JSON": (b'{"a": 1}', "attestation.collateral.format", ""),
    "broken JSON": (b'{"tcb_info": ', "attestation.collateral.format", ""),
    "deep JSON": (b'{"a":' * 5000, "attestation.collateral.format", ""),
    "too much": (b"{" + bytes(MAX_BUNDLE_BYTES), "attestation.collateral.format", "more than"),
    "a private key": (pem(b"secret", "RSA PRIVATE KEY"), "attestation.collateral.private_key", "private key"),
    "a public key": (pem(b"key", "PUBLIC KEY"), "attestation.collateral.format", "'public key'"),
    "cut PEM": (pem(b"secret", "CERTIFICATE")[:-9], "attestation.collateral.format", "cut off"),
    "PEM of nonsense": (pem(b"nonsense", "CERTIFICATE"), "attestation.collateral.format", "neither a certificate"),
    "PEM that is not base64": (
        b"-----BEGIN CERTIFICATE-----\nA=A=\n-----END CERTIFICATE-----\n",
        "attestation.collateral.format",
        "not base64",
    ),
    "DER of something": (bytes.fromhex("3003020101"), "attestation.collateral.format", "neither a certificate"),
    "two lists": (
        pem(revocations(), "X509 CRL") + pem(revocations(days=90), "X509 CRL"),
        "attestation.collateral.format",
        "more than one CRL",
    ),
    "many": (pem(bytes(3), "CERTIFICATE") * 17, "attestation.collateral.format", "17 certificates"),
    "evidence": (Machine().report(), "attestation.collateral.evidence", "holds evidence"),
}


@pytest.mark.parametrize("name", REFUSED)
def test_wrong_files(name: str) -> None:
    data, code, said = REFUSED[name]
    with pytest.raises(AttestationError) as caught:
        read_material(data)
    assert caught.value.code == code
    assert said in caught.value.message
    assert "secret" not in caught.value.message


@given(st.binary(max_size=600))
def test_any_bytes_are_read_or_raise_a_typed_error(data: bytes) -> None:
    for sample in (data, b"0" + data, b"{" + data, pem(data, "CERTIFICATE")):
        try:
            material = read_material(sample)
        except AttestationError:
            continue
        assert material != Material()


def test_a_quote_names_its_platform_and_root(world: World, real_quote: bytes) -> None:
    known = QuotePlatform.of(real_quote)
    assert (known.platform.fmspc, known.platform.ca, known.tier) == ("00a067110000", CaKind.PROCESSOR, "intel")
    simulated = QuotePlatform.of(world.td_quote(bytes(64)))
    assert (simulated.platform.kind, simulated.tier) == (EvidenceKind.TDX, world.anchor.tier)
    assert tier_of(INTEL_ROOT_SHA256) == "intel"


def test_where_the_vendor_has_a_report_s_certificates() -> None:
    chip = Machine().chip_id.hex()
    (place,) = key_service(Machine().report())
    base = "https://kdsintf.amd.com/vcek/v1/Milan"
    assert place == f"{base}/{chip}?blSPL=04&teeSPL=00&snpSPL=24&ucodeSPL=217 and {base}/cert_chain"
    turin = Machine(generation=Generation.TURIN, tcb=TcbVersion(1, 2, 3, 4, fmc=5))
    (place,) = key_service(turin.report(version=5))
    assert f"Turin/{turin.hwid.hex()}?fmcSPL=05&blSPL=01&teeSPL=02&snpSPL=03&ucodeSPL=04 and" in place
    (place,) = key_service(Machine(kind=KeyKind.VLEK).report())
    assert "https://kdsintf.amd.com/vlek/v1/Milan/cert_chain" in place
    assert len(key_service(Machine().report(version=2))) >= 2  # an old report does not say which generation it is of
