from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.platform.world import World, signer

from adyton.attestation.formats.sgx import Attributes, Flag, KeyName, KeyPolicy, KeyRequest, ReportBody, TargetInfo
from adyton.base import aead
from adyton.base.files import write_private
from adyton.base.secret import Secret
from adyton.platform.protocol import Platform, PlatformError
from adyton.platform.sealing import SealingError, is_stale, key_request, open_current, seal, unseal
from adyton.platform.simulated.cpu import DEFAULT_CPUSVN, EnclaveIdentity, FusedSecrets, SimulatedCpu
from adyton.platform.simulated.qe import LocalPlatform

M1, M2 = b"\x01" * 32, b"\x02" * 32
TEXT = b"the database key"
NEWER = bytes((12, *DEFAULT_CPUSVN[1:]))
SIGNER = KeyPolicy.MRSIGNER

HEADER_BYTES = 1000


@pytest.fixture(scope="module")
def world() -> World:
    return World()


@pytest.fixture(scope="module")
def platform(world: World) -> Platform:
    return world.platform(M1, isvsvn=3)


def refusal(platform: Platform, blob: bytes, context: bytes = b"", **options: object) -> SealingError:
    with pytest.raises(SealingError) as caught:
        unseal(platform, blob, context, **options)  # type: ignore[arg-type]
    return caught.value


def code(platform: Platform, blob: bytes, context: bytes = b"", **options: object) -> str:
    return refusal(platform, blob, context, **options).code


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
    assert first[920:HEADER_BYTES] != second[920:HEADER_BYTES]


def test_blobs_of_one_machine_look_unrelated_from_outside(platform: Platform) -> None:
    """The mark that tells machines apart is salted: the 16 bytes of it are never the same."""
    assert len({seal(platform, TEXT)[936:952] for _time in range(5)}) == 5


@pytest.mark.parametrize(
    ("other", "expected"),
    [
        (lambda world: world.platform(M2, isvsvn=3), "sealing.other_enclave"),
        (lambda world: world.platform(M1, isvsvn=3, isvprodid=9), "sealing.other_enclave"),
        (lambda world: world.platform(M1, isvsvn=3, debug=True), "sealing.debug"),
        (lambda world: world.other_cpu().platform(M1, isvsvn=3), "sealing.other_cpu"),
        (lambda world: world.other_cpu().platform(M2, isvsvn=3), "sealing.other_enclave"),
    ],
    ids=["another enclave", "another product", "the debug build", "another CPU", "another enclave on another CPU"],
)
def test_nobody_else_reads_it(
    world: World, platform: Platform, other: Callable[[World], Platform], expected: str
) -> None:
    error = refusal(other(world), seal(platform, TEXT))
    assert (error.code, bool(error.hint)) == (expected, True)


def test_a_debug_enclaves_data_is_not_for_production(world: World, platform: Platform) -> None:
    assert code(platform, seal(world.platform(M1, isvsvn=3, debug=True), TEXT)) == "sealing.debug"


def test_another_owner_epoch_is_another_cpu() -> None:
    fuses = FusedSecrets.create()
    before, after = (_on(SimulatedCpu(fuses, owner_epoch=bytes([epoch]) * 16)) for epoch in (0, 1))
    blob = seal(before, TEXT)
    assert unseal(_on(SimulatedCpu(fuses)), blob) == TEXT
    assert code(after, blob) == "sealing.other_cpu"


def test_the_signers_policy_lets_newer_builds_read(world: World, platform: Platform) -> None:
    blob = seal(platform, TEXT, policy=SIGNER)
    assert unseal(world.platform(M2, isvsvn=4), blob) == TEXT
    assert code(world.platform(M2, isvsvn=2), blob) == "sealing.newer"
    assert code(world.platform(M2, isvsvn=4, isvprodid=9), blob) == "sealing.other_enclave"
    assert code(world.platform(M1, isvsvn=3, key=signer("vendor")), blob) == "sealing.other_enclave"
    assert code(world.platform(M2, isvsvn=4, debug=True), blob) == "sealing.debug"
    assert code(world.other_cpu().platform(M2, isvsvn=4), blob) == "sealing.other_cpu"


