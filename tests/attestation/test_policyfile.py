"""Policy files: what each member becomes, and every mistake named by its member."""

from __future__ import annotations

import json

import pytest

from adyton.attestation.anchors import ROOTS
from adyton.attestation.policy import HealthPolicy, QuotePolicy, Weakness
from adyton.attestation.policyfile import MAX_POLICY_BYTES, default_acceptance, read_policy
from adyton.base.errors import AdytonError

H32, H48 = "ab" * 32, "cd" * 48
B32, B48 = bytes.fromhex(H32), bytes.fromhex(H48)
SIM = "sim:" + "12" * 32


def test_an_empty_mapping_accepts_every_vendor_s_healthy_platform() -> None:
    accepted = read_policy(b"{}")
    assert not accepted.names_a_program
    assert type(accepted.policy) is HealthPolicy
    assert {anchor.tier for anchor in accepted.policy.anchors} == set(ROOTS)
    assert accepted.policy.tolerate == frozenset()
    assert accepted.policy.ignore_advisories == frozenset()
    assert accepted == default_acceptance()


def test_every_member_in_yaml() -> None:
    accepted = read_policy(
        f"""
        anchors: [intel, {SIM}]
        mrenclaves: [{H32}]
        mrsigners: ["0x{H32.upper()}"]
        isvprodid: 7
        min_isvsvn: 3
        mrtds: [{H48}]
        rtmrs: {{0: [{H48}], 3: [{H48}]}}
        mrconfigids: [{H48}]
        mrservicetds: [{H48}]
        snp_measurements: [{H48}]
        pcrs: {{0: [{H48}], "31": [{H48}]}}
        tolerate: [debug-mode, outdated-tcb]
        ignore_advisories: [INTEL-SA-00615]
        min_evaluation_number: 17
        report_data: "0x0102"
        """.encode()
    )
    assert accepted.names_a_program
    assert accepted.report_data == b"\x01\x02"
    policy = accepted.policy
    assert isinstance(policy, QuotePolicy)
    assert [anchor.tier for anchor in policy.anchors] == ["intel", SIM]
    assert policy.mrenclaves == policy.mrsigners == {B32}
    assert (policy.isvprodid, policy.min_isvsvn, policy.min_evaluation_number) == (7, 3, 17)
    assert policy.mrtds == policy.mrconfigids == policy.mrservicetds == policy.snp_measurements == {B48}
    assert dict(policy.rtmrs) == {0: {B48}, 3: {B48}}
    assert dict(policy.pcrs) == {0: {B48}, 31: {B48}}
    assert policy.tolerate == {Weakness.DEBUG_MODE, Weakness.OUTDATED_TCB}
    assert policy.ignore_advisories == {"INTEL-SA-00615"}


def test_json_is_read_alike() -> None:
    document = {"mrtds": [H48], "rtmrs": {"1": [H48]}, "tolerate": ["debug-mode"], "ignore_advisories": ["*"]}
    text = json.dumps(document, indent=2)
    assert read_policy(text.encode()) == read_policy(b"\xef\xbb\xbf" + text.replace("\n", "\r\n").encode())
    policy = read_policy(text.encode()).policy
    assert isinstance(policy, QuotePolicy)
    assert dict(policy.rtmrs) == {1: {B48}}
    assert policy.ignores("INTEL-SA-99999")


def test_anchors_of_the_command_line_join_those_of_the_file() -> None:
    assert [a.tier for a in read_policy(b"anchors: [intel]", anchors=[SIM, "intel"]).policy.anchors] == ["intel", SIM]
    assert {a.tier for a in default_acceptance([SIM]).policy.anchors} == {*ROOTS, SIM}


