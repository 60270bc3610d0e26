from __future__ import annotations

from collections.abc import Callable
from dataclasses import fields, replace
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from adyton.attestation.errors import FormatError
from adyton.attestation.formats.sgx import Attributes, Flag, KeyName, KeyPolicy, KeyRequest, ReportBody
from adyton.base.errors import InputError
from adyton.base.secret import Secret
from adyton.platform.protocol import GENERAL_PROTECTION, SgxError
from adyton.platform.simulated.cpu import (
    DEFAULT_CPUSVN,
    EnclaveIdentity,
    FusedSecrets,
    SimulatedCpu,
    check_report,
)
from adyton.platform.simulated.dependencies import KeyDependencies
from adyton.platform.simulated.einit import PADDING

FUSES = FusedSecrets(Secret(b"provisioning key"), Secret(b"the sealing fuse"))
CPU = SimulatedCpu(FUSES)
M1, M2 = b"\x01" * 32, b"\x02" * 32
APP = Attributes(Flag.MODE64BIT)


def sgx_code(call: Callable[[], object]) -> int:
    with pytest.raises(SgxError) as caught:
        call()
    return caught.value.sgx_code


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


def key(
    name: KeyName, *, policy: int = 0, cpu: SimulatedCpu = CPU, enclave: EnclaveIdentity = ENCLAVE, **changes: object
) -> bytes:
    request = replace(REQUEST, keyname=name, keypolicy=policy, **changes)  # type: ignore[arg-type]
    return cpu.egetkey(enclave, request).reveal()


OTHER_EPOCH = SimulatedCpu(FUSES, owner_epoch=b"\x01" * 16)
OTHER_SEAL_FUSES = SimulatedCpu(replace(FUSES, sealing=Secret(b"another one here")))
OTHER_PROVISIONING = SimulatedCpu(replace(FUSES, provisioning=Secret(b"another one here")))
NEWER_CPU = SimulatedCpu(FUSES, cpusvn=bytes((12, *DEFAULT_CPUSVN[1:])))


def _with(flag: Flag) -> EnclaveIdentity:
    return replace(ENCLAVE, attributes=Attributes(ENCLAVE.attributes.flags | flag))


DEBUGGED = _with(Flag.DEBUG)


