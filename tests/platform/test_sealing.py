from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.platform.world import World, signer

from adyton.attestation.sgx import KeyName, KeyPolicy
from adyton.platform.protocol import Platform
from adyton.platform.sealing import SealingError, key_request, seal, unseal
from adyton.platform.simulated.cpu import DEFAULT_CPUSVN, FusedSecrets

M1, M2 = b"\x01" * 32, b"\x02" * 32
TEXT = b"the database key"
NEWER = bytes((12, *DEFAULT_CPUSVN[1:]))


@pytest.fixture(scope="module")
def world() -> World:
    return World()


@pytest.fixture(scope="module")
def platform(world: World) -> Platform:
    return world.platform(M1, isvsvn=3)


def code(platform: Platform, blob: bytes, context: bytes = b"") -> str:
    with pytest.raises(SealingError) as caught:
        unseal(platform, blob, context)
    return caught.value.code


def test_round_trip(platform: Platform) -> None:
    @given(st.binary(max_size=200), st.binary(max_size=50))
    def check(plaintext: bytes, context: bytes) -> None:
        assert unseal(platform, seal(platform, plaintext, context=context), context) == plaintext

    check()


def test_a_restarted_enclave_reads_it(world: World, platform: Platform) -> None:
    assert unseal(world.platform(M1, isvsvn=3), seal(platform, TEXT)) == TEXT


def test_equal_data_gives_different_blobs_under_different_keys(platform: Platform) -> None:
    first, second = seal(platform, TEXT), seal(platform, TEXT)
    assert key_request(first).keyid != key_request(second).keyid
    assert TEXT not in first + second


@pytest.mark.parametrize(
    "other",
    [
        lambda world: world.platform(M2, isvsvn=3),
        lambda world: world.platform(M1, isvsvn=3, debug=True),
        lambda world: world.other_cpu().platform(M1, isvsvn=3),
        lambda world: world.platform(M1, isvsvn=3, isvprodid=9),
    ],
    ids=["another enclave", "the debug build", "another CPU", "another product"],
)
def test_nobody_else_reads_it(world: World, platform: Platform, other: Callable[[World], Platform]) -> None:
    assert code(other(world), seal(platform, TEXT)) == "sealing.other_enclave_or_cpu"


def test_the_signers_policy_lets_newer_builds_read(world: World, platform: Platform) -> None:
    blob = seal(platform, TEXT, policy=KeyPolicy.MRSIGNER)
    assert unseal(world.platform(M2, isvsvn=4), blob) == TEXT
    assert code(world.platform(M2, isvsvn=2), blob) == "sealing.newer"
    assert code(world.platform(M2, isvsvn=4, isvprodid=9), blob) == "sealing.other_enclave_or_cpu"
    assert code(world.platform(M1, isvsvn=3, key=signer("vendor")), blob) == "sealing.other_enclave_or_cpu"
    assert code(world.platform(M2, isvsvn=4, debug=True), blob) == "sealing.other_enclave_or_cpu"


def test_a_microcode_update_loses_nothing_and_cannot_be_undone() -> None:
    fuses = FusedSecrets.create()
    old = World(fuses=fuses)
    new = World(old.vendor, fuses=fuses, cpusvn=NEWER)
    before = seal(old.platform(M1), TEXT)
    assert unseal(new.platform(M1), before) == TEXT
    assert key_request(before).cpusvn == DEFAULT_CPUSVN
    after = seal(new.platform(M1), TEXT)
    assert key_request(after).cpusvn == NEWER
    assert code(old.platform(M1), after) == "sealing.newer"


def test_another_context_is_refused(platform: Platform) -> None:
    blob = seal(platform, TEXT, context=b"table/row")
    assert code(platform, blob, b"table/other") == "sealing.corrupt"
    assert code(platform, blob) == "sealing.corrupt"


def test_every_changed_byte_is_refused(platform: Platform) -> None:
    blob = seal(platform, TEXT)
    for offset in range(len(blob)):
        forged = bytearray(blob)
        forged[offset] ^= 1 << offset % 8
        with pytest.raises(SealingError):
            unseal(platform, bytes(forged))


@pytest.mark.parametrize("where", [-1, -20, 540])
def test_damage_to_the_data_is_called_damage(platform: Platform, where: int) -> None:
    forged = bytearray(seal(platform, TEXT))
    forged[where] ^= 1
    assert code(platform, bytes(forged)) == "sealing.corrupt"


@pytest.mark.parametrize(
    "change",
    [
        lambda _blob: b"",
        lambda blob: blob[:500],
        lambda blob: blob[:535],
        lambda blob: b"ADYSEAL2" + blob[8:],
        lambda blob: blob[:500] + b"\x01" + blob[501:],
        lambda blob: blob[:8] + replace(key_request(blob), keyname=KeyName.REPORT).to_bytes() + blob[520:],
        lambda blob: blob[:8] + replace(key_request(blob), keypolicy=0x40).to_bytes() + blob[520:],
    ],
    ids=["empty", "cut in the request", "cut in the check", "magic", "reserved byte", "key name", "reserved policy"],
)
def test_what_is_no_blob_is_refused(platform: Platform, change: Callable[[bytes], bytes]) -> None:
    assert code(platform, change(seal(platform, TEXT))) == "sealing.format"


def test_a_cut_blob_is_refused(platform: Platform) -> None:
    blob = seal(platform, TEXT)
    for size in range(536, len(blob)):
        assert code(platform, blob[:size]) == "sealing.corrupt"


@pytest.mark.parametrize("policy", [KeyPolicy(0), KeyPolicy.NOISVPRODID])
def test_a_policy_that_binds_nobody_is_refused(platform: Platform, policy: KeyPolicy) -> None:
    with pytest.raises(SealingError) as caught:
        seal(platform, TEXT, policy=policy)
    assert caught.value.code == "sealing.policy"