def test_both_policies_together_bind_both(world: World, platform: Platform) -> None:
    blob = seal(platform, TEXT, policy=KeyPolicy.MRENCLAVE | SIGNER)
    assert unseal(platform, blob) == TEXT
    assert code(world.platform(M2, isvsvn=3), blob) == "sealing.other_enclave"
    assert code(world.platform(M1, isvsvn=3, key=signer("vendor")), blob) == "sealing.other_enclave"


class TestSeparation:
    """The policies that need an enclave with KSS."""

    IDENTITY = EnclaveIdentity(
        mrenclave=M1,
        mrsigner=b"\x11" * 32,
        attributes=Attributes(Flag.INIT | Flag.MODE64BIT | Flag.KSS),
        isvprodid=7,
        isvsvn=3,
        isvfamilyid=b"\x12" * 16,
        isvextprodid=b"\x13" * 16,
        configid=b"\x14" * 64,
        configsvn=5,
    )
    CPU = SimulatedCpu(FusedSecrets.create())

    @pytest.mark.parametrize(
        ("policy", "change"),
        [
            (KeyPolicy.CONFIGID, {"configid": bytes(64)}),
            (KeyPolicy.ISVFAMILYID, {"isvfamilyid": bytes(16)}),
            (KeyPolicy.ISVEXTPRODID, {"isvextprodid": bytes(16)}),
        ],
        ids=["configuration", "family", "extended product"],
    )
    def test_binds_what_the_policy_names(self, policy: KeyPolicy, change: dict[str, bytes]) -> None:
        ours = _on(self.CPU, self.IDENTITY)
        theirs = _on(self.CPU, replace(self.IDENTITY, **change))  # type: ignore[arg-type]  # bytes fields
        assert code(theirs, seal(ours, TEXT, policy=SIGNER | policy)) == "sealing.other_enclave"
        assert unseal(theirs, seal(ours, TEXT, policy=SIGNER)) == TEXT

    def test_noisvprodid_leaves_the_product_out(self) -> None:
        blob = seal(_on(self.CPU, self.IDENTITY), TEXT, policy=SIGNER | KeyPolicy.NOISVPRODID)
        other = replace(self.IDENTITY, isvprodid=8)
        assert unseal(_on(self.CPU, other), blob) == TEXT
        assert code(_on(SimulatedCpu(FusedSecrets.create()), other), blob) == "sealing.other_cpu"

    def test_an_older_configuration_does_not_read_the_newer_ones(self) -> None:
        policy = SIGNER | KeyPolicy.CONFIGID
        blob = seal(_on(self.CPU, self.IDENTITY), TEXT, policy=policy)
        assert unseal(_on(self.CPU, replace(self.IDENTITY, configsvn=6)), blob) == TEXT
        assert is_stale(_on(self.CPU, replace(self.IDENTITY, configsvn=6)), blob)
        assert code(_on(self.CPU, replace(self.IDENTITY, configsvn=4)), blob) == "sealing.newer"

    def test_other_attributes_are_another_enclave(self) -> None:
        plain = replace(self.IDENTITY, attributes=Attributes(Flag.INIT | Flag.MODE64BIT), configid=bytes(64))
        plain = replace(plain, configsvn=0, isvfamilyid=bytes(16))
        assert code(_on(self.CPU, plain), seal(_on(self.CPU, self.IDENTITY), TEXT)) == "sealing.other_enclave"