# "What a key depends on", a copy of the SDM's pseudocode: what is changed, then whether that changes the key of each
# kind: SEAL without a policy, SEAL with all policies, REPORT, PROVISION, PROVISION_SEAL with all policies, EINITTOKEN.
COLUMNS = {
    "SEAL": (KeyName.SEAL, 0),
    "SEAL, all policies": (KeyName.SEAL, ALL),
    "REPORT": (KeyName.REPORT, 0),
    "PROVISION": (KeyName.PROVISION, 0),
    "PROVISION_SEAL, all policies": (KeyName.PROVISION_SEAL, ALL),
    "EINITTOKEN": (KeyName.EINITTOKEN, 0),
}
DEPENDENCIES: dict[str, tuple[dict[str, object], str]] = {
    # of the CPU
    "owner epoch": ({"cpu": OTHER_EPOCH}, "yes yes yes no no yes"),
    "seal fuses": ({"cpu": OTHER_SEAL_FUSES}, "yes yes yes no yes yes"),
    "provisioning fuses": ({"cpu": OTHER_PROVISIONING}, "yes yes yes yes yes yes"),
    "current CPUSVN": ({"cpu": NEWER_CPU}, "no no yes no no no"),
    # of the enclave
    "own ISVSVN": ({"enclave": replace(ENCLAVE, isvsvn=4)}, "no no no no no no"),
    "own CONFIGSVN": ({"enclave": replace(ENCLAVE, configsvn=6)}, "no no yes no no no"),
    "ISVPRODID": ({"enclave": replace(ENCLAVE, isvprodid=8)}, "yes yes no yes yes yes"),
    "MRENCLAVE": ({"enclave": replace(ENCLAVE, mrenclave=M2)}, "no yes yes no no no"),
    "MRSIGNER": ({"enclave": replace(ENCLAVE, mrsigner=M2)}, "no yes no yes yes yes"),
    "CONFIGID": ({"enclave": replace(ENCLAVE, configid=bytes(64))}, "no yes yes no yes no"),
    "ISVFAMILYID": ({"enclave": replace(ENCLAVE, isvfamilyid=bytes(16))}, "no yes no no yes no"),
    "ISVEXTPRODID": ({"enclave": replace(ENCLAVE, isvextprodid=bytes(16))}, "no yes no no yes no"),
    "MISCSELECT": ({"enclave": replace(ENCLAVE, miscselect=0)}, "yes yes yes yes yes yes"),
    "MISCSELECT, masked out": (
        {"enclave": replace(ENCLAVE, miscselect=3)},
        "no no yes no no no",
    ),
    "an attribute": ({"enclave": _with(Flag(0x40))}, "yes yes yes yes yes yes"),
    "XFRM, masked out": (
        {"enclave": replace(ENCLAVE, attributes=Attributes(ENCLAVE.attributes.flags, 7))},
        "no no yes no no no",
    ),
    "DEBUG": ({"enclave": DEBUGGED}, "yes yes yes yes yes yes"),
    # of the request
    "requested CPUSVN": ({"cpusvn": bytes(16)}, "yes yes no yes yes yes"),
    "requested ISVSVN": ({"isvsvn": 2}, "yes yes no yes yes yes"),
    "requested CONFIGSVN": ({"configsvn": 4}, "no yes no no yes no"),
    "KEYID": ({"keyid": bytes(32)}, "yes yes yes no no yes"),
    "ATTRIBUTEMASK, what it selects": ({"attributemask": Attributes(3, 0)}, "yes yes no yes yes yes"),
    "ATTRIBUTEMASK, the field itself": (
        {"attributemask": Attributes((1 << 64) - 1 & ~0x400, 0)},
        "yes yes no yes yes no",
    ),
    "ATTRIBUTEMASK, INIT and DEBUG": (
        {"attributemask": Attributes((1 << 64) - 1 & ~3, 0)},
        "yes yes no yes yes no",
    ),
    "MISCMASK, what it selects": ({"miscmask": 0}, "yes yes no yes yes yes"),
    "MISCMASK, the field itself": ({"miscmask": 0x11}, "yes yes no yes yes no"),
    "KEYPOLICY, MRENCLAVE": ({"flip": KeyPolicy.MRENCLAVE}, "yes yes no no yes no"),
    "KEYPOLICY, MRSIGNER": ({"flip": KeyPolicy.MRSIGNER}, "yes yes no no yes no"),
    "KEYPOLICY, NOISVPRODID": ({"flip": KeyPolicy.NOISVPRODID}, "yes yes no no yes no"),
    "KEYPOLICY, CONFIGID": ({"flip": KeyPolicy.CONFIGID}, "yes yes no no yes no"),
    "KEYPOLICY, ISVFAMILYID": ({"flip": KeyPolicy.ISVFAMILYID}, "yes yes no no yes no"),
    "KEYPOLICY, ISVEXTPRODID": ({"flip": KeyPolicy.ISVEXTPRODID}, "yes yes no no yes no"),
}


