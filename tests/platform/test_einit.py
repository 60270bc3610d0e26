"""ECREATE and EINIT: every check with its code, and their order (SDM vol. 3D)."""

from __future__ import annotations

import hashlib
import struct
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from datetime import date
from typing import Any

import pytest
from cryptography.hazmat.primitives.asymmetric import padding
from cryptography.hazmat.primitives.hashes import SHA256
from tests.platform.world import signer

from adyton.attestation.formats.sgx import Attributes, Flag, KeyName, KeyRequest
from adyton.base.secret import Secret
from adyton.enclave.sigstruct import SigStruct, mrsigner, sign
from adyton.platform.protocol import GENERAL_PROTECTION, SgxError
from adyton.platform.simulated.cpu import DEFAULT_CPUSVN, EnclaveIdentity, FusedSecrets, SimulatedCpu
from adyton.platform.simulated.einit import PADDING
from adyton.platform.simulated.launch import TOKEN_BYTES, EinitToken

FUSES = FusedSecrets(Secret(b"provisioning key"), Secret(b"the sealing fuse"))
CPU = SimulatedCpu(FUSES)
M1, M2 = b"\x01" * 32, b"\x02" * 32
APP = Attributes(Flag.MODE64BIT)
ALL_FLAGS = (1 << 64) - 1


def struct_for(mrenclave: bytes = M1, *, debug: bool = False, name: str = "developer") -> bytes:
    day = date(2026, 11, 22)
    return sign(mrenclave, signer(name), debug=debug, isvprodid=7, isvsvn=3, signed_on=day).to_bytes()


def signed(name: str = "developer", **changes: Any) -> bytes:  # noqa: ANN401  # fields of SigStruct
    """A SIGSTRUCT with these fields, and a signature that is right for them."""
    unsigned = replace(SigStruct.parse(struct_for(name=name)), **changes)
    data = unsigned.to_bytes()
    signature = int.from_bytes(signer(name).sign(data[:128] + data[900:1028], padding.PKCS1v15(), SHA256()), "big")
    q1, remainder = divmod(signature**2, int.from_bytes(unsigned.modulus, "little"))
    q2 = remainder * signature // int.from_bytes(unsigned.modulus, "little")
    s, first, second = (number.to_bytes(384, "little") for number in (signature, q1, q2))
    return replace(unsigned, signature=s, q1=first, q2=second).to_bytes()


def patched(data: bytes, offset: int, content: bytes) -> bytes:
    return data[:offset] + content + data[offset + len(content) :]


def refusal(call: Callable[[], object]) -> SgxError:
    with pytest.raises(SgxError) as caught:
        call()
    return caught.value


def sgx_code(call: Callable[[], object]) -> int:
    return refusal(call).sgx_code


@dataclass
class Start:
    """The arguments of one EINIT; each check below has a step that breaks it."""

    fields: dict[str, Any] = field(default_factory=dict)
    patches: list[tuple[int, bytes]] = field(default_factory=list)
    flags: int = Flag.MODE64BIT
    xfrm: int = 3
    miscselect: int = 0
    configid: bytes = bytes(64)
    token: dict[str, Any] | None = None

    def einit(self) -> EnclaveIdentity:
        """Run it on a CPU that is locked to the launch authority."""
        sigstruct = signed(**self.fields)
        for offset, content in self.patches:
            sigstruct = patched(sigstruct, offset, content)
        token = bytes(TOKEN_BYTES) if self.token is None else made_token(self)
        attributes = Attributes(self.flags, self.xfrm)
        return LOCKED.einit(M1, sigstruct, attributes, self.miscselect, configid=self.configid, token=token)


AUTHORITY = mrsigner(signer("vendor"))
LOCKED = SimulatedCpu(FUSES, le_pubkey_hash=AUTHORITY)
DEVELOPER = mrsigner(signer("developer"))