class TestUpdates:
    """Microcode and ISVSVN rise: everything opens, and is sealed again; they fall: refused, and not lost."""

    FUSES = FusedSecrets.create()

    def at(self, world: World, cpusvn: bytes = DEFAULT_CPUSVN, **options: int) -> Platform:
        return World(world.vendor, fuses=self.FUSES, cpusvn=cpusvn).platform(M1, **options)

    def test_a_microcode_update_loses_nothing_and_cannot_be_undone(self, world: World) -> None:
        old, new = self.at(world), self.at(world, NEWER)
        before = seal(old, TEXT)
        assert unseal(new, before) == TEXT
        assert key_request(before).cpusvn == DEFAULT_CPUSVN
        after = seal(new, TEXT)
        assert key_request(after).cpusvn == NEWER
        assert code(old, after) == "sealing.newer"

    @pytest.mark.parametrize("policy", [KeyPolicy.MRENCLAVE, SIGNER], ids=lambda policy: policy.name)
    def test_a_microcode_update_seals_again_under_the_same_policy(self, world: World, policy: KeyPolicy) -> None:
        blob = seal(self.at(world), TEXT, policy=policy, context=b"c")
        assert open_current(self.at(world), blob, b"c") == (TEXT, None)
        new = self.at(world, NEWER)
        plaintext, fresh = open_current(new, blob, b"c")
        assert (plaintext, is_stale(new, blob)) == (TEXT, True)
        assert fresh is not None
        assert (key_request(fresh).cpusvn, key_request(fresh).keypolicy) == (NEWER, policy)
        assert open_current(new, fresh, b"c") == (TEXT, None)

    def test_an_enclave_update_seals_again_so_that_the_old_one_is_locked_out(self, world: World) -> None:
        old, new = self.at(world, isvsvn=3), self.at(world, isvsvn=4)
        blob = seal(old, TEXT, policy=SIGNER)
        _plaintext, fresh = open_current(new, blob)
        assert fresh is not None
        assert unseal(new, fresh) == TEXT
        assert code(old, fresh) == "sealing.newer"

    def test_what_does_not_open_is_not_sealed_again(self, world: World, platform: Platform) -> None:
        blob = seal(platform, TEXT, context=b"a")
        with pytest.raises(SealingError):
            open_current(self.at(world, NEWER), blob, b"a")
        with pytest.raises(SealingError):
            open_current(platform, blob, b"b")

    def test_the_trap_of_sealing_with_the_current_key(self, world: World) -> None:
        """Keys of the current CPUSVN with KEYID 0, as other runtimes hand out: an update makes them unreachable."""

        def current_key(platform: Platform) -> Secret[bytes]:
            body = platform.identity()
            request = KeyRequest(KeyName.SEAL, keypolicy=KeyPolicy.MRENCLAVE, isvsvn=body.isvsvn, cpusvn=body.cpusvn)
            return aead.derive_key(platform.seal_key(request), "test")

        old, new = self.at(world), self.at(world, NEWER)
        theirs, ours = aead.encrypt(current_key(old), TEXT), seal(old, TEXT)
        assert aead.decrypt(current_key(old), theirs) == TEXT
        with pytest.raises(aead.DecryptionError):
            aead.decrypt(current_key(new), theirs)
        assert unseal(new, ours) == TEXT


def test_another_context_is_refused(platform: Platform) -> None:
    blob = seal(platform, TEXT, context=b"table/row")
    assert code(platform, blob, b"table/other") == "sealing.context"
    assert code(platform, blob) == "sealing.context"


def test_every_changed_byte_is_refused_and_nothing_comes_out(platform: Platform) -> None:
    blob = seal(platform, TEXT)
    for offset in range(len(blob)):
        forged = bytearray(blob)
        forged[offset] ^= 1 << offset % 8
        expected = "sealing.format" if offset < 8 else "sealing.header" if offset < HEADER_BYTES else "sealing.corrupt"
        assert code(platform, bytes(forged)) == expected, offset