class TestEgetkey:
    @pytest.mark.parametrize("column", COLUMNS)
    @pytest.mark.parametrize("row", DEPENDENCIES)
    def test_a_key_depends_on_exactly_what_the_table_says(self, row: str, column: str) -> None:
        changes, answers = DEPENDENCIES[row]
        changes = dict(changes)
        (name, policy), expected = COLUMNS[column], answers.split()[list(COLUMNS).index(column)]
        before = key(name, policy=policy)
        policy ^= int(changes.pop("flip", 0))  # type: ignore[call-overload]  # a policy bit
        assert (before != key(name, policy=policy, **changes)) == (expected == "yes")  # type: ignore[arg-type]

    def test_the_table_names_every_field_of_enclave_and_request(self) -> None:
        """Whoever adds a field must say what depends on it; CET's stay zero on this CPU."""
        changed = {field for changes, _answers in DEPENDENCIES.values() for field in changes} - {
            "cpu",
            "enclave",
            "flip",
        }
        enclaves = [changes["enclave"] for changes, _answers in DEPENDENCIES.values() if "enclave" in changes]
        for field in fields(ENCLAVE):
            if any(getattr(enclave, field.name) != getattr(ENCLAVE, field.name) for enclave in enclaves):
                changed.add(field.name)
        request = {field.name for field in fields(REQUEST)} - {"keyname", "keypolicy"}
        assert changed == request | {field.name for field in fields(ENCLAVE)} - {"cet_attributes"}

    def test_the_names_give_different_keys(self) -> None:
        assert len({key(name) for name in KeyName}) == len(KeyName)

    @pytest.mark.parametrize("policy", list(KeyPolicy))
    def test_each_policy_gives_another_seal_key(self, policy: KeyPolicy) -> None:
        assert key(KeyName.SEAL) != key(KeyName.SEAL, policy=int(policy))

    def test_noisvprodid_leaves_the_product_out(self) -> None:
        policy, other = int(KeyPolicy.MRSIGNER | KeyPolicy.NOISVPRODID), replace(ENCLAVE, isvprodid=8)
        assert key(KeyName.SEAL, policy=policy) == key(KeyName.SEAL, policy=policy, enclave=other)

    @pytest.mark.parametrize("name", [KeyName.SEAL, KeyName.PROVISION, KeyName.PROVISION_SEAL, KeyName.EINITTOKEN])
    def test_debug_is_bound_whatever_the_mask(self, name: KeyName) -> None:
        """No request of a debug enclave leads to a production key."""

        @settings(max_examples=30)
        @given(mask=st.builds(Attributes, st.integers(0, (1 << 64) - 1), st.integers(0, (1 << 64) - 1)))
        def check(mask: Attributes) -> None:
            assert key(name, attributemask=mask) != key(name, attributemask=mask, enclave=DEBUGGED)

        check()

    def test_a_report_key_is_for_ones_own_reports_only(self) -> None:
        keys = {key(KeyName.REPORT, enclave=other) for other in (ENCLAVE, DEBUGGED, replace(ENCLAVE, mrenclave=M2))}
        assert len(keys) == 3

    def test_signer_keys_are_shared_over_builds_and_versions_upwards(self) -> None:
        newer = replace(ENCLAVE, mrenclave=M2, isvsvn=9)
        policy = int(KeyPolicy.MRSIGNER)
        assert key(KeyName.SEAL, policy=policy) == key(KeyName.SEAL, policy=policy, enclave=newer)

    @pytest.mark.parametrize("name", [KeyName.SEAL, KeyName.PROVISION, KeyName.PROVISION_SEAL, KeyName.EINITTOKEN])
    @pytest.mark.parametrize("component", range(16))
    def test_keys_of_newer_microcode_are_refused_component_by_component(self, name: KeyName, component: int) -> None:
        raised = bytearray(DEFAULT_CPUSVN)
        raised[component] = min(raised[component] + 1, 255)
        if bytes(raised) == DEFAULT_CPUSVN:
            assert DEFAULT_CPUSVN[component] == 255  # nothing is newer than this
            return
        assert sgx_code(lambda: key(name, cpusvn=bytes(raised))) == 32
        mixed = bytes(raised[i] if i == component else 0 for i in range(16))  # newer in one, older in the others
        assert sgx_code(lambda: key(name, cpusvn=mixed)) == 32

    @pytest.mark.parametrize("name", [KeyName.SEAL, KeyName.PROVISION, KeyName.PROVISION_SEAL, KeyName.EINITTOKEN])
    def test_keys_of_newer_enclaves_are_refused(self, name: KeyName) -> None:
        assert sgx_code(lambda: key(name, isvsvn=4)) == 64

    @pytest.mark.parametrize("name", [KeyName.SEAL, KeyName.PROVISION_SEAL])
    def test_keys_of_newer_configurations_are_refused(self, name: KeyName) -> None:
        assert sgx_code(lambda: key(name, configsvn=6)) == 64

    @pytest.mark.parametrize("name", [KeyName.REPORT, KeyName.PROVISION, KeyName.EINITTOKEN])
    def test_keys_without_a_configuration_do_not_look_at_it(self, name: KeyName) -> None:
        assert key(name, configsvn=6) == key(name)

    def test_a_report_key_looks_at_no_version(self) -> None:
        newer = {"isvsvn": 9, "cpusvn": b"\xff" * 16, "configsvn": 9}
        assert key(KeyName.REPORT, **newer) == key(KeyName.REPORT)  # type: ignore[arg-type]

    def test_the_attribute_is_asked_for_before_the_versions(self) -> None:
        plain = replace(ENCLAVE, attributes=Attributes(Flag.INIT | Flag.MODE64BIT | Flag.KSS))
        for name in (KeyName.PROVISION, KeyName.PROVISION_SEAL, KeyName.EINITTOKEN):
            assert sgx_code(lambda name=name: key(name, enclave=plain, cpusvn=b"\xff" * 16, isvsvn=9)) == 2  # type: ignore[misc]

    def test_the_versions_are_asked_for_in_the_order_of_the_sdm(self) -> None:
        assert sgx_code(lambda: key(KeyName.SEAL, cpusvn=b"\xff" * 16, isvsvn=9)) == 32

    def test_faults_come_before_codes(self) -> None:
        assert sgx_code(lambda: CPU.egetkey(ENCLAVE, replace(REQUEST, keyname=9, keypolicy=0x40))) == GENERAL_PROTECTION

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

    @pytest.mark.parametrize("bit", range(6, 16))
    @pytest.mark.parametrize("name", list(KeyName))
    def test_reserved_policies_fault(self, name: KeyName, bit: int) -> None:
        assert sgx_code(lambda: key(name, policy=1 << bit)) == GENERAL_PROTECTION

    @pytest.mark.parametrize("offset", [6, 7, 78, 511])
    def test_reserved_bytes_of_a_request_are_no_request(self, offset: int) -> None:
        data = bytearray(REQUEST.to_bytes())
        data[offset] = 1
        with pytest.raises(FormatError) as caught:
            KeyRequest.parse(bytes(data))
        assert caught.value.offset == offset

    @pytest.mark.parametrize(("policy", "configsvn"), [(4, 0), (8, 0), (16, 0), (32, 0), (1, 1)], ids=str)
    def test_separation_features_fault_without_kss(self, policy: int, configsvn: int) -> None:
        plain = replace(ENCLAVE, attributes=Attributes(Flag.INIT | Flag.MODE64BIT))
        assert (
            sgx_code(lambda: key(KeyName.SEAL, policy=policy, configsvn=configsvn, enclave=plain)) == GENERAL_PROTECTION
        )