def launch_enclave(*, debug: bool = False, cpu: SimulatedCpu = LOCKED) -> EnclaveIdentity:
    """The launch enclave, which alone may have EINITTOKENKEY."""
    flags = Flag.MODE64BIT | Flag.EINITTOKENKEY | (Flag.DEBUG if debug else Flag(0))
    sigstruct = signed("vendor", enclavehash=b"\x1e" * 32, flags=int(flags))
    return cpu.einit(b"\x1e" * 32, sigstruct, Attributes(flags))


def token_by(launcher: EnclaveIdentity, token: EinitToken, cpu: SimulatedCpu = LOCKED) -> bytes:
    """What a launch enclave does: EGETKEY(EINITTOKEN_KEY), then the MAC."""
    request = KeyRequest(
        KeyName.EINITTOKEN,
        isvsvn=token.isvsvn,
        cpusvn=token.cpusvn,
        attributemask=Attributes(ALL_FLAGS, 0),
        keyid=token.keyid,
    )
    return replace(token, mac=token.mac_under(cpu.egetkey(launcher, request))).to_bytes()


def plain_token(launcher: EnclaveIdentity, attributes: Attributes = APP, cpu: SimulatedCpu = LOCKED) -> EinitToken:
    return EinitToken(
        valid=1,
        attributes=attributes,
        mrenclave=M1,
        mrsigner=DEVELOPER,
        cpusvn=cpu.cpusvn,
        isvprodid=launcher.isvprodid,
        isvsvn=launcher.isvsvn,
        masked_miscselect=0,
        masked_attributes=Attributes(launcher.attributes.flags, 0),
        keyid=b"\x55" * 32,
    )


def made_token(start: Start) -> bytes:
    """A token for ``start``, with that wrong in it which its ``token`` names."""
    wrong = dict(start.token or {})
    launcher = launch_enclave(debug=wrong.pop("debug", False))
    patches = wrong.pop("patches", [])
    attributes = Attributes(start.flags, start.xfrm)
    data = token_by(launcher, replace(plain_token(launcher, attributes), **wrong))
    for offset, content in patches:
        data = patched(data, offset, content)
    return data


def _token(start: Start, **wrong: Any) -> None:  # noqa: ANN401  # fields of EinitToken
    known = start.token or {}
    patches = known.get("patches", []) + wrong.pop("patches", [])
    start.token = known | wrong | {"patches": patches}


# What breaks each check of EINIT, in the SDM's order: name, code, a word of its message, the step.
CHECKS: tuple[tuple[str, int, str, Callable[[Start], object]], ...] = (
    ("ECREATE", GENERAL_PROTECTION, "XFRM", lambda s: setattr(s, "xfrm", 1)),
    ("header", 1, "HEADER", lambda s: s.patches.append((0, b"\x07"))),
    ("signature", 8, "signature", lambda s: s.patches.append((516, b"\x01\x02"))),
    ("family without KSS", 1, "ISVFAMILYID", lambda s: s.fields.update(isvfamilyid=b"\x01" * 16)),
    ("measurement", 4, "measured", lambda s: s.fields.update(enclavehash=M2)),
    ("controlled attribute", 2, "launch enclave", lambda s: setattr(s, "flags", s.flags | Flag.EINITTOKENKEY)),
    ("attributes", 2, "asked for", lambda s: setattr(s, "flags", s.flags | Flag.PROVISIONKEY)),
    ("MISCSELECT", 2, "MISCSELECT", lambda s: setattr(s, "miscselect", 1)),
    ("token: debug launcher", 16, "debug launch", lambda s: _token(s, debug=True)),
    ("token: reserved", 16, "reserved", lambda s: _token(s, patches=[(100, b"\x01")])),
    ("token: CPUSVN", 32, "newer microcode", lambda s: _token(s, patches=[(192, b"\xff")])),
    ("token: MAC", 16, "this CPU", lambda s: _token(s, patches=[(288, bytes(16))])),
    ("token: enclave", 4, "another enclave", lambda s: _token(s, mrenclave=M2)),
    ("token: attributes", 2, "other attributes", lambda s: _token(s, attributes=Attributes(0))),
)