def test_whatever_is_done_to_a_blob_it_is_refused_with_a_code(platform: Platform) -> None:
    blob = seal(platform, TEXT, context=b"c")
    edits = st.lists(st.tuples(st.integers(0, len(blob) - 1), st.integers(1, 255)), min_size=1, max_size=8)

    @given(edits, st.integers(0, 40), st.binary(max_size=8))
    def check(changes: list[tuple[int, int]], cut: int, tail: bytes) -> None:
        forged = bytearray(blob)
        for offset, change in changes:
            forged[offset] ^= change
        data = bytes(forged[: len(forged) - cut]) + tail
        if data != blob:
            assert code(platform, data, b"c").startswith("sealing.")

    check()

    @given(st.binary(max_size=1200))
    def check_noise(noise: bytes) -> None:
        assert code(platform, b"ADYSEAL2" + noise).startswith("sealing.")

    check_noise()


KEYREQUEST_EDITS: dict[str, dict[str, object]] = {
    "KEYNAME": {"keyname": KeyName.REPORT},
    "KEYNAME that does not exist": {"keyname": 9},
    "KEYPOLICY, signer instead of enclave": {"keypolicy": SIGNER},
    "KEYPOLICY, signer as well": {"keypolicy": KeyPolicy.MRENCLAVE | SIGNER},
    "KEYPOLICY, nobody": {"keypolicy": 0},
    "KEYPOLICY, without KSS": {"keypolicy": KeyPolicy.MRENCLAVE | KeyPolicy.ISVFAMILYID},
    "KEYPOLICY, reserved": {"keypolicy": 0x41},
    "ISVSVN, older": {"isvsvn": 2},
    "ISVSVN, newer": {"isvsvn": 4},
    "CPUSVN, older": {"cpusvn": bytes(16)},
    "CPUSVN, newer": {"cpusvn": NEWER},
    "ATTRIBUTEMASK, nothing": {"attributemask": Attributes(0, 0)},
    "ATTRIBUTEMASK, XFRM": {"attributemask": Attributes((1 << 64) - 1, 3)},
    "KEYID": {"keyid": bytes(32)},
    "MISCMASK": {"miscmask": 1},
    "CONFIGSVN": {"configsvn": 1},
}


class TestEditedHeaders:
    @pytest.mark.parametrize("edit", KEYREQUEST_EDITS.values(), ids=KEYREQUEST_EDITS)
    def test_each_field_of_the_keyrequest(self, platform: Platform, edit: dict[str, object]) -> None:
        blob = seal(platform, TEXT)
        request = replace(key_request(blob), **edit)  # type: ignore[arg-type]  # a field of another type is the test
        assert code(platform, blob[:8] + request.to_bytes() + blob[520:]) == "sealing.header"

    @pytest.mark.parametrize("offset", [14, 86, 519], ids=["after ISVSVN", "after CONFIGSVN", "last"])
    def test_reserved_bytes_of_the_keyrequest(self, platform: Platform, offset: int) -> None:
        blob = seal(platform, TEXT)
        assert code(platform, blob[:offset] + b"\x01" + blob[offset + 1 :]) == "sealing.header"

    @pytest.mark.parametrize(
        "place", [904, 912, 920, 936, 968, 984], ids=["counter", "size", "salt", "mark", "context", "MAC"]
    )
    def test_each_other_field(self, platform: Platform, place: int) -> None:
        forged = bytearray(seal(platform, TEXT))
        forged[place] ^= 1
        assert code(platform, bytes(forged)) == "sealing.header"

    def test_hints_never_open_anything(self, world: World, platform: Platform) -> None:
        """Whoever writes another enclave's identity into the header gets another refusal, never the data."""
        other = world.platform(M2, isvsvn=3)
        blob = seal(platform, TEXT)
        as_if = blob[:520] + other.identity().to_bytes() + blob[904:]
        assert code(other, as_if) == "sealing.header"  # same CPU, same mark: only its KEYREQUEST can be wrong
        elsewhere = world.other_cpu().platform(M2, isvsvn=3)
        assert code(elsewhere, as_if) == "sealing.other_cpu"
        assert code(platform, as_if) == "sealing.header"

    def test_two_blobs_headers_do_not_mix(self, platform: Platform) -> None:
        first, second = seal(platform, TEXT), seal(platform, TEXT)
        assert code(platform, first[:HEADER_BYTES] + second[HEADER_BYTES:]) == "sealing.corrupt"
        assert code(platform, first[:904] + second[904:]) == "sealing.header"