class TestSerialisation:
    """The block under the MAC: two different sets of inputs never give the same bytes."""

    @staticmethod
    def blocks() -> st.SearchStrategy[KeyDependencies]:
        u16, u32, u64 = (st.integers(0, (1 << bits) - 1) for bits in (16, 32, 64))

        def some(size: int) -> st.SearchStrategy[bytes]:
            return st.one_of(
                st.just(bytes(size)), st.just(b"\x01" + bytes(size - 1)), st.binary(min_size=size, max_size=size)
            )

        attributes = st.builds(Attributes, u64, u64)
        return st.builds(
            KeyDependencies,
            keyname=st.sampled_from(KeyName),
            isvprodid=u16,
            isvsvn=u16,
            configsvn=u16,
            keypolicy=u16,
            miscselect=u32,
            miscmask_inverted=u32,
            attributes=attributes,
            attributemask=attributes,
            **{name: some(16) for name in ("cpusvn", "owner_epoch", "seal_fuses", "isvfamilyid", "isvextprodid")},
            **{name: some(32) for name in ("mrenclave", "mrsigner", "keyid")},
            configid=some(64),
        )

    def test_different_inputs_give_different_blocks(self) -> None:
        @given(self.blocks(), self.blocks())
        def check(first: KeyDependencies, second: KeyDependencies) -> None:
            assert (first.to_bytes() == second.to_bytes()) == (first == second)

        check()

    def test_each_field_alone_changes_the_block(self) -> None:
        @given(self.blocks(), self.blocks(), st.sampled_from([field.name for field in fields(KeyDependencies)]))
        def check(first: KeyDependencies, second: KeyDependencies, name: str) -> None:
            mixed = replace(first, **{name: getattr(second, name)})
            assert (first.to_bytes() == mixed.to_bytes()) == (first == mixed)
            assert len(first.to_bytes()) == len(mixed.to_bytes())

        check()

    def test_the_padding_is_part_of_it(self) -> None:
        assert PADDING in KeyDependencies(keyname=KeyName.SEAL, cpusvn=bytes(16), attributes=Attributes(0)).to_bytes()
        assert len(PADDING) == 352


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

    def test_a_target_with_cet_faults(self) -> None:
        target = replace(ENCLAVE.target_info(), cet_attributes=1)
        assert sgx_code(lambda: CPU.ereport(ENCLAVE, target, self.DATA)) == GENERAL_PROTECTION

    @pytest.mark.parametrize(
        "change",
        [
            {"mrenclave": M2},
            {"attributes": Attributes(0)},
            {"configid": bytes(64)},
            {"configsvn": 4},
            {"miscselect": 0},
        ],
        ids=lambda change: next(iter(change)),
    )
    def test_every_field_of_the_target_counts(self, change: dict[str, Any]) -> None:
        report = CPU.ereport(ENCLAVE, replace(ENCLAVE.target_info(), **change), self.DATA)
        assert not check_report(CPU, ENCLAVE, report)

    def test_report_key_ids_are_new_at_every_boot(self) -> None:
        first, second = (SimulatedCpu(FUSES).ereport(ENCLAVE, ENCLAVE.target_info(), self.DATA) for _boot in range(2))
        assert first.keyid != second.keyid
        assert check_report(CPU, ENCLAVE, first)  # what was reported before a restart is still genuine

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