class TestOrder:
    @pytest.mark.parametrize("first", range(len(CHECKS)), ids=[check[0] for check in CHECKS])
    def test_the_first_broken_check_gives_the_code(self, first: int) -> None:
        """This check and all later ones are broken; what comes out is this one's."""
        start = Start()
        for _name, _code, _word, spoil in CHECKS[first:]:
            spoil(start)
        _name, code, word, _spoil = CHECKS[first]
        error = refusal(start.einit)
        assert (error.sgx_code, word in error.detail) == (code, True), error.detail

    @pytest.mark.parametrize("only", range(len(CHECKS)), ids=[check[0] for check in CHECKS])
    def test_each_check_alone_is_enough(self, only: int) -> None:
        start = Start(token={})
        CHECKS[only][3](start)
        error = refusal(start.einit)
        assert (error.sgx_code, CHECKS[only][2] in error.detail) == (CHECKS[only][1], True), error.detail

    def test_nothing_broken_starts(self) -> None:
        assert Start(token={}).einit().mrenclave == M1


class TestEcreate:
    @pytest.mark.parametrize(
        ("flags", "xfrm"),
        [
            (Flag.MODE64BIT | Flag.INIT, 3),
            (Flag.MODE64BIT | Flag.CET, 3),
            (Flag.MODE64BIT | 0x8, 3),
            (Flag.MODE64BIT | 0x400, 3),
            (Flag.MODE64BIT | 1 << 63, 3),
            (Flag.MODE64BIT, 0x0),
            (Flag.MODE64BIT, 0x1),
            (Flag.MODE64BIT, 0x2),
            (Flag.MODE64BIT, 0xB),
            (Flag.MODE64BIT, 0xE3),
            (Flag.MODE64BIT, 0x27),
            (Flag.MODE64BIT, 0x20003),
            (Flag.MODE64BIT, 1 << 63 | 3),
        ],
        ids=[
            "INIT", "CET", "reserved bit", "AEX notify", "last bit", "nothing", "no SSE", "no x87", "half of MPX",
            "AVX-512 without AVX", "a third of AVX-512", "half of AMX", "a feature that does not exist",
        ],
    )  # fmt: skip
    def test_faults(self, flags: int, xfrm: int) -> None:
        error = refusal(lambda: CPU.einit(M1, struct_for(), Attributes(flags, xfrm)))
        assert (error.instruction, error.sgx_code) == ("ECREATE", GENERAL_PROTECTION)

    @pytest.mark.parametrize("xfrm", [0x3, 0x7, 0xE7, 0x207, 0x60003, 0x602E7])
    def test_features_that_the_signer_left_free_are_the_hosts_choice(self, xfrm: int) -> None:
        sigstruct = signed(xfrm=xfrm & ~0x60000, xfrmmask=0x3)
        assert CPU.einit(M1, sigstruct, Attributes(Flag.MODE64BIT, xfrm)).attributes.xfrm == xfrm

    @pytest.mark.parametrize("miscselect", [2, 1 << 31])
    def test_a_miscselect_that_the_cpu_does_not_have_faults(self, miscselect: int) -> None:
        assert sgx_code(lambda: CPU.einit(M1, struct_for(), APP, miscselect)) == GENERAL_PROTECTION

    @pytest.mark.parametrize("given", [{"configid": b"\x01" * 64}, {"configsvn": 1}], ids=["CONFIGID", "CONFIGSVN"])
    def test_a_configuration_needs_kss(self, given: dict[str, Any]) -> None:
        assert sgx_code(lambda: CPU.einit(M1, struct_for(), APP, **given)) == GENERAL_PROTECTION
        kss = Flag.MODE64BIT | Flag.KSS
        identity = CPU.einit(M1, signed(flags=int(kss)), Attributes(kss), **given)
        assert (identity.configid, identity.configsvn) == (given.get("configid", bytes(64)), given.get("configsvn", 0))


