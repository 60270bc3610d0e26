from __future__ import annotations

from dataclasses import fields
from typing import Any, cast

import pytest
from hypothesis import given
from tests.attestation.structures import values

from adyton.attestation.formats.layout import Structure
from adyton.attestation.formats.sgx import (
    Attributes,
    Flag,
    KeyName,
    KeyPolicy,
    KeyRequest,
    Report,
    ReportBody,
    TargetInfo,
)

# Offset and size of every field, from the SDM's tables (vol. 3D, "SGX Data Structures"), apart from the package's own.
OFFSETS: dict[type[Structure], dict[str, tuple[int, int]]] = {
    Attributes: {"flags": (0, 8), "xfrm": (8, 8)},
    ReportBody: {
        "cpusvn": (0, 16),
        "miscselect": (16, 4),
        "cet_attributes": (20, 1),
        "isvextprodid": (32, 16),
        "attributes": (48, 16),
        "mrenclave": (64, 32),
        "mrsigner": (128, 32),
        "configid": (192, 64),
        "isvprodid": (256, 2),
        "isvsvn": (258, 2),
        "configsvn": (260, 2),
        "isvfamilyid": (304, 16),
        "report_data": (320, 64),
    },
    Report: {"body": (0, 384), "keyid": (384, 32), "mac": (416, 16)},
    TargetInfo: {
        "mrenclave": (0, 32),
        "attributes": (32, 16),
        "cet_attributes": (48, 1),
        "configsvn": (50, 2),
        "miscselect": (52, 4),
        "configid": (64, 64),
    },
    KeyRequest: {
        "keyname": (0, 2),
        "keypolicy": (2, 2),
        "isvsvn": (4, 2),
        "cpusvn": (8, 16),
        "attributemask": (24, 16),
        "keyid": (40, 32),
        "miscmask": (72, 4),
        "configsvn": (76, 2),
    },
}


@pytest.mark.parametrize("structure", OFFSETS, ids=lambda s: s.__name__)
def test_every_field_is_where_the_manual_has_it(structure: type[Structure]) -> None:
    table = OFFSETS[structure]

    @given(values(structure))
    def check(value: Structure) -> None:
        data = value.to_bytes()
        for name, (offset, size) in table.items():
            field = getattr(value, name)
            if isinstance(field, Structure):
                field = field.to_bytes()
            expected = field if isinstance(field, bytes) else field.to_bytes(size, "little")
            assert data[offset : offset + size] == expected, name

    check()
    assert set(table) == {field.name for field in fields(cast("Any", structure))}


@pytest.mark.parametrize(
    ("flag", "bit"),
    [
        (Flag.INIT, 0),
        (Flag.DEBUG, 1),
        (Flag.MODE64BIT, 2),
        (Flag.PROVISIONKEY, 4),
        (Flag.EINITTOKENKEY, 5),
        (Flag.CET, 6),
        (Flag.KSS, 7),
        (Flag.AEXNOTIFY, 10),
    ],
    ids=lambda v: getattr(v, "name", v),
)
def test_attribute_flags_are_the_bits_of_the_manual(flag: Flag, bit: int) -> None:
    assert flag == 1 << bit
    assert Attributes.parse((1 << bit).to_bytes(8, "little") + bytes(8)).has(flag)
    assert not Attributes(~flag & (1 << 64) - 1).has(flag)


def test_all_of_several_flags_must_be_set() -> None:
    assert Attributes(Flag.INIT | Flag.MODE64BIT | Flag.KSS).has(Flag.INIT | Flag.MODE64BIT)
    assert not Attributes(Flag.INIT).has(Flag.INIT | Flag.MODE64BIT)


@pytest.mark.parametrize(("flags", "debug"), [(Flag.INIT, False), (Flag.INIT | Flag.DEBUG, True)])
def test_a_debug_enclave_says_so(flags: Flag, debug: bool) -> None:
    assert Attributes(flags).debug is debug


def test_key_names_and_policies_are_the_numbers_of_the_manual() -> None:
    assert [(name.name, name.value) for name in KeyName] == [
        ("EINITTOKEN", 0),
        ("PROVISION", 1),
        ("PROVISION_SEAL", 2),
        ("REPORT", 3),
        ("SEAL", 4),
    ]
    assert [(policy.name, policy.value) for policy in KeyPolicy] == [
        ("MRENCLAVE", 1),
        ("MRSIGNER", 2),
        ("NOISVPRODID", 4),
        ("CONFIGID", 8),
        ("ISVFAMILYID", 16),
        ("ISVEXTPRODID", 32),
    ]


@given(values(Attributes), values(Attributes))
def test_a_mask_keeps_the_bits_that_it_has(attributes: Attributes, mask: Attributes) -> None:
    masked = attributes.masked(mask)
    assert (masked.flags & ~mask.flags, masked.xfrm & ~mask.xfrm) == (0, 0)
    assert masked.masked(mask) == masked == mask.masked(attributes)
    assert attributes.masked(Attributes((1 << 64) - 1, (1 << 64) - 1)) == attributes


@given(values(ReportBody))
def test_a_target_is_named_by_what_its_report_says(body: ReportBody) -> None:
    target = TargetInfo.of(body)
    for name in OFFSETS[TargetInfo]:
        assert getattr(target, name) == getattr(body, name)


def test_a_seal_key_is_bound_to_every_attribute_flag_unless_asked_otherwise() -> None:
    assert KeyRequest(KeyName.SEAL).attributemask == Attributes((1 << 64) - 1, 0)