@pytest.mark.parametrize("where", [-1, -20, HEADER_BYTES])
def test_damage_to_the_data_is_called_damage(platform: Platform, where: int) -> None:
    forged = bytearray(seal(platform, TEXT))
    forged[where] ^= 1
    assert code(platform, bytes(forged)) == "sealing.corrupt"


def test_more_than_was_sealed_is_damage(platform: Platform) -> None:
    assert code(platform, seal(platform, TEXT) + b"\0") == "sealing.corrupt"


def test_a_cut_blob_is_refused_as_such(platform: Platform) -> None:
    blob = seal(platform, TEXT)
    for size in range(8, len(blob)):
        assert code(platform, blob[:size]) == "sealing.truncated"


@pytest.mark.parametrize("data", [b"", b"ADYSEAL", b"ADYSEAL1" + bytes(1000), b"ADYSEAL3" + bytes(1000), bytes(2000)])
def test_what_is_no_blob_is_refused(platform: Platform, data: bytes) -> None:
    assert code(platform, data) == "sealing.format"
    with pytest.raises(SealingError):
        is_stale(platform, data)


@pytest.mark.parametrize("policy", [KeyPolicy(0), KeyPolicy.NOISVPRODID])
def test_a_policy_that_binds_nobody_is_refused(platform: Platform, policy: KeyPolicy) -> None:
    with pytest.raises(SealingError) as caught:
        seal(platform, TEXT, policy=policy)
    assert caught.value.code == "sealing.policy"


class Picky:
    """A platform that gives no key without MRENCLAVE or MRSIGNER, as some real ones."""

    def __init__(self, inner: Platform) -> None:
        self.inner = inner

    def seal_key(self, request: KeyRequest) -> Secret[bytes]:
        if not request.keypolicy:
            raise PlatformError("by MRENCLAVE or by MRSIGNER only", code="platform.key")
        return self.inner.seal_key(request)

    def identity(self) -> ReportBody:
        return self.inner.identity()

    def report(self, target_info: TargetInfo, report_data: bytes) -> bytes:
        return self.inner.report(target_info, report_data)

    def quote(self, report_data: bytes) -> bytes:
        return self.inner.quote(report_data)


class TestWithoutAPlatformMark:
    def test_it_opens_where_it_was_sealed(self, platform: Platform) -> None:
        assert unseal(Picky(platform), seal(Picky(platform), TEXT)) == TEXT
        assert unseal(platform, seal(Picky(platform), TEXT)) == TEXT

    def test_strangers_are_told_what_can_be_known(self, world: World, platform: Platform) -> None:
        blob = seal(Picky(platform), TEXT)
        assert code(Picky(world.platform(M2, isvsvn=3)), blob) == "sealing.other_enclave"
        assert code(Picky(world.other_cpu().platform(M1, isvsvn=3)), blob) == "sealing.other_cpu"

    def test_a_platform_that_is_gone_is_not_taken_for_a_picky_one(self, platform: Platform) -> None:
        class Gone(Picky):
            def seal_key(self, request: KeyRequest) -> Secret[bytes]:
                if not request.keypolicy:
                    raise PlatformError("gone", code="platform.gone")
                return super().seal_key(request)

        with pytest.raises(PlatformError) as caught:
            seal(Gone(platform), TEXT)
        assert caught.value.code == "platform.gone"