@pytest.mark.parametrize(
    ("text", "code", "said"),
    [
        ("", "attestation.policy.format", "the document is empty"),
        ("null", "attestation.policy.format", "the document: is not a mapping"),
        ("[]", "attestation.policy.format", "the document: is not a mapping"),
        ("{", "attestation.policy.format", "neither YAML nor JSON"),
        ("a: &a [*a]", "attestation.policy.format", "anchors are not accepted"),
        ("anchors: [intel]\nanchors: [intel]", "attestation.policy.format", "appears twice"),
        ("mrenclave: []", "attestation.policy.format", "mrenclave: there is no such member"),
        ("MRENCLAVES: []", "attestation.policy.format", "MRENCLAVES: there is no such member"),
        ("anchors: []", "attestation.policy.format", "anchors: is empty"),
        ("anchors: intel", "attestation.policy.format", "anchors: is not a list"),
        ("anchors: [any]", "attestation.anchor.name", "'any' is not a trust anchor"),
        ("mrenclaves: []", "attestation.policy.format", "mrenclaves: is empty"),
        (f"mrenclaves: {H32}", "attestation.policy.format", "mrenclaves: is not a list"),
        (f"mrenclaves: [{H48}]", "attestation.policy.format", "mrenclaves.0: is not 64 hex digits"),
        (f"mrenclaves: [{H32}, {H32[:-1]}]", "attestation.policy.format", "mrenclaves.1: is not 64 hex digits"),
        (f"mrenclaves: [{'zz' * 32}]", "attestation.policy.format", "mrenclaves.0: is not 64 hex digits"),
        ("mrenclaves: [12]", "attestation.policy.format", "mrenclaves.0: is not text: put it in quotes"),
        ("isvprodid: '1'", "attestation.policy.format", "isvprodid: "),
        ("isvprodid: true", "attestation.policy.format", "isvprodid: "),
        ("isvprodid: 65536", "attestation.policy.format", "isvprodid: "),
        ("min_isvsvn: -1", "attestation.policy.format", "min_isvsvn: "),
        ("isvprodid: 1", "attestation.policy.unpinned", "pins nothing"),
        ("min_isvsvn: 0", "attestation.policy.unpinned", "pins nothing"),
        (f"mrsigners: [{H32}]", "attestation.policy.unpinned", "pins nothing"),
        (f"rtmrs: {{0: [{H48}]}}", "attestation.policy.unpinned", "pins nothing"),
        (f"pcrs: {{0: [{H48}]}}\nmrconfigids: [{H48}]", "attestation.policy.unpinned", "mean nothing without MRTDs"),
        (f"mrtds: [{H48}]\nrtmrs: {{4: [{H48}]}}", "attestation.policy.format", "rtmrs.4: the registers are 0 to 3"),
        (f"mrtds: [{H48}]\nrtmrs: {{}}", "attestation.policy.format", "rtmrs: is empty"),
        (f"mrtds: [{H48}]\nrtmrs: {{0: []}}", "attestation.policy.format", "rtmrs.0: is empty"),
        (f"pcrs: {{32: [{H48}]}}", "attestation.policy.format", "pcrs.32: the registers are 0 to 31"),
        (f"pcrs: {{00: [{H48}]}}", "attestation.policy.format", "pcrs.00: the registers are 0 to 31"),
        (f"pcrs: {{-1: [{H48}]}}", "attestation.policy.format", "pcrs.-1: the registers are 0 to 31"),
        (f"pcrs: [{H48}]", "attestation.policy.format", "pcrs: is not a mapping of registers"),
        ("tolerate: [everything]", "attestation.policy.tolerate", "everything"),
        ("tolerate: '*'", "attestation.policy.format", "tolerate: is not a list"),
        ("ignore_advisories: [SA-1]", "attestation.policy.advisory", "SA-1"),
        ("min_evaluation_number: 1.5", "attestation.policy.format", "min_evaluation_number: "),
        ("report_data: ''", "attestation.policy.format", "report_data: is not 2 to 128 hex digits"),
        ("report_data: abc", "attestation.policy.format", "report_data: is not 2 to 128 hex digits"),
        (f"report_data: {'00' * 65}", "attestation.policy.format", "report_data: is not 2 to 128 hex digits"),
        ("report_data: null\nmrtd: x", "attestation.policy.format", "mrtd: there is no such member"),
        ("#" * (MAX_POLICY_BYTES + 1), "attestation.policy.format", "over the limit"),
    ],
    ids=lambda value: value[:40] if isinstance(value, str) else None,
)
def test_mistakes(text: str, code: str, said: str) -> None:
    with pytest.raises(AdytonError) as caught:
        read_policy(text.encode())
    assert caught.value.code == code
    assert said in caught.value.message


def test_nothing_but_typed_errors_for_any_bytes() -> None:
    for data in (b"\xff\xfe\x00", b"\0", b"%", b"[" * 5000, b"{" * 5000, b"- " * 5000, b"? " * 5000, b"!!python/none"):
        with pytest.raises(AdytonError) as caught:
            read_policy(data)
        assert caught.value.code == "attestation.policy.format"
