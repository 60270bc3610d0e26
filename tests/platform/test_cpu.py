from __future__ import annotations

import struct
from collections.abc import Callable
from dataclasses import replace
from datetime import date

import pytest
from tests.platform.world import signer

from adyton.attestation.sgx import Attributes, Flag, KeyName, KeyPolicy, KeyRequest, ReportBody
from adyton.base.errors import InputError
from adyton.base.secret import Secret
from adyton.enclave.sigstruct import mrsigner, sign
from adyton.platform.protocol import GENERAL_PROTECTION, SgxError
from adyton.platform.simulated.cpu import (
    DEFAULT_CPUSVN,
    EnclaveIdentity,
    FusedSecrets,
    SimulatedCpu,
    check_report,
)

FUSES = FusedSecrets(Secret(b"provisioning key"), Secret(b"the sealing fuse"))
CPU = SimulatedCpu(FUSES)
M1, M2 = b"\x01" * 32, b"\x02" * 32
APP = Attributes(Flag.MODE64BIT)


def struct_for(mrenclave: bytes = M1, *, debug: bool = False, name: str = "developer") -> bytes:
    day = date(2026, 11, 22)
    return sign(mrenclave, signer(name), debug=debug, isvprodid=7, isvsvn=3, signed_on=day).to_bytes()


def patched(data: bytes, offset: int, content: bytes) -> bytes:
    return data[:offset] + content + data[offset + len(content) :]


def sgx_code(call: Callable[[], object]) -> int:
    with pytest.raises(SgxError) as caught:
        call()
    return caught.value.sgx_code


class TestEinit:
    def test_gives_the_identity_that_was_measured_and_signed(self) -> None:
        identity = CPU.einit(M1, struct_for(), APP)
        assert (identity.mrenclave, identity.mrsigner) == (M1, mrsigner(signer("developer")))
        assert (identity.isvprodid, identity.isvsvn) == (7, 3)
        assert identity.attributes == Attributes(Flag.MODE64BIT | Flag.INIT)

    @pytest.mark.parametrize(
        ("offset", "content", "expected"),
        [
            (0, b"\x07", 1),
            (16, struct.pack("<I", 0x8087), 1),
            (24, b"\x02", 1),
            (44, b"\x01", 1),
            (512, struct.pack("<I", 65537), 1),
            (910, b"\x01", 1),
            (992, b"\x01", 1),
            (1028, b"\x01", 1),
            (20, b"\x01", 8),
            (128, b"\x01", 8),
            (516, b"\x01\x02", 8),
            (900, b"\x01", 8),
            (928, b"\x06", 8),
            (960, M2, 8),
            (1024, b"\xff", 8),
            (1040, b"\x01\x02", 8),
            (1424, b"\x01\x02", 8),
        ],
        ids=[
            "header", "vendor", "header2", "reserved 1", "exponent", "reserved 2", "reserved 3", "reserved 4", "date",
            "modulus", "signature", "miscselect", "attributes", "measurement", "product", "q1", "q2",
        ],
    )  # fmt: skip
    def test_refuses_a_changed_sigstruct(self, offset: int, content: bytes, expected: int) -> None:
        assert sgx_code(lambda: CPU.einit(M1, patched(struct_for(), offset, content), APP)) == expected

    @pytest.mark.parametrize("size", [0, 1807, 1809])
    def test_refuses_another_size(self, size: int) -> None:
        assert sgx_code(lambda: CPU.einit(M1, struct_for().ljust(1809, b"\0")[:size], APP)) == 1

    def test_refuses_another_measurement(self) -> None:
        assert sgx_code(lambda: CPU.einit(M2, struct_for(), APP)) == 4

    def test_refuses_a_signature_of_another_key(self) -> None:
        theirs, ours = struct_for(name="vendor"), struct_for()
        assert sgx_code(lambda: CPU.einit(M1, patched(ours, 128, theirs[128:512]), APP)) == 8

    @pytest.mark.parametrize("debug", [False, True])
    def test_debug_mode_is_as_signed(self, debug: bool) -> None:
        asked = Attributes(Flag.MODE64BIT | (Flag(0) if debug else Flag.DEBUG))
        assert sgx_code(lambda: CPU.einit(M1, struct_for(debug=debug), asked)) == 2

    @pytest.mark.parametrize("flag", [Flag.PROVISIONKEY, Flag.EINITTOKENKEY, Flag.KSS, 0x400])
    def test_attributes_that_were_not_signed_are_refused(self, flag: int) -> None:
        assert sgx_code(lambda: CPU.einit(M1, struct_for(), Attributes(Flag.MODE64BIT | flag))) == 2

    def test_miscselect_is_as_signed(self) -> None:
        assert sgx_code(lambda: CPU.einit(M1, struct_for(), APP, 1)) == 2

    def test_extended_features_that_the_mask_leaves_free_are_the_hosts_choice(self) -> None:
        identity = CPU.einit(M1, struct_for(), Attributes(Flag.MODE64BIT, 0x7))
        assert identity.attributes.xfrm == 0x7

    @pytest.mark.parametrize("attributes", [Attributes(Flag.MODE64BIT | Flag.INIT), Attributes(Flag.MODE64BIT, 0x1)])
    def test_what_ecreate_refuses_faults(self, attributes: Attributes) -> None:
        assert sgx_code(lambda: CPU.einit(M1, struct_for(), attributes)) == GENERAL_PROTECTION

    def test_configid_needs_kss(self) -> None:
        assert sgx_code(lambda: CPU.einit(M1, struct_for(), APP, configid=b"\x01" * 64)) == GENERAL_PROTECTION

    def test_locked_launch_control_needs_that_signer(self) -> None:
        locked = SimulatedCpu(FUSES, le_pubkey_hash=mrsigner(signer("vendor")))
        assert sgx_code(lambda: locked.einit(M1, struct_for(), APP)) == 16
        assert locked.einit(M1, struct_for(name="vendor"), APP).mrenclave == M1

    def test_the_first_fault_in_the_order_of_the_sdm_counts(self) -> None:
        broken = patched(patched(struct_for(), 0, b"\x07"), 516, b"\x01\x02")
        assert sgx_code(lambda: CPU.einit(M2, broken, Attributes(Flag.DEBUG))) == 1
        broken = patched(struct_for(), 516, b"\x01\x02")
        assert sgx_code(lambda: CPU.einit(M2, broken, Attributes(Flag.DEBUG))) == 8
        assert sgx_code(lambda: CPU.einit(M2, struct_for(), Attributes(Flag.DEBUG))) == 4


