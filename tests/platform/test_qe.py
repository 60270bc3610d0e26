from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from datetime import timedelta

import pytest
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.asymmetric.utils import encode_dss_signature
from cryptography.hazmat.primitives.hashes import SHA256
from tests.platform.world import World

from adyton.attestation.dcap.judge import read_pck
from adyton.attestation.formats.quote import QE_VENDOR_INTEL, parse_quote
from adyton.attestation.formats.sgx import KeyName, KeyRequest, Report
from adyton.platform.protocol import Platform, PlatformError
from adyton.platform.simulated.documents import PCESVN, QE_ISVPRODID, QE_ISVSVN
from adyton.platform.simulated.qe import QE_MRENCLAVE

M1, M2 = b"\x01" * 32, b"\x02" * 32
DATA = bytes(range(64))


@pytest.fixture(scope="module")
def world() -> World:
    return World()


def test_a_quote_repeats_the_report(world: World) -> None:
    platform = world.platform(M1, isvprodid=2, isvsvn=5)
    quote = parse_quote(platform.quote(DATA))
    assert quote.body == replace(platform.identity(), report_data=DATA)
    assert quote.header.qe_vendor == QE_VENDOR_INTEL
    assert quote.certification_type == 5


@pytest.mark.parametrize("version", [3, 4, 5])
def test_a_quote_is_of_the_version_that_is_asked_for(world: World, version: int) -> None:
    quote = parse_quote(world.enclave_quote(M1, DATA, version=version, isvsvn=3))
    svns = (QE_ISVSVN, PCESVN) if version == 3 else (0, 0)
    assert (quote.version, quote.header.tee_type, quote.header.qe_svn, quote.header.pce_svn) == (version, 0, *svns)
    assert (quote.enclave.mrenclave, quote.enclave.isvsvn, quote.enclave.report_data) == (M1, 3, DATA)
    key = ec.EllipticCurvePublicKey.from_encoded_point(ec.SECP256R1(), b"\x04" + quote.attestation_key)
    halves = (int.from_bytes(quote.signature[:32], "big"), int.from_bytes(quote.signature[32:], "big"))
    key.verify(encode_dss_signature(*halves), quote.signed_bytes, ec.ECDSA(SHA256()))


@pytest.mark.parametrize("version", [0, 2, 6])
def test_there_are_no_other_versions(world: World, version: int) -> None:
    with pytest.raises(PlatformError) as caught:
        world.enclave_quote(M1, DATA, version=version)
    assert caught.value.code == "platform.quote.version"


def test_the_quoting_enclave_is_an_enclave_of_the_vendor(world: World) -> None:
    report = parse_quote(world.platform(M1).quote(DATA)).qe_report
    assert (report.mrenclave, report.isvprodid, report.isvsvn) == (QE_MRENCLAVE, QE_ISVPRODID, QE_ISVSVN)
    assert not report.attributes.debug


@pytest.mark.parametrize(
    "make",
    [
        lambda _world, _report: b"",
        lambda _world, report: report.to_bytes()[:-1],
        lambda _world, report: report.to_bytes() + b"\0",
        lambda _world, report: replace(report, body=replace(report.body, mrenclave=M2)).to_bytes(),
        lambda _world, report: replace(report, body=replace(report.body, report_data=bytes(64))).to_bytes(),
        lambda _world, report: replace(report, mac=bytes(16)).to_bytes(),
        lambda world, _report: world.platform(M1).report(world.enclave(M2).target_info(), DATA),
        lambda world, _report: world.other_cpu().platform(M1).report(world.qe.target_info, DATA),
    ],
    ids=["empty", "cut", "too long", "another enclave", "other data", "no MAC", "for another target", "other CPU"],
)
def test_only_its_own_reports_are_quoted(world: World, make: Callable[[World, Report], bytes]) -> None:
    report = Report.parse(world.platform(M1).report(world.qe.target_info, DATA))
    assert parse_quote(world.qe.quote(report.to_bytes())).body == report.body
    with pytest.raises(PlatformError) as caught:
        world.qe.quote(make(world, report))
    assert caught.value.code == "platform.quote.report"


def test_keys_are_the_same_after_a_restart_and_others_on_another_cpu(world: World) -> None:
    def keys(platform: Platform) -> tuple[bytes, int, bytes]:
        quote = parse_quote(platform.quote(DATA))
        pck = read_pck(quote)
        return quote.attestation_key, pck.key.public_numbers().x, quote.header.user_data

    restarted = World(world.vendor, fuses=world.cpu._fuses)
    other = world.other_cpu()
    here = keys(world.platform(M1))
    assert here == keys(restarted.platform(M1))
    assert not set(here) & set(keys(other.platform(M1)))


def test_the_certificate_is_renewed_long_before_it_ends() -> None:
    world = World()
    for _ in range(12):
        leaf = read_pck(parse_quote(world.platform(M1).quote(DATA))).chain[0]
        assert leaf.not_valid_before_utc < world.now < leaf.not_valid_after_utc - timedelta(days=365)
        world.now += timedelta(days=400)


def test_enclaves_get_seal_keys_only(world: World) -> None:
    platform = world.platform(M1)
    assert len(platform.seal_key(KeyRequest(KeyName.SEAL, keypolicy=1))) == 16
    for name in set(KeyName) - {KeyName.SEAL}:
        with pytest.raises(PlatformError) as caught:
            platform.seal_key(KeyRequest(name))
        assert caught.value.code == "platform.key"
