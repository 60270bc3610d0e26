from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.platform.world import World

from adyton.attestation.chain import parse_chain
from adyton.attestation.dcap.judge import read_pck
from adyton.attestation.dcap.pck import SGX_EXTENSION, CaKind, PckExtension, ca_kind, extension_of
from adyton.attestation.errors import AttestationError
from adyton.attestation.formats import der
from adyton.attestation.formats.quote import parse_quote

PLAIN = PckExtension(
    ppid=bytes(16), components=tuple(range(16)), pcesvn=300, cpusvn=bytes(range(16)), pceid=b"\0\1", fmspc=b"fmspc!"
)
flags = st.none() | st.booleans()


@given(
    st.builds(
        PckExtension,
        ppid=st.binary(min_size=16, max_size=16),
        components=st.tuples(*[st.integers(0, 255)] * 16),
        pcesvn=st.integers(0, 0xFFFF),
        cpusvn=st.binary(min_size=16, max_size=16),
        pceid=st.binary(min_size=2, max_size=2),
        fmspc=st.binary(min_size=6, max_size=6),
        sgx_type=st.integers(0, 2),
        instance_id=st.none() | st.binary(min_size=16, max_size=16),
        dynamic_platform=flags,
        cached_keys=flags,
        smt=flags,
    )
)
def test_round_trip(extension: PckExtension) -> None:
    assert PckExtension.parse(extension.to_der()) == extension


def test_the_real_extension_is_written_back_unchanged(real_quote: bytes) -> None:
    leaf = read_pck(parse_quote(real_quote)).chain[0]
    raw = leaf.extensions.get_extension_for_oid(SGX_EXTENSION).value.public_bytes()
    extension = extension_of(leaf)
    assert extension.to_der() == raw
    assert extension.fmspc.hex() == "00a067110000"
    assert (extension.pcesvn, extension.components[:6]) == (13, (11, 11, 2, 2, 255, 1))
    assert ca_kind(leaf) is CaKind.PROCESSOR


def test_the_real_extension_of_a_tdx_platform_is_written_back_unchanged(evidence: Path) -> None:
    leaf = read_pck(parse_quote((evidence / "tdx_quote").read_bytes())).chain[0]
    raw = leaf.extensions.get_extension_for_oid(SGX_EXTENSION).value.public_bytes()
    extension = extension_of(leaf)
    assert extension.to_der() == raw
    assert extension.fmspc.hex() == "b0c06f000000"
    assert (extension.pcesvn, extension.sgx_type, ca_kind(leaf)) == (11, 1, CaKind.PLATFORM)
    assert extension.instance_id is not None


def test_the_simulated_certificate_names_its_platform_ca(world: World) -> None:
    leaf = parse_chain(world.qe.pck_chain(world.now), 3, "chain")[0]
    assert ca_kind(leaf) is CaKind.PLATFORM
    assert extension_of(leaf).ppid == world.cpu.ppid


def test_a_certificate_without_the_extension_is_no_pck_certificate(world: World) -> None:
    root = parse_chain(world.qe.pck_chain(world.now), 3, "chain")[2]
    for function in (extension_of, ca_kind):
        with pytest.raises(AttestationError) as caught:
            function(root)
        assert caught.value.code == "attestation.chain.pck"


def members(extension: PckExtension = PLAIN) -> list[bytes]:
    return [der.element(*pair) for pair in der.elements(der.expect(der.single(extension.to_der()), der.SEQUENCE))]


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"\x30",
        PLAIN.to_der()[:-1],
        PLAIN.to_der() + b"\0",
        der.sequence(*members()[1:]),
        der.sequence(*members(), members()[0]),
        der.sequence(*members(), der.sequence(der.oid("1.2.840.113741.1.13.1.99"), der.octets(b""))),
        der.sequence(*members()[:-1], der.sequence(der.oid("1.2.840.113741.1.13.1.5"), der.integer(0))),
        der.sequence(*members()[:-1], der.sequence(der.oid("1.2.840.113741.1.13.1.5"), der.integer(3, der.ENUMERATED))),
        der.sequence(der.octets(b"")),
        der.octets(b"x"),
        replace(PLAIN, components=(256, *range(15))).to_der(),
        replace(PLAIN, ppid=bytes(15)).to_der(),
        b"\x30\x82\x20\x00" + bytes(0x2000),
        b"\x30\x81\x05" + bytes(5),
        der.sequence(*members(), der.sequence(der.element(der.OID, b"\xff" * 3000 + b"\x01"), der.octets(b""))),
        replace(PLAIN, pcesvn=1 << 16000).to_der(),
    ],
    ids=[
        "empty",
        "no length",
        "cut",
        "byte after the end",
        "no PPID",
        "PPID twice",
        "unknown member",
        "type is an INTEGER",
        "unknown type",
        "member is no pair",
        "no sequence",
        "component over 255",
        "short PPID",
        "over the limit",
        "length not minimal",
        "name of thousands of digits",
        "number of thousands of digits",
    ],
)
def test_malformed_extensions_are_refused(data: bytes) -> None:
    with pytest.raises(AttestationError) as caught:
        PckExtension.parse(data)
    assert caught.value.code == "attestation.chain.pck"


FULL = replace(PLAIN, instance_id=bytes(16), dynamic_platform=True, cached_keys=False, smt=True)


@pytest.mark.parametrize("extension", [PLAIN, FULL], ids=["Processor CA", "Platform CA"])
def test_an_extension_cut_at_any_byte_is_refused(extension: PckExtension) -> None:
    data = extension.to_der()
    for size in range(len(data)):
        with pytest.raises(AttestationError) as caught:
            PckExtension.parse(data[:size])
        assert caught.value.code == "attestation.chain.pck"


@pytest.mark.parametrize("place", range(5), ids=["PPID", "TCB", "PCEID", "FMSPC", "SGX type"])
def test_every_member_that_all_certificates_have_is_required(place: int) -> None:
    parts = members(FULL)
    with pytest.raises(AttestationError, match=f"has no 1.2.840.113741.1.13.1.{place + 1}"):
        PckExtension.parse(der.sequence(*parts[:place], *parts[place + 1 :]))


def test_members_that_only_multi_package_platforms_have_may_be_absent() -> None:
    assert PckExtension.parse(der.sequence(*members(FULL)[:5])) == PLAIN


@given(st.binary(max_size=200))
def test_hostile_bytes_raise_nothing_else(data: bytes) -> None:
    with pytest.raises(AttestationError):
        PckExtension.parse(data)


@given(st.lists(st.tuples(st.integers(0, 600), st.integers(0, 255)), min_size=1, max_size=4))
def test_an_edited_extension_is_refused_or_says_what_it_now_holds(edits: list[tuple[int, int]]) -> None:
    data = bytearray(FULL.to_der())
    for offset, value in edits:
        data[offset % len(data)] = value
    try:
        found = PckExtension.parse(bytes(data))
    except AttestationError:
        return
    assert len(found.to_der()) == len(data)
    assert PckExtension.parse(found.to_der()) == found