ENCLAVE = EnclaveIdentity(
    mrenclave=M1,
    mrsigner=b"\x11" * 32,
    attributes=Attributes(Flag.INIT | Flag.MODE64BIT | Flag.KSS | Flag.PROVISIONKEY | Flag.EINITTOKENKEY),
    isvprodid=7,
    isvsvn=3,
    miscselect=1,
    isvfamilyid=b"\x12" * 16,
    isvextprodid=b"\x13" * 16,
    configid=b"\x14" * 64,
    configsvn=5,
)
REQUEST = KeyRequest(KeyName.SEAL, isvsvn=3, cpusvn=DEFAULT_CPUSVN, keyid=b"\x21" * 32, miscmask=1, configsvn=5)
ALL = int(
    KeyPolicy.MRENCLAVE | KeyPolicy.MRSIGNER | KeyPolicy.CONFIGID | KeyPolicy.ISVFAMILYID | KeyPolicy.ISVEXTPRODID
)
NAMES = {name.name: name for name in KeyName}


def key(
    name: KeyName, *, policy: int = 0, cpu: SimulatedCpu = CPU, enclave: EnclaveIdentity = ENCLAVE, **changes: object
) -> bytes:
    request = replace(REQUEST, keyname=name, keypolicy=policy, **changes)  # type: ignore[arg-type]
    return cpu.egetkey(enclave, request).reveal()


OTHER_EPOCH = SimulatedCpu(FUSES, owner_epoch=b"\x01" * 16)
OTHER_SEAL_FUSES = SimulatedCpu(replace(FUSES, sealing=Secret(b"another one here")))
OTHER_PROVISIONING = SimulatedCpu(replace(FUSES, provisioning=Secret(b"another one here")))
NEWER_CPU = SimulatedCpu(FUSES, cpusvn=bytes((12, *DEFAULT_CPUSVN[1:])))
DEBUGGED = replace(ENCLAVE, attributes=Attributes(ENCLAVE.attributes.flags | Flag.DEBUG))