@dataclass
class MemoryCounter:
    """A rollback counter in memory."""

    value: int = 0

    def read(self) -> int:
        return self.value

    def increment(self) -> int:
        self.value += 1
        return self.value


@dataclass(frozen=True)
class FileCounter:
    """A rollback counter in a file that the host promises not to touch."""

    path: Path

    def read(self) -> int:
        return int(self.path.read_text()) if self.path.exists() else 0

    def increment(self) -> int:
        value = self.read() + 1
        write_private(self.path, str(value).encode())
        return value


Counter = MemoryCounter | FileCounter


@pytest.fixture(params=["memory", "file"])
def counter(request: pytest.FixtureRequest, tmp_path: Path) -> Counter:
    return MemoryCounter() if request.param == "memory" else FileCounter(tmp_path / "counter")


class TestRollback:
    def test_only_the_newest_opens(self, platform: Platform, counter: Counter) -> None:
        blobs = []
        for number in range(3):
            blobs.append(seal(platform, b"%d" % number, counter=counter))
            counter.increment()
        assert unseal(platform, blobs[2], counter=counter) == b"2"
        for old in blobs[:2]:
            assert code(platform, old, counter=counter) == "sealing.rollback"

    def test_an_interruption_after_writing_is_taken_up(self, platform: Platform, counter: Counter) -> None:
        before = seal(platform, b"before", counter=counter)
        counter.increment()
        after = seal(platform, b"after", counter=counter)  # written, and then the machine stopped
        assert unseal(platform, before, counter=counter) == b"before"  # it may as well have stopped before the write
        assert unseal(platform, after, counter=counter) == b"after"
        assert counter.read() == 2
        assert code(platform, before, counter=counter) == "sealing.rollback"

    def test_a_blob_that_does_not_open_moves_nothing(self, platform: Platform, counter: Counter) -> None:
        blob = seal(platform, TEXT, counter=counter)
        assert code(platform, blob[:-1] + bytes([blob[-1] ^ 1]), counter=counter) == "sealing.corrupt"
        assert code(platform, blob, b"other", counter=counter) == "sealing.context"
        assert counter.read() == 0

    def test_a_counter_that_was_set_back_is_noticed(self, platform: Platform) -> None:
        blob = seal(platform, TEXT, counter=MemoryCounter(7))
        assert unseal(platform, blob, counter=MemoryCounter(8)) == TEXT
        assert code(platform, blob, counter=MemoryCounter(6)) == "sealing.rollback"

    def test_the_counter_can_be_neither_left_out_nor_added(self, platform: Platform, counter: Counter) -> None:
        assert code(platform, seal(platform, TEXT, counter=counter)) == "sealing.rollback"
        assert code(platform, seal(platform, TEXT), counter=counter) == "sealing.rollback"

    def test_the_value_is_authentic(self, platform: Platform, counter: Counter) -> None:
        old = bytearray(seal(platform, TEXT, counter=counter))
        counter.increment()
        counter.increment()
        old[904] = 2
        assert code(platform, bytes(old), counter=counter) == "sealing.header"

    def test_sealing_again_keeps_the_counter(self, counter: Counter) -> None:
        fuses = FusedSecrets.create()
        blob = seal(_on(SimulatedCpu(fuses)), TEXT, counter=counter)
        counter.increment()
        updated = _on(SimulatedCpu(fuses, cpusvn=NEWER))
        plaintext, fresh = open_current(updated, blob, counter=counter)
        assert plaintext == TEXT
        assert fresh is not None
        counter.increment()
        assert unseal(updated, fresh, counter=counter) == TEXT
        assert code(updated, blob, counter=counter) == "sealing.rollback"


def _on(cpu: SimulatedCpu, identity: EnclaveIdentity = TestSeparation.IDENTITY) -> LocalPlatform:
    """An enclave on a bare CPU: no quoting enclave is needed to seal."""
    return LocalPlatform(cpu, None, identity)  # type: ignore[arg-type]  # see above