class TestSigstruct:
    def test_gives_the_identity_that_was_measured_and_signed(self) -> None:
        identity = CPU.einit(M1, struct_for(), APP)
        assert (identity.mrenclave, identity.mrsigner) == (M1, DEVELOPER)
        assert (identity.isvprodid, identity.isvsvn) == (7, 3)
        assert identity.attributes == Attributes(Flag.MODE64BIT | Flag.INIT)
        assert (identity.cet_attributes, identity.miscselect) == (0, 0)

    def test_with_kss_the_family_and_the_extended_product_count(self) -> None:
        kss = Flag.MODE64BIT | Flag.KSS
        family, product = b"\x0a" * 16, b"\x0b" * 16
        sigstruct = signed(flags=int(kss), isvfamilyid=family, isvextprodid=product)
        identity = CPU.einit(M1, sigstruct, Attributes(kss))
        assert (identity.isvfamilyid, identity.isvextprodid) == (family, product)

    def test_the_extended_product_alone_needs_no_kss(self) -> None:
        """As the SDM has it: EINIT asks for KSS where ISVFAMILYID is set, and nowhere else."""
        assert CPU.einit(M1, signed(isvextprodid=b"\x0b" * 16), APP).isvextprodid == b"\x0b" * 16

    @pytest.mark.parametrize(
        ("offset", "content", "expected"),
        [
            (0, b"\x07", 1),
            (16, struct.pack("<I", 0x8087), 1),
            (24, b"\x02", 1),
            (44, b"\x01", 1),
            (127, b"\x01", 1),
            (512, struct.pack("<I", 65537), 1),
            (908, b"\x01", 1),
            (909, b"\x01", 1),
            (910, b"\x01", 1),
            (992, b"\x01", 1),
            (1028, b"\x01", 1),
            (16, struct.pack("<I", 0x8086), 8),
            (20, b"\x01", 8),
            (40, b"\x01", 8),
            (128, b"\x00", 8),
            (516, b"\x01\x02", 8),
            (900, b"\x01", 8),
            (904, b"\x01", 8),
            (928, b"\x06", 8),
            (944, b"\x01", 8),
            (960, M2, 8),
            (1008, b"\x01", 8),
            (1024, b"\xff", 8),
            (1026, b"\xff", 8),
            (1040, b"\x01\x02", 8),
            (1424, b"\x01\x02", 8),
        ],
        ids=[
            "header", "vendor", "header2", "reserved 1", "reserved 1, last", "exponent", "CET", "CET mask",
            "reserved 2", "reserved 3", "reserved 4", "another vendor", "date", "software", "modulus", "signature",
            "miscselect", "miscmask", "attributes", "attributemask", "measurement", "extended product", "product",
            "version", "q1", "q2",
        ],
    )  # fmt: skip
    def test_refuses_every_changed_field(self, offset: int, content: bytes, expected: int) -> None:
        assert sgx_code(lambda: CPU.einit(M1, patched(struct_for(), offset, content), APP)) == expected

    @pytest.mark.parametrize("vendor", [0, 0x8086])
    def test_both_vendors_may_sign(self, vendor: int) -> None:
        assert CPU.einit(M1, signed(vendor=vendor), APP).mrsigner == DEVELOPER

    @pytest.mark.parametrize("size", [0, 1807, 1809])
    def test_refuses_another_size(self, size: int) -> None:
        assert sgx_code(lambda: CPU.einit(M1, struct_for().ljust(1809, b"\0")[:size], APP)) == 1

    def test_refuses_another_measurement(self) -> None:
        assert sgx_code(lambda: CPU.einit(M2, struct_for(), APP)) == 4

    def test_refuses_a_signature_of_another_key(self) -> None:
        theirs, ours = struct_for(name="vendor"), struct_for()
        assert sgx_code(lambda: CPU.einit(M1, patched(ours, 128, theirs[128:512]), APP)) == 8

    @pytest.mark.parametrize("modulus", [0, 1, 3, (1 << 3072) - 1], ids=["zero", "one", "three", "all ones"])
    def test_refuses_a_modulus_that_is_none(self, modulus: int) -> None:
        """Quotients are the signer's own numbers: with a small modulus they could be made to fit anything."""
        body = struct_for()
        digest = hashlib.sha256(body[:128] + body[900:1028]).digest()
        wanted = int.from_bytes(PADDING + digest, "big")
        for s in (0, 1, 2):
            q2 = ((s**3 - wanted) // modulus if modulus else 0) % (1 << 3072)
            numbers = {128: modulus, 516: s, 1040: 0, 1424: q2}
            forged = body
            for offset, number in numbers.items():
                forged = patched(forged, offset, number.to_bytes(384, "little"))
            assert sgx_code(lambda forged=forged: CPU.einit(M1, forged, APP)) == 8  # type: ignore[misc]

    def test_the_padding_is_the_top_of_the_decoded_block(self) -> None:
        sigstruct = SigStruct.parse(struct_for())
        s, n = (int.from_bytes(part, "little") for part in (sigstruct.signature, sigstruct.modulus))
        assert pow(s, 3, n).to_bytes(384, "big")[:352] == PADDING


class TestMasks:
    @pytest.mark.parametrize("debug", [False, True])
    def test_debug_mode_is_as_signed(self, debug: bool) -> None:
        asked = Attributes(Flag.MODE64BIT | (Flag(0) if debug else Flag.DEBUG))
        assert sgx_code(lambda: CPU.einit(M1, struct_for(debug=debug), asked)) == 2

    def test_debug_mode_is_the_hosts_choice_where_the_signer_left_it_free(self) -> None:
        """Why a verifier must look at DEBUG itself: SIGSTRUCT may allow both."""
        free = signed(flagsmask=ALL_FLAGS & ~int(Flag.DEBUG))
        for flags in (Flag.MODE64BIT, Flag.MODE64BIT | Flag.DEBUG):
            assert CPU.einit(M1, free, Attributes(flags)).attributes.debug == bool(flags & Flag.DEBUG)

    @pytest.mark.parametrize("flag", [Flag.PROVISIONKEY, Flag.EINITTOKENKEY, Flag.KSS])
    def test_attributes_that_were_not_signed_are_refused(self, flag: int) -> None:
        assert sgx_code(lambda: CPU.einit(M1, struct_for(), Attributes(Flag.MODE64BIT | flag))) == 2

    def test_signed_attributes_that_were_not_asked_for_are_refused(self) -> None:
        assert sgx_code(lambda: CPU.einit(M1, signed(flags=int(Flag.MODE64BIT | Flag.KSS)), APP)) == 2

    def test_miscselect_is_as_signed(self) -> None:
        assert sgx_code(lambda: CPU.einit(M1, struct_for(), APP, 1)) == 2
        assert CPU.einit(M1, signed(miscselect=1), APP, 1).miscselect == 1
        assert sgx_code(lambda: CPU.einit(M1, signed(miscselect=1), APP, 0)) == 2

    def test_a_free_miscselect_is_the_hosts_choice(self) -> None:
        assert CPU.einit(M1, signed(miscmask=0), APP, 1).miscselect == 1

    def test_init_is_set_by_the_cpu_alone(self) -> None:
        assert CPU.einit(M1, struct_for(), APP).attributes.has(Flag.INIT)


class TestLaunchControl:
    def test_an_open_cpu_starts_everyones_enclaves(self) -> None:
        for name in ("developer", "vendor"):
            assert CPU.einit(M1, struct_for(name=name), APP).mrsigner == mrsigner(signer(name))

    def test_an_open_cpu_gives_nobody_the_launch_enclaves_attribute(self) -> None:
        flags = Flag.MODE64BIT | Flag.EINITTOKENKEY
        assert sgx_code(lambda: CPU.einit(M1, signed(flags=int(flags)), Attributes(flags))) == 2

    def test_a_locked_cpu_needs_that_signer(self) -> None:
        assert sgx_code(lambda: LOCKED.einit(M1, struct_for(), APP)) == 16
        assert LOCKED.einit(M1, struct_for(name="vendor"), APP).mrenclave == M1

    def test_a_locked_cpu_gives_the_attribute_to_that_signer_only(self) -> None:
        assert launch_enclave().attributes.has(Flag.EINITTOKENKEY)
        flags = Flag.MODE64BIT | Flag.EINITTOKENKEY
        assert sgx_code(lambda: LOCKED.einit(M1, signed(flags=int(flags)), Attributes(flags))) == 2

    def test_the_launch_enclaves_token_lets_another_signer_in(self) -> None:
        launcher = launch_enclave()
        token = token_by(launcher, plain_token(launcher))
        assert LOCKED.einit(M1, struct_for(), APP, token=token).mrsigner == DEVELOPER

    def test_a_debug_launcher_starts_debug_enclaves(self) -> None:
        launcher = launch_enclave(debug=True)
        debug = Attributes(Flag.MODE64BIT | Flag.DEBUG)
        token = token_by(launcher, plain_token(launcher, debug))
        assert LOCKED.einit(M1, struct_for(debug=True), debug, token=token).attributes.debug
        assert sgx_code(lambda: LOCKED.einit(M1, struct_for(), APP, token=token)) == 16

    def test_a_token_of_another_cpu_is_worth_nothing(self) -> None:
        other = SimulatedCpu(FusedSecrets.create(), le_pubkey_hash=AUTHORITY)
        launcher = launch_enclave(cpu=other)
        token = token_by(launcher, plain_token(launcher), other)
        assert sgx_code(lambda: LOCKED.einit(M1, struct_for(), APP, token=token)) == 16

    def test_a_token_survives_a_microcode_update_but_not_the_way_back(self) -> None:
        newer = SimulatedCpu(FUSES, le_pubkey_hash=AUTHORITY, cpusvn=bytes((12, *DEFAULT_CPUSVN[1:])))
        old_launcher, new_launcher = launch_enclave(), launch_enclave(cpu=newer)
        old_token = token_by(old_launcher, plain_token(old_launcher))
        new_token = token_by(new_launcher, plain_token(new_launcher, cpu=newer), newer)
        assert newer.einit(M1, struct_for(), APP, token=old_token).mrenclave == M1
        assert sgx_code(lambda: LOCKED.einit(M1, struct_for(), APP, token=new_token)) == 32

    @pytest.mark.parametrize("offset", [4, 47, 96, 160, 212, 235])
    def test_reserved_bytes_of_a_token_are_zero(self, offset: int) -> None:
        launcher = launch_enclave()
        token = patched(token_by(launcher, plain_token(launcher)), offset, b"\x01")
        assert sgx_code(lambda: LOCKED.einit(M1, struct_for(), APP, token=token)) == 16

    @pytest.mark.parametrize("offset", [48, 64, 128, 192, 208, 210, 236, 240, 256, 288])
    def test_every_field_of_a_token_is_authentic(self, offset: int) -> None:
        launcher = launch_enclave()
        token = token_by(launcher, plain_token(launcher))
        forged = patched(token, offset, bytes([token[offset] ^ 1]))
        assert sgx_code(lambda: LOCKED.einit(M1, struct_for(), APP, token=forged)) == 16

    @pytest.mark.parametrize("valid", [3, 0x80000001])
    def test_reserved_bits_of_valid_are_zero(self, valid: int) -> None:
        launcher = launch_enclave()
        token = token_by(launcher, replace(plain_token(launcher), valid=valid))
        assert sgx_code(lambda: LOCKED.einit(M1, struct_for(), APP, token=token)) == 16

    @pytest.mark.parametrize("size", [0, 303, 305])
    def test_a_token_has_304_bytes(self, size: int) -> None:
        assert sgx_code(lambda: LOCKED.einit(M1, struct_for(), APP, token=bytes(size))) == 16