# The table "what a key depends on" of the SDM, row by row: the change, then whether it changes the key of
# SEAL without policy, SEAL with all policies, REPORT, PROVISION, PROVISION_SEAL, EINITTOKEN.
COLUMNS = ("SEAL", "SEAL/all", "REPORT", "PROVISION", "PROVISION_SEAL", "EINITTOKEN")
DEPENDENCIES: dict[str, tuple[dict[str, object], str]] = {
    "owner epoch": ({"cpu": OTHER_EPOCH}, "yes yes yes no no yes"),
    "seal fuses": ({"cpu": OTHER_SEAL_FUSES}, "yes yes yes no yes yes"),
    "provisioning fuses": ({"cpu": OTHER_PROVISIONING}, "yes yes yes yes yes yes"),
    "current CPUSVN": ({"cpu": NEWER_CPU}, "no no yes no no no"),
    "requested CPUSVN": ({"cpusvn": bytes(16)}, "yes yes no yes yes yes"),
    "requested ISVSVN": ({"isvsvn": 2}, "yes yes no yes yes yes"),
    "own ISVSVN": ({"enclave": replace(ENCLAVE, isvsvn=4)}, "no no no no no no"),
    "ISVPRODID": ({"enclave": replace(ENCLAVE, isvprodid=8)}, "yes yes no yes yes yes"),
    "MRENCLAVE": ({"enclave": replace(ENCLAVE, mrenclave=M2)}, "no yes yes no no no"),
    "MRSIGNER": ({"enclave": replace(ENCLAVE, mrsigner=M2)}, "no yes no yes yes yes"),
    "CONFIGID": ({"enclave": replace(ENCLAVE, configid=bytes(64))}, "no yes yes no yes no"),
    "requested CONFIGSVN": ({"configsvn": 4}, "no yes no no yes no"),
    "ISVFAMILYID": ({"enclave": replace(ENCLAVE, isvfamilyid=bytes(16))}, "no yes no no yes no"),
    "ISVEXTPRODID": ({"enclave": replace(ENCLAVE, isvextprodid=bytes(16))}, "no yes no no yes no"),
    "KEYID": ({"keyid": bytes(32)}, "yes yes yes no no yes"),
    "DEBUG": ({"enclave": DEBUGGED}, "yes yes yes yes yes yes"),
    "DEBUG with an empty mask": (
        {"enclave": DEBUGGED, "attributemask": REQUEST.attributemask},
        "yes yes yes yes yes yes",
    ),
    "ATTRIBUTEMASK": ({"attributemask": Attributes(3)}, "yes yes no yes yes yes"),
    "MISCMASK": ({"miscmask": 0}, "yes yes no yes yes yes"),
    "MISCSELECT": ({"enclave": replace(ENCLAVE, miscselect=0)}, "yes yes yes yes yes yes"),
}


class TestEgetkey:
    @pytest.mark.parametrize("column", COLUMNS)
    @pytest.mark.parametrize("row", DEPENDENCIES)
    def test_a_key_depends_on_exactly_what_the_table_says(self, row: str, column: str) -> None:
        changes, answers = DEPENDENCIES[row]
        name = NAMES[column.removesuffix("/all")]
        policy = ALL if column in {"SEAL/all", "PROVISION_SEAL"} else 0
        before, after = key(name, policy=policy), key(name, policy=policy, **changes)  # type: ignore[arg-type]
        assert (before != after) == (answers.split()[COLUMNS.index(column)] == "yes")

    def test_the_names_give_different_keys(self) -> None:
        assert len({key(name) for name in KeyName}) == len(KeyName)

    @pytest.mark.parametrize("policy", list(KeyPolicy))
    def test_each_policy_gives_another_seal_key(self, policy: KeyPolicy) -> None:
        assert key(KeyName.SEAL) != key(KeyName.SEAL, policy=int(policy))

    def test_noisvprodid_leaves_the_product_out(self) -> None:
        policy, other = int(KeyPolicy.MRSIGNER | KeyPolicy.NOISVPRODID), replace(ENCLAVE, isvprodid=8)
        assert key(KeyName.SEAL, policy=policy) == key(KeyName.SEAL, policy=policy, enclave=other)

    def test_debug_is_bound_whatever_the_mask(self) -> None:
        nothing = Attributes(0, 0)
        assert key(KeyName.SEAL, attributemask=nothing) != key(KeyName.SEAL, attributemask=nothing, enclave=DEBUGGED)

    def test_signer_keys_are_shared_over_builds_and_versions_upwards(self) -> None:
        newer = replace(ENCLAVE, mrenclave=M2, isvsvn=9)
        policy = int(KeyPolicy.MRSIGNER)
        assert key(KeyName.SEAL, policy=policy) == key(KeyName.SEAL, policy=policy, enclave=newer)

    @pytest.mark.parametrize(
        ("changes", "expected"),
        [
            ({"isvsvn": 4}, 64),
            ({"configsvn": 6}, 64),
            ({"cpusvn": bytes((12, *DEFAULT_CPUSVN[1:]))}, 32),
            ({"cpusvn": bytes((0, 0, 0, 0, 0, 0, 1)) + bytes(9)}, 32),
        ],
        ids=["newer enclave", "newer configuration", "newer microcode", "one newer component"],
    )
    @pytest.mark.parametrize("name", [KeyName.SEAL, KeyName.PROVISION, KeyName.PROVISION_SEAL, KeyName.EINITTOKEN])
    def test_keys_of_newer_versions_are_refused(self, name: KeyName, changes: dict[str, object], expected: int) -> None:
        assert sgx_code(lambda: key(name, **changes)) == expected  # type: ignore[arg-type]

    @pytest.mark.parametrize(
        ("name", "flag"),
        [
            (KeyName.PROVISION, Flag.PROVISIONKEY),
            (KeyName.PROVISION_SEAL, Flag.PROVISIONKEY),
            (KeyName.EINITTOKEN, Flag.EINITTOKENKEY),
        ],
    )
    def test_the_platforms_keys_need_their_attribute(self, name: KeyName, flag: Flag) -> None:
        plain = replace(ENCLAVE, attributes=Attributes(ENCLAVE.attributes.flags & ~flag))
        assert sgx_code(lambda: key(name, enclave=plain)) == 2

    @pytest.mark.parametrize("name", [5, 6, 0xFFFF])
    def test_other_names_do_not_exist(self, name: int) -> None:
        assert sgx_code(lambda: CPU.egetkey(ENCLAVE, replace(REQUEST, keyname=name))) == 256

    @pytest.mark.parametrize("policy", [0x40, 0x8000])
    def test_reserved_policies_fault(self, policy: int) -> None:
        assert sgx_code(lambda: key(KeyName.SEAL, policy=policy)) == GENERAL_PROTECTION

    @pytest.mark.parametrize(("policy", "configsvn"), [(4, 0), (8, 0), (16, 0), (32, 0), (1, 1)], ids=str)
    def test_separation_features_fault_without_kss(self, policy: int, configsvn: int) -> None:
        plain = replace(ENCLAVE, attributes=Attributes(Flag.INIT | Flag.MODE64BIT))
        assert (
            sgx_code(lambda: key(KeyName.SEAL, policy=policy, configsvn=configsvn, enclave=plain)) == GENERAL_PROTECTION
        )


class TestEreport:
    DATA = bytes(range(64))

    def test_only_the_target_on_the_same_cpu_can_check_it(self) -> None:
        target = replace(ENCLAVE, mrenclave=M2)
        report = CPU.ereport(ENCLAVE, target.target_info(), self.DATA)
        assert check_report(CPU, target, report)
        assert not check_report(CPU, ENCLAVE, report)
        assert not check_report(OTHER_SEAL_FUSES, target, report)
        assert not check_report(CPU, replace(target, attributes=DEBUGGED.attributes), report)

    def test_says_who_reports(self) -> None:
        body = CPU.ereport(ENCLAVE, ENCLAVE.target_info(), self.DATA).body
        assert (body.mrenclave, body.mrsigner, body.report_data) == (M1, ENCLAVE.mrsigner, self.DATA)
        assert (body.isvprodid, body.isvsvn, body.configsvn, body.cpusvn) == (7, 3, 5, DEFAULT_CPUSVN)

    @pytest.mark.parametrize(
        "change",
        [
            lambda body: replace(body, mrenclave=M2),
            lambda body: replace(body, isvsvn=9),
            lambda body: replace(body, report_data=bytes(64)),
            lambda body: replace(body, attributes=DEBUGGED.attributes),
        ],
    )
    def test_a_changed_body_is_refused(self, change: Callable[[ReportBody], ReportBody]) -> None:
        report = CPU.ereport(ENCLAVE, ENCLAVE.target_info(), self.DATA)
        assert not check_report(CPU, ENCLAVE, replace(report, body=change(report.body)))
        assert not check_report(CPU, ENCLAVE, replace(report, keyid=bytes(32)))
        assert not check_report(CPU, ENCLAVE, replace(report, mac=bytes(16)))

    @pytest.mark.parametrize("size", [0, 63, 65])
    def test_report_data_has_64_bytes(self, size: int) -> None:
        assert sgx_code(lambda: CPU.ereport(ENCLAVE, ENCLAVE.target_info(), bytes(size))) == GENERAL_PROTECTION


class TestFuses:
    def test_round_trip_through_a_private_file(self) -> None:
        fuses = FusedSecrets.create()
        again = FusedSecrets.from_bytes(fuses.to_bytes())
        assert (again.provisioning, again.sealing) == (fuses.provisioning, fuses.sealing)
        assert fuses.provisioning != fuses.sealing

    @pytest.mark.parametrize("size", [0, 31, 33])
    def test_another_length_is_refused(self, size: int) -> None:
        with pytest.raises(InputError):
            FusedSecrets.from_bytes(Secret(bytes(size)))

    def test_they_show_nowhere(self) -> None:
        assert "provisioning key" not in repr(FUSES)
        assert "sealing fuse" not in repr(FUSES)

    def test_the_ppid_names_the_cpu(self) -> None:
        assert CPU.ppid == OTHER_EPOCH.ppid
        assert CPU.ppid != OTHER_PROVISIONING.ppid
